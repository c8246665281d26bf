package httppoll

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

const (
	// restWait is how long a feed is left alone that asks for rest and does not say how long.
	restWait = time.Minute
	// mostPages ends an answer whose pages lead in a circle.
	mostPages = 100_000
)

// answer is a response that was read.
type answer struct {
	*columns.Reading
	header    http.Header
	url       *url.URL // where it came from, redirects followed
	rest      any
	unchanged bool
	bytes     int64
}

// Fetch asks for one page.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if r.Fill != nil {
		return connector.Page{}, fault.New(fault.Permanent, "fill %d to %d: an http feed can't be asked "+
			"for a range of keys", r.Fill.From, r.Fill.To)
	}
	at, err := readPosition(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	q, err := s.question(at)
	if err != nil {
		return connector.Page{}, err
	}
	ans, err := s.authorized(ctx, at, q)
	if fault.Is(err, fault.Permanent) && at.Next != "" && at.Next != s.given {
		// The link is of a former life and may have run out. The answer is read from its first page.
		return connector.Page{Cursor: at.start().bytes(), More: true,
			Notes: map[string]int64{"next_link_expired": 1}}, nil
	}
	if err != nil {
		return connector.Page{}, err
	}
	if ans.unchanged {
		return connector.Page{Cursor: at.bytes(), Notes: map[string]int64{"unchanged": 1}}, nil
	}
	return s.page(ctx, at, q, ans)
}

// question is what to ask at a position.
func (s *Source) question(at position) (question, error) {
	first := 1
	if n := s.cfg.Page.Number; n != nil {
		first = *n
	}
	q, err := s.templates.fill(at.values(first))
	if err != nil {
		return q, fault.New(fault.Permanent, "fill the templates of the request: %w", err)
	}
	if at.Next != "" {
		q.url = at.Next
	}
	return q, nil
}

// id names a question. Headers are left out: they hold secrets, and do not make another question.
func (q question) id() string {
	sum := sha256.Sum256([]byte(q.url + "\x00" + q.body))
	return hex.EncodeToString(sum[:8])
}

// page makes a page of an answer.
func (s *Source) page(ctx context.Context, at position, q question, ans answer) (connector.Page, error) {
	rows, err := ans.Batch()
	if err != nil {
		return connector.Page{}, s.outage(s.what(), err)
	}
	p := connector.Page{Rows: rows, Rejected: ans.Rejected, Notes: ans.Notes}
	p.Notes["bytes"] = ans.bytes
	to, err := s.after(ctx, at, q, ans)
	if err != nil {
		return connector.Page{}, err
	}
	p.Cursor = to.bytes()
	moved := to.Cursor != at.Cursor
	p.More = to.Pages > 0 || moved && ans.Items > 0 && (s.mark != nil || s.full(ans))
	return p, nil
}

// full tells whether more is likely behind an answer.
func (s *Source) full(ans answer) bool {
	return s.cfg.Page.Size > 0 && ans.Items >= s.cfg.Page.Size
}

// after is the position behind an answer.
func (s *Source) after(ctx context.Context, at position, q question, ans answer) (position, error) {
	high, err := s.highest(ctx, at, ans)
	if err != nil {
		return position{}, err
	}
	since := max(at.Since, at.HighSince)
	if newest, ok := ans.NewestTime(); ok {
		since = max(since, newest)
	}
	next, more, err := s.follows(ctx, q, ans)
	switch {
	case err != nil:
		return position{}, err
	case more && at.Pages+1 >= mostPages:
		return position{}, fault.New(fault.Permanent, "%s: the answer has more than %d pages", s.what(),
			mostPages)
	case more:
		s.given = next
		to := at.start()
		to.High, to.HighSince, to.Next, to.Pages = high, since, next, at.Pages+1
		return to, nil
	}
	paged := s.cfg.Page.Next != "" || s.cfg.Page.JQ != "" || s.cfg.Page.Number != nil
	if !paged && s.cfg.Cursor.Column != "" && s.full(ans) && ans.Unordered {
		return position{}, fault.WithHint(fault.New(fault.Permanent, "%s: %w", s.what(), errFullUnordered),
			"let url ask for ascending order, or set page so that all pages of an answer are read")
	}
	to := position{Version: cursorVersion, Cursor: high, Since: since}
	if s.cfg.Page.Next == "" && at.Pages == 0 {
		to.ETag, to.LastModified = ans.header.Get("ETag"), ans.header.Get("Last-Modified")
		if to.ETag != "" || to.LastModified != "" {
			to.Question = q.id()
		}
	}
	return to, nil
}

// highest is the cursor's text after an answer: it never goes back.
func (s *Source) highest(ctx context.Context, at position, ans answer) (string, error) {
	known := at.Cursor
	if at.High != "" {
		known = at.High
	}
	if s.mark != nil {
		v, err := s.mark.One(ctx, ans.rest)
		if err != nil {
			return "", s.outage(s.what(), fmt.Errorf("read cursor.jq: %w", err))
		}
		if text, ok := scalarText(v); ok && text != "" {
			return text, nil
		}
		return known, nil
	}
	return ans.Mark(known)
}

func scalarText(v any) (string, bool) {
	if s, ok := v.(string); ok {
		return s, true
	}
	n, err := columns.Number(v, false)
	return n, err == nil
}

// follows tells whether the answer goes on, and with which URL if the feed names one.
func (s *Source) follows(ctx context.Context, q question, ans answer) (next string, more bool, err error) {
	switch {
	case s.cfg.Page.Number != nil:
		return "", ans.Items > 0 && (s.cfg.Page.Size == 0 || s.full(ans)), nil
	case s.cfg.Page.Next != "":
		next = linkNext(ans.header.Values("Link"))
	case s.next != nil:
		v, err := s.next.One(ctx, ans.rest)
		if err != nil {
			return "", false, s.outage(s.what(), fmt.Errorf("read page.jq: %w", err))
		}
		next, _ = scalarText(v)
	}
	if next == "" {
		return "", false, nil
	}
	u, err := ans.url.Parse(next)
	if err != nil || !s.allowed(u) {
		return "", false, fault.WithHint(fault.New(fault.Permanent, "%s: the next page is at another "+
			"place than the feed's own host", s.what()), "add the host to allow_hosts if that is right")
	}
	if u.String() == q.url {
		return "", false, s.outage(s.what(), errors.New("the next page is the page itself"))
	}
	return u.String(), true, nil
}

// linkNext finds rel=next among Link headers (RFC 8288).
func linkNext(headers []string) string {
	for link := range strings.SplitSeq(strings.Join(headers, ","), "<") {
		target, params, ok := strings.Cut(link, ">")
		if !ok {
			continue
		}
		for param := range strings.SplitSeq(params, ";") {
			name, rel, _ := strings.Cut(strings.Trim(param, " ,"), "=")
			if strings.EqualFold(strings.TrimSpace(name), "rel") &&
				slices.Contains(strings.Fields(strings.ToLower(strings.Trim(rel, ` "`))), "next") {
				return target
			}
		}
	}
	return ""
}

// home tells whether a URL is on the feed's own host, where credentials may go.
func (s *Source) home(u *url.URL) bool {
	return u.Host == s.base.Host && (u.Scheme == s.base.Scheme || u.Scheme == "https")
}

// allowed tells whether a URL may be asked at all.
func (s *Source) allowed(u *url.URL) bool {
	web := u.Scheme == "http" || u.Scheme == "https"
	return s.home(u) || web && (slices.Contains(s.cfg.AllowHosts, u.Host) ||
		slices.Contains(s.cfg.AllowHosts, u.Hostname()))
}

var errElsewhere = errors.New("the feed leads to another host")

// redirect follows only to where a next link may lead, and takes nothing of ours along.
func (s *Source) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("the feed leads in a circle")
	}
	if !s.allowed(req.URL) {
		return errElsewhere
	}
	if !s.home(req.URL) {
		req.Header = http.Header{"Accept-Encoding": {"gzip"}, "User-Agent": {s.opts.UserAgent}}
	}
	return nil
}

func (s *Source) what() string { return "fetch from " + s.base.Host }

// request makes the HTTP request of a question.
func (s *Source) request(ctx context.Context, at position, q question) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, s.cfg.Method, q.url, strings.NewReader(q.body))
	if err != nil {
		return nil, fault.New(fault.Permanent, "%s: the URL can't be asked", s.what())
	}
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", s.opts.UserAgent)
	if !s.home(req.URL) {
		return req, nil
	}
	if q.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, v := range q.headers {
		req.Header.Set(name, v)
	}
	switch a := s.cfg.Auth; {
	case a.Basic != nil:
		req.SetBasicAuth(a.Basic.User, a.Basic.Password.Reveal())
	case a.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+a.Bearer.Reveal())
	}
	if at.Question == q.id() {
		if at.ETag != "" {
			req.Header.Set("If-None-Match", at.ETag)
		}
		if at.LastModified != "" {
			req.Header.Set("If-Modified-Since", at.LastModified)
		}
	}
	return req, nil
}

// ask makes one request and reads its answer.
func (s *Source) ask(ctx context.Context, at position, q question) (answer, error) {
	w := download.NewWatch(ctx, "timeout", s.cfg.Timeout, s.cfg.PageTimeout)
	defer w.Stop()
	req, err := s.request(w.Context(), at, q)
	if err != nil {
		return answer{}, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, s.unanswered(s.what(), w.Explain(ctx, err))
	}
	defer resp.Body.Close()
	body := &download.Body{From: resp.Body, Limit: s.limit, Watch: w}
	ans := answer{header: resp.Header, url: resp.Request.URL, Reading: s.table.Begin(ctx)}
	switch {
	case resp.StatusCode == http.StatusNotModified:
		ans.unchanged = true
		return ans, nil
	case resp.StatusCode == http.StatusNoContent:
		return ans, nil
	case resp.StatusCode != http.StatusOK:
		head, _ := io.ReadAll(io.LimitReader(body, 4<<10))
		return answer{}, badStatus(s.what(), resp, head)
	}
	unpacked, err := s.unpack(resp, body)
	if err == nil {
		ans.rest, err = s.decoder.items(w.Context(), unpacked, ans.Add)
	}
	ans.bytes = body.N
	if err != nil {
		return answer{}, s.outage(s.what(), w.Explain(ctx, err))
	}
	return ans, nil
}

// unpack takes off gzip if the feed put it on, and bounds what comes out.
func (s *Source) unpack(resp *http.Response, body io.Reader) (io.Reader, error) {
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w", err)
		}
		body = z
	}
	return &bounded{r: body, left: s.cfg.MaxBytes}, nil
}

// bounded ends an answer that is larger than we are told to take.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fault.WithHint(fault.New(fault.Permanent, "the answer is larger than max_bytes"),
			"ask for smaller pages, or raise max_bytes")
	}
	return n, err
}

// badStatus says what an answer other than 200 means.
func badStatus(what string, resp *http.Response, body []byte) error {
	err := fmt.Errorf("%s: answered %s: %s", what, resp.Status, download.Snippet(body))
	code := resp.StatusCode
	wait, asked := download.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	if !asked || wait <= 0 {
		wait = restWait
	}
	switch {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable && asked:
		return fault.WithHint(fault.WithWait(err, wait), "the feed asks for %s of rest and gets it", wait)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fault.WithHint(fault.As(fault.Credentials, err), "check auth, then restart or resume")
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return fault.WithHint(fault.As(fault.Transient, err), outageHint)
	}
	return fault.WithHint(fault.As(fault.Permanent, err), "check url, method, headers and body")
}

const outageHint = "nothing need be done unless it lasts: the feed is asked again from the same place"

// unanswered is an error of a request without an answer.
func (s *Source) unanswered(what string, err error) error {
	if errors.Is(err, errElsewhere) {
		return fault.WithHint(fault.New(fault.Permanent, "%s: %w", what, errElsewhere),
			"correct url, or add the host to allow_hosts if that is right")
	}
	return s.outage(what, err)
}

// outage is an error that speaks of the server or the way to it. The caller's own cancellation is
// none, and passes as it is; so does a fault that was told apart before.
func (s *Source) outage(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // without the URL, which may hold a key
	}
	kind, hint := fault.KindOf(err), fault.HintOf(err)
	if kind == fault.Unknown || hint == "" {
		hint = outageHint
	}
	if kind == fault.Unknown {
		kind = fault.Transient
	}
	return fault.WithHint(fault.New(kind, "%s: %w", what, err), "%s", hint)
}

var errFullUnordered = errors.New("a full page is not in ascending order of the cursor's column: rows " +
	"below the highest may have been left out of it")
