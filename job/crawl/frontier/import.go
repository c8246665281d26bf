package frontier

import (
	"slices"
	"strings"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// unasked is the status of URLs that another crawl has ended, and that this one never asked for.
const unasked = 0

// Importer takes over URLs that another crawl knew, into a frontier at rest. It is for one goroutine at a time. After an
// error, of the commit too, it can't be used any more.
type Importer struct {
	f     *Frontier
	hosts map[string]uint32 // numbers of hosts that are durable
	marks map[string]State  // of one round of Settle
	at    store.Key         // where that round goes on
}

// hostsRemembered is how many hosts an Importer remembers the numbers of.
const hostsRemembered = 1 << 16

// endedKey marks a URL that stands in a queue although another crawl has ended it: Settle removes it from there.
func endedKey(k string) store.Key { return key('x').Str(k) }

// Importer returns an importer. It reads the keys of all known URLs, about a million in a second, so that few have to be
// looked up later.
func (f *Frontier) Importer() (*Importer, error) {
	for {
		f.filter.mu.Lock()
		complete := f.filter.complete
		f.filter.mu.Unlock()
		if complete {
			return &Importer{f: f, hosts: map[string]uint32{}}, nil
		}
		if err := f.filter.learn(f.st); err != nil {
			return nil, err
		}
	}
}

// Import takes over URLs in a transaction, in the states that another crawl left them in: Queued, Done, Failed or Left. It
// returns how many of them the frontier learned something about. A new URL is queued behind all of its precedence; or it
// counts as ended, and is never fetched, but counts for budgets as if it had been. For a known URL, what other crawls tell is
// ranked: a success counts more than a failure, and that more than a refusal, in whatever order they come. A URL that stands
// in a queue and was ended elsewhere is removed from there by Settle. What this crawl itself has ended stays as it is. If URLs
// are in flight the error is a Conflict.
func (i *Importer) Import(tx *store.Tx, items []Item, states []State) (learned int, err error) {
	b, err := i.begin(tx)
	if err != nil {
		return 0, err
	}
	was, err := i.meets(b, items)
	if err != nil {
		return 0, err
	}
	for n := range items {
		is, err := i.one(b, &items[n], states[n], was[n])
		if err != nil {
			return learned, err
		}
		if is {
			learned++
		}
	}
	for name, id := range b.ids {
		tx.OnDurable(func() { i.remember(name, id) })
	}
	return learned, b.Write()
}

func (i *Importer) begin(tx *store.Tx) (*Batch, error) {
	if i.f.Flying() > 0 {
		return nil, fault.New(fault.Conflict, "import URLs: some are in flight")
	}
	return i.f.Begin(tx)
}

func (i *Importer) remember(name string, id uint32) {
	if len(i.hosts) >= hostsRemembered {
		clear(i.hosts)
	}
	i.hosts[name] = id
}

// standing is what is known of a URL before a transaction.
type standing struct {
	state  State // 0 if it is not known
	status int
	again  bool // to be looked up once more: it comes twice in this transaction, or may
}

// meets looks up the URLs that seem to be known, in the order of their keys, so that each block of the store is read once.
func (i *Importer) meets(b *Batch, all []Item) ([]standing, error) {
	was, look := make([]standing, len(all)), []int(nil)
	for n := range all {
		if !i.f.filter.absent(sumOf(all[n].Key)) {
			look = append(look, n)
		}
	}
	slices.SortFunc(look, func(m, n int) int { return strings.Compare(all[m].Key, all[n].Key) })
	for at, n := range look {
		if at > 0 && all[look[at-1]].Key == all[n].Key {
			was[n].again, was[look[at-1]].again = true, true
			continue
		}
		s, err := b.standing(all[n].Key)
		if err != nil {
			return nil, err
		}
		s.again = s.state == 0
		was[n] = s
	}
	return was, nil
}

func (b *Batch) standing(k string) (s standing, err error) {
	s.state, s.status, _, err = Find(b.tx, k)
	return s, err
}

// worth ranks the states that can be told of a URL; it is below 0 for any other state.
func worth(s State) int { return slices.Index([]State{Queued, Left, Failed, Done}, s) }

// one takes over a single URL.
func (i *Importer) one(b *Batch, x *Item, to State, was standing) (learned bool, err error) {
	if worth(to) < 0 {
		return false, fault.New(fault.Invalid, "import %s: no URL is imported as %q", x.URL, to)
	}
	if to != Queued && (was.again || was.state == 0 && !i.f.filter.absent(sumOf(x.Key))) {
		if was, err = b.standing(x.Key); err != nil {
			return false, err
		}
	}
	if id, ok := i.hosts[x.Queue]; ok {
		b.ids[x.Queue] = id
	}
	switch {
	case was.state == 0 && to == Queued: // Put sees if it came before in this transaction
		item := *x
		item.Again = false
		fate, err := b.Put(&item)
		return fate == New, err
	case was.state == 0:
		b.counts.Known++
		b.f.filter.put(sumOf(x.Key))
		return true, b.endUnasked(x, to)
	case to == Queued || worth(was.state) > 0 && was.status != unasked:
		return false, nil
	case was.state == Queued || was.state == Waiting:
		return b.mark(x.Key, to)
	case worth(to) > worth(was.state):
		return true, b.better(x, to, was)
	}
	return false, nil
}

// belongs returns the host and the source that a URL belongs to.
func (b *Batch) belongs(x *Item) (h *change, s *source, err error) {
	id, err := b.id(x.Queue)
	if err == nil {
		h, err = b.host(id)
	}
	if err == nil {
		s, err = b.sources.named(x.Source)
	}
	return h, s, err
}

// endUnasked makes a URL that is in no queue one that another crawl has ended.
func (b *Batch) endUnasked(x *Item, to State) error {
	h, source, err := b.belongs(x)
	if err != nil {
		return err
	}
	source.Open++
	return b.end(h, x.Key, source.id, to, unasked, 0)
}

// better changes the state of a URL that another crawl ended to one that ranks higher.
func (b *Batch) better(x *Item, to State, was standing) error {
	h, source, err := b.belongs(x)
	if err != nil {
		return err
	}
	if n := source.of(was.state); *n > 0 { // else it came by another source
		*n--
	}
	if err := b.leave(h, was.state, was.status); err != nil {
		return err
	}
	return b.endUnasked(x, to)
}

// mark marks a URL that stands in a queue, and reports whether that says more than the mark it had.
func (b *Batch) mark(k string, to State) (bool, error) {
	was := State(0)
	_, err := b.tx.Look(endedKey(k), func(v []byte) (err error) {
		was, err = readMark(v)
		return err
	})
	if err != nil || worth(was) >= worth(to) {
		return false, err
	}
	b.tx.Set(endedKey(k), []byte{byte(to)})
	return true, nil
}

func readMark(v []byte) (State, error) {
	if len(v) != 1 || worth(State(v[0])) <= 0 {
		return 0, fault.New(fault.Corrupt, "the mark of a URL that another crawl ended is %x", v)
	}
	return State(v[0]), nil
}

// marksAtOnce is how many marks are held in memory.
const marksAtOnce = 200_000

// Settle removes from the queues the URLs that Import found there, and reports whether it has more to do, in another
// transaction. If there is any such URL it goes through all queues.
func (i *Importer) Settle(tx *store.Tx) (more bool, err error) {
	b, err := i.begin(tx)
	if err != nil {
		return false, err
	}
	if i.marks == nil {
		if err := i.readMarks(tx); err != nil || len(i.marks) == 0 {
			i.marks = nil
			return false, err
		}
	}
	p := pager{f: i.f, r: tx, n: mostPassed, match: func(string) bool { return true }, begin: key('q'), end: key('q').End()}
	if err := p.read(i.at); err != nil {
		return false, err
	}
	for n := range p.all {
		if to, ok := i.marks[p.all[n].Key]; ok {
			if err := b.takeOut(&p.all[n], to); err != nil {
				return false, err
			}
		}
	}
	if p.next == nil { // those that were not found have been ended meanwhile
		for k := range i.marks {
			tx.Delete(endedKey(k))
		}
	}
	tx.OnDurable(func() {
		if i.at = p.next; p.next == nil {
			i.marks = nil
		}
	})
	return true, b.Write()
}

// readMarks reads the marks of the next round.
func (i *Importer) readMarks(tx *store.Tx) error {
	i.marks, i.at = map[string]State{}, nil
	entries, failed := tx.Scan(key('x'), key('x').End())
	for k, v := range entries {
		to, err := readMark(v)
		if err != nil {
			return err
		}
		if i.marks[string(k[len(key('x')):])] = to; len(i.marks) == marksAtOnce {
			break
		}
	}
	return failed()
}

// takeOut takes a URL out of its queue, or out of those that are put off.
func (b *Batch) takeOut(u *QueuedURL, to State) error {
	h, err := b.host(u.host)
	if err != nil {
		return err
	}
	if u.State == Queued {
		b.remove(h, u.host, placeOf(u.key))
		h.limit = true // what was read ahead of it may have this one
		if h.queued == 0 {
			h.stale = 0 // the next one to come is the first
		}
	} else {
		b.tx.Delete(u.key)
		h.waiting--
		b.counts.Waiting--
	}
	return b.end(h, u.Key, u.source, to, unasked, 0)
}
