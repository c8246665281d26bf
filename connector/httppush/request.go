package httppush

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// mostAnswer bounds how much of an answer is read; of one that says nothing but that the server is at fault,
// its beginning does.
const (
	mostAnswer = 64 << 20
	mostFault  = 16 << 10
)

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// Error tells an answer that is no success.
func (a *answer) Error() string {
	return fmt.Sprintf("status %d: %s", a.status, download.Snippet(a.body))
}

func (a *answer) ok() bool { return a.status >= 200 && a.status <= 299 }

// known reports whether a server that does not do what was asked has let us in all the same.
func (a *answer) known() bool {
	return slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented,
		http.StatusBadRequest, http.StatusUnsupportedMediaType}, a.status)
}

// ask makes a request without a body; what it is for stands in its errors.
func (s *Sink) ask(ctx context.Context, method, at, verb string) (*answer, error) {
	req, err := http.NewRequest(method, at, nil)
	if err != nil {
		return nil, fault.New(fault.Permanent, "%s %s: %w", verb, s.place(), err)
	}
	q, err := s.templates.fill(nobody)
	if err != nil {
		return nil, err
	}
	a, err := s.do(ctx, req, q)
	if err == nil && !a.ok() {
		err = s.judge(a)
	}
	return a, s.classify(verb, err)
}

// do sends a request and reads the answer, whatever it says.
func (s *Sink) do(ctx context.Context, req *http.Request, q question) (*answer, error) {
	w := newWatch(ctx, s.cfg.Timeout)
	defer w.stop()
	if req.Body != nil {
		req.Body = io.NopCloser(w.watched(req.Body))
	}
	req.GetBody = nil // else the client might send it again by itself, and we would not know
	for name, v := range q.headers {
		req.Header.Set(name, v)
	}
	if b := s.cfg.Auth.Basic; b != nil {
		req.SetBasicAuth(b.User, b.Password.Reveal())
	}
	if t := s.cfg.Auth.Bearer; t != "" {
		req.Header.Set("Authorization", "Bearer "+t.Reveal())
	}
	res, err := s.client.Do(req.WithContext(w.ctx))
	if err != nil {
		return nil, w.explain(ctx, withoutURL(err))
	}
	defer res.Body.Close()
	from := w.watched(res.Body)
	if res.StatusCode >= 500 {
		from = io.LimitReader(from, mostFault)
	}
	body, err := io.ReadAll(io.LimitReader(from, mostAnswer+1))
	if err == nil && len(body) > mostAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", mostAnswer)
	}
	if err != nil {
		return nil, w.explain(ctx, withoutURL(err))
	}
	return &answer{res.StatusCode, res.Header, body}, nil
}

// withoutURL is an error of the client without the URL, whose query may hold a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// judge is what an answer that is no success means for whoever asked.
func (s *Sink) judge(a *answer) error {
	switch n := a.status; {
	case n == http.StatusUnauthorized || n == http.StatusForbidden || n == http.StatusProxyAuthRequired:
		return fault.WithHint(fault.As(fault.Credentials, a), "check auth and headers")
	case n == http.StatusTooManyRequests:
		return fault.WithWait(a, a.wait())
	case n == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		return fault.WithWait(a, a.wait())
	case n == http.StatusInsufficientStorage:
		return fault.As(fault.Full, a)
	case n >= 500 || n == http.StatusRequestTimeout || n == http.StatusTooEarly:
		return fault.As(fault.Transient, a)
	case n == http.StatusConflict:
		return fault.WithHint(fault.As(fault.Transient, a), "it is at work on the same delivery still; if it "+
			"means that it has it, set already: [409]")
	case n >= 300 && n <= 399:
		return fault.WithHint(fault.As(fault.Permanent, a), "it is elsewhere (%s); set url to where it is",
			a.header.Get("Location"))
	case slices.Contains(s.cfg.Refused, n):
		return fault.As(fault.Invalid, a)
	}
	return fault.WithHint(fault.As(fault.Permanent, a), "check url, format and headers; a status that speaks "+
		"of rows belongs into refused")
}

// wait is how long the receiver asks us to stay away. A date is read by its own clock, which may be hours
// off ours.
func (a *answer) wait() time.Duration {
	now, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	wait, _ := download.RetryAfter(a.header.Get("Retry-After"), now)
	return wait
}

// classify says where an error was met, and that one without a kind is an outage.
func (s *Sink) classify(verb string, err error) error {
	if err == nil {
		return nil
	}
	kind := fault.KindOf(err)
	if kind == fault.Unknown {
		kind = fault.Transient
	}
	return fault.As(kind, fmt.Errorf("%s %s: %w", verb, s.place(), err))
}

// quotedKey is the value of the header: a string of RFC 8941.
func quotedKey(key string) string { return strconv.Quote(key) }

// watch ends a request whose receiver falls silent: it neither takes a byte nor gives one.
type watch struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	silence time.Duration
	timer   *time.Timer
}

var errSilence = errors.New("the receiver was silent")

func newWatch(ctx context.Context, silence time.Duration) *watch {
	w := &watch{silence: silence}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(silence, func() { w.cancel(errSilence) })
	return w
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain turns the cancellation by the watch into its cause.
func (w *watch) explain(parent context.Context, err error) error {
	if parent.Err() == nil && errors.Is(context.Cause(w.ctx), errSilence) {
		return fmt.Errorf("%w for %v (timeout)", errSilence, w.silence)
	}
	return err
}

// watched is a reader whose every piece shows that the receiver lives.
func (w *watch) watched(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p[:min(len(p), 256<<10)])
		w.timer.Reset(w.silence)
		return n, err
	})
}

type readerFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
