package influxdb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/download"
	"holdfast/base/fault"
)

// Client asks and writes to one database, or bucket. It is used from any goroutine, and never tries
// anything again by itself.
type Client struct {
	c    Config
	http *http.Client
}

// NewClient returns a client for the place that a configuration names. What the configuration says of
// points it does not look at. It touches nothing before it is asked.
func NewClient(c Config) (*Client, error) {
	k := &check{Config: c.WithDefaults()}
	if why := badURL(k.URL); why != "" {
		k.Bad("url", "%s", why)
	}
	k.place()
	if len(k.Faults) > 0 {
		return nil, fault.New(fault.Permanent, "open influxdb: %w", errors.Join(k.Faults...))
	}
	return &Client{c: k.Config, http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: k.Timeout}).DialContext,
			TLSHandshakeTimeout: k.Timeout,
			MaxIdleConnsPerHost: parallel + 1,
			// Soon enough that a server does not close a connection under a request.
			IdleConnTimeout: 3 * time.Second,
			// Packed answers would hide where one was cut off.
			DisableCompression: true,
		}}}, nil
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// name is what errors call the place.
func (c *Client) name() string {
	return fmt.Sprintf("influxdb %s at %s", cmp.Or(c.c.Database, c.c.Bucket), c.c.URL)
}

// at is the address of a part of the server's interface.
func (c *Client) at(path string, q url.Values) string {
	return strings.TrimSuffix(c.c.URL, "/") + path + "?" + q.Encode()
}

// writeAt is the address that lines are posted to.
func (c *Client) writeAt(precision string) string {
	if c.c.Bucket != "" {
		q := url.Values{"bucket": {c.c.Bucket}, "precision": {precision}}
		if c.c.Org != "" {
			q.Set("org", c.c.Org)
		}
		return c.at("/api/v2/write", q)
	}
	q := url.Values{"db": {c.c.Database}, "precision": {precisions[precision].old}}
	if c.c.RetentionPolicy != "" {
		q.Set("rp", c.c.RetentionPolicy)
	}
	return c.at("/write", q)
}

// post writes lines whose times have that precision. The answer must be the one that InfluxDB gives: some
// other server's 200 is no promise.
func (c *Client) post(ctx context.Context, text []byte, precision string) error {
	packed := text
	if c.c.Compression == packGzip && len(text) > 0 {
		var err error
		if packed, err = pack(text); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.c.Timeout, errTooLong)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.writeAt(precision), bytes.NewReader(packed))
	if err != nil {
		return fault.As(fault.Permanent, withoutURL(err))
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if len(packed) > 0 && c.c.Compression == packGzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := c.send(req)
	if err != nil {
		return explain(ctx, c.c.Timeout, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, mostFault))
	if err != nil {
		return explain(ctx, c.c.Timeout, err)
	}
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	return &answer{status: res.StatusCode, header: res.Header, body: body}
}

// errTooLong ends a request that takes too long.
var errTooLong = errors.New("no answer came")

// explain names the time-out that ended a request; the caller's own cancellation stays what it is.
func explain(ctx context.Context, limit time.Duration, err error) error {
	if errors.Is(context.Cause(ctx), errTooLong) {
		return fmt.Errorf("%w within %v (timeout)", errTooLong, limit)
	}
	return withoutURL(err)
}

// send makes a request with our credentials.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	switch {
	case c.c.Username != "":
		req.SetBasicAuth(c.c.Username, c.c.Password.Reveal())
	case c.c.Token != "":
		req.Header.Set("Authorization", "Token "+c.c.Token.Reveal())
	}
	return c.http.Do(req)
}

func pack(text []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return buf.Bytes(), nil
}

// withoutURL is an error of the client library without the URL, whose query may hold a value.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Row is one row of an answer.
type Row struct {
	Measurement string
	Tags        map[string]string // of its series, where the query groups by tags
	Columns     []string          // shared by the rows of a series
	Values      []any             // nil, bool, string or json.Number, one a column
}

// Value is the value of a column, nil if it is null or there is no such column.
func (r Row) Value(column string) any {
	for i, name := range r.Columns {
		if name == column && i < len(r.Values) {
			return r.Values[i]
		}
	}
	return nil
}

// Time is the time of the row; ok is false if it has none.
func (r Row) Time() (t time.Time, ok bool) {
	n, ok := r.Value("time").(json.Number)
	if !ok {
		return t, false
	}
	ns, err := n.Int64()
	return time.Unix(0, ns).UTC(), err == nil
}

// Query asks in InfluxQL and calls yield for every row as it comes, in the answer's order; it returns the
// first error of yield. $name in the text is the value of that name in params, whatever is in it: a
// string, a bool, a number or a time.Time. The names of measurements and columns can't be bound: use
// identifier. A query that changes something is sent like any other.
//
// Errors: NotFound for a database, retention policy or user that is not there; Credentials; Permanent for
// a query that the server does not understand; else an outage, also where an answer is cut off: rows that
// were yielded are then not all.
func (c *Client) Query(ctx context.Context, text string, params map[string]any, yield func(Row) error) error {
	w := download.NewWatch(ctx, "timeout", c.c.Timeout, c.c.ScanTimeout)
	defer w.Stop()
	form, err := c.form(text, params)
	if err != nil {
		return c.classify("ask", err)
	}
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, c.at("/query", nil),
		strings.NewReader(form.Encode()))
	if err != nil {
		return c.classify("ask", fault.As(fault.Permanent, withoutURL(err)))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.send(req)
	if err != nil {
		return c.classify("ask", w.Explain(ctx, withoutURL(err)))
	}
	defer res.Body.Close()
	body := &download.Body{From: res.Body, Watch: w}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, mostFault))
		return c.classify("ask", &answer{status: res.StatusCode, header: res.Header, body: text})
	}
	err = read(body, yield)
	if y, ok := errors.AsType[*stopped](err); ok {
		return y.err
	}
	return c.classify("ask", w.Explain(ctx, err))
}

// form is a query as it is posted.
func (c *Client) form(text string, params map[string]any) (url.Values, error) {
	form := url.Values{"q": {text}, "epoch": {"ns"}, "chunked": {"true"}, "chunk_size": {"2000"},
		"db": {cmp.Or(c.c.Database, c.c.Bucket)}}
	if c.c.RetentionPolicy != "" {
		form.Set("rp", c.c.RetentionPolicy)
	}
	if len(params) == 0 {
		return form, nil
	}
	bound := make(map[string]any, len(params))
	for name, v := range params {
		if t, ok := v.(time.Time); ok {
			v = t.UTC().Format(time.RFC3339Nano)
		}
		bound[name] = v
	}
	text2, err := json.Marshal(bound)
	if err != nil {
		return nil, fault.New(fault.Permanent, "bind parameters: %w", err)
	}
	form.Set("params", string(text2))
	return form, nil
}

// fieldTypes asks for the types of a measurement's fields.
func (c *Client) fieldTypes(ctx context.Context, measurement string) (map[string][]string, error) {
	types := map[string][]string{}
	err := c.Query(ctx, "SHOW FIELD KEYS FROM "+identifier(measurement), nil, func(r Row) error {
		name, _ := r.Value("fieldKey").(string)
		typ, _ := r.Value("fieldType").(string)
		types[name] = append(types[name], typ)
		return nil
	})
	return types, err
}

// identifier quotes the name of a measurement, a tag or a field for the text of a query.
func identifier(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(name) + `"`
}

// part is one piece of an answer in pieces.
type part struct {
	Error   string
	Results []struct {
		Error   string
		Partial bool
		Series  []struct {
			Name    string
			Tags    map[string]string
			Columns []string
			Values  [][]any
		}
	}
}

// stopped is what yield returned, which is no error of the server.
type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }

// errNotInflux is an answer that InfluxDB does not give.
var errNotInflux = errors.New("this is no answer of InfluxDB")

// read calls yield for every row of an answer, which is a row of JSON objects.
func read(from io.Reader, yield func(Row) error) error {
	dec := json.NewDecoder(from)
	dec.UseNumber()
	for more, any := true, false; ; any = true {
		var p part
		err := dec.Decode(&p)
		switch {
		case errors.Is(err, io.EOF) && any && !more:
			return nil
		case errors.Is(err, io.EOF):
			return fault.New(fault.Transient, "read an answer: %w", io.ErrUnexpectedEOF)
		case syntax(err):
			return fault.WithHint(fault.New(fault.Transient, "read an answer: %w: %w", errNotInflux, err),
				"check url: something else answers there")
		case err != nil:
			return fmt.Errorf("read an answer: %w", err)
		case p.Error != "":
			return refusal(p.Error)
		}
		more = false
		for _, r := range p.Results {
			if r.Error != "" {
				return refusal(r.Error)
			}
			more = r.Partial
			for _, s := range r.Series {
				for _, v := range s.Values {
					if err := yield(Row{s.Name, s.Tags, s.Columns, v}); err != nil {
						return &stopped{err}
					}
				}
			}
		}
	}
}

// syntax reports whether an error speaks of text that is not the JSON of an answer.
func syntax(err error) bool {
	_, bad := errors.AsType[*json.SyntaxError](err)
	_, other := errors.AsType[*json.UnmarshalTypeError](err)
	return bad || other
}
