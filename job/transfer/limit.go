package transfer

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limit bounds what goes out, by the time of day. The zero value bounds nothing.
type Limit []Change

// Change is a rate that holds from a time of day on, until the next one, over midnight too.
type Change struct {
	At   time.Duration // since midnight, by the clock on the wall
	Rate int64         // bytes a second; Unlimited, or Paused
}

// The rates that are not a number of bytes.
const (
	Unlimited = 0
	Paused    = -1 // nothing goes out
)

// at returns the rate that holds at a moment, and the moment until which it may hold.
func (l Limit) at(now time.Time) (rate int64, end time.Time) {
	if len(l) == 0 {
		return Unlimited, now.Add(time.Hour)
	}
	year, month, day := now.Date()
	on := func(days int, c Change) time.Time { // by the wall: a day of 23 hours has its changes too
		return time.Date(year, month, day+days, int(c.At/time.Hour), int(c.At/time.Minute)%60, 0, 0, now.Location())
	}
	rate = l[len(l)-1].Rate // since yesterday
	for _, c := range l {
		if at := on(0, c); at.After(now) {
			return rate, at
		}
		rate = c.Rate
	}
	return rate, on(1, l[0])
}

// limiter makes all who send share a limit.
type limiter struct {
	limit Limit

	mu   sync.Mutex
	rate *rate.Limiter // of the rate that held last; guarded by mu
}

// atLeast is how many bytes may go out at once however low the rate is: a packet of the protocols.
const atLeast = 32 << 10

// lookAgain is how long a pause is relied on at most, because clocks are set.
const lookAgain = time.Minute

// take waits until n bytes more may go out. The error is that of ctx.
func (l *limiter) take(ctx context.Context, n int64) error {
	for n > 0 {
		bytes, err := l.begin(ctx)
		if err != nil || bytes == Unlimited {
			return err
		}
		by := l.of(bytes)
		some := min(n, int64(by.Burst()))
		if err := by.WaitN(ctx, int(some)); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// begin waits while nothing may go out, and returns the rate that holds then. A file that has not begun holds up no other.
func (l *limiter) begin(ctx context.Context) (bytes int64, err error) {
	for {
		now := time.Now()
		bytes, end := l.limit.at(now)
		if bytes != Paused {
			return bytes, nil
		}
		over := time.NewTimer(min(end.Sub(now), lookAgain))
		select {
		case <-over.C:
		case <-ctx.Done():
			over.Stop()
			return 0, ctx.Err()
		}
	}
}

// of returns the limiter for a rate.
func (l *limiter) of(bytes int64) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == nil || l.rate.Limit() != rate.Limit(bytes) {
		l.rate = rate.NewLimiter(rate.Limit(bytes), int(max(bytes/10, atLeast)))
		l.rate.AllowN(time.Now(), l.rate.Burst()) // nothing was saved up
	}
	return l.rate
}

// stopwatch ends work that takes longer than it may. Time for which the limit holds the work up does not count.
type stopwatch struct {
	timer *time.Timer

	mu    sync.Mutex // guards what is below
	left  time.Duration
	since time.Time // when it went on
	held  int
}

func startStopwatch(left time.Duration, end func()) *stopwatch {
	return &stopwatch{timer: time.AfterFunc(left, end), left: left, since: time.Now()}
}

func (s *stopwatch) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held++; s.held == 1 && s.timer.Stop() {
		s.left -= time.Since(s.since)
	}
}

func (s *stopwatch) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held--; s.held == 0 {
		s.since = time.Now()
		s.timer.Reset(max(s.left, 0))
	}
}

// stop ends it for good.
func (s *stopwatch) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held++ // whoever releases now starts nothing
	s.timer.Stop()
}
