package sftp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/desttest"
	"holdfast/tests/testenv"
)

// TestAnotherHasThePart: a part that another process has just made, and is about to write to, never becomes our file.
func TestAnotherHasThePart(t *testing.T) {
	t.Parallel()
	s, dir := testenv.SSHD(t, testenv.SSHDOptions{}), t.TempDir()
	d := connected(t, config(s, dir))
	theirs, err := os.Create(filepath.Join(dir, connector.PartName("x")))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	data := desttest.Bytes(1, 1000)
	if _, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write(desttest.Bytes(2, 1000)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file became another's: %d bytes, %v", len(got), err)
	}
}

// TestAnotherMakesThePartAnew: what gets the name is what was verified, or it is no success.
func TestAnotherMakesThePartAnew(t *testing.T) {
	t.Parallel()
	s, dir := testenv.SSHD(t, testenv.SSHDOptions{}), t.TempDir()
	d := connected(t, config(s, dir))
	content := desttest.Content(desttest.Bytes(1, 1000))
	_, err := d.placing(t.Context(), "x", content, func(p *placing) (done connector.Placed, err error) {
		p.out = &outgoing{ctx: p.ctx, content: content}
		f, err := p.create()
		if err == nil {
			_, err = p.send(f, 0)
		}
		if err == nil {
			done.Verified, err = p.settle(f)
		}
		part := filepath.Join(dir, connector.PartName("x"))
		err = errors.Join(err, os.Remove(part), os.WriteFile(part, desttest.Bytes(2, 1000), 0o644))
		if err != nil {
			t.Error(err)
		}
		return done, p.finish()
	})
	if !fault.Is(err, fault.Transient) {
		t.Errorf("got %v, want that another one is at it", err)
	}
	if _, err := d.Place(t.Context(), "x", content, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v, want a conflict", err)
	}
}

// TestSizeIsNotEnough: all frames of a camera have one size; by that alone none of them is there already, nor a copy of another.
func TestSizeIsNotEnough(t *testing.T) {
	t.Parallel()
	shell := testenv.SSHD(t, testenv.SSHDOptions{})
	box := testenv.SSHD(t, testenv.SSHDOptions{NoShell: true, SFTP: "internal-sftp -P read"})
	for _, c := range []struct {
		server *testenv.SSHServer
		verify string
	}{{shell, "size"}, {box, "auto"}} {
		dir := t.TempDir()
		cfg := config(c.server, dir)
		cfg.Verify = c.verify
		d := connected(t, cfg)
		old := desttest.Content([]byte("frame of yesterday"))
		frame := desttest.Content([]byte("frame of this hour"))
		frame.ModTime = old.ModTime.Add(time.Second)
		if _, err := d.Place(t.Context(), "x", old, nil); err != nil {
			t.Fatal(err)
		}
		if p, err := d.Place(t.Context(), "x", frame, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: placed %+v, %v; want a conflict", c.verify, p, err)
		}
		if p, err := d.Place(t.Context(), "x", old, nil); err != nil || !p.Already {
			t.Errorf("%s: placed %+v, %v; want it to be there already", c.verify, p, err)
		}
		if p, err := d.Copy(t.Context(), "x", "y", frame); err == nil {
			t.Errorf("%s: copied %+v, which is something else", c.verify, p)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("%s: left: %v", c.verify, left)
		}
	}
}

// TestFoundIsDurable: what is there already is synced before it is told, with its name: who made it may have been killed before
// he did so.
func TestFoundIsDurable(t *testing.T) {
	t.Parallel()
	diary := filepath.Join(t.TempDir(), "diary")
	s := testenv.SSHD(t, testenv.SSHDOptions{SFTP: "/usr/lib/openssh/sftp-server -e -l VERBOSE 2>>" + diary})
	dir, data := t.TempDir(), []byte("some bytes")
	if err := os.WriteFile(filepath.Join(dir, "x"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	d := connected(t, config(s, dir))
	if p, err := d.Place(t.Context(), "x", desttest.Content(data), nil); err != nil || !p.Already {
		t.Errorf("placed %+v, %v", p, err)
	}
	said, err := os.ReadFile(diary)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"fsync \"" + dir + "/x\"", "fsync \"" + dir + "\""} {
		if !strings.Contains(string(said), step) {
			t.Errorf("the server was not asked for %s: it says\n%s", step, said)
		}
	}
}

// TestSweepKnowsWhatIsNew: a part that is whole has the time of its original, and is no older for that.
func TestSweepKnowsWhatIsNew(t *testing.T) {
	t.Parallel()
	s, dir := testenv.SSHD(t, testenv.SSHDOptions{}), t.TempDir()
	d := connected(t, config(s, dir))
	long := time.Now().AddDate(-1, 0, 0)
	content := desttest.Content([]byte("some bytes"))
	content.ModTime = long
	// One is left as a crash before the link leaves it.
	_, err := d.placing(t.Context(), "new", content, func(p *placing) (done connector.Placed, err error) {
		p.out = &outgoing{ctx: p.ctx, content: content, h: sha256.New()}
		f, err := p.create()
		if err == nil {
			_, err = p.send(f, 0)
		}
		if err == nil {
			_, err = p.settle(f)
		}
		return done, err
	})
	old := connector.PartName("old")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, old), nil, 0o644)
	}
	if err == nil {
		err = os.Chtimes(filepath.Join(dir, old), long, long)
	}
	if err != nil {
		t.Fatal(err)
	}
	removed, err := d.Sweep(t.Context(), time.Hour)
	if err != nil || len(removed) != 1 || removed[0] != old {
		t.Errorf("removed %v, %v; want %s", removed, err, old)
	}
}

// TestSweepLooksWhereItMust: an archive is gone through once, and then only where something was left: over a link each directory
// takes round trips.
func TestSweepLooksWhereItMust(t *testing.T) {
	t.Parallel()
	diary := filepath.Join(t.TempDir(), "diary")
	s := testenv.SSHD(t, testenv.SSHDOptions{SFTP: "/usr/lib/openssh/sftp-server -e -l VERBOSE 2>>" + diary})
	dir := t.TempDir()
	d := connected(t, config(s, dir))
	for _, below := range []string{"2025/a", "2025/b", "2026/c"} {
		if err := os.MkdirAll(filepath.Join(dir, below), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	looked := func() int {
		t.Helper()
		said, err := os.ReadFile(diary)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(said), "opendir ")
	}
	if removed, err := d.Sweep(t.Context(), time.Hour); err != nil || len(removed) > 0 || looked() != 6 {
		t.Errorf("removed %v, %v, of %d directories; want 6 to be looked at", removed, err, looked())
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := d.Place(ctx, "2026/c/x", desttest.Content(desttest.Bytes(1, 3<<20)), func(int64) { cancel() }); err == nil {
		t.Error("a transfer that was cut off did not fail")
	}
	var all []string
	testenv.Until(t, 10*time.Second, "what was cut off is removed", func() bool { // it is ours until it has ended
		before := looked()
		removed, err := d.Sweep(t.Context(), -time.Hour)
		if err != nil || looked() != before+1 {
			t.Errorf("%v, and %d directories were looked at; want one", err, looked()-before)
		}
		all = append(all, removed...)
		return len(all) > 0
	})
	if len(all) != 1 || all[0] != connector.PartName("2026/c/x") {
		t.Errorf("removed %v", all)
	}
}
