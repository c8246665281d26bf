package decide

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/job/supervise/rule"
)

// Limits of memory.
const (
	// maxKeys is how many keys a rule remembers, and maxAllKeys all rules together.
	maxKeys    = 10_000
	maxAllKeys = 200_000
	// forget is after how long a key whose series is gone is forgotten, if its rule remembers what it was.
	forget = moment(24 * time.Hour)
	// maxVars is how many values rules may set, maxCauses how many units our actions can be remembered for.
	maxVars   = 200
	maxCauses = 256
)

// Counts are how often what happened to a rule.
type Counts struct {
	Matched, Due uint64
	Outcomes     [outcomes]uint64
	Seen         time.Time // when something matched last; zero if never
}

// Of is how often an outcome was.
func (c *Counts) Of(o Outcome) uint64 { return c.Outcomes[o] }

// ruleState is what is known of a rule as a whole.
type ruleState struct {
	rule   *rule.Rule
	keys   map[string]*keyState
	counts Counts
	limit  window
	told   bool // the limit was reached, and who is to know was told
	swept  moment
}

// keyState is what is known of one key of a rule.
type keyState struct {
	rs  *ruleState
	key string

	last   moment // when it was seen
	counts window // of count
	// armed is what waits for what follows.
	armed *held
	// holds: the condition has held since then; fired: and that has led to something. began is what it was that began it.
	holds bool
	since moment
	fired bool
	began *held
	// was is what was seen last.
	was *value
	// absent: the series is not there. silent: that it was not seen was told.
	absent bool
	silent bool

	cooldown moment // until then
	trailing *held  // what is made up for then
	heal     *healing

	// unsure: since the start nothing was seen of it, so that what it was may be over.
	unsure bool
	sure   bool // it was taken over from a machine that had seen it
	// looked is the number of the look that had it last; placeholder: it stands for what was never seen.
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

// window are the moments of some events, in their order.
type window []moment

// add adds one, and forgets what is before the window or too much.
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

// whole is what is known beyond single rules.
type whole struct {
	limit, loop         window
	limitTold, loopTold bool
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

// dirty says which entries are other than they were.
type dirty struct {
	clock, whole bool
	rules        map[*ruleState]bool
	keys         map[*keyState]bool
	gone         map[string]bool // entries of keys that were forgotten
}

func (d *dirty) rule(rs *ruleState) {
	if d.rules == nil {
		d.rules = map[*ruleState]bool{}
	}
	d.rules[rs] = true
}

// touch marks a key as changed, and looks when its next time runs out.
func (m *Machine) touch(ks *keyState) {
	if m.dirty.keys == nil {
		m.dirty.keys = map[*keyState]bool{}
	}
	m.dirty.keys[ks] = true
	m.schedule(ks)
}

// key returns the state of a key, or why there can be none.
func (m *Machine) key(rs *ruleState, key string) (*keyState, error) {
	if ks := rs.keys[key]; ks != nil {
		return ks, nil
	}
	if len(rs.keys) >= maxKeys || m.keys >= maxAllKeys {
		m.sweep(rs)
	}
	if len(rs.keys) >= maxKeys || m.keys >= maxAllKeys {
		return nil, fmt.Errorf("there are %d keys already", len(rs.keys))
	}
	ks := m.newKey(rs, key)
	m.touch(ks) // that it was there at all is what its absence is told by
	return ks, nil
}

func (m *Machine) newKey(rs *ruleState, key string) *keyState {
	ks := &keyState{rs: rs, key: key, last: m.clock.at}
	rs.keys[key] = ks
	m.keys++
	return ks
}

// sweep forgets keys of which nothing matters any more; not more often than once a second, for it looks at all of them.
func (m *Machine) sweep(rs *ruleState) {
	if m.clock.at-rs.swept < moment(time.Second) {
		return
	}
	rs.swept = m.clock.at
	for _, ks := range rs.keys {
		if ks.idle(m.clock.at) {
			m.drop(ks)
		}
	}
}

func (m *Machine) drop(ks *keyState) {
	if ks.index > 0 {
		heap.Remove(&m.heap, ks.index-1)
	}
	delete(ks.rs.keys, ks.key)
	delete(m.dirty.keys, ks)
	if m.dirty.gone == nil {
		m.dirty.gone = map[string]bool{}
	}
	m.dirty.gone[keyEntry(ks.rs.rule.Name, ks.key)] = true
	m.keys--
}

// idle reports whether a new state would do as well.
func (ks *keyState) idle(at moment) bool {
	if ks.was != nil && at-ks.last < forget {
		return false
	}
	if w := ks.rs.rule.When; w != nil {
		ks.counts.trim(at, w.Within)
		if w.NoData != 0 && !ks.silent {
			return false
		}
	}
	return len(ks.counts) == 0 && ks.armed == nil && !ks.holds && ks.cooldown <= at && ks.trailing == nil && ks.heal == nil
}

// sorted are the keys of a rule in their order.
func (rs *ruleState) sorted() []*keyState {
	return slices.SortedFunc(maps.Values(rs.keys), func(a, b *keyState) int { return strings.Compare(a.key, b.key) })
}
