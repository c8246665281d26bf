package queue

import (
	"encoding/binary"
	"time"
)

// wake has one worker look for work.
func (q *Queue) wake() {
	select {
	case q.work <- struct{}{}:
	default:
	}
}

// ringAt wakes a worker when something is due. Whether the clock was set meanwhile shows at the
// latest after lookAgain.
func (q *Queue) ringAt(due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	wait := min(max(time.Until(due), 0), lookAgain)
	at := now.Add(wait)
	if q.done || !q.rings.IsZero() && q.rings.After(now) && !q.rings.After(at) {
		return // it rings early enough
	}
	q.rings = at
	if q.alarm == nil {
		q.alarm = time.AfterFunc(wait, q.wake)
	} else {
		q.alarm.Reset(wait)
	}
}

// setBack is how far a clock must have gone back to be noticed.
const setBack = uint64(time.Minute / time.Millisecond)

// followClock makes ready what is due, and after the clock was set back, makes what waits wait no
// longer than it was meant to.
func (c *change) followClock() (changed bool, err error) {
	if c.m.waiting == 0 {
		return false, nil
	}
	now := millis(c.now)
	if now+setBack < c.m.clock {
		c.m.clock, c.m.due, c.m.refileDue, c.m.refileID = now, 0, 0, 1
		changed = true
	}
	if c.m.refileID != 0 {
		if err := c.refile(now); err != nil {
			return false, err
		}
		changed = true
	}
	due, err := c.waiting(c.m.due, 0, promoteAtOnce, func(e waiting) bool { return e.due <= now })
	if err != nil {
		return false, err
	}
	for _, e := range due {
		if err := c.move(e, 0); err != nil {
			return false, err
		}
		c.m.due = e.due
	}
	return changed || len(due) > 0, nil
}

// refile goes on through all that waits and looks for what was made to wait in what is now the
// future: each waits anew, for as long as it was meant to.
func (c *change) refile(now uint64) error {
	some, err := c.waiting(c.m.refileDue, c.m.refileID, promoteAtOnce, nil)
	if err != nil {
		return err
	}
	if len(some) < promoteAtOnce {
		c.m.refileDue, c.m.refileID = 0, 0
	} else {
		last := some[len(some)-1]
		c.m.refileDue, c.m.refileID = last.due, last.id+1
		c.wake() // there is more to look at
	}
	for _, e := range some {
		if e.set > now+setBack {
			if err := c.move(e, now+e.due-e.set); err != nil {
				return err
			}
		}
	}
	return nil
}

// waiting is one entry of the tasks that wait until they are due.
type waiting struct{ due, id, set uint64 }

// waiting returns up to most entries from (due, id) on, for as long as want is true.
func (c *change) waiting(due, id uint64, most int, want func(waiting) bool) ([]waiting, error) {
	var all []waiting
	entries, fail := c.tx.Scan(c.q.dueKey(due, id), c.q.part('w').End())
	for k, v := range entries {
		n, err := readNumbers(k, v, 1)
		if err != nil {
			return nil, err
		}
		e := waiting{binary.BigEndian.Uint64(k[len(k)-16:]), binary.BigEndian.Uint64(k[len(k)-8:]), n[0]}
		if len(all) == most || want != nil && !want(e) {
			break
		}
		all = append(all, e)
	}
	return all, fail()
}

// move gives a waiting task another due time; 0 is now.
func (c *change) move(e waiting, due uint64) error {
	t, err := c.q.mustTask(c.tx, e.id)
	if err != nil {
		return err
	}
	if err := c.leave(t); err != nil {
		return err
	}
	t.due = due
	c.place(t, again)
	return nil
}

// firstDue returns when the first waiting task is due, 0 if none waits for a time.
func (c *change) firstDue() (uint64, error) {
	if c.m.waiting == 0 {
		return 0, nil
	}
	first, err := c.waiting(c.m.due, 0, 1, nil)
	if err != nil || len(first) == 0 {
		return 0, err
	}
	return max(first[0].due, 1), nil
}
