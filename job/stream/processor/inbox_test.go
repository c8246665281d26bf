package processor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/job/stream/wire"
)

var hour0 = time.Date(2023, 9, 19, 0, 0, 0, 0, time.UTC)

func noticeOf(epoch string, number uint64) wire.Stored {
	from := hour0.Add(time.Duration(number-1) * time.Hour)
	return wire.Stored{Epoch: epoch, Number: number, Window: fmt.Sprint(from.Hour()), From: from,
		To: from.Add(time.Hour), Rows: 3, Sure: true}
}

// network carries messages between a model of an ingester and an inbox, in steps of virtual time.
type network struct {
	rng  *rand.Rand
	now  time.Time
	sent []delayed
	bad  bool // it loses, doubles and reorders

	epoch          string
	oldest, newest uint64
	told           time.Time // when it is told next
}

type delayed struct {
	at   time.Time
	what any
}

func (n *network) send(what any) {
	if n.bad && n.rng.Float64() < 0.3 {
		return
	}
	at := n.now
	if n.bad {
		at = at.Add(time.Duration(n.rng.IntN(400)) * time.Millisecond)
	}
	n.sent = append(n.sent, delayed{at, what})
	if n.bad && n.rng.Float64() < 0.2 {
		n.sent = append(n.sent, delayed{at.Add(time.Second), what})
	}
}

// due are the messages that arrive now.
func (n *network) due() (out []any) {
	n.sent = slices.DeleteFunc(n.sent, func(d delayed) bool {
		if d.at.After(n.now) {
			return false
		}
		out = append(out, d.what)
		return true
	})
	if n.bad {
		n.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// follow is what an ingester does with one.
func (n *network) follow(f wire.Follow) {
	if f.Epoch == n.epoch && f.Next >= n.oldest && f.Next <= n.newest+1 {
		for number := f.Next; number <= min(n.newest, f.Next+99); number++ {
			n.send(noticeOf(n.epoch, number))
		}
	}
	n.tell()
}

func (n *network) tell() {
	n.send(wire.Told{Epoch: n.epoch, Oldest: n.oldest, Newest: n.newest})
	n.told = n.now.Add(500 * time.Millisecond)
}

// step passes 10 ms, in which an inbox hears and asks; asked counts questions.
func (n *network) step(b *inbox) (asked int) {
	n.now = n.now.Add(10 * time.Millisecond)
	if !n.now.Before(n.told) {
		n.tell()
	}
	for _, m := range n.due() {
		switch m := m.(type) {
		case wire.Stored:
			l, _ := b.meet(m.Epoch, n.now)
			l.stored(m, n.now)
		case wire.Told:
			l, _ := b.meet(m.Epoch, n.now)
			l.told(m)
		case wire.Follow:
			n.follow(m)
		}
	}
	epochs, _ := b.asks(n.now)
	for _, epoch := range epochs {
		f := wire.Follow{Epoch: epoch}
		if i := slices.IndexFunc(b.logs, func(l *log) bool { return l.epoch == epoch && l.next > 0 }); i >= 0 {
			f.Next = b.logs[i].next
		} else {
			f.Epoch = ""
		}
		n.send(f)
	}
	return len(epochs)
}

// TestEveryNoticeOnce: over a network that loses, doubles and reorders, and with lives that end at any
// moment, each notice is given once, in order.
func TestEveryNoticeOnce(t *testing.T) {
	const all = 150
	for seed := range uint64(15) {
		n := &network{rng: rand.New(rand.NewPCG(seed, 1)), now: hour0, bad: true, epoch: "a", oldest: 1}
		b, cursor := newInbox(position{}), position{}.bytes()
		var got []uint64
		for step := 0; len(got) < all && step < 60_000; step++ {
			if n.newest < all && n.rng.IntN(5) == 0 {
				n.newest++
				n.send(noticeOf("a", n.newest))
			}
			n.step(b)
			dies := n.rng.IntN(200) == 0
			for s, ok := b.ready(); ok && !dies && n.rng.IntN(4) > 0; s, ok = b.ready() {
				b.given(s)
				if dies = n.rng.IntN(20) == 0; !dies { // else it dies before the commit
					got, cursor = append(got, s.Number), b.position().bytes()
				}
			}
			if dies {
				at, err := positionOf(cursor)
				if err != nil {
					t.Fatal(err)
				}
				b = newInbox(at)
				b.who.due = n.now
			}
		}
		for i, number := range got {
			if number != uint64(i+1) {
				t.Fatalf("seed %d: notice %d came as number %d", seed, number, i+1)
			}
		}
		if len(got) < all {
			t.Fatalf("seed %d: %d of %d notices came", seed, len(got), all)
		}
	}
}

// TestAsksSlowDown: who does not answer is asked more and more rarely, and in the end not at all until it
// speaks.
func TestAsksSlowDown(t *testing.T) {
	n := &network{rng: rand.New(rand.NewPCG(1, 1)), now: hour0, epoch: "a", oldest: 1, told: hour0.Add(time.Hour)}
	b := newInbox(position{Epochs: []reached{{Epoch: "a", Next: 5}}})
	b.logs[0].newest = 9
	b.who.off = true
	var asked []time.Time
	for range 12_000 { // two minutes
		if n.step(b) > 0 {
			asked = append(asked, n.now)
		}
		n.sent = nil
	}
	if len(asked) != mostAsks {
		t.Fatalf("it was asked %d times, want %d", len(asked), mostAsks)
	}
	for i := range asked[1:] {
		pause := asked[i+1].Sub(asked[i])
		if pause < 100*time.Millisecond || pause > 5100*time.Millisecond || i > 6 && pause < 2*time.Second {
			t.Errorf("pause %d is %v", i, pause)
		}
	}
	b.meet("a", n.now)
	if n.step(b) != 1 {
		t.Error("it spoke, and was not asked")
	}
	// While it speaks and does not answer, the pauses stay long.
	count := 0
	for range 1000 {
		b.meet("a", n.now)
		count += n.step(b)
	}
	if count > 6 {
		t.Errorf("in ten seconds it was asked %d times", count)
	}
}

// TestManyWait: more notices than there is room for don't take memory, and are asked for when they are next.
func TestManyWait(t *testing.T) {
	n := &network{rng: rand.New(rand.NewPCG(1, 1)), now: hour0, epoch: "a", oldest: 1, newest: 5000}
	b := newInbox(position{})
	for number := uint64(2); number <= 5000; number++ {
		l, _ := b.meet("a", n.now)
		l.stored(noticeOf("a", number), n.now)
	}
	if got := len(b.logs[0].waiting); got != mostWaiting {
		t.Errorf("%d notices wait, want %d", got, mostWaiting)
	}
	next := uint64(1)
	for range 20_000 {
		n.step(b)
		for s, ok := b.ready(); ok; s, ok = b.ready() {
			if s.Number != next {
				t.Fatalf("notice %d came, want %d", s.Number, next)
			}
			b.given(s)
			next++
		}
	}
	if next != 5001 || len(b.logs[0].waiting) != 0 {
		t.Errorf("%d notices came, %d wait", next-1, len(b.logs[0].waiting))
	}
}

// TestNewEpoch: another ingester begins at its oldest notice, whatever the one before it had.
func TestNewEpoch(t *testing.T) {
	b := newInbox(position{Epochs: []reached{{Epoch: "a", Next: 8}}})
	l, other := b.meet("b", hour0)
	if other != "" {
		t.Error("an ingester that took the place of another is told as a second one")
	}
	l.stored(noticeOf("b", 4), hour0)
	if _, ok := b.ready(); ok {
		t.Error("it begins before anybody said where")
	}
	l.told(wire.Told{Epoch: "b", Oldest: 3, Newest: 4})
	if _, ok := b.ready(); ok || !l.missing() {
		t.Error("notice 3 is not missing")
	}
	l.stored(noticeOf("b", 3), hour0)
	for _, want := range []uint64{3, 4} {
		n, ok := b.ready()
		if !ok || n.Number != want {
			t.Fatalf("got %d %v, want %d", n.Number, ok, want)
		}
		b.given(n)
	}
	if got, want := string(b.position().bytes()), `{"v":1,"epochs":[{"epoch":"a","next":8},{"epoch":"b","next":5}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// One is heard again, long after the other came: both are at work, which is told once.
	for i, c := range []struct {
		epoch string
		after time.Duration
		other string
	}{{"c", 5 * time.Second, ""}, {"b", 6 * time.Second, ""}, {"c", 7 * time.Second, ""}, {"b", 8 * time.Second, "c"},
		{"b", 9 * time.Second, ""}} {
		if _, other := b.meet(c.epoch, hour0.Add(c.after)); other != c.other {
			t.Errorf("%d: got %q, want %q", i, other, c.other)
		}
	}
}

// TestGone: notices that can't be given any more are told and passed, those that wait already are not lost.
func TestGone(t *testing.T) {
	b := newInbox(position{Epochs: []reached{{Epoch: "a", Next: 5}}})
	l, _ := b.meet("a", hour0)
	l.stored(noticeOf("a", 5), hour0)
	if _, _, gone := l.told(wire.Told{Epoch: "a", Oldest: 9, Newest: 12}); gone {
		t.Error("a notice that waits is gone")
	}
	n, _ := b.ready()
	b.given(n)
	first, last, gone := l.told(wire.Told{Epoch: "a", Oldest: 9, Newest: 12})
	if !gone || first != 6 || last != 8 || l.next != 9 {
		t.Errorf("got %d to %d %v, next %d", first, last, gone, l.next)
	}
	// An older word of the same ingester changes nothing.
	if _, _, gone := l.told(wire.Told{Epoch: "a", Oldest: 1, Newest: 3, End: true}); gone || l.next != 9 || l.newest != 12 || l.end {
		t.Errorf("an old word was taken: %+v", l)
	}
}

// TestCursors: what is no cursor of ours is refused, and one remembers so many ingesters.
func TestCursors(t *testing.T) {
	for text, kind := range map[string]fault.Kind{"": fault.Corrupt, "stream": fault.Corrupt, `{"v":2}`: fault.Permanent,
		`{}`: fault.Permanent} {
		if _, err := positionOf([]byte(text)); !fault.Is(err, kind) {
			t.Errorf("%q: got %v, want %v", text, err, kind)
		}
	}
	b := newInbox(position{})
	for i := range 40 {
		l, _ := b.meet(fmt.Sprint("e", i), hour0)
		l.told(wire.Told{Epoch: l.epoch, Oldest: 1, Newest: 1})
	}
	n := noticeOf("e0", 1)
	b.logs[0].stored(n, hour0)
	b.given(n)
	p := b.position()
	if len(p.Epochs) != mostEpochs || p.Epochs[mostEpochs-1] != (reached{Epoch: "e0", Next: 2}) {
		t.Errorf("got %v", p)
	}
	if again, err := positionOf(p.bytes()); err != nil || fmt.Sprint(again.Epochs) != fmt.Sprint(p.Epochs) {
		t.Errorf("got %v %v, want %v", again, err, p)
	}
}

// TestEnded: the end is reached behind the last notice, once the ingester knows that it is done with, or is silent; and not
// before.
func TestEnded(t *testing.T) {
	b := newInbox(position{})
	now := hour0
	check := func(what string, want bool) {
		t.Helper()
		if got, _ := b.ended(now, hour0); got != want {
			t.Errorf("%s: ended is %v, want %v", what, got, want)
		}
	}
	check("nobody was heard", false)
	l, _ := b.meet("a", now)
	l.told(wire.Told{Epoch: "a", Oldest: 1, Newest: 1, Next: 1, End: true})
	check("a notice is missing", false)
	l.stored(noticeOf("a", 1), now)
	check("a notice waits", false)
	b.given(noticeOf("a", 1))
	check("it has not heard that all is done", false)
	now = hour0.Add(untilGone - 1)
	check("it was heard just now", false)
	if _, at := b.ended(now, hour0.Add(time.Second)); !at.Equal(hour0.Add(time.Second + untilGone)) {
		t.Errorf("it is given until %v after it was told", at.Sub(hour0))
	}
	now = hour0.Add(untilGone)
	check("it is silent", true)
	b.meet("a", now)
	check("it is heard again", false)
	l.told(wire.Told{Epoch: "a", Oldest: 1, Newest: 1, Next: 2, End: true})
	check("it knows that all is done", true)
	l.told(wire.Told{Epoch: "a", Oldest: 1, Newest: 1, Next: 2})
	check("it goes on", false)
	l.told(wire.Told{Epoch: "a", Oldest: 1, Newest: 1, Next: 2, End: true})
	l.stored(noticeOf("a", 2), now)
	check("there is one more", false)
}

// TestOldHours: the one that waits longest comes first, once it has waited enough.
func TestOldHours(t *testing.T) {
	o := oldHours{}
	o.add(&oldHour{hour: 7, since: hour0.Add(time.Second)})
	o.add(&oldHour{hour: 23, since: hour0})
	o.add(&oldHour{hour: 23, since: hour0.Add(time.Minute)})
	if got := slices.Sorted(maps.Keys(o)); !slices.Equal(got, []int{7, 23}) {
		t.Errorf("got hours %v", got)
	}
	var got []string
	for _, at := range []time.Duration{0, 1999 * time.Millisecond, 2 * time.Second, 4 * time.Second, 5 * time.Second} {
		if h := o.take(hour0.Add(at)); h != nil {
			got = append(got, fmt.Sprintf("%d at %v", h.hour, at))
		}
	}
	if text := strings.Join(got, ", "); text != "23 at 2s, 7 at 4s" {
		t.Errorf("got %s", text)
	}
}

// TestStale: what a broker kept since a former life has no news, and comes at once.
func TestStale(t *testing.T) {
	b := newInbox(position{Epochs: []reached{{Epoch: "i", Next: 5}}})
	b.heard()
	for _, c := range []struct {
		epoch  string
		newest uint64
		after  time.Duration
		want   bool
	}{{"i", 4, 0, true}, {"i", 5, 0, false}, {"j", 4, 0, false}, {"i", 4, untilFresh - 1, true}, {"i", 4, untilFresh, false}} {
		if l, got := b.stale(c.epoch, c.newest, b.since.Add(c.after)); got != c.want || got != (l != nil) {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

// TestEndedInAFormerLife: an ingester that was at its end in a former life, and is not heard in this one, has ended; one
// that is heard, or had not told of its end, is waited for.
func TestEndedInAFormerLife(t *testing.T) {
	ended := newInbox(position{})
	now := time.Now()
	l, _ := ended.meet("i", now)
	l.stored(wire.Stored{Epoch: "i", Number: 1}, now)
	ended.given(l.waiting[1])
	before := ended.position()
	l.told(wire.Told{Epoch: "i", Oldest: 1, Newest: 1, End: true})
	behind := ended.position()
	l.told(wire.Told{Epoch: "i", Oldest: 1, Newest: 2, End: true})
	if p := ended.position(); p.Epochs[0].End {
		t.Error("the end is reached with a notice that is missing")
	}
	for name, c := range map[string]struct {
		at    position
		heard bool
		gone  bool
	}{
		"nothing was told": {before, false, false},
		"the end was told": {behind, false, true},
		"and it is there":  {behind, true, false},
		"a first life":     {position{}, false, false},
	} {
		b, err := positionOf(c.at.bytes())
		if err != nil {
			t.Fatal(err)
		}
		in := newInbox(b)
		in.heard()
		if c.heard {
			in.meet("i", time.Now())
		}
		if gone, _ := in.gone(in.since.Add(untilGone - time.Second)); gone {
			t.Errorf("%s: it is gone at once", name)
		}
		if gone, _ := in.gone(in.since.Add(untilGone)); gone != c.gone {
			t.Errorf("%s: gone is %v, want %v", name, gone, c.gone)
		}
		if got := in.position(); len(got.Epochs) > 0 && got.Epochs[0].End != (c.gone && !c.heard) {
			t.Errorf("%s: the next life is told %+v", name, got)
		}
	}
}
