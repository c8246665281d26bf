package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/balance"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// packedForms are what stands in the directory of packed forms.
func (r *rig) packedForms() []os.DirEntry {
	r.t.Helper()
	all, err := os.ReadDir(filepath.Join(r.dir, "jobs/frames", packedDir))
	if err != nil && !os.IsNotExist(err) {
		r.t.Error(err)
	}
	return all
}

// TestNamesThatFpackTakesForMore: no name of a file or directory says more to fpack than which file is meant.
func TestNamesThatFpackTakesForMore(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	r.dir, r.from = filepath.Join(r.dir, "data[1](x)"), filepath.Join(r.from, "from[2]")
	for _, dir := range []string{r.dir, r.from} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.change = func(c *Config) { c.Pack, c.After = FPack(), Replace }
	names := []string{"a[1].fits", "b(c).fits", "d+1.fits", "-e.fits", "@f.fits", "!g.fits", "h;i 'j'.fits", "k[/l.fits",
		"ftp:m.fits"}
	for i, name := range names {
		r.write(name, frame("2023-09-19", uint64(i)))
	}
	r.run(nil)
	files := r.files()
	for _, name := range names {
		if f := files[name]; f == nil || f.State != Done || f.Own != Name(name+".fz") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if got := tree(t, r.from); len(got) != len(names) {
		t.Errorf("there are %d files, want %d", len(got), len(names))
	}
	if got := tree(t, r.to[0]); len(got) != len(names) {
		t.Errorf("%d files came, want %d", len(got), len(names))
	}
}

// TestOriginalChangedWhilePacked: a packed form that may be of another file than the one that was hashed goes nowhere.
func TestOriginalChangedWhilePacked(t *testing.T) {
	for what, do := range map[string]string{"another": "echo other > .b; mv .b %s", "changed": "echo more >> %s"} {
		r := newRig(t, 1)
		r.change = func(c *Config) {
			c.Pack = copies(fmt.Sprintf(do, filepath.Join(r.from, "a.fits")), "")
		}
		r.write("a.fits", frame("2023-09-19", 1))
		r.run(nil)
		if f := r.files()["a.fits"]; f.State != Gone || f.Packed != nil {
			t.Errorf("%s: %s %v", what, f.State, f.Packed)
		}
		if got := tree(t, r.to[0]); len(got) > 0 {
			t.Errorf("%s: %v came", what, got)
		}
		if got := r.packedForms(); len(got) > 0 {
			t.Errorf("%s: %v is left", what, got)
		}
	}
}

// TestPackedFormIsMissing: one that is lost is made anew, or comes back from a destination that has it: all have the same bytes.
func TestPackedFormIsMissing(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprint("elsewhere ", elsewhere), func(t *testing.T) {
			r := newRig(t, 2)
			r.change = func(c *Config) {
				c.Pack = copies("", "")
				c.Pack.Command[2] = "cat $0 > $1; date +%N >> $1" // each time other bytes
				for i := range c.Destinations {
					if i == 0 && elsewhere {
						continue
					}
					u := newUnreliable(t, r.to[i])
					u.place = func(context.Context, string) error { return fault.New(fault.Invalid, "not yet") }
					c.Destinations[i].To = u
				}
			}
			whole := r.change
			r.write("a.fits", frame("2023-09-19", 1))
			r.run(nil)
			if err := os.RemoveAll(filepath.Join(r.dir, "jobs/frames", packedDir)); err != nil {
				t.Fatal(err)
			}
			r.open(func(st *store.Store) {
				var letters []uint64 // one for each destination
				err := st.Latest(func(rd store.Reader) error {
					return balance.EachDead(rd, func(d balance.DeadLetter) error {
						letters = append(letters, d.ID)
						return nil
					})
				})
				for _, id := range letters {
					err = errors.Join(err, RetryDead(st, id))
				}
				if err != nil {
					t.Error(err)
				}
			})
			r.change = func(c *Config) {
				to := c.Destinations[0].To
				other := c.Destinations[1].To
				whole(c)
				c.Destinations[0].To, c.Destinations[1].To = to, other
			}
			r.run(nil)
			if f := r.files()["a.fits"]; f.State != Done {
				t.Errorf("%s: %s", f.State, f.Why)
			}
			one, two := tree(t, r.to[0]), tree(t, r.to[1])
			if len(one) != 1 || len(two) != 1 {
				t.Fatalf("%v %v", one, two)
			}
			for name, sum := range one {
				if two[name] != sum {
					t.Errorf("%s has other bytes", name)
				}
			}
		})
	}
}

// TestLetGoAtOneDestination: a file that is let go at one destination goes to the other as what it is, and gives back what
// it holds when it is there.
func TestLetGoAtOneDestination(t *testing.T) {
	r := newRig(t, 2)
	bad, slow := newUnreliable(t, r.to[0]), newUnreliable(t, r.to[1])
	bad.place = func(context.Context, string) error { return fault.New(fault.Invalid, "never") }
	slow.away.Store(true)
	r.change = func(c *Config) {
		c.Pack, c.Once = copies("", ""), false
		c.Pack.Command[2] = "cat $0 > $1; echo packed >> $1"
		c.Destinations[0].To, c.Destinations[1].To = bad, slow
	}
	raw := frame("2023-09-19", 1)
	r.write("a.fits", raw)
	r.run(func() {
		until(t, "it is dead", func() bool { return r.prepared() == 1 && bad.tried.Load() > 0 && r.deadIn(r.job.Load()) == 1 })
	})
	letter := r.letters()["a.fits"]
	r.open(func(st *store.Store) {
		if err := DiscardDead(st, letter.ID, "not there"); err != nil {
			t.Error(err)
		}
	})
	r.run(func() {
		until(t, "what is to be done afterwards is done", func() bool { return r.prepared() == 1 && r.open0(r.job.Load().after) })
		slow.away.Store(false)
		until(t, "it is there", func() bool { return len(tree(t, r.to[1])) == 1 })
		until(t, "nothing is left", func() bool { return len(r.packedForms()) == 0 })
	})
	for name := range tree(t, r.to[1]) {
		info, err := os.Stat(filepath.Join(r.to[1], name))
		if err != nil || info.Size() != int64(len(raw)+len("packed\n")) {
			t.Errorf("%s: %v (%v)", name, info, err)
		}
	}
	if f := r.files()["a.fits"]; f.State != Discarded || f.Packed != nil {
		t.Errorf("%s %v", f.State, f.Packed)
	}
	j := &Job{}
	_, _, err := j.content(&file{Identity: Identity{Path: "d/a.fits"}, Name: "2023/a.fits.packed"})
	if !fault.Is(err, fault.Corrupt) {
		t.Errorf("a raw file as a packed one: %v", err)
	}
}

// deadIn is how many tasks of the first destination are dead.
func (r *rig) deadIn(j *Job) (n uint64) {
	err := j.env.Store.Latest(func(rd store.Reader) error {
		c, err := j.destinations[0].queue.Counts(rd)
		n = c.Dead
		return err
	})
	if err != nil {
		r.t.Error(err)
	}
	return n
}

// open0 reports whether a queue has nothing to do.
func (r *rig) open0(q *queue.Queue) bool {
	var c queue.Counts
	err := r.job.Load().env.Store.Latest(func(rd store.Reader) (err error) {
		c, err = q.Counts(rd)
		return err
	})
	return err == nil && c.Open() == 0
}

// TestRetryOfAnOverwrite: an original that was to be replaced and was not is replaced when a person retries it, although
// originals are kept.
func TestRetryOfAnOverwrite(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(ledger, "one")
	r.write("a.fits", frame("2023-09-19", 1))
	r.run(nil)
	again := newRig(t, 1)
	again.from, again.to = r.from, r.to
	var mended atomic.Bool
	again.change = func(c *Config) {
		c.Pack, c.Overwrite = copies("", "exit 1"), &Age{Within: time.Hour}
		if mended.Load() {
			c.Pack = copies("", "")
		}
	}
	again.withLedger(ledger, "two")
	again.run(nil)
	letter := again.letters()["a.fits"]
	if letter.From != afterName {
		t.Fatalf("%+v", letter)
	}
	again.open(func(st *store.Store) {
		if err := RetryDead(st, letter.ID); err != nil {
			t.Error(err)
		}
	})
	mended.Store(true)
	again.run(nil)
	if got := tree(t, r.from); len(got) != 1 || got["a.fits.packed"] == got["a.fits"] {
		t.Errorf("there are %v", got)
	}
}

// TestRetryOfGivingBack: a file that went no further, and could not give back what it holds, goes no further when it is retried.
func TestRetryOfGivingBack(t *testing.T) {
	for _, s := range []State{Known, Gone, Discarded} {
		f := &file{}
		f.did(Found, "", 0, "")
		f.did(Act(s), "", 0, "")
		f.did(Died, "after", 0, "")
		if got := f.ending(); got != s {
			t.Errorf("%s is %s", s, got)
		}
	}
	f := &file{Steps: []Step{{What: Found}, {What: Shipped}, {What: Died}}}
	if got := f.ending(); got != Finishing {
		t.Errorf("one that is everywhere is %s", got)
	}
}
