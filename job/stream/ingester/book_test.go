package ingester

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

var names = wire.Names{Prefix: wire.DefaultPrefix}

// network is a broker that drops, doubles, delays, cuts and changes messages, between a streamer that answers what
// it is asked and a book. Its clock is its own.
type network struct {
	t       *testing.T
	rng     *rand.Rand
	st      *store.Store
	now     time.Time
	bad     bool
	book    *book
	flight  []connector.Message
	all     map[uint64]wire.Manifest // of the streamer, by number
	payload map[place][]byte
	oldest  uint64
	newest  uint64
	kept    map[place]int
	page    []place // on its way into the spool
	asked   int
}

func newNetwork(t *testing.T, seed uint64) *network {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	n := &network{t: t, rng: rand.New(rand.NewPCG(seed, 1)), st: st, now: time.Unix(1_700_000_000, 0).UTC(), bad: true,
		all: map[uint64]wire.Manifest{}, payload: map[place][]byte{}, oldest: 1, kept: map[place]int{}}
	n.restart()
	return n
}

// restart is the ingester's death: what was on its way into the spool is forgotten.
func (n *network) restart() {
	n.t.Helper()
	b, err := openBook(n.t.Context(), n.st, "broker")
	if err != nil {
		n.t.Fatal(err)
	}
	n.book, n.page = b, nil
	b.heard()
}

// commit takes the page into the spool.
func (n *network) commit() {
	n.t.Helper()
	err := n.book.update(func(tx *store.Tx) error { return n.book.kept(tx, n.page, 5, 5, n.now) })
	if err != nil {
		n.t.Fatal(err)
	}
	for _, at := range n.page {
		n.kept[at]++
	}
	n.page = nil
}

// send puts a message on its way.
func (n *network) send(m connector.Message) {
	for copies := 1; copies > 0; copies-- {
		if n.bad && n.rng.Float64() < 0.3 {
			continue
		}
		if n.bad && n.rng.Float64() < 0.1 {
			copies++
		}
		if n.bad && n.rng.Float64() < 0.05 && len(m.Payload) > 0 {
			m.Payload = append([]byte(nil), m.Payload[:1+n.rng.IntN(len(m.Payload))]...)
			m.Payload[n.rng.IntN(len(m.Payload))] ^= 4
		}
		at := n.rng.IntN(len(n.flight) + 1)
		n.flight = append(n.flight[:at], append([]connector.Message{m}, n.flight[at:]...)...)
	}
}

// window makes the streamer send its next window. Days repeat: its key is that of an earlier one, and batches may
// have the same payload as others.
func (n *network) window(batches int) {
	n.newest++
	m := wire.Manifest{Epoch: "e", Number: n.newest, Window: fmt.Sprint(n.newest % 3), From: n.now,
		To: n.now.Add(time.Hour)}
	for i := range batches {
		payload := fmt.Appendf(nil, "[%d]", n.rng.IntN(20))
		n.payload[place{ID{"e", n.newest}, i}] = payload
		m.Batches = append(m.Batches, wire.Batch{Rows: 1, Hash: wire.Hash(payload)})
	}
	n.all[n.newest] = m
	n.sendWindow(m, nil)
}

func (n *network) sendWindow(m wire.Manifest, only []int) {
	n.send(m.Message(names))
	for i := range m.Batches {
		if only == nil {
			n.sendBatch(m, i)
		}
	}
	for _, i := range only {
		n.sendBatch(m, i)
	}
}

func (n *network) sendBatch(m wire.Manifest, i int) {
	n.send(connector.Message{Topic: names.Data(), Key: wire.Place{Batch: i, Window: m.Window}.Key(),
		Payload: n.payload[place{ID{"e", m.Number}, i}]})
}

// arrive hands a message to whom it is for.
func (n *network) arrive(m connector.Message) {
	n.t.Helper()
	var err error
	switch m.Topic {
	case names.Data():
		at, rows, _ := n.book.find(wire.Hash(m.Payload), n.now)
		if rows < 0 {
			return
		}
		if n.page = append(n.page, at); n.bad && n.rng.Float64() < 0.02 { // died on the way into the spool
			n.restart()
		}
	case names.About():
		var about any
		if about, err = wire.Read(m); err != nil {
			return // changed on its way
		}
		switch a := about.(type) {
		case wire.Manifest:
			err = n.book.manifest(a, n.now)
		case wire.Beacon:
			_, err = n.book.beacon(a, n.now)
		case wire.Gone:
			_, err = n.book.gone(a, n.now)
		}
	case names.Ask():
		what, bad := wire.Read(m)
		a, ok := what.(wire.Ask)
		if bad != nil || !ok {
			return
		}
		if a.Number < n.oldest {
			n.send(wire.Gone{Epoch: "e", Number: a.Number}.Message(names))
			return
		}
		if a.Batches == nil {
			a.Batches = []int{}
		}
		n.sendWindow(n.all[a.Number], a.Batches)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// run lets time pass.
func (n *network) run(d time.Duration) {
	n.t.Helper()
	const step = 20 * time.Millisecond
	for end := n.now.Add(d); n.now.Before(end); n.now = n.now.Add(step) {
		if n.now.UnixMilli()%1000 < step.Milliseconds() {
			n.send(wire.Beacon{Epoch: "e", Oldest: n.oldest, Newest: n.newest}.Message(names))
		}
		asks, _ := n.book.asks(n.now)
		for _, a := range asks {
			n.asked++
			n.send(a.Message(names))
		}
		for range min(len(n.flight), 1+n.rng.IntN(10)) {
			m := n.flight[0]
			n.flight = n.flight[1:]
			n.arrive(m)
		}
		if n.rng.IntN(3) == 0 {
			n.commit()
		}
	}
}

// check holds the book against what the streamer sent: windows that it still has are complete.
func (n *network) check() {
	n.t.Helper()
	for number, m := range n.all {
		w := n.book.near[ID{"e", number}]
		if w == nil && number < n.oldest {
			continue // was gone before they met
		}
		if w == nil {
			n.t.Fatalf("window %d is not known", number)
		}
		if want := map[bool]State{true: Complete, false: Lost}[number >= n.oldest]; w.State != want &&
			w.State != Complete {
			n.t.Errorf("window %d is %s and lacks %v, want %s", number, w.State, w.Missing(), want)
		}
		if w.State == Lost && w.Because == "" {
			n.t.Errorf("window %d is lost, and nobody says why", number)
		}
		for i := range m.Batches {
			if k := n.kept[place{w.ID(), i}]; k > 1 || k == 0 && w.State == Complete {
				n.t.Errorf("batch %d of window %d was taken %d times", i, number, k)
			}
		}
	}
}

// TestLossyNetwork: whatever a broker does, every window becomes complete, each batch is taken once, and a window
// that can't be sent again is lost and not waited for.
func TestLossyNetwork(t *testing.T) {
	for seed := range uint64(20) {
		n := newNetwork(t, seed)
		for range 1 + n.rng.IntN(12) {
			n.window(n.rng.IntN(15))
			n.run(time.Duration(n.rng.IntN(800)) * time.Millisecond)
			if n.rng.IntN(4) == 0 {
				n.flight = nil // the broker died with all it had
			}
			if n.rng.IntN(6) == 0 {
				n.restart()
			}
			if n.rng.IntN(10) == 0 {
				n.oldest = min(n.oldest+1, n.newest)
			}
		}
		n.bad = false
		n.run(2 * longest)
		n.check()
		if len(n.flight) > 0 {
			t.Fatalf("seed %d: the network does not come to rest", seed)
		}
		n.asked = 0
		if n.run(5 * time.Second); n.asked > 0 {
			t.Errorf("seed %d: %d questions for windows of which nothing is missing", seed, n.asked)
		}
	}
}

// TestSilence: while nobody answers, questions become rare; when the broker is back, they come at once.
func TestSilence(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.window(3)
	n.flight = n.flight[:1] // the manifest alone
	n.arrive(n.flight[0])
	n.flight = nil
	asked := 0
	for end := n.now.Add(time.Hour); n.now.Before(end); n.now = n.now.Add(10 * time.Millisecond) {
		asks, next := n.book.asks(n.now)
		if asked += len(asks); next.IsZero() {
			t.Fatal("nobody looks again")
		}
	}
	if asked < 200 || asked > 1000 {
		t.Errorf("%d questions in an hour, want one in about ten seconds", asked)
	}
	n.book.heard()
	if asks, _ := n.book.asks(n.now); len(asks) != 1 || len(asks[0].Batches) != 3 {
		t.Errorf("behind the outage %+v is asked, want the three batches", asks)
	}
}

// TestContradiction: two manifests for one window are told, and the first holds.
func TestContradiction(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.window(3)
	m := n.all[1]
	if err := n.book.manifest(m, n.now); err != nil {
		t.Fatal(err)
	}
	m.Batches = m.Batches[:2]
	if err := n.book.manifest(m, n.now); err == nil {
		t.Error("a second manifest that says something else was taken")
	}
	if w := n.book.near[ID{"e", 1}]; len(w.Parts) != 3 {
		t.Errorf("the window has %d batches, want the 3 of the first", len(w.Parts))
	}
}
