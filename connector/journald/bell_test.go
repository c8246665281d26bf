package journald

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/watchertest"
	"holdfast/tests/testenv"
)

// bells are the directories of bells that this process has hung.
func bells(t *testing.T) (all []string) {
	names, err := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("%s%s-%d-*", bellPrefix, space(), os.Getpid())))
	must(t, err)
	return names
}

// A line that stands alone is told long before journald itself has its readers told of it: a quarter of a second.
func TestPrompt(t *testing.T) {
	const lines = 11
	s := testenv.Systemd(t, map[string]string{"say.service": fmt.Sprintf("[Service]\nExecStart=/bin/bash -c 'for ((i = 0; i < %d; i++)); do echo line $i; "+
		"sleep 0.4; done'\n", lines)})
	j, err := New(Config{Directory: s.Journal(), Unit: "say.service", Match: map[string]string{"_TRANSPORT": "stdout"}})
	must(t, err)
	late := make(chan time.Duration, lines)
	ready := make(chan bool, 1)
	watchertest.Start(t, j, nil, func(_ context.Context, seen connector.Seen) error {
		for _, e := range seen.Events {
			if e.Kind == connector.EventLine {
				late <- time.Since(e.Time)
			}
		}
		select {
		case ready <- true:
		default:
		}
		return nil
	})
	<-ready
	s.Run("systemctl", "start", "--no-block", "say.service")
	var all []time.Duration
	for range lines {
		all = append(all, <-late)
	}
	slices.Sort(all)
	if all[lines/2] > 200*time.Millisecond {
		t.Errorf("lines were told this late: %v", all)
	}
}

// What comes in a directory that was not there is told too, and at the end nothing is left of what was made.
func TestNewDirectory(t *testing.T) {
	other := testenv.NewJournal(t)
	j, w := journal(t)
	w.start()
	w.Ready()
	j.Say("a.service", "one")
	w.Tells("one")
	if n := len(bells(t)); n != 1 {
		t.Errorf("%d bells", n)
	}
	other.Say("a.service", "two")
	other.Flush()
	dir := filepath.Join(j.Dir(), strings.Repeat("0a", 16))
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Rename(other.File(1), filepath.Join(dir, "system.journal")))
	w.Until("what is in the other", func() bool { return slices.Contains(w.Lines(), "two") })
	w.Stop()
	if left := bells(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// What a process left behind that was killed is removed by the next; what belongs to one that lives is not.
func TestBellsLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	prefix := filepath.Join(os.TempDir(), bellPrefix+space())
	for _, name := range []string{"-4194305-1", "-1-1", "0-4194305-1", "-x"} {
		must(t, os.Mkdir(prefix+name, 0o700))
	}
	var x Bells
	b, err := x.hang([]string{t.TempDir()})
	must(t, err)
	c, err := x.hang(b.post.roots)
	must(t, err)
	if b.post != c.post || len(x.posts) != 1 {
		t.Errorf("two look at one journal: %v", x.posts)
	}
	b.remove()
	c.remove()
	if len(x.posts) > 0 {
		t.Errorf("left: %v", x.posts)
	}
	var left []string
	for _, e := range list(os.TempDir()) {
		left = append(left, strings.TrimPrefix(e.Name(), bellPrefix+space()))
	}
	if want := []string{"-1-1", "-x", "0-4194305-1"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
	if _, err := x.hang([]string{filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("there is no journal, and yet a bell")
	}
}

// A bell that was made while a directory came, and that is hung after the others were told of it, is stale.
func TestBellThatMissesADirectory(t *testing.T) {
	roots := []string{t.TempDir()}
	var x Bells
	first, err := x.hang(roots)
	must(t, err)
	defer first.remove()
	late, dirs, err := newBell(roots)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(roots[0], strings.Repeat("0a", 16)), 0o700))
	<-first.stale
	x.add(late, roots, dirs)
	defer late.remove()
	select {
	case <-late.stale:
	default:
		t.Error("it has no link to the new directory, and is not stale")
	}
}

// A file that comes within the tick of the clock in which its directory was listed is found nevertheless.
func TestDirectoryChangesTwiceInATick(t *testing.T) {
	root := t.TempDir()
	w := &written{}
	defer w.close()
	for {
		at := time.Now()
		must(t, os.Chtimes(root, at, at))
		w.open(dirsOf([]string{root}))
		if time.Since(at) < lately { // or this test was held up
			must(t, os.WriteFile(filepath.Join(root, "system.journal"), nil, 0o600))
			must(t, os.Chtimes(root, at, at))
			break
		}
	}
	if !w.moved() {
		t.Error("the file is not noticed")
	}
}
