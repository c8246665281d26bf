package ingester

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
)

// State is where a window is on its way through the ingester.
type State string

// The states of a window. A batch that comes behind Lost, Stored or Told takes it back.
const (
	Open     State = "open"     // batches are missing
	Complete State = "complete" // every batch is in the spool
	Lost     State = "lost"     // batches are missing, and nobody can send them any more
	Stored   State = "stored"   // every sink has every row that came, or a dead letter; there is a notice
	Told     State = "told"     // the processor has done with the notice
)

// windowID names a window: an epoch of a streamer, and the number there.
type windowID struct {
	Epoch  string `json:"epoch"`
	Number uint64 `json:"number"`
}

// String is the id as events and logs have it.
func (id windowID) String() string { return fmt.Sprintf("%s/%d", id.Epoch, id.Number) }

// window is what the ingester knows of a window. Everything that is exported survives a crash: it changes in the
// commit that takes a batch in.
type window struct {
	windowID
	Key   string    `json:"key"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	More  bool      `json:"more,omitempty"` // the next one has rows of this time, too
	Parts []part    `json:"parts,omitempty"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // of the state
	// Met is when it was first heard of, Came when something of it came.
	Met   time.Time `json:"met"`
	Came  time.Time `json:"came,omitzero"`
	First uint64    `json:"first,omitempty"` // sequence of the first block with rows of it, 0 for none
	Last  uint64    `json:"last,omitempty"`  // and of the last one
	// Elsewhere: rows of it were known when they came, so they are in blocks in front of Last that others brought.
	Elsewhere bool   `json:"elsewhere,omitempty"`
	Lacking   bool   `json:"lacking,omitempty"` // the table does not have all rows of its blocks
	Unmade    bool   `json:"unmade,omitempty"`  // its manifest is missing: only its number is known
	Because   string `json:"because,omitempty"` // why it was lost
	Lost      int    `json:"lost,omitempty"`    // rows that the books have as lost
	Keys      int    `json:"keys,omitempty"`    // different rows of it that the table has at least, 0 if nobody knows
	Notice    uint64 `json:"notice,omitempty"`  // number of the newest notice of it, 0 for none
	Notices   int    `json:"notices,omitempty"` // how many there were

	asks int       // in a row without an answer
	next time.Time // when to ask again; zero at once
	// Of a streamer of old: the last batch was asked for; how often a batch came and made no rows, by its place.
	askedLast bool
	spoilt    map[int]int
}

// part is a batch of a window.
type part struct {
	Rows int    `json:"rows"`
	Hash string `json:"hash,omitempty"` // "" while nobody has said it
	Have bool   `json:"have,omitempty"` // it is in the spool
}

// unmade returns a window of which the number alone is known.
func unmade(id windowID, now time.Time) *window {
	return &window{windowID: id, State: Open, Since: now, Met: now, Unmade: true}
}

// manifest takes what the manifest says, the first time that it comes.
func (w *window) manifest(m wire.Manifest, now time.Time) {
	w.Key, w.From, w.To, w.More, w.Unmade = m.Window, m.From, m.To, m.More, false
	w.Parts = make([]part, len(m.Batches))
	for i, b := range m.Batches {
		w.Parts[i] = part{Rows: b.Rows, Hash: b.Hash}
	}
	if w.State == Lost { // it was lost without being known
		w.State, w.Since, w.Because = Open, now, ""
	}
	w.asks, w.next = 0, now.Add(quiet)
	w.settle(now)
}

// fits reports whether a manifest says what the one before said.
func (w *window) fits(m wire.Manifest) bool {
	if len(w.Parts) != len(m.Batches) || w.Key != m.Window || !w.From.Equal(m.From) || !w.To.Equal(m.To) {
		return false
	}
	for i, b := range m.Batches {
		if w.Parts[i].Rows != b.Rows || w.Parts[i].Hash != b.Hash {
			return false
		}
	}
	return true
}

// settle makes a window complete that has everything.
func (w *window) settle(now time.Time) {
	if w.State != Complete && !w.Unmade && len(w.lacks()) == 0 {
		w.State, w.Since, w.Because = Complete, now, ""
	}
}

// lacks returns the batches that are not in the spool.
func (w *window) lacks() (indexes []int) {
	for i := range w.Parts {
		if !w.Parts[i].Have {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// rows is how many rows came, and how many did not, as far as anybody said.
func (w *window) rows() (came, missing int) {
	most := w.mostOld()
	for _, p := range w.Parts {
		switch {
		case p.Have:
			came += p.Rows
		case w.Epoch == oldEpoch:
			missing += most
		default:
			missing += p.Rows
		}
	}
	return came, missing
}

// takes says that a batch is on its way into the spool: something came, so nobody need be asked for a while.
func (w *window) takes(now time.Time) { w.asks, w.next, w.Came = 0, now.Add(quiet), now }

// kept marks a batch as being in the spool. It is to be called within the commit.
func (w *window) kept(index int, now time.Time) {
	w.Parts[index].Have = true
	if w.State == Complete || w.State == Stored || w.State == Told { // what it lacked comes after all, or there is more
		w.State, w.Since = Open, now
		if w.Because != "" {
			w.State = Lost
		}
	}
	w.settle(now)
}

// spans says that blocks from one sequence to the other hold rows of it; 0 for none.
func (w *window) spans(first, last uint64) {
	if first > 0 && (w.First == 0 || first < w.First) {
		w.First = first
	}
	w.Last = max(w.Last, last)
}

// The pauses between questions for a window.
const (
	quiet   = 150 * time.Millisecond // nothing came for so long: the first question
	longer  = 2 * time.Second        // between two questions at most while the streamer is heard
	longest = 10 * time.Second       // and while it is not
)

// asked says that the question was sent: the next one waits longer each time, a random part more or less, so
// that many windows don't ask at once.
func (w *window) asked(now time.Time, here bool) {
	most := longest
	if here {
		most = longer
	}
	pause := min(quiet<<min(w.asks, 10), most)
	w.asks++
	w.next = now.Add(pause/2 + rand.N(pause))
}

// giveUp declares what is missing lost. A batch that comes after all takes it back.
func (w *window) giveUp(why string, now time.Time) { w.State, w.Since, w.Because = Lost, now, why }

// waits reports whether the window is to be stored, but for its sinks.
func (w *window) waits() bool { return w.State == Complete || w.State == Lost && !w.Unmade }

// done reports whether nothing is to be done for the window, unless something comes.
func (w *window) done() bool {
	return w.State == Stored || w.State == Told || w.State == Lost && w.Unmade
}

func (w *window) bytes() []byte {
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	return b
}

func windowOf(b []byte) (*window, error) {
	w := new(window)
	if err := json.Unmarshal(b, w); err != nil {
		return nil, fault.New(fault.Corrupt, "read a window: %w", err)
	}
	return w, nil
}
