package sftp

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"holdfast/base/fault"
	"holdfast/connector"
)

// script runs on the server and answers each line by one line. It contains no single quotes, backslashes or newlines, so
// that any login shell passes it on to sh. Paths come as spell writes them, and are only used in double quotes; a file
// whose name is not plain is passed as standard input, never by name. The operations: `s` and `b` hash a small and a big
// file, `m` hashes several small ones with plain names, since starting a program is most of the cost of one, and `c`
// copies.
var script = strings.Join([]string{
	`LC_ALL=C; export LC_ALL; set -f; w=none`,
	`if command -v openssl >/dev/null 2>&1; then w=openssl; big() { openssl dgst -sha256 -r "$@"; }; small() { big "$@"; }; fi`,
	`if command -v shasum >/dev/null 2>&1; then w=shasum; small() { shasum -a 256 "$@"; }; fi`,
	`if command -v sha256sum >/dev/null 2>&1; then w=sha256sum; small() { sha256sum "$@"; }; fi`,
	`if command -v openssl >/dev/null 2>&1; then w=$w+openssl; else big() { small; }; fi`,
	naming,
	`echo; echo "` + ready + ` $w"`,
	`while read -r op a b; do case $op in ` +
		`s|b) name "$a"; if [ -L "$v" ]; then echo "- link"; elif [ -f "$v" ]; then if [ -r "$v" ]; then ` +
		`if [ $op = b ]; then s=$(big <"$v"); else s=$(small <"$v"); fi && echo "+ $s" || echo "- failed"; ` +
		`else echo "- denied"; fi; else echo "- absent"; fi;; ` +
		`m) set -- $a $b; k=+; for v in "$@"; do if [ -L "$v" ]; then k=-; elif [ -f "$v" ]; then :; else k=-; fi; done; ` +
		`if [ $k = + ] && s=$(small "$@" </dev/null); then echo + $s; else echo "- some"; fi;; ` +
		`c) name "$a"; f=$v; name "$b"; ` +
		`if cp -- "$f" "$v" </dev/null >/dev/null 2>&1; then echo "+ copied"; else echo "- failed"; fi;; ` +
		`*) ;; esac; done`,
}, "; ")

// naming is the function of the script that decodes what spell writes.
const naming = `name() { case "$1" in =*) v=${1#=};; *) v=$(printf "%b." "$1"); v=${v%.};; esac; }`

// ready begins the line by which the script says that it runs; whatever comes before is a greeting of the server.
const ready = "holdfast-shell-1"

// bigFile is from how many bytes on a file is hashed by openssl, which is slow to start and quick to hash.
const bigFile = 1 << 20

const (
	mostShells = 2
	mostNoise  = 1 << 20
	shellWait  = 15 * time.Second
	slowRead   = 5 << 20 // bytes a second that a server reads at the least, to hash or to copy a file
)

// readingTakes is how long a server may take to read so many bytes.
func readingTakes(bytes int64) time.Duration { return time.Duration(bytes/slowRead) * time.Second }

// shell is a channel on which the script runs.
type shell struct {
	session *ssh.Session
	tool    string
	asks    chan ask
	pending chan ask
	gone    chan struct{} // closed when it has ended
	users   int           // guarded by shells.mu
	since   moment        // when it answered last, or was asked first since
	owed    atomic.Int64  // bytes that it has still to read, and one for each file
}

// ask is a line for the script, and where its answer goes.
type ask struct {
	line   string
	bytes  int64
	answer chan string
}

// shells are those of a connection.
type shells struct {
	mu      sync.Mutex // guards all below
	open    []*shell
	opening int
	most    int  // that the server allows beside the lanes, 0 while nobody knows
	there   bool // the server has one, with a program that hashes
}

// errNoShell means that the server allows no shell, or has no program that hashes.
var errNoShell = errors.New("there is no shell, or no sha256sum, shasum and openssl in it")

// findShell finds out whether the server hashes and copies; that holds for the life of the connection.
func (c *connection) findShell() error {
	s, err := c.openShell()
	if errors.Is(err, errNoShell) {
		// A connection that breaks while the shell starts looks the same, and says nothing of the server.
		if _, _, err := c.client().SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return c.classify("open a shell", err)
		}
		if c.cfg.Verify == string(connector.ByRemoteHash) {
			return fault.WithHint(fault.New(fault.Permanent, "verify files on %s: %w", c.cfg.Host, err),
				"allow commands to the user, or set verify to auto or read-back")
		}
		return nil
	}
	if err != nil {
		return c.classify("open a shell", err)
	}
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	c.shells.there = true
	c.shells.open = append(c.shells.open, s)
	return nil
}

// hasShell reports whether the server hashes and copies for us.
func (c *connection) hasShell() bool {
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	return c.shells.there
}

// openShell starts the script. The error is errNoShell if it does not run.
func (c *connection) openShell() (*shell, error) {
	session, in, out, err := c.session()
	if err != nil {
		return nil, err
	}
	s := &shell{session: session, asks: make(chan ask), pending: make(chan ask, 1024), gone: make(chan struct{})}
	if err := session.Start("sh -c '" + script + "'"); err != nil {
		_ = session.Close()
		if c.alive() && !lost(err) {
			err = errNoShell
		}
		return nil, err
	}
	listening := make(chan error, 1)
	c.spawn(func() { s.read(bufio.NewReader(out), listening) })
	c.spawn(func() { s.write(in) })
	wait := time.NewTimer(shellWait)
	defer wait.Stop()
	select {
	case err = <-listening:
	case <-wait.C:
		err = errNoShell
	case <-c.dead:
		err = c.cause
	}
	if err != nil {
		c.spawn(func() { _ = session.Close() }) // which needs the link
		return nil, err
	}
	return s, nil
}

// write sends the lines, each once it stands among the pending. A first line that means nothing makes a server give up
// that runs something else than a shell.
func (s *shell) write(in io.Writer) {
	defer s.session.Close()
	_, err := io.WriteString(in, "hello\n")
	for err == nil {
		select {
		case a := <-s.asks:
			select {
			case s.pending <- a:
				_, err = io.WriteString(in, a.line)
			case <-s.gone:
				return
			}
		case <-s.gone:
			return
		}
	}
}

// read waits until the script runs, and hands out its answers.
func (s *shell) read(out *bufio.Reader, listening chan<- error) {
	defer close(s.gone)
	line, noise := "", 0
	for !strings.HasPrefix(line, ready) {
		var err error
		line, err = out.ReadString('\n')
		if noise += len(line); err != nil || noise > mostNoise {
			listening <- errNoShell
			return
		}
	}
	s.tool = strings.TrimSpace(strings.TrimPrefix(line, ready))
	if strings.HasPrefix(s.tool, "none") {
		listening <- errNoShell
		return
	}
	listening <- nil
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return
		}
		select {
		case a := <-s.pending:
			s.since.set()
			s.owed.Add(-a.bytes - 1)
			a.answer <- strings.TrimSuffix(line, "\n")
		default: // an answer that nobody asked for
			return
		}
	}
}

// ask sends a line about a file of so many bytes and waits for the answer.
func (c *connection) ask(line string, bytes int64) (string, error) {
	s, err := c.shell()
	if err != nil {
		return "", err
	}
	defer c.leaveShell(s)
	a := ask{line: line, bytes: bytes, answer: make(chan string, 1)}
	if s.owed.Load() == 0 {
		s.since.set()
	}
	s.owed.Add(bytes + 1)
	select {
	case s.asks <- a:
	case <-s.gone:
		return "", c.why(errShellEnded)
	}
	select {
	case answer := <-a.answer:
		return answer, nil
	case <-s.gone:
	}
	select {
	case answer := <-a.answer:
		return answer, nil
	default:
		return "", c.why(errShellEnded)
	}
}

var errShellEnded = fault.New(fault.Transient, "the shell on the server ended")

// shell returns the shell with the fewest users.
func (c *connection) shell() (*shell, error) {
	g := &c.shells
	g.mu.Lock()
	g.open = slices.DeleteFunc(g.open, (*shell).ended)
	var best *shell
	for _, s := range g.open {
		if best == nil || s.users < best.users {
			best = s
		}
	}
	most := mostShells
	if g.most > 0 {
		most = g.most
	}
	if best != nil && (best.users == 0 || len(g.open)+g.opening >= most) {
		best.users++
		g.mu.Unlock()
		return best, nil
	}
	g.opening++
	g.mu.Unlock()
	s, err := c.openShell()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opening--
	if best == nil || best.ended() { // another one may be there by now
		g.open = slices.DeleteFunc(g.open, (*shell).ended)
		if best = nil; len(g.open) > 0 {
			best = g.open[0]
		}
	}
	switch {
	case err == nil:
		s.users = 1
		g.open = append(g.open, s)
		return s, nil
	case best != nil && !best.ended() && c.alive(): // the server has enough channels
		g.most = max(len(g.open), 1)
		best.users++
		return best, nil
	// Lanes have taken all channels, also that of a shell that ended. The next connection opens its shell before them.
	case refused(err) && g.opening == 0:
		c.fail(fault.New(fault.Transient, "open a shell: %w", err))
		return nil, c.cause
	case errors.Is(err, errNoShell): // it had one before, so a weaker way to verify is not an answer
		return nil, fault.New(fault.Transient, "open a shell: %w", err)
	}
	return nil, c.classify("open a shell", err)
}

func (c *connection) leaveShell(s *shell) {
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	s.users--
}

func (s *shell) ended() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// stalled reports whether a shell has not answered for longer than what it reads may take.
func (g *shells) stalled(stall time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.open, func(s *shell) bool {
		owed := s.owed.Load()
		return owed > 0 && s.since.age() > stall+readingTakes(owed)
	})
}

// remoteCopy has the server copy a file.
func (c *connection) remoteCopy(from, to string, size int64) error {
	answer, err := c.ask("c "+spell(from)+" "+spell(to)+"\n", size)
	if err == nil && answer != "+ copied" {
		err = errCopy
	}
	return err
}

// errCopy means that cp failed there: for want of room, for all we know.
var errCopy = errors.New("the server could not copy it")
