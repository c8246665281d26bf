package ingester

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

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

// ID names a window: an epoch of a streamer, and the number there.
type ID struct {
	Epoch  string
	Number uint64
}

// String is the id as events and logs have it.
func (id ID) String() string { return fmt.Sprintf("%s/%d", id.Epoch, id.Number) }

// Window is what the ingester knows of a window. Everything that is exported survives a crash: it changes in the
// commit that takes a batch in.
type Window struct {
	Epoch  string    `json:"epoch"`
	Number uint64    `json:"number"`
	Key    string    `json:"key"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Parts  []Part    `json:"parts,omitempty"`
	State  State     `json:"state"`
	Since  time.Time `json:"since"` // of the state
	// Met is when it was first heard of, Last when something of it came.
	Met     time.Time `json:"met"`
	Came    time.Time `json:"came,omitzero"`
	First   uint64    `json:"first,omitempty"`   // sequence of the first block with rows of it, 0 for none
	Last    uint64    `json:"last,omitempty"`    // and of the last one
	Unmade  bool      `json:"unmade,omitempty"`  // its manifest is missing: only its number is known
	Because string    `json:"because,omitempty"` // why it was lost
	Lost    int       `json:"lost,omitempty"`    // rows that the books have as lost
	Notice  uint64    `json:"notice,omitempty"`  // number of the newest notice of it, 0 for none
	Notices int       `json:"notices,omitempty"` // how many there were

	asks   int         // in a row without an answer
	next   time.Time   // when to ask again; zero at once
	spoilt map[int]int // how often a batch of a streamer of old came and made no rows, by its index
}

// Part is a batch of a window.
type Part struct {
	Rows int    `json:"rows"`
	Hash string `json:"hash,omitempty"` // "" while nobody has said it
	Have bool   `json:"have,omitempty"` // it is in the spool

	taking bool // it is on its way there
}

// unmade returns a window of which the number alone is known.
func unmade(id ID, now time.Time) *Window {
	return &Window{Epoch: id.Epoch, Number: id.Number, State: Open, Since: now, Met: now, Unmade: true}
}

// ID returns the window's id.
func (w *Window) ID() ID { return ID{w.Epoch, w.Number} }

// Manifest takes what a manifest says. One that came before is the same, or the streamer contradicts itself.
func (w *Window) Manifest(m wire.Manifest, now time.Time) error {
	if !w.Unmade {
		if !w.fits(m) {
			return fmt.Errorf("window %v: its manifest says something else than before", w.ID())
		}
		return nil
	}
	w.Key, w.From, w.To, w.Unmade = m.Window, m.From, m.To, false
	w.Parts = make([]Part, len(m.Batches))
	for i, b := range m.Batches {
		w.Parts[i] = Part{Rows: b.Rows, Hash: b.Hash}
	}
	if w.State == Lost { // it was lost without being known
		w.State, w.Since, w.Because = Open, now, ""
	}
	w.asks, w.next = 0, now.Add(quiet)
	w.settle(now)
	return nil
}

func (w *Window) fits(m wire.Manifest) bool {
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
func (w *Window) settle(now time.Time) {
	if w.State != Complete && !w.Lacks() {
		w.State, w.Since, w.Because = Complete, now, ""
	}
}

// Lacks reports whether anything of the window is not in the spool.
func (w *Window) Lacks() bool {
	if w.Unmade {
		return true
	}
	for i := range w.Parts {
		if !w.Parts[i].Have {
			return true
		}
	}
	return false
}

// Missing returns the batches that are not in the spool and not on their way there.
func (w *Window) Missing() (indexes []int) {
	for i := range w.Parts {
		if !w.Parts[i].Have && !w.Parts[i].taking {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// Rows is how many rows came, and how many did not, as far as anybody said.
func (w *Window) Rows() (came, missing int) {
	if w.Epoch == oldEpoch {
		missing = w.lostOld()
	}
	for _, p := range w.Parts {
		if p.Have {
			came += p.Rows
		} else {
			missing += p.Rows
		}
	}
	return came, missing
}

// find returns the batch whose payload has this hash and is missing; ok is false if there is none.
func (w *Window) find(hash string) (index int, ok bool) {
	for i, p := range w.Parts {
		if p.Hash == hash && !p.Have && !p.taking {
			return i, true
		}
	}
	return 0, false
}

// Take marks a batch as on its way into the spool: something came, so nobody need be asked for a while.
func (w *Window) Take(index int, now time.Time) {
	w.Parts[index].taking = true
	w.asks, w.next, w.Came = 0, now.Add(quiet), now
}

// Kept marks a batch as being in the spool, in the blocks from one sequence to the other (0 for no rows that are
// new). It is to be called within the commit.
func (w *Window) Kept(index int, first, last uint64, now time.Time) {
	w.Parts[index].Have, w.Parts[index].taking = true, false
	if first > 0 && (w.First == 0 || first < w.First) {
		w.First = first
	}
	w.Last = max(w.Last, last)
	if w.State == Stored || w.State == Told { // what it lacked comes after all
		w.State, w.Since = Lost, now
	}
	w.settle(now)
}

// The pauses between questions for a window.
const (
	quiet   = 150 * time.Millisecond // nothing came for so long: the first question
	longest = 10 * time.Second       // between two questions while nobody answers
)

// Due reports whether the window's missing batches are to be asked for, and when to look again if not.
func (w *Window) Due(now time.Time) (ask bool, at time.Time) {
	if w.State != Open || !w.Unmade && len(w.Missing()) == 0 {
		return false, time.Time{}
	}
	return !now.Before(w.next), w.next
}

// Asked says that the question was sent: the next one waits longer each time, by chance a little more or less, so
// that many windows don't ask at once.
func (w *Window) Asked(now time.Time) {
	pause := min(quiet<<min(w.asks, 10), longest)
	w.asks++
	w.next = now.Add(pause/2 + rand.N(pause))
}

// Heard says that from now on everything is heard that was not for a while: what is missing is asked for at once.
func (w *Window) Heard() { w.asks, w.next = 0, time.Time{} }

// behind reports whether the streamer of a beacon can't send any more what the window lacks.
func (w *Window) behind(m wire.Beacon) bool {
	return w.Epoch == m.Epoch && w.Number < m.Oldest && w.State == Open && (w.Unmade || len(w.Missing()) > 0)
}

// GiveUp declares what is missing lost. A batch that comes after all takes it back.
func (w *Window) GiveUp(why string, now time.Time) {
	w.State, w.Since, w.Because = Lost, now, why
}

// waits reports whether the window is to be stored, but for its sinks.
func (w *Window) waits() bool { return w.State == Complete || w.State == Lost && !w.Unmade }

func (w *Window) bytes() []byte {
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	return b
}

func windowOf(b []byte) (*Window, error) {
	w := new(Window)
	if err := json.Unmarshal(b, w); err != nil {
		return nil, fmt.Errorf("read a window: %w", err)
	}
	return w, nil
}
