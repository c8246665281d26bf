package ingester

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// View is a window as people see it.
type View struct {
	Epoch       string    `json:"epoch"`
	Number      uint64    `json:"number"`
	Window      string    `json:"window"` // its key in channels
	From        time.Time `json:"from,omitzero"`
	To          time.Time `json:"to,omitzero"`
	State       State     `json:"state"`
	Since       time.Time `json:"since"`
	Batches     int       `json:"batches"`
	Missing     []int     `json:"missing"` // batches that are not here
	Rows        int       `json:"rows"`
	MissingRows int       `json:"missing_rows"`
	Keys        int       `json:"keys,omitempty"`    // different rows that the table has at least, 0 if nobody knows
	More        bool      `json:"more,omitempty"`    // the next one has rows of this time, too
	Because     string    `json:"because,omitempty"` // why it is lost, or why nobody knows its batches
	Notice      uint64    `json:"notice,omitempty"`  // number of its newest notice
	Notices     int       `json:"notices,omitempty"` // how often it was stored: more than once if rows came late
}

func (w *window) view() View {
	v := View{Epoch: w.Epoch, Number: w.Number, Window: w.Key, From: w.From, To: w.To, State: w.State, Since: w.Since,
		Batches: len(w.Parts), Missing: append([]int{}, w.lacks()...), Because: w.Because, Notice: w.Notice,
		Notices: w.Notices, Keys: w.Keys, More: w.More}
	if w.Unmade && w.Because == "" {
		v.Because = "its manifest has not come"
	}
	v.Rows, v.MissingRows = w.rows()
	return v
}

func (v View) id() windowID { return windowID{v.Epoch, v.Number} }

func viewOf(b []byte) (v View, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fault.New(fault.Corrupt, "read a window: %w", err)
	}
	return v, nil
}

// Query says which windows are meant; what is zero is no bound.
type Query struct {
	From, To time.Time // of the window's time; To itself is not within
	State    State
	Limit    int
	// After is the place of the last window of the page before, as it was told, and "" for the first page.
	After string
}

// CheckPlace says what is wrong with a place that somebody gives back.
func CheckPlace(text string) error {
	if b, err := hex.DecodeString(text); err != nil || len(b) != 0 && len(b) != placeLen {
		return fault.New(fault.Invalid, "after: %.60q is no place that was told as next", text)
	}
	return nil
}

// place is where a window stands among others, the newest time last: as its key when it is past.
func (v View) place() []byte {
	if v.From.IsZero() { // it is waited for, and nobody knows of when it is: newer than all
		return append(bytes.Repeat([]byte{0xff}, placeLen-16), v.id().hashed()...)
	}
	return keyPast(v.From, v.id())[len(keyPasts()):]
}

// placeLen is eight bytes of time, and the id.
const placeLen = 24

func (q Query) meets(v View) bool {
	return (q.State == "" || v.State == q.State) && (q.From.IsZero() || !v.From.Before(q.From)) &&
		(q.To.IsZero() || v.From.Before(q.To))
}

// Windows returns windows, the newest time first; those whose time is not known come in front.
func (in *Source) Windows(ctx context.Context, q Query) (out []View, err error) {
	err = in.store.View(ctx, func(r store.Reader) error {
		out, err = readWindows(r, q)
		return err
	})
	return out, err
}

// readWindows is Windows for the store of an ingester.
func readWindows(r store.Reader, q Query) ([]View, error) {
	list, _, err := ReadPage(r, q)
	return list, err
}

// placed is a window with its place.
type placed struct {
	at []byte
	View
}

// ReadPage is readWindows with the place of the last one, "" if there are no more. The work follows the windows that are not
// done, and the limit, not how many are past.
func ReadPage(r store.Reader, q Query) (list []View, next string, err error) {
	var found []placed
	if err := eachWindow(r, q, func(at []byte, v View) { found = append(found, placed{at, v}) }); err != nil {
		return nil, "", fmt.Errorf("read the windows of the stream: %w", err)
	}
	slices.SortFunc(found, func(a, b placed) int { return bytes.Compare(b.at, a.at) })
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
		next = hex.EncodeToString(found[q.Limit-1].at)
	}
	list = make([]View, len(found))
	for i, p := range found {
		list[i] = p.View
	}
	return list, next, nil
}

// eachWindow calls f for the windows that are meant: those that are not past, and the newest past ones, one more than the limit.
func eachWindow(r store.Reader, q Query, f func(at []byte, v View)) error {
	after, err := hex.DecodeString(q.After)
	if err != nil {
		return CheckPlace(q.After)
	}
	all, failed := r.Scan(keyWindows(), keyWindows().End())
	for _, v := range all {
		w, err := windowOf(v)
		if err != nil {
			return err
		}
		view := w.view()
		if at := view.place(); q.meets(view) && (len(after) == 0 || bytes.Compare(at, after) < 0) {
			f(at, view)
		}
	}
	if err := failed(); err != nil {
		return err
	}
	from, to, n := keyPasts(), keyPasts().End(), 0
	if !q.From.IsZero() {
		from = keyPastFrom(q.From)
	}
	if !q.To.IsZero() {
		to = keyPastFrom(q.To)
	}
	if bound := keyPasts().Raw(after); len(after) > 0 && bytes.Compare(bound, to) < 0 {
		to = bound
	}
	if bytes.Compare(from, to) >= 0 {
		return nil
	}
	all, failed = r.ScanBack(from, to)
	for k, b := range all {
		v, err := viewOf(b)
		if err != nil {
			return err
		}
		if !q.meets(v) {
			continue
		}
		f(bytes.Clone(k[len(keyPasts()):]), v)
		if n++; q.Limit > 0 && n > q.Limit {
			break
		}
	}
	return failed()
}

// Rows gives the blocks that hold the rows of a window from the spool, beside rows of others. ok is false, and what was given is
// of no use, if they are not all there any more, or are not known to be what the table has.
func (in *Source) Rows(ctx context.Context, n wire.Stored, yield func(arrow.RecordBatch) error) (ok bool, err error) {
	first, last, ok := in.book.blocks(n)
	if !ok || first == 0 || !in.met.alone() {
		return false, nil
	}
	keys := newKeys(in.cfg.Key, n.From, n.To, n.Rows)
	err = in.store.View(ctx, func(r store.Reader) error {
		stats, err := spool.ReadStats(r)
		if err != nil {
			return err
		}
		if ok = stats.First <= first && last < stats.Next; !ok {
			return nil
		}
		for seq := first; seq <= last; seq++ {
			b, err := in.spooled.read(r, seq)
			switch {
			case fault.Is(err, fault.NotFound), fault.Is(err, fault.Corrupt):
				ok = false
				return nil
			case err != nil:
				return err
			case b.Only != 0 || b.Copy: // given to one sink again
				continue
			}
			rows := b.of(n.From, n.To)
			if rows.NumRows() == 0 {
				continue
			}
			if ok = keys.add(rows); !ok {
				return nil
			}
			if err := yield(rows); err != nil {
				return err
			}
		}
		return nil
	})
	return ok, err
}

// blocks are the blocks of the window of a notice. A streamer of old may put a row into the batch of another hour.
func (b *book) blocks(n wire.Stored) (first, last uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.Epoch != b.log.Epoch {
		return 0, 0, false
	}
	w := b.near[b.noticed[n.Number]]
	if w == nil || w.Notice != n.Number {
		return 0, 0, false
	}
	return w.First, w.Last, !w.Elsewhere && !w.Lacking && w.Epoch != oldEpoch
}

// Notes are lines about the stream for status.
func (in *Source) Notes() [][2]string {
	b := in.book
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := map[State]int{}
	for _, w := range b.near {
		counts[w.State]++
	}
	out := [][2]string{}
	for _, s := range []State{Open, Complete, Lost} {
		if counts[s] > 0 {
			out = append(out, [2]string{"windows " + string(s), fmt.Sprint(counts[s])})
		}
	}
	behind := "the processor has done with all"
	if n := b.log.Newest + 1 - b.log.Next; n > 0 {
		behind = fmt.Sprintf("the processor has %d of them to do", n)
	}
	out = append(out, [2]string{"notices of stored windows", fmt.Sprintf("%d, %s", b.log.Newest, behind)})
	if in.unended.Load() {
		out = append(out, [2]string{"waits", unended})
	}
	if b.log.Cut > 0 {
		out = append(out, [2]string{"notices that were let go", fmt.Sprintf("%d, while no processor was ever heard: "+
			"there is no report of their windows", b.log.Cut)})
	}
	return out
}
