package streamer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"holdfast/job/stream/wire"
)

// deskOf is a desk with windows of so many batches, all let go.
func deskOf(limit int64, batches ...int) *desk {
	s := saved{epoch: epoch{Epoch: "e", Former: []string{"old"}}, state: state{Next: uint64(len(batches)) + 1}}
	for i, n := range batches {
		s.windows = append(s.windows, windowOf(uint64(i)+1, n))
	}
	s.pace.Released = uint64(len(batches))
	d := newDesk(s, limit)
	d.beacon = time.Unix(1e9, 0) // none is due
	return d
}

func windowOf(number uint64, batches int) *window {
	w := &window{Number: number, Pile: number, Key: fmt.Sprint(number % 24), From: day, Rows: batches}
	for range batches {
		w.Parts = append(w.Parts, part{Rows: 1, Size: 100})
	}
	return w
}

func (i item) String() string {
	switch i.kind {
	case aManifest:
		return fmt.Sprintf("m%d", i.window.Number)
	case aBatch:
		name := fmt.Sprint(i.place.Batch)
		if i.place.Last {
			name = wire.LAST
		}
		return fmt.Sprintf("%d:%s", i.window.Number, name)
	case aGone:
		return fmt.Sprintf("gone %s/%d", i.gone.Epoch, i.gone.Number)
	case theEnd:
		return "end"
	case aBeacon:
		return "beacon"
	}
	return "nothing"
}

var sometime = time.Unix(1e9, 0)

// sends sends what there is, at most max messages.
func sends(d *desk, max int) (out []string) {
	for len(out) < max {
		it, _ := d.pick(sometime, false)
		if it.kind == nothing {
			break
		}
		if out = append(out, it.String()); it.kind == aBeacon {
			d.beacon = sometime
			continue
		}
		d.sent(it, sometime)
	}
	return out
}

func wantSends(t *testing.T, d *desk, want ...string) {
	t.Helper()
	if got := sends(d, 1000); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestOrder: oldest window first, its manifest, its batches ascending; what is asked for again while it waits
// is sent once, and what was sent comes in its place among the rest.
func TestOrder(t *testing.T) {
	d := deskOf(1<<20, 3, 2, 1)
	if got := sends(d, 5); !slices.Equal(got, []string{"m1", "1:0", "1:1", "1:LAST", "beacon"}) {
		t.Fatalf("got %v", got)
	}
	d.ask(wire.Ask{Epoch: "e", Number: 1, Batches: []int{2, 0, 2}})
	d.ask(wire.Ask{Epoch: "e", Number: 1, Batches: []int{0}})
	d.ask(wire.Ask{Epoch: "e", Number: 2, Batches: []int{1}}) // it waits anyway
	wantSends(t, d, "m1", "1:0", "1:LAST", "m2", "2:0", "2:LAST", "beacon", "m3", "3:LAST", "beacon")
	if d.marks.Sent != 3 || d.unsent != 0 || d.begun != 3 {
		t.Errorf("marks %+v, %d bytes not sent", d.marks, d.unsent)
	}
}

// TestAnswers: to a question of ours and of WeatherVane's.
func TestAnswers(t *testing.T) {
	s := saved{epoch: epoch{Epoch: "e", Former: []string{"old"}}, state: state{Next: 27}, pace: paced{Released: 25},
		windows: []*window{windowOf(1, 3), windowOf(2, 2), windowOf(25, 3), windowOf(26, 3)}} // the rest is gone
	d := newDesk(s, 1<<20)
	d.beacon = sometime
	sends(d, 100)
	check := func(what string, f func(), want ...string) {
		t.Helper()
		f()
		if got := sends(d, 100); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("the manifest alone", func() { d.ask(wire.Ask{Epoch: "e", Number: 2}) }, "m2")
	check("batches", func() { d.ask(wire.Ask{Epoch: "e", Number: 2, Batches: []int{1, 0}}) }, "m2", "2:0", "2:LAST")
	check("one that is not there", func() { d.ask(wire.Ask{Epoch: "e", Number: 2, Batches: []int{7, 1}}) }, "m2", "2:LAST")
	check("gone", func() {
		d.ask(wire.Ask{Epoch: "e", Number: 3})
		d.ask(wire.Ask{Epoch: "e", Number: 3})
	}, "gone e/3")
	check("an epoch of before", func() { d.ask(wire.Ask{Epoch: "old", Number: 1}) }, "gone old/1")
	check("another streamer's", func() { d.ask(wire.Ask{Epoch: "other", Number: 1}) })
	check("not let go yet", func() { d.ask(wire.Ask{Epoch: "e", Number: 26, Batches: []int{1}}) })
	check("not cut yet", func() { d.ask(wire.Ask{Epoch: "e", Number: 27}); d.ask(wire.Ask{Epoch: "e"}) })

	check("under its number", func() { d.request(wire.Place{Batch: 1, Window: "1"}) }, "25:1") // the newest of that hour
	check("under LAST", func() { d.request(wire.Place{Last: true, Window: "1"}) }, "25:LAST")
	check("the last under its number", func() { d.request(wire.Place{Batch: 2, Window: "1"}) }, "25:2")
	check("both", func() {
		d.request(wire.Place{Batch: 2, Window: "1"})
		d.request(wire.Place{Last: true, Window: "1"})
	}, "25:LAST", "25:2")
	check("an hour without a window", func() { d.request(wire.Place{Batch: 0, Window: "9"}) })
	check("a batch too many", func() { d.request(wire.Place{Batch: 3, Window: "1"}) })
	if c := d.counts; c["unknown_windows"] != 4 || c["unknown_batches"] != 2 || c["strange_epochs"] != 1 {
		t.Errorf("counts: %v", c)
	}
}

// TestInFlight: what is under way stays below the limit while it is confirmed, what is missed does not count,
// and after a silence it goes on.
func TestInFlight(t *testing.T) {
	d := deskOf(350, 10, 10)
	wantSends(t, d, "m1", "1:0", "1:1", "1:2")
	d.confirm(wire.Confirm{Epoch: "e", Batches: 1}, sometime)
	wantSends(t, d, "1:3")
	d.confirm(wire.Confirm{Epoch: "e", Batches: 4}, sometime)
	wantSends(t, d, "1:4", "1:5", "1:6")
	d.ask(wire.Ask{Epoch: "e", Number: 1, Batches: []int{5, 6}}) // lost: repeats need no confirmation
	wantSends(t, d, "m1", "1:5", "1:6")
	it, again := d.pick(sometime, false)
	if it.kind != nothing || !again.Equal(sometime.Add(silence)) {
		t.Errorf("got %v, again at %v", it, again)
	}
	later := sometime.Add(silence)
	d.beacon = later
	if it, _ := d.pick(later, false); it.String() != "1:7" {
		t.Errorf("after the silence: got %v", it)
	}
	d.confirm(wire.Confirm{Epoch: "e", UpTo: 1, Batches: 0}, later) // it has more than we know to have sent
	if d.marks.Sent != 1 || d.marks.Confirmed != 1 || d.air.bytes != 0 {
		t.Errorf("marks %+v, %d bytes in the air", d.marks, d.air.bytes)
	}
	if it, _ := d.pick(later, false); it.String() != "m2" {
		t.Errorf("got %v, want the second window", it)
	}
	for _, c := range []wire.Confirm{{Epoch: "e", UpTo: 3}, {Epoch: "x", UpTo: 2}} {
		if d.confirm(c, later); d.marks.Confirmed != 1 {
			t.Errorf("%+v was believed", c)
		}
	}
}

// TestEnd: a job that is to end ends once everything is sent and confirmed, or can't be any more.
func TestEnd(t *testing.T) {
	ends := func(d *desk) bool {
		d.beacon = sometime
		it, _ := d.pick(sometime, true)
		return it.kind == theEnd
	}
	d := deskOf(1<<20, 2, 2)
	sends(d, 100)
	if d.marks.Sent != 2 || ends(d) {
		t.Error("it ends before the data set does")
	}
	d.over = true
	if b := d.say("x"); !b.End || b.Newest != 2 || b.Oldest != 1 || ends(d) {
		t.Errorf("it ends unconfirmed; beacon %+v", b)
	}
	d.confirm(wire.Confirm{Epoch: "e", UpTo: 1}, sometime)
	if ends(d) {
		t.Error("it ends with one window unconfirmed")
	}
	d.drop([]*window{d.windows[1], d.windows[2]}, lost)
	if b := d.say("x"); b.Oldest != 3 || b.Newest != 2 || ends(d) {
		t.Errorf("it ends, and nobody knows; beacon %+v", b)
	}
	heard := func() { d.confirm(wire.Confirm{Epoch: "e", UpTo: 2, End: true}, sometime) }
	if heard(); ends(d) {
		t.Error("it believes that somebody heard the end before it was said in this life")
	}
	d.sent(item{kind: aBeacon}, sometime)
	if heard(); !ends(d) {
		t.Error("it does not end though an ingester has heard it")
	}
	if d.keep(windowOf(3, 1)); ends(d) {
		t.Error("it ends though there is more")
	}
}

// TestSilentEnd: without a word of an ingester it ends ten seconds after it said so, or after the last word.
func TestSilentEnd(t *testing.T) {
	d := deskOf(1<<20, 2)
	d.over = true
	sends(d, 100)
	d.confirm(wire.Confirm{Epoch: "e", UpTo: 1}, sometime)
	after := func(s time.Duration) kind {
		d.beacon = sometime.Add(s)
		it, _ := d.pick(sometime.Add(s), true)
		return it.kind
	}
	if after(time.Hour) == theEnd {
		t.Error("it ends without having said it")
	}
	d.sent(item{kind: aBeacon}, sometime)
	if it, again := d.pick(sometime, true); it.kind != nothing || again.Sub(sometime) != beaconBusy {
		t.Errorf("%v, then again in %v", it, again.Sub(sometime))
	}
	d.sent(item{kind: aBeacon}, sometime.Add(5*time.Second))
	if after(untilGone-1) == theEnd || after(untilGone) != theEnd {
		t.Error("it does not end ten seconds after it said it first")
	}
	d.spoke = sometime.Add(3 * time.Second)
	if after(untilGone) == theEnd || after(untilGone+3*time.Second) != theEnd {
		t.Error("it does not end ten seconds after the last word")
	}
}

// spot is a batch of a window.
type spot struct {
	window uint64
	batch  int
}

// TestDesk: whatever is asked, confirmed, let go and forgotten meanwhile, everything that is asked for is
// sent once, in order, and the sums fit.
func TestDesk(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d := deskOf(int64(rng.IntN(2000)+1), 1+rng.IntN(5), 1+rng.IntN(5))
		now := sometime
		wanted := map[spot]bool{}
		for n := uint64(1); n < 3; n++ {
			for i := range d.windows[n].sizes {
				wanted[spot{n, i}] = true
			}
		}
		for range 400 {
			n := 1 + rng.Uint64N(d.next+1)
			switch rng.IntN(8) {
			case 0:
				w := windowOf(d.next, 1+rng.IntN(5))
				d.keep(w.light())
				d.release(w.Number)
				for i := range w.Parts {
					wanted[spot{w.Number, i}] = true
				}
			case 1:
				a := wire.Ask{Epoch: "e", Number: n, Batches: []int{rng.IntN(6), rng.IntN(6)}}
				if d.ask(a); n < d.next && d.windows[n] != nil {
					for _, i := range a.Batches {
						if i < len(d.windows[n].sizes) {
							wanted[spot{n, i}] = true
						}
					}
				}
			case 2:
				c := wire.Confirm{Epoch: "e", UpTo: min(n, d.marks.Sent), Batches: rng.IntN(3)}
				was := d.marks.Confirmed
				d.confirm(c, now)
				for n := was + 1; n <= d.marks.Confirmed; n++ {
					for i := range 6 {
						delete(wanted, spot{n, i})
					}
				}
			case 3:
				if w := d.windows[d.oldest]; w != nil && w.Number <= d.marks.Confirmed {
					for i := range w.sizes {
						delete(wanted, spot{w.Number, i})
					}
					d.drop([]*window{w}, settled)
				}
			default:
				now = now.Add(time.Duration(rng.IntN(300)) * time.Millisecond)
				d.beacon = now
				it, again := d.pick(now, false)
				if it.kind == nothing && !again.After(now) {
					t.Fatalf("seed %d: nothing to send, and to look again at once", seed)
				}
				if it.kind == aBatch {
					key := spot{it.window.Number, it.batch}
					for k := range wanted {
						if k.window < key.window || k.window == key.window && k.batch < key.batch {
							t.Fatalf("seed %d: %v goes before %v", seed, key, k)
						}
					}
					if !wanted[key] {
						t.Fatalf("seed %d: %v goes, and nobody wants it", seed, key)
					}
					delete(wanted, key)
				}
				d.sent(it, now)
			}
			bytes, unsent := int64(0), int64(0)
			for _, w := range d.windows {
				if bytes += w.weight(); w.Number > d.marks.Sent {
					unsent += w.weight()
				}
			}
			if d.bytes != bytes || d.unsent != unsent {
				t.Fatalf("seed %d: %d bytes, %d not sent; want %d and %d", seed, d.bytes, d.unsent, bytes, unsent)
			}
		}
		for range 10_000 {
			now = now.Add(time.Second)
			d.beacon = now
			it, _ := d.pick(now, false)
			if it.kind == nothing {
				break
			}
			if it.kind == aBatch {
				delete(wanted, spot{it.window.Number, it.batch})
			}
			d.sent(it, now)
		}
		if len(wanted) > 0 {
			t.Fatalf("seed %d: never sent: %v", seed, wanted)
		}
	}
}
