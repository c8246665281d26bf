package wsprnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/wsprnet/spot"
)

// Fetch asks for the spots behind the cursor, or behind the beginning of the range to fill.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	after, err := position(r)
	if err != nil {
		return connector.Page{}, err
	}
	if s.retry.Swap(false) {
		s.refusedUntil = time.Time{}
	}
	if err := s.polite(after); err != nil {
		return connector.Page{}, err
	}
	ans, err := s.authorized(ctx, after)
	if err != nil {
		return connector.Page{}, err
	}
	s.asked.after, s.asked.at = after, time.Now()
	if err := ans.RejectFar(after, s.strays); err != nil {
		return connector.Page{}, err
	}
	s.expect = ans.Rows.NumRows() * 9 / 8
	page := s.page(r, after, ans)
	for name, n := range s.notes {
		page.Notes[name] += n
	}
	s.notes = nil
	return page, nil
}

// position returns the id behind which to ask.
func position(r connector.Request) (after uint64, err error) {
	if r.Fill != nil {
		if r.Fill.From == 0 || r.Fill.From > r.Fill.To {
			return 0, fault.New(fault.Permanent, "fill %d to %d: no range of spot numbers",
				r.Fill.From, r.Fill.To)
		}
		return r.Fill.From - 1, nil
	}
	if len(r.Cursor) == 0 {
		return 0, nil
	}
	after, err = strconv.ParseUint(string(r.Cursor), 10, 64)
	if err != nil {
		return 0, fault.New(fault.Corrupt, "read cursor %q: want a decimal spot number", r.Cursor)
	}
	return after, nil
}

// polite keeps the feed's rule: never the same query within two minutes.
func (s *Source) polite(after uint64) error {
	if !isWsprnet(s.host) || s.asked.after != after || s.asked.at.IsZero() {
		return nil
	}
	if wait := etiquette - time.Since(s.asked.at); wait > 0 {
		return fault.WithWait(fmt.Errorf("ask %s for spots after %d: asked %s ago, and its rule is "+
			"never the same query within two minutes", s.host, after,
			(etiquette-wait).Round(time.Second)), wait)
	}
	return nil
}

// answer is a page as the feed gave it.
type answer struct {
	*spot.Result
	at time.Time // by the feed's clock
}

// errNotAuthorized is the feed's word for a session that it does not know (any more).
var errNotAuthorized = errors.New("the feed does not know our session")

// strangePause is the rest after a login that succeeded and did not help. It is the feed's fault as
// often as the account's, so it is shorter than the one after a refused login.
const strangePause = 5 * time.Minute

// authorized asks with the session there is, and once more with a new one if the feed wants that.
func (s *Source) authorized(ctx context.Context, after uint64) (answer, error) {
	if s.cfg.Username != "" && !s.hasSession {
		if err := s.login(ctx); err != nil {
			return answer{}, err
		}
	}
	ans, err := s.ask(ctx, after)
	if !errors.Is(err, errNotAuthorized) {
		return ans, err
	}
	s.hasSession = false
	if err := s.login(ctx); err != nil {
		return answer{}, err
	}
	s.note("session_renewed", 1)
	ans, err = s.ask(ctx, after)
	if errors.Is(err, errNotAuthorized) {
		s.hasSession = false
		s.refusedUntil = time.Now().Add(min(s.cfg.LoginPause, strangePause))
		return answer{}, s.refusal(fmt.Errorf("fetch spots from %s: the login of %s succeeds, and "+
			"the feed still answers that it is not authorized", s.host, s.cfg.Username))
	}
	return ans, err
}

// query returns the URL that asks for the spots behind after.
func (s *Source) query(after uint64) (string, error) {
	u, err := url.Parse(s.cfg.URL)
	if err != nil {
		return "", err
	}
	q := u.Query()
	q.Set("band", s.cfg.Band)
	q.Set("exclude_special", strconv.Itoa(s.cfg.ExcludeSpecial))
	q.Set("spotnum_start", strconv.FormatUint(after, 10))
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// ask makes one request and reads its answer.
func (s *Source) ask(ctx context.Context, after uint64) (answer, error) {
	what := fmt.Sprintf("fetch spots after %d from %s", after, s.host)
	u, err := s.query(after)
	if err != nil {
		return answer{}, fault.New(fault.Permanent, "%s: %w", what, err)
	}
	w := download.NewWatch(ctx, "request_timeout", s.cfg.RequestTimeout, s.cfg.PageTimeout)
	defer w.Stop()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, u, nil)
	if err != nil {
		return answer{}, fault.New(fault.Permanent, "%s: %w", what, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", s.opts.UserAgent)
	if s.hasSession {
		req.Header.Set("Cookie", s.session.cookie())
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, s.outage(what, w.Explain(ctx, err))
	}
	defer resp.Body.Close()
	body := &download.Body{From: resp.Body, Limit: s.limit, Watch: w}
	if resp.StatusCode != http.StatusOK {
		head, _ := io.ReadAll(io.LimitReader(body, 4<<10))
		if c := resp.StatusCode; c == http.StatusForbidden || c == http.StatusUnauthorized {
			return answer{}, errNotAuthorized
		}
		return answer{}, s.badStatus(what, resp, head)
	}
	ans := answer{at: time.Now()}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		ans.at = t
	}
	ans.Result = s.read(resp, body)
	s.note("bytes", body.N)
	return ans, s.judge(ctx, w, what, ans.Result)
}

// read parses the body, taking off gzip if the feed put it on.
func (s *Source) read(resp *http.Response, body io.Reader) *spot.Result {
	lim := spot.Limits{Bytes: s.cfg.MaxPageBytes, Expect: int(s.expect)}
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return spot.Parse(body, lim)
	}
	z, err := gzip.NewReader(body)
	if err != nil {
		return &spot.Result{ReadErr: fmt.Errorf("read gzip: %w", err), Rows: emptyRows()}
	}
	return spot.Parse(z, lim)
}

// judge tells an answer that is a page, or a usable part of one, from everything else.
func (s *Source) judge(ctx context.Context, w *download.Watch, what string, r *spot.Result) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.Rows.NumRows() > 0 || r.Max > 0 {
		return nil
	}
	if bytes.Contains(r.Head, []byte("not authorized to access")) ||
		bytes.Contains(r.Head, []byte("Access denied for user")) {
		return errNotAuthorized
	}
	switch {
	case r.ReadErr != nil:
		return s.outage(what, w.Explain(ctx, r.ReadErr))
	case !r.IsArray:
		return s.outage(what, fmt.Errorf("the answer is no JSON array: %s", download.Snippet(r.Head)))
	case !r.Whole && len(r.Rejected) > 0:
		return s.outage(what, fmt.Errorf("the answer is garbage: %s", download.Snippet(r.Head)))
	case !r.Whole:
		return s.outage(what, errors.New("the answer was cut before its first spot ended"))
	}
	return nil
}

// badStatus says what an answer other than 200 means.
func (s *Source) badStatus(what string, resp *http.Response, body []byte) error {
	err := fmt.Errorf("%s: answered %s: %s", what, resp.Status, download.Snippet(body))
	wait, asked := download.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	switch {
	case resp.StatusCode == http.StatusTooManyRequests && !asked:
		wait = etiquette
	case resp.StatusCode == http.StatusTooManyRequests, asked && resp.StatusCode >= 500:
	case resp.StatusCode >= 500:
		return fault.WithHint(fault.As(fault.Transient, err), outageHint)
	default:
		return fault.WithHint(fault.As(fault.Transient, err),
			"check url and login_url if this goes on; it is tried again until it works")
	}
	return fault.WithHint(fault.WithWait(err, wait), "the feed asks for %s of rest and gets it", wait)
}

const outageHint = "nothing need be done unless it lasts: the feed keeps 24 hours, and is asked " +
	"again until it answers"

// outage is an error that speaks of the server or the way to it. The caller's own cancellation is
// none, and passes as it is.
func (s *Source) outage(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL, which is in what
	}
	return fault.WithHint(fault.New(fault.Transient, "%s: %w", what, err), outageHint)
}
