package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// event is what a job tells its witness.
type event struct {
	What    string   `json:"what"`
	N       uint64   `json:"n,omitempty"` // number in the journal
	Change  *change  `json:"change,omitempty"`
	Sink    int      `json:"sink,omitempty"`
	Token   string   `json:"token,omitempty"`
	First   uint64   `json:"first,omitempty"` // blocks of the token
	Last    uint64   `json:"last,omitempty"`
	Digest  string   `json:"digest,omitempty"`
	Keys    []uint64 `json:"keys,omitempty"`
	Unknown bool     `json:"unknown,omitempty"`
	ByKey   bool     `json:"by_key,omitempty"`
	Name    string   `json:"name,omitempty"`
}

// What an event is.
const (
	opened     = "opened"     // Name is the lineage that the store said
	trying     = "trying"     // N and Change: about to be committed
	acked      = "acked"      // N is durable, by the word of Update
	shown      = "shown"      // a view showed the journal up to N
	told       = "told"       // readers of the spool were told of block N
	given      = "given"      // Next handed out a delivery
	lost       = "lost"       // it may have reached the sink, or not
	wrote      = "wrote"      // it reached the sink
	settling   = "settling"   // its end is about to be committed
	settled    = "settled"    // and was acknowledged
	replaying  = "replaying"  // blocks First to Last are about to be delivered once more
	splitting  = "splitting"  // plans for blocks First to Last are about to be cut or given up
	copying    = "copying"    // a checkpoint Name is about to be made
	copied     = "copied"     // it was acknowledged
	healed     = "healed"     // the sink would take Keys from now on
	leased     = "leased"     // task Name is begun, as attempt N
	released   = "released"   // its attempts are about to be counted down or anew
	ended      = "ended"      // its end was acknowledged
	violated   = "violated"   // Name says what the job saw that must not be
	lastOfLife = "lastOfLife" // the job ended in order
)

// witness knows what a job promised. It outlives crashes.
type witness struct {
	mu     sync.Mutex // guards all below; nothing is called under it that takes another lock
	model  *model
	tries  map[uint64]change // by number in the journal, behind what the model holds
	acked  uint64
	shown  uint64
	tail   uint64
	lives  uint64
	sinks  [2]*outside
	line   string
	points map[string]*point
	tasks  map[string]attempts
	pruned uint64 // up to here the journal may have gone
	fault  error
	ended  bool
	down   bool

	out    *json.Encoder // in a child, where all is told on
	taping bool
	tape   []event // all that was told, if taping
}

// point is a checkpoint as the witness knows it.
type point struct {
	From uint64 // what was acknowledged when it was asked for
	Made bool   // it was acknowledged itself
}

func newWitness() *witness {
	return &witness{model: newModel(), tries: map[uint64]change{},
		sinks: [2]*outside{newOutside(true), newOutside(false)}, points: map[string]*point{},
		tasks: map[string]attempts{}}
}

// answer is what a sink says to a delivery.
type answer struct {
	reject  []uint64
	refused bool
}

// tell takes an event down. It answers errDown when the power was cut before.
func (w *witness) tell(e event) error {
	_, err := w.ask(e)
	return err
}

func (w *witness) ask(e event) (a answer, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return a, errDown
	}
	if w.out != nil {
		if err := w.out.Encode(e); err != nil {
			return a, err
		}
	}
	if w.taping {
		w.tape = append(w.tape, e)
	}
	a, err = w.take(e)
	if err != nil && w.fault == nil {
		w.fault = err
	}
	return a, err
}

// take is tell for who holds the lock.
func (w *witness) take(e event) (a answer, err error) {
	o := w.sinks[e.Sink]
	switch e.What {
	case opened:
		if w.line != "" && w.line != e.Name {
			return a, fmt.Errorf("the store's lineage was %s and is %s", w.line, e.Name)
		}
		w.line = e.Name
	case trying:
		w.tries[e.N] = *e.Change
	case acked:
		w.acked = max(w.acked, e.N)
	case shown:
		w.shown = max(w.shown, e.N)
	case told:
		w.tail = max(w.tail, e.N)
	case given:
		return a, o.given(e)
	case lost:
		o.Tokens[e.Token].Sent = true
	case wrote:
		a.reject, a.refused, err = o.write(e)
		return a, err
	case settling:
		o.settling(e)
	case settled:
		o.Tokens[e.Token].Settled = true
	case replaying:
		o.replaying(e.First, e.Last)
	case splitting:
		o.splitting(e.First, e.Last)
	case copying:
		w.points[e.Name] = &point{From: w.acked}
	case copied:
		w.points[e.Name].Made = true
	case healed:
		for _, k := range e.Keys {
			o.Healed[k] = true
		}
	case leased:
		return a, w.begun(e.Name, e.N)
	case released:
		t := w.tasks[e.Name]
		t.Again = true
		w.tasks[e.Name] = t
	case ended:
		t := w.tasks[e.Name]
		t.Ended = true
		w.tasks[e.Name] = t
	case violated:
		return a, fmt.Errorf("%s", e.Name)
	case lastOfLife:
		w.ended = true
	default:
		return a, fmt.Errorf("unknown event %q", e.What)
	}
	return a, nil
}

// stop runs f at one moment of what the witness knows: nothing that is told later counts.
func (w *witness) stop(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.down {
		w.down = true
		f()
	}
}

// rise begins a new life after a crash whose state was verified.
func (w *witness) rise() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.ended = false, false
	w.lives++
	return w.lives
}

func (w *witness) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

// broken returns the first thing that must not have been.
func (w *witness) broken() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

// follow takes down what a child tells until it ends. The last line may be cut.
func (w *witness) follow(r io.Reader) error {
	dec := json.NewDecoder(r)
	for {
		var e event
		switch err := dec.Decode(&e); err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return w.broken()
		default:
			return fmt.Errorf("read what the child tells: %w", err)
		}
		if _, err := w.ask(e); err != nil {
			return err
		}
	}
}
