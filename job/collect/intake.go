package collect

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/balance"
	"holdfast/kernel/identity"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Intake takes pages in: rows, cursor, keys, dead letters, gaps and counts in one commit. It works on
// the store alone, so that an import can use it while no source runs.
type Intake struct {
	st     *store.Store
	sp     *spool.Spool
	job    string
	id     uint32 // of the source
	name   string
	schema record.Schema
	traits connector.SourceTraits
	rows   int // most rows of a block
	parse  func(raw []byte) connector.Page
	onTake func(*store.Tx, connector.Page, Taken, Done) error
	done   func(*store.Tx) Done // of the job's sinks

	known  *identity.Set    // keys that were taken in, or died at intake
	absent *identity.Set    // keys that the source does not have
	texts  *identity.Hashed // keys that are no integers, for as long as Window says
	loose  *identity.Hashed // rejects without a key to know them by, by their bytes

	mu    sync.Mutex // one page at a time: what is new is found out before the commit
	sinks map[string]uint32
}

// Taken says what became of a page.
type Taken struct {
	balance.Intake
	First   uint64 // sequence of the first block, 0 if none was added
	Last    uint64 // and of the last one
	Highest uint64 // highest key of the page, 0 if it had none
	Gap     *balance.Gap
}

// IntakeOptions tune an intake.
type IntakeOptions struct {
	// BlockRows is the most rows of a block; default 10,000.
	BlockRows int
	// Window is how long keys that are no integers are known, from the time of their row; default 30 days. For older rows the
	// sinks are asked whether they have them.
	Window time.Duration
	// Parse reads a rejected item again, for a retry; nil if the source can't.
	Parse func(raw []byte) connector.Page
	// OnTake, if set, is part of the commit of every page that Fetch gave.
	OnTake func(tx *store.Tx, p connector.Page, t Taken, done Done) error
}

// WithDefaults returns o with everything filled in that has a default.
func (o IntakeOptions) WithDefaults() IntakeOptions {
	if o.BlockRows <= 0 {
		o.BlockRows = 10_000
	}
	if o.Window <= 0 {
		o.Window = 30 * 24 * time.Hour
	}
	return o
}

// OpenIntake returns the intake of a job's source.
func OpenIntake(st *store.Store, job, source string, s record.Schema, t connector.SourceTraits,
	o IntakeOptions) (*Intake, error) {
	o = o.WithDefaults()
	in := &Intake{st: st, job: job, name: source, schema: s, traits: t, rows: o.BlockRows, parse: o.Parse,
		onTake: o.OnTake}
	var err error
	if in.sp, err = spool.Open(st, job); err != nil {
		return nil, err
	}
	if in.known, err = identity.Open(st, source+"/known"); err != nil {
		return nil, err
	}
	if in.absent, err = identity.Open(st, source+"/absent"); err != nil {
		return nil, err
	}
	if in.texts, err = identity.OpenHashed(st, source+"/texts", o.Window); err != nil {
		return nil, err
	}
	if in.loose, err = identity.OpenHashed(st, source+"/rejects", looseFor); err != nil {
		return nil, err
	}
	err = st.Update(func(tx *store.Tx) (err error) {
		if in.id, _, err = tx.ID(store.SourceName, source); err != nil {
			return err
		}
		return balance.KeepLetters(tx)
	})
	if err != nil {
		return nil, err
	}
	return in, in.loadSinks(context.Background())
}

// loadSinks learns which sinks rows are pending for.
func (in *Intake) loadSinks(ctx context.Context) error {
	return in.st.View(ctx, func(r store.Reader) (err error) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.sinks, err = store.NamesOf(r, store.SinkName)
		return err
	})
}

// Cursor returns the source's cursor, nil if there is none yet.
func (in *Intake) Cursor(ctx context.Context) (c []byte, err error) {
	err = in.st.View(ctx, func(r store.Reader) error {
		c, err = spool.Cursor(r, in.id)
		return err
	})
	return c, err
}

// Highest returns the highest key that was ever taken in.
func (in *Intake) Highest(ctx context.Context) (key uint64, ok bool, err error) {
	err = in.st.View(ctx, func(r store.Reader) error {
		key, ok, err = in.known.Highest(r)
		return err
	})
	return key, ok, err
}

// Mode says what a page is.
type Mode uint8

// The modes of Take.
const (
	Follow Mode = iota // the page behind the cursor, which moves with it
	Fill               // an answer for a gap: the cursor stays
	Import             // rows from elsewhere: the cursor stays, holes in them are no gaps
)

// Take takes a page in. With a nil error everything in the page is durable.
func (in *Intake) Take(ctx context.Context, p connector.Page, m Mode) (Taken, error) {
	w := &work{page: p, mode: m}
	if err := in.take(ctx, w, in.write); err != nil {
		return Taken{}, fmt.Errorf("take page in: %w", err)
	}
	return w.taken, nil
}

// take finds out what of a page is new, and commits it.
func (in *Intake) take(ctx context.Context, w *work, commit func(*store.Tx, *work) error) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.sort(ctx, w); err != nil {
		return err
	}
	return in.st.Update(func(tx *store.Tx) error { return commit(tx, w) })
}

// work is a page made ready for its commit.
type work struct {
	page    connector.Page
	mode    Mode
	held    map[uint64]bool // keys that every sink has
	taken   Taken
	blocks  []*spool.Block
	keys    []uint64        // that become known: of new rows and of new rejects
	texts   []identity.Seen // likewise, where keys are no integers
	rejects []connector.Reject
	loose   []identity.Seen // of rejects without a key
	ask     bool            // rows are older than what is known of keys
}

// looseFor is how long a reject without a key is known. A feed may send one with every page for as long as it keeps it.
const looseFor = 30 * 24 * time.Hour

// sort finds out what in a page is new, and encodes the new rows as blocks.
func (in *Intake) sort(ctx context.Context, w *work) error {
	p, rows := w.page, int64(0)
	if p.Rows != nil {
		rows = p.Rows.NumRows()
	}
	w.taken.Read = rows + int64(len(p.Rejected)) + p.Filtered
	w.taken.Filtered = p.Filtered
	err := in.st.Latest(func(r store.Reader) error {
		fresh, err := in.fresh(r, w)
		if err != nil || fresh == nil {
			return err
		}
		return in.build(w, fresh)
	})
	if err != nil {
		return err
	}
	w.taken.Duplicate = w.taken.Read - w.taken.Filtered - w.taken.Accepted - w.taken.Rejected
	return ctx.Err()
}

// build cuts rows into blocks. The cursor goes with the last one: a block in the spool says how far its
// source is read, and all blocks of a page are one commit.
func (in *Intake) build(w *work, rows arrow.RecordBatch) error {
	w.taken.Accepted = rows.NumRows()
	schema, err := in.schemaOf(rows)
	if err != nil {
		return err
	}
	for from := int64(0); from < rows.NumRows(); {
		to := min(from+int64(in.rows), rows.NumRows())
		var cursor []byte
		if to == rows.NumRows() && w.mode == Follow {
			cursor = w.page.Cursor
		}
		b, err := spool.Build(in.id, schema, rows.NewSlice(from, to), cursor)
		if err != nil {
			return err
		}
		if w.ask {
			b.AskSinks()
		}
		w.blocks = append(w.blocks, b)
		from = to
	}
	return nil
}

// write is the one commit of a page.
func (in *Intake) write(tx *store.Tx, w *work) error {
	prev, seen, err := in.reached(tx)
	if err != nil {
		return err
	}
	added, err := in.known.Add(tx, w.keys)
	if err != nil {
		return err
	}
	if added != len(w.keys) {
		return fault.New(fault.Unknown, "%d of %d keys are not new any more", len(w.keys)-added, len(w.keys))
	}
	if _, err := in.absent.Remove(tx, w.keys); err != nil {
		return err
	}
	if _, err := in.texts.Add(tx, time.Now(), w.texts); err != nil {
		return err
	}
	if _, err := in.loose.Add(tx, time.Now(), w.loose); err != nil {
		return err
	}
	flow := balance.Flow{}
	for _, b := range w.blocks {
		if w.taken.Last, err = in.sp.Append(tx, b); err != nil {
			return err
		}
		if w.taken.First == 0 {
			w.taken.First = w.taken.Last
		}
		flow.PendingBytes += int64(b.Bytes())
	}
	if len(w.blocks) == 0 && w.mode == Follow && len(w.page.Cursor) > 0 {
		spool.SetCursor(tx, in.id, w.page.Cursor)
	}
	if err := in.bury(tx, w.rejects); err != nil {
		return err
	}
	if w.page.Lost > 0 {
		err := in.lost(tx, balance.Overload, "", 0, 0, uint64(w.page.Lost), overloaded)
		if err != nil {
			return err
		}
	}
	if w.mode == Follow && in.traits.DenseKeys && w.taken.Highest > 0 {
		if w.taken.Gap, err = in.findGap(tx, w, prev, seen); err != nil {
			return err
		}
	}
	if in.onTake != nil && w.mode == Follow {
		if err := in.onTake(tx, w.page, w.taken, in.done(tx)); err != nil {
			return err
		}
	}
	flow.Accepted, flow.Pending = w.taken.Accepted, w.taken.Accepted
	return in.count(tx, w.taken.Intake, flow)
}

func (in *Intake) count(tx *store.Tx, d balance.Intake, flow balance.Flow) error {
	if err := balance.AddIntake(tx, in.id, d); err != nil {
		return err
	}
	if flow == (balance.Flow{}) {
		return nil
	}
	for _, id := range in.sinks {
		if err := balance.AddFlow(tx, id, flow); err != nil {
			return err
		}
	}
	return nil
}

func (in *Intake) bury(tx *store.Tx, rejects []connector.Reject) error {
	for _, rej := range rejects {
		_, err := balance.Bury(tx, balance.DeadLetter{At: time.Now().UTC(), Stage: balance.AtIntake,
			From: in.name, FromID: in.id, Key: rej.Key, Reason: rej.Reason, Raw: rej.Raw})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget drops what need not be known any more. It is to be called every few minutes.
func (in *Intake) forget(now time.Time) error {
	const step = 10_000
	for _, set := range []*identity.Hashed{in.texts, in.loose} {
		for more := true; more; {
			err := in.st.Update(func(tx *store.Tx) error {
				x, err := set.Expire(tx, now, step)
				more = x.More
				return err
			})
			if err != nil {
				return fmt.Errorf("forget old keys of %s: %w", set.Name(), err)
			}
		}
	}
	return in.st.Update(in.dropMarks)
}

// unseen is how long the clock may not have been looked at before it is doubted.
const unseen = 48 * time.Hour

// trusted returns the time from which on blocks may be removed because of their age, by what the clock said when it was last
// looked at, in this process or one before it. A clock that is a week ahead at a start would otherwise remove a week of
// blocks.
func (in *Intake) trusted(now time.Time) (from time.Time, err error) {
	key := store.Job.K().Str("clock/").U32(in.id)
	err = in.st.Update(func(tx *store.Tx) error {
		v, ok, err := tx.Get(key)
		if err != nil {
			return err
		}
		from = now
		if ok && len(v) == 8 {
			last := time.Unix(int64(binary.BigEndian.Uint64(v)), 0)
			if away := now.Sub(last); away > unseen || away < -time.Minute {
				from = now.Add(time.Hour)
			}
		}
		tx.Set(key, binary.BigEndian.AppendUint64(nil, uint64(now.Unix())))
		return nil
	})
	return from, err
}
