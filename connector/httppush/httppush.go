// Package httppush is the sink of any receiver that takes batches of rows over HTTP.
//
//	sinks:
//	  shop:
//	    http:
//	      url: "https://example.org/v1/observations"
//	      idempotent: true
//	      keys: "https://example.org/v1/keys?from={{.From}}&to={{.To}}&order={{.Order}}&limit={{.Limit}}"
//
// A delivery is one POST: a JSON array of objects, JSON lines or CSV. Its idempotency key is the
// delivery's token, in the header Idempotency-Key as the IETF draft of that name wants it (a string in
// quotes). A repeat has the same key and the same bytes, whatever became of the first attempt: they follow
// from the delivery and the configuration alone.
//
// Exactly once is only as good as the receiver. Traits say it when the configuration says two things of
// it: `idempotent` (it does a key once, and a repeat has the first answer or waits for it) and `keys` (it
// can be asked which rows it has, so that rows which come in other company after a restore are told).
// Otherwise they say at least once: a receiver that ignores the key gets a delivery again whenever an
// answer was lost. `lookup` asks such a receiver first, which leaves the attempt that it still works on.
//
// What an answer means: 2xx, it has the rows; one of `already`, to a delivery that was tried before, the
// same; one of `refused`, the delivery is cut in halves until the rows that are at fault stand alone
// (with `rejected`, a jq expression, the receiver names them itself in an answer of 2xx); 401, 403 and 407,
// credentials; 429, and 503 with Retry-After, a receiver that asks for time; 408, 409, 425 and 5xx, an
// outage, after which the same request comes again; all else needs a person. A redirect is not followed.
package httppush

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/rowtext"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Sink posts to one URL.
type Sink struct {
	cfg       Config
	client    *http.Client
	templates templates
	rejected  *columns.Expr // nil for none

	turn sync.Mutex // one write at a time

	mu     sync.Mutex // guards schema; held for a moment only
	schema *record.Schema
}

var _ connector.Sink = (*Sink)(nil)

// New returns a sink. It touches nothing before Prepare or Probe.
func New(cfg Config) (*Sink, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, fault.New(fault.Permanent, "open http sink: %w", errors.Join(faults...))
	}
	s := &Sink{cfg: cfg.WithDefaults()}
	s.templates, _ = parseTemplates(s.cfg)
	if cfg.Rejected != "" {
		e, err := columns.ParseExpr(cfg.Rejected)
		if err != nil {
			return nil, err
		}
		s.rejected = &e
	}
	s.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: s.cfg.Timeout}).DialContext,
			TLSHandshakeTimeout: s.cfg.Timeout,
			// Soon enough that a server does not close a connection under a request: what became of that
			// request nobody could tell.
			IdleConnTimeout: 3 * time.Second,
		}}
	return s, nil
}

// Traits says what the configuration claims of the receiver.
func (s *Sink) Traits() connector.SinkTraits {
	t := connector.SinkTraits{Exactness: connector.AtLeastOnce}
	if s.cfg.Idempotent && s.cfg.Keys != "" {
		t.Exactness = connector.ExactlyOnce
	}
	return t
}

// Prepare refuses rows that have no form as text, and proves that the receiver answers.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	if err := rowtext.Fit(schema.Schema); err != nil {
		return fault.New(fault.Permanent, "prepare %s: %w", s.place(), err)
	}
	if err := s.Probe(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.schema = &schema
	s.mu.Unlock()
	return nil
}

// Probe makes the request of the configuration's `probe`; without one it asks for keys, or for a delivery
// that never was, and where that can't be asked either, what may be done with the URL (OPTIONS). The last
// shows no more than that there is a server that knows us.
func (s *Sink) Probe(ctx context.Context) error {
	p := s.cfg.Probe
	switch {
	case p.URL != "":
		_, err := s.ask(ctx, p.Method, p.URL, "probe")
		return err
	case s.cfg.Keys != "":
		_, err := s.keys(ctx, connector.KeyRange{To: 1<<64 - 1}, true, 1)
		return err
	case s.cfg.Lookup != "":
		_, err := s.taken(ctx, nobody)
		return err
	}
	q, err := s.templates.fill(nobody)
	if err != nil {
		return err
	}
	_, err = s.ask(ctx, http.MethodOptions, q.url, "probe")
	if a, ok := errors.AsType[*answer](err); ok && a.known() {
		return nil // it does not do OPTIONS, and that is an answer
	}
	return err
}

// Close waits for a write that is under way and gives up idle connections.
func (s *Sink) Close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.client.CloseIdleConnections()
	return nil
}
