package sftp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

// run runs a command of OpenSSH.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// letIn runs the command of a hint, as a person would.
func letIn(t *testing.T, err error) {
	t.Helper()
	_, command, ok := strings.Cut(fault.HintOf(err), "let it in by: ")
	if !ok || !fault.Is(err, fault.Credentials) {
		t.Fatalf("got %v (%s), want that a person lets the key in", err, fault.HintOf(err))
	}
	run(t, nil, "sh", "-c", command)
}

// TestHostKey: an unknown key and a changed one are refused, whatever the file of known hosts looks like, and
// the command that is told lets them in.
func TestHostKey(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	for name, change := range map[string]func(t *testing.T, cfg *Config, known string){
		"no file":    func(*testing.T, *Config, string) {},
		"empty file": func(t *testing.T, _ *Config, known string) { write(t, known, "\n# nobody\n") },
		"others": func(t *testing.T, _ *Config, known string) {
			write(t, known, s.KnownAs("elsewhere", 22)+s.KnownAs("127.0.0.1", 9))
		},
		"changed": func(t *testing.T, _ *Config, known string) { write(t, known, other(t, s)) },
		"changed, hashed": func(t *testing.T, _ *Config, known string) {
			write(t, known, other(t, s))
			run(t, nil, "ssh-keygen", "-H", "-f", known)
		},
		"unknown, hashed": func(t *testing.T, _ *Config, known string) {
			write(t, known, s.KnownAs("elsewhere", 22))
			run(t, nil, "ssh-keygen", "-H", "-f", known)
		},
		"other type": func(t *testing.T, _ *Config, known string) {
			dir := t.TempDir()
			run(t, nil, "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", dir+"/k")
			public, err := os.ReadFile(dir + "/k.pub")
			if err != nil {
				t.Fatal(err)
			}
			write(t, known, fmt.Sprintf("[127.0.0.1]:%d %s", s.Port(), public))
		},
		"changed, among junk": func(t *testing.T, _ *Config, known string) { write(t, known, "no line\n\n"+other(t, s)) },
		"alias": func(t *testing.T, cfg *Config, _ string) {
			cfg.SSHConfig = write(t, filepath.Join(t.TempDir(), "config"), "Host *\n  HostKeyAlias archive\n  HashKnownHosts yes\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			known := filepath.Join(t.TempDir(), "it's known")
			cfg := config(s, t.TempDir())
			cfg.KnownHosts = []string{known}
			change(t, &cfg, known)
			d := connected(t, cfg)
			before, _ := os.ReadFile(known)
			err := d.Probe(t.Context())
			if after, _ := os.ReadFile(known); !bytes.Equal(before, after) {
				t.Error("known_hosts was written to")
			}
			letIn(t, err)
			if err := d.Probe(t.Context()); err != nil {
				t.Errorf("after the hint (%s): %v", fault.HintOf(err), err)
			}
			after, _ := os.ReadFile(known)
			if hashed := strings.Contains(name, "hashed") || name == "alias"; hashed && bytes.Contains(after, []byte("127.0.0.1")) {
				t.Errorf("a name stands in a file of hashed ones: %s", after)
			}
		})
	}
}

// other is a line of known_hosts with another key for the server.
func other(t *testing.T, s *testenv.SSHServer) string {
	t.Helper()
	dir := t.TempDir()
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/k")
	public, err := os.ReadFile(dir + "/k.pub")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[127.0.0.1]:%d %s", s.Port(), public)
}

// TestHostKeyChanges: a server that comes back with another key is refused by whoever knew it.
func TestHostKeyChanges(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	known := filepath.Join(t.TempDir(), "known_hosts")
	cfg := config(s, t.TempDir())
	cfg.KnownHosts = []string{write(t, known, s.KnownAs("127.0.0.1", s.Port()))}
	d := connected(t, cfg)
	if err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.NewHostKey()
	var err error
	testenv.Until(t, startWithin, "the server is reached again", func() bool {
		err = d.Probe(t.Context())
		return !fault.Is(err, fault.Transient)
	})
	if err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("got %v, want that the key has changed", err)
	}
	letIn(t, err)
	if err := d.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// startWithin is how long a server may need on a busy machine.
const startWithin = 20e9

// TestKnownHosts: several keys for a host, revoked ones, authorities, hashed names, and lines that are no
// good.
func TestKnownHosts(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	good := s.KnownAs("127.0.0.1", s.Port())
	_, key, _ := strings.Cut(good, " ")
	at := fmt.Sprintf("[127.0.0.1]:%d", s.Port())
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"plain":       {good, true},
		"hashed":      {knownhosts.HashHostname(at) + " " + key, true},
		"wildcard":    {fmt.Sprintf("[127.0.0.*]:%d %s", s.Port(), key), true},
		"with junk":   {"!!! no line\n" + good + "elsewhere ssh-nonsense AAAA\n\x00\n", true},
		"second":      {other(t, s) + good, true},
		"revoked":     {good + "@revoked * " + key, false},
		"wrong port":  {s.KnownAs("127.0.0.1", 22), false},
		"negated":     {fmt.Sprintf("!%s,[127.0.0.*]:%d %s", at, s.Port(), key), false},
		"only others": {other(t, s), false},
	} {
		cfg := config(s, t.TempDir())
		cfg.KnownHosts = []string{write(t, filepath.Join(t.TempDir(), "known_hosts"), c.text)}
		err := connected(t, cfg).Probe(t.Context())
		if c.ok && err != nil || !c.ok && !fault.Is(err, fault.Credentials) {
			t.Errorf("%s: got %v, want it to be let in: %v", name, err, c.ok)
		}
	}
}

// TestKeys: keys with a passphrase work through an agent, and without one it is said what to do.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := t.TempDir()
	plain, err := os.ReadFile(s.Key())
	if err != nil {
		t.Fatal(err)
	}
	locked := write(t, filepath.Join(dir, "locked"), string(plain))
	run(t, nil, "ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", locked)
	stranger := filepath.Join(dir, "stranger")
	run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger)
	socket := filepath.Join(dir, "agent")
	agent := testenv.Start(t, testenv.Command{Path: "/usr/bin/ssh-agent", Args: []string{"-D", "-a", socket}})
	agent.WaitFor(t, "SSH_AUTH_SOCK", startWithin)
	try := func(identities []string, agent string, only bool) error {
		cfg := config(s, t.TempDir())
		cfg.IdentityFiles, cfg.Agent, cfg.IdentitiesOnly = identities, agent, only
		return connected(t, cfg).Probe(t.Context())
	}
	refused := func(what string, err error, hint string) {
		t.Helper()
		if !fault.Is(err, fault.Credentials) || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("%s: got %v (%s), want that the login is refused, and %q", what, err, fault.HintOf(err), hint)
		}
	}
	refused("a key with a passphrase", try([]string{locked}, "none", false), "only an agent can be told: ssh-add "+locked)
	refused("an agent without keys", try([]string{locked}, socket, false), "ssh-add "+locked)
	refused("no agent", try([]string{locked}, filepath.Join(dir, "nothing"), false), "does not answer")
	refused("no file", try([]string{filepath.Join(dir, "nothing")}, "none", false), "can't be read")
	refused("a stranger", try([]string{stranger}, "none", false), "authorized_keys")

	run(t, []string{"SSH_AUTH_SOCK=" + socket}, "ssh-add", "-q", s.Key())
	for what, err := range map[string]error{
		"a key with a passphrase, in the agent": try([]string{locked}, socket, true),
		"a key of the agent":                    try([]string{stranger}, socket, false),
		"no key but the agent's":                try(nil, socket, false),
	} {
		if err != nil {
			t.Errorf("%s: %v (%s)", what, err, fault.HintOf(err))
		}
	}
	refused("a key of the agent that is not asked for", try([]string{stranger}, socket, true), "authorized_keys")
}

// TestJumps goes over other hosts to the server, by what the ssh configuration says.
func TestJumps(t *testing.T) {
	t.Parallel()
	first, second := testenv.SSHD(t, testenv.SSHDOptions{}), testenv.SSHD(t, testenv.SSHDOptions{})
	last := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := t.TempDir()
	known := write(t, filepath.Join(dir, "known_hosts"),
		first.KnownAs("127.0.0.1", first.Port())+second.KnownAs("127.0.0.1", second.Port()))
	host := func(name string, s *testenv.SSHServer, more string) string {
		return fmt.Sprintf("Host %s\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n  IdentitiesOnly yes\n"+
			"  User %s\n%s\n", name, s.Port(), s.Key(), s.User(), more)
	}
	ssh := write(t, filepath.Join(dir, "config"), host("gate", first, "")+host("inner", second, "  ProxyJump gate")+
		host("archive", last, "  ProxyJump inner\n  HostKeyAlias the-archive")+
		host("twice", last, "  ProxyJump gate,inner\n  HostKeyAlias the-archive")+
		host("round", last, "  ProxyJump round")+host("command", last, "  ProxyCommand nc %h %p")+
		"Host *\n  UserKnownHostsFile "+known+"\n  ConnectTimeout 7\n  ServerAliveInterval 1\n  ServerAliveCountMax 4\n")
	for _, name := range []string{"archive", "twice"} {
		d := connected(t, Config{Host: name, Directory: t.TempDir(), SSHConfig: ssh, Agent: "none"})
		err := d.Probe(t.Context())
		if name == "archive" { // the last host is known under its alias, and only when a person let it in
			letIn(t, err)
			err = d.Probe(t.Context())
		}
		if err != nil {
			t.Errorf("%s: %v (%s)", name, err, fault.HintOf(err))
		} else if d.link.silence != 4e9 || len(d.link.hops) != 3 {
			t.Errorf("%s: silence %v over %d hops, want 4s over 3", name, d.link.silence, len(d.link.hops))
		}
	}
	for name, want := range map[string]string{"round": "circle", "command": "ProxyCommand"} {
		d := connected(t, Config{Host: name, Directory: t.TempDir(), SSHConfig: ssh, Agent: "none"})
		if err := d.Probe(t.Context()); !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	// A host on the way that goes is an outage.
	d := connected(t, Config{Host: "twice", Directory: t.TempDir(), SSHConfig: ssh, Agent: "none"})
	if err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Kill()
	testenv.Until(t, startWithin, "the host on the way is missed", func() bool { return d.Probe(t.Context()) != nil })
	if err := d.Probe(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
}

// TestHomeDirectory: what is not absolute is below the home of the user.
func TestHomeDirectory(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for directory, want := range map[string]string{"": home, ".": home, "~": home, "~/": home} {
		d := connected(t, config(s, directory))
		if err := d.Probe(t.Context()); err != nil || d.link.root != want {
			t.Errorf("%q: root %q, %v; want %q", directory, d.link.root, err, want)
		}
	}
}

// TestSSHConfiguration: what a host gets from the files, and from the configuration.
func TestSSHConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "config"), `
Host gw gateway
  HostName %h.example.org
  User goto
  Port 2222
  IdentityFile "~/.ssh/key of %r"
  IdentityFile /keys/%h
  UserKnownHostsFile ~/a /b
  IdentityAgent none
Host six
  HostName ::1
Match host gateway
  ConnectTimeout 3
Host *
  ConnectTimeout 5
`)
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	s, err := readSettings(Config{SSHConfig: file})
	if err != nil {
		t.Fatal(err)
	}
	usual := strings.ReplaceAll("[~/.ssh/id_ed25519 ~/.ssh/id_ecdsa ~/.ssh/id_rsa] ~/.ssh/known_hosts 5s", "~", home)
	for host, want := range map[string]string{
		"gw":           "goto@gw.example.org:2222 [" + home + "/.ssh/key of goto /keys/gw.example.org] " + home + "/a 5s",
		"me@gateway":   "me@gateway.example.org:2222 [" + home + "/.ssh/key of me /keys/gateway.example.org] " + home + "/a 3s",
		"me@six":       "me@[::1]:22 " + usual,
		"me@elsewhere": "me@elsewhere:22 " + usual,
	} {
		hops, err := s.route(Config{Host: host})
		if err != nil || len(hops) != 1 {
			t.Errorf("%s: %v, %v", host, hops, err)
			continue
		}
		h := hops[0]
		if got := fmt.Sprintf("%v %v %s %v", h, h.identities, h.knownHosts[0], h.connect); got != want {
			t.Errorf("%s: got  %s\nwant %s", host, got, want)
		}
	}
	hops, err := s.route(Config{Host: "gw", Port: 9, IdentityFiles: []string{"~/k"}, KnownHosts: []string{"/known"}, Agent: "/agent",
		ConnectTimeout: 1e9, Silence: 2e9, IdentitiesOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	h := hops[0]
	got := fmt.Sprint(h, h.identities, h.knownHosts, h.agent, h.connect, h.silence, h.identitiesOnly)
	if want := "goto@gw.example.org:9 [" + home + "/k] [/known]/agent1s 2s true"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for text, want := range map[string]string{"Match exec true\n": "Exec", "Host a\n  ProxyJump me@\n": "ProxyJump"} {
		s, err := readSettings(Config{SSHConfig: write(t, filepath.Join(dir, strconv.Itoa(len(text))), text)})
		if err == nil {
			_, err = s.route(Config{Host: "a"})
		}
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// TestSeveralKeys: a server with keys of several types is known by any one of them.
func TestSeveralKeys(t *testing.T) {
	t.Parallel()
	second := filepath.Join(t.TempDir(), "ecdsa")
	run(t, nil, "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", second)
	s := testenv.SSHD(t, testenv.SSHDOptions{Config: []string{"HostKey " + second}})
	public, err := os.ReadFile(second + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{s.KnownAs("127.0.0.1", s.Port()), fmt.Sprintf("[127.0.0.1]:%d %s", s.Port(), public)} {
		cfg := config(s, t.TempDir())
		cfg.KnownHosts = []string{write(t, filepath.Join(t.TempDir(), "known_hosts"), known)}
		if err := connected(t, cfg).Probe(t.Context()); err != nil {
			t.Errorf("known by %s: %v", known, err)
		}
	}
}

// TestHostCertificate: a host whose key is signed by an authority of known_hosts is let in, under its own name only.
func TestHostCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority, key := filepath.Join(dir, "authority"), filepath.Join(dir, "key")
	for _, file := range []string{authority, key} {
		run(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file)
	}
	run(t, nil, "ssh-keygen", "-q", "-s", authority, "-I", "host", "-h", "-n", "127.0.0.1", key+".pub")
	s := testenv.SSHD(t, testenv.SSHDOptions{Config: []string{"HostKey " + key, "HostCertificate " + key + "-cert.pub"}})
	public, err := os.ReadFile(authority + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"127.0.0.1": true, "elsewhere": false} {
		cfg := config(s, t.TempDir())
		cfg.KnownHosts = []string{write(t, filepath.Join(dir, name), fmt.Sprintf("@cert-authority [%s]:%d %s", name, s.Port(),
			public))}
		err := connected(t, cfg).Probe(t.Context())
		if ok && err != nil || !ok && !fault.Is(err, fault.Credentials) {
			t.Errorf("authority for %s: got %v, want it to be let in: %v", name, err, ok)
		}
	}
}
