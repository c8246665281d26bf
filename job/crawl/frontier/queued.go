package frontier

import (
	"encoding/binary"
	"encoding/hex"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// QueuedURL is a URL that is to be fetched.
type QueuedURL struct {
	Item
	Attempts int
	State    State     // Queued or Waiting
	InFlight bool      // of one that is Queued
	Due      time.Time // when one that is Waiting is queued again

	host   uint32
	source uint32
	key    store.Key // its own in the store
}

// mostPassed is how many URLs are passed over at most to fill one page.
const mostPassed = 20_000

// URLs returns at most n URLs of a host in their order, and after them those that are put off. next is where to go on, "" at
// the end. A page before the end may have fewer than n, because those that are put off stand among those of other hosts.
func (f *Frontier) URLs(queue, from string, n int) (all []QueuedURL, next string, err error) {
	start, err := hex.DecodeString(from)
	if err != nil || len(start) > 0 && len(start) < 3 {
		return nil, "", fault.New(fault.Invalid, "%q is no place in a queue", from)
	}
	flying := map[string]bool{}
	for _, l := range f.Leases() {
		flying[string(l.at.in(l.host))] = true
	}
	all, at, err := f.page(queue, start, n, func(string) bool { return true })
	for i := range all {
		all[i].InFlight = flying[string(all[i].key)]
	}
	return all, hex.EncodeToString(at), err
}

// page reads URLs that are to be fetched, from a key on: those of one queue or, if queue is "", of all. next is nil at the
// end.
func (f *Frontier) page(queue string, from store.Key, n int, match func(url string) bool) (all []QueuedURL, next store.Key,
	err error) {
	err = f.st.Latest(func(r store.Reader) error {
		p := pager{f: f, r: r, queue: queue, n: n, match: match, begin: key('q'), end: key('q').End()}
		if queue != "" {
			var ok bool
			if p.host, ok, err = hostID(r, queue); err != nil {
				return err
			}
			if !ok {
				return noHost(queue)
			}
			p.begin, p.end = queueKey(p.host), queueKey(p.host).End()
			p.name, p.named = queue, p.host
		}
		err = p.read(from)
		all, next = p.all, p.next
		return err
	})
	return all, next, err
}

// pager reads a page.
type pager struct {
	f          *Frontier
	r          store.Reader
	queue      string
	host       uint32 // of the queue
	begin, end store.Key
	n          int
	match      func(url string) bool

	name  string // of the host that was last met
	named uint32
	seen  int
	all   []QueuedURL
	next  store.Key
}

func (p *pager) read(from store.Key) error {
	if len(from) == 0 || from[2] != 'w' {
		if string(from) < string(p.begin) {
			from = p.begin
		}
		if err := p.scan(from, p.end, p.queued); err != nil || p.next != nil {
			return err
		}
		from = key('w')
	}
	return p.scan(from, key('w').End(), p.waiting)
}

// scan reads entries until there are enough.
func (p *pager) scan(from, to store.Key, read func(k, v []byte) error) error {
	entries, failed := p.r.Scan(from, to)
	for k, v := range entries {
		if p.seen++; len(p.all) == p.n || p.seen > mostPassed {
			p.next = store.Key(nil).Raw(k)
			return nil
		}
		if err := read(k, v); err != nil {
			return err
		}
	}
	return failed()
}

func (p *pager) queued(k, v []byte) error {
	if len(k) != len(queueKey(0))+9 {
		return fault.New(fault.Corrupt, "a URL in a queue has key %x", k)
	}
	host := binary.BigEndian.Uint32(k[3:])
	name, err := p.nameOf(host)
	if err != nil {
		return err
	}
	e, err := readEntry(k, v, name)
	if err != nil {
		return err
	}
	return p.add(k, QueuedURL{Item: e.item, Attempts: e.attempts, State: Queued, host: host, source: e.source})
}

func (p *pager) waiting(k, v []byte) error {
	w, err := readWaiting(k, v)
	if err != nil || p.queue != "" && w.host != p.host {
		return err
	}
	name, err := p.nameOf(w.host)
	if err != nil {
		return err
	}
	e, err := w.entry(name)
	if err != nil {
		return err
	}
	return p.add(k, QueuedURL{Item: e.item, Attempts: e.attempts, State: Waiting, Due: p.f.Time(w.at), host: w.host, source: e.source})
}

// nameOf returns the name of a host. It remembers the last one, because the entries of a host stand together.
func (p *pager) nameOf(host uint32) (string, error) {
	if p.name != "" && p.named == host {
		return p.name, nil
	}
	rec, err := readHost(p.r, host)
	p.name, p.named = rec.name, host
	return rec.name, err
}

func (p *pager) add(k []byte, u QueuedURL) (err error) {
	if !p.match(u.URL) {
		return nil
	}
	u.key = store.Key(nil).Raw(k)
	u.Source, err = p.f.names.of(p.r, u.source)
	p.all = append(p.all, u)
	return err
}
