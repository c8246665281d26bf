package processor

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
)

// position is how far the notices of each ingester are done with: the cursor of a page.
type position struct {
	Version int       `json:"v"`
	Epochs  []reached `json:"epochs"` // in the order of their last reports
}

// reached is how far the notices of one ingester are done with.
type reached struct {
	Epoch string `json:"epoch"`
	Next  uint64 `json:"next"`          // the first one that is not done with
	End   bool   `json:"end,omitempty"` // it has said that there are none from Next on
}

// mostEpochs is how many ingesters a cursor remembers. An older one that comes back is taken for a new one.
const mostEpochs = 16

func (p position) bytes() []byte {
	p.Version = 1
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	return b
}

func positionOf(cursor []byte) (p position, err error) {
	if err := json.Unmarshal(cursor, &p); err != nil {
		return p, fault.New(fault.Corrupt, "read the cursor: %w", err)
	}
	if p.Version != 1 {
		return p, fault.New(fault.Permanent, "the cursor is of version %d, and we know 1", p.Version)
	}
	return p, nil
}

// inbox is the notices that wait, by ingester.
type inbox struct {
	logs   []*log          // in the order of the position
	latest *log            // the one that was met last, nil for none
	ours   bool            // an ingester of ours was heard since the process began
	since  time.Time       // when the hearing began
	who    question        // which notices are there?
	warned map[string]bool // epochs of which a person was told that they are not alone
}

// log is what is known of the notices of one ingester.
type log struct {
	epoch   string
	began   uint64 // what next was when the process began
	next    uint64 // the first one that has no page yet; 0 while nobody has said where to begin
	newest  uint64 // the highest number that is known of
	end     bool   // there will be none behind newest
	parted  bool   // it said so before the process began, and has not been heard since
	known   uint64 // the ingester has heard that those in front of this one are done with
	waiting map[uint64]wire.Stored
	ask     question
	first   time.Time // when it was first heard since the process began; zero: never
	last    time.Time // when it was last heard
}

// mostWaiting is how many notices of one ingester wait in memory; others are asked for again.
const mostWaiting = 1000

func newInbox(at position) *inbox {
	b := &inbox{warned: map[string]bool{}}
	for _, r := range at.Epochs {
		b.latest = &log{epoch: r.Epoch, began: r.Next, next: r.Next, parted: r.End, waiting: map[uint64]wire.Stored{}}
		b.logs = append(b.logs, b.latest)
	}
	return b
}

// position is behind all notices that have a page.
func (b *inbox) position() (p position) {
	for _, l := range b.logs {
		if l.next > 0 {
			p.Epochs = append(p.Epochs, reached{l.epoch, l.next, l.parted || l.end && l.next > l.newest})
		}
	}
	p.Epochs = p.Epochs[max(len(p.Epochs)-mostEpochs, 0):]
	return p
}

// heard says that a hearing begins.
func (b *inbox) heard() {
	b.since = time.Now()
	b.who = question{}
	b.who.asked(b.since)
	for _, l := range b.logs {
		l.ask = question{}
		l.ask.quiet(time.Now())
	}
}

// untilTwo is how long the last word of an ingester may be under way when another has taken its place.
const untilTwo = 2 * time.Second

// meet returns the log of an ingester that is heard. other is the epoch of another one that is at work too, "" if there
// is none or the history has it already.
func (b *inbox) meet(epoch string, now time.Time) (l *log, other string) {
	b.ours, b.who.off = true, true
	i := slices.IndexFunc(b.logs, func(l *log) bool { return l.epoch == epoch })
	if i < 0 {
		i = len(b.logs)
		b.logs = append(b.logs, &log{epoch: epoch, waiting: map[uint64]wire.Stored{}})
	}
	l = b.logs[i]
	l.ask.silent, l.parted, l.last = 0, false, now
	if l.first.IsZero() {
		l.first, b.latest = now, l
	}
	if l != b.latest && now.Sub(b.latest.first) >= untilTwo && !b.warned[epoch] {
		b.warned[epoch] = true
		other = b.latest.epoch
	}
	return l, other
}

// untilFresh is for how long, at the beginning of a hearing, messages may be ones that the broker kept for us.
const untilFresh = 3 * time.Second

// stale reports whether a message that knows of notices up to newest may have been kept by the broker since before the process
// began: it tells nothing new, and came with all that waited for us. Its ingester may have gone on since, or ended.
func (b *inbox) stale(epoch string, newest uint64, now time.Time) (l *log, stale bool) {
	i := slices.IndexFunc(b.logs, func(l *log) bool { return l.epoch == epoch })
	if i < 0 || newest >= b.logs[i].began || now.Sub(b.since) >= untilFresh {
		return nil, false
	}
	return b.logs[i], true
}

// stored takes a notice, and reports whether it is a new one.
func (l *log) stored(n wire.Stored, now time.Time) (news bool) {
	if l.next == 0 && n.Number == 1 {
		l.next = 1
	}
	l.newest = max(l.newest, n.Number)
	if _, known := l.waiting[n.Number]; known || n.Number < l.next {
		return false
	}
	if len(l.waiting) < mostWaiting || n.Number == l.next {
		l.waiting[n.Number] = n
		l.ask.quiet(now)
	}
	return true
}

// told takes what an ingester says that it has. If it can't give notices any more that are not done with, gone is true: those
// from first to last.
func (l *log) told(t wire.Told) (first, last uint64, gone bool) {
	if t.Newest >= l.newest { // else it is older than what we know
		l.newest, l.end = t.Newest, t.End
	}
	l.known = max(l.known, t.Next)
	if _, here := l.waiting[l.next]; l.next > 0 && t.Oldest > l.next && !here {
		first, last, gone = l.next, t.Oldest-1, true
	}
	if l.next == 0 || gone {
		l.next = t.Oldest
		for number := range l.waiting {
			if number < l.next {
				delete(l.waiting, number)
			}
		}
	}
	return first, last, gone
}

// ready returns the next notice of an ingester that can be done now.
func (b *inbox) ready() (n wire.Stored, ok bool) {
	for _, l := range b.logs {
		if n, ok = l.waiting[l.next]; ok {
			return n, true
		}
	}
	return n, false
}

// given says that the notice has a page.
func (b *inbox) given(n wire.Stored) {
	i := slices.IndexFunc(b.logs, func(l *log) bool { return l.epoch == n.Epoch })
	l := b.logs[i]
	delete(l.waiting, n.Number)
	l.next = max(l.next, n.Number+1)
	b.logs = append(slices.Delete(b.logs, i, i+1), l)
}

// untilGone is for how long an ingester that was at its end must be silent until it has ended.
const untilGone = 10 * time.Second

// ended reports whether there will be no more notices, each has a page, and the ingester knows that: else it would wait for us
// for ever. One that does not know is told again (last at said), and counts as ended once it has been silent for untilGone;
// at says when that is.
func (b *inbox) ended(now, said time.Time) (ended bool, at time.Time) {
	l := b.latest
	if _, ready := b.ready(); ready || !l.done() {
		return false, time.Time{}
	}
	if l.heeded() {
		return true, time.Time{}
	}
	if at = l.last; at.Before(said) {
		at = said
	}
	at = at.Add(untilGone)
	return !now.Before(at), at
}

// done reports whether each notice has a page, and there will be no more.
func (l *log) done() bool { return l != nil && l.end && l.next > l.newest }

// heeded reports whether the ingester knows how far its notices are done with.
func (l *log) heeded() bool { return l.known >= l.next }

// gone reports whether the ingester that was followed last had said before the process began that it is at its end, and none
// was heard for untilGone since: then it has ended. at says when that will be.
func (b *inbox) gone(now time.Time) (gone bool, at time.Time) {
	if b.ours || b.latest == nil || !b.latest.parted {
		return false, time.Time{}
	}
	at = b.since.Add(untilGone)
	return !now.Before(at), at
}

// asks returns the epochs of the ingesters that are to be asked for notices now ("" asks all of them what they have), and when
// to look again; zero: only when something is heard.
func (b *inbox) asks(now time.Time) (epochs []string, next time.Time) {
	look := func(epoch string, q *question) {
		if q.off || q.silent >= mostAsks {
			return
		}
		if !now.Before(q.due) {
			q.asked(now)
			epochs = append(epochs, epoch)
		}
		next = earlier(q.due, next)
	}
	look("", &b.who)
	for _, l := range b.logs {
		if l.missing() {
			look(l.epoch, &l.ask)
		}
	}
	return epochs, next
}

// missing reports whether there is a next notice that is not here.
func (l *log) missing() bool {
	_, here := l.waiting[l.next]
	return l.newest >= l.next && !here
}

// The pauses between questions.
const (
	quiet    = 100 * time.Millisecond // from the last message to the first question
	shortest = 200 * time.Millisecond // from the first question to the second, half of it random; doubled each time
	longest  = 5 * time.Second        // the most that it is doubled to
	mostAsks = 12                     // after so many without a word no more are asked: an ingester that starts speaks by itself
)

// question is one that is asked until it is answered.
type question struct {
	off    bool
	asks   int // in a row without an answer
	silent int // in a row without any message of the one that is asked
	due    time.Time
}

// asked says that it was asked.
func (q *question) asked(now time.Time) {
	pause := min(shortest<<min(q.asks, 10), longest)
	q.asks++
	q.silent++
	q.due = now.Add(pause/2 + rand.N(pause/2))
}

// quiet says that something came, and more may follow at once: the first question waits for a pause.
func (q *question) quiet(now time.Time) { q.asks, q.silent, q.due = 0, 0, now.Add(quiet) }
