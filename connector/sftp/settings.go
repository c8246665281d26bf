package sftp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kevinburke/ssh_config"

	"holdfast/base/fault"
)

// Defaults of a connection.
const (
	defaultConnect = 10 * time.Second
	defaultSilence = 15 * time.Second
	mostHops       = 8
)

// hop is a host on the way to the destination, which is the last one, with what the ssh configuration says of it.
type hop struct {
	name           string // as it was asked for
	host, port     string
	user           string
	identities     []string
	explicit       bool // they are configured; else they are the usual files
	identitiesOnly bool
	agent          string // socket, "" for none
	knownHosts     []string
	hashed         bool
	alias          string // under which known_hosts has it; "" for host and port
	connect        time.Duration
	silence        time.Duration
}

// settings are the files of an ssh configuration, the first one first.
type settings struct {
	files []*ssh_config.Config
	home  string
}

// readSettings reads the ssh configuration that a Config names. The default files need not exist.
func readSettings(cfg Config) (*settings, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, fault.New(fault.Permanent, "find home directory: %w", err)
	}
	s := &settings{home: home}
	files := []string{filepath.Join(home, ".ssh", "config"), "/etc/ssh/ssh_config"}
	switch cfg.SSHConfig {
	case "":
	case "none":
		return s, nil
	default:
		files = []string{s.expand(cfg.SSHConfig)}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && cfg.SSHConfig == "" {
			continue
		}
		if err != nil {
			return nil, fault.New(fault.Permanent, "read ssh configuration: %w", err)
		}
		parsed, err := ssh_config.Decode(bytes.NewReader(text))
		if err != nil {
			return nil, fault.WithHint(fault.New(fault.Permanent, "read ssh configuration %s: %w", file, err),
				"give a file of its own by ssh_config, or \"none\" and everything else in the configuration")
		}
		s.files = append(s.files, parsed)
	}
	return s, nil
}

// all returns every value of a key, those of the first file first.
func (s *settings) all(alias, key string) (values []string, err error) {
	for _, f := range s.files {
		v, err := f.GetAll(alias, key)
		if err != nil {
			return nil, fault.New(fault.Permanent, "read ssh configuration: %s: %w", key, err)
		}
		values = append(values, v...)
	}
	return values, nil
}

// get returns the value of a key that is in force: the first one.
func (s *settings) get(alias, key string) (string, error) {
	values, err := s.all(alias, key)
	if err != nil || len(values) == 0 {
		return "", err
	}
	return unquote(values[0]), nil
}

// unquote takes off the quotes that a value with spaces has.
func unquote(v string) string { return strings.Trim(strings.TrimSpace(v), `"`) }

// expand replaces a leading ~ by the home directory.
func (s *settings) expand(file string) string {
	if file == "~" || strings.HasPrefix(file, "~/") {
		return filepath.Join(s.home, file[1:])
	}
	return file
}

// route returns the hosts on the way, the destination last.
func (s *settings) route(cfg Config) ([]hop, error) {
	hops, err := s.way(cfg.Host, portText(cfg.Port), mostHops)
	if err != nil {
		return nil, err
	}
	last := &hops[len(hops)-1]
	if len(cfg.IdentityFiles) > 0 {
		last.identities, last.explicit = nil, true
		for _, file := range cfg.IdentityFiles {
			last.identities = append(last.identities, s.expand(file))
		}
	}
	last.identitiesOnly = last.identitiesOnly || cfg.IdentitiesOnly
	for i := range hops {
		s.override(&hops[i], cfg)
	}
	return hops, nil
}

// override applies what the Config says of all hops.
func (s *settings) override(h *hop, cfg Config) {
	if len(cfg.KnownHosts) > 0 {
		h.knownHosts = nil
		for _, file := range cfg.KnownHosts {
			h.knownHosts = append(h.knownHosts, s.expand(file))
		}
	}
	switch cfg.Agent {
	case "":
	case "none":
		h.agent = ""
	default:
		h.agent = s.expand(cfg.Agent)
	}
	if cfg.ConnectTimeout > 0 {
		h.connect = cfg.ConnectTimeout
	}
	if cfg.Silence > 0 {
		h.silence = cfg.Silence
	}
}

func portText(port int) string {
	if port == 0 {
		return ""
	}
	return strconv.Itoa(port)
}

// way resolves [user@]host and the jumps that lead to it.
func (s *settings) way(target, port string, left int) ([]hop, error) {
	if left == 0 {
		return nil, fault.New(fault.Permanent,
			"ssh configuration: ProxyJump of %s leads over more than %d hosts, or in a circle", target, mostHops)
	}
	h, err := s.resolve(target, port)
	if err != nil {
		return nil, err
	}
	jump, err := s.get(h.name, "ProxyJump")
	if err != nil {
		return nil, err
	}
	if jump == "" || strings.EqualFold(jump, "none") {
		command, err := s.get(h.name, "ProxyCommand")
		if err == nil && command != "" && !strings.EqualFold(command, "none") && jump == "" {
			err = fault.WithHint(fault.New(fault.Permanent,
				"ssh configuration: %s has a ProxyCommand, which is not run", h.name), "use ProxyJump")
		}
		return []hop{h}, err
	}
	// The first of several jumps is reached by its own ProxyJump; each other one through the one before it.
	var hops []hop
	for i, to := range strings.Split(jump, ",") {
		target, port, err := splitJump(strings.TrimSpace(to))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			hops, err = s.way(target, port, left-1)
		} else {
			var next hop
			next, err = s.resolve(target, port)
			hops = append(hops, next)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(hops, h), nil
}

// splitJump reads [user@]host[:port] or ssh://[user@]host[:port].
func splitJump(s string) (target, port string, err error) {
	u, err := url.Parse("ssh://" + strings.TrimPrefix(s, "ssh://"))
	if err != nil || u.Hostname() == "" {
		return "", "", fault.New(fault.Permanent, "ssh configuration: ProxyJump %q: want [user@]host[:port]", s)
	}
	target = u.Hostname()
	if name := u.User.Username(); name != "" {
		target = name + "@" + target
	}
	return target, u.Port(), nil
}

// resolve collects what is known of one host. What target and port say takes precedence over the files.
func (s *settings) resolve(target, port string) (h hop, err error) {
	userName, name, _ := cutUser(target)
	h = hop{name: name, host: name, port: port, user: userName, connect: defaultConnect, silence: defaultSilence}
	get := func(key string) string {
		v, e := s.get(name, key)
		err = errors.Join(err, e)
		return v
	}
	if v := get("HostName"); v != "" {
		h.host = strings.NewReplacer("%%", "%", "%h", name).Replace(v)
	}
	if v := get("Port"); h.port == "" {
		h.port = v
	}
	if h.port == "" {
		h.port = "22"
	}
	if v := get("User"); h.user == "" {
		h.user = v
	}
	if h.user == "" {
		h.user, err = localUser()
		if err != nil {
			return h, err
		}
	}
	h.alias = get("HostKeyAlias")
	h.identitiesOnly = strings.EqualFold(get("IdentitiesOnly"), "yes")
	h.hashed = strings.EqualFold(get("HashKnownHosts"), "yes")
	h.agent = s.agent(get("IdentityAgent"))
	if seconds, e := strconv.Atoi(get("ConnectTimeout")); e == nil && seconds > 0 {
		h.connect = time.Duration(seconds) * time.Second
	}
	if every, e := strconv.Atoi(get("ServerAliveInterval")); e == nil && every > 0 {
		count, e := strconv.Atoi(get("ServerAliveCountMax"))
		if e != nil || count < 1 {
			count = 3
		}
		h.silence = time.Duration(every*count) * time.Second
	}
	if err != nil {
		return h, err
	}
	return h, s.places(&h)
}

// places finds the files of keys and of known hosts.
func (s *settings) places(h *hop) error {
	tokens := strings.NewReplacer("%%", "%", "%d", s.home, "%h", h.host, "%n", h.name, "%p", h.port, "%r", h.user)
	paths := func(values []string) (files []string) {
		for _, v := range values {
			files = append(files, s.expand(tokens.Replace(os.ExpandEnv(unquote(v)))))
		}
		return files
	}
	keys, err := s.all(h.name, "IdentityFile")
	if err != nil {
		return err
	}
	if h.identities, h.explicit = paths(keys), len(keys) > 0; !h.explicit {
		h.identities = paths([]string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"})
	}
	known, err := s.get(h.name, "UserKnownHostsFile")
	if err == nil && known == "" {
		known = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
	}
	global, e := s.get(h.name, "GlobalKnownHostsFile")
	if global == "" {
		global = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
	}
	h.knownHosts = paths(append(strings.Fields(known), strings.Fields(global)...))
	return errors.Join(err, e)
}

// agent is the socket of the agent that IdentityAgent names.
func (s *settings) agent(v string) string {
	switch {
	case v == "", v == "SSH_AUTH_SOCK":
		return os.Getenv("SSH_AUTH_SOCK")
	case v == "none":
		return ""
	case strings.HasPrefix(v, "$"):
		return os.Getenv(strings.Trim(v, "${}"))
	}
	return s.expand(v)
}

func localUser() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", fault.New(fault.Permanent, "find out who we are: %w", err)
	}
	return u.Username, nil
}

// String is how messages name the hop.
func (h hop) String() string { return fmt.Sprintf("%s@%s", h.user, address(h.host, h.port)) }
