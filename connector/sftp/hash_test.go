package sftp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

// linked runs f with a connection of a destination.
func linked(t *testing.T, d *Destination, f func(c *connection, l *lane)) {
	t.Helper()
	_, err := withLane(t.Context(), d, "test", func(_ context.Context, c *connection, l *lane) (struct{}, error) {
		f(c, l)
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// together hashes files as a batcher does that has gathered them all.
func together(c *connection, paths ...string) []*hashing {
	all := make([]*hashing, len(paths))
	for i, path := range paths {
		all[i] = &hashing{path: path, size: 1}
	}
	c.hashTogether(struct{}{}, all)
	return all
}

// TestHashedTogether: many files are hashed by one request, with each program that hashes. Where something is wrong with one of
// them each is asked for by itself, and has its own answer.
func TestHashedTogether(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sha256sum", "shasum", "openssl"} {
		t.Run(tool, func(t *testing.T) {
			bin, dir := t.TempDir(), t.TempDir()
			for _, name := range []string{"sh", "perl", tool} {
				testLink(t, "/usr/bin/"+name, filepath.Join(bin, name))
			}
			s := testenv.SSHD(t, testenv.SSHDOptions{Config: []string{"SetEnv PATH=" + bin}})
			var good []string
			for i := range 10 {
				good = append(good, filepath.Join(dir, fmt.Sprint(i)))
				if err := os.WriteFile(good[i], []byte(good[i]), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			testLink(t, good[0], filepath.Join(dir, "link"))
			linked(t, connected(t, config(s, dir)), func(c *connection, _ *lane) {
				one, err := c.shell()
				if err != nil {
					t.Error(err)
					return
				}
				c.leaveShell(one)
				if got := one.tool; !strings.Contains(got, tool) {
					t.Errorf("the server hashes with %s", got)
				}
				for _, h := range together(c, good...) {
					if h.alone || h.err != nil || h.sum != sha256.Sum256([]byte(h.path)) {
						t.Errorf("%s: got %x, %v, alone %v", h.path, h.sum, h.err, h.alone)
					}
				}
				for _, bad := range []string{"link", "not there", ""} {
					for _, h := range together(c, slices.Insert(slices.Clone(good), 5, filepath.Join(dir, bad))...) {
						if !h.alone || h.err != nil {
							t.Errorf("with %q: %s is not asked for by itself (%v)", bad, h.path, h.err)
						}
					}
				}
				mixed(t, c, append(slices.Clone(good), dir+"/link", dir+"/absent", dir))
			})
		})
	}
}

func testLink(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// mixed asks for many at once, of which the last ones are a link, nothing, and a directory.
func mixed(t *testing.T, c *connection, paths []string) {
	c.small.Add(int64(4 * len(paths))) // so that they wait for each other
	defer c.small.Add(-int64(4 * len(paths)))
	errs := make([]error, len(paths))
	var all sync.WaitGroup
	for i, path := range paths {
		all.Go(func() {
			var sum [sha256.Size]byte
			if sum, errs[i] = c.remoteHash(path, 1); errs[i] == nil && sum != sha256.Sum256([]byte(path)) {
				errs[i] = errors.New("another hash")
			}
		})
	}
	all.Wait()
	n := len(paths) - 3
	if err := errors.Join(errs[:n]...); err != nil {
		t.Error(err)
	}
	if !fault.Is(errs[n], fault.Conflict) || !errors.Is(errs[n+1], fs.ErrNotExist) || !errors.Is(errs[n+2], fs.ErrNotExist) {
		t.Errorf("got %v, want a link, and nothing, and nothing", errs[n:])
	}
}

// TestShellDiesInBetween: each of many who wait for hashes gets an error when the shell ends, or the connection.
func TestShellDiesInBetween(t *testing.T) {
	t.Parallel()
	bin, dir := t.TempDir(), t.TempDir()
	testLink(t, "/usr/bin/sh", filepath.Join(bin, "sh"))
	begun, end := filepath.Join(dir, "begun"), filepath.Join(dir, "end")
	// It ends with the shell when it is told to, and by itself when the test is over.
	slow := fmt.Sprintf("#!/bin/sh\n: >%[1]s\nwhile [ -e %[1]s ] && [ ! -e %[2]s ]; do /usr/bin/sleep 0.05; done\nkill -9 0\n", begun, end)
	if err := os.WriteFile(filepath.Join(bin, "sha256sum"), []byte(slow), 0o755); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(bin, "sha256sum")
	s := testenv.SSHD(t, testenv.SSHDOptions{Config: []string{"SetEnv PATH=" + bin}})
	for name, ends := range map[string]func(c *connection) error{
		"shell":      func(*connection) error { return os.WriteFile(end, nil, 0o644) },
		"sessions":   func(*connection) error { s.KillSessions(); return nil },
		"connection": func(c *connection) error { c.fail(fault.New(fault.Transient, "it broke")); return nil },
	} {
		linked(t, connected(t, config(s, dir)), func(c *connection, _ *lane) {
			_, _ = os.Remove(begun), os.Remove(end)
			answered := make(chan []*hashing)
			go func() { answered <- together(c, there, there, there) }()
			testenv.Until(t, 10*time.Second, "the server hashes", func() bool {
				_, err := os.Stat(begun)
				return err == nil
			})
			if err := ends(c); err != nil {
				t.Error(err)
			}
			for _, h := range <-answered {
				if !fault.Is(h.err, fault.Transient) || h.alone {
					t.Errorf("%s: got %v, alone %v; want an outage", name, h.err, h.alone)
				}
			}
		})
	}
}

// TestCrowd: one who is alone does not wait, many are served by one request, and what has begun serves nobody who comes then.
func TestCrowd(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan []int), make(chan bool)
	c := newBatcher(func(_ string, all []int) {
		began <- all
		<-goOn
	})
	var all sync.WaitGroup
	join := func(n, enough int) { all.Go(func() { c.join("key", n, 1, enough) }) }
	join(1, 1)
	if got := <-began; !slices.Equal(got, []int{1}) {
		t.Errorf("served %v, want 1 alone", got)
	}
	for n := range mostTogether + 1 { // more than may be together, while the first request is under way
		join(n, 1000)
	}
	first, last := <-began, <-began
	if len(first)+len(last) != mostTogether+1 || len(first) > mostTogether || len(last) > mostTogether {
		t.Errorf("served %d and %d, want %d together at most, and all", len(first), len(last), mostTogether)
	}
	for range 3 {
		goOn <- true
	}
	all.Wait()
	if len(c.open) > 0 {
		t.Errorf("left open: %v", c.open)
	}
}
