package decide

import (
	"container/list"
	"time"

	"holdfast/job/supervise/rule"
)

// Limits of memory.
const (
	// maxKeys is how many keys a rule remembers, and maxAllKeys all rules together.
	maxKeys    = 10_000
	maxAllKeys = 200_000
	// forget is how long a key whose series is gone is remembered, if its rule needs to know what it was.
	forget = moment(24 * time.Hour)
	// keepSeen is how much the time at which a value was seen last may lag behind in the store: to keep it exactly would be a
	// write for each look.
	keepSeen = moment(time.Minute)
	// maxVars is how many values rules may set, maxCauses how many units our actions can be remembered for.
	maxVars   = 200
	maxCauses = 256
)

// Counts say how often each thing happened to a rule.
type Counts struct {
	Matched, Due uint64
	Outcomes     [outcomes]uint64
	Seen         time.Time // when something matched last; zero if never
	// Forgotten are keys of which something still mattered when they had to make room for others.
	Forgotten uint64
}

// Of returns how often an outcome occurred.
func (c *Counts) Of(o Outcome) uint64 { return c.Outcomes[o] }

// ruleState is what is known of a rule as a whole.
type ruleState struct {
	rule   *rule.Rule
	main   rule.List // its actions
	keys   map[string]*keyState
	counts Counts
	limit  window
	over   *episode  // its limit is reached
	bySeen list.List // of *keyState, its keys: at the front the one that was seen least recently
	full   bool      // keys make room for others, and that was said
	about  string    // what the rule was about in the life before, "" if that is not known
	dirty  bool      // among the dirty ones
}

// keyState is what is known of one key of a rule.
type keyState struct {
	rs     *ruleState
	key    string
	bySeen *list.Element // its place in the list of its rule
	dirty  bool          // among the dirty ones

	last   moment // when it was seen
	kept   moment // of that what the store has
	counts window // of count
	// armed is what was seen, and waits for what should follow it.
	armed *held
	// early is what should follow, if it was told before what it follows: it is of another source, which is read by itself.
	early *held
	// holds: the condition holds. fired: that it holds has led to something. began is the event with which it began to hold.
	holds bool
	since moment
	fired bool
	began *held
	// was is what was seen last.
	was *value
	// absent: the series is not there. silent: the rule has told that it was not seen.
	absent bool
	silent bool

	cooldown moment // until then
	trailing *held  // what is made up for then
	heal     *healing

	// unsure: nothing was seen of it since the start, so its condition may be over.
	unsure bool
	sure   bool // it was taken over from a machine that had seen it
	// looked is the number of the look that had it last. placeholder: it stands for keys that were never seen.
	looked      uint64
	placeholder bool

	due   moment // when the next of its times runs out
	index int    // in the heap, from 1; 0 if in none
}

// held is something that was seen and is still needed.
type held struct {
	at    moment
	event string
	facts *rule.Facts
	cause string
}

// value is a value or a word, and the state that they mean.
type value struct {
	number *float64
	text   string
	state  string
}

// healing is a heal ladder that is being climbed.
type healing struct {
	held
	rung  int
	until moment
}

// window holds the moments of events, in their order.
type window []moment

// add adds a moment, and drops those that are before the window or too many.
func (w *window) add(at moment, within time.Duration, most int) {
	if n := len(*w); n > 0 {
		at = max(at, (*w)[n-1]) // the order of events is that in which they are told
	}
	w.trim(at, within)
	if len(*w) >= most {
		*w = append((*w)[:0], (*w)[len(*w)-most+1:]...)
	}
	*w = append(*w, at)
}

func (w *window) trim(at moment, within time.Duration) {
	i := 0
	for i < len(*w) && (*w)[i] <= at-moment(within) {
		i++
	}
	if i > 0 {
		*w = append((*w)[:0], (*w)[i:]...)
	}
}

func (w window) last() moment {
	if len(w) == 0 {
		return 0
	}
	return w[len(w)-1]
}

// full reports whether as many as a limit allows are within its time.
func (w *window) full(at moment, l *rule.Limit) bool {
	w.trim(at, l.Within)
	return len(*w) >= l.Max
}

// whole is the state that belongs to no single rule.
type whole struct {
	limit, loop         window
	limitOver, loopOver *episode // they are reached
	vars                map[string]string
	with                map[string]float64 // by the ID of a source; not kept: after a restart they are asked for anew
	causes              map[string]cause   // by the unit
	silences            []*silence
	number              uint64 // of the last silence
}

// cause is an action of ours on a unit.
type cause struct {
	call  string
	until moment
}

func newWhole() whole {
	return whole{vars: map[string]string{}, with: map[string]float64{}, causes: map[string]cause{}}
}
