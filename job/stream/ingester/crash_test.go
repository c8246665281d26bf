package ingester

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// line is the way to a broker, which can be cut.
type line struct {
	*hub
	cut atomic.Bool
}

func (l *line) Publish(ctx context.Context, m connector.Message) error {
	if l.cut.Load() {
		return errAway
	}
	return l.hub.Publish(ctx, m)
}

// witness is who hears what an ingester promises, and holds it to it.
type witness struct {
	t       *testing.T
	mu      sync.Mutex // guards what is below
	confirm wire.Confirm
	notices map[uint64]wire.Stored
	next    uint64 // the processor is here
}

func (w *witness) hear(h *hub, m connector.Message) {
	what, err := wire.Read(m)
	if err != nil {
		return
	}
	if answer, ok := w.note(what); ok {
		_ = h.Publish(context.Background(), answer.Message(names))
	}
}

// note takes what an ingester says; ok is true if a processor asks for more.
func (w *witness) note(what any) (answer wire.Follow, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch a := what.(type) {
	case wire.Confirm:
		if a.UpTo > w.confirm.UpTo || a.UpTo == w.confirm.UpTo && a.Batches > w.confirm.Batches {
			w.confirm = a
		}
	case wire.Stored:
		if old, ok := w.notices[a.Number]; ok && !reflect.DeepEqual(old, a) {
			w.t.Errorf("notice %d was %+v, and is %+v", a.Number, old, a)
		}
		w.notices[a.Number] = a
		if a.Number == w.next {
			w.next++
		}
	case wire.Told:
		return wire.Follow{Epoch: a.Epoch, Next: w.next}, true
	}
	return answer, false
}

// check holds a store as a power cut left it against what was heard before.
func (w *witness) check(r *rig, disk *storetest.CrashFS) {
	w.t.Helper()
	st, err := store.Open("/job", storetest.Options(w.t, disk.After(100).FS()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer st.Close()
	b, err := openBook(w.t.Context(), st, "broker")
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := b.confirmed("e"); c.UpTo < w.confirm.UpTo || c.UpTo == w.confirm.UpTo && c.Batches < w.confirm.Batches {
		w.t.Errorf("%+v was said, and %+v is kept", w.confirm, c)
	}
	for number, n := range w.notices {
		kept, err := b.notices(w.t.Context(), number, 1)
		if err != nil || len(kept) != 1 || !reflect.DeepEqual(kept[0], n) {
			w.t.Errorf("notice %+v was said, and %+v is kept, %v", n, kept, err)
		}
	}
	err = st.View(w.t.Context(), func(rd store.Reader) error {
		books, err := engine.ReadBooks(rd, r.env.Name)
		if err != nil {
			return err
		}
		if !books.Balanced() {
			w.t.Errorf("the books do not balance: %v", books.Broken)
		}
		rows := 0
		for _, x := range b.near {
			came, _ := x.rows()
			rows += came
			w.settled(rd, b, x)
		}
		if int64(rows) != books.Accepted {
			w.t.Errorf("the windows have %d rows, the books %d", rows, books.Accepted)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// settled holds a window against what the sinks have of it.
func (w *witness) settled(rd store.Reader, b *book, x *window) {
	w.t.Helper()
	sinks, err := store.NamesOf(rd, store.SinkName)
	if err != nil {
		w.t.Fatal(err)
	}
	done := len(sinks) > 0
	for _, id := range sinks {
		waits, err := spool.Waiting(rd, id)
		if err != nil {
			w.t.Fatal(err)
		}
		for seq := x.First; seq <= x.Last; seq++ {
			done = done && !waits(seq)
		}
	}
	if x.waits() && done && x.Last > 0 || x.done() && !done { // one without rows waits for the next commit
		w.t.Errorf("window %v is %s, and that every sink has it is %v", x.windowID, x.State, done)
	}
	if x.State == Stored && (x.Notice < b.log.First || x.Notice > b.log.Newest) {
		w.t.Errorf("window %v is stored, and its notice %d is not there", x.windowID, x.Notice)
	}
}

// lives runs an ingester until the disk was about to change for the n-th time, and leaves the disk as a power cut at that
// moment does: what was synced, and some percent of the rest.
func (r *rig) lives(h *hub, n, keep int, seed uint64, all func(*life) bool) (ended bool) {
	r.t.Helper()
	way := &line{hub: h}
	var mu sync.Mutex   // guards what is below while the store is open
	changes := -1 << 30 // while the store is opened
	var next *storetest.CrashFS
	var fs *storetest.FaultFS
	cut := make(chan struct{})
	fs = r.disk.Faulty(func(storetest.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if changes++; changes == n {
			way.cut.Store(true)
			next = fs.After(keep, seed)
			close(cut)
		}
		return nil
	})
	st, err := store.Open("/job", storetest.Options(r.t, fs))
	if err != nil {
		r.t.Fatal(err)
	}
	mu.Lock()
	changes = 0 // the disk changes no more when the store is closed
	mu.Unlock()
	r.broker = way
	l, err := r.run(st)
	if err != nil {
		r.t.Fatal(err)
	}
	for over := false; !over && !ended; {
		select {
		case <-cut:
			over = true
		case <-time.After(100 * time.Millisecond):
			ended = all(l)
		}
	}
	l.kill()
	err, closed := <-l.ended, st.Close()
	mu.Lock() // the store may still clean up
	defer mu.Unlock()
	if next != nil {
		err = nil
	}
	if err = errors.Join(err, closed); err != nil {
		r.t.Error(err)
	}
	if next != nil {
		r.disk = next
	}
	return ended && next == nil
}

// TestPowerCuts: whenever the power goes, nothing was confirmed or told that is not kept, the windows fit the spool and
// what the sinks have, and in the end every row is there and every window told.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(4) {
		bubble(t, func(t *testing.T, r *rig) {
			rng := rand.New(rand.NewPCG(seed, 8))
			r.sinks = append(r.sinks, newSink())
			loses := seeded(seed)
			r.h.lose = func(connector.Message) bool { return loses.IntN(5) == 0 }
			s := newStation(r.h, "e")
			w := &witness{t: t, notices: map[uint64]wire.Stored{}, next: 1}
			r.h.tap(func(m connector.Message) { w.hear(r.h, m) })
			rows, sent := 0, 0
			defer s.hums()()
			all := func(l *life) bool {
				views := l.views()
				for _, v := range views {
					if v.State != Told {
						return false
					}
				}
				return len(views) == sent
			}
			for life, ended := 0, false; !ended || life < 5; life++ {
				if life < 5 {
					sent++
					var loads [][]byte
					for range rng.IntN(5) {
						n := 1 + rng.IntN(4)
						loads = append(loads, ids(life%3, span(rows+1, rows+n)...))
						rows += n
					}
					s.send(s.cut(life%3, loads...))
				}
				n := 1 + rng.IntN(60+10*life) // in the end a life is long enough
				ended = r.lives(r.h, n, []int{0, 0, 50, 100}[rng.IntN(4)], seed+uint64(life), all)
				if w.check(r, r.disk); t.Failed() || life > 500 {
					t.Fatalf("seed %d, life %d", seed, life)
				}
			}
			for _, sink := range r.sinks {
				if got := sink.holds(); len(got) != rows {
					t.Errorf("seed %d: a sink has %d rows, want %d", seed, len(got), rows)
				}
			}
			if w.next != uint64(len(w.notices))+1 || len(w.notices) < 5 {
				t.Errorf("seed %d: %d notices, the next is %d", seed, len(w.notices), w.next)
			}
			r.disk = r.disk.After(100)
			if b := r.books(); b.Accepted != int64(rows) {
				t.Errorf("seed %d: %d rows were taken in, want %d", seed, b.Accepted, rows)
			}
		})
	}
}
