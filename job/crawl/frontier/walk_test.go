package frontier

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// walker does to a frontier what comes to its mind, and knows what has to come of it: of each URL its state, by its key.
type walker struct {
	*rig
	rnd      *rand.Rand
	state    map[string]State
	fetching []*Lease             // that are asked for
	fetched  []*Lease             // that were
	due      map[string]time.Time // of hosts
	written  map[string]time.Time // a crash forgets what was not written
	used     map[string]uint64    // URLs of hosts that were fetched
	total    uint64
	budget   Budget
	own      map[string]*Limits
	held     map[string]bool
	patterns map[string]uint64
}

const (
	walkHosts     = 12
	walkURLs      = 20
	walkOfPattern = 5 // URLs that a pattern may have
)

// TestWalk: whatever is added, taken, given back, done, put off, deleted, held and limited, and whenever it stops: every URL is
// taken until it is done, none after that or while it must not, and all counters are right. A small window has the store order
// the hosts.
func TestWalk(t *testing.T) {
	seed := testenv.Seed(t)
	for n := range uint64(testenv.Count(t, 40)) {
		t.Run(fmt.Sprint(n), func(t *testing.T) { walk(t, rand.New(rand.NewPCG(seed, n))) })
	}
}

func walk(t *testing.T, rnd *rand.Rand) {
	w := &walker{rig: newRig(t, Options{Window: 1 + rnd.IntN(4), PerHost: 1 + rnd.IntN(2)}), rnd: rnd, state: map[string]State{},
		due: map[string]time.Time{}, written: map[string]time.Time{}, used: map[string]uint64{}, own: map[string]*Limits{},
		held: map[string]bool{}, patterns: map[string]uint64{}}
	for n := range 600 {
		w.step()
		if n%100 == 99 {
			w.recount()
		}
		if t.Failed() {
			t.Fatalf("step %d", n)
		}
	}
	w.finish()
}

func (w *walker) step() {
	switch w.rnd.IntN(17) {
	case 0:
		items, fresh := w.random()
		if n := w.add(items...); n != fresh {
			w.Errorf("%d of %d were new, want %d", n, len(items), fresh)
		}
	case 1:
		if w.rnd.IntN(10) == 0 {
			w.crash()
		}
	case 2:
		if len(w.fetching) > 0 && w.rnd.IntN(4) == 0 {
			w.f.Return(w.fetching[0])
			w.fetching = w.fetching[1:]
		}
	case 3, 4, 5, 6:
		w.takes()
	case 7, 8, 9:
		w.releases()
	case 10, 11:
		if len(w.fetched) > 0 {
			l := w.fetched[0]
			w.fetched = w.fetched[1:]
			w.end(l)
		}
	case 12, 13:
		w.now = w.now.Add(time.Duration(w.rnd.IntN(2000)) * time.Millisecond)
	case 14:
		if w.rnd.IntN(3) == 0 {
			w.limits()
		}
	case 15:
		if queue := item(w.rnd.IntN(walkHosts), 0).Queue; w.used[queue] > 0 {
			w.held[queue] = !w.held[queue]
			if err := w.f.Hold(queue, w.held[queue]); err != nil {
				w.Error(err)
			}
		}
	case 16:
		if w.rnd.IntN(3) == 0 {
			w.deletes()
		}
	}
}

// random are some URLs, and how many of them are to be new. Those of a host with even numbers are of one pattern.
func (w *walker) random() (all []Item, fresh int) {
	for range w.rnd.IntN(8) {
		i := item(w.rnd.IntN(walkHosts), w.rnd.IntN(walkURLs))
		i.Precedence = uint8(w.rnd.IntN(3))
		i.Source = fmt.Sprint("seed", w.rnd.IntN(3))
		even := strings.HasSuffix(i.URL, "0") || strings.HasSuffix(i.URL, "2")
		if even {
			i.Pattern, i.PatternBudget = i.Queue+" /#", walkOfPattern
		}
		all = append(all, i)
		if w.state[i.Key] != 0 || even && w.patterns[i.Pattern] == walkOfPattern {
			continue
		}
		if even {
			w.patterns[i.Pattern]++
		}
		w.state[i.Key] = Queued
		fresh++
	}
	return all, fresh
}

func (w *walker) crash() {
	w.fetching, w.fetched, w.due = nil, nil, maps.Clone(w.written)
	w.again()
}

// limit is that of a host.
func (w *walker) limit(queue string) uint64 {
	if l := w.own[queue]; l != nil {
		return l.URLs
	}
	return w.budget.Host.URLs
}

func (w *walker) takes() {
	l := w.take()
	if l == nil {
		return
	}
	if s := w.state[l.Key]; s != Queued && s != Waiting {
		w.Errorf("%s is taken, which is %c", l.Key, s)
	}
	flying := append(slices.Clone(w.fetching), w.fetched...)
	ofHost := uint64(1)
	for _, other := range flying {
		if other.Key == l.Key {
			w.Errorf("%s is taken twice", l.Key)
		}
		if other.Queue == l.Queue {
			ofHost++
		}
	}
	if w.opts.PerHost == 1 && w.now.Before(w.due[l.Queue].Truncate(time.Millisecond)) {
		w.Errorf("%s is taken %v too early", l.Key, w.due[l.Queue].Sub(w.now))
	}
	if limit := w.limit(l.Queue); limit != 0 && w.used[l.Queue]+ofHost > limit {
		w.Errorf("%s is taken, with %d of %d URLs of its host", l.Key, w.used[l.Queue]+ofHost, limit)
	}
	if limit := w.budget.Crawl.URLs; limit != 0 && w.total+uint64(len(flying))+1 > limit {
		w.Errorf("%s is taken, with %d of %d URLs", l.Key, w.total+uint64(len(flying))+1, limit)
	}
	if w.held[l.Queue] {
		w.Errorf("%s is taken, whose host is held", l.Key)
	}
	if n := strings.TrimPrefix(l.Key, "http://("+l.Queue+")/"); l.URL != item(hostOf(l.Queue), 0).URL[:len(l.URL)-len(n)]+n ||
		l.Via != "http://example.com/" || l.Hops != "L" || !strings.HasPrefix(l.Source, "seed") {
		w.Errorf("%+v is taken", l)
	}
	w.fetching = append(w.fetching, l)
	if got := w.f.Leases(); len(got) != len(flying)+1 {
		w.Errorf("%d in flight, want %d", len(got), len(flying)+1)
	}
}

func hostOf(queue string) (n int) {
	_, _ = fmt.Sscanf(queue, "com,example,h%d,", &n)
	return n
}

func (w *walker) releases() {
	if len(w.fetching) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.fetching))
	l := w.fetching[i]
	w.fetching = slices.Delete(w.fetching, i, i+1)
	if at := w.now.Add(time.Duration(w.rnd.IntN(5000)) * time.Millisecond); at.After(w.due[l.Queue]) {
		w.due[l.Queue] = at
	}
	w.f.Release(l, w.due[l.Queue])
	w.fetched = append(w.fetched, l)
}

// end writes down what became of a URL.
func (w *walker) end(l *Lease) {
	w.written[l.Queue] = w.due[l.Queue]
	w.batch(func(b *Batch) error {
		items, fresh := w.random()
		if n, err := b.Add(items...); n != fresh || err != nil {
			w.Errorf("%d of %d were new, want %d (%v)", n, len(items), fresh, err)
		}
		switch k := w.rnd.IntN(8); {
		case l.Attempts < 3 && k < 2:
			w.state[l.Key] = Waiting
			return b.Retry(l, w.now.Add(time.Duration(w.rnd.IntN(90))*time.Second), w.due[l.Queue])
		case k == 7:
			return b.Postpone(l, w.due[l.Queue])
		}
		n := w.rnd.IntN(3)
		if w.state[l.Key] = []State{Done, Failed, Left}[n]; n < 2 {
			w.used[l.Queue]++
			w.total++
		}
		return b.Done(l, Outcome{Status: []int{200, 404, -9998}[n], Failed: n == 1, Left: n == 2, Type: "text/html", Bytes: 7,
			Due: w.due[l.Queue]})
	})
}

// limits sets a budget: of all hosts, of one, or of the crawl.
func (w *walker) limits() {
	queue := item(w.rnd.IntN(walkHosts), 0).Queue
	switch w.rnd.IntN(5) {
	case 0:
		w.own[queue] = nil
	case 1:
		w.own[queue] = &Limits{URLs: uint64(w.rnd.IntN(10))}
	case 2:
		w.budget.Host.URLs = uint64(w.rnd.IntN(10))
	case 3:
		w.budget.Crawl.URLs = w.total + uint64(w.rnd.IntN(10))
	case 4:
		w.budget = Budget{}
	}
	if err := w.f.SetHostBudget(queue, w.own[queue]); err != nil {
		w.Error(err)
	}
	if err := w.f.SetBudget(w.Context(), w.budget); err != nil {
		w.Error(err)
	}
}

// deletes deletes URLs of a host or of all whose number ends so, and compares what is left of it.
func (w *walker) deletes() {
	host := item(w.rnd.IntN(walkHosts), 0)
	digit := fmt.Sprint(w.rnd.IntN(10))
	d := Deletion{Match: func(url string) bool { return strings.HasSuffix(url, digit) }, Forget: w.rnd.IntN(2) == 0}
	if w.rnd.IntN(2) == 0 && w.used[host.Queue] > 0 {
		d.Queue = host.Queue
	}
	flying := map[string]bool{}
	for _, l := range append(slices.Clone(w.fetching), w.fetched...) {
		flying[l.Key] = true
	}
	want := 0
	for k, s := range w.state {
		ofQueue := d.Queue == "" || strings.HasPrefix(k, "http://("+d.Queue+")/")
		if ofQueue && d.Match(k) && !flying[k] && (s == Queued || s == Waiting) {
			want++
			if w.state[k] = Left; d.Forget {
				delete(w.state, k)
			}
		}
	}
	if n, err := w.f.Delete(w.Context(), d); n != want || err != nil {
		w.Errorf("%d were deleted, want %d (%v)", n, want, err)
	}
}

// finish gives all that is left what it needs, and takes it.
func (w *walker) finish() {
	w.recount()
	w.crash()
	for queue := range w.own {
		if err := w.f.SetHostBudget(queue, nil); err != nil {
			w.Fatal(err)
		}
	}
	for queue, held := range w.held {
		if held {
			if err := w.f.Hold(queue, false); err != nil {
				w.Fatal(err)
			}
			w.held[queue] = false
		}
	}
	w.own, w.budget = map[string]*Limits{}, Budget{}
	if err := w.f.SetBudget(w.Context(), w.budget); err != nil {
		w.Fatal(err)
	}
	for w.open() > 0 {
		before := len(w.fetching)
		if w.takes(); len(w.fetching) == before {
			w.now = w.now.Add(time.Second)
			if w.now.After(time.Now().Add(48 * time.Hour)) {
				w.Fatalf("%d of %d URLs are never taken: %+v", w.open(), len(w.state), w.counts())
			}
			continue
		}
		l := w.fetching[0]
		w.fetching = nil
		w.f.Release(l, w.now)
		w.due[l.Queue] = w.now
		w.end(l)
		if w.Failed() {
			return
		}
	}
	w.recount()
	c := w.counts()
	if c.Queued+c.Waiting != 0 || c.Known != uint64(len(w.state)) || w.f.Flying() != 0 {
		w.Errorf("%+v, and %d in flight, of %d", c, w.f.Flying(), len(w.state))
	}
	if err := w.f.Wait(w.Context()); err != nil {
		w.Error(err)
	}
}

// open is how many URLs are to be fetched.
func (w *walker) open() (n int) {
	for _, s := range w.state {
		if s == Queued || s == Waiting {
			n++
		}
	}
	return n
}
