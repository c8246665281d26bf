package streamer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/connector"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// lender runs nothing; it lends its history and room to jobs over stores that no engine has.
type lender struct{ engine.Job }

func (lender) Run(ctx context.Context) error            { <-ctx.Done(); return nil }
func (lender) Gates() []gate.Status                     { return nil }
func (lender) Promises() map[string]string              { return nil }
func (lender) Tasks(store.Reader) (engine.Tasks, error) { return engine.Tasks{}, nil }

// lend returns what only an engine can make.
func lend(t *testing.T) (env engine.Env, stop func()) {
	t.Helper()
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
	return <-got, func() { cancel(); running.Wait() }
}

// lives runs a streamer until the disk was about to change for the n-th time since its store is open, and
// returns the disk as a power cut at that moment leaves it: what was synced, and some percent of the rest.
// What the streamer does from then on nobody hears, and nothing remembers.
func lives(t *testing.T, env engine.Env, disk *storetest.CrashFS, h *hub, cfg Config, src connector.Source,
	n, keep int, seed uint64) (next *storetest.CrashFS, ended bool) {
	t.Helper()
	ctx, kill := context.WithTimeout(t.Context(), time.Hour)
	defer kill()
	cfg.Broker = &line{hub: h}
	var mu sync.Mutex   // guards changes and next
	changes := -1 << 30 // while the store is opened
	var fs *storetest.FaultFS
	fs = disk.Faulty(func(storetest.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if changes++; changes == n {
			cfg.Broker.(*line).cut.Store(true)
			next = fs.After(keep, seed)
			kill()
		}
		return nil
	})
	st, err := store.Open("/job", storetest.Options(t, fs))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	changes = 0
	mu.Unlock()
	env.Store = st
	j, err := New(ctx, env, src, cfg)
	if err == nil {
		err = j.Run(ctx)
	}
	mu.Lock()
	cut := next
	mu.Unlock()
	if cut == nil && err != nil {
		t.Fatalf("it ended with %v: %+v", err, j.desk.figures())
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if cut != nil {
		return cut, false
	}
	return disk, true
}

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

// TestPowerCuts: whenever the power goes, the numbering has no holes and no second meaning, no manifest
// changes, and in the end every row is in one window, once, with all books right.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			env, stop := lend(t)
			defer stop()
			rng := rand.New(rand.NewPCG(seed, 8))
			var rows []obs
			for h := range 6 {
				rows = append(rows, hours(1+rng.IntN(30), h)...)
				if h > 1 {
					rows = append(rows, obs{At: day.Add(time.Duration(rng.IntN(h)) * time.Hour), Zip: fmt.Sprintf("late-%d", h)})
				}
				if rng.IntN(2) == 0 {
					rows = append(rows, obs{Zip: fmt.Sprintf("timeless-%d", h)})
				}
			}
			h := newHub()
			loses := rand.New(rand.NewPCG(seed, 9))
			// Confirmations are lost. It is called under the lock of the hub.
			h.lose = func(m connector.Message) bool { return m.Topic == names.Ask() && loses.IntN(4) == 0 }
			l := newListener(t, h)
			l.confirms = true
			defer l.listen(t.Context())()
			cfg := Config{Names: names, Group: "streamer", DataSet: "test", Batch: 4, Once: true}
			if rng.IntN(2) == 0 {
				cfg.Interval = 300 * time.Millisecond
			}
			disk := storetest.NewCrashFS()
			page := 1 + rng.IntN(20)
			for life, ended := 0, false; !ended; life++ {
				n := 1 + rng.IntN(10+3*life) // in the end a life is long enough
				disk, ended = lives(t, env, disk, h, cfg, feedOf(rows, page), n, []int{0, 0, 50, 100}[rng.IntN(4)],
					seed+uint64(life))
				checkBooks(t, env, disk, l, rows, ended)
				if t.Failed() || life > 500 {
					t.Fatalf("seed %d, life %d", seed, life)
				}
			}
		})
	}
}

// checkBooks opens a disk as it was found, and holds it against what was heard.
func checkBooks(t *testing.T, env engine.Env, disk *storetest.CrashFS, l *listener, rows []obs, ended bool) {
	t.Helper()
	copied := disk.After(100)
	st, err := store.Open("/job", storetest.Options(t, copied.FS()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	err = st.View(t.Context(), func(r store.Reader) error {
		b, err := engine.ReadBooks(r, env.Name)
		if err != nil {
			return err
		}
		if !b.Balanced() {
			t.Errorf("the books do not balance: %v", b.Broken)
		}
		s, err := readSaved(r, st.Lineage().String())
		if err != nil {
			return err
		}
		held, number := int64(0), s.state.Next
		for i := len(s.windows) - 1; i >= 0; i-- {
			w := s.windows[i]
			if number--; w.Number != number {
				t.Errorf("window %d is behind %d", number+1, w.Number)
			}
			if w.Number > s.marks.Confirmed {
				held += int64(w.Rows)
			}
			heard, is := l.manifest(s.epoch.Epoch, w.Number), w.manifest(s.epoch.Epoch)
			if heard.Number > 0 && fmt.Sprint(heard) != fmt.Sprint(is) {
				t.Errorf("window %d is %v, and was heard as %v", w.Number, is, heard)
			}
		}
		for _, p := range s.piles {
			held += int64(p.Rows)
		}
		if delivered := s.marks.ConfirmedRows + s.marks.AssumedRows; b.Accepted != delivered+held+s.marks.GivenUp {
			t.Errorf("%d rows are accepted; %d are delivered, %d are here, %d are given up", b.Accepted, delivered,
				held, s.marks.GivenUp)
		}
		for _, m := range l.all() { // what was heard is not taken back
			if m.Epoch != s.epoch.Epoch || m.Number >= s.state.Next {
				t.Errorf("window %s/%d was heard, the store is at %s/%d", m.Epoch, m.Number, s.epoch.Epoch, s.state.Next)
			}
		}
		if ended {
			wantAll(t, l, rows, b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantAll holds the rows of all windows against those of the data set.
func wantAll(t *testing.T, l *listener, rows []obs, b engine.Books) {
	t.Helper()
	want, timeless := map[string]int{}, int64(0)
	for _, o := range rows {
		if o.At.IsZero() {
			timeless++
			continue
		}
		want[o.Zip]++
	}
	payloads := map[string]string{}
	l.mu.Lock()
	for _, all := range l.data {
		for _, p := range all {
			payloads[hashOf(p)] = string(p)
		}
	}
	l.mu.Unlock()
	got := map[string]int{}
	for _, m := range l.all() {
		for i, part := range m.Batches {
			p, ok := payloads[part.Hash]
			if !ok {
				t.Errorf("batch %d of window %d never came", i, m.Number)
			}
			items, err := itemsOf([]byte(p))
			if err != nil {
				t.Error(err)
			}
			for _, it := range items {
				got[it["zip_code"].(string)]++
				at, err := time.Parse(DefaultTimeLayout, it["time"].(string))
				if err != nil {
					at, err = time.Parse(time.RFC3339, it["time"].(string))
				}
				if err != nil || at.Before(m.From) || !at.Before(m.To) {
					t.Errorf("window %v has %v", m.From, it)
				}
			}
		}
	}
	if !maps.Equal(got, want) {
		var wrong []string
		for zip, n := range want {
			if got[zip] != n {
				wrong = append(wrong, fmt.Sprintf("%s %d times", zip, got[zip]))
			}
		}
		slices.Sort(wrong)
		t.Errorf("%d of %d rows came; wrong: %s", len(got), len(want), strings.Join(wrong, ", "))
	}
	if b.Rejected != timeless || b.Accepted != int64(len(rows))-timeless || b.Duplicate != 0 {
		t.Errorf("books: %+v, want %d rejected", b.Intake, timeless)
	}
}
