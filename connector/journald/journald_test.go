package journald

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector/watchertest"
	"holdfast/tests/testenv"
)

// journal is a journal and a watcher of it.
func journal(t *testing.T) (*testenv.Journal, *watched) {
	j := testenv.NewJournal(t)
	return j, &watched{watchertest.New(t), t, Config{Directory: j.Dir()}}
}

func TestFollow(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit = "a.service"
	j.Say("a.service", "before")
	j.Flush()
	w.start()
	w.Ready()
	j.Say("b.service", "other")
	j.Say("a.service", "one", "two")
	w.Tells("one", "two")
	w.Stop()
	j.Say("a.service", "meanwhile")
	j.Flush()
	w.start()
	j.Say("a.service", "three")
	w.Tells("one", "two", "meanwhile", "three")
	f := w.fields(0)
	if f["_unit"] != "a.service" || f["PRIORITY"] != "6" || f["_PID"] != "42" || f["MESSAGE"] != "" || f["__CURSOR"] != "" {
		t.Errorf("got fields %v", f)
	}
}

// Whatever a writer puts into an entry arrives as it is, and forges nothing.
func TestHostile(t *testing.T) {
	j, w := journal(t)
	w.cfg.MaxLine = 100_000
	w.cfg.Keep = []string{"EVIL"}
	w.start()
	w.Ready()
	hostile := []string{"$(reboot)", "`id`", "a\nb", "-rf", ";", "\x1b[2J", "\xff\xfe\x00", "", `"quoted\" \u0041`, "é😀", strings.Repeat("x", 50_000)}
	for _, m := range hostile {
		j.Write([]string{"_SYSTEMD_UNIT=evil.service", "UNIT=victim.service", "OBJECT_SYSTEMD_UNIT=victim.service", "_PID=4711", "_UID=1000",
			"EVIL=a", "EVIL=b\x01", "MESSAGE=" + m})
	}
	j.Write([]string{"_PID=1", "UNIT=victim.service", "_SYSTEMD_UNIT=init.scope", "MESSAGE=" + strings.Repeat("y", 1<<20)})
	j.Write([]string{"_SYSTEMD_UNIT=evil.service", "MESSAGE=a", "MESSAGE=b"})
	j.Write([]string{"_SYSTEMD_UNIT=evil.service", "_PID=5"})
	w.Tells(append(hostile, strings.Repeat("y", 100_000)+" (cut)", "a\nb", "")...)
	if f := w.fields(0); f["_unit"] != "evil.service" || f["EVIL"] != "a\nb\x01" {
		t.Errorf("got %q", f)
	}
	if f := w.fields(len(hostile)); f["_unit"] != "victim.service" {
		t.Errorf("systemd speaks of its unit: got %q", f)
	}
}

func TestFilters(t *testing.T) {
	j, w := journal(t)
	w.cfg = Config{Directory: j.Dir(), Units: []string{"a.service", "b.service"}, Priority: "warning", Match: map[string]string{"_UID": "7"}}
	w.start()
	w.Ready()
	for _, unit := range []string{"a.service", "b.service", "c.service"} {
		for _, priority := range []string{"3", "6"} {
			for _, uid := range []string{"7", "8"} {
				j.Write([]string{"_SYSTEMD_UNIT=" + unit, "PRIORITY=" + priority, "_UID=" + uid, "MESSAGE=" + unit + priority + uid})
			}
		}
	}
	j.Write([]string{"_SYSTEMD_UNIT=a.service", "PRIORITY=3", "_UID=7", "MESSAGE=end"})
	w.Tells("a.service37", "b.service37", "end")
}

func TestSince(t *testing.T) {
	j, w := journal(t)
	j.Say("a.service", "one", "two")
	j.Flush()
	w.cfg.Unit = "a.service"
	w.cfg.Since = "2020-01-01T00:00:00Z"
	w.start()
	w.Tells("one", "two")
}

// Rotation begins a file that has its own numbers; nothing is missed or told twice, also over restarts.
func TestRotation(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit = "a.service"
	w.start()
	w.Ready()
	var want []string
	for i := range 4 {
		m := fmt.Sprintf("message %d", i)
		j.Say("a.service", m)
		want = append(want, m)
		if i%2 == 0 {
			w.Tells(want...)
			w.Stop()
		}
		j.Begin()
		if i%2 == 0 {
			w.start()
		}
	}
	w.Tells(want...)
}

// A cursor whose entry is gone is noticed, and told once.
func TestVacuum(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit = "a.service"
	w.start()
	w.Ready()
	j.Say("a.service", "one")
	w.Tells("one")
	w.Stop()
	j.Say("a.service", "never seen")
	j.Begin()
	must(t, os.Remove(j.File(1)))
	j.Say("a.service", "two", "three")
	j.Flush()
	w.start()
	w.Tells("one", "GAP no longer has the entry", "two", "three")
	w.Stop()
	w.start()
	j.Say("a.service", "four")
	w.Tells("one", "GAP no longer", "two", "three", "four")
}

// What is no cursor, and a cursor of another journal, are noticed likewise.
func TestForeignCursor(t *testing.T) {
	for _, cursor := range []string{"garbage", "s=5ff6ccf8ddbc4939babd685fbd05eef5;i=1;b=0123456789abcdef0123456789abcdef;m=1;t=649ada49a2801;x=1"} {
		j, w := journal(t)
		j.Say("a.service", "one", "two")
		j.Flush()
		w.cfg.Unit = "a.service"
		w.Place(place{Version: 1, Cursor: cursor, Micro: 1}.bytes())
		w.start()
		w.Tells("GAP no longer", "one", "two")
		w.Stop()
	}
}

// A quiet unit's cursor moves with the journal, so that vacuum does not make it a gap.
func TestQuietUnit(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit, w.cfg.Watchdog = "a.service", 100*time.Millisecond
	w.start()
	w.Ready()
	j.Say("a.service", "one")
	w.Tells("one")
	j.Begin()
	j.Say("b.service", "noise")
	j.Flush()
	cursor := func() string {
		p, err := readPlace(w.Position())
		must(t, err)
		return p.Cursor
	}
	was := cursor()
	w.Until("move", func() bool { return cursor() != was })
	w.Stop()
	must(t, os.Remove(j.File(1)))
	w.start()
	j.Say("a.service", "two")
	w.Tells("one", "two")
}

// command is a journalctl that a test can break.
func command(t *testing.T, script string) string {
	path := filepath.Join(t.TempDir(), "journalctl")
	must(t, os.WriteFile(path, []byte("#!/bin/bash\n"+script), 0o700))
	return path
}

// A child that is deaf is replaced, and what it did not tell is told once.
func TestDeaf(t *testing.T) {
	j, w := journal(t)
	flag := filepath.Join(t.TempDir(), "deaf")
	w.cfg.Unit, w.cfg.Watchdog = "a.service", 200*time.Millisecond
	w.cfg.Command = command(t, `if [[ " $* " == *" --follow "* && ! -e `+flag+` ]]; then touch `+flag+`; exec sleep 1000; fi
exec /usr/bin/journalctl "$@"`)
	w.start()
	w.Ready()
	j.Say("a.service", "one")
	w.Tells("one")
	if told := strings.Join(w.Told(), "\n"); !strings.Contains(told, "NOTE journalctl is silent though the journal has newer entries") {
		t.Errorf("got %q", told)
	}
	j.Say("a.service", "two")
	w.Tells("one", "two")
}

// One that wakes when others write is asked now and then only: each question is a process.
func TestFewQuestions(t *testing.T) {
	j, w := journal(t)
	runs := filepath.Join(t.TempDir(), "runs")
	w.cfg.Unit, w.cfg.Watchdog = "a.service", 100*time.Millisecond
	w.cfg.Command = command(t, `echo >>`+runs+`
exec /usr/bin/journalctl "$@"`)
	j.Say("a.service", "before")
	j.Flush()
	begun := time.Now()
	w.start()
	w.Ready()
	for range 20 {
		j.Say("b.service", "noise")
		j.Flush()
		time.Sleep(w.cfg.Watchdog)
	}
	j.Say("a.service", "one")
	w.Tells("one")
	looks := int(time.Since(begun) / w.cfg.Watchdog) // more than 20 on a busy machine
	b, err := os.ReadFile(runs)
	must(t, err)
	if n := strings.Count(string(b), "\n"); n > looks {
		t.Errorf("journalctl was run %d times within %d looks", n, looks)
	}
}

// One that wakes is asked once when nothing more is written: it may have looked while the last entry was being linked.
func TestHushed(t *testing.T) {
	j, w := journal(t)
	j.Say("a.service", "one")
	j.Flush()
	w.cfg.Unit = "a.service"
	end, err := ask(t.Context(), w.cfg.WithDefaults(), 1)
	must(t, err)
	j.Say("b.service", "noise")
	j.Flush()
	f := newFollower(w.cfg.WithDefaults(), &place{Version: placeVersion, Cursor: end[0].cursor, Micro: end[0].micro}, w.Tell)
	c, err := start("/bin/sh", "-c", "while :; do sleep 0.001; done")
	must(t, err)
	defer c.kill()
	x := &watch{f: f, c: c}
	for i, want := range []bool{false, true, false, false} {
		w.Until("wakes", func() bool { return c.turns() > x.turns })
		if got := x.doubtful(); got != want {
			t.Errorf("look %d: %v, want %v", i, got, want)
		}
	}
	j.Say("b.service", "noise")
	j.Flush()
	for i, want := range []bool{false, true, false} {
		w.Until("wakes", func() bool { return c.turns() > x.turns })
		if got := x.doubtful(); got != want {
			t.Errorf("look %d behind more: %v, want %v", i, got, want)
		}
	}
}

// A child that stops amid its work is, too.
func TestFrozen(t *testing.T) {
	j, w := journal(t)
	pid := filepath.Join(t.TempDir(), "pid")
	w.cfg.Unit, w.cfg.Watchdog = "a.service", 200*time.Millisecond
	w.cfg.Command = command(t, `[[ " $* " == *" --follow "* && ! -e `+pid+` ]] && echo $$ >`+pid+`
exec /usr/bin/journalctl "$@"`)
	w.start()
	w.Ready()
	j.Say("a.service", "one")
	w.Tells("one")
	b, err := os.ReadFile(pid)
	must(t, err)
	signal(t, strings.TrimSpace(string(b)), "-STOP")
	j.Say("a.service", "two", "three")
	w.Tells("one", "two", "three")
}

// A child that ends is replaced, its words are told, and of its last half entry nothing.
func TestKilled(t *testing.T) {
	j, w := journal(t)
	flag := filepath.Join(t.TempDir(), "once")
	w.cfg.Unit = "a.service"
	w.cfg.Command = command(t, `if [[ " $* " == *" --follow "* && ! -e `+flag+` ]]; then touch `+flag+`
  /usr/bin/journalctl "${@/--follow/--no-tail}" | head -c -20; echo "Journal is broken" >&2; exit 3; fi
exec /usr/bin/journalctl "$@"`)
	w.Place(place{Version: 1, Micro: 1}.bytes())
	j.Say("a.service", "one", "two", "three")
	j.Flush()
	w.start()
	w.Tells("one", "two", "three")
	told := strings.Join(w.Told(), "\n")
	for _, want := range []string{"NOTE journalctl: Journal is broken", "NOTE journalctl ended and is started again: "} {
		if !strings.Contains(told, want) {
			t.Errorf("no %q in %q", want, told)
		}
	}
}

func TestNoJournalctl(t *testing.T) {
	for command, want := range map[string]fault.Kind{"/none/journalctl": fault.NotFound, "/etc/passwd": fault.Permanent, "/bin/false": fault.Transient} {
		j, err := New(Config{Command: command})
		must(t, err)
		if err := j.Watch(t.Context(), place{Version: 1, Micro: 1}.bytes(), watchertest.New(t).Tell); fault.KindOf(err) != want {
			t.Errorf("%s: got %v, want kind %v", command, err, want)
		}
	}
}

func TestTellFails(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit = "a.service"
	w.Place(place{Version: 1, Micro: 1}.bytes())
	j.Say("a.service", "one")
	j.Flush()
	full := errors.New("full")
	w.Refuse(func() error { return full })
	watcher, err := New(w.cfg)
	must(t, err)
	if err := watcher.Watch(t.Context(), w.Position(), w.Tell); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
	w.Refuse(nil)
	w.start()
	w.Tells("one")
}

// Lines of one process are joined, also over a restart; those of others between them are not.
func TestJoin(t *testing.T) {
	j, w := journal(t)
	w.cfg.Join = &lines.Config{Continue: `^\s`, Quiet: time.Second}
	w.Place(place{Version: 1, Micro: 1}.bytes())
	say := func(pid, m string) { j.Write([]string{"_PID=" + pid, "MESSAGE=" + m}) }
	w.start()
	say("1", "panic")
	say("2", "other")
	say("1", " at a")
	w.Until("open text", func() bool {
		p := string(w.Position())
		return strings.Count(p, `"lines"`) == 2 && strings.Contains(p, `"lines":2`)
	})
	w.Stop()
	say("1", " at b")
	w.start()
	w.Until("both", func() bool { return len(w.Lines()) == 2 })
	if got := strings.Join(w.Lines(), "|"); got != "other|panic\n at a\n at b" && got != "panic\n at a\n at b|other" {
		t.Errorf("got %q", got)
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"unit: \"x\"":         {Unit: "x"},
		"unit: \"--flush.s\"": {Units: []string{"--flush.s*"}},
		"identifier: ":        {Identifier: "a\nb"},
		"namespace: ":         {Namespace: "\x1b"},
		"priority: is":        {Priority: "fatal"},
		"match: \"-x\"":       {Match: map[string]string{"-x": "y"}},
		"keep: \"a\"":         {Keep: []string{"a"}},
		"directory: is":       {Directory: "x"},
		"max_line: is":        {MaxLine: -1},
		"join.start: ":        {Join: &lines.Config{}},
		"watchdog: is":        {Watchdog: time.Millisecond},
		"since: is":           {Since: "then"},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want[:5]) || !fault.Is(err, fault.Permanent) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	j, err := New(Config{})
	must(t, err)
	for _, p := range []string{"{", `{"v":2}`} {
		if err := j.Watch(t.Context(), []byte(p), nil); !fault.Is(err, fault.Corrupt) {
			t.Errorf("position %s: %v", p, err)
		}
	}
}
