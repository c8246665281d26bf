package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// through is the configuration that reaches a server by way of a proxy.
func through(t *testing.T, s *testenv.SSHServer, p *testenv.FaultyProxy, dir string) Config {
	t.Helper()
	_, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(s, dir)
	if _, err := fmt.Sscan(port, &cfg.Port); err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(s.KnownAs("127.0.0.1", cfg.Port)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.KnownHosts = []string{known}
	return cfg
}

// TestLinkBreaks has the link break in the middle of a file, in every way that a link can: it is an outage,
// the file has no name yet, and goes on where it was.
func TestLinkBreaks(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	data := desttest.Bytes(5, 12<<20)
	for name, c := range map[string]struct{ breaks, heals func(p *testenv.FaultyProxy) }{
		"cut": {(*testenv.FaultyProxy).Down, (*testenv.FaultyProxy).Up},
		"reset": {
			func(p *testenv.FaultyProxy) {
				p.Toxic(t, "reset", "reset_peer", "upstream", map[string]any{"timeout": 0})
			},
			func(p *testenv.FaultyProxy) { p.Remove(t, "reset") },
		},
		"black hole": {
			func(p *testenv.FaultyProxy) {
				p.Toxic(t, "up", "timeout", "upstream", map[string]any{"timeout": 0})
				p.Toxic(t, "down", "timeout", "downstream", map[string]any{"timeout": 0})
			},
			func(p *testenv.FaultyProxy) { p.Remove(t, "up"); p.Remove(t, "down") },
		},
		"sessions killed": {
			func(*testenv.FaultyProxy) { s.KillSessions() }, func(*testenv.FaultyProxy) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, proxy := t.TempDir(), testenv.Proxy(t, s.Addr())
			cfg := through(t, s, proxy, dir)
			cfg.Silence = time.Second
			d := connected(t, cfg)
			var taken int64
			var once sync.Once
			begun := time.Now()
			_, err := d.Place(t.Context(), "big", desttest.Content(data), func(n int64) {
				if taken += n; taken >= 8<<20 {
					once.Do(func() { c.breaks(proxy) })
				}
			})
			if !fault.Is(err, fault.Transient) {
				t.Fatalf("got %v, want an outage", err)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %v to be noticed", took)
			}
			if _, err := os.Lstat(filepath.Join(dir, "big")); err == nil {
				t.Error("the file has its name")
			}
			c.heals(proxy)
			p, err := d.Place(t.Context(), "big", desttest.Content(data), nil)
			for fault.Is(err, fault.Transient) && t.Context().Err() == nil { // it breaks piece by piece
				p, err = d.Place(t.Context(), "big", desttest.Content(data), nil)
			}
			if err != nil || p.Sent > 9<<20 || p.Verified != connector.ByRemoteHash {
				t.Errorf("placed %+v, %v; want it to go on", p, err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "big"))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("there are %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestRestart: the next call finds the server again.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := t.TempDir()
	d := connected(t, config(s, dir))
	for i := range 3 {
		testenv.Until(t, 10*time.Second, "the server is found again", func() bool {
			_, err := d.Place(t.Context(), fmt.Sprint(i), desttest.Content([]byte("x")), nil)
			if err != nil && !fault.Is(err, fault.Transient) {
				t.Fatalf("got %v, want an outage", err)
			}
			return err == nil
		})
		s.Restart()
	}
	s.Kill()
	testenv.Until(t, 10*time.Second, "the server is missed", func() bool { return d.Probe(t.Context()) != nil })
	if err := d.Probe(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
}

// TestSilentServer: a caller that gives up is free at once, and one that waits when the silence has lasted.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	cfg := config(s, t.TempDir())
	cfg.Silence = 4 * time.Second
	d := connected(t, cfg)
	if err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	defer s.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	used := make(chan struct{}, 1000)
	begun := time.Now()
	_, err := d.Place(ctx, "x", desttest.Content(desttest.Bytes(1, 8<<20)), func(int64) { used <- struct{}{} })
	if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second {
		t.Errorf("got %v after %v, want to be free at once", err, took)
	}
	for len(used) > 0 {
		<-used
	}
	begun = time.Now()
	if err := d.Probe(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want an outage", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the silence was noticed after %v", took)
	}
	if len(used) > 0 {
		t.Error("progress was told after the call had returned")
	}
}

// TestStalledRequest: the server answers for itself, and its SFTP does not.
func TestStalledRequest(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := t.TempDir()
	d := connected(t, config(s, dir))
	d.cfg.Silence, d.stall = 600*time.Millisecond, 500*time.Millisecond
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := withLane(t.Context(), d, "open a pipe", func(_ context.Context, c *connection, l *lane) (struct{}, error) {
		_, err := l.client.Open(c.absolute("pipe")) // which waits for somebody who writes
		return struct{}{}, err
	})
	if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "did not answer a request") {
		t.Errorf("got %v, want an outage", err)
	}
}

// TestStalledCopy: the server answers for itself, and a copy that it makes does not end.
func TestStalledCopy(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{NoShell: true})
	dir := t.TempDir()
	d := connected(t, config(s, dir))
	d.cfg.Silence, d.stall = 600*time.Millisecond, 500*time.Millisecond
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	_, err := withLane(ctx, d, "copy a pipe", func(_ context.Context, c *connection, _ *lane) (struct{}, error) {
		return struct{}{}, c.copyData(c.absolute("pipe"), c.absolute("copy"), 1) // which waits for somebody who writes
	})
	if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "did not answer a request") {
		t.Errorf("got %v, want an outage", err)
	}
}

// TestConnectionBreaksBeforeItsShell: that the shell does not come says nothing of the server then.
func TestConnectionBreaksBeforeItsShell(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{SFTP: "/usr/lib/openssh/sftp-server", Config: []string{
		`ForceCommand case "$SSH_ORIGINAL_COMMAND" in sh*) kill -9 $PPID;; *) eval "$SSH_ORIGINAL_COMMAND";; esac`}})
	cfg := config(s, t.TempDir())
	cfg.Verify = string(connector.ByRemoteHash)
	if err := connected(t, cfg).Probe(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("got %v of kind %v, want an outage", err, fault.KindOf(err))
	}
}

// TestMomentsKeepTheMonotonicClock: else a clock that is set ahead breaks every connection, and one that is set back hides that a
// link is silent.
func TestMomentsKeepTheMonotonicClock(t *testing.T) {
	var m moment
	if m.age() != 0 {
		t.Errorf("nothing happened %v ago", m.age())
	}
	m.begin()
	first := m.at.Load()
	if m.begin(); m.at.Load() != first {
		t.Error("it began twice")
	}
	if m.set(); *m.at.Load() == m.at.Load().Round(0) {
		t.Error("a moment has the time of the wall clock alone")
	}
	if m.clear(); m.age() != 0 {
		t.Error("what is over has an age")
	}
}

// TestNoServer: nothing listens, or something else does.
func TestNoServer(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for _, addr := range []string{testenv.Address(t), mute.Addr().String()} {
		cfg := config(s, t.TempDir())
		_, port, _ := strings.Cut(addr, ":")
		if _, err := fmt.Sscan(port, &cfg.Port); err != nil {
			t.Fatal(err)
		}
		cfg.ConnectTimeout = 300 * time.Millisecond
		if err := connected(t, cfg).Probe(t.Context()); !fault.Is(err, fault.Transient) {
			t.Errorf("%s: got %v, want an outage", addr, err)
		}
	}
}

// TestFullDisk: what there is no room for is told as that, and goes on when there is some.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := testenv.SmallDisk(t, 4<<20)
	d, data, fill := connected(t, config(s, dir)), desttest.Bytes(1, 2<<20), filepath.Join(dir, "fill")
	if err := d.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Fill(t, fill)
	_, err := d.Place(t.Context(), "a/x", desttest.Content(data), nil)
	for what, err := range map[string]error{"place": err, "probe": d.Probe(t.Context())} {
		if !fault.Is(err, fault.Full) || !strings.Contains(err.Error(), "there is no room") {
			t.Errorf("%s: got %v, want that there is no room", what, err)
		}
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if p, err := d.Place(t.Context(), "a/x", desttest.Content(data), nil); err != nil || p.Already {
		t.Errorf("placed %+v, %v", p, err)
	}
}

// TestDirectoryThatIsNoGood: a person has to do something about it, and is told what.
func TestDirectoryThatIsNoGood(t *testing.T) {
	t.Parallel()
	mine, reader := testenv.SSHD(t, testenv.SSHDOptions{}), testenv.SSHD(t, testenv.SSHDOptions{SFTP: "internal-sftp -R"})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir, frozen := t.TempDir(), testenv.SmallDisk(t, 1<<20)
	err := errors.Join(os.WriteFile(filepath.Join(dir, "there"), []byte("x"), 0o644),
		syscall.Mount("", frozen, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server    *testenv.SSHServer
		dir, want string
	}{
		"missing":     {mine, filepath.Join(t.TempDir(), "it's not there"), "mkdir"},
		"a file":      {mine, file, ""},
		"not allowed": {reader, dir, "change the owner or the mode"},
		"read-only":   {mine, frozen, "mounted read-only"},
	} {
		d := connected(t, config(c.server, c.dir))
		_, err := d.Place(t.Context(), "a/x", desttest.Content([]byte("x")), nil)
		for what, err := range map[string]error{"place": err, "probe": d.Probe(t.Context())} {
			if !fault.Is(err, fault.Permanent) || !strings.Contains(fault.HintOf(err), c.want) {
				t.Errorf("%s: %s: got %v (%s), want %q", name, what, err, fault.HintOf(err), c.want)
			}
		}
	}
	d := connected(t, config(reader, dir))
	if p, err := d.Place(t.Context(), "there", desttest.Content([]byte("x")), nil); err != nil || !p.Already {
		t.Errorf("placed %+v, %v; want that it is there, where nothing can be written", p, err)
	}
}

// TestRootGoes: a root that goes while the connection stays is missed, and not made.
func TestRootGoes(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	dir := filepath.Join(t.TempDir(), "archive")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := connected(t, config(s, dir))
	if err := errors.Join(d.Probe(t.Context()), os.Remove(dir)); err != nil {
		t.Fatal(err)
	}
	_, err := d.Place(t.Context(), "a/b/x", desttest.Content(nil), nil)
	for what, err := range map[string]error{"place": err, "probe": d.Probe(t.Context()),
		"list": d.List(t.Context(), "", func(connector.Found) error { return nil })} {
		if !fault.Is(err, fault.Permanent) || !strings.Contains(fault.HintOf(err), "mount") {
			t.Errorf("%s: got %v (%s), want that it is not there", what, err, fault.HintOf(err))
		}
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the root was made")
	}
}

// TestHeldName: a call waits until what a former one for its name began has ended, or its own context.
func TestHeldName(t *testing.T) {
	t.Parallel()
	s := testenv.SSHD(t, testenv.SSHDOptions{})
	d := connected(t, config(s, t.TempDir()))
	release, err := d.hold(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := d.Place(ctx, "x", desttest.Content(nil), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want it to wait", err)
	}
	if _, err := d.Place(t.Context(), "y", desttest.Content(nil), nil); err != nil {
		t.Errorf("another name: %v", err)
	}
	release()
	if _, err := d.Place(t.Context(), "x", desttest.Content(nil), nil); err != nil {
		t.Error(err)
	}
}

// TestProbes: what a crash left of a canary goes with the next one, and those of two do not hinder each other.
func TestProbes(t *testing.T) {
	t.Parallel()
	s, dir := testenv.SSHD(t, testenv.SSHDOptions{}), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, probe), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := connected(t, config(s, dir)), connected(t, config(s, dir))
	var probing sync.WaitGroup
	for _, d := range []*Destination{one, two} {
		probing.Go(func() {
			for range 20 {
				if err := d.Probe(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	probing.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
