package crash

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/identity"
	"holdfast/kernel/queue"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

const jobName = "job"

var (
	sourceNames = [2]string{"left", "right"}
	sinkNames   = [2]string{"main", "side"}
)

// job is the kernel at work, in one life between two crashes.
type job struct {
	w    *witness
	life uint64
	st   *store.Store
	sp   *spool.Spool

	sinks   [2]*spool.Sink
	clean   [2][]uint64        // blocks that a sink took whole in this life; each is used by one goroutine
	ahead   [2]*spool.Delivery // read while the one before was at its sink; each is used by one goroutine
	sources [2]uint32
	known   [2]*identity.Set
	queue   *queue.Queue
	reached [2]uint64     // cursor of a source; each is used by one goroutine
	serial  atomic.Uint64 // of changes
	bulk    int           // of rows
}

// options are those of a store whose failures the witness is told of.
func (w *witness) options(fs store.FS) store.Options {
	wrong := func(what string) func(error) {
		return func(err error) { w.tell(event{What: violated, Name: fmt.Sprintf("%s: %v", what, err)}) }
	}
	return store.Options{FS: fs, Cache: cache, Log: slog.New(slog.DiscardHandler),
		Fatal: wrong("the log can't be written"), Damaged: wrong("damage")}
}

// open opens the store, verifies what it holds, and readies the job.
func (w *witness) open(dir string, o store.Options) (j *job, err error) {
	st, err := store.Open(dir, o)
	if err != nil {
		return nil, err
	}
	j = &job{w: w, life: w.rise(), st: st}
	if err = w.tell(event{What: opened, Name: st.Lineage().String()}); err == nil {
		err = j.ready()
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return j, nil
}

func (j *job) ready() (err error) {
	if j.sp, err = spool.Open(j.st, jobName); err != nil {
		return err
	}
	if j.queue, err = queue.Open(j.st, "tasks", queue.Options{}); err != nil {
		return err
	}
	for s := range j.sinks {
		if j.sinks[s], err = j.sp.Sink(sinkNames[s]); err != nil {
			return err
		}
		if j.known[s], err = identity.Open(j.st, sourceNames[s]); err != nil {
			return err
		}
		err = j.st.Update(func(tx *store.Tx) error {
			j.sources[s], _, err = tx.ID(store.SourceName, sourceNames[s])
			return err
		})
		if err != nil {
			return err
		}
	}
	err = j.st.View(context.Background(), func(r store.Reader) error {
		for s := range j.reached {
			c, err := spool.Cursor(r, j.sources[s])
			if err != nil {
				return err
			}
			j.reached[s] = cursorOf(c)
		}
		return nil
	})
	if err != nil || j.w.model == nil {
		return err // a child: who watches it verifies
	}
	return j.verified(func(*model) error { return nil })
}

func cursorOf(c []byte) uint64 {
	if len(c) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(c)
}

// The journal: the number of the last entry, and the entries.
var journalKey = store.Job.K().U8(0)

func entryKey(n uint64) store.Key { return store.Job.K().U8(1).U64(n) }

func readJournal(r store.Reader) (uint64, error) {
	v, ok, err := r.Get(journalKey)
	if err != nil || !ok || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// keptEntries is how many entries the journal keeps behind those that no witness needs any more.
const keptEntries = 100_000

// errNothing ends a transaction that found nothing to do.
var errNothing = errors.New("there is nothing to do")

// errRefused ends a transaction for no fault of the job's.
var errRefused = errors.New("refused")

// commit runs a transaction whose number and change the witness knows before it can be durable, and
// of whose durability he hears before anyone goes on.
func (j *job) commit(c change, lazily bool, f func(tx *store.Tx, c *change) error) error {
	c.ID = j.life<<32 | j.serial.Add(1)
	var n uint64
	run := func(tx *store.Tx) error {
		if err := f(tx, &c); err != nil {
			return err
		}
		last, err := readJournal(tx)
		if err != nil {
			return err
		}
		n = last + 1
		tx.Set(journalKey, store.Key(nil).U64(n))
		tx.Set(entryKey(n), store.Key(nil).U64(c.ID))
		if n > keptEntries {
			tx.Delete(entryKey(n - keptEntries))
		}
		return j.w.tell(event{What: trying, N: n, Change: &c})
	}
	commit := j.st.Update
	if lazily {
		commit = j.st.UpdateLazy
	}
	err := commit(run)
	if errors.Is(err, errNothing) {
		return nil
	}
	if err != nil || lazily {
		return err
	}
	return j.w.tell(event{What: acked, N: n})
}

// page takes a page in, as the intake of a collect job does: rows as blocks, cursor, known keys, dead
// letters, gaps and counts in one commit.
func (j *job) page(s int, r *rand.Rand) error {
	rows, rejects, gaps, last := j.fetch(s, r)
	c := change{Kind: aPage, Of: s, Cursor: last, Gaps: int64(len(gaps))}
	var fresh []bool
	err := j.st.Latest(func(r store.Reader) (err error) {
		fresh, err = j.known[s].New(r, slices.Concat(rows, rejects))
		return err
	})
	if err != nil {
		return err
	}
	c.Intake.Filtered = int64(r.IntN(2))
	c.Intake.Read = int64(len(fresh)) + c.Intake.Filtered
	var accepted []uint64
	for i, k := range rows {
		if fresh[i] {
			accepted = append(accepted, k)
		}
	}
	rejects = slices.DeleteFunc(rejects, func(k uint64) bool {
		return !fresh[len(rows)+slices.Index(rejects, k)]
	})
	c.Intake.Accepted, c.Intake.Rejected = int64(len(accepted)), int64(len(rejects))
	c.Intake.Duplicate = c.Intake.Read - c.Intake.Filtered - c.Intake.Accepted - c.Intake.Rejected
	c.Known = slices.Concat(accepted, rejects)
	var blocks []*spool.Block
	for keys := range slices.Chunk(accepted, 5) {
		var cursor []byte
		if keys[len(keys)-1] == accepted[len(accepted)-1] {
			cursor = store.Key(nil).U64(last)
		}
		b, err := spool.Build(j.sources[s], schema, rowsOf(keys, j.bulk), cursor)
		if err != nil {
			return err
		}
		blocks = append(blocks, b)
		c.Blocks = append(c.Blocks, block{Keys: keys, Bytes: int64(b.Bytes()), Bulk: j.bulk})
	}
	err = j.commit(c, false, func(tx *store.Tx, c *change) error {
		return j.writePage(tx, c, s, blocks, rejects, gaps)
	})
	if err == nil {
		j.reached[s] = last
	}
	return err
}

// fetch makes up what a feed answers from the cursor on: keys with holes, some of them known already,
// some of no use.
func (j *job) fetch(s int, r *rand.Rand) (rows, rejects, gaps []uint64, last uint64) {
	last = j.reached[s]
	for i := range min(uint64(r.IntN(4)), last) {
		rows = append(rows, uint64(s)<<32|(last-i))
	}
	for range 1 + r.IntN(12) {
		last++
		switch k := uint64(s)<<32 | last; r.IntN(12) {
		case 0:
			rejects = append(rejects, k)
		case 1:
			gaps = append(gaps, k)
		default:
			rows = append(rows, k)
		}
	}
	return rows, rejects, gaps, last
}

func (j *job) writePage(tx *store.Tx, c *change, s int, blocks []*spool.Block, rejects, gaps []uint64) error {
	if added, err := j.known[s].Add(tx, c.Known); err != nil || added != len(c.Known) {
		return fmt.Errorf("%d of %d keys were new: %w", added, len(c.Known), err)
	}
	flow := balance.Flow{Accepted: c.Intake.Accepted, Pending: c.Intake.Accepted}
	for i, b := range blocks {
		seq, err := j.sp.Append(tx, b)
		if err != nil {
			return err
		}
		c.Blocks[i].Seq = seq
		flow.PendingBytes += int64(b.Bytes())
	}
	if len(blocks) == 0 {
		spool.SetCursor(tx, j.sources[s], store.Key(nil).U64(c.Cursor))
	}
	c.Dead = nil
	for _, k := range rejects {
		id, err := balance.Bury(tx, balance.DeadLetter{Stage: balance.AtIntake, From: sourceNames[s],
			FromID: j.sources[s], Key: fmt.Sprint(k), Reason: "no row"})
		if err != nil {
			return err
		}
		c.Dead = append(c.Dead, letter{ID: id, Key: k, Sink: -1})
	}
	for _, k := range gaps {
		err := balance.PutGap(tx, balance.Gap{Source: j.sources[s], From: k, To: k, Missing: 1,
			Cause: balance.Hole, State: balance.GapFound})
		if err != nil {
			return err
		}
	}
	for _, k := range j.sinks {
		if err := balance.AddFlow(tx, k.ID, flow); err != nil {
			return err
		}
	}
	return balance.AddIntake(tx, j.sources[s], c.Intake)
}

// deliver takes the next delivery of a sink to its end, or only some of the way; easily means that
// nothing goes wrong.
func (j *job) deliver(s int, r *rand.Rand, patience time.Duration, easily bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k := j.sinks[s]
	want := spool.Want{Rows: 1 + r.IntN(25), Bytes: int64(r.IntN(2) * 2000),
		Every: time.Duration(r.IntN(3)) * time.Second}
	d, err := j.next(ctx, s, want)
	if err == nil && d.Whole() && r.IntN(2) == 0 {
		err = j.readAhead(s, want)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	if d.Damage != nil {
		return j.forfeit(s, d)
	}
	keys, _ := record.Keys(d.Schema, d.Rows)
	e := event{What: given, Sink: s, Token: d.Token.String(), Digest: digest(d.Rows), Keys: keys,
		First: d.Token.First, Last: d.Token.Last, Unknown: d.Unknown, ByKey: d.ByKey}
	if err := j.w.tell(e); err != nil {
		return err
	}
	e.Keys = nil
	luck := r.IntN(10)
	if easily {
		luck = 9
	}
	if luck == 0 { // it did not arrive, and who sent it can't know
		e.What = lost
		k.Release(d)
		return j.w.tell(e)
	}
	e.What = wrote
	a, err := j.w.ask(e)
	switch {
	case err != nil:
		return err
	case luck == 1: // it arrived, and the answer was lost
		k.Release(d)
		return nil
	case a.refused:
		return j.halve(s, d, e)
	}
	return j.settle(s, d, e, keys, a.reject, luck == 2)
}

// next begins what was read ahead, or waits for the next delivery, as a collect job does.
func (j *job) next(ctx context.Context, s int, w spool.Want) (*spool.Delivery, error) {
	if d := j.ahead[s]; d != nil {
		j.ahead[s] = nil
		if ok, err := j.sinks[s].Begin(d); ok || err != nil {
			return d, err
		}
	}
	return j.sinks[s].Next(ctx, w)
}

func (j *job) readAhead(s int, w spool.Want) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	j.ahead[s], err = j.sinks[s].Read(ctx, w)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func (j *job) halve(s int, d *spool.Delivery, e event) error {
	if err := j.w.tell(event{What: splitting, Sink: s, First: e.First, Last: e.Last}); err != nil {
		return err
	}
	if err := j.sinks[s].Halve(d); err != nil {
		j.sinks[s].Release(d)
		return err
	}
	e.What = settled
	return j.w.tell(e)
}

// settle commits the end of a delivery: rows delivered, poison rows buried, counts. If it is to be
// refused, the transaction fails at its end, as for want of room, and the delivery is given back.
func (j *job) settle(s int, d *spool.Delivery, e event, keys, reject []uint64, refused bool) error {
	e.What = settling
	if err := j.w.tell(e); err != nil {
		return err
	}
	k := j.sinks[s]
	rows := int64(len(keys))
	c := change{Kind: aSettle, Of: s}
	for _, key := range keys {
		if !slices.Contains(reject, key) {
			c.Keys = append(c.Keys, key)
		}
	}
	err := j.commit(c, false, func(tx *store.Tx, c *change) (err error) {
		c.Dead = nil
		for _, key := range reject {
			l, err := j.bury(tx, s, d, slices.Index(keys, key), key)
			if err != nil {
				return err
			}
			c.Dead = append(c.Dead, l)
		}
		if c.Bytes, err = k.Settle(tx, d); err != nil {
			return err
		}
		if refused {
			return errRefused
		}
		return balance.AddFlow(tx, k.ID, balance.Flow{Delivered: rows - int64(len(reject)),
			Dead: int64(len(reject)), Pending: -rows, PendingBytes: -c.Bytes})
	})
	if err != nil {
		k.Release(d)
		if errors.Is(err, errRefused) {
			return nil
		}
		return err
	}
	if d.Whole() && len(reject) == 0 {
		for _, h := range d.Heads {
			j.clean[s] = append(j.clean[s], h.Seq)
		}
	}
	e.What = settled
	return j.w.tell(e)
}

// replay has a block delivered once more of which every row was delivered.
func (j *job) replay(s int, r *rand.Rand) error {
	if len(j.clean[s]) == 0 {
		return nil
	}
	k, at := j.sinks[s], r.IntN(len(j.clean[s]))
	seq := j.clean[s][at]
	j.clean[s] = slices.Delete(j.clean[s], at, at+1) // what becomes of it now is not known before it is settled
	if err := k.Suspect(uint64(2)<<32, false); err != nil {
		return err
	}
	return j.commit(change{Kind: aReplay, Of: s, Seqs: []uint64{seq}}, false, func(tx *store.Tx, c *change) error {
		heads, err := spool.Heads(tx, seq, seq, 1)
		if err != nil {
			return err
		}
		done, err := spool.Done(tx, k.ID)
		if err != nil {
			return err
		}
		if len(heads) == 0 || !done(seq) {
			return errNothing
		}
		c.Bytes = int64(heads[0].Bytes)
		if err := j.w.tell(event{What: replaying, Sink: s, First: seq, Last: seq}); err != nil {
			return err
		}
		if err := k.Unsettle(tx, seq, seq); err != nil {
			return err
		}
		rows := int64(heads[0].Rows)
		return balance.AddFlow(tx, k.ID, balance.Flow{Delivered: -rows, Pending: rows, PendingBytes: c.Bytes})
	})
}

func (j *job) bury(tx *store.Tx, s int, d *spool.Delivery, row int, key uint64) (letter, error) {
	batch, hash, err := record.Encode(nil, d.Rows.NewSlice(int64(row), int64(row)+1))
	if err != nil {
		return letter{}, err
	}
	seq, at := d.At(row)
	id, err := balance.Bury(tx, balance.DeadLetter{Stage: balance.AtSink, From: sinkNames[s],
		FromID: j.sinks[s].ID, Seq: seq, Row: at, Key: fmt.Sprint(key), Reason: "poison", Batch: batch,
		Hash: hash[:]})
	return letter{ID: id, Key: key, Sink: s}, err
}

// forfeit gives up a block that can't be read.
func (j *job) forfeit(s int, d *spool.Delivery) error {
	k := j.sinks[s]
	return j.commit(change{Kind: aForfeit, Of: s}, false, func(tx *store.Tx, c *change) error {
		before, err := settledSeqs(tx, k.ID)
		if err != nil {
			return err
		}
		lost, err := k.Forfeit(tx, d)
		if err != nil {
			return err
		}
		after, err := settledSeqs(tx, k.ID)
		if err != nil {
			return err
		}
		c.Seqs, c.Rows, c.Bytes, c.From, c.To = nil, lost.Rows, lost.Bytes, lost.From, lost.To
		seq := d.Heads[0].Seq
		for s := range after {
			if !before[s] && c.To == 0 {
				c.Seqs = append(c.Seqs, s)
			}
		}
		if c.To > 0 { // of this block alone, whatever became done with it
			c.Seqs = []uint64{seq}
		}
		if err := j.w.tell(event{What: splitting, Sink: s, First: seq, Last: seq}); err != nil {
			return err
		}
		return balance.AddFlow(tx, k.ID, balance.Flow{Expired: lost.Rows, Pending: -lost.Rows,
			PendingBytes: -lost.Bytes})
	})
}

// settledSeqs reads which blocks a sink is done with, from the spool's own keys.
func settledSeqs(r store.Reader, sink uint32) (map[uint64]bool, error) {
	out := map[uint64]bool{}
	from := store.Settled.K().U32(sink)
	all, fail := r.Scan(from, from.End())
	for k, v := range all {
		for seq := binary.BigEndian.Uint64(k[5:]); seq <= binary.BigEndian.Uint64(v); seq++ {
			out[seq] = true
		}
	}
	return out, fail()
}

// expire lets the oldest blocks of a sink go, as an intake does at a backlog's limit.
func (j *job) expire(s int, r *rand.Rand) error {
	k := j.sinks[s]
	bytes := int64(1 + r.IntN(1500))
	return j.commit(change{Kind: aExpiry, Of: s}, false, func(tx *store.Tx, c *change) error {
		heads, err := k.Expire(tx, bytes)
		if err != nil {
			return err
		}
		if len(heads) == 0 {
			return errNothing
		}
		c.Seqs, c.Rows, c.Bytes = nil, 0, 0
		for _, h := range heads {
			c.Seqs = append(c.Seqs, h.Seq)
			c.Rows += int64(h.Rows)
			c.Bytes += int64(h.Bytes)
		}
		return balance.AddFlow(tx, k.ID, balance.Flow{Expired: c.Rows, Pending: -c.Rows,
			PendingBytes: -c.Bytes})
	})
}

// dead retries or discards a dead letter.
func (j *job) dead(r *rand.Rand, kind string) error {
	var all []balance.DeadLetter
	err := j.st.View(context.Background(), func(r store.Reader) (err error) {
		all, err = balance.ListDead(r, 0, 20)
		return err
	})
	if err != nil || len(all) == 0 {
		return err
	}
	d := all[r.IntN(len(all))]
	l := letter{ID: d.ID, Sink: slices.Index(sinkNames[:], d.From)}
	if _, err := fmt.Sscan(d.Key, &l.Key); err != nil {
		return err
	}
	if l.Sink < 0 || kind == aDiscard {
		return j.discard(d, l)
	}
	return j.retry(d, l)
}

func (j *job) discard(d balance.DeadLetter, l letter) error {
	return j.commit(change{Kind: aDiscard, Dead: []letter{l}}, false, func(tx *store.Tx, _ *change) error {
		if _, err := balance.Exhume(tx, d.ID); err != nil || l.Sink < 0 {
			return err
		}
		return balance.AddFlow(tx, d.FromID, balance.Flow{Dead: -1, Discarded: 1})
	})
}

func (j *job) retry(d balance.DeadLetter, l letter) error {
	rows, err := record.Decode(d.Batch, record.Hash(d.Hash))
	if err != nil {
		return err
	}
	b, err := j.blockOf(rows)
	if err != nil {
		return err
	}
	if err := j.w.tell(event{What: healed, Sink: l.Sink, Keys: []uint64{l.Key}}); err != nil {
		return err
	}
	c := change{Kind: aRetry, Dead: []letter{l}}
	return j.commit(c, false, func(tx *store.Tx, c *change) error {
		if _, err := balance.Exhume(tx, d.ID); err != nil {
			return err
		}
		seq, err := j.sp.AppendFor(tx, b, d.FromID)
		if err != nil {
			return err
		}
		c.Blocks = []block{{Seq: seq, Keys: []uint64{l.Key}, Bytes: int64(b.Bytes()), Bulk: j.bulk,
			Only: l.Sink + 1}}
		return balance.AddFlow(tx, d.FromID, balance.Flow{Dead: -1, Pending: 1,
			PendingBytes: int64(b.Bytes())})
	})
}

func (j *job) blockOf(rows arrow.RecordBatch) (*spool.Block, error) {
	return spool.Build(j.sources[0], schema, rows, nil)
}

// damage flips a bit of a block, as a disk might.
func (j *job) damage(r *rand.Rand) error {
	return j.commit(change{Kind: aDamage}, false, func(tx *store.Tx, c *change) error {
		stats, err := spool.ReadStats(tx)
		if err != nil {
			return err
		}
		if stats.Blocks == 0 {
			return errNothing
		}
		seq := stats.First + uint64(r.Int64N(int64(stats.Blocks)))
		v, ok, err := tx.Get(store.Blocks.K().U64(seq))
		if err != nil || !ok {
			return errors.Join(err, errNothing)
		}
		v[len(v)-1] ^= 1
		tx.Set(store.Blocks.K().U64(seq), v)
		c.Seqs = []uint64{seq}
		return nil
	})
}

// note writes the journal alone, lazily or not.
func (j *job) note(lazily bool) error {
	return j.commit(change{Kind: aNote}, lazily, func(*store.Tx, *change) error { return nil })
}

// look reads as people and readers do; what it saw must not be taken back.
func (j *job) look() error {
	tail, _ := j.sp.Tail()
	if err := j.w.tell(event{What: told, N: tail}); err != nil {
		return err
	}
	var n uint64
	err := j.st.View(context.Background(), func(r store.Reader) (err error) {
		n, err = readJournal(r)
		return err
	})
	if err != nil {
		return err
	}
	return j.w.tell(event{What: shown, N: n})
}

// audit reads the books, which balance in every state that is shown.
func (j *job) audit() error {
	return j.st.View(context.Background(), func(r store.Reader) error {
		b, err := engine.ReadBooks(r, jobName)
		if err != nil {
			return err
		}
		if !b.Balanced() {
			return fmt.Errorf("the laws do not hold: %v", b.Broken)
		}
		return nil
	})
}

func (j *job) trim(r *rand.Rand) error {
	ret := spool.Retain{Age: time.Hour, Bytes: int64(1 + r.IntN(3000))}
	if r.IntN(3) == 0 {
		ret = spool.Retain{}
	}
	_, err := j.sp.Trim(ret, time.Now().Add(time.Second))
	return err
}

func (j *job) flow(s int) (f balance.Flow, err error) {
	err = j.st.View(context.Background(), func(r store.Reader) (err error) {
		f, err = balance.ReadFlow(r, j.sinks[s].ID)
		return err
	})
	return f, err
}

// verified brings the model up to the store, which nobody writes to now, compares, and asks more.
func (j *job) verified(more func(m *model) error) error {
	return j.st.View(context.Background(), func(r store.Reader) error {
		m := j.w.model
		if err := m.advance(r, j.w); err != nil {
			return err
		}
		return errors.Join(m.compare(r, j.w), m.compareKnown(r, j.known),
			m.compareTasks(r, j.queue), more(m))
	})
}
