package httppoll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

var (
	errSilence = errors.New("no byte came")
	errTooSlow = errors.New("the page was not finished")
)

// watch ends a request whose server falls silent, and one that drips for longer than a page may
// take. While we ourselves hold back the reading, the clock for silence stands still.
type watch struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	silence time.Duration
	page    time.Duration

	mu     sync.Mutex // guards timer against stop
	timer  *time.Timer
	total  *time.Timer
	closed bool
}

func newWatch(ctx context.Context, silence, page time.Duration) *watch {
	w := &watch{silence: silence, page: page}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(silence, func() { w.cancel(errSilence) })
	w.total = time.AfterFunc(page, func() { w.cancel(errTooSlow) })
	return w
}

// alive starts the clock for silence anew; hold stops it.
func (w *watch) alive() { w.reset(w.silence) }
func (w *watch) hold()  { w.reset(-1) }

func (w *watch) reset(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.timer.Stop()
	if d >= 0 {
		w.timer.Reset(d)
	}
}

// stop releases the timers and ends the request if it still runs.
func (w *watch) stop() {
	w.mu.Lock()
	w.closed = true
	w.timer.Stop()
	w.total.Stop()
	w.mu.Unlock()
	w.cancel(nil)
}

// explain turns the cancellation by a watch into the words of its cause. The caller's own
// cancellation stays what it is.
func (w *watch) explain(parent context.Context, err error) error {
	if parent.Err() != nil {
		return parent.Err()
	}
	switch cause := context.Cause(w.ctx); {
	case errors.Is(cause, errSilence):
		return fmt.Errorf("%w for %v (timeout)", cause, w.silence)
	case errors.Is(cause, errTooSlow):
		return fmt.Errorf("%w within %v (page_timeout)", cause, w.page)
	}
	return err
}

// throttled reads a body under a watch, no faster than the limit.
type throttled struct {
	body  io.Reader
	limit *rate.Limiter // nil for none
	w     *watch
	n     int64
}

func (t *throttled) Read(p []byte) (int, error) {
	if t.limit != nil {
		p = p[:min(len(p), t.limit.Burst())]
	}
	t.w.alive()
	n, err := t.body.Read(p)
	t.w.hold()
	t.n += int64(n)
	if n > 0 && t.limit != nil {
		if werr := t.limit.WaitN(t.w.ctx, n); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

// newLimit allows a second's worth at once, so that a small page is not held up; -1 is no limit.
func newLimit(bytesPerSecond int) *rate.Limiter {
	if bytesPerSecond < 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), max(1, bytesPerSecond))
}
