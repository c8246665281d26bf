package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// quiet is a job that does what its function does, and has nothing to say.
type quiet func(ctx context.Context) error

func (q quiet) Run(ctx context.Context) error   { return q(ctx) }
func (quiet) Gates() []gate.Status              { return nil }
func (quiet) OpenGate(string) error             { return nil }
func (quiet) Notes() [][2]string                { return nil }
func (quiet) Quotas() []Quota                   { return nil }
func (quiet) Promises() map[string]string       { return nil }
func (quiet) Tasks(store.Reader) (Tasks, error) { return Tasks{}, nil }
func (quiet) Command(context.Context, string, []string) (string, error) {
	return "", errors.New("it knows no command")
}

// TestDamageThatIsMetWhileAJobBegins: there is no run to be stopped then, and the one that begins ends at once for the salvage.
func TestDamageThatIsMetWhileAJobBegins(t *testing.T) {
	var e *Engine
	var made atomic.Int32
	salvaged := make(chan struct{})
	spec := Spec{Name: "one", Kind: "test", New: func(context.Context, Env) (Job, error) {
		switch made.Add(1) {
		case 1:
			e.find("one").damaged(os.ErrInvalid)
		case 2:
			close(salvaged)
		}
		return quiet(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}), nil
	}}
	e, err := New(Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), Room: RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	select {
	case <-salvaged:
	case <-time.After(20 * time.Second):
		t.Error("it works on in a store that is known to be damaged")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if kept, _ := filepath.Glob(filepath.Join(JobDir(e.opts.Dir, "one"), "quarantine", "*-before-damaged*")); len(kept) != 1 {
		t.Errorf("got %d salvages, want 1", len(kept))
	}
}

// TestACheckpointIsCopiedInParts: what a kind of job keeps may be larger than memory.
func TestACheckpointIsCopiedInParts(t *testing.T) {
	largest := 0
	open := func(o store.Options) *store.Store {
		t.Helper()
		o.Log = slog.New(slog.DiscardHandler)
		st, err := store.Open(t.TempDir(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	from := open(store.Options{})
	to := open(store.Options{Admit: func(n int) error {
		largest = max(largest, n)
		return nil
	}})
	const entries, size = 3000, 5000
	value := make([]byte, size)
	fill := func(st *store.Store, first, n uint64) {
		t.Helper()
		err := st.Update(func(tx *store.Tx) error {
			for i := range n {
				tx.Set(store.Job.K().U64(first+i), value)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	fill(to, entries-10, 20) // ten of these are not in the other one
	fill(from, 0, entries)
	largest = 0
	if err := copySpaces(t.Context(), from, to, store.Job, store.Due); err != nil {
		t.Fatal(err)
	}
	if largest > copyBatch+2*size {
		t.Errorf("one commit has %d bytes, want %d at most", largest, copyBatch)
	}
	var has uint64
	err := to.Latest(func(r store.Reader) error {
		all, failed := r.Scan(store.Job.K(), store.Job.K().End())
		for k, v := range all {
			if string(k) != string(store.Job.K().U64(has)) || len(v) != size {
				t.Fatalf("got %x with %d bytes, want entry %d", k, len(v), has)
			}
			has++
		}
		return failed()
	})
	if err != nil || has != entries {
		t.Errorf("got %d entries, %v; want %d", has, err, entries)
	}
}
