package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// later is a time at which all records are too old.
func later() time.Time { return time.Now().Add(100 * 24 * time.Hour) }

// letGo has the job of a rig let records go as if it were later.
func (r *rig) letGo() {
	r.t.Helper()
	change := r.change
	r.change = func(c *Config) {
		if change != nil {
			change(c)
		}
		c.Find, c.Once = nothing{}, false
	}
	r.run(func() {
		until(r.t, "the job is there", func() bool { return r.job.Load() != nil })
		if err := r.job.Load().letGo(r.t.Context(), later()); err != nil {
			r.t.Error(err)
		}
	})
	r.change = change
}

// nothing finds nothing.
type nothing struct{}

func (nothing) Run(ctx context.Context, _ func(context.Context, []Seen) error) error {
	<-ctx.Done()
	return ctx.Err()
}
func (nothing) Scan(context.Context, func(context.Context, []Seen) error) error { return nil }
func (nothing) Notes() [][2]string                                              { return nil }

// keys counts the keys of a store's job space by what they are, and the remembered keys of queues under "k".
func (r *rig) keys() map[string]int {
	r.t.Helper()
	all := map[string]int{}
	r.view(func(rd store.Reader) error {
		entries, failed := rd.Scan(store.Key{byte(store.Job)}, store.Key{byte(store.Job)}.End())
		for k := range entries {
			all[string(k[1])]++
		}
		if err := failed(); err != nil {
			return err
		}
		entries, failed = rd.Scan(store.Tasks.K(), store.Tasks.K().End())
		for k := range entries {
			if len(k) > 5 && k[5] == 'k' {
				all["k"]++
			}
		}
		return failed()
	})
	return all
}

// placing counts the bytes that go out, by content.
type placing struct {
	connector.Destination
	mu   sync.Mutex
	sent map[[sha256.Size]byte]int
}

func (p *placing) Place(ctx context.Context, name string, c connector.Content, tell func(int64)) (connector.Placed, error) {
	p.mu.Lock()
	p.sent[c.SHA256]++
	p.mu.Unlock()
	return p.Destination.Place(ctx, name, c, tell)
}

// TestRecordsGo: records of files that are gone go with all their keys, and the counts stay; that of a file that stands
// stays, and that of a dead one.
func TestRecordsGo(t *testing.T) {
	r := newRig(t, 1)
	p := &placing{Destination: newUnreliable(t, r.to[0]).Destination, sent: map[[sha256.Size]byte]int{}}
	u := &unreliable{Destination: p}
	u.place = func(_ context.Context, name string) error {
		if strings.HasSuffix(name, "bad") {
			return fault.New(fault.Invalid, "it is bad")
		}
		return nil
	}
	r.change = func(c *Config) { c.Destinations[0].To, c.Place = u, Placer{Layout: "2006/01/02/15-04-05.000000000"} }
	for _, name := range []string{"d/stands", "d/gone", "d/e/gone too", "bad", "replaced"} {
		r.write(name, []byte(name))
	}
	r.run(nil)
	before := r.keys()
	want := map[string]int{"b": 1, "d": 1, "f": 5, "n": 1, "p": 5, "l": 5, "s": 5, "e": 4, "k": 10, "w": 1}
	if !maps.Equal(before, want) {
		t.Fatalf("there are %v, want %v", before, want)
	}
	counts := map[string]queue.Counts{}
	for _, name := range []string{"prepare", "ship-a"} {
		counts[name] = r.counts(name)
	}
	r.letGo()
	if got := r.keys(); !maps.Equal(got, want) {
		t.Errorf("all stand, and there are %v", got)
	}
	for _, name := range []string{"d/gone", "d/e", "bad"} {
		if err := os.RemoveAll(filepath.Join(r.from, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.write("replaced", []byte("another file of that name"))
	r.run(nil) // a day later, it finds that
	r.later()
	r.letGo()
	files := r.files()
	if len(files) != 3 || files["d/stands"] == nil || files["bad"] == nil || files["replaced"] == nil || files["replaced"].Size != 25 {
		t.Errorf("there are %v", maps.Keys(files))
	}
	want = map[string]int{"b": 1, "d": 1, "f": 3, "n": 1, "p": 3, "l": 3, "s": 3, "e": 2, "k": 6, "w": 1}
	if got := r.keys(); !maps.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	for name, c := range counts {
		c.Put++
		c.Done++
		if got := r.counts(name); got != c {
			t.Errorf("%s: %+v, want %+v", name, got, c)
		}
	}
	r.run(nil)
	for sum, n := range p.sent {
		if n != 1 {
			t.Errorf("%x was sent %d times", sum, n)
		}
	}
}

// later makes all records as old as they were before they were looked at.
func (r *rig) later() {
	r.t.Helper()
	r.open(func(st *store.Store) {
		err := st.Update(func(tx *store.Tx) error {
			entries, failed := tx.Scan(filesKey, filesKey.End())
			var ids []uint64
			for k := range entries {
				ids = append(ids, binary.BigEndian.Uint64(k[len(k)-8:]))
			}
			for _, id := range ids {
				f, err := readFile(tx, id)
				if err != nil {
					return err
				}
				f.Look = 0
				if err := f.put(tx); err != nil {
					return err
				}
			}
			return failed()
		})
		if err != nil {
			r.t.Fatal(err)
		}
	})
}

// TestRecordsStayWithoutTheDisk: where the disk of the originals is not mounted, or its directory can't be looked at, nothing
// says that they are gone.
func TestRecordsStayWithoutTheDisk(t *testing.T) {
	r := newRig(t, 1)
	r.write("d/a", []byte("a"))
	r.run(nil)
	r.open(func(st *store.Store) {
		err := st.Update(func(tx *store.Tx) error {
			f, err := readFile(tx, 1)
			f.Device++ // as if it were on another disk, which is not there now
			if err == nil {
				err = f.put(tx)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := os.RemoveAll(filepath.Join(r.from, "d")); err != nil {
		t.Fatal(err)
	}
	r.letGo()
	if got := len(r.files()); got != 1 {
		t.Errorf("%d records are left of 1", got)
	}
	aside := r.from + ".aside"
	if err := os.Rename(r.from, aside); err != nil {
		t.Fatal(err)
	}
	r.later()
	r.letGo()
	if got := len(r.files()); got != 1 {
		t.Errorf("without its root: %d records are left of 1", got)
	}
	if err := os.Rename(aside, r.from); err != nil {
		t.Fatal(err)
	}
	r.later()
	r.withLedger(filepath.Join(t.TempDir(), "ledger.sqlite"), "one") // who knows it
	r.letGo()
	if got := len(r.files()); got != 0 {
		t.Errorf("with a ledger: %d records are left", got)
	}
}

// TestRecordOfAReplacedFileStays: as long as the packed form stands that took its place: else that would be a new file.
func TestRecordOfAReplacedFileStays(t *testing.T) {
	needFpack(t)
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprint("same name ", same), func(t *testing.T) {
			r := newRig(t, 1)
			r.change = func(c *Config) { c.Pack, c.After = FPack(), Replace; c.Pack.SameName = same }
			r.write("a.fits", frame("2023-09-19", 1))
			r.run(nil)
			if f := r.files()["a.fits"]; f.Own == "" {
				t.Fatalf("%+v", f)
			}
			for range 2 {
				r.letGo()
				r.run(nil)
			}
			if got := len(tree(t, r.to[0])); got != 1 || len(r.files()) != 1 {
				t.Errorf("%d files are there, of %d records", got, len(r.files()))
			}
			if err := os.RemoveAll(filepath.Join(r.from, string(r.files()["a.fits"].Own))); err != nil {
				t.Fatal(err)
			}
			r.later()
			r.letGo()
			if got := r.keys(); got["f"] != 0 || got["o"] != 0 || got["k"] != 0 {
				t.Errorf("there are %v", got)
			}
		})
	}
}

// TestRecordOfAReplacedFileIsNotTheLedgers: the ledger knows the original, but not the packed form whose disk may only be away.
func TestRecordOfAReplacedFileIsNotTheLedgers(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	r.change = func(c *Config) { c.Pack, c.After = FPack(), Replace }
	r.withLedger(filepath.Join(t.TempDir(), "ledger.sqlite"), "one")
	r.write("a.fits", frame("2023-09-19", 1))
	r.run(nil)
	r.open(func(st *store.Store) {
		err := st.Update(func(tx *store.Tx) error {
			b, _, err := tx.Get(ownKey("a.fits.fz"))
			var own Identity
			if err = errors.Join(err, json.Unmarshal(b, &own)); err != nil {
				return err
			}
			own.Device++
			b, err = json.Marshal(own)
			tx.Set(ownKey("a.fits.fz"), b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := os.Remove(filepath.Join(r.from, "a.fits.fz")); err != nil {
		t.Fatal(err)
	}
	r.letGo()
	if got := len(r.files()); got != 1 {
		t.Errorf("%d records are left of 1", got)
	}
}

// TestRecordStaysWhileThereIsWork: an original that the ledger has, and that waits to be replaced, has a task of its own.
func TestRecordStaysWhileThereIsWork(t *testing.T) {
	r := newRig(t, 1)
	path := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(path, "one")
	r.write("a.fits", frame("2023-09-19", 1))
	r.run(nil)
	other := newRig(t, 1)
	other.from, other.to = r.from, r.to
	other.change = func(c *Config) {
		c.Pack, c.Overwrite, c.Once = FPack(), &Age{Recency: time.Hour}, false
	}
	other.withLedger(path, "two")
	other.run(func() {
		until(t, "it is known", func() bool {
			j := other.job.Load()
			if j == nil {
				return false
			}
			known := false
			err := j.env.Store.Latest(func(rd store.Reader) error {
				found, _, err := List(rd, Query{State: Known, Limit: 1})
				known = len(found) == 1
				return err
			})
			if err != nil {
				t.Error(err)
			}
			return known
		})
	})
	if err := os.Remove(filepath.Join(r.from, "a.fits")); err != nil {
		t.Fatal(err)
	}
	other.letGo()
	if c := other.counts("after"); c.Waiting != 1 || len(other.files()) != 1 {
		t.Errorf("%+v, and %d records", c, len(other.files()))
	}
}

// TestNeverTwice: whatever is written, removed, replaced and let go in whatever order, each file is shipped once.
func TestNeverTwice(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		r := newRig(t, 1)
		p := &placing{Destination: newUnreliable(t, r.to[0]).Destination, sent: map[[sha256.Size]byte]int{}}
		r.change = func(c *Config) { c.Destinations[0].To, c.Place = p, Placer{Layout: "2006/01/02/15-04-05.000000000"} }
		ledger := seed%2 == 1
		if ledger {
			r.withLedger(filepath.Join(t.TempDir(), "ledger.sqlite"), "one")
		}
		written := 0
		var did []string
		for range 25 {
			name := fmt.Sprintf("d%d/f%d", rnd.IntN(2), rnd.IntN(4))
			what := rnd.IntN(5)
			switch did = append(did, fmt.Sprint([]string{"write ", "remove ", "run ", "let go ", "remove d1 "}[what], name)); what {
			case 0:
				if written++; ledger { // to which other bytes at a name are a conflict
					name += fmt.Sprint("-", written)
				}
				r.write(name, fmt.Appendf(nil, "%d", written))
			case 1:
				old, err := filepath.Glob(filepath.Join(r.from, name) + "*")
				for _, name := range old {
					err = errors.Join(err, os.Remove(name))
				}
				if err != nil {
					t.Fatal(err)
				}
			case 2:
				r.run(nil)
			case 3:
				r.later()
				r.letGo()
			case 4:
				_ = os.RemoveAll(filepath.Join(r.from, "d1"))
			}
		}
		r.run(nil)
		for sum, n := range p.sent {
			if n != 1 {
				t.Errorf("seed %d: %x was sent %d times: %q", seed, sum, n, did)
			}
		}
		for name, sum := range tree(t, r.from) {
			if p.sent[sum] != 1 {
				t.Errorf("seed %d: %s was never sent: %q", seed, name, did)
			}
		}
		standing, records := len(tree(t, r.from)), len(r.files())
		r.later()
		r.letGo()
		if got := r.keys(); got["f"] != standing || got["p"] != standing || got["e"] != standing || records < standing {
			t.Errorf("seed %d: %d files stand, and there are %v: %q", seed, standing, got, did)
		}
		for _, name := range []string{"prepare", "ship-a", "after"} {
			r.counts(name) // whose books must be right
		}
	}
}
