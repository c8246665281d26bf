package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/base/rowtext"
	"holdfast/connector"
)

// margin is how much sooner than the server we take a duplicate window to be over.
const margin = time.Second

// Write publishes the rows and waits for every acknowledgement. What the server or a look into the
// stream shows to be there already is Present.
func (s *Sink) Write(ctx context.Context, d connector.Delivery) (connector.Verdict, error) {
	var v connector.Verdict
	err := s.alone(ctx, func(ctx context.Context) error {
		t := s.target
		if t == nil || t.schema.Key != d.Schema.Key || !t.schema.Equal(d.Schema.Schema) {
			if err := s.prepare(ctx, d.Schema); err != nil {
				return err
			}
		}
		w := &writing{Sink: s, d: d, objects: rowtext.Objects(d.Rows, rowtext.Exact), id: s.ids(d)}
		err := w.run(ctx)
		v = w.verdict
		return s.classify("write "+plural.Of(d.Rows.NumRows(), "row")+" to", err)
	})
	if err != nil {
		return connector.Verdict{}, err
	}
	slices.SortFunc(v.Rejected, func(a, b connector.RowFault) int { return cmp.Compare(a.Row, b.Row) })
	return v, nil
}

// writing is one attempt at a delivery.
type writing struct {
	*Sink
	d       connector.Delivery
	objects *rowtext.Rows
	id      func(row int) (id, reason string)
	pub     *publisher
	held    map[string]bool // ids that the stream was seen to hold; nil if nobody looked
	until   time.Time       // from then on the server may have forgotten an earlier attempt; zero: never
	doubted []doubt
	body    []byte

	verdict connector.Verdict
}

// doubt is a row whose id the server knows and the stream was not seen to hold: its message was
// deleted, or an abandoned attempt came just now.
type doubt struct {
	row int
	seq uint64
}

func (w *writing) run(ctx context.Context) error {
	if err := w.look(ctx); err != nil {
		return err
	}
	pub, err := w.session.publisher(w.cfg.Timeout, w.settle)
	if err != nil {
		return err
	}
	defer pub.close()
	w.pub = pub
	for row := range int(w.d.Rows.NumRows()) {
		if err := w.put(ctx, row); err != nil {
			return err
		}
	}
	if err := pub.wait(ctx, 0); err != nil {
		return err
	}
	for len(w.doubted) > 0 {
		if err := w.resolve(ctx); err != nil {
			return err
		}
	}
	return nil
}

// look finds out what the stream holds, where the server's memory of ids does not reach.
func (w *writing) look(ctx context.Context) error {
	begun, t, tried := time.Now(), w.target, &w.tried
	known := tried.token == w.d.Token && tried.stream.Equal(t.made)
	tried.window = min(tried.window, t.window)
	switch {
	case w.d.ByKey || w.d.Unknown && !known:
		w.until = begun.Add(t.window)
		return w.compare(ctx, 0)
	case !w.d.Unknown:
		w.tried = attempt{w.d.Token, begun, t.made, t.window, t.last}
		return nil
	case longest(begun, tried.begun) > tried.window/2:
		w.until = begun.Add(t.window)
		return w.compare(ctx, tried.after+1)
	default:
		w.until = tried.begun.Add(tried.window)
		return nil
	}
}

// longest is how much time may have passed since a moment in this process: a machine that slept shows it
// on the clock of the wall, one whose clock was set back on the other.
func longest(now, since time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// compare notes which rows the stream holds, of those from a sequence on (0: all).
func (w *writing) compare(ctx context.Context, from uint64) error {
	wanted := make(map[string]bool, w.d.Rows.NumRows())
	for row := range int(w.d.Rows.NumRows()) {
		if id, reason := w.id(row); reason == "" {
			wanted[id] = true
		}
	}
	w.held = map[string]bool{}
	return w.session.scan(ctx, w.target.stream, w.cfg.Subject, from, w.cfg.Timeout, func(id string) error {
		if id = first(id); wanted[id] {
			w.held[id] = true
		}
		return nil
	})
}

// put publishes a row, unless the stream holds it or can't.
func (w *writing) put(ctx context.Context, row int) error {
	id, reason := w.id(row)
	if reason == "" {
		if w.held[id] {
			w.verdict.Present++
			return nil
		}
		return w.publish(ctx, row, id)
	}
	w.reject(row, reason)
	return nil
}

func (w *writing) publish(ctx context.Context, row int, id string) error {
	if !w.until.IsZero() && time.Now().After(w.until.Add(-margin)) {
		return fault.New(fault.Transient, "write to stream %s: its duplicate window of %v is too short for "+
			"what was left of %d rows; what is missing comes with the next attempt", w.cfg.Stream,
			w.target.window, w.d.Rows.NumRows())
	}
	var reason string
	if w.body, reason = w.objects.Append(w.body[:0], row); reason != "" {
		w.reject(row, reason)
		return nil
	}
	size := len(headerStart) + len(id) + len(headerEnd) + len(w.body)
	if size > w.target.most {
		w.reject(row, fmt.Sprintf("as a message it has %d bytes, and server or stream take %d", size,
			w.target.most))
		return nil
	}
	return w.pub.publish(ctx, row, w.cfg.Subject, id, w.body)
}

func (w *writing) reject(row int, reason string) {
	w.verdict.Rejected = append(w.verdict.Rejected, connector.RowFault{Row: row, Reason: reason})
}

// settle takes the answer to one row's message.
func (w *writing) settle(row int, a answer) error {
	w.target.last = max(w.target.last, a.Sequence)
	switch {
	case a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		w.reject(row, "the stream refuses it: "+a.Error.Description)
	case a.Error != nil:
		return a.Error
	case a.Stream != w.cfg.Stream:
		return fault.New(fault.Permanent, "write to stream %s: stream %s took the rows", w.cfg.Stream, a.Stream)
	case a.Duplicate && w.d.ByKey:
		w.doubted = append(w.doubted, doubt{row, a.Sequence})
	case a.Duplicate:
		w.verdict.Present++
	}
	return nil
}

// resolve looks at the messages that the server takes some rows to be repeats of. Where there is none
// any more, the row is sent again, under an id that tells of which deletion it makes good: the same
// one however often that is tried.
func (w *writing) resolve(ctx context.Context) error {
	doubted := w.doubted
	w.doubted = nil
	for _, x := range doubted {
		_, err := w.target.stream.GetMsg(ctx, x.seq)
		if err == nil {
			w.verdict.Present++
			continue
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
		id, _ := w.id(x.row)
		if err := w.publish(ctx, x.row, id+again+strconv.FormatUint(x.seq, 10)); err != nil {
			return err
		}
	}
	return w.pub.wait(ctx, 0)
}
