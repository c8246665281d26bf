package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"holdfast/kernel/store"
)

// The steps of a job, and who does them where several work at once.
const (
	pageLeft     = "page left"
	pageRight    = "page right"
	deliverMain  = "deliver to main"
	deliverSide  = "deliver to side"
	expireMain   = "expire for main"
	expireSide   = "expire for side"
	retryLetter  = "retry"
	discardALett = "discard"
	replayMain   = "replay to main"
	replaySide   = "replay to side"
	damageBlock  = "damage"
	trimSpool    = "trim"
	noteLazily   = "note lazily"
	noteDurably  = "note"
	lookAround   = "look"
	auditBooks   = "audit"
	putTask      = "put"
	workOne      = "work"
	workTwo      = "work too"
	decideTask   = "revive or drop"
	makePoint    = "checkpoint"
	sleepShort   = "sleep 100ms"
	sleepLazy    = "sleep 600ms"
	sleepFlush   = "sleep 11s"
)

// workers says which goroutine does a step: sources and sinks have one each, as in a collect job.
var workers = map[string]int{pageLeft: 0, expireMain: 0, pageRight: 1, expireSide: 1, deliverMain: 2,
	deliverSide: 3, replayMain: 2, replaySide: 3, retryLetter: 4, discardALett: 4, damageBlock: 4, trimSpool: 5, noteLazily: 6,
	noteDurably: 6, putTask: 6, workOne: 8, workTwo: 9, decideTask: 8, makePoint: 5, lookAround: 7, auditBooks: 7, sleepShort: 4, sleepLazy: 5, sleepFlush: 5}

const workerCount = 10

// often lists the steps as often as they come.
var often = func() []string {
	weights := []struct {
		step string
		n    int
	}{{pageLeft, 8}, {pageRight, 5}, {deliverMain, 9}, {deliverSide, 9}, {replayMain, 2}, {replaySide, 2},
		{expireMain, 1}, {expireSide, 1},
		{retryLetter, 3}, {discardALett, 1}, {damageBlock, 1}, {trimSpool, 3}, {noteLazily, 5},
		{noteDurably, 2}, {putTask, 6}, {workOne, 5}, {workTwo, 3}, {decideTask, 1}, {makePoint, 1}, {lookAround, 5}, {auditBooks, 2}, {sleepShort, 1}, {sleepLazy, 1},
		{sleepFlush, 1}}
	var all []string
	for _, w := range weights {
		for range w.n {
			all = append(all, w.step)
		}
	}
	return all
}()

// do does one step. patience is how long a delivery is waited for.
func (j *job) do(step string, r *rand.Rand, patience time.Duration) error {
	switch step {
	case pageLeft:
		return j.page(0, r)
	case pageRight:
		return j.page(1, r)
	case deliverMain:
		return j.deliver(0, r, patience, false)
	case deliverSide:
		return j.deliver(1, r, patience, false)
	case replayMain:
		return j.replay(0, r)
	case replaySide:
		return j.replay(1, r)
	case expireMain:
		return j.expire(0, r)
	case expireSide:
		return j.expire(1, r)
	case retryLetter:
		return j.dead(r, aRetry)
	case discardALett:
		return j.dead(r, aDiscard)
	case damageBlock:
		return j.damage(r)
	case trimSpool:
		return j.trim(r)
	case noteLazily, noteDurably:
		return j.note(step == noteLazily)
	case putTask:
		return j.put(r)
	case workOne, workTwo:
		return j.labour(r, patience, false)
	case decideTask:
		return j.decide(r)
	case makePoint:
		return j.copy()
	case lookAround:
		return j.look()
	case auditBooks:
		return j.audit()
	case sleepShort:
		time.Sleep(100 * time.Millisecond)
	case sleepLazy:
		return j.outlast()
	case sleepFlush:
		time.Sleep(11 * time.Second)
	default:
		return fmt.Errorf("unknown step %q", step)
	}
	return nil
}

// outlast waits until what is committed now, lazily or not, must be durable.
func (j *job) outlast() error {
	var n uint64
	err := j.st.Latest(func(r store.Reader) (err error) {
		n, err = readJournal(r)
		return err
	})
	time.Sleep(600 * time.Millisecond)
	if err != nil || j.w.model == nil {
		return err // a child, where time is real and a disk may be slow
	}
	return j.w.tell(event{What: shown, N: n})
}

// run does steps, one after the other or each worker his own at the same time, until they are done or
// the power is cut.
func (j *job) run(steps []string, seed uint64, together bool, patience time.Duration) error {
	if !together {
		return j.work(steps, rand.New(rand.NewPCG(seed, 0)), patience)
	}
	var mine [workerCount][]string
	for _, s := range steps {
		mine[workers[s]] = append(mine[workers[s]], s)
	}
	var errs [workerCount]error
	var wg sync.WaitGroup
	for i := range mine {
		wg.Go(func() { errs[i] = j.work(mine[i], rand.New(rand.NewPCG(seed, uint64(i))), patience) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func (j *job) work(steps []string, r *rand.Rand, patience time.Duration) error {
	for _, s := range steps {
		err := j.do(s, r, patience)
		if errors.Is(err, errDown) || j.w.isDown() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// finish delivers all that is pending and does all tasks, and checks that everything is where the books
// say.
func (j *job) finish(r *rand.Rand) error {
	for s := range j.sinks {
		err := j.drain(sinkNames[s], func() (int64, error) {
			f, err := j.flow(s)
			return f.Pending, err
		}, func() error { return j.deliver(s, r, 10*time.Second, true) })
		if err != nil {
			return err
		}
	}
	err := j.drain("queue", func() (left int64, err error) {
		err = j.st.View(context.Background(), func(r store.Reader) error {
			c, err := j.queue.Counts(r)
			left = int64(c.Ready + c.Leased + c.Waiting)
			return err
		})
		return left, err
	}, func() error { return j.labour(r, 10*time.Second, true) })
	if err != nil {
		return err
	}
	return j.verified(func(m *model) error { return m.finished(j.w) })
}

// drain works until nothing is left.
func (j *job) drain(what string, left func() (int64, error), work func() error) error {
	for n := 0; ; n++ {
		more, err := left()
		if err != nil || more == 0 {
			return err
		}
		if n > 20_000 {
			return fmt.Errorf("%s: %d are left after %d steps", what, more, n)
		}
		if err := work(); err != nil {
			return err
		}
	}
}
