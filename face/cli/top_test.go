package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
)

var topNow = time.Date(2023, 9, 19, 12, 0, 0, 0, time.UTC)

// world is one data directory with two jobs, of which the second has lost its database.
func world() *top {
	t := newTop(context.Background(), []datadir.Place{{Dir: "/var/lib/holdfast"}})
	t.now = func() time.Time { return topNow }
	s := &t.seen[0]
	s.at = topNow
	s.Report = desk.Report{Since: topNow.Add(-3 * time.Hour), Letters: map[string]int64{"spots": 2}}
	s.Memory, s.Free = 82<<20, 41<<30
	calm := engine.Status{Name: "archive", Kind: "crawl", State: engine.Running, Since: topNow.Add(-time.Hour)}
	spots := engine.Status{Name: "spots", Kind: "collect", State: engine.Running, Since: topNow.Add(-2 * time.Hour),
		Gates:   []gate.Status{{Name: "clickhouse", Since: topNow.Add(-3 * time.Minute), Cause: "connection refused \x1b[2J", Hint: "start it"}},
		Backlog: engine.Backlog{Rows: 1234, Oldest: topNow.Add(-3 * time.Minute), Seconds: 180}}
	spots.Balance.Job, spots.Balance.Read, spots.Balance.Accepted = "spots", 5234, 5234
	spots.Balance.Sinks = []engine.SinkBooks{{Sink: "clickhouse", Flow: balance.Flow{Accepted: 5234, Delivered: 4000, Pending: 1234}}}
	s.Jobs = []engine.Status{calm, spots}
	s.Verdict = desk.Judge(s.Report, topNow)
	s.events = []engine.Event{{At: topNow, Job: "spots", Text: "gate clickhouse\nclosed", Warn: true}, {At: topNow, Job: "archive", Text: "started"}}
	return t
}

var looksOf = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTopFits: whatever the size of the terminal, there are as many lines as it has, none is longer, and nothing that came
// from outside moves its cursor.
func TestTopFits(t *testing.T) {
	for _, opened := range []bool{false, true} {
		for _, size := range [][2]int{{80, 24}, {40, 12}, {200, 60}, {20, 5}, {1, 1}} {
			w := world()
			w.opened = opened
			w.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			lines := w.draw()
			if len(lines) != size[1] {
				t.Errorf("%v: %d lines", size, len(lines))
			}
			for _, l := range lines {
				l = looksOf.ReplaceAllString(l, "")
				if utf8.RuneCountInString(l) > size[0] || strings.ContainsAny(l, "\x1b\n\r") {
					t.Errorf("%v: %q", size, l)
				}
			}
		}
	}
}

// TestTopShows: what is wrong stands above all, jobs in trouble first; a job has its books.
func TestTopShows(t *testing.T) {
	w := world()
	shows := func(what ...string) {
		t.Helper()
		text := looksOf.ReplaceAllString(strings.Join(w.draw(), "\n"), "")
		for _, want := range what {
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("%q is not there:\n%s", want, text)
			}
		}
	}
	shows(`/var/lib/holdfast, up 3 h, 82.0 MiB of memory, 41.0 GiB free on the disk`, `Nothing is lost. One thing is down.`,
		`(?s)! spots: clickhouse is away for 3 min: connection refused.*! spots: 1,234 wait, the oldest for 3 min.*! spots: 2 dead letters`,
		`(?s)\nspots +collect +! running +- +- +1,234 +3 min *\narchive `, `12:00:00 ! spots: gate clickhouse.closed`)
	w.Update(tea.KeyPressMsg{Code: tea.KeyEnter})
	shows(`spots: collect, running for 2 h`, `clickhouse +5,234 +4,000 +1,234`, "start it")
	w.Update(tea.KeyPressMsg{Code: tea.KeyTab})
	shows(`archive: crawl`)
	w.Update(tea.KeyPressMsg{Code: tea.KeyEscape})
	w.seen[0].err = errors.New("nothing runs there")
	w.now = func() time.Time { return topNow.Add(time.Minute) }
	shows(`/var/lib/holdfast: no answer for 1 min \(nothing runs there\); what is below`)
}

// TestTopScrolls: in a small terminal every line of a job can be reached, and a mark says that there is more.
func TestTopScrolls(t *testing.T) {
	w := world()
	text := func() string { return looksOf.ReplaceAllString(strings.Join(w.draw(), "\n"), "") }
	w.opened, w.chosen = true, "spots"
	w.Update(tea.WindowSizeMsg{Width: 80, Height: 100})
	all := map[string]bool{}
	for line := range strings.Lines(text()) {
		all[strings.TrimSpace(line)] = true
	}
	w.Update(tea.WindowSizeMsg{Width: 80, Height: 12})
	if got := text(); !regexp.MustCompile(`(?m)^↓ \d+ more lines$`).MatchString(got) || strings.Contains(got, "↑") {
		t.Errorf("no mark that there is more:\n%s", got)
	}
	keys := []tea.KeyPressMsg{{Code: tea.KeyDown}, {Code: 'j', Text: "j"}, {Code: tea.KeyPgDown}}
	for _, key := range keys {
		w.Update(tea.KeyPressMsg{Code: tea.KeyHome})
		w.draw()
		lines := map[string]bool{}
		for range 40 {
			for line := range strings.Lines(text()) {
				lines[strings.TrimSpace(line)] = true
			}
			w.Update(key)
		}
		for line := range all {
			if !strings.HasPrefix(line, "Esc:") && !lines[line] {
				t.Errorf("%s: never shown: %q", key, line)
			}
		}
		if got := text(); strings.Contains(got, "↓") || !regexp.MustCompile(`(?m)^↑ \d+ more lines$`).MatchString(got) {
			t.Errorf("%s: the end has wrong marks:\n%s", key, got)
		}
	}
	for _, key := range []tea.KeyPressMsg{{Code: tea.KeyUp}, {Code: 'k', Text: "k"}, {Code: tea.KeyPgUp}} {
		w.Update(tea.KeyPressMsg{Code: tea.KeyEnd})
		end := text()
		if w.Update(key); text() == end {
			t.Errorf("%s does not go up:\n%s", key, end)
		}
	}
}

// TestTopRates are those of the last ten seconds, whatever was before; a clock that goes back begins anew.
func TestTopRates(t *testing.T) {
	var m meter
	for i := range 30 {
		n := int64(0)
		if i >= 15 {
			n = int64(i-15) * 100
		}
		j := engine.Status{Name: "a"}
		j.Balance.Read, j.Balance.Sinks = n, []engine.SinkBooks{{Flow: balance.Flow{Delivered: n / 2}}, {Flow: balance.Flow{Delivered: n}}}
		m.add(topNow.Add(time.Duration(i)*time.Second), []engine.Status{j})
	}
	if in, out, ok := m.rates("a"); !ok || in != 100 || out != 50 {
		t.Errorf("%v in, %v out, %v; want 100 and 50", in, out, ok)
	}
	m.add(topNow, nil)
	if _, _, ok := m.rates("a"); ok {
		t.Error("rates over a clock that went back")
	}
}

// TestTopOnATerminal runs the program on one that somebody presses keys at: it shows that nothing runs yet, takes no
// directory from an engine, has no colours with NO_COLOR, and leaves the terminal as it was.
func TestTopOnATerminal(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "jobs", "spots"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, noColor := range []string{"", "1"} {
		cmd := exec.Command("script", "-qefc", "stty rows 24 cols 80; holdfast top --data-dir "+dir, "/dev/null")
		cmd.Env = append(cmd.Environ(), "TERM=xterm-256color", "NO_COLOR="+noColor)
		keys, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		screen, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for part := make([]byte, 4096); !strings.Contains(out.String(), "q: end"); {
			n, err := screen.Read(part)
			if err != nil {
				t.Fatalf("%v: %q", err, out.String())
			}
			out.Write(part[:n])
		}
		fmt.Fprint(keys, "q")
		_, err = out.ReadFrom(screen)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Fatalf("%v: %q", err, out.String())
		}
		if !strings.Contains(out.String(), "nothing runs there") || !strings.Contains(out.String(), "\x1b[?1049l") {
			t.Errorf("got %q", out.String())
		}
		if coloured := strings.Contains(out.String(), "\x1b[31"); coloured != (noColor == "") {
			t.Errorf("NO_COLOR=%s: colours: %v: %q", noColor, coloured, out.String())
		}
	}
}
