package httppush

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/record"
	"holdfast/connector"
)

// Write posts the rows under the delivery's key. With ByKey, and after an unknown outcome, a receiver that can be
// asked for its keys is asked first, and gets what it lacks.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if d.Rows.NumRows() == 0 {
		return connector.Verdict{}, nil
	}
	w := &writing{Sink: s, d: d}
	err := w.run(ctx)
	if err != nil {
		return connector.Verdict{}, s.classify("write "+plural.Of(d.Rows.NumRows(), "row")+" to", err)
	}
	slices.SortFunc(w.v.Rejected, func(a, b connector.RowFault) int { return cmp.Compare(a.Row, b.Row) })
	return w.v, nil
}

// writing is one attempt at a delivery.
type writing struct {
	*Sink
	d connector.Delivery
	v connector.Verdict
}

func (w *writing) run(ctx context.Context) error {
	keys, comparable := record.Keys(w.d.Schema, w.d.Rows)
	if comparable = comparable && w.cfg.Keys != ""; comparable && w.d.ByKey {
		return w.byKey(ctx, keys)
	}
	b, refused, err := w.encode(w.d.Rows, nil)
	if err != nil {
		return err
	}
	w.v.Rejected = refused
	key := w.d.Token.String()
	if w.d.Unknown && w.cfg.Lookup != "" {
		a, err := w.taken(ctx, valuesOf(w.d, key))
		if err != nil {
			return err
		}
		if a != nil {
			w.v.Present = int64(len(b.rows))
			return w.told(ctx, b, a, true)
		}
	}
	if w.d.Unknown && comparable { // an attempt by key may have brought a part of it under a key of that part
		w.v.Rejected = nil
		return w.byKey(ctx, keys)
	}
	return w.post(ctx, key, b)
}

// byKey posts the rows that the receiver lacks. All of them go under the delivery's own key, which an
// earlier attempt may have had; others under a key that is made of the rows as well. What the receiver then
// still lacks it had and has lost since: it takes the old key for done, and gets another one.
func (w *writing) byKey(ctx context.Context, keys []uint64) error {
	const most = 100 // keys that one receiver could have seen for the same loss
	missing, err := w.missing(ctx, keys, nil)
	if err != nil {
		return err
	}
	present := int64(len(keys) - count(missing))
	defer func() { w.v.Present = present }() // whatever the receiver says of a key whose rows it has lost
	for again := 0; count(missing) > 0; again++ {
		if again > most {
			return fault.New(fault.Permanent, "the receiver says that it took %d rows, and does not have them",
				count(missing))
		}
		b, refused, err := w.encode(w.d.Rows, func(row int) bool { return missing[row] })
		if err != nil {
			return err
		}
		w.v.Rejected = append(w.v.Rejected, refused...)
		if len(b.rows) == 0 {
			return nil
		}
		if err := w.post(ctx, w.keyOf(b, again), b); err != nil {
			return err
		}
		for _, f := range w.v.Rejected {
			missing[f.Row] = false
		}
		if missing, err = w.missing(ctx, keys, missing); err != nil {
			return err
		}
	}
	return nil
}

// keyOf is the idempotency key of rows that are sent by themselves.
func (w *writing) keyOf(b body, again int) string {
	key := w.d.Token.String()
	if int64(len(b.rows)) < w.d.Rows.NumRows() {
		h := xxh3.New()
		for _, row := range b.rows {
			_, _ = fmt.Fprintln(h, row)
		}
		key += fmt.Sprintf("/of-%x", h.Sum64())
	}
	if again > 0 {
		key += fmt.Sprintf("/again-%d", again)
	}
	return key
}

// missing marks the rows that the receiver does not have, of those that are marked (nil for all).
func (w *writing) missing(ctx context.Context, keys []uint64, among []bool) ([]bool, error) {
	out := slices.Clone(among)
	at := make(map[uint64][]int, len(keys))
	for row, key := range keys {
		if among == nil {
			out = append(out, true)
		}
		if out[row] {
			at[key] = append(at[key], row)
		}
	}
	if len(at) == 0 {
		return out, nil
	}
	span := connector.KeyRange{From: slices.Min(keys), To: slices.Max(keys)}
	err := w.each(ctx, span, func(key uint64) error {
		for _, row := range at[key] {
			out[row] = false
		}
		return nil
	})
	return out, err
}

func count(marked []bool) (n int) {
	for _, yes := range marked {
		if yes {
			n++
		}
	}
	return n
}

// post sends a body under a key, and takes what the receiver says of it.
func (w *writing) post(ctx context.Context, key string, b body) error {
	v := valuesOf(w.d, key)
	v.Rows = int64(len(b.rows))
	q, err := w.templates.fill(v)
	if err != nil {
		return fault.As(fault.Permanent, err)
	}
	req, err := http.NewRequest(w.cfg.Method, q.url, bytes.NewReader(b.bytes))
	if err != nil {
		return fault.As(fault.Permanent, err)
	}
	req.Header.Set("Content-Type", contentTypes[w.cfg.Format])
	if w.cfg.Compression != packNone {
		req.Header.Set("Content-Encoding", w.cfg.Compression)
	}
	req.Header.Set(w.cfg.KeyHeader, quotedKey(key))
	a, err := w.do(ctx, req, q)
	switch {
	case err != nil:
		return err
	case a.ok():
		return w.told(ctx, b, a, strings.EqualFold(a.header.Get("Idempotent-Replayed"), "true"))
	case w.d.Unknown && slices.Contains(w.cfg.Already, a.status):
		w.v.Present += int64(len(b.rows))
		return nil
	}
	return w.judge(a)
}

// told takes the rows that an answer names as not taken.
func (w *writing) told(ctx context.Context, b body, a *answer, there bool) error {
	if there {
		w.v.Present = int64(len(b.rows))
	}
	if w.rejected == nil || len(bytes.TrimSpace(a.body)) == 0 {
		return nil
	}
	list, err := w.faults(ctx, a.body)
	if err != nil {
		return fault.WithHint(fault.New(fault.Permanent, "the answer to %d rows that were taken does not tell "+
			"which were not: %w", len(b.rows), err), "set rejected to an expression that fits the answer")
	}
	seen := map[int]bool{}
	for _, f := range list {
		if f.Row < 0 || f.Row >= len(b.rows) || seen[f.Row] {
			return fault.New(fault.Permanent, "the receiver refuses row %d of %d, or does so twice", f.Row,
				len(b.rows))
		}
		seen[f.Row] = true
		w.v.Rejected = append(w.v.Rejected, connector.RowFault{Row: b.rows[f.Row],
			Reason: cmp.Or(f.Reason, "the receiver refused it and gave no reason")})
	}
	if there {
		w.v.Present -= int64(len(list))
	}
	return nil
}

// faults reads the refused rows of an answer.
func (s *Sink) faults(ctx context.Context, text []byte) (out []connector.RowFault, err error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	got, err := s.rejected.One(ctx, v)
	if err != nil || got == nil {
		return nil, err
	}
	again, err := json.Marshal(got)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Row    int    `json:"row"`
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(again, &list); err != nil {
		return nil, err
	}
	for _, f := range list {
		out = append(out, connector.RowFault{Row: f.Row, Reason: f.Reason})
	}
	return out, nil
}
