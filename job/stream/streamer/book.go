package streamer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// bookVersion begins every JSON value of the streamer in the store.
const bookVersion = 1

func key(name string) store.Key { return store.Job.K().Str("streamer/" + name) }

func keyEpoch() store.Key                   { return key("epoch") }
func keyState() store.Key                   { return key("state") }
func keyMarks() store.Key                   { return key("marks") }
func keyPace() store.Key                    { return key("pace") }
func keyWindow(number uint64) store.Key     { return key("window/").U64(number) }
func keyPile(pile uint64) store.Key         { return key("pile/").U64(pile) }
func keyTail(pile uint64) store.Key         { return key("tail/").U64(pile) }
func keyBatches(pile uint64) store.Key      { return key("batch/").U64(pile) }
func keyBatch(pile uint64, i int) store.Key { return keyBatches(pile).U32(uint32(i)) }

// epoch is this streamer's numbering of windows.
type epoch struct {
	Epoch   string   `json:"epoch"`
	Lineage string   `json:"lineage"` // of the store's life in which it began
	Former  []string `json:"former,omitempty"`
}

// state is where reading stands. It changes in the commit of a page.
type state struct {
	DataSet string `json:"data_set"`
	Cursor  []byte `json:"cursor,omitempty"`
	Over    bool   `json:"over,omitempty"` // the data set was read to its end, and not to be begun again

	Lap     int   `json:"lap,omitempty"`  // how many times it was read to its end
	Days    int   `json:"days,omitempty"` // how many days later each lap is than the one before
	LapRows int64 `json:"lap_rows,omitempty"`
	// First and Last are where the windows of the first lap begin and end.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`

	Next     uint64   `json:"next"`      // number of the next window
	NextPile uint64   `json:"next_pile"` // likewise
	Piles    []uint64 `json:"piles,omitempty"`
}

// marks say how far windows are on their way. They may be half a second old after a crash: what they miss is
// sent, and confirmed, once more.
type marks struct {
	Sent    uint64 `json:"sent"`    // every window up to this one went out
	Batches int    `json:"batches"` // and so many batches of the next

	Confirmed     uint64 `json:"confirmed"` // every window up to this one is where it belongs
	ConfirmedRows int64  `json:"confirmed_rows"`
	Confirms      bool   `json:"confirms"` // there is an ingester that says so

	// AssumedRows are those of windows that were sent and let go while nobody confirmed any, GivenUp those of
	// windows that were let go unconfirmed though somebody does.
	AssumedRows int64 `json:"assumed_rows"`
	GivenUp     int64 `json:"given_up"`
}

// paced says when a window was let go for the last time.
type paced struct {
	Released uint64    `json:"released"` // every window up to this one may go out
	From     time.Time `json:"from"`     // of the last one that had to wait for its time
	At       time.Time `json:"at"`       // which was then
}

// part is a batch of a window or a pile.
type part struct {
	Rows int    `json:"rows"`
	Hash string `json:"hash"`
	Size int    `json:"size"` // of the payload
}

// window is a window that was cut. Nothing of it ever changes.
type window struct {
	Number uint64    `json:"number"`
	Pile   uint64    `json:"pile"` // under which its batches are kept
	Key    string    `json:"key"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Late   bool      `json:"late,omitempty"` // it goes out with the one in front of it
	More   bool      `json:"more,omitempty"` // a window that follows has the other rows of its time
	Rows   int       `json:"rows"`
	Bytes  int64     `json:"bytes"` // of the batches, packed
	Parts  []part    `json:"parts"`

	sizes []int     // of the payloads; of a window in memory there is no more than them
	free  time.Time // since when it may go out, as far as this process knows
}

// light returns what memory keeps of a window.
func (w *window) light() *window {
	l := *w
	l.Parts, l.sizes = nil, make([]int, len(w.Parts))
	for i, p := range w.Parts {
		l.sizes[i] = p.Size
	}
	return &l
}

// weightOfWindow is what a window takes beside its batches, here and in memory, and more than that.
const weightOfWindow = 4 << 10

func (w *window) weight() int64 { return w.Bytes + weightOfWindow }

func (w *window) manifest(epoch string) wire.Manifest {
	m := wire.Manifest{Epoch: epoch, Number: w.Number, Window: w.Key, From: w.From, To: w.To,
		Batches: make([]wire.Batch, len(w.Parts)), More: w.More}
	for i, p := range w.Parts {
		m.Batches[i] = wire.Batch{Rows: p.Rows, Hash: p.Hash}
	}
	return m
}

// place is where batch i belongs: the last one says so.
func (w *window) place(i int) wire.Place {
	return wire.Place{Batch: i, Last: i == len(w.sizes)-1, Window: w.Key}
}

// put writes a value of ours.
func put(tx *store.Tx, k store.Key, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	tx.Set(k, append([]byte{bookVersion}, text...))
}

// decode reads a value of ours.
func decode(k, b []byte, v any) error {
	if len(b) > 0 && b[0] > bookVersion {
		return fault.New(fault.Permanent, "read %q: it has version %d, this program knows up to %d", k, b[0],
			bookVersion)
	}
	if len(b) == 0 || b[0] != bookVersion {
		return fault.New(fault.Corrupt, "read %q: it is of no version that is known", k)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return fault.New(fault.Corrupt, "read %q: %w", k, err)
	}
	return nil
}

// saved is all that a store holds of a streamer, but for the batches.
type saved struct {
	epoch   epoch
	state   state
	marks   marks
	pace    paced
	windows []*window // by number
	piles   []*pile   // by id
	unread  int       // values that can't be read
}

// reading reads a store. If the store was salvaged it leaves out what can't be read.
type reading struct {
	store.Reader
	lenient bool
	unread  *int
}

func (r reading) get(k store.Key, v any) error {
	b, ok, err := r.Get(k)
	if err != nil || !ok {
		return err
	}
	return r.excuse(decode(k, b, v))
}

func (r reading) excuse(err error) error {
	if r.lenient && fault.Is(err, fault.Corrupt) {
		*r.unread++
		return nil
	}
	return err
}

// all reads the values below a key.
func all[T any](r reading, below store.Key) (out []*T, err error) {
	seq, failed := r.Scan(below, below.End())
	for k, b := range seq {
		v := new(T)
		if err := decode(k, b, v); err == nil {
			out = append(out, v)
		} else if err := r.excuse(err); err != nil {
			return nil, err
		}
	}
	return out, failed()
}

// readSaved reads everything that the store holds. The epoch tells whether the store has begun another life since, in which
// something may be lost.
func readSaved(r store.Reader, lineage string) (s saved, err error) {
	if err := (reading{r, true, &s.unread}).get(keyEpoch(), &s.epoch); err != nil {
		return s, err
	}
	rd := reading{r, s.epoch.Lineage != lineage, &s.unread}
	for k, v := range map[string]any{"state": &s.state, "marks": &s.marks, "pace": &s.pace} {
		if err := rd.get(key(k), v); err != nil {
			return s, err
		}
	}
	s.state.Next, s.state.NextPile = max(s.state.Next, 1), max(s.state.NextPile, 1)
	if s.windows, err = all[window](rd, key("window/")); err != nil {
		return s, err
	}
	if s.piles, err = all[pile](rd, key("pile/")); err != nil {
		return s, err
	}
	for _, p := range s.piles {
		if err := rd.excuse(p.readTail(r)); err != nil {
			return s, err
		}
	}
	return s, nil
}

// openBook loads what the store holds. If the store is in another life than the epoch, because it was restored or salvaged, it
// gets a new epoch: what it numbers from now on differs from what was published under the same numbers.
func openBook(ctx context.Context, st *store.Store) (s saved, lost []loss, err error) {
	lineage := st.Lineage().String()
	err = st.View(ctx, func(r store.Reader) error {
		s, err = readSaved(r, lineage)
		return err
	})
	if err == nil && s.epoch.Lineage != lineage {
		err = st.Update(func(tx *store.Tx) error {
			lost, err = s.begin(tx, lineage)
			return err
		})
	}
	if err != nil {
		return s, nil, fmt.Errorf("open the windows of the stream: %w", err)
	}
	return s, lost, nil
}

// batchOf reads a batch of a window. What was cut never changes, so the latest state will do.
func batchOf(r store.Reader, pile uint64, i int) (payload []byte, err error) {
	ok, err := r.Look(keyBatch(pile, i), func(v []byte) error {
		payload, err = unpack(v)
		return err
	})
	if err == nil && !ok {
		err = fault.New(fault.NotFound, "batch %d of pile %d is not there", i, pile)
	}
	return payload, err
}

// pileOf returns the pile that the key of a batch names.
func pileOf(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(key("batch/")):]) }
