package streamer

import (
	"slices"
	"sync"
	"time"

	"holdfast/job/stream/wire"
)

// desk is what memory knows of the windows, and what of them is to be sent: one ordered set of manifests and batches, first
// sends and repeats alike. All workers of the job share it; nobody waits while it is locked.
type desk struct {
	epoch  string
	former map[string]bool

	mu       sync.Mutex         // guards what is below
	changed  chan struct{}      // closed and replaced with every change
	windows  map[uint64]*window // by number; those that went are not in it
	oldest   uint64             // no window before it is here
	next     uint64             // number of the next window
	released uint64             // every window up to this one may go out
	begun    uint64             // the newest window of which something went out
	marks    marks
	over     bool // there will be no window behind the last one
	bytes    int64
	unsent   int64             // bytes of windows that did not go out
	waiting  int64             // bytes of windows that are not confirmed
	building int64             // rows of windows that are not closed
	newest   map[string]uint64 // of the windows that began to go out, by key

	loads  map[uint64]*load
	order  []uint64    // of loads
	gone   []wire.Gone // refusals to be sent
	air    air
	beacon time.Time // when one last went out
	keeps  bool      // the broker keeps what nobody hears
	vain   int       // how many went out since an ingester was last heard
	said   bool      // one went out that says that there is nothing behind the last window
	heeded bool      // and an ingester has said that it heard that
	told   time.Time // since when beacons say that, and nothing else is sent; zero: they don't
	spoke  time.Time // when an ingester was last heard
	counts map[string]int64
}

// load is what is to be sent of a window.
type load struct {
	manifest bool
	batches  bits
	number   bool // the last batch under its number, and not as LAST
}

// bits is a set of batches.
type bits struct {
	in   []bool
	left int
	low  int // none is lower
}

func (b *bits) add(i int) {
	if !b.in[i] {
		b.in[i], b.left, b.low = true, b.left+1, min(b.low, i)
	}
}

func (b *bits) remove(i int) {
	if b.in[i] {
		b.in[i], b.left = false, b.left-1
	}
}

// first is the lowest one.
func (b *bits) first() int {
	for !b.in[b.low] {
		b.low++
	}
	return b.low
}

func newDesk(s saved, inFlight int64) *desk {
	d := &desk{epoch: s.epoch.Epoch, former: map[string]bool{}, changed: make(chan struct{}),
		windows: map[uint64]*window{}, next: s.state.Next, oldest: s.state.Next, marks: s.marks, over: s.state.Over,
		newest: map[string]uint64{}, loads: map[uint64]*load{}, air: newAir(inFlight), counts: map[string]int64{}}
	for _, e := range s.epoch.Former {
		d.former[e] = true
	}
	if len(s.windows) > 0 {
		d.oldest = s.windows[0].Number
	}
	d.marks.Confirmed = min(d.marks.Confirmed, d.next-1)
	d.marks.Sent = max(min(d.marks.Sent, d.next-1), d.marks.Confirmed, d.oldest-1)
	if d.marks.Sent > s.marks.Sent {
		d.marks.Batches = 0
	}
	d.begun = d.marks.Sent
	for _, w := range s.windows {
		d.keep(w.light())
	}
	d.skipGone()
	for n := d.marks.Confirmed + 1; n <= d.marks.Sent; n++ {
		if w := d.windows[n]; w != nil {
			w.free = time.Now()
		}
	}
	d.released = d.marks.Sent
	d.release(max(min(s.pace.Released, d.next-1), d.marks.Sent))
	return d
}

// keep puts a window that is durable into memory.
func (d *desk) keep(w *window) {
	d.windows[w.Number] = w
	d.said, d.heeded, d.told = false, false, time.Time{}
	d.next = max(d.next, w.Number+1)
	d.bytes += w.weight()
	if w.Number > d.marks.Confirmed {
		d.waiting += w.weight()
	}
	if w.Number > d.marks.Sent {
		d.unsent += w.weight()
	} else {
		d.newest[keyName(w.Key)] = w.Number
	}
}

// keyName is a window's key as requests are read.
func keyName(key string) string {
	p, err := wire.ParsePlace("0:" + key)
	if err != nil {
		return key
	}
	return p.Window
}

// change changes something that others may wait for.
func (d *desk) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

// look looks at something. The channel is closed when that may have changed.
func (d *desk) look(f func()) (changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	return d.changed
}

// release lets every window up to a number go out.
func (d *desk) release(to uint64) {
	for n := d.released + 1; n <= to; n++ {
		w := d.windows[n]
		if w == nil {
			continue
		}
		w.free = time.Now()
		from := 0
		if n == d.marks.Sent+1 {
			from = min(d.marks.Batches, len(w.sizes))
		}
		if from > 0 {
			d.begin(w)
		}
		l := d.load(w)
		l.manifest = true
		for i := from; i < len(w.sizes); i++ {
			l.batches.add(i)
		}
		if from == len(w.sizes) { // its last mark is all that was lost
			d.sentAll(w)
		}
	}
	d.released = max(d.released, to)
	d.skipGone()
}

func (d *desk) load(w *window) *load {
	l := d.loads[w.Number]
	if l == nil {
		l = &load{batches: bits{in: make([]bool, len(w.sizes))}}
		d.loads[w.Number] = l
		i, _ := slices.BinarySearch(d.order, w.Number)
		d.order = slices.Insert(d.order, i, w.Number)
	}
	return l
}

func (d *desk) unload(number uint64) {
	if i, ok := slices.BinarySearch(d.order, number); ok {
		d.order = slices.Delete(d.order, i, i+1)
		delete(d.loads, number)
	}
}

// sentAll notes that all of the first window that was not sent yet has been sent.
func (d *desk) sentAll(w *window) {
	d.marks.Sent, d.marks.Batches = w.Number, 0
	d.unsent -= w.weight()
	d.begin(w)
	d.skipGone()
}

// begin says that something of a window goes out.
func (d *desk) begin(w *window) {
	d.begun = max(d.begun, w.Number)
	if name := keyName(w.Key); d.newest[name] < w.Number {
		d.newest[name] = w.Number
	}
}

// skipGone skips windows that can't be sent.
func (d *desk) skipGone() {
	for d.marks.Sent+1 < d.next && d.windows[d.marks.Sent+1] == nil {
		d.marks.Sent, d.marks.Batches = d.marks.Sent+1, 0
		d.begun = max(d.begun, d.marks.Sent)
	}
	d.released = max(d.released, d.marks.Sent)
}

// kind is what is sent.
type kind int

const (
	nothing kind = iota
	aBeacon
	aGone
	aManifest
	aBatch
	theEnd // there is nothing to be sent any more, ever
)

// item is one message that is to be sent.
type item struct {
	kind   kind
	window *window
	batch  int
	place  wire.Place
	gone   wire.Gone
}

// What lies between two beacons.
const (
	beaconBusy = 500 * time.Millisecond // while something is not confirmed
	beaconIdle = 2 * time.Second
	// A broker that keeps beacons until they are heard gets them ever more seldom while nobody answers, so that it does not
	// fill with them: whoever comes finds those that are there.
	beaconsInVain = 20
	beaconSeldom  = 10 * time.Minute
)

// nextBeacon returns when the next beacon is due. A job that only waits for its end to be heard sends them often.
func (d *desk) nextBeacon(once bool) time.Time {
	if once && d.done() {
		return d.beacon.Add(beaconBusy)
	}
	pause := beaconIdle
	if d.begun > d.marks.Confirmed {
		pause = beaconBusy
	}
	if d.keeps && !d.beacon.IsZero() {
		pause = min(pause<<min(max(d.vain-beaconsInVain, 0), 12), beaconSeldom)
	}
	return d.beacon.Add(pause)
}

// pick returns what is to be sent now; nothing with a time to look again. It stays on the desk until it is
// sent.
func (d *desk) pick(now time.Time, once bool) (it item, again time.Time) {
	again = d.nextBeacon(once)
	if !again.After(now) {
		return item{kind: aBeacon}, now
	}
	if len(d.gone) > 0 {
		return item{kind: aGone, gone: d.gone[0]}, now
	}
	if len(d.order) == 0 {
		if !once || !d.done() {
			return item{}, again
		}
		over, at := d.parted(now)
		if over {
			return item{kind: theEnd}, now
		}
		if !at.IsZero() && at.Before(again) {
			again = at
		}
		return item{}, again
	}
	w := d.windows[d.order[0]]
	l := d.loads[w.Number]
	switch {
	case l.manifest:
		return item{kind: aManifest, window: w}, now
	case l.batches.left > 0:
		i := l.batches.first()
		it = item{kind: aBatch, window: w, batch: i, place: w.place(i)}
	default:
		i := len(w.sizes) - 1
		it = item{kind: aBatch, window: w, batch: i, place: wire.Place{Batch: i, Window: w.Key}}
	}
	if at := d.air.room(now, w.sizes[it.batch]); at.After(now) {
		if at.Before(again) {
			again = at
		}
		return item{}, again
	}
	return it, now
}

// done reports whether every row is where it belongs.
func (d *desk) done() bool {
	return d.over && d.marks.Sent+1 == d.next && (d.marks.Confirmed+1 == d.next || d.oldest == d.next)
}

// untilGone is for how long an ingester must be silent, while it is told of the end again and again, until it has ended.
const untilGone = 10 * time.Second

// parted reports whether an ingester has heard that there is nothing more (without which it would wait for ever), or has ended
// itself. If it has not yet, at is when it will be known; zero if that is open.
func (d *desk) parted(now time.Time) (over bool, at time.Time) {
	if d.heeded || d.told.IsZero() {
		return d.heeded, time.Time{}
	}
	if at = d.told; at.Before(d.spoke) {
		at = d.spoke
	}
	at = at.Add(untilGone)
	return !now.Before(at), at
}

// saysEnd notes what a beacon that went out has said of the end.
func (d *desk) saysEnd(now time.Time) {
	d.said = d.over && d.marks.Sent+1 == d.next
	if d.told.IsZero() && d.done() {
		d.told = now
	}
}

// sent says that a message is at the broker.
func (d *desk) sent(it item, now time.Time) {
	switch it.kind {
	case aBeacon:
		d.beacon, d.vain = now, d.vain+1
		d.saysEnd(now)
	case aGone:
		d.gone = slices.DeleteFunc(d.gone, func(g wire.Gone) bool { return g == it.gone })
		d.counts["refused"]++
	case aManifest:
		d.sentManifest(it.window)
	case aBatch:
		d.sentBatch(it, now)
	}
}

func (d *desk) sentManifest(w *window) {
	if l := d.loads[w.Number]; l != nil {
		l.manifest = false
		d.settle(w, l)
	}
	d.begin(w)
}

func (d *desk) sentBatch(it item, now time.Time) {
	w := it.window
	l := d.loads[w.Number]
	if l == nil { // it was confirmed, or went, meanwhile
		return
	}
	if it.place.Last || it.batch < len(w.sizes)-1 {
		l.batches.remove(it.batch)
	} else {
		l.number = false
	}
	d.air.add(w.Number, it.batch, w.sizes[it.batch], now)
	d.settle(w, l)
	switch {
	case w.Number != d.marks.Sent+1 || it.batch != d.marks.Batches:
		d.counts["sent_again"]++
	case it.batch+1 < len(w.sizes):
		d.marks.Batches++
	default:
		d.sentAll(w)
		d.beacon = time.Time{}
	}
}

// settle drops a load of which nothing is left.
func (d *desk) settle(w *window, l *load) {
	if !l.manifest && l.batches.left == 0 && !l.number {
		d.unload(w.Number)
	}
}

// fate is what becomes of the rows of a window that goes.
type fate int

const (
	settled fate = iota // they are where they belong: an ingester has confirmed it
	assumed             // they are taken to be there, because no ingester ever confirms anything
	lost                // they are not known to be there, though an ingester confirms others
)

// unconfirmed returns those of the windows that no ingester has confirmed yet.
func (d *desk) unconfirmed(all []*window) (left []*window) {
	d.look(func() {
		for _, w := range all {
			if w.Number > d.marks.Confirmed {
				left = append(left, w)
			}
		}
	})
	return left
}

// drop removes windows from memory that are no longer in the store.
func (d *desk) drop(all []*window, f fate) {
	for _, w := range all {
		if d.windows[w.Number] != w {
			continue
		}
		d.unload(w.Number)
		d.air.drop(w.Number)
		delete(d.windows, w.Number)
		d.bytes -= w.weight()
		if w.Number > d.marks.Confirmed {
			d.waiting -= w.weight()
		}
		if w.Number > d.marks.Sent {
			d.unsent -= w.weight()
		}
		if name := keyName(w.Key); d.newest[name] == w.Number {
			delete(d.newest, name)
		}
		switch {
		case w.Number <= d.marks.Confirmed: // also since it was to go
		case f == lost:
			d.marks.GivenUp += int64(w.Rows)
		case f == assumed:
			d.marks.AssumedRows += int64(w.Rows)
		}
	}
	for d.oldest < d.next && d.windows[d.oldest] == nil {
		d.oldest++
	}
	d.skipGone()
}

// say makes a beacon.
func (d *desk) say(from string) wire.Beacon {
	return wire.Beacon{Epoch: d.epoch, Oldest: min(d.oldest, d.begun+1), Newest: d.begun,
		Confirmed: d.marks.Confirmed, End: d.over && d.marks.Sent+1 == d.next, From: from}
}
