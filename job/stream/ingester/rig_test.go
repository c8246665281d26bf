package ingester

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/job/collect"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	names = wire.Names{Prefix: wire.DefaultPrefix}
	hour0 = time.Date(2023, 9, 19, 0, 0, 0, 0, time.UTC)
)

// hub is a broker in memory.
type hub struct {
	mu       sync.Mutex // guards what is below
	down     error      // of everything
	mute     error      // of Publish alone
	durable  bool
	lose     func(m connector.Message) bool
	ears     map[*ear]bool
	taps     []func(m connector.Message) // hear everything at once
	attempts int                         // that failed
	acked    int
}

// ear is one who listens.
type ear struct {
	topics []string
	came   chan connector.Message
	ended  chan error
}

func newHub() *hub { return &hub{ears: map[*ear]bool{}} }

func (h *hub) Close() error { return nil }

func (h *hub) Traits() connector.BrokerTraits {
	h.mu.Lock()
	defer h.mu.Unlock()
	return connector.BrokerTraits{Durable: h.durable, MaxPayload: 8 << 20}
}

func (h *hub) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

var errAway = fault.New(fault.Transient, "connection refused")

func (h *hub) Publish(_ context.Context, m connector.Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	h.mu.Lock()
	if err := errors.Join(h.down, h.mute); err != nil {
		h.attempts++
		full := fault.Is(h.mute, fault.Full)
		h.mu.Unlock()
		if full {
			return err
		}
		return fault.As(fault.Transient, err)
	}
	if h.lose != nil && h.lose(m) {
		h.mu.Unlock()
		return nil
	}
	for e := range h.ears {
		if slices.Contains(e.topics, m.Topic) {
			e.came <- m
		}
	}
	taps := h.taps
	h.mu.Unlock()
	for _, f := range taps {
		f(m)
	}
	return nil
}

func (h *hub) Listen(ctx context.Context, l connector.Listener) error {
	e := &ear{topics: l.Topics, came: make(chan connector.Message, 100_000), ended: make(chan error, 1)}
	h.mu.Lock()
	if h.down != nil {
		h.attempts++
		defer h.mu.Unlock()
		return h.down
	}
	h.ears[e] = true
	h.mu.Unlock()
	defer h.change(func() { delete(h.ears, e) })
	l.Ready()
	for {
		select {
		case m := <-e.came:
			err := l.Hear(connector.Heard{Message: m, Ack: func(context.Context) error {
				h.change(func() { h.acked++ })
				return nil
			}})
			if err != nil {
				return err
			}
		case err := <-e.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ends ends all hearings.
func (h *hub) ends(err error) {
	h.change(func() {
		for e := range h.ears {
			e.ended <- err
		}
	})
}

// goes takes the broker away; comes brings it back and says how many attempts were made meanwhile.
func (h *hub) goes() {
	h.change(func() { h.down, h.attempts = errAway, 0 })
	h.ends(errAway)
}

func (h *hub) comes() (attempts int) {
	h.change(func() { h.down, attempts = nil, h.attempts })
	return attempts
}

// tap hears everything from now on.
func (h *hub) tap(f func(m connector.Message)) {
	h.change(func() { h.taps = append(slices.Clip(h.taps), f) })
}

// said is what was published of one kind since.
type said[T any] struct {
	mu  sync.Mutex // guards all
	all []T
}

func listenFor[T any](h *hub) *said[T] {
	s := new(said[T])
	h.tap(func(m connector.Message) {
		if what, err := wire.Read(m); err == nil {
			if one, ok := what.(T); ok {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.all = append(s.all, one)
			}
		}
	})
	return s
}

// take returns what was said since the last time.
func (s *said[T]) take() (all []T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, s.all = s.all, nil
	return all
}

// channels are those of messages on a topic.
func (h *hub) channels(topic string) *said[string] {
	s := new(said[string])
	h.tap(func(m connector.Message) {
		if m.Topic == topic {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = append(s.all, m.Key)
		}
	})
	return s
}

// station is what a streamer is on the wire.
type station struct {
	h     *hub
	epoch string

	mu        sync.Mutex // guards what is below
	all       []wire.Manifest
	loads     map[string][]byte // by hash
	oldest    uint64            // windows before it are gone
	deaf      bool              // it answers nothing
	confirmed wire.Confirm
}

func newStation(h *hub, epoch string) *station {
	s := &station{h: h, epoch: epoch, loads: map[string][]byte{}, oldest: 1}
	h.tap(s.hear)
	return s
}

// answers says whether it answers; forgets that windows before one are gone.
func (s *station) answers(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = !yes
}

func (s *station) forgets(oldest uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = oldest
}

func (s *station) publish(m connector.Message) { _ = s.h.Publish(context.Background(), m) }

func (s *station) hear(m connector.Message) {
	what, err := wire.Read(m)
	if err != nil {
		return
	}
	s.mu.Lock()
	var answer []connector.Message
	switch a := what.(type) {
	case wire.Ask:
		if a.Epoch == s.epoch && !s.deaf {
			answer = s.answer(a)
		}
	case wire.Confirm:
		if a.Epoch == s.epoch && a.UpTo >= s.confirmed.UpTo {
			s.confirmed = a
		}
	}
	s.mu.Unlock()
	for _, m := range answer {
		s.publish(m)
	}
}

// answer needs the lock.
func (s *station) answer(a wire.Ask) []connector.Message {
	if a.Number < s.oldest {
		return []connector.Message{wire.Gone{Epoch: s.epoch, Number: a.Number}.Message(names)}
	}
	m := s.all[a.Number-1]
	out := []connector.Message{m.Message(names)}
	for _, i := range a.Batches {
		out = append(out, s.batch(m, i))
	}
	return out
}

func (s *station) batch(m wire.Manifest, i int) connector.Message {
	p := wire.Place{Batch: i, Last: i == len(m.Batches)-1, Window: m.Window}
	return connector.Message{Topic: names.Data(), Key: p.Key(), Payload: s.loads[m.Batches[i].Hash]}
}

// cut makes a window of an hour and sends nothing of it. Each batch is a payload of rows with these ids.
func (s *station) cut(hour int, payloads ...[]byte) wire.Manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := hour0.Add(time.Duration(hour) * time.Hour)
	m := wire.Manifest{Epoch: s.epoch, Number: uint64(len(s.all)) + 1, Window: fmt.Sprint(hour % 24), From: from,
		To: from.Add(time.Hour)}
	for _, load := range payloads {
		var items []json.RawMessage
		_ = json.Unmarshal(load, &items)
		m.Batches = append(m.Batches, wire.Batch{Rows: max(len(items), 1), Hash: wire.Hash(load)})
		s.loads[wire.Hash(load)] = load
	}
	s.all = append(s.all, m)
	return m
}

// send sends a window, or these batches of it.
func (s *station) send(m wire.Manifest, only ...int) {
	s.publish(m.Message(names))
	for i := range m.Batches {
		if len(only) == 0 || slices.Contains(only, i) {
			s.mu.Lock()
			load := s.batch(m, i)
			s.mu.Unlock()
			s.publish(load)
		}
	}
}

// beacon says what the streamer has.
func (s *station) beacon(end bool) {
	s.mu.Lock()
	b := wire.Beacon{Epoch: s.epoch, Oldest: min(s.oldest, uint64(len(s.all))+1), Newest: uint64(len(s.all)),
		Confirmed: s.confirmed.UpTo, End: end, From: "the station " + s.epoch}
	s.mu.Unlock()
	s.publish(b.Message(names))
}

// hums says so twice a second until stop.
func (s *station) hums() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var humming sync.WaitGroup
	humming.Go(func() {
		for ctx.Err() == nil {
			s.beacon(false)
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); humming.Wait() }
}

func (s *station) has() wire.Confirm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// ids make a payload: rows of an hour.
func ids(hour int, all ...int) []byte {
	rows := []string{}
	for _, id := range all {
		rows = append(rows, fmt.Sprintf(`{"time":"%s","id":%d}`,
			hour0.Add(time.Duration(hour)*time.Hour).Format("2006-01-02 15:04"), id))
	}
	return []byte("[" + strings.Join(rows, ",") + "]")
}

// span are the numbers from one to another.
func span(from, to int) (all []int) {
	for id := from; id <= to; id++ {
		all = append(all, id)
	}
	return all
}

// testTable makes rows, with a key or without.
func testTable(key string) *columns.Table {
	table, err := columns.New(columns.Spec{Key: key, Time: "time", Extra: columns.ExtraDrop, Zone: time.UTC,
		Columns: []columns.Column{{Name: "time", Type: columns.Time, Format: "2006-01-02 15:04"},
			{Name: "id", Type: columns.Uint64}}})
	if err != nil {
		panic(err)
	}
	return table
}

func parser(table *columns.Table) func(context.Context, [][]byte) (connector.Page, error) {
	return func(ctx context.Context, payloads [][]byte) (p connector.Page, err error) {
		r := table.Begin(ctx)
		for _, payload := range payloads {
			if err := r.AddArray(payload); err != nil {
				return p, err
			}
		}
		p.Rejected = r.Rejected
		p.Rows, err = r.Batch()
		return p, err
	}
}

// table is a sink in memory, which holds each row once, as a database with keys does.
type table struct {
	mu     sync.Mutex // guards what is below
	rows   map[string]int
	closed chan struct{} // nothing is written until it is closed; nil for open
	bad    string        // a row that it refuses
	away   error         // of a question
	meet   func(context.Context) error
}

func newSink() *table { return &table{rows: map[string]int{}} }

func (s *table) Traits() connector.SinkTraits {
	return connector.SinkTraits{Exactness: connector.ExactlyOnce}
}
func (s *table) Probe(context.Context) error  { return nil }
func (s *table) Reader() connector.SinkReader { return nil }
func (s *table) Close() error                 { return nil }

func (s *table) Prepare(ctx context.Context, _ record.Schema) error {
	s.mu.Lock()
	meet := s.meet
	s.mu.Unlock()
	return meet(ctx)
}

// set changes it while it is in use.
func (s *table) set(change func(s *table)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// empty reports whether there is no row.
func (s *table) empty(context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows) == 0, s.away
}

func (s *table) Write(ctx context.Context, d connector.Delivery) (v connector.Verdict, err error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed != nil {
		select {
		case <-closed:
		case <-ctx.Done():
			return v, fault.As(fault.Transient, ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range int(d.Rows.NumRows()) {
		id := d.Rows.Column(1).ValueStr(i)
		if id == s.bad {
			v.Rejected = append(v.Rejected, connector.RowFault{Row: i, Reason: "it is bad"})
			continue
		}
		s.rows[id]++
	}
	return v, nil
}

// shut keeps what comes out until open is called.
func (s *table) shut() (open func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := make(chan struct{})
	s.closed = closed
	return sync.OnceFunc(func() { close(closed) })
}

// holds are the ids of the rows.
func (s *table) holds() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.rows), func(a, b string) int {
		return len(a)*1000 - len(b)*1000 + strings.Compare(a, b)
	})
}

// lender runs nothing; it lends its history and room to jobs over stores that no engine has.
type lender struct{ engine.Job }

func (lender) Run(ctx context.Context) error            { <-ctx.Done(); return nil }
func (lender) Gates() []gate.Status                     { return nil }
func (lender) Promises() map[string]string              { return nil }
func (lender) Tasks(store.Reader) (engine.Tasks, error) { return engine.Tasks{}, nil }

// rig runs an ingester over a disk in memory, again and again, in a bubble.
type rig struct {
	t *testing.T
	h *hub
	// broker is the way to it.
	broker connector.Broker
	env    engine.Env
	disk   *storetest.CrashFS
	table  *columns.Table
	sinks  []*table
	cfg    Config
	job    collect.Config
	place  string          // of the first sink's table
	blind  bool            // which can't be asked
	admit  func(int) error // of the store
	stops  []func()
}

// bubble runs f in a bubble, with a rig.
func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		got := make(chan engine.Env, 1)
		e, err := engine.New(engine.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
			Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}},
			[]engine.Spec{{Name: "lender", New: func(_ context.Context, env engine.Env) (engine.Job, error) {
				got <- env
				return lender{}, nil
			}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := e.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		defer func() { cancel(); running.Wait() }()
		r := &rig{t: t, h: newHub(), env: <-got, disk: storetest.NewCrashFS(), table: testTable(""),
			sinks: []*table{newSink()}, admit: func(int) error { return nil },
			job: collect.Config{Retain: spool.Retain{Age: time.Hour}}}
		r.broker = r.h
		defer func() { // also when a test gives up
			for _, stop := range r.stops {
				stop()
			}
		}()
		f(t, r)
	})
}

// life is one of an ingester.
type life struct {
	*Source
	t     *testing.T
	job   *collect.Job
	ended chan error
	kill  context.CancelFunc
	stop  func() // and close the store
}

// begin starts an ingester.
func (r *rig) begin() *life {
	r.t.Helper()
	st := r.open()
	l, err := r.run(st)
	if err != nil {
		r.t.Fatal(err)
	}
	l.stop = sync.OnceFunc(func() {
		l.kill()
		if err := <-l.ended; err != nil {
			r.t.Errorf("the job ended with %v", err)
		}
		if err := st.Close(); err != nil {
			r.t.Error(err)
		}
	})
	r.stops = append(r.stops, l.stop)
	time.Sleep(time.Second) // until it hears
	return l
}

func (r *rig) run(st *store.Store) (*life, error) {
	ctx, kill := context.WithCancel(r.t.Context())
	env := r.env
	env.Store = st
	cfg := r.cfg
	cfg.Names, cfg.Broker, cfg.Name, cfg.Group, cfg.Key = names, r.broker, "broker", "ingester", []string{"id"}
	cfg.Table = Table{Sink: "sink0", Place: r.place, Empty: r.sinks[0].empty}
	if r.blind {
		cfg.Table.Empty = nil
	}
	if cfg.Schema = r.table.Schema(); cfg.Parse == nil {
		cfg.Parse = parser(r.table)
	}
	src, err := New(ctx, env, cfg)
	if err != nil {
		kill()
		return nil, err
	}
	var sinks []collect.Sink
	for i, s := range r.sinks {
		s.set(func(s *table) { s.meet = src.Meet })
		sinks = append(sinks, collect.Sink{Name: fmt.Sprint("sink", i), Sink: s})
	}
	job := r.job
	job.Source, job.Intake.OnTake, job.OnSettle = "broker", src.OnTake, src.OnSettle
	job.OnLack = src.OnLack
	job.Again = collect.Retry{Initial: time.Second, Max: time.Second, Jitter: -1}
	job.NextPoll = func(last time.Time) time.Time { return last }
	j, err := collect.New(ctx, env, src, sinks, job)
	if err != nil {
		kill()
		return nil, err
	}
	l := &life{Source: src, t: r.t, job: j, ended: make(chan error, 1), kill: kill}
	go func() { l.ended <- j.Run(ctx) }()
	return l, nil
}

// open opens the store while no ingester runs.
func (r *rig) open() *store.Store {
	r.t.Helper()
	o := storetest.Options(r.t, r.disk.FS())
	o.Admit = r.admit
	st, err := store.Open("/job", o)
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// books are those of the job while no ingester runs.
func (r *rig) books() engine.Books {
	r.t.Helper()
	st := r.open()
	defer st.Close()
	var b engine.Books
	err := st.View(r.t.Context(), func(rd store.Reader) (err error) {
		b, err = engine.ReadBooks(rd, r.env.Name)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if !b.Balanced() {
		r.t.Errorf("the books do not balance: %v", b.Broken)
	}
	return b
}

// views are all windows, the newest first.
func (l *life) views() []View {
	l.t.Helper()
	all, err := l.Windows(l.t.Context(), Query{})
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

// wantStates compares the states of all windows, the newest first.
func (l *life) wantStates(want ...State) {
	l.t.Helper()
	var got []State
	for _, v := range l.views() {
		got = append(got, v.State)
	}
	if !slices.Equal(got, want) {
		l.t.Errorf("windows are %v, want %v", got, want)
	}
}

// events are the texts of those of a kind, in the lender's history.
func (r *rig) events(kind string) (texts []string) {
	r.t.Helper()
	time.Sleep(time.Second) // they are kept lazily
	err := r.env.Store.View(r.t.Context(), func(rd store.Reader) error {
		all, err := engine.ReadEvents(rd, 0, 10_000)
		for _, e := range all {
			if e.Kind == kind {
				texts = append(texts, e.Text)
			}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return texts
}
