package frontier

import (
	"context"
	"encoding/binary"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Limits say how much may be fetched; 0 is no limit. URLs that failed count too, and so does robots.txt. No more URLs than
// that are fetched; there may be more bytes, by what is in flight when the limit is reached.
type Limits struct {
	URLs  uint64
	Bytes uint64
}

func (l Limits) reached(urls, bytes uint64) bool {
	return l.URLs != 0 && urls >= l.URLs || l.Bytes != 0 && bytes >= l.Bytes
}

// Budget is how much a crawl may fetch in all, and from each host that has no Limits of its own. A host that is over its budget
// is exhausted: it is not asked, and its URLs stay in its queue.
type Budget struct{ Crawl, Host Limits }

// limits returns the limits of a host.
func (r *record) limits(b Budget) Limits {
	if r.own != nil {
		return *r.own
	}
	return b.Host
}

// count updates counters by the difference between a record and what it was before.
func (r *record) count(c *Counts, was record) {
	for i, rec := range []*record{&was, r} {
		by := uint64(2*i) - 1 // first takes away, then adds
		if n := rec.queued + rec.waiting; rec.spent && n > 0 {
			c.Exhausted += by * n
			c.ExhaustedHosts += by
		}
		if rec.held {
			c.HeldHosts += by
		}
	}
}

// review says how far the hosts have been gone through since the budget changed; it is done when all have.
type review struct {
	next uint32
	done bool
}

// ReadBudget reads what SetBudget set.
func ReadBudget(r store.Reader) (Budget, error) {
	b, _, err := readBudget(r)
	return b, err
}

func readBudget(r store.Reader) (b Budget, at review, err error) {
	at.done = true
	_, err = r.Look(budgetKey, func(v []byte) error {
		c := cut{v, true}
		b.Crawl, b.Host = Limits{c.number(), c.number()}, Limits{c.number(), c.number()}
		at = review{uint32(c.number()), c.number() == 1}
		if !c.ok {
			return fault.New(fault.Corrupt, "the budget of the frontier is %x", v)
		}
		return nil
	})
	return b, at, err
}

func putBudget(tx *store.Tx, b Budget, at review) {
	var v []byte
	done := uint64(0)
	if at.done {
		done = 1
	}
	for _, n := range []uint64{b.Crawl.URLs, b.Crawl.Bytes, b.Host.URLs, b.Host.Bytes, uint64(at.next), done} {
		v = binary.AppendUvarint(v, n)
	}
	tx.Set(budgetKey, v)
}

// SetBudget sets the budget from now on. It returns when every host has been made exhausted or ready by it. If that is cut
// short, because ctx or the process ended, Take goes on with it.
func (f *Frontier) SetBudget(ctx context.Context, to Budget) error {
	err := f.BeginBudget(to)
	for err == nil && f.reviewing() {
		if err = ctx.Err(); err == nil {
			err = f.review()
		}
	}
	return err
}

// BeginBudget is SetBudget, but does not wait until the hosts have been gone through: Take does that, little by little.
func (f *Frontier) BeginBudget(to Budget) error {
	return f.st.Update(func(tx *store.Tx) error {
		is, at, err := readBudget(tx)
		if err != nil || is == to {
			return err
		}
		at.done = at.done && is.Host == to.Host
		if is.Host != to.Host {
			at.next = 0
		}
		putBudget(tx, to, at)
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		tx.OnDurable(func() { f.budgeted(to, at.done) })
		return b.Write()
	})
}

// budgeted tells Take of a budget.
func (f *Frontier) budgeted(to Budget, reviewed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.budget, f.reviewed = to, reviewed
	for _, h := range f.hosts {
		h.ahead = nil
	}
	f.tell()
}

func (f *Frontier) reviewing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.reviewed
}

// hostsOfReview is how many hosts one transaction goes through.
const hostsOfReview = 1000

// review makes some more hosts exhausted or ready, as the budget says.
func (f *Frontier) review() error {
	return f.st.Update(func(tx *store.Tx) error {
		budget, at, err := readBudget(tx)
		if err != nil || at.done {
			return err
		}
		var ids []uint32
		n := 0
		at.done = true
		entries, failed := tx.Scan(hostKey(at.next), key('h').End())
		for k, v := range entries {
			id := binary.BigEndian.Uint32(k[3:])
			if n++; n > hostsOfReview {
				at = review{next: id}
				break
			}
			var rec record
			if err := decodeHost(&rec, id, v); err != nil {
				return err
			}
			if rec.spent != rec.limits(budget).reached(rec.done+rec.failed, rec.bytes) {
				ids = append(ids, id)
			}
		}
		if err := failed(); err != nil {
			return err
		}
		putBudget(tx, budget, at)
		tx.OnDurable(func() {
			f.mu.Lock()
			f.reviewed = at.done
			f.tell()
			f.mu.Unlock()
		})
		return f.touch(tx, ids...)
	})
}

// touch writes hosts anew, by what holds for them now.
func (f *Frontier) touch(tx *store.Tx, ids ...uint32) error {
	b, err := f.Begin(tx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := b.host(id); err != nil {
			return err
		}
	}
	return b.Write()
}

// SetHostBudget gives a host limits of its own; with nil it has those of every host. A host that is not known is known from
// now on.
func (f *Frontier) SetHostBudget(queue string, l *Limits) error {
	return f.st.Update(func(tx *store.Tx) error {
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		id, err := b.id(queue)
		if err != nil {
			return err
		}
		h, err := b.host(id)
		if err != nil {
			return err
		}
		if h.own = nil; l != nil {
			own := *l
			h.own = &own
		}
		h.limit = true
		return b.Write()
	})
}

// Hold makes a host not be asked any more, or be asked again. A crawl does not end while a host with URLs is held.
func (f *Frontier) Hold(queue string, held bool) error {
	return f.st.Update(func(tx *store.Tx) error {
		id, ok, err := hostID(tx, queue)
		if err != nil {
			return err
		}
		if !ok {
			return noHost(queue)
		}
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		h, err := b.host(id)
		if err != nil {
			return err
		}
		h.held = held
		return b.Write()
	})
}

func noHost(queue string) error {
	return fault.WithHint(fault.New(fault.NotFound, "there is no host %q", queue), "hosts are named as their report has them")
}
