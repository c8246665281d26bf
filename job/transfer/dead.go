package transfer

import (
	"errors"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/balance"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// dies makes a dead letter of a file in a queue.
func (f *file) dies(tx *store.Tx, q *queue.Queue, l queue.Lease, cause error) error {
	why := cause.Error()
	f.becomes(Dead, why)
	if hint := fault.HintOf(cause); hint != "" {
		why += "; " + hint
	}
	f.did(Died, of(q), 0, "%s", why)
	id, err := balance.Bury(tx, balance.DeadLetter{At: time.Now().UTC(), Stage: balance.AtTask, From: q.Name(), Key: string(f.Path),
		Reason: why, Raw: payload(f.ID)})
	if err != nil {
		return err
	}
	f.Letters = append(f.Letters, id)
	return q.Dead(tx, l, cause.Error())
}

// RetryDead queues a dead file once more while no job runs. It goes on with the step that failed, and is read anew if it
// failed before it was shipped.
func RetryDead(st *store.Store, letter uint64) error { return retryDead(st, letter, atRest(st)) }

// DiscardDead gives a dead file up while no job runs. It stays where it was brought already; its original is not touched, and
// is not taken in again.
func DiscardDead(st *store.Store, letter uint64, reason string) error {
	return discardDead(st, letter, reason, atRest(st))
}

// named gives a queue by its name.
type named func(name string) (*queue.Queue, error)

// atRest are the queues of a store that nobody works on.
func atRest(st *store.Store) named {
	return func(name string) (*queue.Queue, error) { return queue.Open(st, name, queue.Options{Lanes: lanes}) }
}

// named are the queues of a job at work.
func (j *Job) named(name string) (*queue.Queue, error) {
	for _, q := range j.queues() {
		if q.Name() == name {
			return q, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no destination of queue %s any more", name)
}

func retryDead(st *store.Store, letter uint64, queues named) error {
	return exhume(st, letter, queues, func(tx *store.Tx, f *file, q *queue.Queue, id uint64) error {
		if _, err := q.Revive(tx, id); err != nil {
			return err
		}
		f.Failures = 0
		f.did(Retried, of(q), 0, "")
		switch q.Name() {
		case prepareName:
			f.Hashed = time.Time{}
			f.becomes(Preparing, "")
		case afterName:
			f.becomes(f.ending(), "")
		default:
			f.becomes(Shipping, "")
		}
		return nil
	})
}

// ending is the state of a file that has a task in the last queue: something is to become of its original, or only of what the
// file holds.
func (f *file) ending() State {
	if f.Overwrite {
		return Known
	}
	for _, s := range slices.Backward(f.Steps) {
		switch ended := State(s.What); ended {
		case Known, Gone, Discarded:
			return ended
		}
	}
	return Finishing
}

func discardDead(st *store.Store, letter uint64, reason string, queues named) error {
	open, err := opened(st, letter, queues)
	if err != nil {
		return err
	}
	return exhume(st, letter, queues, func(tx *store.Tx, f *file, q *queue.Queue, id uint64) error {
		f.becomes(Discarded, reason)
		f.did(LetGo, of(q), 0, "%s", reason)
		if err := q.Drop(tx, id); err != nil {
			return err
		}
		return f.tidies(tx, open)
	})
}

// opened opens the queues that a dead file has to do with, before a transaction: inside of one, none can be opened.
func opened(st *store.Store, letter uint64, queues named) (named, error) {
	var f *file
	err := st.Latest(func(r store.Reader) error {
		d, err := balance.ReadDead(r, letter)
		if err != nil {
			return err
		}
		id, err := idOf(d.Raw)
		if err != nil {
			return fault.New(fault.Corrupt, "dead letter %d is of file %q", letter, d.Raw)
		}
		f, err = readFile(r, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	names := []string{afterName}
	for _, s := range f.To {
		names = append(names, shipPrefix+s.Name)
	}
	open := map[string]*queue.Queue{}
	for _, name := range names {
		q, err := queues(name)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		open[name] = q
	}
	return func(name string) (*queue.Queue, error) {
		if q := open[name]; q != nil {
			return q, nil
		}
		return nil, fault.New(fault.NotFound, "there is no destination of queue %s any more", name)
	}, nil
}

// exhume removes a dead letter and calls do for its file, in the queue in which it is dead.
func exhume(st *store.Store, letter uint64, queues named, do func(*store.Tx, *file, *queue.Queue, uint64) error) error {
	var d balance.DeadLetter
	err := st.Latest(func(r store.Reader) (err error) {
		d, err = balance.ReadDead(r, letter)
		return err
	})
	if err != nil {
		return err
	}
	q, err := queues(d.From)
	if err != nil {
		return err
	}
	return st.Update(func(tx *store.Tx) error {
		if _, err := balance.Exhume(tx, letter); err != nil {
			return err
		}
		id, err := idOf(d.Raw)
		if err != nil {
			return fault.New(fault.Corrupt, "dead letter %d is of file %q", letter, d.Raw)
		}
		f, err := readFile(tx, id)
		if err != nil {
			return err
		}
		fate, ok, err := q.Find(tx, f.keyIn(d.From))
		if err != nil {
			return err
		}
		if !ok || fate.ID == 0 {
			return fault.New(fault.Conflict, "%s is not dead in %s any more", f.Path, d.From)
		}
		f.Letters = slices.DeleteFunc(f.Letters, func(id uint64) bool { return id == letter })
		if err := do(tx, f, q, fate.ID); err != nil {
			return err
		}
		if len(f.Letters) > 0 {
			f.becomes(Dead, f.Why)
		}
		return f.put(tx)
	})
}

// supersede gives up the file that had the same path as one that was found, if it is dead and nowhere: it was changed since,
// so it can't be brought any more.
func (j *Job) supersede(tx *store.Tx, found Identity) error {
	var f *file
	for last, err := range filesOf(tx, pathsKey(string(found.Path)).U8(0)) {
		if err != nil {
			return err
		}
		f = last // those before it were let go when it came
		break
	}
	if f == nil || f.State != Dead || f.missing() < len(f.To) {
		return nil
	}
	for _, letter := range f.Letters {
		if err := j.withdraw(tx, f, letter); err != nil {
			return err
		}
	}
	f.Letters = nil
	f.becomes(Gone, wasChanged)
	f.did(WasGone, "", 0, "%s", wasChanged)
	if _, err := j.prepare.Forget(tx, f.key()); err != nil { // it is taken in again if it comes back
		return err
	}
	return errors.Join(f.tidies(tx, j.named), f.put(tx))
}

// withdraw removes a dead letter, and the task that it is about.
func (j *Job) withdraw(tx *store.Tx, f *file, letter uint64) error {
	d, err := balance.Exhume(tx, letter)
	if err != nil {
		return err
	}
	q, err := j.named(d.From)
	if fault.Is(err, fault.NotFound) { // the job no longer has that destination
		return nil
	}
	if err != nil {
		return err
	}
	fate, ok, err := q.Find(tx, f.keyIn(q.Name()))
	if err != nil || !ok || fate.ID == 0 {
		return err
	}
	return q.Drop(tx, fate.ID)
}
