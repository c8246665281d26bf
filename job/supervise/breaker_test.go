package supervise

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// broken is a rule with a key, whose program fails while there is no file OUT.mended.
const broken = `
limit: {max: 100000, within: 1h}
rules:
  - name: broken
    from: {tape: a}
    match: 'say (?P<what>[a-z0-9]+)'
    key: [what]
    do: [{run: [/bin/sh, -c, 'echo try $0 >> OUT; test -e OUT.mended', "{{what}}"], retries: RETRIES, retry_after: 1ms}]
  - name: other
    from: {tape: a}
    match: 'other'
    do: [{run: [/bin/sh, -c, 'echo other >> OUT']}]
`

// closed are the gates of a job that are closed.
func (r *rig) closed() (all []gate.Status) {
	for _, g := range r.job.Gates() {
		if !g.Open {
			all = append(all, g)
		}
	}
	return all
}

// events are the texts of those of a kind, in the history.
func (r *rig) events(kind string) (all []string) {
	r.Helper()
	err := r.st.Latest(func(rd store.Reader) error {
		events, err := engine.ReadEvents(rd, 0, 10_000)
		for _, e := range events {
			if e.Kind == kind {
				all = append(all, e.Text)
			}
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return all
}

// A program that is broken opens one breaker, whatever the keys of what it was to be run for, with the fifth attempt that
// fails, be it one tried again; status, metrics (which are made of the same gates) and history have it. What is to be done
// by it waits, over a restart too, and holds up nobody; and is done once an attempt succeeds.
func TestBreaker(t *testing.T) {
	for _, retries := range []int{0, 10} {
		t.Run(fmt.Sprintf("retries %d", retries), func(t *testing.T) {
			r := newRig(t, strings.ReplaceAll(broken, "RETRIES", fmt.Sprint(retries)))
			r.cfg.breakFor = longestBreak
			r.start()
			const n = 40
			lines := []string{}
			for i := range n {
				lines = append(lines, fmt.Sprintf("say x%d", i))
			}
			r.tapes["a"].add(lines[0])
			if retries == 0 {
				for i := 1; i < breaks; i++ { // one after another, for what is under way at once is not broken off
					r.until("it failed", func() bool { return strings.Count(r.states(), "failed") == i })
					r.tapes["a"].add(lines[i])
				}
			}
			r.until("the breaker is open", func() bool { return len(r.closed()) == 1 })
			tried := strings.Count(r.written(), "try")
			if tried != breaks {
				t.Errorf("it was opened after %d attempts, want %d", tried, breaks)
			}
			if retries == 0 {
				r.tapes["a"].add(lines[breaks:]...)
			} else {
				r.tapes["a"].add(lines[1:]...)
			}
			r.tapes["a"].add("other")
			r.until("all wait, and the other one is done", func() bool {
				return len(r.records()) == n+1 && strings.Contains(r.written(), "other")
			})
			g := r.closed()
			if len(g) != 1 || g[0].Name != "broken do[1]: sh" || !strings.Contains(g[0].Cause, "failed 5 times in a row") || time.Until(g[0].Next) < longestBreak-time.Minute {
				t.Fatalf("gates %+v", g)
			}
			if all := r.events("gate.closed"); len(all) != 1 || !strings.Contains(all[0], "broken do[1]: sh") {
				t.Errorf("history has %q", all)
			}
			r.end()
			r.start()
			r.until("it is open still", func() bool { return len(r.closed()) == 1 })
			r.tapes["a"].add("other")
			r.until("others go on", func() bool { return strings.Count(r.written(), "other") == 2 })
			if got := strings.Count(r.written(), "try"); got != tried {
				t.Errorf("it was tried %d times while the breaker was open", got-tried)
			}
			waiting := 0
			for _, rec := range r.records() {
				if rec.State == Queued && strings.Contains(rec.Note, "it waits") {
					waiting++
				}
			}
			failed := strings.Count(r.states(), "failed")
			if want := n - failed; waiting != want || retries > 0 && failed > 0 {
				t.Errorf("%d wait, want %d; %s", waiting, want, r.states())
			}
			// A person who mended it has one be done again, and the others follow.
			if err := writeFile(r.out+".mended", ""); err != nil {
				t.Fatal(err)
			}
			first := r.records()[0].Call.ID
			if retries > 0 {
				r.itIsTime()
			} else if _, err := r.job.Command(t.Context(), "repeat", []string{first}); err != nil {
				t.Error(err)
			}
			want := n + 2 - failed
			if retries == 0 {
				want++
			}
			r.until("all are done", func() bool { return strings.Count(r.states(), "done") == want })
			if g := r.closed(); len(g) > 0 || len(r.events("gate.opened")) != 1 {
				t.Errorf("gates %+v, history %q", g, r.events("gate.opened"))
			}
			r.end()
		})
	}
}

// itIsTime has the time of all open breakers run out.
func (r *rig) itIsTime() {
	r.job.breakers.mu.Lock()
	defer r.job.breakers.mu.Unlock()
	for id, b := range r.job.breakers.all {
		b.Until = time.Now()
		r.job.breakers.show(id, b)
	}
}

// If the one that is to be tried first was given up, another one is tried.
func TestTheFirstThatWaitsIsGivenUp(t *testing.T) {
	r := newRig(t, strings.ReplaceAll(broken, "RETRIES", "0"))
	r.cfg.breakFor = longestBreak
	r.start()
	for i := range breaks + 3 {
		r.tapes["a"].add(fmt.Sprintf("say x%d", i))
		r.until("it failed, or waits", func() bool {
			all := r.records()
			return len(all) == i+1 && (all[i].State == Failed || all[i].Note != "")
		})
	}
	if _, err := r.job.Command(t.Context(), "abandon", []string{r.records()[breaks].Call.ID}); err != nil {
		t.Error(err)
	}
	if err := writeFile(r.out+".mended", ""); err != nil {
		t.Fatal(err)
	}
	r.until("it is looked after", func() bool {
		r.job.lines.mu.Lock()
		defer r.job.lines.mu.Unlock()
		l := r.job.lines.all["broken"]
		return l != nil && l.open == 0
	})
	r.itIsTime()
	r.until("the others are done", func() bool { return strings.HasSuffix(r.states(), "abandoned done done") })
	r.end()
}

// One attempt at a time shows how it is, each time later; one that succeeds has all go on.
func TestBreakerProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := make(chan string, 100)
		due := func() (all string) {
			for len(freed) > 0 {
				all += <-freed
			}
			return all
		}
		x := newBreakers(time.Minute, func(gate.Status) {}, func(_ string, all bool) { freed <- map[bool]string{false: "one", true: "all"}[all] })
		defer x.end()
		c := &rule.Call{Rule: "r", List: "do", Name: "1", Run: []string{"/bin/x"}}
		id := breakerOf(c)
		judge := func(failed string) {
			t.Helper()
			_, then, err := x.judge(c, failed)
			if err != nil {
				t.Fatal(err)
			}
			then()
			synctest.Wait()
		}
		for range breaks {
			if !x.mayTry(id, true) {
				t.Fatal("it is open already")
			}
			judge("no")
		}
		for i, pause := range []time.Duration{1, 2, 4, 8, 10, 10} {
			judge("one that was under way when it was opened")
			time.Sleep(pause*time.Minute - time.Second)
			synctest.Wait()
			if x.mayTry(id, false) {
				t.Fatalf("%d: it may be tried after less than %d minutes", i, pause)
			}
			due()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := due(); got != "one" || !x.mayTry(id, false) || !x.mayTry(id, true) || x.mayTry(id, true) {
				t.Fatalf("%d: after %d minutes %q may go on, want one", i, pause, got)
			}
			judge("no")
		}
		if g := x.gates(); len(g) != 1 || g[0].Open {
			t.Errorf("gates %+v", g)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		x.mayTry(id, true)
		due()
		judge("")
		if got := due(); got != "all" || !x.mayTry(id, true) || len(x.gates()) > 0 {
			t.Errorf("after a success %q may go on", got)
		}
	})
}

// An action on one unit that fails leaves alone those on others. An action that waits can be given up.
func TestBreakerOfAUnit(t *testing.T) {
	a, b := &rule.Call{Rule: "r", List: "do", Name: "1", Systemctl: "restart", Unit: "a.service"}, &rule.Call{Rule: "r", List: "do", Name: "1", Systemctl: "restart", Unit: "b.service"}
	x := newBreakers(time.Hour, func(gate.Status) {}, func(string, bool) {})
	defer x.end()
	for range breaks {
		_, then, err := x.judge(a, "no")
		if err != nil {
			t.Fatal(err)
		}
		then()
	}
	if x.mayTry(breakerOf(a), false) || !x.mayTry(breakerOf(b), false) {
		t.Error("want a to wait, and b not to")
	}
}

// An action that waits for a breaker can be given up; with its rule its breaker goes.
func TestGiveUpWhatWaits(t *testing.T) {
	r := newRig(t, strings.ReplaceAll(broken, "RETRIES", "0"))
	r.cfg.breakFor = longestBreak
	r.start()
	for i := range breaks + 1 {
		r.tapes["a"].add(fmt.Sprintf("say x%d", i))
		r.until("it failed, or waits", func() bool {
			all := r.records()
			return len(all) == i+1 && (all[i].State == Failed || all[i].Note != "")
		})
	}
	last := r.records()[breaks]
	if _, err := r.job.Command(t.Context(), "abandon", []string{last.Call.ID}); err != nil {
		t.Error(err)
	}
	if got := r.records()[breaks].State; got != Abandoned {
		t.Errorf("it is %s", got)
	}
	r.rules = r.rules[:strings.Index(r.rules, "  - name: broken")] + r.rules[strings.Index(r.rules, "  - name: other"):]
	if _, err := r.job.Command(t.Context(), "reload", nil); err != nil {
		t.Error(err)
	}
	if g := r.closed(); len(g) > 0 {
		t.Errorf("gates %+v", g)
	}
	r.end()
	r.start()
	if n := len(r.job.breakers.all); n > 0 {
		t.Errorf("%d breakers of a rule that is no more", n)
	}
	r.end()
}

// What waits for a breaker whose action the rules have no more is tried at once, and the breaker is not shown any more.
func TestBreakerOfAnActionThatIsGone(t *testing.T) {
	for name, change := range map[string]func(rules string) string{
		"with its rule": func(s string) string {
			return s[:strings.Index(s, "  - name: broken")] + s[strings.Index(s, "  - name: other"):]
		},
		"by another name": func(s string) string { return strings.Replace(s, "do: [{run", "do: [{name: mended, run", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, strings.ReplaceAll(broken, "RETRIES", "0"))
			r.cfg.breakFor = longestBreak
			r.start()
			for i := range breaks + 2 {
				r.tapes["a"].add(fmt.Sprintf("say x%d", i))
				r.until("it failed, or waits", func() bool {
					all := r.records()
					return len(all) == i+1 && (all[i].State == Failed || all[i].Note != "")
				})
			}
			r.until("they wait", func() bool {
				return len(r.closed()) == 1 && r.waiting("broken") == 2
			})
			if err := writeFile(r.out+".mended", ""); err != nil {
				t.Fatal(err)
			}
			r.rules = change(r.rules)
			if _, err := r.job.Command(t.Context(), "reload", nil); err != nil {
				t.Fatal(err)
			}
			if g := r.closed(); len(g) > 0 {
				t.Errorf("gates %+v", g)
			}
			if c, o := r.events("gate.closed"), r.events("gate.opened"); len(c) != 1 || len(o) != 1 {
				t.Errorf("history has %q and %q", c, o)
			}
			r.until("what waited is done", func() bool { return strings.Count(r.states(), "done") == 2 })
			r.end()
		})
	}
}

// waiting is how many decisions of a rule wait for breakers.
func (r *rig) waiting(rule string) int {
	r.job.lines.mu.Lock()
	defer r.job.lines.mu.Unlock()
	if l := r.job.lines.all[rule]; l != nil {
		return l.holds
	}
	return 0
}
