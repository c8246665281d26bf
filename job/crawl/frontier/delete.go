package frontier

import (
	"context"
	"errors"
	"slices"
	"sync"

	"holdfast/kernel/store"
)

// StatusDeleted is the status of a URL that a person deleted, Heritrix's.
const StatusDeleted = -6000

// Deletion says which of the URLs that are still to be fetched are deleted. Those in flight stay.
type Deletion struct {
	// Queue is the host; "" is all.
	Queue string
	// Match says which of them; nil is all.
	Match func(url string) bool
	// Forget makes them count as new when they are found again. Otherwise they are known as Left, with StatusDeleted.
	Forget bool
	// Commit, if it is not nil, deletes URLs by a transaction of its own, in which it calls remove with a Batch that it begins
	// and writes. Before that it may write down elsewhere what is deleted: nobody takes these URLs meanwhile. It is called
	// once for each thousand of them.
	Commit func(gone []QueuedURL, remove func(b *Batch) error) error
}

// urlsOfDeletion is how many URLs are deleted in one transaction.
const urlsOfDeletion = 1000

// Delete deletes URLs, and returns how many. Each of its transactions is complete: after a crash some URLs are deleted, and
// the counters say so; another call deletes the rest. URLs that are added meanwhile may stay.
func (f *Frontier) Delete(ctx context.Context, d Deletion) (deleted int, err error) {
	if d.Match == nil {
		d.Match = func(string) bool { return true }
	}
	if d.Commit == nil {
		d.Commit = f.commit
	}
	f.deleting.Lock()
	defer f.deleting.Unlock()
	var from store.Key
	for first := true; first || from != nil; first = false {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		var some []QueuedURL
		if some, from, err = f.page(d.Queue, from, urlsOfDeletion, d.Match); err != nil {
			return deleted, err
		}
		n, err := f.delete(some, d)
		if deleted += n; err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// commit deletes URLs by a transaction that does nothing else.
func (f *Frontier) commit(_ []QueuedURL, remove func(b *Batch) error) error {
	return f.st.Update(func(tx *store.Tx) error {
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		if err := remove(b); err != nil {
			return err
		}
		return b.Write()
	})
}

// delete deletes URLs, except those that have been taken or removed meanwhile. From doom on nobody takes them, so that what
// Commit writes elsewhere is true.
func (f *Frontier) delete(some []QueuedURL, d Deletion) (int, error) {
	some = f.doom(some)
	defer f.spare()
	var err error
	if some, err = f.there(some); err != nil || len(some) == 0 {
		return 0, err
	}
	err = d.Commit(some, func(b *Batch) error { return b.delete(some, d.Forget) })
	if err == nil {
		return len(some), nil
	}
	f.spare()
	return 0, errors.Join(err, f.st.Update(func(tx *store.Tx) error { // their hosts may be asked again
		var ids []uint32
		for _, u := range some {
			ids = append(ids, u.host)
		}
		return f.touch(tx, ids...)
	}))
}

// doom makes Take pass URLs over from now on, and returns those that nobody has taken.
func (f *Frontier) doom(some []QueuedURL) []QueuedURL {
	f.mu.Lock()
	defer f.mu.Unlock()
	some = slices.DeleteFunc(some, func(u QueuedURL) bool {
		h := f.hosts[u.host]
		return u.State == Queued && h != nil && slices.ContainsFunc(h.flying, func(l *Lease) bool { return l.at == placeOf(u.key) })
	})
	for _, u := range some {
		f.doomed.add(u.key)
		if h := f.hosts[u.host]; h != nil {
			h.ahead = nil
		}
	}
	return some
}

// spare ends what doom began: URLs are taken again, those that are put off too.
func (f *Frontier) spare() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.doomed.clear() {
		return
	}
	f.waiting = 1 // when the first one is due is looked up
	f.tell()
}

// doomed holds the keys of URLs that are about to be deleted, and that others have to leave where they are. Its lock is held
// for nothing else, so that transactions may use it.
type doomed struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (d *doomed) add(k []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys == nil {
		d.keys = map[string]bool{}
	}
	d.keys[string(k)] = true
}

func (d *doomed) has(k []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[string(k)]
}

// clear reports whether there were any.
func (d *doomed) clear() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := len(d.keys) > 0
	clear(d.keys)
	return was
}

// there returns those of the URLs that still are where they were. It does so in a transaction, which writes nothing: when that
// has its turn, every transaction is over that could have removed one before it was doomed.
func (f *Frontier) there(some []QueuedURL) (left []QueuedURL, err error) {
	err = f.st.Update(func(tx *store.Tx) error {
		for _, u := range some {
			ok, err := tx.Look(u.key, func([]byte) error { return nil })
			if err != nil {
				return err
			}
			if ok {
				left = append(left, u)
			}
		}
		return nil
	})
	return left, err
}

// delete takes URLs out of their queues, or out of those that are put off.
func (b *Batch) delete(all []QueuedURL, forget bool) error {
	for _, u := range all {
		h, err := b.host(u.host)
		if err != nil {
			return err
		}
		if u.State == Queued {
			b.remove(h, u.host, placeOf(u.key))
		} else {
			b.tx.Delete(u.key)
			h.waiting--
			b.counts.Waiting--
		}
		if !forget {
			err = b.end(h, u.Key, u.source, Left, StatusDeleted, 0)
		} else {
			err = b.forget(u.Key, u.source)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget makes a URL unknown that is in no queue any more.
func (b *Batch) forget(k string, from uint32) error {
	b.tx.Delete(knownKey(k))
	b.counts.Known--
	b.f.seen.drop(sumOf(k))
	source, err := b.sources.get(from)
	if err == nil {
		source.Open--
	}
	return err
}
