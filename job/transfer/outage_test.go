package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/localdir"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// unreliable is a destination that fails as it is told.
type unreliable struct {
	connector.Destination
	away  atomic.Bool
	tried atomic.Int64
	place func(ctx context.Context, name string) error // in front of each Place; nil for nothing
}

func (u *unreliable) Probe(ctx context.Context) error {
	if u.away.Load() {
		return fault.New(fault.Transient, "it is away")
	}
	return u.Destination.Probe(ctx)
}

func (u *unreliable) Place(ctx context.Context, name string, c connector.Content, p func(int64)) (connector.Placed, error) {
	u.tried.Add(1)
	if u.away.Load() {
		return connector.Placed{}, fault.New(fault.Transient, "it is away")
	}
	if u.place != nil {
		if err := u.place(ctx, name); err != nil {
			return connector.Placed{}, err
		}
	}
	return u.Destination.Place(ctx, name, c, p)
}

func newUnreliable(t *testing.T, dir string) *unreliable {
	t.Helper()
	d, err := localdir.New(localdir.Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return &unreliable{Destination: d}
}

// until waits for something that comes without a word.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, soon)
		}
	}
}

// TestOneIsAway: a destination that is away closes its gate and costs no attempts, and the other one gets everything
// meanwhile. When it is back, it gets everything too.
func TestOneIsAway(t *testing.T) {
	r := newRig(t, 2)
	u := newUnreliable(t, r.to[1])
	u.away.Store(true)
	r.change = func(c *Config) { c.Once, c.Destinations[1].To = false, u }
	const n = 60 // many more than may be prepared ahead
	r.run(func() {
		for i := range n {
			r.write(fmt.Sprintf("f%02d", i), []byte(fmt.Sprint(i)))
		}
		until(t, "the one that is there has all", func() bool { return len(tree(t, r.to[0])) == n })
		if got := len(tree(t, r.to[1])); got != 0 || u.tried.Load() > 2 {
			t.Errorf("%d files are there, %d were tried", got, u.tried.Load())
		}
		u.away.Store(false)
		until(t, "the other one has all too", func() bool { return len(tree(t, r.to[1])) == n })
	})
	for name, f := range r.files() {
		if f.Failures > 0 {
			t.Errorf("%s: %d attempts were spent", name, f.Failures)
		}
	}
	r.change = func(c *Config) { c.Destinations[1].To = u }
	r.run(nil)
	if got := r.done(); got != n {
		t.Errorf("%d files are done, want %d", got, n)
	}
}

// TestOneFileFails: what speaks of one file closes no gate; it is tried some times, and is a dead letter then.
func TestOneFileFails(t *testing.T) {
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	u.place = func(_ context.Context, name string) error {
		if filepath.Base(name) == "bad" {
			return fault.New(fault.Corrupt, "it came spoilt")
		}
		return nil
	}
	r.change = func(c *Config) { c.Destinations[0].To, c.Attempts = u, 2 }
	for i := range 10 {
		r.write(fmt.Sprintf("f%02d", i), []byte(fmt.Sprint(i)))
	}
	r.write("bad", []byte("bad"))
	r.run(nil)
	if got := len(tree(t, r.to[0])); got != 10 || u.tried.Load() != 12 {
		t.Errorf("%d files are there, %d times one was tried", got, u.tried.Load())
	}
	if f := r.files()["bad"]; f.State != Dead || f.Failures != 2 {
		t.Errorf("%+v", f)
	}
}

// TestTooSlow: a file that takes longer than it may is put off, and costs no attempt.
func TestTooSlow(t *testing.T) {
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	u.place = func(ctx context.Context, _ string) error {
		if u.tried.Load() > 2 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	r.change = func(c *Config) { c.Destinations[0].To, c.CopyTimeout, c.Attempts = u, 20*time.Millisecond, 1 }
	r.write("a", []byte("a"))
	r.run(nil)
	if f := r.files()["a"]; f.State != Done || f.Failures != 0 {
		t.Errorf("%+v", f)
	}
}

// TestGone: a file that is deleted before its turn, or replaced, is not shipped; the one in its place is.
func TestGone(t *testing.T) {
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	u.away.Store(true)
	r.change = func(c *Config) { c.Once, c.Destinations[0].To = false, u }
	r.run(func() {
		r.write("deleted", []byte("1"))
		r.write("replaced", []byte("2"))
		r.write("kept", []byte("3"))
		until(t, "all are prepared", func() bool { return u.tried.Load() == 0 && r.prepared() == 3 })
		if err := os.Remove(filepath.Join(r.from, "deleted")); err != nil {
			t.Fatal(err)
		}
		r.write("new", []byte("another"))
		if err := os.Rename(filepath.Join(r.from, "new"), filepath.Join(r.from, "replaced")); err != nil {
			t.Fatal(err)
		}
		u.away.Store(false)
		until(t, "two are there", func() bool { return len(tree(t, r.to[0])) >= 2 })
	})
	r.change = nil
	r.run(nil)
	got, err := os.ReadFile(filepath.Join(r.to[0], day(), "replaced"))
	if all := tree(t, r.to[0]); len(all) != 2 || string(got) != "another" {
		t.Errorf("there are %v; %q (%v)", all, got, err)
	}
	if f := r.files()["deleted"]; f.State != Gone {
		t.Errorf("%+v", f)
	}
}

// TestSuperseded: of a file that is written in several rounds, whose first state has taken its name, there is one dead letter and
// not one for each state; what is somewhere stays a letter.
func TestSuperseded(t *testing.T) {
	r := newRig(t, 2)
	there := filepath.Join(r.to[1], day(), "a")
	for i := range 4 {
		r.write("a", []byte(strings.Repeat("round ", i)))
		if i == 3 { // a person makes room for it
			for _, to := range r.to {
				if err := os.Remove(filepath.Join(to, day(), "a")); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.run(nil)
		r.view(func(rd store.Reader) error {
			n, err := balance.Letters(rd)
			if want := int64([]int{0, 2, 2, 0}[i]); n != want {
				t.Errorf("round %d: %d letters, want %d", i, n, want)
			}
			return err
		})
		states := map[State]int{}
		r.view(func(rd store.Reader) error {
			for f, err := range filesOf(rd, filesKey) {
				if err != nil {
					return err
				}
				states[f.State]++
			}
			return nil
		})
		want := []map[State]int{{Done: 1}, {Done: 1, Dead: 1}, {Done: 1, Dead: 1, Gone: 1}, {Done: 2, Gone: 2}}[i]
		if !maps.Equal(states, want) {
			t.Errorf("round %d: %v, want %v", i, states, want)
		}
	}
	// At one of two: that is a person's matter.
	r.write("a", []byte("once more"))
	if err := os.Remove(there); err != nil {
		t.Fatal(err)
	}
	r.run(nil)
	r.write("a", []byte("and again"))
	r.run(nil)
	r.view(func(rd store.Reader) error {
		n, err := balance.Letters(rd)
		if n != 3 {
			t.Errorf("%d letters, want 3", n)
		}
		return err
	})
}

// TestDeadLetters: a file that is dead has a letter, and goes on when a person retries it, or is let go; whether the job is at
// work or not.
func TestDeadLetters(t *testing.T) {
	for _, running := range []bool{false, true} {
		r := newRig(t, 1)
		u := newUnreliable(t, r.to[0])
		var mended atomic.Bool
		u.place = func(_ context.Context, name string) error {
			if !mended.Load() {
				return fault.New(fault.Invalid, "no %s here", filepath.Base(name))
			}
			return nil
		}
		r.change = func(c *Config) { c.Destinations[0].To = u }
		for _, name := range []string{"a", "b", "c"} {
			r.write(name, []byte(name))
		}
		r.run(nil)
		letters := r.letters()
		if len(letters) != 3 || !strings.Contains(letters["a"].Reason, "no a here") || letters["a"].From != "ship-a" {
			t.Errorf("%+v", letters)
		}
		mended.Store(true)
		retry := func(st *store.Store, named named) {
			if err := retryDead(st, letters["a"].ID, named); err != nil {
				t.Error(err)
			}
			if err := discardDead(st, letters["b"].ID, "not needed", named); err != nil {
				t.Error(err)
			}
		}
		if running {
			r.change = func(c *Config) { c.Once, c.Destinations[0].To = false, u }
			r.run(func() {
				until(t, "it runs", func() bool { return r.prepared() == 3 })
				j := r.job.Load()
				retry(j.env.Store, j.named)
				until(t, "the retried one is there", func() bool { return len(tree(t, r.to[0])) == 1 })
			})
			r.change = func(c *Config) { c.Destinations[0].To = u }
		} else {
			r.open(func(st *store.Store) { retry(st, atRest(st)) })
		}
		r.run(nil)
		files := r.files()
		if files["a"].State != Done || files["b"].State != Discarded || files["c"].State != Dead {
			t.Errorf("%v %v %v", files["a"].State, files["b"].State, files["c"].State)
		}
		if got := r.letters(); len(got) != 1 || got["c"].ID == 0 {
			t.Errorf("%+v", got)
		}
	}
}

// answering is a destination that answers as it is told when it is asked for what it has.
type answering struct {
	connector.Destination
	answer func(map[string][sha256.Size]byte, connector.Verified) (map[string][sha256.Size]byte, connector.Verified)
}

func (a answering) Sums(ctx context.Context, names []string) (map[string][sha256.Size]byte, connector.Verified, error) {
	sums, how, err := a.Destination.Sums(ctx, names)
	sums, how = a.answer(sums, how)
	return sums, how, err
}

// TestDeleted: originals are deleted when every destination has proved to have them, and stay otherwise.
func TestDeleted(t *testing.T) {
	for what, c := range map[string]struct {
		answer func(map[string][sha256.Size]byte, connector.Verified) (map[string][sha256.Size]byte, connector.Verified)
		left   int
	}{
		"it has them": {func(s map[string][sha256.Size]byte, how connector.Verified) (map[string][sha256.Size]byte, connector.Verified) {
			return s, how
		}, 0},
		"it has lost them": {func(_ map[string][sha256.Size]byte, how connector.Verified) (map[string][sha256.Size]byte, connector.Verified) {
			return nil, how
		}, 3},
		"it knows their size": {func(s map[string][sha256.Size]byte, _ connector.Verified) (map[string][sha256.Size]byte, connector.Verified) {
			return s, connector.BySize
		}, 3},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, 2)
			r.change = func(cfg *Config) {
				cfg.After, cfg.Attempts = Remove, 1
				cfg.Destinations[1].To = answering{cfg.Destinations[1].To, c.answer}
			}
			for i := range 3 {
				r.write(fmt.Sprint("f", i), []byte(fmt.Sprint(i)))
			}
			r.run(nil)
			if got := len(tree(t, r.from)); got != c.left {
				t.Errorf("%d originals are left, want %d", got, c.left)
			}
			if got := len(r.letters()); got != c.left {
				t.Errorf("%d dead letters, want %d", got, c.left)
			}
		})
	}
}
