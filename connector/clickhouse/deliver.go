package clickhouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// deliver brings one portion into the table, once.
func (w *writing) deliver(ctx context.Context, p portion, v *connector.Verdict) error {
	if !w.d.Unknown && !w.d.ByKey || !w.m.keyed() {
		// Without a key a repeat relies on the token; without a token too Traits says at least once.
		return w.send(ctx, p, v)
	}
	tokens := w.tab.tokens(w.srv)
	covered := false
	if tokens && !w.d.ByKey {
		var err error
		if covered, err = w.covered(ctx); err != nil {
			return err
		}
	}
	if !covered {
		if err := w.s.fence(ctx, w.queryID(p)); err != nil {
			return err
		}
	}
	rest, err := w.missing(ctx, p)
	if err != nil {
		return err
	}
	v.Present += int64(p.n - rest.n)
	w.landed = w.landed || rest.n < p.n
	if err := w.send(ctx, rest, v); err != nil || rest.n == 0 || !tokens {
		return err
	}
	// An earlier attempt that still runs had the same rows missing, thus the same token: only one of
	// the two goes in. But a token that is remembered may also be of rows that the table has lost
	// since. Those go in under a token that nobody has used.
	last, err := w.missing(ctx, rest)
	if err != nil {
		return err
	}
	last.again = true
	return w.send(ctx, last, v)
}

// send inserts a portion that is not in the table, and deals with a server that refuses rows.
func (w *writing) send(ctx context.Context, p portion, v *connector.Verdict) error {
	if p.n == 0 {
		return nil
	}
	err := w.insert(ctx, p)
	if err == nil {
		w.landed = true
		return w.prove(ctx, p)
	}
	if !fault.Is(err, fault.Invalid) {
		return err
	}
	if changed := w.s.still(ctx, w.tab); changed != nil {
		return changed // it is not the rows that are at fault
	}
	// Invalid promises that nothing is in the table. A view behind it may have refused rows that
	// the table itself has taken.
	rest := p
	if w.m.keyed() {
		var look error
		if rest, look = w.missing(ctx, p); look != nil {
			return look
		}
		w.landed = w.landed || rest.n < p.n
	}
	if !w.landed && !w.d.Unknown {
		return err
	}
	return w.halve(ctx, rest, err, v)
}

// halve sends a refused portion in parts, until the rows that are at fault stand alone. It does so
// only when other rows of the delivery are in the table already; else the caller halves.
func (w *writing) halve(ctx context.Context, p portion, why error, v *connector.Verdict) error {
	switch p.n {
	case 0:
		return nil
	case 1:
		v.Rejected = append(v.Rejected, connector.RowFault{Row: int(p.row(0)), Reason: why.Error()})
		return nil
	}
	rows := p.all()
	for _, half := range [][]int32{rows[:p.n/2], rows[p.n/2:]} {
		part := portion{mark: p.mark, rows: half, n: len(half), part: true}
		err := w.insert(ctx, part)
		switch {
		case err == nil:
			err = w.prove(ctx, part)
		case fault.Is(err, fault.Invalid):
			err = w.halve(ctx, part, err, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prove looks for the rows of an insert that was answered without a sign that the answer is
// ClickHouse's own.
func (w *writing) prove(ctx context.Context, p portion) error {
	if w.srv.signed || !w.m.keyed() {
		return nil
	}
	rest, err := w.missing(ctx, p)
	if err == nil && rest.n > 0 {
		err = garbage("said that it took %d rows, and %d are not there", p.n, rest.n)
	}
	return err
}

// covered reports whether the table still remembers the token of the delivery's first attempt, so
// that no fence is needed. It errs on the safe side: what can't be known is not covered.
func (w *writing) covered(ctx context.Context) (bool, error) {
	age := time.Since(w.d.FirstAttempt)
	const clocks = time.Minute // between the server's clock and ours
	if w.d.FirstAttempt.IsZero() || age < 0 ||
		w.tab.seconds > 0 && age+clocks > w.tab.seconds {
		return false, nil
	}
	// Every insert takes the next block number of its table, or of its partition. The parts that
	// are older than the first attempt tell the number at that time, or a lower one.
	where := " FROM system.parts WHERE database = " + literal(w.s.cfg.Database) + " AND table = " +
		literal(w.s.cfg.Table)
	sql := fmt.Sprintf("SELECT max(toInt64(max_block_number)) - maxIf(toInt64(max_block_number), "+
		"modification_time < now() - %d) AS n%s", int64((age+clocks)/time.Second), where)
	if w.tab.replicated() {
		sql = "SELECT sum(n) FROM (" + sql + " GROUP BY partition)"
	}
	a, err := w.s.client.ask(ctx, sql)
	if err != nil {
		return false, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(a.body))
	if err != nil {
		return false, garbage("asked for block numbers: %s", excerpt(a.body))
	}
	return n >= 0 && n+1 < w.tab.window, nil
}

// fence waits until an earlier attempt at an insert can no longer put rows into the table: the
// server answers, does not run it, and still does not after the grace time.
func (s *Sink) fence(ctx context.Context, queryID string) error {
	s.client.closeIdle()
	deadline := time.Now().Add(s.cfg.Timeout)
	for clear := false; ; {
		a, err := s.client.ask(ctx, "SELECT count() FROM system.processes WHERE query_id = "+
			literal(queryID))
		if err != nil {
			return err
		}
		pause := s.cfg.Grace
		switch n, err := strconv.Atoi(strings.TrimSpace(a.body)); {
		case err != nil:
			return garbage("asked for running queries: %s", excerpt(a.body))
		case n == 0 && clear:
			return nil
		case n == 0:
			clear = true
		case time.Now().After(deadline):
			return fault.New(fault.Transient, "clickhouse: an earlier insert (%s) still runs", queryID)
		default:
			clear, pause = false, 100*time.Millisecond
			// It may refuse: then the insert runs to its end, and its rows are found.
			_, _ = s.client.ask(ctx, "KILL QUERY WHERE query_id = "+literal(queryID)+" ASYNC")
		}
		if connector.Sleep(ctx, pause) != nil {
			return fault.New(fault.Transient, "clickhouse: %w", context.Cause(ctx))
		}
	}
}

// noteRoom remembers whether the last write was refused because the server's disk is full.
func (s *Sink) noteRoom(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = noRoom(err)
}
