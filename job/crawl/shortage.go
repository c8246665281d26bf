package crawl

import (
	"context"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/gate"
)

// While answers find no room, one of them is asked for from time to time, to see whether there is some again: the servers
// of others must not be asked for what is thrown away.
const (
	leastPause = 5 * time.Second
	mostPause  = 30 * time.Second
	// overAfter is how long there must have been room before a shortage counts as over: small answers find room where large
	// ones do not.
	overAfter = time.Minute
)

// shortage paces the work while a disk is full. Its gate is closed then, so that people see it.
type shortage struct {
	mu     sync.Mutex    // guards what follows
	pause  time.Duration // the last one; 0 for none yet
	next   time.Time     // when the next answer is asked for
	opened time.Time
	trying bool        // somebody asks for it
	large  recent[int] // how often answers found no room where others do, by URL
}

// wait blocks while there is no room. tries is true for the caller whose answer will show whether there is room again; it has
// to call tried.
func (s *shortage) wait(ctx context.Context, g *gate.Gate) (tries bool, err error) {
	for {
		wait, tries := s.turn(g, time.Now())
		if tries || wait == 0 {
			return tries, ctx.Err()
		}
		waiting, cancel := context.WithTimeout(ctx, wait)
		_ = g.Wait(waiting) // until it opens, or it is time to look again
		cancel()
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// turn returns how long to wait, 0 for not at all, and whether it is the turn of the caller to try.
func (s *shortage) turn(g *gate.Gate, now time.Time) (wait time.Duration, tries bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case g.Status().Open:
		return 0, false
	case s.trying:
		return leastPause, false
	case now.Before(s.next):
		return s.next.Sub(now), false
	}
	s.trying = true
	return 0, true
}

func (s *shortage) tried() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
}

// full notes that something found no room. Answers that were under way together count once.
func (s *shortage) full(g *gate.Gate, err error) {
	s.mu.Lock()
	if now := time.Now(); !now.Before(s.next) {
		if g.Status().Open && now.Sub(s.opened) > overAfter {
			s.pause = 0
		}
		s.pause = min(max(2*s.pause, leastPause), mostPause)
		s.next = now.Add(s.pause)
	}
	s.mu.Unlock()
	g.Report(err)
}

// fits notes that an answer found room. It says nothing if the answer was already under way when another one found none.
func (s *shortage) fits(g *gate.Gate) {
	if g.Status().Open {
		return
	}
	s.mu.Lock()
	now := time.Now()
	over := !now.Before(s.next)
	if over {
		s.opened = now
	}
	s.mu.Unlock()
	if over {
		g.OpenByHand()
	}
}

// fullPause is how long a crawl waits after its files found no room.
const fullPause = 15 * time.Second

// holdIfFull waits before a run returns an err that says that its files found no room: the next run fetches again what could
// not be kept.
func (j *Job) holdIfFull(ctx context.Context, err error) {
	if !fault.Is(err, fault.Full) {
		return
	}
	j.short.full(j.disk, err)
	t := time.NewTimer(fullPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
