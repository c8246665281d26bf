package supervise

import (
	"slices"
	"time"

	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// over ends the task of a decision or puts it off, unless it waits for a breaker: then the lease is kept, and it goes on when
// the breaker lets it. The records are read anew, because a person may have changed one meanwhile.
func (g *doing) over(tx *store.Tx, lease queue.Lease) (breaker string, err error) {
	records, err := readGroup(tx, lease.Key)
	if err != nil {
		return "", err
	}
	again, wait := false, time.Duration(-1)
	for _, rec := range records {
		switch {
		case rec.State == Unknown:
			return "", g.j.queue.Dead(tx, lease, "nobody knows whether it was done: "+rec.Call.Words())
		case rec.State == Queued:
			held, d := g.waits(rec.Call.ID)
			switch {
			case held != "":
				breaker = held
			case d > 0:
				wait = max(wait, d)
			default:
				again = true
			}
		}
	}
	switch {
	case again && !g.onlyBehind(records):
		return "", g.j.queue.Release(tx, lease, 0)
	case wait >= 0:
		return "", g.j.queue.Release(tx, lease, wait)
	case breaker != "":
		return breaker, nil
	}
	return "", g.j.queue.Done(tx, lease)
}

// waits says what an action waits for before it is tried again: a breaker, or some time. It is neither if a person has asked
// for it to be done again, or if the action waits for another one of its decision.
func (g *doing) waits(id string) (breaker string, d time.Duration) {
	for _, rec := range g.records {
		if rec.Call.ID == id {
			if g.tried[rec] {
				return "", rec.Call.RetryAfter
			}
			return g.held[rec], 0
		}
	}
	return "", 0
}

// onlyBehind reports whether every action that has nothing of its own to wait for comes after one that has: such an action was
// not tried, and would not be tried now.
func (g *doing) onlyBehind(records []*Record) bool {
	for _, rec := range records {
		if held, d := g.waits(rec.Call.ID); rec.State != Queued || held != "" || d > 0 {
			continue
		}
		behind := slices.ContainsFunc(records, func(o *Record) bool {
			return o.State == Queued && slices.Contains(rec.Call.After, o.Call.Name)
		})
		if !behind {
			return false
		}
	}
	return true
}
