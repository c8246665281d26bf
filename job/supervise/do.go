package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// drainFor is how long actions that are being done have to end when the job ends.
const drainFor = 5 * time.Second

var errOver = errors.New("supervise is stopping")

// act leases decisions and starts workers that do their actions, until ctx ends.
//
// Those that are being done then have some time to end; the rest begins at the next start.
func (j *Job) act(ctx context.Context) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		drain := time.AfterFunc(drainFor, func() { cancel(errOver) })
		context.AfterFunc(work, func() { drain.Stop() })
	})()
	var group sync.WaitGroup
	defer group.Wait()
	j.lines.begin(func(lease queue.Lease, a ask) {
		group.Go(func() {
			defer func() {
				a.done()
				j.tryHeld(ruleOf(lease))
				j.lines.next(ruleOf(lease))
			}()
			if err := fault.Catch(func() error { return j.doGroup(ctx, work, lease, a) }); err != nil {
				j.fail(fmt.Errorf("do what was decided: %w", err))
			}
		})
	})
	defer j.lines.end()
	j.breakers.begin()
	defer j.breakers.end()
	const atOnce = 64
	for {
		leases, err := j.queue.LeaseMany(ctx, atOnce)
		if err == nil {
			err = j.giveBack(slices.DeleteFunc(leases, j.lines.add))
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, queue.ErrClosed) {
				j.fail(fmt.Errorf("lease an action: %w", err))
			}
			return
		}
	}
}

// doGroup does the actions of one decision, in the order that they depend on each other. Then it ends the task, or puts it off
// until the actions that failed are due again. It returns errors of the store alone: how the actions went is in their records.
func (j *Job) doGroup(ctx, work context.Context, lease queue.Lease, a ask) error {
	g := &doing{j: j, work: work, ask: a, tried: map[*Record]bool{}, held: map[*Record]string{}}
	g.ended = sync.NewCond(&g.mu)
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		g.records, err = readGroup(r, lease.Key)
		return err
	})
	if err != nil {
		return err
	}
	if err := g.after(); err != nil { // what another process of ours had begun
		return err
	}
	var group sync.WaitGroup
	for _, rec := range g.records {
		if rec.State == Queued && len(rec.Call.After) == 0 {
			g.asking++
		}
	}
	for _, rec := range g.records {
		if rec.State == Queued {
			group.Go(func() { g.one(ctx, rec) })
		}
	}
	group.Wait()
	if g.failed != nil || g.broken {
		return g.failed // what was broken off, or did not begin, is found at the next start
	}
	breaker := ""
	err = j.env.Store.Update(func(tx *store.Tx) (err error) {
		breaker, err = g.over(tx, lease)
		return err
	})
	if breaker != "" {
		j.lines.hold(lease, breaker)
		if j.breakers.mayTry(breaker, false) { // it was closed just now
			j.lines.free(ruleOf(lease), breaker, true)
		}
	}
	return err
}

// doing is a decision whose actions are being done.
type doing struct {
	j       *Job
	work    context.Context // in which actions are done
	ask     ask
	mu      sync.Mutex // guards what is below, and the states of the records
	ended   *sync.Cond // one of the records is in another state
	records []*Record
	tried   map[*Record]bool   // it failed, and is tried again later
	held    map[*Record]string // it waits for this breaker
	asking  int                // of those that come first have not asked for their locks yet
	broken  bool               // the job ends, and something was not done to its end
	failed  error              // of the store
}

// after deals with actions that another process had begun, or that were queued in another life of the store: nobody knows what
// became of them.
func (g *doing) after() error {
	for _, rec := range g.records {
		c := &rec.Call
		begun := rec.State == Running && rec.Epoch != g.j.epoch
		if !begun && (rec.State != Queued || rec.Life == g.j.life) {
			continue
		}
		note := "it was being done when Holdfast ended"
		if !begun {
			note = "it was queued before a restore"
		}
		was := rec.State
		rec.State, rec.Note, rec.Life = Queued, note, g.j.life
		if c.Unknown != rule.Repeat {
			rec.State = Unknown
		}
		if err := g.j.env.Store.Update(func(tx *store.Tx) error { return putRecord(tx, rec, was) }); err != nil {
			return err
		}
		g.j.tellUnknown(rec)
	}
	return nil
}

// tellUnknown tells people of an action of which nobody knows whether it was done.
func (j *Job) tellUnknown(rec *Record) {
	what := fmt.Sprintf("say what becomes of it: `holdfast supervise repeat %d` or `abandon %d`", rec.Number, rec.Number)
	if rec.State == Queued {
		what = "it is done again, as its rule says"
	}
	j.env.History.Warn("action.unknown", "%s: outcome unknown: %s; %s", rec.title(), rec.Note, what)
}

// one does one action, once the actions that it comes after have succeeded.
func (g *doing) one(ctx context.Context, rec *Record) {
	asked := sync.OnceFunc(func() { g.asked(rec) })
	err := fault.Catch(func() error { return g.try(ctx, rec, asked) })
	asked()
	g.mu.Lock()
	defer g.mu.Unlock()
	if errors.Is(err, errOther) {
		err = nil
	}
	if errors.Is(err, errOver) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		g.broken, err = true, nil
	}
	g.failed = errors.Join(g.failed, err)
	g.ended.Broadcast()
}

// asked notes that an action has asked for its locks, or will not.
func (g *doing) asked(rec *Record) {
	if len(rec.Call.After) > 0 {
		return
	}
	g.mu.Lock()
	g.asking--
	last := g.asking == 0
	g.mu.Unlock()
	if last {
		g.ask.done()
	}
}

// try does an action once. If the job ends before that, it returns errOver or the cause of ctx.
func (g *doing) try(ctx context.Context, rec *Record, asked func()) error {
	if ok, err := g.turn(ctx, rec); !ok {
		return err
	}
	j, c := g.j, &rec.Call
	breaker := breakerOf(c)
	if !j.breakers.mayTry(breaker, false) {
		return g.hold(rec, breaker)
	}
	if len(c.After) == 0 && g.ask.turn != nil {
		select {
		case <-g.ask.turn:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	place := j.locks.ask(locksOf(c))
	asked()
	release, err := j.locks.take(ctx, place)
	if err != nil {
		return err
	}
	defer release()
	leave, err := j.places.take(ctx, c.Rule)
	if err != nil {
		return err
	}
	defer leave()
	if !j.breakers.mayTry(breaker, true) {
		return g.hold(rec, breaker)
	}
	rec.Epoch, rec.Note = j.epoch, ""
	rec.Tries++
	if err := g.become(rec, Running, nil); err != nil {
		j.breakers.notTried(breaker)
		return err
	}
	o, err := j.tools.Do(g.work, c)
	if err != nil {
		return err
	}
	rec.Last = &o
	entry, then, err := j.breakers.judge(c, o.Failed)
	if err != nil {
		return err
	}
	defer then()
	keep := func(tx *store.Tx) error {
		if entry == nil {
			tx.Delete(breakerKey(breaker))
		} else {
			tx.Set(breakerKey(breaker), entry)
		}
		return nil
	}
	switch {
	case o.Failed == "":
		return g.ends(rec, Done, "", keep)
	case o.Unknown && c.Unknown != rule.Repeat:
		return g.ends(rec, Unknown, o.Failed, keep)
	case o.Again && rec.Tries <= c.Retries:
		return g.ends(rec, Queued, fmt.Sprintf("try %d of %d failed: %s", rec.Tries, c.Retries+1, o.Failed), keep)
	}
	return g.ends(rec, Failed, o.Failed, keep)
}

// hold makes an action wait for its breaker.
func (g *doing) hold(rec *Record, breaker string) error {
	const note = "it waits, because it failed several times in a row: `holdfast status` says when it is tried again"
	g.mu.Lock()
	g.held[rec] = breaker
	g.mu.Unlock()
	if rec.Note == note {
		return nil
	}
	rec.Note = note
	return g.become(rec, Queued, nil)
}

// turn waits until the actions that rec comes after have ended, and reports whether rec may run then. It is skipped if one of
// them has failed for good; if one of them is tried again later, rec waits with it.
func (g *doing) turn(ctx context.Context, rec *Record) (bool, error) {
	defer context.AfterFunc(ctx, g.ended.Broadcast)()
	first, ready := g.wait(ctx, rec)
	if first != nil {
		return false, g.ends(rec, Skipped, fmt.Sprintf("%s, which comes before it, was not done", first.Call.Words()), nil)
	}
	return ready, context.Cause(ctx)
}

// wait waits until an action may run. If that can never be, it returns the action that keeps it from running.
func (g *doing) wait(ctx context.Context, rec *Record) (first *Record, ready bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ctx.Err() == nil && g.failed == nil && !g.broken {
		ready = true
		for _, other := range g.records {
			if !slices.Contains(rec.Call.After, other.Call.Name) {
				continue
			}
			switch s := other.State; {
			case s == Failed || s == Skipped || s == Abandoned:
				return other, false
			case s == Unknown || g.tried[other] || g.held[other] != "":
				return nil, false
			case s != Done:
				ready = false
			}
		}
		if ready {
			return nil, true
		}
		g.ended.Wait()
	}
	return nil, false
}

// errOther says that a person has changed the state of the action meanwhile.
var errOther = errors.New("a person decided otherwise")

// become sets the state of an action, and commits what also follows from it in the same transaction. It returns errOther if a
// person was quicker; the action stays as that person left it.
func (g *doing) become(rec *Record, s State, also func(*store.Tx) error) error {
	g.mu.Lock()
	was := rec.State
	rec.State = s
	g.mu.Unlock()
	other := was
	err := g.j.env.Store.Update(func(tx *store.Tx) error {
		now, known, err := ReadRecord(tx, rec.Call.ID)
		switch {
		case err != nil:
			return err
		case known && now.State != was:
			other = now.State
			return nil
		case known:
			rec.Healed = now.Healed // it may have been seen to help before its program was at its end
		}
		if err := putRecord(tx, rec, was); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err == nil && other != was {
		g.mu.Lock()
		rec.State = other
		g.mu.Unlock()
		return errOther
	}
	return err
}

// ends sets the state that an action has after an attempt, and tells of it.
func (g *doing) ends(rec *Record, s State, note string, also func(*store.Tx) error) error {
	rec.Note = note
	if err := g.become(rec, s, also); err != nil {
		return err
	}
	g.mu.Lock()
	g.tried[rec] = s == Queued
	g.mu.Unlock()
	g.j.tellOf(rec)
	return nil
}

// tellOf tells people how an action went.
func (j *Job) tellOf(rec *Record) {
	h := j.env.History
	switch {
	case rec.State == Done:
		h.Note("action.done", "%s: done in %v", rec.title(), rec.Last.Took.Round(time.Millisecond))
		if n := rec.Last.Left; n > 0 {
			h.Warn("action.left", "%s: it left %s behind, which had to be killed", rec.title(), processes(n))
		}
	case rec.State == Unknown:
		j.tellUnknown(rec)
	case rec.State == Skipped:
		h.Warn("action.skipped", "%s: not done: %s", rec.title(), rec.Note)
	case rec.State == Queued:
		h.Note("action.retried", "%s: %s", rec.title(), rec.Note)
	default:
		h.Warn("action.failed", "%s: failed: %s", rec.title(), rec.Note)
	}
}

func processes(n int) string {
	if n == 1 {
		return "a process"
	}
	return fmt.Sprintf("%d processes", n)
}

// leftover kills the programs that an earlier process of ours left running.
func (j *Job) leftover() {
	n, err := j.tools.Leftover()
	if n > 0 {
		j.env.History.Warn("action.left", "%s of actions that were under way when Holdfast ended ran on, and had to be killed",
			processes(n))
	}
	if err != nil {
		j.env.Log.Warn(fmt.Sprintf("look for what earlier actions left running: %v", err))
	}
}

// title is the name of an action in events.
func (r *Record) title() string {
	return fmt.Sprintf("action %d of rule %s%s: %s", r.Number, r.Call.Rule, ofKey(r.Call.Key), r.Call.Words())
}

// locksOf are the locks of an action: those that its rule names, and the unit that it changes.
func locksOf(c *rule.Call) []string {
	all := slices.Clone(c.Lock)
	if c.Unit != "" {
		all = append(all, "unit "+c.Unit)
	}
	return all
}

// secrets returns the request with its secrets, which are not kept in the store: they are what the rule says now.
func (j *Job) secrets(c *rule.Call) (*rule.Request, error) {
	j.mu.Lock()
	set := j.set
	j.mu.Unlock()
	return set.Secrets(c)
}
