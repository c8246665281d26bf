package supervise

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

const hits = `
limit: {max: 1000000, within: 1m}
rules:
  - name: file
    from: {file: {path: BOX/app.log, settle: 100ms, look: 200ms}}
    match: 'hit (?P<n>[0-9]+)$'
    captures: {n: int}
    do: [{run: [/bin/sh, -c, 'echo "$0" >> BOX/file.out', "{{n}}"]}]
  - name: journal
    from: {journal: {directory: JOURNAL, unit: app.service}}
    match: 'hit (?P<n>[0-9]+)$'
    captures: {n: int}
    do: [{run: [/bin/sh, -c, 'echo "$0" >> BOX/journal.out', "{{n}}"]}]
`

// source is what lines go through on their way to the supervisor.
type source struct {
	rule  string
	write func(lines []string)
	turn  func(r *rand.Rand) // rotates it, in one way or another
	hits  int
}

// lines are some that mean nothing, and now and then one that matches.
func (s *source) lines(r *rand.Rand) (all []string) {
	for range 25 {
		if r.IntN(25) == 0 {
			s.hits++
			all = append(all, fmt.Sprintf("a hit %d", s.hits))
		} else {
			all = append(all, fmt.Sprintf("nothing of %d", r.Int64()))
		}
	}
	return all
}

// Lines come at full speed through the journal and through a file, both are rotated, old journals are removed, and the supervisor is
// killed at any moment: each line that matches has one action and at most one process, or a gap says which part could not be read.
func TestKilled(t *testing.T) {
	seed := testenv.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	j := testenv.NewJournal(t)
	b := newBox(t, strings.ReplaceAll(hits, "JOURNAL", j.Dir()))
	b.write("app.log", os.O_APPEND, "")
	kills := testenv.Count(t, 100)
	sources := []*source{b.fileSource(), journalSource(b, j)}
	// Both are to be watched before the first line.
	b.args = []string{"--since", time.Now().Add(-time.Second).UTC().Format(time.RFC3339)}
	b.up()
	for range kills {
		killed, after := make(chan struct{}), time.Duration(r.IntN(1500))*time.Millisecond
		go func() { // waited for
			defer close(killed)
			time.Sleep(after)
			b.kill()
		}()
		for range 20 {
			for _, s := range sources {
				s.write(s.lines(r))
			}
		}
		<-killed
		for _, s := range sources {
			if r.IntN(3) == 0 {
				s.turn(r)
			}
		}
		b.start()
	}
	b.answers()
	for _, s := range sources {
		s.write([]string{fmt.Sprintf("a hit %d", s.hits+1)}) // the last one: all before it is read
		s.hits++
	}
	each := time.Duration(sources[0].hits+sources[1].hits) * 100 * time.Millisecond // on a machine that is busy
	testenv.Until(t, soon+each, "all is done", func() bool {
		for _, s := range sources {
			done := map[string]bool{}
			for _, a := range b.actions("rule", s.rule) {
				if !a.State.Over() {
					return false
				}
				done[a.Call.Run[3]] = true
			}
			if !done[fmt.Sprint(s.hits)] {
				return false
			}
		}
		return true
	})
	gaps := b.events("watch.gap")
	for _, s := range sources {
		b.check(s, gaps)
	}
	t.Logf("%d and %d lines that match, %d kills, gaps: %q", sources[0].hits, sources[1].hits, kills, gaps)
	b.end()
}

// check looks at the actions of a source: one for each line, and at most one process for each.
func (b *box) check(s *source, gaps []string) {
	b.t.Helper()
	states, events, runs := map[string]string{}, map[string]string{}, map[string]int{}
	for _, a := range b.actions("rule", s.rule) {
		n := a.Call.Run[3]
		if states[n] != "" {
			b.t.Errorf("%s: line %s has two actions: %s and %s", s.rule, n, events[n], a.Call.Event)
		}
		states[n], events[n] = string(a.State), a.Call.Event
	}
	for _, n := range strings.Fields(b.read(s.rule + ".out")) {
		runs[n]++
	}
	missed := 0
	for i := range s.hits {
		n := fmt.Sprint(i + 1)
		switch state := states[n]; {
		case state == "":
			missed++
		case state == "done" && runs[n] != 1, state == "unknown" && runs[n] > 1:
			b.t.Errorf("%s: action of line %s is %s, and was done %d times", s.rule, n, state, runs[n])
		case state != "done" && state != "unknown":
			b.t.Errorf("%s: action of line %s is %s", s.rule, n, state)
		}
	}
	told := 0
	for _, g := range gaps {
		if strings.HasPrefix(g, s.rule+" ") {
			told++
		}
	}
	if missed > 0 && told == 0 {
		b.t.Errorf("%s: %d of %d lines were missed, and no gap says so", s.rule, missed, s.hits)
	}
	if len(runs) > s.hits {
		b.t.Errorf("%s: %d processes for %d lines", s.rule, len(runs), s.hits)
	}
}

func (b *box) fileSource() *source {
	n := 0
	return &source{rule: "file", write: func(lines []string) { b.log("app.log", lines...) }, turn: func(r *rand.Rand) {
		n++
		to := b.file(fmt.Sprintf("app.log.%d", 9999-n)) // below 10000 a lower number is a younger file
		if r.IntN(2) == 0 {
			b.must(os.Rename(b.file("app.log"), to))
			b.write("app.log", os.O_APPEND, "")
			return
		}
		b.must(os.WriteFile(to, []byte(b.read("app.log")), 0o644))
		b.must(os.Truncate(b.file("app.log"), 0))
	}}
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func journalSource(b *box, j *testenv.Journal) *source {
	n, removed := 1, 0
	return &source{rule: "journal", write: func(lines []string) { j.Say("app.service", lines...) }, turn: func(r *rand.Rand) {
		j.Begin()
		n++
		if r.IntN(3) == 0 && removed < n-3 { // as a vacuum does
			removed++
			b.must(os.Remove(j.File(removed)))
		}
	}}
}
