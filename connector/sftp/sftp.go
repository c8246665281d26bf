// Package sftp is the destination that is a directory of another machine, over SSH. It runs no ssh program:
// it speaks the protocol itself.
//
//	sftp:
//	  host: goto@gateway        # or a Host of ~/.ssh/config
//	  directory: /export/raw
//
// One connection carries everything: several SFTP channels (lanes), with a file each while there are enough of
// them, and a shell that computes hashes where the server allows one. It is made when it is first needed, and
// again after it broke. A link that is silent for Config.Silence is taken for dead, and whoever waits for it gets
// an outage. A caller whose context ends returns at once; what it began ends in the background, before another
// call for the same name begins.
//
// A file is written under connector.PartName, which is created exclusively, so never through a link. Then it is
// synced, verified, given its time, and hard-linked to its name, and its directory is synced. Files that land in
// one directory at the same time share such a sync, which begins after all of their links. A name that is taken is
// never replaced: the hard link of OpenSSH (hardlink@openssh.com) refuses that. A server without hard links is
// asked for the rename of SFTP 3, which must not replace a file either; one that does so all the same would
// replace a file that appeared after we looked.
//
// SFTP has no locks. If two processes have different files for one name, the later one makes the part anew, and
// each looks once more at what got the name. Both may continue a part with which both files begin.
//
// The host must be in known_hosts; nobody is asked, and no key is ever added. Keys with a passphrase work
// through an agent.
package sftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Config is a directory of a machine that SSH reaches. What it does not say is taken from the ssh configuration.
type Config struct {
	// Host is [user@]host, or a Host of the ssh configuration.
	Host string `yaml:"host" jsonschema:"required"`
	// Port of the server; default that of the ssh configuration, or 22.
	Port int `yaml:"port"`
	// Directory below which the files go; default ".", the home directory, to which a relative path is relative. It has to
	// exist.
	Directory string `yaml:"directory"`
	// IdentityFiles are keys to log in with, instead of those of the ssh configuration.
	IdentityFiles []string `yaml:"identity_files"`
	// IdentitiesOnly: no other key of the agent is offered; default false.
	IdentitiesOnly bool `yaml:"identities_only"`
	// Agent is the socket of an agent, or none; default that of IdentityAgent or SSH_AUTH_SOCK.
	Agent string `yaml:"agent"`
	// SSHConfig is the file that is read, or none; default ~/.ssh/config and /etc/ssh/ssh_config.
	SSHConfig string `yaml:"ssh_config"`
	// KnownHosts are the files that are read instead of those of the ssh configuration.
	KnownHosts []string `yaml:"known_hosts"`
	// Verify is how files are verified: remote-hash, read-back, size, or auto, which is the strongest way
	// that the server allows; default auto. With size, a file counts as placed already only if its time is right as well, to
	// the second.
	Verify string `yaml:"verify" jsonschema:"enum=auto,enum=remote-hash,enum=read-back,enum=size"`
	// ConnectTimeout is how long a connection may take to stand; default that of the ssh configuration, or 10s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Silence after which a link is dead, 100ms at least; default that of the ssh configuration (ServerAlive), or 15s.
	Silence time.Duration `yaml:"silence"`
}

// auto is the default of Config.Verify.
const auto = "auto"

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	user, host, named := cutUser(c.Host)
	switch {
	case host == "" || named && user == "":
		bad("host: want [user@]host, got %q", c.Host)
	case strings.HasPrefix(c.Host, "-") || strings.HasPrefix(host, "-") || strings.ContainsAny(c.Host, " \t\r\n\x00/[]"):
		bad("host: %q can't be the name of a host", c.Host)
	}
	if c.Port < 0 || c.Port > 65535 {
		bad("port: want 1 to 65535, got %d", c.Port)
	}
	if strings.HasPrefix(c.Directory, "~") && c.Directory != "~" && !strings.HasPrefix(c.Directory, "~/") {
		bad("directory: %q is in another one's home; give its path", c.Directory)
	}
	if strings.ContainsAny(c.Directory, "\x00\n") {
		bad("directory: %q has a character that no path should have", c.Directory)
	}
	ways := []string{"", auto, string(connector.ByRemoteHash), string(connector.ByReadBack), string(connector.BySize)}
	if !slices.Contains(ways, c.Verify) {
		bad("verify: want remote-hash, read-back, size or auto, got %q", c.Verify)
	}
	if c.ConnectTimeout < 0 {
		bad("connect_timeout: want a time, got %v", c.ConnectTimeout)
	}
	if c.Silence < 0 || c.Silence > 0 && c.Silence < 100*time.Millisecond {
		bad("silence: want 100ms or more, got %v", c.Silence)
	}
	return errs
}

// WithDefaults fills in what does not depend on the ssh configuration.
func (c Config) WithDefaults() Config {
	if c.Verify == "" {
		c.Verify = auto
	}
	if c.Directory == "" {
		c.Directory = "."
	}
	return c
}

// cutUser cuts user@host at its last @: a user may have one, a host can't.
func cutUser(s string) (user, host string, named bool) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", s, false
	}
	return s[:at], s[at+1:], true
}

// ParseRemote reads what scp takes for a remote place: [USER@]HOST:DIRECTORY, with an IPv6 address in
// brackets. A path is local, and not ok, if it has no colon, or a slash before its first one.
func ParseRemote(s string) (c Config, ok bool) {
	host, rest := "", s
	open := strings.IndexByte(s, '[')
	if open == 0 || open > 0 && s[open-1] == '@' && !strings.ContainsAny(s[:open], ":/") {
		shut := strings.Index(s, "]:")
		if shut < open {
			return c, false
		}
		host, rest = s[:open]+s[open+1:shut], s[shut+1:]
		if strings.Contains(host, "/") {
			return c, false
		}
	}
	before, directory, found := strings.Cut(rest, ":")
	if host == "" {
		host = before
	}
	if !found || host == "" || strings.Contains(before, "/") {
		return c, false
	}
	return Config{Host: host, Directory: directory}, true
}

// root is how people write the place.
func (c Config) root() string {
	user, host, named := cutUser(c.Host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if named {
		host = user + "@" + host
	}
	return host + ":" + c.Directory
}

// Destination is a directory of another machine.
type Destination struct {
	cfg    Config
	stall  time.Duration
	closed chan struct{}
	all    sync.WaitGroup // what runs in the background, also for calls that have returned
	left   connector.Left

	mu      sync.Mutex // guards all below
	ended   bool
	path    string // of the root; one relative to the home is known from the first connection on
	link    *connection
	dialing *dialing
	busy    map[string]chan struct{} // names that are worked on; each is closed when that ends
}

var _ connector.Destination = (*Destination)(nil)

// New returns the destination. It connects to nothing yet.
func New(cfg Config) (*Destination, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open sftp: %w", errors.Join(errs...))
	}
	d := &Destination{cfg: cfg.WithDefaults(), stall: stall, closed: make(chan struct{}), busy: map[string]chan struct{}{}}
	if path.IsAbs(d.cfg.Directory) {
		d.path = path.Clean(d.cfg.Directory)
	}
	return d, nil
}

// Traits: a file that was cut off goes on where it was, if its beginning may be compared.
func (d *Destination) Traits() connector.DestinationTraits {
	d.mu.Lock()
	defer d.mu.Unlock()
	return connector.DestinationTraits{Root: d.cfg.root(), Path: d.path, Resumes: d.cfg.Verify != string(connector.BySize),
		Streams: 8 * mostLanes}
}

// Close breaks the connection, and returns when everything that was begun has ended.
func (d *Destination) Close() error {
	d.mu.Lock()
	if !d.ended {
		d.ended = true
		close(d.closed)
	}
	link := d.link
	d.mu.Unlock()
	if link != nil {
		link.fail(errClosed)
	}
	d.all.Wait()
	return nil
}

// errClosed is what calls get after Close.
var errClosed = fault.New(fault.Permanent, "the destination is closed")

// begin runs f in the background. Close waits for it.
func (d *Destination) begin(f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return errClosed
	}
	d.all.Go(f)
	return nil
}

// detached runs f, and returns when it has ended or when the context ends, whichever comes first: f may be waiting for a
// server that does not answer, and ends in the background then.
func detached[T any](ctx context.Context, d *Destination, f func(ctx context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	ended := make(chan outcome, 1)
	err := d.begin(func() {
		value, err := f(ctx)
		ended <- outcome{value, err}
	})
	if err != nil {
		return zero, err
	}
	select {
	case o := <-ended:
		return o.value, o.err
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// hold waits until nobody works on a name, and takes it.
func (d *Destination) hold(ctx context.Context, name string) (release func(), err error) {
	for {
		d.mu.Lock()
		other, taken := d.busy[name]
		if !taken {
			mine := make(chan struct{})
			d.busy[name] = mine
			d.mu.Unlock()
			return func() {
				d.mu.Lock()
				delete(d.busy, name)
				d.mu.Unlock()
				close(mine)
			}, nil
		}
		d.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// underWay are the names of the parts that this process is writing.
func (d *Destination) underWay() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	parts := make(map[string]bool, len(d.busy))
	for name := range d.busy {
		parts[connector.PartName(name)] = true
	}
	return parts
}

// dialing is a connection that is being made.
type dialing struct {
	done chan struct{} // closed when link and err are set
	link *connection
	err  error
}

// connect returns the connection, and makes one if there is none that works. Callers that come at the same time share it.
func (d *Destination) connect(ctx context.Context) (*connection, error) {
	d.mu.Lock()
	if d.link != nil && d.link.alive() {
		defer d.mu.Unlock()
		return d.link, nil
	}
	if d.ended {
		d.mu.Unlock()
		return nil, errClosed
	}
	making := d.dialing
	if making == nil {
		making = &dialing{done: make(chan struct{})}
		d.dialing = making
		d.all.Go(func() { d.dial(context.WithoutCancel(ctx), making) })
	}
	d.mu.Unlock()
	select {
	case <-making.done:
		return making.link, making.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial makes a connection for all who wait for it.
func (d *Destination) dial(ctx context.Context, making *dialing) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.all.Go(func() {
		select {
		case <-d.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	link, err := open(ctx, d.cfg, d.stall, d.all.Go)
	d.mu.Lock()
	if d.ended && err == nil {
		defer link.close(errClosed)
		link, err = nil, errClosed
	}
	making.link, making.err = link, err
	d.dialing = nil
	if err == nil {
		d.link, d.path = link, link.root
		d.all.Go(link.watch)
	}
	d.mu.Unlock()
	close(making.done)
}

// absolute is the path of a name on the server.
func (c *connection) absolute(name string) string { return path.Join(c.root, name) }

// address is host and port as known_hosts has them.
func address(host string, port string) string { return net.JoinHostPort(host, port) }
