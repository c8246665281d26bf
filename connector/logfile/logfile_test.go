package logfile

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesOfNow(t *testing.T) {
	l := newLog(t)
	l.write("old\nbegun ")
	l.start()
	l.Ready()
	l.write("before\none\r\ntwo")
	l.Tells("begun before", "one")
	l.write(" parts\n\n")
	l.Tells("begun before", "one", "two parts", "")
}

// Between two lives nothing is missed, and the position of the first start counts though nothing was told.
func TestRestart(t *testing.T) {
	l := newLog(t)
	l.write("old\n")
	l.start()
	l.Ready()
	l.Stop()
	l.write("meanwhile\nhalf")
	l.start()
	l.Tells("meanwhile")
	l.Stop()
	l.write(" and half\n")
	l.start()
	l.Tells("meanwhile", "half and half")
}

func TestNotYetThere(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("first\n")
	l.Tells("first")
	l.Stop()

	l = newLog(t)
	l.start()
	l.Ready()
	l.Stop()
	l.write("while we were down\n")
	l.rename("", ".1")
	l.write("behind\n")
	l.start()
	l.Tells("while we were down", "behind")
}

func TestSince(t *testing.T) {
	l := newLog(t)
	appendTo(t, l.path(".2"), "long ago\n")
	must(t, os.Chtimes(l.path(".2"), time.Time{}, time.Now().AddDate(-40, 0, 0)))
	appendTo(t, l.path(".1"), "yesterday\n")
	l.write("today\n")
	l.cfg.Since = time.Now().AddDate(-1, 0, 0).Format(time.RFC3339)
	l.start()
	l.Tells("yesterday", "today")
	l.Stop()
	if _, after, err := since("boot"); err != nil || after.After(time.Now()) {
		t.Errorf("booted %v, %v", after, err)
	}
}

func TestRename(t *testing.T) {
	l := newLog(t)
	l.cfg.Settle = 300 * time.Millisecond
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.rename("", ".1")
	appendTo(t, l.path(".1"), "late\nwithout end")
	l.write("two\n")
	l.Tells("one", "late", "without end", "two")
}

// A writer that is late by more than is waited for is heard all the same, also over a restart.
func TestLate(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.rename("", ".1")
	l.write("two\n")
	l.Tells("one", "two")
	appendTo(t, l.path(".1"), "late\n")
	l.write("three\n")
	l.Until("all", func() bool { return len(l.Lines()) == 4 })
	l.Stop()
	appendTo(t, l.path(".1"), "later\n")
	l.start()
	l.Until("all", func() bool { return len(l.Lines()) == 5 })
	if got := l.Lines(); !slices.Contains(got, "late") || !slices.Contains(got, "later") {
		t.Errorf("got %q", got)
	}
}

func TestRenameWhileDown(t *testing.T) {
	for _, packed := range []bool{false, true} {
		l := newLog(t)
		l.start()
		l.Ready()
		l.write("one\n")
		l.Tells("one")
		l.Stop()
		l.write("two\n")
		l.rename("", ".1")
		l.write("three\n")
		l.rename(".1", ".2")
		l.rename("", ".1")
		l.write("four\n")
		if packed {
			pack(t, l.path(".2"))
			pack(t, l.path(".1"))
		}
		l.start()
		l.Tells("one", "two", "three", "four")
		l.Stop()
		l.start()
		l.write("five\n")
		l.Tells("one", "two", "three", "four", "five")
		l.Stop()
	}
}

func TestDates(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.Stop()
	l.write("two\n")
	l.rename("", "-20260130")
	l.write("three\n")
	l.rename("", "-20260131")
	l.write("four\n")
	now := time.Now() // the times say nothing
	for _, s := range []string{"-20260130", "-20260131", ""} {
		must(t, os.Chtimes(l.path(s), now, now))
	}
	l.start()
	l.Tells("one", "two", "three", "four")
}

func TestCopyTruncate(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.write("begun")
	l.copyTruncate(".1")
	l.write("two\n")
	l.Tells("one", "begun", "two")
	l.Stop()
	l.write("three\n")
	l.copyTruncate(".2")
	l.write("four, which is longer than all that stood there\n")
	l.rename(".1", ".3")
	l.copyTruncate(".1")
	l.write("five\n")
	l.start()
	l.Tells("one", "begun", "two", "three", "four, which is longer than all that stood there", "five")
}

// A copy that ends before what was read already is not told again.
func TestCopyThatIsShorter(t *testing.T) {
	for _, down := range []bool{false, true} {
		l := newLog(t)
		l.start()
		l.Ready()
		l.write("one\n")
		b, err := os.ReadFile(l.cfg.Path)
		must(t, err)
		l.write("two\n")
		l.Tells("one", "two")
		if down {
			l.Stop()
		}
		must(t, os.WriteFile(l.path(".1"), b, 0o600))
		must(t, os.Truncate(l.cfg.Path, 0))
		l.write("3\n")
		if down {
			l.start()
		}
		l.Tells("one", "two", "GAP behind byte 8", "3")
		l.Stop()
	}
}

func TestTruncatedWithoutACopy(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\nbegun")
	l.Tells("one")
	l.Until("note", func() bool {
		return strings.Contains(string(l.Position()), `"offset":4`)
	})
	must(t, os.Truncate(l.cfg.Path, 0))
	l.Until("gap", func() bool { return len(l.Lines()) >= 3 })
	l.write("two\n")
	l.Tells("one", "begun", "GAP behind byte 9", "two")
}

// One that was truncated and has grown beyond where it was read to is another all the same.
func TestTruncatedAndGrown(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.Stop()
	must(t, os.Truncate(l.cfg.Path, 0))
	l.write("another\nand more\n")
	l.start()
	l.Tells("one", "GAP byte 4", "another", "and more")
}

func TestRemovedWhileDown(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	l.Stop()
	l.write("never read\n")
	must(t, os.Remove(l.cfg.Path))
	l.write("two\n")
	l.start()
	l.Tells("one", "GAP byte 4", "two")
}

// What is open is read to its end though its name is gone.
func TestRemoved(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.write("one\n")
	l.Tells("one")
	f, err := os.OpenFile(l.cfg.Path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	must(t, os.Remove(l.cfg.Path))
	_, err = f.WriteString("two\n")
	must(t, err)
	must(t, f.Close())
	l.Tells("one", "two")
	l.write("three\n")
	l.Tells("one", "two", "three")
}

// A writer that goes on at its old offset leaves a hole.
func TestHole(t *testing.T) {
	l := newLog(t)
	l.write("")
	f, err := os.OpenFile(l.cfg.Path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	l.start()
	l.Ready()
	text := strings.Repeat("x", 200_000)
	_, err = f.WriteString(text + "\none\n")
	must(t, err)
	l.Tells(text[:64<<10]+" (cut)", "one")
	l.copyTruncate(".1")
	_, err = f.WriteString("two\n")
	must(t, err)
	l.Tells(text[:64<<10]+" (cut)", "one", "two")
}

func TestJoin(t *testing.T) {
	l := newLog(t)
	l.cfg.Join = &lines.Config{Continue: `^\s`, Quiet: 300 * time.Millisecond}
	l.start()
	l.Ready()
	l.write("panic\n at a\n")
	l.Stop()
	l.write(" at b\nnext\n")
	l.start()
	l.Tells("panic\n at a\n at b")
	l.Stop()
	l.start()
	l.Tells("panic\n at a\n at b", "next")
	l.write("last\n more\n")
	l.copyTruncate(".1")
	l.Tells("panic\n at a\n at b", "next", "last\n more")
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]fault.Kind{dir: fault.Permanent, fifo: fault.Permanent, fifo + "/x": fault.Permanent} {
		f, err := New(Config{Path: path})
		must(t, err)
		err = f.Watch(t.Context(), nil, func(context.Context, connector.Seen) error { return nil })
		if fault.KindOf(err) != want {
			t.Errorf("%s: got %v, want kind %v", path, err, want)
		}
	}
	f, err := New(Config{Path: fifo})
	must(t, err)
	if err := f.Watch(t.Context(), []byte("{"), nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a position that is none: %v", err)
	}
	if err := f.Watch(t.Context(), []byte(`{"v":9}`), nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a position of another version: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"path: is":       {Path: "app.log"},
		"path: is \"\"":  {},
		"rotated: \"[":   {Path: "/x", Rotated: "["},
		"max_line: is":   {Path: "/x", MaxLine: 1 << 30},
		"join.start":     {Path: "/x", Join: &lines.Config{}},
		"settle: is -1s": {Path: "/x", Settle: -time.Second},
		"look: is -1s":   {Path: "/x", Look: -time.Second},
		"since: is":      {Path: "/x", Since: "tomorrow"},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Permanent) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
}
