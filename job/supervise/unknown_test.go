package supervise

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/job/supervise/action"
)

// noBus are units whose bus goes away amid the first thing that is done.
type noBus struct{ asked atomic.Int32 }

func (u *noBus) Do(context.Context, string, string) error {
	if u.asked.Add(1) == 1 {
		return fmt.Errorf("bus: %w", action.ErrUnknown)
	}
	return nil
}

func (u *noBus) Kill(context.Context, string, string) error { return nil }

// What was begun, and of which nobody can say how it ended, is a person's to decide, or done again, as its rule says.
func TestUnknownOutcome(t *testing.T) {
	const rules = "rules: [{name: a, from: {tape: a}, match: x, RULE, do: [{systemctl: restart, unit: a.service, retries: 1, retry_after: 1ms}]}]"
	for unknown, want := range map[string]string{"ask": "unknown", "repeat": "done"} {
		r := newRig(t, strings.Replace(rules, "RULE", "unknown: "+unknown, 1))
		u := &noBus{}
		r.cfg.Tools.Units = u
		r.start()
		r.tapes["a"].add("x")
		r.until("an end", func() bool { return r.states() == want })
		if unknown == "ask" {
			r.until("it is told", func() bool { return len(r.events("action.unknown")) == 1 })
			if _, err := r.job.Command(t.Context(), "repeat", []string{"1"}); err != nil {
				t.Fatal(err)
			}
			r.until("an end", func() bool { return r.states() == "done" })
		}
		if n := u.asked.Load(); n != 2 {
			t.Errorf("%s: done %d times", unknown, n)
		}
		r.end()
	}
}
