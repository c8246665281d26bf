package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// gateOf is a gate of the running job.
func (r *rig) gateOf(name string) (s gate.Status) {
	if j := r.job.Load(); j != nil {
		for _, g := range j.Gates() {
			if g.Name == name {
				return g
			}
		}
	}
	return s
}

// spent fails the test if a file is not done, or cost an attempt.
func (r *rig) spent() {
	r.t.Helper()
	for name, f := range r.files() {
		if f.State != Done || f.Failures != 0 {
			r.t.Errorf("%s is %s after %d failures: %s", name, f.State, f.Failures, f.Why)
		}
	}
}

// TestSourceAway: while the directory of the originals is away, its files wait, and none is gone.
func TestSourceAway(t *testing.T) {
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	u.away.Store(true)
	given := make(chan struct{})
	r.change = func(c *Config) {
		c.Once, c.Attempts, c.Destinations[0].To, c.Find = false, 1, u, onceOf{walker{r.from}, given}
	}
	for i := range 5 {
		r.write(fmt.Sprint("f", i), []byte(fmt.Sprint(i)))
	}
	r.run(func() {
		<-given
		until(t, "all are prepared", func() bool { return r.prepared() == 5 })
		away := r.from + ".away"
		if err := os.Rename(r.from, away); err != nil {
			t.Fatal(err)
		}
		u.away.Store(false)
		until(t, "the gate of the source is closed", func() bool {
			g := r.gateOf("source")
			return g.Name != "" && !g.Open && g.Kind == "outage" && strings.Contains(g.Cause, r.from)
		})
		if g := r.gateOf("a"); g.Cause != "" && !strings.Contains(g.Cause, "it is away") {
			t.Errorf("the gate of the destination says %s", g.Cause)
		}
		if err := os.Rename(away, r.from); err != nil {
			t.Fatal(err)
		}
		until(t, "all are there", func() bool { return len(tree(t, r.to[0])) == 5 })
		until(t, "the gate is open", func() bool { return r.gateOf("source").Open })
	})
	r.change = nil
	r.run(nil)
	r.spent()
}

// TestAwayWhilePacked: a command that fails because the original is away says nothing of the file.
func TestAwayWhilePacked(t *testing.T) {
	r := newRig(t, 1)
	away := r.from + ".away"
	script := fmt.Sprintf("if test -e %[1]s; then cp $0 $1; else touch %[1]s; mv %[2]s %[3]s; exit 1; fi",
		filepath.Join(t.TempDir(), "tried"), r.from, away)
	given := make(chan struct{})
	r.change = func(c *Config) {
		c.Once, c.Attempts, c.Find = false, 1, onceOf{walker{r.from}, given}
		c.Pack = &Packer{Command: []string{"sh", "-c", script, "{in}", "{out}"}, Suffix: ".p",
			Matches: func(string) bool { return true }}
	}
	r.write("a", []byte("a"))
	r.run(func() {
		until(t, "the gate of the source is closed", func() bool { return r.gateOf("source").Kind == "outage" })
		if err := os.Rename(away, r.from); err != nil {
			t.Fatal(err)
		}
		until(t, "it is there", func() bool { return len(tree(t, r.to[0])) == 1 })
	})
	r.change = nil
	r.run(nil)
	r.spent()
}

// onceOf finds what there is once, says so, and waits.
type onceOf struct {
	walker
	given chan struct{}
}

func (o onceOf) Run(ctx context.Context, give func(context.Context, []Seen) error) error {
	if err := o.Scan(ctx, give); err != nil {
		return err
	}
	close(o.given)
	<-ctx.Done()
	return ctx.Err()
}

// TestMayReturn: a file is gone for good if the directory where it stood is on its disk, or on one that files are found on now.
func TestMayReturn(t *testing.T) {
	root := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		t.Fatal(err)
	}
	j := &Job{cfg: Config{Root: root}}
	j.origin = &origin{devices: map[uint64]bool{}, gate: gate.New("source", gate.Options{})}
	here := Identity{Path: "n/a", Device: st.Dev, Inode: 1}
	elsewhere := here
	elsewhere.Device++
	if j.mayReturn(here) || !j.mayReturn(elsewhere) {
		t.Errorf("on its disk: %v; on another: %v", j.mayReturn(here), j.mayReturn(elsewhere))
	}
	source, ok := j.notThere(&file{Identity: elsewhere}).(*sourceError)
	if !ok || !source.away || fault.HintOf(source) == "" {
		t.Fatalf("%+v", source)
	}
	j.origin.report(source)
	if err := j.probeSource(t.Context()); !fault.Is(err, fault.Transient) {
		t.Errorf("the disk is away, and the probe says %v", err)
	}
	j.origin.saw([]Seen{{Identity: here}})
	if err := j.probeSource(t.Context()); err != nil || j.mayReturn(elsewhere) {
		t.Errorf("the disk has another number now, and the probe says %v", err)
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if !j.mayReturn(here) || j.probeSource(t.Context()) == nil {
		t.Error("the root is not there")
	}
}

// TestBackAgain: a file that was moved away before its turn, and back, is brought.
func TestBackAgain(t *testing.T) {
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	u.away.Store(true)
	r.change = func(c *Config) { c.Once, c.Destinations[0].To = false, u }
	aside := filepath.Join(t.TempDir(), "aside")
	r.write("a", []byte("a"))
	r.run(func() {
		until(t, "it is prepared", func() bool { return r.prepared() == 1 })
		if err := os.Rename(filepath.Join(r.from, "a"), aside); err != nil {
			t.Fatal(err)
		}
		u.away.Store(false)
		r.write("b", []byte("b"))
		until(t, "the other one is there", func() bool { return len(tree(t, r.to[0])) == 1 })
		if err := os.Rename(aside, filepath.Join(r.from, "a")); err != nil {
			t.Fatal(err)
		}
		until(t, "both are there", func() bool { return len(tree(t, r.to[0])) == 2 })
	})
	r.change = nil
	r.run(nil)
	if c := r.counts("prepare"); c.Done != 3 || c.Put != 3 {
		t.Errorf("%+v", c)
	}
	if c := r.counts("ship-a"); c.Done != 2 || c.Dropped != 1 {
		t.Errorf("%+v", c)
	}
}

// TestSourceFails: what speaks of the source costs no attempt, what speaks of one file there does; and neither closes the gate of
// the destination, whatever its connector makes of it.
func TestSourceFails(t *testing.T) {
	failed := func(no error) error { return ofSource(&fs.PathError{Op: "read", Path: "x", Err: no}) }
	r := newRig(t, 1)
	u := newUnreliable(t, r.to[0])
	var stale atomic.Int64
	u.place = func(_ context.Context, name string) error {
		switch filepath.Base(name) {
		case "stale":
			if stale.Add(1) < 4 {
				return fault.New(fault.Transient, "read the file here: %w", failed(unix.ESTALE))
			}
		case "spoilt":
			return fault.New(fault.Transient, "read the file here: %w", failed(unix.EIO))
		}
		return nil
	}
	m := &misread{Destination: u}
	r.change = func(c *Config) { c.Attempts, c.Destinations[0].To = 2, m }
	for _, name := range []string{"stale", "spoilt", "unread", "good"} {
		r.write(name, []byte(name))
	}
	r.run(nil)
	files := r.files()
	for name, want := range map[string]State{"stale": Done, "spoilt": Dead, "unread": Dead, "good": Done} {
		if f := files[name]; f.State != want || want == Done && f.Failures != 0 || want == Dead && f.Failures != 2 {
			t.Errorf("%s is %s after %d failures: %s", name, f.State, f.Failures, f.Why)
		}
	}
	if n := m.probed.Load(); n != 1 {
		t.Errorf("the gate of the destination was closed %d times", n-1)
	}
}

// misread can't read one file, and says that in words of its own.
type misread struct {
	connector.Destination
	probed atomic.Int64 // once, and once for each time that its gate was closed
}

func (m *misread) Probe(ctx context.Context) error {
	m.probed.Add(1)
	return m.Destination.Probe(ctx)
}

func (m *misread) Place(ctx context.Context, name string, c connector.Content, p func(int64)) (connector.Placed, error) {
	if filepath.Base(name) == "unread" {
		_, err := c.ReadAt(make([]byte, 1), -1)
		return connector.Placed{}, fault.New(fault.Transient, "put: %v", err)
	}
	return m.Destination.Place(ctx, name, c, p)
}

// TestNightOfWhatCantBeRead: a file that can't be read is of no other night.
func TestNightOfWhatCantBeRead(t *testing.T) {
	j := &Job{cfg: Config{Root: t.TempDir(), Place: Placer{Card: "DATE-OBS", Layout: "2006"}}}
	f := &file{Identity: Identity{Path: Name(strings.Repeat("x", 300) + ".fits")}}
	if _, err := j.place(t.Context(), f); !isOfSource(err) {
		t.Errorf("got %v", err)
	}
	if _, err := (&Placer{Card: "DATE-OBS"}).timeIn(unreadable{}, 2880); !isOfSource(err) {
		t.Errorf("got %v", err)
	}
}

type unreadable struct{}

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, unix.EIO }

// TestDamagedLedger: a ledger whose file is damaged closes its gate, and makes no dead letters.
func TestDamagedLedger(t *testing.T) {
	r := newRig(t, 1)
	var damage atomic.Pointer[fault.Error]
	damage.Store(fault.New(fault.Corrupt, "it is damaged"))
	r.withLedger(filepath.Join(t.TempDir(), "ledger.sqlite"), "one")
	change := r.change
	r.change = func(c *Config) {
		change(c)
		c.Ledger, c.Attempts, c.Once = &damaged{c.Ledger, &damage}, 1, false
	}
	r.write("a", []byte("a"))
	r.run(func() {
		for _, kind := range []fault.Kind{fault.Corrupt, fault.NotFound} {
			damage.Store(fault.New(kind, "it is damaged"))
			r.write(kind.String(), []byte(kind.String()))
			until(t, "the gate is closed", func() bool { return r.gateOf("ledger").Kind == kind.String() })
			damage.Store(nil)
			until(t, "all are there", func() bool {
				_, err := r.job.Load().Command(t.Context(), "try", nil)
				return err == nil && tree(t, r.to[0])[filepath.Join(day(), kind.String())] != [sha256.Size]byte{}
			})
		}
	})
	r.change = change
	r.run(nil)
	r.spent()
}

// damaged is a ledger that fails as it is told, but for its canary.
type damaged struct {
	connector.Ledger
	by *atomic.Pointer[fault.Error]
}

func (d *damaged) Lock(ctx context.Context, o connector.Original, again bool) (connector.Claim, error) {
	if err := d.by.Load(); err != nil {
		return connector.Claim{}, err
	}
	return d.Ledger.Lock(ctx, o, again)
}

// unasking does not know what it has of a file.
type unasking struct{ connector.Destination }

func (unasking) Sums(context.Context, []string) (map[string][sha256.Size]byte, connector.Verified, error) {
	return nil, "", fault.New(fault.Corrupt, "it is spoilt")
}

// TestOneIsNotDeleted: what a destination says of one file before a deletion is that file's failure.
func TestOneIsNotDeleted(t *testing.T) {
	r := newRig(t, 1)
	r.change = func(c *Config) { c.After, c.Attempts, c.Destinations[0].To = Remove, 2, unasking{c.Destinations[0].To} }
	r.write("a", []byte("a"))
	r.run(nil)
	if f := r.files()["a"]; f.State != Dead || f.Failures != 2 || len(tree(t, r.from)) != 1 {
		t.Errorf("it is %s after %d failures", f.State, f.Failures)
	}
	if g := r.gateOf("a"); g.Cause != "" {
		t.Errorf("the gate of the destination was closed: %s", g.Cause)
	}
}

// TestDeadHoldsNothing: a dead file holds up no other with its bytes, and is claimed anew when it goes on.
func TestDeadHoldsNothing(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	u := newUnreliable(t, r.to[0])
	bad := func(_ context.Context, name string) error {
		if filepath.Base(name) == "bad" {
			return fault.New(fault.Invalid, "it is bad")
		}
		return nil
	}
	u.place = bad
	r.change = func(c *Config) { c.Destinations[0].To = u }
	r.withLedger(ledger, "one")
	r.write("bad", nil)
	r.run(nil)
	if got := rows(t, ledger, "select source from transfers_holdfast_locks"); len(got) != 0 {
		t.Fatalf("%v are held", got)
	}
	r.write("good", nil)
	r.run(nil)
	if f := r.files()["good"]; f.State != Done {
		t.Errorf("%s: %s", f.State, f.Why)
	}
	u.place = nil
	letter := r.letters()["bad"].ID
	r.open(func(st *store.Store) {
		if err := RetryDead(st, letter); err != nil {
			t.Error(err)
		}
	})
	r.run(nil)
	r.spent()
	if got := rows(t, ledger, "select source from transfers_holdfast_locks"); len(got) != 0 {
		t.Errorf("%v are held", got)
	}
}

// TestOverwriteOwn: an original that the same store brought, and kept unpacked, is replaced by its packed form when that is asked
// for.
func TestOverwriteOwn(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	r.change = func(c *Config) { c.Pack, c.ShipBad = FPack(), true }
	r.write("a.fits", frame("2023-09-19", 1))
	r.write("old.fits", frame("2023-09-19", 2))
	r.write("text", nil)
	r.write("no.fits", []byte("what can't be packed"))
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(filepath.Join(r.from, "old.fits"), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	r.run(nil)
	r.change = func(c *Config) { c.Pack, c.ShipBad, c.Overwrite = FPack(), true, &Age{Within: time.Hour} }
	for range 2 {
		r.run(nil)
		got := slices.Sorted(maps.Keys(tree(t, r.from)))
		if !slices.Equal(got, []string{"a.fits.fz", "no.fits", "old.fits", "text"}) {
			t.Errorf("there are %v", got)
		}
		if c := r.counts("after"); c.Done != 4 || c.Open()+c.Dead != 0 {
			t.Errorf("%+v", c)
		}
	}
	r.spent()
}

// TestOwnOnAnotherDevice: what took the place of an original is no new file after a start that gave the disk another number.
func TestOwnOnAnotherDevice(t *testing.T) {
	r := newRig(t, 1)
	own := Identity{Path: "a.fits", Device: 1, Inode: 2, Size: 3, Mtime: 4}
	text, err := json.Marshal(own)
	if err != nil {
		t.Fatal(err)
	}
	r.open(func(st *store.Store) {
		err := st.Update(func(tx *store.Tx) error {
			tx.Set(ownKey("a.fits"), text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	moved, other := own, own
	moved.Device, other.Inode = 7, 7
	r.view(func(rd store.Reader) error {
		for i, want := range map[Identity]bool{own: true, moved: true, other: false} {
			if is, err := isOwn(rd, i); err != nil || is != want {
				t.Errorf("%+v: %v (%v), want %v", i, is, err, want)
			}
		}
		return nil
	})
}
