// Package httppoll is the source of any feed that is polled over HTTP and answers JSON or CSV.
//
//	source:
//	  http:
//	    url: "https://example.org/v1/observations?after={{.Cursor}}"
//	    columns: [{name: id, type: int64}, {name: time, type: time}, {name: temp, type: float64}]
//	    key: id
//	    time: time
//	    cursor: {column: id}
//
// The promise: a cursor passes a value only after the whole answer that held it was read. An answer
// that is cut short, is no JSON or does not give the rows is an outage and moves nothing; an item that
// can't be a row is a Reject that names the column, and its neighbours go on. A full page (page.size)
// that is not in ascending order of the cursor's column is refused, for what it left out could not be
// asked for any more. The package can't know what the feed's question means: where several rows have
// the same cursor value the feed must be asked for `greater or equal`, and a key sorts out the rows
// that come twice.
//
// Numbers go from the answer to the row without float64 in between. Rows that are a plain path of the
// answer are read as a stream. Headers, credentials and cookies go to the host of url alone.
//
// A cursor is the JSON of a position, with its version: the text that templates see, the page that is
// next while an answer has several, and the ETag and Last-Modified of the last answer together with the
// question that they belong to. They are asked with only for the same question, and are kept only of
// an answer of one page. docs/sources-http.md shows feeds and the configurations that read them.
package httppoll

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Options tunes what no configuration file says.
type Options struct {
	UserAgent string // default holdfast
}

// Source is the feed.
type Source struct {
	cfg       Config
	opts      Options
	client    *http.Client
	limit     *rate.Limiter
	templates templates
	decoder   decoder
	table     *columns.Table
	next      *columns.Expr // of page.jq, nil for none
	mark      *columns.Expr // of cursor.jq, nil for none
	base      *url.URL

	loggedIn     bool
	refusedUntil time.Time
	given        string // the next link that this process was given last
}

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the feed nothing yet.
func Open(cfg Config, opts Options) (*Source, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, fault.New(fault.Permanent, "open http source: %w", errors.Join(faults...))
	}
	cfg = cfg.WithDefaults()
	if opts.UserAgent == "" {
		opts.UserAgent = "holdfast"
	}
	s := &Source{cfg: cfg, opts: opts, limit: download.NewLimit(cfg.MaxBytesPerSecond)}
	s.templates, _ = parseTemplates(cfg)
	var err error
	if s.base, err = url.Parse(s.templates.sample("", 1).url); err != nil {
		return nil, err
	}
	if s.table, err = columns.New(cfg.spec()); err != nil {
		return nil, err
	}
	if s.decoder, err = newDecoder(cfg); err != nil {
		return nil, err
	}
	if s.next, err = optionalExpr(cfg.Page.JQ); err != nil {
		return nil, err
	}
	if s.mark, err = optionalExpr(cfg.Cursor.JQ); err != nil {
		return nil, err
	}
	s.client = s.newClient()
	return s, nil
}

func optionalExpr(text string) (*columns.Expr, error) {
	if text == "" {
		return nil, nil
	}
	e, err := columns.ParseExpr(text)
	return &e, err
}

func (s *Source) newClient() *http.Client {
	c := &http.Client{CheckRedirect: s.redirect, Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: s.cfg.Timeout}).DialContext,
		TLSHandshakeTimeout: s.cfg.Timeout,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // gzip is taken off behind the rate limit
	}}
	if s.cfg.Auth.Login != nil {
		c.Jar, _ = cookiejar.New(nil) // without options it can't fail
	}
	return c
}

// Traits: a poll waits for us; nothing is known of gaps.
func (s *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema returns the declared columns. A page may have optional ones behind them.
func (s *Source) Schema() record.Schema { return s.table.Schema() }

// Start returns the cursor behind highest where the key is the cursor. Else it is the feed's
// beginning: the key sorts out what is known.
func (s *Source) Start(highest uint64) []byte {
	p := position{Version: cursorVersion}
	c := s.cfg.spec().Column(s.cfg.Cursor.Column)
	if highest > 0 && c != nil && s.cfg.Key == c.Name && (c.Type == columns.Int64 || c.Type == columns.Uint64) {
		p.Cursor = strconv.FormatUint(highest, 10)
	}
	return p.bytes()
}

// NextPoll returns when the feed is to be polled again after a poll that began at last.
func (s *Source) NextPoll(last time.Time) time.Time { return last.Add(s.cfg.Every) }

// Close gives up idle connections.
func (s *Source) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Parse reads the raw form of a rejected item again.
func (s *Source) Parse(raw []byte) connector.Page {
	return s.table.One(raw, func(r *columns.Reading) error {
		if s.cfg.Format == formatCSV {
			_, err := s.decoder.items(context.Background(), bytes.NewReader(raw), r.Add)
			return err
		}
		it, err := columns.ReadItem(raw)
		if err != nil {
			return cutShort(err)
		}
		return r.Add(it)
	})
}
