package supervise

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

const (
	// mostOpen is how many decisions of one rule are worked on at once. Most of them wait: for a lock, for a place, for each
	// other.
	mostOpen = 64
	// mostLined is how many further decisions wait in memory, at some hundred bytes each; any more go back to the queue for a
	// while.
	mostLined = 4096
	backFor   = 30 * time.Second
)

// lines are the decisions that wait, in one line for each rule, so that a rule whose actions hang holds up no other rule.
type lines struct {
	mu    sync.Mutex             // guards what is below
	start func(queue.Lease, ask) // has somebody do it, and call next when it is over; nil while nothing is to begin
	all   map[string]*ruleLine
}

// ruleLine is the line of one rule. Whatever stands in it is leased: at the next start all of it is ready again.
type ruleLine struct {
	open  int             // how many are being worked on
	asked <-chan struct{} // closed when the one that was begun last has asked for what it needs
	ready []queue.Lease
	held  map[string][]queue.Lease // by the breaker that they wait for
	holds int                      // how many these are
}

// ask is the turn of a decision to ask for the locks of its actions. Decisions of one rule ask in the order in which they were
// made, however soon each of them is worked on.
type ask struct {
	turn <-chan struct{} // closed when those before it have asked; nil if there are none
	done func()          // it has asked, or will not
}

func newLines() *lines { return &lines{all: map[string]*ruleLine{}} }

// begin sets how decisions are started from now on; end stops starting any.
func (x *lines) begin(start func(queue.Lease, ask)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.start = start
}

func (x *lines) end() { x.begin(nil) }

// ruleOf is the rule of a decision. The key of its task is the name of the rule, a slash, and more.
func ruleOf(l queue.Lease) string {
	name, _, _ := strings.Cut(l.Key, "/")
	return name
}

func (x *lines) of(rule string) *ruleLine {
	r := x.all[rule]
	if r == nil {
		r = &ruleLine{held: map[string][]queue.Lease{}}
		x.all[rule] = r
	}
	return r
}

// add puts a decision in line; it returns false if there is no room for it now.
func (x *lines) add(l queue.Lease) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.of(ruleOf(l))
	if len(r.ready)+r.holds >= mostLined {
		return false
	}
	r.ready = append(r.ready, l)
	x.fill(r)
	return true
}

// next says that the work on a decision of a rule is over, and starts the next one.
func (x *lines) next(rule string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.of(rule)
	r.open--
	x.fill(r)
	if r.open == 0 && r.holds == 0 {
		delete(x.all, rule)
	}
}

// fill starts as many decisions of a rule as may be started. Called with mu held.
func (x *lines) fill(r *ruleLine) {
	for x.start != nil && r.open < mostOpen && len(r.ready) > 0 {
		l := r.ready[0]
		r.ready = r.ready[1:]
		r.open++
		asked := make(chan struct{})
		a := ask{r.asked, sync.OnceFunc(func() { close(asked) })}
		r.asked = asked
		x.start(l, a)
	}
}

// hold makes a decision wait for a breaker, ahead of those that were queued later, so that a decision that is tried again
// comes to its end. The caller is still working on it, and has to call next.
func (x *lines) hold(l queue.Lease, breaker string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.of(ruleOf(l))
	held := r.held[breaker]
	i, _ := slices.BinarySearchFunc(held, l, func(a, b queue.Lease) int { return cmp.Compare(a.ID, b.ID) })
	r.held[breaker] = slices.Insert(held, i, l)
	r.holds++
}

// breakersOf are the breakers that decisions of a rule wait for.
func (x *lines) breakersOf(rule string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r := x.all[rule]; r != nil {
		return slices.Collect(maps.Keys(r.held))
	}
	return nil
}

// free lets decisions that wait for a breaker go on: all of them, or the first.
func (x *lines) free(rule, breaker string, all bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.all[rule]
	if r == nil {
		return
	}
	held := r.held[breaker]
	n := len(held)
	if !all {
		n = min(n, 1)
	}
	r.ready = append(slices.Clone(held[:n]), r.ready...)
	r.holds -= n
	if r.held[breaker] = held[n:]; len(r.held[breaker]) == 0 {
		delete(r.held, breaker)
	}
	x.fill(r)
}

// nudge lets a decision that waits for a breaker be looked at now.
func (x *lines) nudge(group string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.all {
		for breaker, held := range r.held {
			if i := slices.IndexFunc(held, func(l queue.Lease) bool { return l.Key == group }); i >= 0 {
				r.ready = append(r.ready, held[i])
				r.held[breaker] = slices.Delete(held, i, i+1)
				r.holds--
				x.fill(r)
				return
			}
		}
	}
}

// giveBack gives decisions back to the queue for a while.
func (j *Job) giveBack(all []queue.Lease) error {
	if len(all) == 0 {
		return nil
	}
	return j.env.Store.Update(func(tx *store.Tx) error {
		for _, l := range all {
			if err := j.queue.Release(tx, l, backFor); err != nil {
				return err
			}
		}
		return nil
	})
}
