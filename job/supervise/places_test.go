package supervise

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }

// taker takes places for rules, and keeps those that it got.
type taker struct {
	t   *testing.T
	p   *places
	wg  sync.WaitGroup
	mu  sync.Mutex
	got map[string][]func()
}

func (x *taker) want(ctx context.Context, rule string, n int) {
	for range n {
		x.wg.Go(func() {
			release, err := x.p.take(ctx, rule)
			if err != nil {
				return
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			x.got[rule] = append(x.got[rule], release)
		})
	}
	synctest.Wait()
}

func (x *taker) has(want string) {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	if got := fmt.Sprint(len(x.got["a"]), len(x.got["b"]), len(x.got["c"])); got != want {
		x.t.Errorf("a, b, c have %s places, want %s", got, want)
	}
}

// A rule whose actions hang takes half of the places, the next one half of the rest; where none is left, a rule that does
// nothing else has one of its own after a while.
func TestPlacesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		x := &taker{t: t, p: newPlaces(3, patience), got: map[string][]func(){}}
		x.want(ctx, "a", 10)
		x.has("2 0 0")
		x.want(ctx, "b", 10)
		x.has("2 1 0")
		x.want(ctx, "c", 10)
		x.has("2 1 0")
		time.Sleep(patience)
		synctest.Wait()
		x.has("2 1 1")
		time.Sleep(10 * patience)
		synctest.Wait()
		x.has("2 1 1")
		x.got["c"][0]()
		synctest.Wait()
		x.has("2 1 2") // the next one
		x.got["a"][0]()
		x.got["a"][1]()
		synctest.Wait()
		cancel()
		x.wg.Wait()
		if left := len(x.p.waiting); left > 0 {
			t.Errorf("%d wait still", left)
		}
		x.p.mu.Lock()
		all, taken := x.p.all, 0
		for _, n := range x.p.taken {
			taken += n
		}
		x.p.mu.Unlock()
		if all != taken {
			t.Errorf("%d places are taken, by rules %d", all, taken)
		}
	})
}

// Who waits for two locks is not passed for ever by those who want one of them; who wants others does not wait for him; who
// gives up holds up nobody.
func TestLocksAreGivenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocks()
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []string
		say := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		}
		take := func(ctx context.Context, name string, locks ...string) {
			wg.Go(func() {
				release, err := l.take(ctx, l.ask(locks))
				if err != nil {
					say("not " + name)
					return
				}
				say(name)
				time.Sleep(time.Second)
				release()
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		take(t.Context(), "1", "a")
		take(ctx, "gives up", "a", "b")
		take(t.Context(), "2", "a", "b")
		take(t.Context(), "3", "b")
		take(t.Context(), "4", "a")
		take(t.Context(), "5", "c")
		cancel()
		wg.Wait()
		if got := strings.Join(order, " "); got != "1 5 not gives up 2 3 4" && got != "1 5 not gives up 2 4 3" {
			t.Errorf("got %s", got)
		}
		if len(l.held)+len(l.waiting) > 0 {
			t.Errorf("held %v, %d wait", l.held, len(l.waiting))
		}
	})
}

// A rule that has more to do than is looked after, all of it behind one action that hangs, or each hanging itself, holds up
// no other rule.
func TestNoRuleHoldsUpOthers(t *testing.T) {
	for name, lock := range map[string]string{"each hangs": "", "a lock": ", lock: [disk]"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, `
limit: {max: 100000, within: 1h}
rules:
  - name: hangs
    from: {tape: a}
    match: 'hang'
    unknown: repeat
    do: [{run: [/bin/sleep, '600'], timeout: 3s`+lock+`}]
  - name: works
    from: {tape: a}
    match: 'work'
    do: [{run: [/bin/sh, -c, 'echo worked >> OUT']}]
`)
			r.cfg.AtOnce, r.cfg.patience = 4, 50*time.Millisecond
			r.tapes["a"].batch = 1000
			r.start()
			const n = 1500 // more than were ever looked after at once
			lines := make([]string, n)
			for i := range lines {
				lines[i] = "hang"
			}
			r.tapes["a"].add(lines...)
			r.until("they hang", func() bool { return r.tasks().Open == n && strings.Contains(r.states(), "running") })
			r.tapes["a"].add("work")
			r.until("the other one works", func() bool { return r.written() == "worked\n" })
			if got := strings.Count(r.states(), "running"); got > 3 {
				t.Errorf("%d hang at once, of 4 places", got)
			}
			r.end()
		})
	}
}

// Actions that share a lock are done in the order of their lines: the last line says how it is in the end.
func TestLockedActionsKeepTheOrderOfLines(t *testing.T) {
	r := newRig(t, `
limit: {max: 100000, within: 1h}
rules:
  - name: says
    from: {tape: a}
    match: '^says (?P<n>\d+)$'
    captures: {n: int}
    do: [{run: [/bin/sh, -c, 'echo $0 >> OUT', '{{n}}'], lock: [state]}]
`)
	r.cfg.AtOnce = 16
	r.tapes["a"].batch = 100
	r.start()
	var lines []string
	want := ""
	for i := range 60 {
		lines, want = append(lines, fmt.Sprint("says ", i)), want+fmt.Sprintln(i)
	}
	r.tapes["a"].add(lines...)
	r.until("all is said", func() bool { return strings.Count(r.written(), "\n") == len(lines) })
	if got := r.written(); got != want {
		t.Errorf("they were done in another order: %v", strings.Fields(got))
	}
	r.end()
}
