package journald

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// A unit of a real systemd writes at full speed, its journal is rotated and what is old is removed, and the watcher is
// ended and begun again at any moment: each line is told once, unless a gap is told.
func TestSystem(t *testing.T) {
	n := 200 * testenv.Count(t, 100)
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	s := testenv.Systemd(t, map[string]string{"noise.service": fmt.Sprintf("[Service]\nLogRateLimitIntervalSec=0\n"+
		"ExecStart=/bin/bash -c 'for ((i = 0; i < %d; i++)); do echo line $i; done; echo end'\n", n),
		"last.service": "[Service]\nExecStart=/bin/echo last\n"})
	w := &watched{watchertest.New(t), t, Config{Directory: s.Journal(), Units: []string{"noise.service", "last.service"}, Match: map[string]string{"_TRANSPORT": "stdout"},
		Watchdog: time.Second}}
	w.start()
	w.Ready()
	s.Run("systemctl", "start", "--no-block", "noise.service")
	removed := false
	for i := 0; i < 10 || s.Run("sh", "-c", "systemctl is-active noise.service || true") == "active\n"; i++ {
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		switch r.IntN(6) {
		case 0:
			s.Run("journalctl", "--rotate")
		case 1:
			s.Run("journalctl", "--rotate", "--vacuum-files=2")
			removed = true
		default:
			w.Stop()
			w.start()
		}
	}
	// journald reads the outputs of two units in any order. Only if the end was removed, another unit has to do.
	s.Run("systemctl", "start", "last.service")
	w.Until("end", func() bool {
		all := w.Lines()
		gap := slices.ContainsFunc(all, func(l string) bool { return strings.HasPrefix(l, "GAP ") })
		return slices.Contains(all, "end") || gap && slices.Contains(all, "last")
	})
	w.Stop()
	next, gaps := 0, 0
	for _, l := range w.Lines() {
		if strings.HasPrefix(l, "GAP ") {
			gaps++
			continue
		}
		if l == "last" {
			continue
		}
		at := n
		if l != "end" {
			if _, err := fmt.Sscanf(l, "line %d", &at); err != nil {
				t.Fatalf("this line was never written: %q", l)
			}
		}
		if at < next || at > next && gaps == 0 {
			t.Fatalf("line %d came where line %d should; %d gaps", at, next, gaps)
		}
		next = at + 1
	}
	if gaps > 0 && !removed {
		t.Errorf("nothing was removed, and yet %d gaps are told", gaps)
	}
	t.Logf("%d lines, %d gaps, removed %v", n, gaps, removed)
}

// What a child had not read when its file was removed is a gap, though the entry that was read last is there still, and
// the child says nothing of it. What is removed that was read, is none.
func TestOvertaken(t *testing.T) {
	s := testenv.Systemd(t, map[string]string{"say@.service": "[Service]\nType=oneshot\nExecStart=/bin/echo %i\n"})
	pid := filepath.Join(t.TempDir(), "pid")
	w := &watched{watchertest.New(t), t, Config{Directory: s.Journal(), Identifier: "echo", Watchdog: time.Minute,
		Command: command(t, `[[ " $* " == *" --follow "* ]] && echo $$ >`+pid+`
exec /usr/bin/journalctl "$@"`)}}
	say := func(word string) {
		s.Run("systemctl", "start", "say@"+word+".service")
		s.Run("journalctl", "--sync")
	}
	w.start()
	w.Ready()
	say("one")
	w.Tells("one")
	s.Run("journalctl", "--rotate")
	say("two")
	w.Tells("one", "two")
	s.Run("journalctl", "--vacuum-files=1")
	say("three")
	w.Tells("one", "two", "three")
	child := strings.TrimSpace(string(read(t, pid)))
	signal(t, child, "-STOP")
	say("lost")
	s.Run("journalctl", "--rotate")
	say("lost-too")
	s.Run("journalctl", "--rotate", "--vacuum-files=1")
	say("four")
	signal(t, child, "-CONT")
	w.Tells("one", "two", "three", "GAP it was removed, and may not have been read", "four")
}

func read(t *testing.T, path string) []byte {
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// BenchmarkJournal is how fast a journal is told from its beginning, by journalctl and us.
func BenchmarkJournal(b *testing.B) {
	const n = 100_000
	j := testenv.NewJournal(b)
	for range n / 100 {
		var all [][]string
		for range 100 {
			all = append(all, []string{"_SYSTEMD_UNIT=electrs.service", "_PID=42", "_UID=1000", "_GID=1000", "_COMM=electrs", "_EXE=/usr/bin/electrs",
				"_TRANSPORT=stdout", "PRIORITY=6", "SYSLOG_IDENTIFIER=electrs", "_HOSTNAME=box", "MESSAGE=INFO - applying 12 new headers from height 596000"})
		}
		j.Write(all...)
	}
	j.Flush()
	for b.Loop() {
		w, err := New(Config{Directory: j.Dir(), Unit: "electrs.service"})
		must(b, err)
		ctx, cancel := context.WithCancel(b.Context())
		got := 0
		tells := 0
		must(b, w.Watch(ctx, place{Version: 1, Micro: 1}.bytes(), func(_ context.Context, s connector.Seen) error {
			got += len(s.Events)
			tells++
			if got >= n {
				cancel()
			}
			return nil
		}))
		b.ReportMetric(float64(got)/float64(tells), "lines/tell")
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "lines/s")
}
