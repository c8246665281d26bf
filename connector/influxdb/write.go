package influxdb

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
)

// parallel is how many requests are under way at once: while the server works on one, the next is made.
const parallel = 2

// Write puts the rows into the database, in requests of a bounded size. With ByKey those rows stay out
// whose keys are there.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if d.Rows.NumRows() == 0 {
		return connector.Verdict{}, nil
	}
	v, err := s.write(ctx, d)
	if err != nil {
		return connector.Verdict{}, s.classify("write "+plural.Of(d.Rows.NumRows(), "row")+" to", err)
	}
	return v, nil
}

func (s *Sink) write(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	s.mu.Lock()
	ready := s.schema != nil
	s.mu.Unlock()
	if !ready {
		if err := s.prepare(ctx, d.Schema); err != nil {
			return v, err
		}
	}
	schema, rows, err := record.WithoutOptional(d.Schema, d.Rows, s.kept())
	if err != nil {
		return v, fault.As(fault.Permanent, err)
	}
	m, err := s.cfg.mappingOf(schema)
	if err != nil {
		return v, err
	}
	lacks, present, err := s.lacking(ctx, m, schema, d, rows)
	if err != nil {
		return v, err
	}
	lines := func() *writer { return s.cfg.writer(m, rows) }
	var refused []connector.RowFault
	var superseded int64
	if m.revision < 0 {
		w := &writing{Sink: s}
		refused, err = w.all(ctx, lines(), int(rows.NumRows()), lacks)
	} else {
		refused, superseded, err = s.replace(ctx, lines, d, lacks)
	}
	if err != nil {
		return v, err
	}
	s.learn(schema, m)
	s.mu.Lock()
	s.pending = nil
	s.mu.Unlock()
	slices.SortFunc(refused, func(a, b connector.RowFault) int { return cmp.Compare(a.Row, b.Row) })
	return connector.Verdict{Present: present + superseded, Rejected: refused}, nil
}

// writing is one attempt at a delivery.
type writing struct {
	*Sink
	once sync.Once // for sound
	err  error     // of sound

	mu      sync.Mutex // guards refused
	refused []connector.RowFault
}

// all posts the wanted rows.
func (w *writing) all(ctx context.Context, from *writer, rows int, want []bool) ([]connector.RowFault, error) {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	refused, err := from.encode(rows, want, func(l lines) error {
		if inner.Err() != nil {
			return inner.Err()
		}
		g.Go(func() error { return w.settle(inner, l) })
		return nil
	})
	if posted := g.Wait(); posted != nil {
		err = posted // the reason why encode was stopped
	}
	return append(refused, w.refused...), err
}

// leastLate is how many lines a request has that is not cut in two because the server was late with it.
const leastLate = 200

// settle posts lines until each is taken or refused. A request of which some are refused, or that was too
// much for the server, is cut in two, and each half goes again: those that were taken already are overwritten
// with themselves.
func (w *writing) settle(ctx context.Context, l lines) error {
	err := w.post(ctx, l.text, w.precision())
	n := len(l.rows)
	a, ok := errors.AsType[*answer](err)
	large := ok && (a.status == http.StatusRequestEntityTooLarge || a.late() && n > leastLate)
	switch {
	case err == nil:
		return nil
	case !ok || !large && !a.ofRows():
		w.keep(l)
		if ok {
			return w.gone(a.judge())
		}
		return err
	case !large && w.sound(ctx) != nil:
		return w.err
	case n == 1 || !large && a.all(n):
		w.refuse(l, a.words())
		return nil
	}
	if err := w.settle(ctx, l.slice(0, n/2)); err != nil {
		return err
	}
	return w.settle(ctx, l.slice(n/2, n))
}

// sound asks, at the first refusal, whether the server would refuse a request without rows as well: then
// no row is at fault.
func (w *writing) sound(ctx context.Context) error {
	w.once.Do(func() { w.err = w.touch(ctx, nil) })
	return w.err
}

func (w *writing) refuse(l lines, words string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, row := range l.rows {
		w.refused = append(w.refused, connector.RowFault{Row: row, Reason: words})
	}
}

// keep remembers a line for Probe.
func (w *writing) keep(l lines) {
	w.Sink.mu.Lock()
	defer w.Sink.mu.Unlock()
	w.pending = bytes.Clone(l.text[:l.ends[0]])
}
