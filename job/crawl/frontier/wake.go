package frontier

import (
	"context"
	"time"

	"holdfast/kernel/store"
)

// wakeAtOnce is how many URLs that were put off are queued again in one transaction.
const wakeAtOnce = 1000

// chores does some of the work that is due besides handing out URLs, as much as takes milliseconds.
func (f *Frontier) chores(now time.Time) error {
	if f.busy.CompareAndSwap(false, true) { // one at a time does these
		err := f.filter.learn(f.st)
		if err == nil && f.reviewing() {
			err = f.review()
		}
		f.busy.Store(false)
		if err != nil {
			return err
		}
	}
	return f.wake(now)
}

// wake queues again the URLs whose time is over that were put off.
func (f *Frontier) wake(now time.Time) error {
	f.mu.Lock()
	due := f.waiting != 0 && f.isDue(f.waiting, now)
	if due {
		f.waiting = 0 // the next caller need not wait for this one
	}
	f.mu.Unlock()
	if !due {
		return nil
	}
	return f.st.Update(func(tx *store.Tx) error {
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		keys, all, first, err := f.due(tx, now)
		if err != nil {
			return err
		}
		for i, w := range all {
			tx.Delete(keys[i])
			h, err := b.host(w.host)
			if err != nil {
				return err
			}
			e, err := w.entry(h.name)
			if err != nil {
				return err
			}
			tx.Set(knownKey(e.item.Key), []byte{byte(Queued)})
			h.waiting--
			b.counts.Waiting--
			b.put(w.host, h, e)
		}
		b.waiting = first
		return b.Write()
	})
}

// due reads some URLs whose time has come, and when the one after them is due.
func (f *Frontier) due(tx *store.Tx, now time.Time) (keys []store.Key, all []waiting, first int64, err error) {
	entries, failed := tx.Scan(key('w'), key('w').End())
	for k, v := range entries {
		w, err := readWaiting(k, v)
		if err != nil {
			return nil, nil, 0, err
		}
		if !f.isDue(w.at, now) || len(all) == wakeAtOnce {
			return keys, all, w.at, nil
		}
		if f.doomed.has(k) {
			continue
		}
		w.value = append([]byte(nil), w.value...)
		keys, all = append(keys, store.Key(nil).Raw(k)), append(all, w)
	}
	return keys, all, 0, failed()
}

// firstWaiting returns when the first URL that is put off is due, in milliseconds; 0 for none.
func firstWaiting(r store.Reader) (at int64, err error) {
	entries, failed := r.Scan(key('w'), key('w').End())
	for k, v := range entries {
		w, err := readWaiting(k, v)
		return max(w.at, 1), err
	}
	return 0, failed()
}

// Wait returns when nothing is in flight, and nothing is left to fetch, or nothing that the budgets allow. What the budgets
// left over are the Exhausted of Counts, or everything if the crawl is Spent.
func (f *Frontier) Wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		news, reviewed := f.news, f.reviewed
		f.mu.Unlock()
		var c Counts
		err := f.st.Latest(func(r store.Reader) (err error) {
			c, err = ReadCounts(r)
			return err
		})
		if err != nil {
			return err
		}
		if reviewed && c.Open() == 0 && (c.Queued == 0 || f.Flying() == 0) {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
