// Package decide says what follows from what was seen: it steps the states of rules, and gives decisions and actions.
//
// There is no I/O here, no goroutine and no clock: the same Step serves the job, the tests in rule files, a replay of
// history, and what explains a decision. What it gives depends on the state, the event and the time it is told alone.
//
// Everything that matches a rule, and every time that ran out, is one Decision: acted, or why not. Each is counted, and
// matched + due = acted + cooldown + limit + silence + stale + shadow + off + unmet + refused at all times.
//
// The state is kept by whoever calls: Changes gives the entries that are other than before, which are to be committed
// together with the watcher's position and the actions, and Load takes them back. If a commit fails the Machine is ahead of
// the store; it is thrown away, and another one loaded. An action has the same ID whenever it is decided (rule.CallID), so that
// what is decided again after a crash is the same action.
//
// Time is that of a clock of its own, to which it means nothing that the clock on the wall is set, forward or back: a cooldown is
// as long as it says. What happened is placed on it by its age, so that old lines of a backlog
// stand as far apart as they were written. After a Load nothing is concluded from what was not seen for the time of
// settling, because what came meanwhile is still being read.
//
// Called by job/supervise.
package decide

import (
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// Outcome is what became of one thing that a rule was about.
type Outcome uint8

// The outcomes.
const (
	Acted    Outcome = iota
	Cooldown         // the flood control of the key
	Limit            // of the rule, of all rules, of what our own actions cause, or of memory
	Silence          // a person said so
	Stale            // it was too old when it was read
	Shadow           // the rule only says what it would do
	Off              // the rule is off
	Unmet            // the condition was not met
	Refused          // what was seen can't become an argument
	outcomes
)

var outcomeNames = [...]string{"acted", "cooldown", "limit", "silence", "stale", "shadow", "off", "unmet", "refused"}

// String is the word for logs and metrics.
func (o Outcome) String() string { return outcomeNames[o] }

// suppressed reports whether the rule would have acted, but for flood control, limits, silences or age.
func (o Outcome) suppressed() bool { return o >= Cooldown && o <= Stale }

// Decision is what became of one thing that was seen, or of a time that ran out.
type Decision struct {
	Rule, Key string
	Event     string // the ID of what was seen, or of what began the time that ran out
	Time      time.Time
	Outcome   Outcome
	Reason    Reason
	Due       bool   // a time ran out
	Rung      int    // of the heal ladder, from 1; 0 for the first actions
	Caused    string // the ID of the action of ours that caused it
	// Calls are the actions; of Shadow those that would be.
	Calls []rule.Call
	// Facts are what was known when it was made.
	Facts *rule.Facts
}

// Healing is the end of a heal ladder.
type Healing struct {
	Rule, Key, Event string // of the actions that were to help
	Healed           bool
	Rungs            int // how many were climbed
}

// Result is what follows from one step.
type Result struct {
	Decisions []Decision
	// Calls are the actions to be queued: those of all decisions, except those that set a value, and those that tell people
	// that a limit was reached.
	Calls    []rule.Call
	Healings []Healing
	Silences []SilenceEnd
	Episodes []Episode
	// Full are the rules that have no room for more keys: from now on they forget one for each new one.
	Full []string
}

// Machine holds the states of all rules; for one goroutine at a time.
type Machine struct {
	set   *rule.Set
	clock clock
	rules map[string]*ruleState
	order []*ruleState
	subs  map[string]*subscription
	whole whole
	heap  dueHeap
	dirty dirty
	keys  int
	looks uint64 // how many there were

	loaded  bool   // it began with a state from before
	started bool   // the first step was
	start   moment // of that; a reload is no start
	settled moment // until then nothing is concluded from what was not seen
	unread  moment // until then what should have followed may be in the backlog still
	began   int64  // when this process did, by the clock on the wall
	ending  []ending
	out     Result
	room    room
}

// room is memory for what steps give, taken many at a time.
type room struct {
	decisions []Decision
	facts     []rule.Facts
}

// settling is how long after a start nothing is concluded from what was not seen. What should have followed a line that was
// written before the start is waited for equally long after that line is read, because the backlog is still being read. This
// ends after mostSettling, since lines may have a clock of their own.
const (
	settling     = 30 * time.Second
	mostSettling = 10 * time.Minute
)

// New returns a machine whose rules have seen nothing yet.
func New(set *rule.Set) *Machine {
	m := &Machine{set: set, rules: map[string]*ruleState{}, subs: map[string]*subscription{}, dirty: dirty{}, whole: newWhole()}
	for _, r := range set.Rules {
		rs := &ruleState{rule: r, keys: map[string]*keyState{}, main: main(r)}
		m.rules[r.Name] = rs
		m.order = append(m.order, rs)
	}
	m.subscribe()
	return m
}

// Step takes one event of the source with this ID. Events have to be given in the order in which the watcher tells them.
func (m *Machine) Step(source string, e *connector.Event, now time.Time) Result {
	m.begin(now)
	at := m.clock.place(e.Time, now)
	if sub := m.subs[source]; sub != nil {
		switch e.Kind {
		case connector.EventLine:
			if m.settled > 0 && e.Time.UnixNano() < m.began {
				m.unread = max(m.unread, min(m.clock.at+moment(settling), m.start+moment(mostSettling)))
			}
			m.line(sub, e, at)
		case connector.EventLook:
			m.look(sub, e, at)
		}
	}
	m.due(m.clock.at)
	return m.give()
}

// Tick lets the times run out that are over by now. It is to be called when Next says so, or later.
func (m *Machine) Tick(now time.Time) Result {
	m.begin(now)
	m.due(m.clock.at)
	return m.give()
}

// Next returns how long after the last step the next time runs out; false if there is none.
func (m *Machine) Next() (time.Duration, bool) {
	next, ok, _ := m.nextEnd()
	if len(m.heap) > 0 && (!ok || m.heap[0].due < next) {
		next, ok = m.heap[0].due, true
	}
	return max(0, time.Duration(next-m.clock.at)), ok
}

// Pass lets time pass up to a moment as the job does, with a tick whenever a time runs out. It is for tests, and for the
// replay of history.
func (m *Machine) Pass(until time.Time, take func(Result)) {
	for {
		now := time.Unix(0, m.clock.wall)
		wait, ok := m.Next()
		if !ok || !m.started || now.Add(wait).After(until) {
			break
		}
		take(m.Tick(now.Add(wait)))
	}
	take(m.Tick(until))
}

// begin sets the clock, and empties what the last step gave.
func (m *Machine) begin(now time.Time) {
	m.out = Result{}
	m.clock.set(now)
	m.dirty.clock = true
	if m.started {
		return
	}
	m.started = true
	if m.began == 0 {
		m.began = now.UnixNano()
	}
	if m.start == 0 {
		m.start = m.clock.at
	}
	if m.loaded {
		m.settled = m.clock.at + moment(settling)
	}
	m.goOn()
	for _, rs := range m.order {
		m.sameRule(rs)
		rs.arrange()
		m.await(rs)
		for _, ks := range rs.keys {
			ks.unsure = !ks.sure
			m.schedule(ks)
		}
	}
}

// moment is a time by the machine's own clock: nanoseconds since 1970, as if the clock on the wall had never been set back.
type moment int64

// clock goes forward as time does. While the process lives it follows the monotonic clock that a time.Time carries. Between
// two processes, and for times without one, it follows the clock on the wall, and stands still when that is set back.
type clock struct {
	at   moment
	wall int64     // nanoseconds since 1970, as it was told last
	told time.Time // what it was told last; zero if that was another process
}

func (c *clock) set(now time.Time) {
	wall := now.UnixNano()
	switch {
	case c.wall == 0:
		c.at = moment(wall)
	case !c.told.IsZero():
		c.at += moment(max(0, now.Sub(c.told)))
	case wall > c.wall:
		c.at += moment(wall - c.wall)
	}
	c.wall, c.told = wall, now
}

// place returns the moment of something that happened at a time, by its age now. What claims to be of the future is taken to
// be of now.
func (c *clock) place(happened, now time.Time) moment {
	if happened.IsZero() {
		return c.at
	}
	return c.at - moment(max(0, now.Sub(happened)))
}

// time returns what the clock on the wall shows at a moment.
func (c *clock) time(at moment) time.Time { return time.Unix(0, c.wall-int64(c.at-at)) }
