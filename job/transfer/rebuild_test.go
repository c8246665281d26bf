package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/localdir"
	"holdfast/connector/sqlite"
	"holdfast/kernel/store"
)

// openLedger opens a ledger for a test.
func openLedger(t *testing.T, path string, columns ...string) connector.Ledger {
	t.Helper()
	l, err := sqlite.OpenLedger(sqlite.LedgerConfig{Path: path, Owner: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Check(t.Context(), columns); err != nil {
		t.Fatal(err)
	}
	return l
}

// entries are those of a ledger, by source, without what a rebuild can't know.
func entries(t *testing.T, l connector.Ledger) map[string]connector.Entry {
	t.Helper()
	all := map[string]connector.Entry{}
	err := l.Each(t.Context(), time.Time{}, func(e connector.Entry) error {
		slices.SortFunc(e.Shipments, func(a, b connector.Shipment) int { return cmp.Compare(a.Destination, b.Destination) })
		all[e.Source] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rebuild makes a ledger anew; with says with the job's records.
func (r *rig) rebuild(l connector.Ledger, with bool, change func(*Rebuild)) (got Rebuilt, left []string) {
	r.t.Helper()
	b := &Rebuild{Ledger: l, Root: r.from, Pack: FPack(), Dir: r.t.TempDir(), Left: func(d Difference) {
		left = append(left, filepath.Base(d.Path)+": "+d.What)
	}}
	for i, dir := range r.to {
		to, err := localdir.New(localdir.Config{Path: dir})
		if err != nil {
			r.t.Fatal(err)
		}
		b.Destinations = append(b.Destinations, Destination{Name: string(rune('a' + i)), To: to})
	}
	var told int64
	b.Tell = func(done, _ int64) { told = done }
	if change != nil {
		change(b)
	}
	run := func(st *store.Store) {
		b.Store = st
		var err error
		if got, err = b.Run(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
	if with {
		r.open(run)
	} else {
		run(nil)
	}
	if n := got.Known + got.Added + got.Left; n != told {
		r.t.Errorf("told of %d files, did %d", told, n)
	}
	if rest, err := os.ReadDir(b.Dir); err != nil || len(rest) > 0 {
		r.t.Errorf("%v are left (%v)", rest, err)
	}
	return got, left
}

// TestRebuild: the ledger that was lost is the same again: by the job's own records all of it, by what stands in the source
// directory what can be known; whatever is known already stays as it is.
func TestRebuild(t *testing.T) {
	needFpack(t)
	meta := regexp.MustCompile(`t(?P<tel>\d)_a.fits$`)
	for _, after := range []After{Keep, Replace} {
		for _, with := range []bool{true, false} {
			for _, perPass := range []int{0, 3} { // of 8 names at destinations, and 8 originals
				t.Run(fmt.Sprintf("%s, records %v, %d a pass", after, with, perPass), func(t *testing.T) {
					r := newRig(t, 2)
					old := filepath.Join(t.TempDir(), "ledger.sqlite")
					r.change = func(c *Config) { c.Pack, c.After, c.Meta = FPack(), after, meta }
					r.withLedger(old, "one")
					for i := range 3 {
						r.write(fmt.Sprintf("night%d/t%d_a.fits", i, i), frame(fmt.Sprintf("2023-09-1%d", i), uint64(i)))
					}
					r.write("plain.dat", []byte("plain"))
					r.run(nil)
					want := entries(t, openLedger(t, old, "tel"))
					fresh := openLedger(t, filepath.Join(t.TempDir(), "new.sqlite"), "tel")
					change := func(b *Rebuild) { b.Replaces, b.Meta, b.perPass = after == Replace, meta, perPass }
					dry, left := r.rebuild(fresh, with, func(b *Rebuild) { change(b); b.Dry = true })
					if dry != (Rebuilt{Added: 8}) || len(left) > 0 || len(entries(t, fresh)) > 0 {
						t.Errorf("dry: %+v, left %q, %d entries", dry, left, len(entries(t, fresh)))
					}
					if got, left := r.rebuild(fresh, with, change); got != (Rebuilt{Added: 8}) || len(left) > 0 {
						t.Fatalf("%+v, left %q", got, left)
					}
					got := entries(t, fresh)
					for source, e := range want {
						r.sameEntry(got[source], e, with, after == Replace)
					}
					if len(got) != len(want) {
						t.Errorf("%d entries, want %d", len(got), len(want))
					}
					if got, left := r.rebuild(fresh, with, change); got != (Rebuilt{Known: 8}) || len(left) > 0 {
						t.Errorf("again: %+v, left %q", got, left)
					}
				})
			}
		}
	}
}

// sameEntry compares an entry that was made anew. Without the job's records the times of shipments are not known, and of an
// original that is there no more, but in its packed form, the hashes may be those of what that unpacks to.
func (r *rig) sameEntry(got, want connector.Entry, exact, unpacked bool) {
	r.t.Helper()
	if unpacked && !exact && strings.HasSuffix(want.Source, ".fits") {
		got.SHA1, got.SHA256, got.Size = want.SHA1, want.SHA256, want.Size
	}
	for i := range got.Shipments {
		if !exact && i < len(want.Shipments) {
			got.Shipments[i].At, got.Shipments[i].Verified = want.Shipments[i].At, want.Shipments[i].Verified
		}
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		r.t.Errorf("got\n%s, want\n%s", g, w)
	}
}

// TestRebuildKnowsNoOriginal: what has none is listed, and not invented: files that others put there, originals that are gone or
// are others now. What differs at one destination is left, and not at the other.
func TestRebuildKnowsNoOriginal(t *testing.T) {
	needFpack(t)
	r := newRig(t, 2)
	r.change = func(c *Config) { c.Pack, c.Place = FPack(), Placer{} }
	for _, name := range []string{"same", "gone", "changed", "differs"} {
		r.write(name, []byte(name))
	}
	r.write("a.fits", frame("2023-09-19", 1))
	r.write("b.fits", frame("2023-09-19", 2))
	r.run(nil)
	err := errors.Join(os.Remove(filepath.Join(r.from, "gone")), os.WriteFile(filepath.Join(r.to[1], "differs"), []byte("x"), 0o644),
		os.WriteFile(filepath.Join(r.to[0], "foreign"), []byte("x"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	r.write("changed", []byte("other bytes"))
	r.write("b.fits", frame("2023-09-19", 3)) // another frame has its name
	l := openLedger(t, filepath.Join(t.TempDir(), "new.sqlite"))
	got, left := r.rebuild(l, false, nil)
	slices.Sort(left)
	if got != (Rebuilt{Added: 5, Left: 8}) || len(left) != 8 {
		t.Errorf("%+v: %q", got, left)
	}
	for i, want := range []string{"b.fits.fz: it is made of none", "b.fits.fz: it is made of none", "changed: it is made of none",
		"changed: it is made of none", "differs: it is made of none", "foreign: nothing is known", "gone: nothing is known",
		"gone: nothing is known"} {
		if i < len(left) && !strings.HasPrefix(left[i], want) {
			t.Errorf("%q, want %q", left[i], want)
		}
	}
	var sources []string
	for source, e := range entries(t, l) {
		sources = append(sources, fmt.Sprint(filepath.Base(source), len(e.Shipments)))
	}
	if slices.Sort(sources); !slices.Equal(sources, []string{"a.fits2", "differs1", "same2"}) {
		t.Errorf("%q", sources)
	}
	// The records know more: what was there.
	got, left = r.rebuild(l, true, nil)
	slices.Sort(left)
	if got != (Rebuilt{Known: 5, Added: 6, Left: 2}) {
		t.Errorf("with records: %+v: %q", got, left)
	}
	if len(left) != 2 || !strings.HasPrefix(left[0], "differs: it is made of none") ||
		!strings.HasPrefix(left[1], "foreign: nothing is known") {
		t.Errorf("with records: %q", left)
	}
}

// refusing is a destination that can't say what some files hold.
type refusing struct{ connector.Destination }

func (r refusing) Sums(ctx context.Context, names []string) (map[string][sha256.Size]byte, connector.Verified, error) {
	for _, name := range names {
		if path.Base(name) == "closed" {
			return nil, "", fault.New(fault.Permanent, "it may not be read")
		}
	}
	return r.Destination.Sums(ctx, names)
}

// TestRebuildOfWhatCantBeRead: a file that can't be looked at is listed, and keeps no other from its entry.
func TestRebuildOfWhatCantBeRead(t *testing.T) {
	r := newRig(t, 1)
	for _, name := range []string{"a", "closed", "z"} {
		r.write(name, []byte(name))
	}
	r.run(nil)
	l := openLedger(t, filepath.Join(t.TempDir(), "new.sqlite"))
	got, left := r.rebuild(l, true, func(b *Rebuild) { b.Destinations[0].To = refusing{b.Destinations[0].To} })
	if got != (Rebuilt{Added: 2, Left: 1}) || len(left) != 1 || !strings.Contains(left[0], "it may not be read") {
		t.Errorf("%+v: %q", got, left)
	}
}

// TestRebuildOfADestinationThatIsNew: of a file that was copied to another destination by hand, the record tells the original.
func TestRebuildOfADestinationThatIsNew(t *testing.T) {
	r := newRig(t, 1)
	r.write("a", []byte("a"))
	r.run(nil)
	if err := os.Remove(filepath.Join(r.from, "a")); err != nil {
		t.Fatal(err)
	}
	r.to = append(r.to, t.TempDir())
	if err := os.CopyFS(r.to[1], os.DirFS(r.to[0])); err != nil {
		t.Fatal(err)
	}
	l := openLedger(t, filepath.Join(t.TempDir(), "new.sqlite"))
	if got, left := r.rebuild(l, true, nil); got != (Rebuilt{Added: 2}) {
		t.Errorf("%+v: %q", got, left)
	}
	for _, e := range entries(t, l) {
		f := r.files()["a"]
		first, second := e.Shipments[0], e.Shipments[1]
		if second.Destination == r.to[0] {
			first, second = second, first
		}
		if !first.At.Equal(f.To[0].At.Truncate(time.Microsecond)) || !second.At.After(first.At) || second.Size != 1 {
			t.Errorf("%+v, and the record has %+v", e, f.To)
		}
	}
}

// TestRebuildOfOneDestination: the ledger lost what one destination has, and is given that alone.
func TestRebuildOfOneDestination(t *testing.T) {
	r := newRig(t, 2)
	path := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(path, "one")
	r.write("a", []byte("a"))
	r.write("b", []byte("b"))
	r.run(nil)
	l := openLedger(t, path)
	want := entries(t, l)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("delete from transfers_holdfast_files where destination = ?", r.to[1]); err != nil {
		t.Fatal(err)
	}
	if got, left := r.rebuild(l, true, nil); got != (Rebuilt{Known: 2, Added: 2}) {
		t.Errorf("%+v: %q", got, left)
	}
	if got := entries(t, l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
