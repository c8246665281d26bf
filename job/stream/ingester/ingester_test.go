package ingester

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/redis"
	"holdfast/connector/sqlite"
	"holdfast/job/collect"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// soon bounds every wait.
const soon = time.Minute

// hostile is a broker that drops, doubles and changes what it is given.
type hostile struct {
	connector.Broker
	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func (h *hostile) chance(p float64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.Float64() < p
}

func (h *hostile) Publish(ctx context.Context, m connector.Message) error {
	if h.chance(0.3) {
		return nil
	}
	if h.chance(0.05) && len(m.Payload) > 0 {
		m.Payload = bytes.Replace(m.Payload, []byte("1"), []byte("2"), 1)
	}
	if h.chance(0.1) {
		if err := h.Broker.Publish(ctx, m); err != nil {
			return err
		}
	}
	return h.Broker.Publish(ctx, m)
}

// sender sends windows of rows and answers what it is asked, from memory: what a streamer does on the wire.
type sender struct {
	t      *testing.T
	broker connector.Broker

	mu    sync.Mutex // guards what is below
	all   []wire.Manifest
	loads map[uint64][][]byte
	rows  int
}

func (s *sender) publish(m connector.Message) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.broker.Publish(ctx, m) // what is lost is asked for
}

// window cuts the next rows into a window and sends it.
func (s *sender) window(batches, size int) {
	s.mu.Lock()
	m := wire.Manifest{Epoch: "e", Number: uint64(len(s.all) + 1), Window: fmt.Sprint(len(s.all) % 24),
		From: time.Unix(int64(len(s.all))*3600, 0).UTC(), To: time.Unix(int64(len(s.all)+1)*3600, 0).UTC()}
	for range batches {
		var items []map[string]any
		for range size {
			s.rows++
			items = append(items, map[string]any{"id": s.rows, "temp_c": float64(s.rows) / 4})
		}
		payload, err := json.Marshal(items)
		if err != nil {
			s.t.Error(err)
		}
		s.loads[m.Number] = append(s.loads[m.Number], payload)
		m.Batches = append(m.Batches, wire.Batch{Rows: size, Hash: wire.Hash(payload)})
	}
	s.all = append(s.all, m)
	s.mu.Unlock()
	s.publish(m.Message(names))
	for i := range m.Batches {
		s.batch(m, i)
	}
}

func (s *sender) batch(m wire.Manifest, i int) {
	s.mu.Lock()
	load := s.loads[m.Number][i]
	s.mu.Unlock()
	s.publish(connector.Message{Topic: names.Data(), Key: wire.Place{Batch: i, Window: m.Window}.Key(), Payload: load})
}

// serve answers questions and sends beacons until ctx ends.
func (s *sender) serve(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() {
		for ctx.Err() == nil {
			_ = s.broker.Listen(ctx, connector.Listener{Topics: []string{names.Ask()}, Group: "streamer", Ready: func() {},
				Hear: func(m connector.Heard) error {
					what, err := wire.Read(m.Message)
					a, ok := what.(wire.Ask)
					if err != nil || !ok {
						return nil
					}
					s.mu.Lock()
					manifest := s.all[a.Number-1]
					s.mu.Unlock()
					s.publish(manifest.Message(names))
					for _, i := range a.Batches {
						s.batch(manifest, i)
					}
					return nil
				}})
			time.Sleep(20 * time.Millisecond)
		}
	})
	both.Go(func() {
		for ctx.Err() == nil {
			s.mu.Lock()
			newest := uint64(len(s.all))
			s.mu.Unlock()
			s.publish(wire.Beacon{Epoch: "e", Oldest: 1, Newest: newest}.Message(names))
			time.Sleep(100 * time.Millisecond)
		}
	})
	both.Wait()
}

// ingesting is an ingester behind a broker, and an SQLite file.
type ingesting struct {
	t   *testing.T
	dir string
	b   connector.Broker
}

// run runs the job until the table has so many rows, which it returns.
func (g *ingesting) run(want int) (ids []int) {
	g.t.Helper()
	table, err := columns.New(columns.Spec{Extra: columns.ExtraDrop, Columns: []columns.Column{
		{Name: "id", Type: columns.Uint64}, {Name: "temp_c", Type: columns.Float64}}, Key: "id"})
	if err != nil {
		g.t.Fatal(err)
	}
	file := filepath.Join(g.dir, "weather.sqlite")
	ctx, cancel := context.WithCancel(g.t.Context())
	e, err := engine.New(engine.Options{Dir: g.dir, Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{{Name: "weather", Kind: "stream",
		New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			src, err := New(ctx, env, Config{Name: "broker", Names: names, Broker: g.b, Group: "ingester",
				Schema: table.Schema(), Parse: parser(table)})
			if err != nil {
				return nil, err
			}
			lite, err := sqlite.New(sqlite.Config{Path: file, Table: "rows"})
			if err != nil {
				return nil, err
			}
			return collect.New(ctx, env, src, []collect.Sink{{Name: "main", Sink: lite, Every: 50 * time.Millisecond}},
				collect.Config{Source: "broker", Noun: "rows", Intake: collect.IntakeOptions{OnTake: src.OnTake}, OnSettle: src.OnSettle,
					NextPoll: func(time.Time) time.Time { return time.Now() }})
		}}})
	if err != nil {
		g.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			g.t.Error(err)
		}
	}()
	deadline := time.Now().Add(soon)
	for ids = g.ids(file); len(ids) < want; ids = g.ids(file) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%d of %d rows came", len(ids), want)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ids
}

func (g *ingesting) ids(file string) (ids []int) {
	g.t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		g.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("select id from rows order by id")
	if err != nil {
		return nil // there is no table yet
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			g.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// TestRepair: over a Redis that loses a third of the messages, doubles and changes others, dies and comes back
// empty, and with an ingester that dies too, every row is in the database once, and every window is complete.
func TestRepair(t *testing.T) {
	server := testenv.Redis(t)
	b, err := redis.OpenBroker(redis.BrokerConfig{URL: "redis://" + server.Addr(), Password: "geheim123",
		Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	h := &hostile{Broker: b, rng: rand.New(rand.NewPCG(4, 2))}
	s := &sender{t: t, broker: h, loads: map[uint64][][]byte{}}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { s.serve(ctx) })
	t.Cleanup(func() { cancel(); serving.Wait() })

	g := &ingesting{t: t, dir: t.TempDir(), b: h}
	s.window(8, 50) // while nobody listens
	serving.Go(func() {
		for i := range 6 {
			time.Sleep(150 * time.Millisecond)
			if s.window(8, 50); i == 2 {
				server.Restart()
			}
		}
	})
	first := g.run(1000)
	if len(first) == 0 || !slices.IsSorted(first) {
		t.Fatalf("got %d rows", len(first))
	}
	ids := g.run(7 * 8 * 50) // with another life of the ingester
	for i, id := range ids {
		if id != i+1 {
			t.Fatalf("row %d is %d: rows are missing or doubled", i+1, id)
		}
	}
	st, err := store.Open(engine.JobDir(g.dir, "weather"), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	book, err := openBook(t.Context(), st, "broker")
	if err != nil {
		t.Fatal(err)
	}
	if len(book.near) != 7 {
		t.Errorf("%d windows are known, want 7", len(book.near))
	}
	for _, w := range book.near {
		if w.State != Stored || w.First == 0 || w.Last < w.First {
			t.Errorf("window %v is %s in blocks %d to %d and lacks %v", w.windowID, w.State, w.First, w.Last, w.lacks())
		}
	}
}
