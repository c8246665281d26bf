package ingester

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/collect"
	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// network is a broker that drops, doubles, delays, cuts and changes messages, between a streamer that answers what it
// is asked, a book, and a processor. Its clock is its own, and its sinks are done with blocks by chance.
type network struct {
	t       *testing.T
	rng     *rand.Rand
	disk    *storetest.CrashFS
	st      *store.Store
	now     time.Time
	bad     bool
	book    *book
	flight  []connector.Message
	all     map[uint64]wire.Manifest // of the streamer, by number
	payload map[string][]byte        // by hash
	oldest  uint64
	newest  uint64
	kept    map[place]int
	page    []batch // on its way into the spool
	asked   int
	block   uint64          // sequence of the newest one
	settled map[uint64]bool // blocks that the sinks are done with
	said    uint64          // the newest notice that was published

	next    map[string]uint64 // the first notice that the processor lacks, by epoch
	notices []wire.Stored     // that it took
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func newNetwork(t *testing.T, seed uint64) *network {
	t.Helper()
	n := &network{t: t, rng: seeded(seed), now: time.Unix(1_700_000_000, 0).UTC(), bad: true,
		all: map[uint64]wire.Manifest{}, payload: map[string][]byte{}, oldest: 1, kept: map[place]int{},
		settled: map[uint64]bool{}, next: map[string]uint64{}}
	n.disk = storetest.NewCrashFS()
	n.open()
	t.Cleanup(func() { _ = n.st.Close() })
	n.restart()
	return n
}

func (n *network) open() {
	n.t.Helper()
	st, err := store.Open("/book", storetest.Options(n.t, n.disk.FS()))
	if err != nil {
		n.t.Fatal(err)
	}
	n.st = st
}

// renew begins another life of the store, as a restore does.
func (n *network) renew() {
	n.t.Helper()
	err := n.st.Close()
	n.open()
	if err = errors.Join(err, n.st.NewLineage(), n.st.Close()); err != nil {
		n.t.Fatal(err)
	}
	n.open()
	n.restart()
}

// restart is the ingester's death: what was on its way into the spool is forgotten.
func (n *network) restart() {
	n.t.Helper()
	b, err := openBook(n.t.Context(), n.st, "broker")
	if err != nil {
		n.t.Fatal(err)
	}
	n.book, n.page, n.said = b, nil, b.saidSoFar()
	b.heard(n.now)
}

var errFull = errors.New("there is no room")

// try makes a transaction, which now and then is not kept, as on a full disk. It is tried until it is.
func (n *network) try(change func(tx *store.Tx) error) {
	n.t.Helper()
	for n.bad && n.rng.IntN(5) == 0 {
		err := n.st.Update(func(tx *store.Tx) error { return errors.Join(n.book.within(tx, change), errFull) })
		if !errors.Is(err, errFull) {
			n.t.Fatal(err)
		}
	}
	if err := n.st.Update(func(tx *store.Tx) error { return n.book.within(tx, change) }); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) done(first, last uint64) (bool, error) {
	for seq := max(first, 1); seq <= last; seq++ {
		if !n.settled[seq] {
			return false, nil
		}
	}
	return true, nil
}

// commit takes the page into the spool, and with it whatever the sinks are done with.
func (n *network) commit() {
	n.t.Helper()
	n.block++
	n.try(func(tx *store.Tx) error {
		return errors.Join(n.book.kept(tx, n.page, collect.Taken{First: n.block, Last: n.block}, n.now),
			n.book.stored(tx, n.done, n.now))
	})
	for _, x := range n.page {
		n.kept[x.place]++
	}
	n.page = nil
}

// settle is a sink that is done with a block.
func (n *network) settle(seq uint64) {
	n.t.Helper()
	if n.settled[seq] {
		return
	}
	n.settled[seq] = true
	n.try(func(tx *store.Tx) error { return n.book.stored(tx, n.done, n.now) })
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

// window makes the streamer send its next window. Days repeat: its key is that of an earlier one, its time may be
// that of an earlier one, and batches may have the same payload as others.
func (n *network) window(batches int) {
	n.newest++
	from := hour0.Add(time.Duration(n.rng.IntN(20)) * time.Hour)
	m := wire.Manifest{Epoch: "e", Number: n.newest, Window: fmt.Sprint(n.newest % 3), From: from,
		To: from.Add(time.Hour)}
	for range batches {
		payload := fmt.Appendf(nil, "[%d]", n.rng.IntN(20))
		n.payload[wire.Hash(payload)] = payload
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
		Payload: n.payload[m.Batches[i].Hash]})
}

// arrive hands a message to whom it is for.
func (n *network) arrive(m connector.Message) {
	n.t.Helper()
	if m.Topic == names.Data() {
		x, missing, _ := n.book.find(wire.Hash(m.Payload), n.now)
		if !missing {
			return
		}
		if n.page = append(n.page, x); n.bad && n.rng.Float64() < 0.02 { // died on the way into the spool
			n.restart()
		}
		return
	}
	what, err := wire.Read(m)
	if err != nil {
		return // changed on its way
	}
	switch a := what.(type) {
	case wire.Manifest:
		err = n.book.manifest(a, n.now)
	case wire.Beacon:
		_, err = n.book.beacon(a, n.now)
	case wire.Gone:
		_, err = n.book.gone(a, n.now)
	case wire.Ask:
		n.asks(a)
	case wire.Stored, wire.Told:
		n.process(a)
	case wire.Follow:
		n.follow(a)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// asks is what the streamer does with a question.
func (n *network) asks(a wire.Ask) {
	if a.Number < n.oldest {
		n.send(wire.Gone{Epoch: "e", Number: a.Number}.Message(names))
		return
	}
	if a.Batches == nil {
		a.Batches = []int{}
	}
	n.sendWindow(n.all[a.Number], a.Batches)
}

// process is what a processor does with a notice: it takes them in order.
func (n *network) process(what any) {
	epoch := ""
	switch a := what.(type) {
	case wire.Told:
		if epoch = a.Epoch; n.next[epoch] < a.Oldest {
			n.next[epoch] = a.Oldest
		}
	case wire.Stored:
		if epoch = a.Epoch; a.Number == n.next[epoch] {
			n.notices = append(n.notices, a)
			n.next[epoch]++
		}
	}
	n.send(wire.Follow{Epoch: epoch, Next: n.next[epoch]}.Message(names))
}

// follow is what the ingester does when a processor has spoken.
func (n *network) follow(f wire.Follow) {
	n.t.Helper()
	ours, err := n.book.follow(f, n.now)
	if err != nil {
		n.t.Fatal(err)
	}
	if !ours {
		n.send(n.book.has(false).Message(names))
		return
	}
	list, err := n.book.notices(n.t.Context(), f.Next, 100)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, s := range list {
		n.send(s.Message(names))
	}
}

// run lets time pass.
func (n *network) run(d time.Duration) {
	n.t.Helper()
	const step = 20 * time.Millisecond
	for end := n.now.Add(d); n.now.Before(end); n.now = n.now.Add(step) {
		if n.now.UnixMilli()%1000 < step.Milliseconds() {
			n.filed()
			n.send(wire.Beacon{Epoch: "e", Oldest: n.oldest, Newest: n.newest}.Message(names))
			n.send(n.book.has(false).Message(names))
		}
		asks, _ := n.book.asks(n.now, false)
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
		if n.rng.IntN(4) == 0 && n.block > 0 {
			n.settle(1 + n.rng.Uint64N(n.block))
		}
		n.confirmed()
	}
}

// confirmed holds what is confirmed against what is in the spool.
func (n *network) confirmed() {
	n.t.Helper()
	c := n.book.confirmed("e")
	for number := max(n.oldest, 1); number <= c.UpTo; number++ {
		for i := range n.all[number].Batches {
			if n.kept[place{windowID{"e", number}, i}] == 0 {
				n.t.Fatalf("window %d is confirmed, and batch %d of it did not come", number, i)
			}
		}
	}
	have := 0
	for i := range n.all[c.UpTo+1].Batches {
		have += min(n.kept[place{windowID{"e", c.UpTo + 1}, i}], 1)
	}
	if c.Batches > have {
		n.t.Fatalf("%d batches of window %d are confirmed, and %d came", c.Batches, c.UpTo+1, have)
	}
}

// check holds the book against what the streamer sent, and the notices against the book: a window that the streamer still
// has is complete, every one that there is a word of is stored, and the processor knows what came of it.
func (n *network) check() {
	n.t.Helper()
	n.filed()
	last := map[time.Time]wire.Stored{}
	taken := map[time.Time]int{}
	for _, s := range n.notices {
		if s.Again < taken[s.From] {
			n.t.Errorf("notice %d is the one behind %d of its time, and %d were taken", s.Number, s.Again, taken[s.From])
		}
		taken[s.From]++
		last[s.From] = s
	}
	missing, times := map[time.Time]int{}, map[time.Time]int{}
	for number, m := range n.all {
		w := n.book.near[windowID{"e", number}]
		if w == nil && number < n.oldest {
			continue // was gone before they met
		}
		if w == nil {
			n.t.Fatalf("window %d is not known", number)
		}
		lacks := w.lacks()
		switch {
		case number >= n.oldest && (w.State != Told || len(lacks) > 0), w.State != Told && !(w.State == Lost && w.Unmade):
			n.t.Errorf("window %d is %s and lacks %v", number, w.State, lacks)
		case w.State == Lost && w.Because == "":
			n.t.Errorf("window %d is lost, and nobody says why", number)
		}
		for i := range m.Batches {
			if k := n.kept[place{w.windowID, i}]; k > 1 || !w.Unmade && (k == 1) != w.Parts[i].Have {
				n.t.Errorf("batch %d of window %d was taken %d times", i, number, k)
			}
		}
		if !w.Unmade {
			_, lost := w.rows()
			times[m.From]++
			missing[m.From] += lost
		}
	}
	for from, k := range times {
		if s := last[from]; s.Lost != missing[from] || s.Shared != (k > 1) {
			n.t.Errorf("the last word of %v is %+v, want %d rows lost and %d windows", from, s, missing[from], k)
		}
	}
}

// filed compares what is kept of the windows' states beside them.
func (n *network) filed() {
	n.t.Helper()
	n.book.mu.Lock()
	defer n.book.mu.Unlock()
	open, ready := 0, 0
	for id, w := range n.book.near {
		if is := w.State == Open; is != (n.book.open[id] == w) {
			n.t.Fatalf("window %v is %s, and filed as open: %v", id, w.State, !is)
		} else if is {
			open++
		}
		if is := w.waits(); is != (n.book.ready[id] == w) {
			n.t.Fatalf("window %v is %s, and filed as ready: %v", id, w.State, !is)
		} else if is {
			ready++
		}
		if w.Notice > 0 && n.book.noticed[w.Notice] != id {
			n.t.Fatalf("notice %d of window %v is filed as that of %v", w.Notice, id, n.book.noticed[w.Notice])
		}
	}
	if len(n.book.open) != open || len(n.book.ready) != ready || len(n.book.noticed) > len(n.book.near) {
		n.t.Fatalf("%d windows: filed are %d open, %d ready and %d notices, want %d and %d", len(n.book.near),
			len(n.book.open), len(n.book.ready), len(n.book.noticed), open, ready)
	}
}

// TestLossyNetwork: whatever a broker does, every window becomes complete and is stored, each batch is taken once, a
// window that can't be sent again is lost and not waited for, and a processor gets a notice of each, in order.
func TestLossyNetwork(t *testing.T) {
	for seed := range uint64(10) {
		n := newNetwork(t, seed)
		for range 1 + n.rng.IntN(12) {
			n.window(n.rng.IntN(15))
			n.run(time.Duration(n.rng.IntN(800)) * time.Millisecond)
			if n.rng.IntN(4) == 0 {
				n.flight = nil // the broker died with all it had
			}
			if n.rng.IntN(10) == 0 { // an older state of the store came back
				n.renew()
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
		for seq := range n.block {
			n.settle(seq + 1)
		}
		n.run(10 * time.Second)
		n.check()
		if n.asked = 0; t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if n.run(5 * time.Second); n.asked > 0 {
			t.Errorf("seed %d: %d questions for windows of which nothing is missing", seed, n.asked)
		}
	}
}

// TestSilence: while nobody answers, questions become rare, but not those to a streamer that is heard; when the broker is back,
// they come at once.
func TestSilence(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.met()
	n.window(3)
	n.flight = nil
	if err := n.book.manifest(n.all[1], n.now); err != nil { // it alone is heard
		t.Fatal(err)
	}
	for here, most := range map[bool]time.Duration{false: longest, true: longer} {
		asked := 0
		for end := n.now.Add(time.Hour); n.now.Before(end); n.now = n.now.Add(10 * time.Millisecond) {
			asks, next := n.book.asks(n.now, here)
			if asked += len(asks); next.After(n.now.Add(2 * longest)) {
				t.Fatal("nobody looks again")
			}
		}
		if want := int(time.Hour / most); asked < want/2 || asked > 2*want {
			t.Errorf("%d questions in an hour (heard: %v), want one in about %v", asked, here, most)
		}
	}
	n.book.heard(n.now)
	if asks, _ := n.book.asks(n.now, false); len(asks) != 1 || len(asks[0].Batches) != 3 {
		t.Errorf("behind the outage %+v is asked, want the three batches", asks)
	}
}

// met is a beacon that is heard, of a streamer that has sent nothing.
func (n *network) met() {
	n.t.Helper()
	if _, err := n.book.beacon(wire.Beacon{Epoch: "e", Oldest: 1}, n.now); err != nil {
		n.t.Fatal(err)
	}
}

// TestContradiction: two manifests for one window are told, and the first holds.
func TestContradiction(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.met()
	n.window(3)
	m := n.all[1]
	if err := n.book.manifest(m, n.now); err != nil {
		t.Fatal(err)
	}
	m.Batches = m.Batches[:2]
	if err := n.book.manifest(m, n.now); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second manifest that says something else: %v", err)
	}
	if w := n.book.near[windowID{"e", 1}]; len(w.Parts) != 3 {
		t.Errorf("the window has %d batches, want the 3 of the first", len(w.Parts))
	}
	if err := n.book.manifest(wire.Manifest{Epoch: "e", Number: mostNew + 100}, n.now); !fault.Is(err, fault.Invalid) {
		t.Errorf("a window far ahead of all: %v", err)
	}
}
