package supervise

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

const thrice = `
rules:
  - name: thrice
    from: {tape: a}
    match: 'bad (?P<who>[a-z]+)'
    key: [who]
    when: {count: 3, within: 10m}
    do: [{run: [/bin/sh, -c, 'echo $0 >> OUT; exit 1', "{{who}}"]}]
  - name: other
    from: {tape: a}
    match: 'nothing of this'
    do: [{notify: ops}]
`

// Whoever asks why something was done is told all that led to it, also what was seen before a restart.
func TestWhatLedToIt(t *testing.T) {
	r := newRig(t, thrice)
	r.start()
	r.tapes["a"].add("bad bob 1", "bad eve 1", "bad bob 2")
	r.until("seen", func() bool { return r.rule("thrice").Matched == 3 })
	r.end()
	r.start()
	r.tapes["a"].add("bad bob 3", "bad bob 4", "bad eve 2")
	r.until("failed", func() bool { return r.states() == "failed" && r.rule("thrice").Matched == 6 })
	led := func(rec Record) (all []string) {
		for _, l := range rec.Led {
			all = append(all, l.Text)
		}
		return append(all, rec.Seen)
	}
	rec := r.records()[0]
	if got := led(rec); !slices.Equal(got, []string{"bad bob 1", "bad bob 2", "bad bob 3"}) {
		t.Errorf("it was led to by %q", got)
	}
	if rec.Last == nil || rec.Last.Code != 1 || r.rule("thrice").Failed != 1 || r.rule("other").Failed != 0 {
		t.Errorf("it ended with %+v, and %d failed", rec.Last, r.rule("thrice").Failed)
	}
	// What follows begins anew.
	r.tapes["a"].add("bad bob 5", "bad bob 6")
	r.until("failed", func() bool { return r.states() == "failed failed" })
	if got := led(r.records()[1]); !slices.Equal(got, []string{"bad bob 4", "bad bob 5", "bad bob 6"}) {
		t.Errorf("the second was led to by %q", got)
	}
	r.end()
}

// opinions asks what a line would lead to.
func opinions(t *testing.T, ask func(name string, args ...string) (string, error), source, line string) (all []Opinion) {
	t.Helper()
	text, err := ask("explain", source, line, "")
	if err == nil {
		err = json.Unmarshal([]byte(text), &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A line is explained by a job at work and by one at rest alike, and changes nothing.
func TestExplainLine(t *testing.T) {
	r := newRig(t, thrice)
	r.start()
	r.tapes["a"].add("bad bob", "bad bob")
	r.until("seen", func() bool { return r.rule("thrice").Matched == 2 })
	check := func(ask func(name string, args ...string) (string, error)) {
		t.Helper()
		for range 2 {
			all := opinions(t, ask, "", "bad bob")
			if len(all) != 2 || !all[0].Matched || all[0].Outcome != "acted" || len(all[0].Actions) != 1 || all[1].Matched ||
				!strings.Contains(all[1].Why, "nothing of this") {
				t.Errorf("got %+v", all)
			}
		}
		if all := opinions(t, ask, `tape a`, "bad eve"); all[0].Outcome != "unmet" || all[0].Reason != "1 of 3 within 10m0s" {
			t.Errorf("got %+v", all)
		}
		if _, err := ask("explain", "tape b", "x", ""); err == nil || !strings.Contains(err.Error(), "no rule watches") {
			t.Errorf("of a source that is none: %v", err)
		}
	}
	check(func(name string, args ...string) (string, error) { return r.job.Command(t.Context(), name, args) })
	r.end()
	st, err := store.Open(filepath.Join(r.dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	env := engine.Env{Name: "box", Dir: r.dir, Store: st, Log: r.log, History: engine.HistoryOf(st, "box", r.log)}
	check(func(name string, args ...string) (string, error) { return AtRest(t.Context(), env, r.cfg, name, args) })
}

// What is known of an action says whether it helped; one that did not, and was followed by another, did not.
func TestHealed(t *testing.T) {
	r := newRig(t, `
rules:
  - name: down
    from: {tape: a}
    match: down
    do: [{run: [/bin/sh, -c, 'echo first >> OUT']}]
    heal: {expect: 'is up', within: 300ms, else: [[{run: [/bin/sh, -c, 'echo second >> OUT']}]]}
`)
	r.start()
	r.tapes["a"].add("down")
	r.until("the second rung", func() bool { return r.written() == "first\nsecond\n" })
	r.tapes["a"].add("it is up")
	healed := func(i int) string {
		h := r.records()[i].Healed
		return map[bool]string{true: "yes", false: "no"}[h != nil && *h]
	}
	r.until("healed", func() bool { return healed(1) == "yes" })
	if r.records()[0].Healed == nil || healed(0) != "no" {
		t.Errorf("the first is said to have healed: %v", healed(0))
	}
	r.end()
}
