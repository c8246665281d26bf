package supervise

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

const (
	// breaks is how many attempts in a row must fail to open a breaker.
	breaks = 5
	// breakFor is how long it stays open at first; then one attempt is made, and if that fails, it is twice as long, until
	// longestBreak.
	breakFor     = time.Minute
	longestBreak = 10 * time.Minute
	mostCause    = 300 // bytes
)

// Breaker is what is known of an action of a rule whose last attempt failed. While it is open, whatever is to be done by that
// action waits; nothing of it is given up.
type Breaker struct {
	Rule string `json:"rule"`
	List string `json:"list"` // where the action stands in the rule
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"` // an action on another unit has a breaker of its own
	What string `json:"what"`           // the action in a few words
	// Failures are the attempts that failed in a row, and Cause is what the last one said.
	Failures int    `json:"failures"`
	Cause    string `json:"cause"`
	// Until is when the next attempt is made, if it is open; Times is how often it was opened in a row.
	Until time.Time `json:"until,omitzero"`
	Times int       `json:"times,omitempty"`
}

func breakerOf(c *rule.Call) string {
	return c.Rule + "\x00" + c.List + "\x00" + c.Name + "\x00" + c.Unit
}

func ruleOfBreaker(id string) string {
	rule, _, _ := strings.Cut(id, "\x00")
	return rule
}

func breakerKey(id string) store.Key { return key('B').Str(id) }

// title is its name in the status and the history.
func (b *Breaker) title() string {
	return fmt.Sprintf("%s %s[%s]: %s", b.Rule, b.List, b.Name, b.What)
}

// shortly says what kind of action a call is, without the words that differ from one call to the next.
func shortly(c *rule.Call) string {
	switch {
	case c.Run != nil:
		return path.Base(c.Run[0])
	case c.HTTP != nil:
		return "http " + c.HTTP.Method
	case c.Notify != "":
		return "notify " + c.Notify
	}
	return c.Words()
}

// breakers are the breakers of a job. They are in memory, and kept in the store beside the actions; after a start, what memory
// says counts.
type breakers struct {
	breakFor time.Duration
	onChange func(gate.Status)
	// due is called when decisions that wait for a breaker may go on: all of them, or one as a trial. mu is not held then.
	due func(id string, all bool)

	mu  sync.Mutex               // guards what is below
	all map[string]*breakerState // by breakerOf; after a success there is none
}

type breakerState struct {
	Breaker
	gate    *gate.Gate  // closed while the breaker is open; nil if it never was
	probing bool        // the one attempt is being made that an open breaker allows
	alarm   *time.Timer // rings at Until
	waited  bool        // Until is over
}

func newBreakers(breakFor time.Duration, onChange func(gate.Status), due func(id string, all bool)) *breakers {
	return &breakers{breakFor: breakFor, onChange: onChange, due: due, all: map[string]*breakerState{}}
}

// uses reports whether the rules have an action that a breaker is of. What tells people of a limit or a ladder stands in no list,
// and belongs to its rule as a whole. Called with mu held, or before Run.
func (j *Job) uses(b *Breaker) bool {
	r := j.set.Rule(b.Rule)
	return r != nil && (b.List == "" || r.Has(b.List, b.Name, b.Unit))
}

// loadBreakers reads the breakers back from a store, except those of actions that no longer exist.
func (j *Job) loadBreakers(tx *store.Tx) error {
	entries, failed := tx.Scan(key('B'), key('B').End())
	for k, v := range entries {
		b := &breakerState{}
		// One that can't be read may be of before there were units in it.
		if err := json.Unmarshal(v, &b.Breaker); err != nil || b.Rule == "" || !j.uses(&b.Breaker) {
			tx.Delete(store.Key(nil).Raw(k))
			continue
		}
		j.breakers.all[string(k[2:])] = b
	}
	return failed()
}

// begin shows the breakers that are open, and starts waiting for their next attempts.
func (x *breakers) begin() {
	var open []func()
	x.mu.Lock()
	for id, b := range x.all {
		if !b.Until.IsZero() {
			// A clock that was set meanwhile makes none last longer.
			b.Until = earlier(b.Until, time.Now().Add(longestBreak))
			x.show(id, b)
			open = append(open, b.teller())
		}
	}
	x.mu.Unlock()
	for _, tell := range open {
		tell()
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// end stops all waiting.
func (x *breakers) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.all {
		if b.alarm != nil {
			b.alarm.Stop()
		}
	}
}

// show makes an open breaker visible in the status, and sets the timer of its next attempt. Called with mu held.
func (x *breakers) show(id string, b *breakerState) {
	if b.gate == nil {
		b.gate = gate.New(b.title(), gate.Options{OnChange: x.onChange})
	}
	wait := max(0, time.Until(b.Until))
	b.waited = false
	if b.alarm != nil {
		b.alarm.Stop()
	}
	b.alarm = time.AfterFunc(wait, func() {
		x.mu.Lock()
		b.waited = true
		x.mu.Unlock()
		x.due(id, false)
	})
}

// teller returns the function that tells people that a breaker is open. It is made with mu held, and called without.
func (b *breakerState) teller() func() {
	g, is := b.gate, b.Breaker
	return func() {
		err := fault.New(fault.Throttled, "failed %s in a row, and what is to be done waits: %s", plural.Of(is.Failures, "time"),
			is.Cause)
		g.Report(fault.WithHint(fault.WithWait(err, time.Until(is.Until)),
			"mend what it calls; it is tried at %s, and at once if one of its actions is repeated",
			is.Until.UTC().Format(time.RFC3339)))
	}
}

// mayTry reports whether an action may be tried now. While its breaker is open only one attempt at a time is allowed, and only
// when it is due. A caller that sets begin starts that attempt, and must say how it went by judge or notTried.
func (x *breakers) mayTry(id string, begin bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.all[id]
	switch {
	case b == nil || b.Until.IsZero():
		return true
	case b.probing || !b.waited:
		return false
	}
	b.probing = begin
	return true
}

// notTried says that an attempt that was begun was not made.
func (x *breakers) notTried(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.all[id]; b != nil {
		b.probing = false
	}
}

// tryHeld lets one of the decisions go on that wait for a breaker of a rule, if an attempt is due and nobody makes it: the
// decision that was to make it may have been given up.
func (j *Job) tryHeld(rule string) {
	for _, id := range j.lines.breakersOf(rule) {
		if j.breakers.mayTry(id, false) {
			j.lines.free(rule, id, false)
		}
	}
}

// judge records how an attempt went. It returns what has to be written to the store, and what has to be done once it is there.
func (x *breakers) judge(c *rule.Call, failed string) (entry []byte, then func(), err error) {
	id := breakerOf(c)
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.all[id]
	if failed == "" {
		if b == nil {
			return nil, func() {}, nil
		}
		delete(x.all, id)
		if b.alarm != nil {
			b.alarm.Stop()
		}
		g := b.gate
		return nil, func() {
			if g != nil {
				g.OpenByHand()
				x.due(id, true)
			}
		}, nil
	}
	if b == nil {
		b = &breakerState{Breaker: Breaker{Rule: c.Rule, List: c.List, Name: c.Name, Unit: c.Unit, What: shortly(c)}}
		x.all[id] = b
	}
	b.Failures++
	b.Cause = head(failed, mostCause)
	then = func() {}
	// Attempts that were already under way when the breaker was opened say nothing new.
	if wasProbe := b.probing; b.Failures >= breaks && (b.Until.IsZero() || wasProbe) {
		b.probing = false
		b.Until = time.Now().Add(min(x.breakFor<<min(b.Times, 8), longestBreak)).UTC()
		b.Times++
		x.show(id, b)
		then = b.teller()
	}
	entry, err = json.Marshal(b.Breaker)
	return entry, then, err
}

// hurry makes the next attempt due at once, because a person has mended something.
func (x *breakers) hurry(id string) (entry []byte, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.all[id]
	if b == nil || b.Until.IsZero() {
		return nil, nil
	}
	b.Until, b.Times = time.Now().UTC(), 0
	if b.gate != nil {
		x.show(id, b)
	}
	b.waited = true
	return json.Marshal(b.Breaker)
}

// gates are the open breakers, as the status and the metrics show them.
func (x *breakers) gates() (all []gate.Status) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.all {
		if b.gate != nil {
			all = append(all, b.gate.Status())
		}
	}
	slices.SortFunc(all, func(a, b gate.Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// forget drops the breakers of actions that no longer exist, and returns their IDs with their gates, nil if none was closed.
func (x *breakers) forget(used func(*Breaker) bool) (gone map[string]*gate.Gate) {
	x.mu.Lock()
	defer x.mu.Unlock()
	gone = map[string]*gate.Gate{}
	for id, b := range x.all {
		if used(&b.Breaker) {
			continue
		}
		if b.alarm != nil {
			b.alarm.Stop()
		}
		delete(x.all, id)
		gone[id] = b.gate
	}
	return gone
}
