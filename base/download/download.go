// Package download is for sources that read answers over HTTP: it reads a body no faster than a limit, and ends a
// request whose server is silent or too slow.
package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// LongestWait is the most that a server can ask for with Retry-After.
const LongestWait = 6 * time.Hour

var (
	errSilence = errors.New("no byte came")
	errTooSlow = errors.New("the page was not finished")
)

// Watch ends a request whose server falls silent, and one that drips for longer than a page may
// take. While we ourselves hold back the reading, the clock for silence stands still.
type Watch struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	name    string
	silence time.Duration
	page    time.Duration

	mu     sync.Mutex // guards timer against stop
	timer  *time.Timer
	total  *time.Timer
	closed bool
}

// NewWatch returns a watch whose clocks run from now on. name is the configuration key of silence, for the
// errors. Stop it when the answer is read.
func NewWatch(ctx context.Context, name string, silence, page time.Duration) *Watch {
	w := &Watch{name: name, silence: silence, page: page}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(silence, func() { w.cancel(errSilence) })
	w.total = time.AfterFunc(page, func() { w.cancel(errTooSlow) })
	return w
}

// Context is the context of the request.
func (w *Watch) Context() context.Context { return w.ctx }

// alive starts the clock for silence anew; hold stops it.
func (w *Watch) alive() { w.reset(w.silence) }
func (w *Watch) hold()  { w.reset(-1) }

func (w *Watch) reset(d time.Duration) {
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

// Stop releases the timers and ends the request if it still runs.
func (w *Watch) Stop() {
	w.mu.Lock()
	w.closed = true
	w.timer.Stop()
	w.total.Stop()
	w.mu.Unlock()
	w.cancel(nil)
}

// Explain turns the cancellation by a watch into the words of its cause. The caller's own
// cancellation stays what it is.
func (w *Watch) Explain(parent context.Context, err error) error {
	if parent.Err() != nil {
		return parent.Err()
	}
	switch cause := context.Cause(w.ctx); {
	case errors.Is(cause, errSilence):
		return fmt.Errorf("%w for %v (%s)", cause, w.silence, w.name)
	case errors.Is(cause, errTooSlow):
		return fmt.Errorf("%w within %v (page_timeout)", cause, w.page)
	}
	return err
}

// Body reads a body under a watch, no faster than the limit.
type Body struct {
	From  io.Reader
	Limit *rate.Limiter // nil for none
	Watch *Watch
	N     int64 // bytes that were read
}

// Read implements io.Reader.
func (t *Body) Read(p []byte) (int, error) {
	if t.Limit != nil {
		p = p[:min(len(p), t.Limit.Burst())]
	}
	t.Watch.alive()
	n, err := t.From.Read(p)
	t.Watch.hold()
	t.N += int64(n)
	if n > 0 && t.Limit != nil {
		if werr := t.Limit.WaitN(t.Watch.ctx, n); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

// NewLimit allows a second's worth at once, so that a small page is not held up; -1 is no limit.
func NewLimit(bytesPerSecond int) *rate.Limiter {
	if bytesPerSecond < 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), max(1, bytesPerSecond))
}

// RetryAfter reads the header of that name: seconds, or a date.
func RetryAfter(v string, now time.Time) (wait time.Duration, ok bool) {
	if v = strings.TrimSpace(v); v == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, LongestWait), true
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return max(0, min(t.Sub(now), LongestWait)), true
}

// Snippet shows how an answer begins.
func Snippet(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "(empty)"
	}
	if len(b) > 120 {
		return fmt.Sprintf("%q...", b[:120])
	}
	return fmt.Sprintf("%q", b)
}
