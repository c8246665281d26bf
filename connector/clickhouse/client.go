package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"holdfast/base/fault"
)

// maxAnswer bounds an answer that is read whole: far above any list of columns or settings.
const maxAnswer = 16 << 20

// client speaks ClickHouse's HTTP interface. It never repeats a request.
type client struct {
	base   *url.URL
	user   string
	key    func() string
	silent time.Duration // longest silence
	http   *http.Client
	dial   *http.Transport
}

func newClient(cfg Config, base *url.URL) *client {
	dial := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: cfg.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout: cfg.ConnectTimeout,
		MaxIdleConnsPerHost: 2,
		// The server closes an idle connection after 3 to 10 s, and an old one waits for all of
		// them when it is told to stop.
		IdleConnTimeout: time.Second,
		// Never send a body before the server has taken the request up: see rehearse. The watch
		// over silence ends a wait that is in vain.
		ExpectContinueTimeout: 24 * time.Hour,
		DisableCompression:    true,
		// HTTP/1.1 alone: closing the connection is how an insert is taken back.
		Protocols: http1(),
	}
	return &client{
		base: base, user: cfg.Username, key: cfg.Password.Reveal, silent: cfg.Timeout, dial: dial,
		http: &http.Client{Transport: dial, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
}

func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

func (c *client) closeIdle() { c.dial.CloseIdleConnections() }

// request makes a POST with params in the URL and who we are in headers, which unlike a URL are in
// nobody's log.
func (c *client) request(ctx context.Context, body io.Reader, params url.Values) (*http.Request, error) {
	u := *c.base
	if u.Path == "" {
		u.Path = "/"
	}
	u.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, fault.New(fault.Permanent, "make request: %w", err)
	}
	c.identify(req)
	return req, nil
}

func (c *client) identify(req *http.Request) {
	req.Header.Set("User-Agent", "holdfast")
	if c.user != "" {
		req.Header.Set("X-ClickHouse-User", c.user)
		req.Header.Set("X-ClickHouse-Key", c.key())
	}
}

// answer is a response whose body has been read whole, and which is known to be a success.
type answer struct {
	body   string
	signed bool // it carries a header that only ClickHouse gives
}

// rows splits a TabSeparated answer; every row must have n fields.
func (a answer) rows(n int) ([][]string, error) {
	var out [][]string
	for line := range strings.Lines(a.body) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != n || !strings.HasSuffix(line, "\n") {
			return nil, garbage("got a row of %d fields, want %d: %s", len(f), n, excerpt(line))
		}
		for i := range f {
			f[i] = unescape(f[i])
		}
		out = append(out, f)
	}
	return out, nil
}

// ask runs a query and returns its answer, as TabSeparated unless the SQL says otherwise.
func (c *client) ask(ctx context.Context, sql string) (answer, error) {
	return c.scan(ctx, c.silent, sql)
}

// scan is ask for what may be computed for longer.
func (c *client) scan(ctx context.Context, silent time.Duration, sql string, settings ...string) (
	answer, error,
) {
	res, done, err := c.open(ctx, silent, sql, settings...)
	if err != nil {
		return answer{}, err
	}
	defer done()
	return c.finish(ctx, res)
}

// open runs a query and returns its response once the status is a success. The body is watched:
// reading it fails after a silence. done closes it.
func (c *client) open(ctx context.Context, silent time.Duration, sql string, settings ...string) (
	*http.Response, func(), error,
) {
	// With wait_end_of_query the server computes all before it sends the first byte, so that the
	// status speaks of the whole answer.
	params := url.Values{"wait_end_of_query": {"1"}, "buffer_size": {"1048576"}}
	for i := 0; i+1 < len(settings); i += 2 {
		params.Set(settings[i], settings[i+1])
	}
	watch, wctx := newWatch(ctx, silent)
	req, err := c.request(wctx, strings.NewReader(sql), params)
	if err != nil {
		watch.stop()
		return nil, nil, err
	}
	req.GetBody = nil
	res, err := c.http.Do(req)
	if err != nil {
		watch.stop()
		return nil, nil, c.unreachable(ctx, watch, err)
	}
	res.Body = watch.body(res.Body)
	done := func() {
		_ = res.Body.Close()
		watch.stop()
	}
	if res.StatusCode != http.StatusOK {
		defer done()
		_, err := c.finish(ctx, res)
		return nil, nil, err
	}
	return res, done, nil
}

// finish reads a response to its end and judges it.
func (c *client) finish(ctx context.Context, res *http.Response) (answer, error) {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, c.unreachable(ctx, nil, fmt.Errorf("read answer: %w", err))
	}
	a := answer{body: string(b), signed: signed(res.Header)}
	if len(b) > maxAnswer {
		return answer{}, garbage("got more than %d bytes: %s", maxAnswer, excerpt(a.body))
	}
	if err := judge(res, a.body); err != nil {
		return answer{}, err
	}
	return a, nil
}

// insert sends a body and returns the answer to it. When it returns, no more of the body leaves; the
// connection of an insert that failed is closed. expect lets the body wait for "100 Continue".
func (c *client) insert(ctx context.Context, silent time.Duration, body *insertBody,
	params url.Values, expect bool,
) (answer, error) {
	watch, wctx := newWatch(ctx, silent)
	defer watch.stop()
	body.begin(wctx, watch)
	req, err := c.request(wctx, body, params)
	if err != nil {
		return answer{}, err
	}
	req.ContentLength = -1
	if expect {
		req.Header.Set("Expect", "100-continue")
	}
	res, err := c.http.Do(req)
	if err != nil {
		watch.stop()
		_ = body.Close() // the transport may do so later
		return answer{}, c.unreachable(ctx, watch, err)
	}
	res.Body = watch.body(res.Body)
	a, err := c.finish(ctx, res)
	_ = res.Body.Close()
	return a, err
}

// watch ends a request after a silence of the other side.
type watch struct {
	silent time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

var errSilent = errors.New("the server is silent")

func newWatch(ctx context.Context, silent time.Duration) (*watch, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{silent: silent, cancel: cancel}
	w.timer = time.AfterFunc(silent, func() {
		cancel(fmt.Errorf("%w for %v", errSilent, silent))
	})
	return w, ctx
}

// progress says that a byte went over the line.
func (w *watch) progress() { w.timer.Reset(w.silent) }

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

func (w *watch) body(r io.ReadCloser) io.ReadCloser { return &watchedBody{r, w} }

type watchedBody struct {
	io.ReadCloser
	w *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.w.progress()
	}
	return n, err
}

var tsvEscapes = strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\'`, "'", `\0`, "\x00",
	`\b`, "\b", `\f`, "\f", `\r`, "\r")

// unescape undoes TabSeparated's escapes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return tsvEscapes.Replace(s)
}

// literal is s as an SQL string.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// name is s as an SQL identifier.
func name(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
