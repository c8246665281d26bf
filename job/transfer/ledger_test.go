package transfer

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/localdir"
	"holdfast/connector/sqlite"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// withLedger gives the jobs of a rig a ledger; each job opens its own.
func (r *rig) withLedger(path, owner string) {
	change := r.change
	r.change = func(c *Config) {
		if change != nil {
			change(c)
		}
		l, err := sqlite.OpenLedger(sqlite.LedgerConfig{Path: path, Owner: owner})
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { l.Close() })
		c.Ledger = l
	}
}

// rows are the rows of a ledger, as a query gives them.
func rows(t *testing.T, path, query string) (all []string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var row string
		if err := found.Scan(&row); err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

// TestSameBytes: files with the same bytes are each at their place, and each recorded; and nothing holds them afterwards.
func TestSameBytes(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(ledger, "one")
	for i := range 6 {
		r.write(fmt.Sprintf("empty%d", i), nil)
	}
	r.run(nil)
	if got := len(tree(t, r.to[0])); got != 6 {
		t.Errorf("%d files are there, want 6", got)
	}
	if got := rows(t, ledger, "select source from transfers_holdfast_files order by source"); len(got) != 6 {
		t.Errorf("the ledger has %v", got)
	}
	if got := rows(t, ledger, "select source from transfers_holdfast_locks"); len(got) != 0 {
		t.Errorf("%v are held", got)
	}
}

// TestTwoHoldfasts: two processes watch one directory, with one ledger: each file is transferred by one of them.
func TestTwoHoldfasts(t *testing.T) {
	first, second := newRig(t, 1), newRig(t, 1)
	second.from, second.to = first.from, first.to
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	first.withLedger(ledger, "one")
	second.withLedger(ledger, "two")
	want := map[string][sha256.Size]byte{}
	const n = 12
	for i := range n {
		name, content := fmt.Sprintf("f%02d", i), []byte(strings.Repeat(fmt.Sprint(i), 100))
		first.write(name, content)
		want[filepath.Join(day(), name)] = sha256.Sum256(content)
	}
	var both sync.WaitGroup
	both.Go(func() { first.run(nil) })
	both.Go(func() { second.run(nil) })
	both.Wait()
	if got := tree(t, first.to[0]); !maps.Equal(got, want) {
		t.Errorf("%d files are there", len(got))
	}
	one, two := first.done(), second.done()
	t.Logf("one did %d, the other %d", one, two)
	if one+two != n {
		t.Errorf("%d and %d files were transferred, want %d together", one, two, n)
	}
}

// TestLedgerKnows: what another has recorded is not transferred again, by its name and time; other bytes at a name that is
// recorded are a conflict, and told.
func TestLedgerKnows(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(ledger, "one")
	r.write("a", []byte("a"))
	r.write("b", []byte("b"))
	r.run(nil)

	other := newRig(t, 1)
	other.from, other.to = r.from, r.to
	other.withLedger(ledger, "two")
	r.write("b", []byte("another b"))
	other.run(nil)
	files := other.files()
	if files["a"].State != Known || !strings.Contains(files["a"].Why, "the ledger has it") {
		t.Errorf("%+v", files["a"])
	}
	if files["b"].State != Dead || !strings.Contains(files["b"].Why, "other bytes") {
		t.Errorf("%+v", files["b"])
	}
	if c := other.counts("prepare"); c != (queue.Counts{Put: 2, Dropped: 1, Dead: 1}) {
		t.Errorf("%+v", c)
	}
}

// TestMetadata: named groups of the name are columns; a value that its column does not take is a dead letter, and holds up no
// other.
func TestMetadata(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	db, err := sql.Open("sqlite", ledger)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(`create table transfers (sha1_hash varchar(40) primary key, source_filepath text, file_created_at timestamp,
		file_transferred_at timestamp, filepath text, tel int check (tel < 5), created_at timestamp default current_timestamp not null)`)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	r.change = func(c *Config) { c.Meta, c.Attempts = regexp.MustCompile(`t(?P<tel>\d)_`), 1 }
	r.withLedger(ledger, "one")
	for _, name := range []string{"t1_a", "t9_a", "t2_a"} {
		r.write(name, []byte(name))
	}
	r.run(nil)
	if got := rows(t, ledger, "select tel || ' ' || source_filepath from transfers where file_transferred_at is not null order by tel"); len(got) != 2 ||
		!strings.HasPrefix(got[0], "1 ") || !strings.HasSuffix(got[1], "t2_a") {
		t.Errorf("the ledger has %q", got)
	}
	if f := r.files()["t9_a"]; f.State != Dead || f.Name != "" {
		t.Errorf("%+v", f)
	}
	if got := tree(t, r.to[0]); len(got) != 2 {
		t.Errorf("%d files are there, and what is refused was to be refused before", len(got))
	}
}

// TestTakenOver: a process that died with a file in its hands finds, when it is back, that another has brought it: with a packed
// form of other bytes. That is no conflict.
func TestTakenOver(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	away := newUnreliable(t, r.to[0])
	away.away.Store(true)
	r.change = func(c *Config) { c.Once, c.Destinations[0].To, c.Pack = false, away, FPack() }
	r.withLedger(ledger, "one")
	r.write("a.fits", frame("2023-09-19", 1))
	r.run(func() { until(t, "it is prepared", func() bool { return r.prepared() == 1 }) })

	db, err := sql.Open("sqlite", ledger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("update transfers_holdfast_owners set renewed_at = renewed_at - 120000000"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	other := newRig(t, 1)
	other.from, other.to = r.from, r.to
	other.change = func(c *Config) {
		c.Pack = FPack()
		c.Pack.Command = []string{"fpack", "-h", "-O", "{out}", "{in}"} // other bytes in any case
	}
	other.withLedger(ledger, "two")
	other.run(nil)
	if f := other.files()["a.fits"]; f.State != Done {
		t.Fatalf("%+v", f)
	}

	r.change = func(c *Config) { c.Pack = FPack() }
	r.withLedger(ledger, "one")
	r.run(nil)
	if f := r.files()["a.fits"]; f.State != Known {
		t.Errorf("%+v", f)
	}
}

// TestCompare: what a destination lost, or has otherwise, is found, in more files than one question has.
func TestCompare(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(ledger, "one")
	const n = atOnce + 3
	for i := range n {
		r.write(fmt.Sprintf("f%03d", i), []byte(fmt.Sprint(i)))
	}
	r.run(nil)
	at := func(name string) string { return filepath.Join(r.to[0], day(), name) }
	if err := errors.Join(os.Remove(at("f001")), os.WriteFile(at("f002"), []byte("other"), 0o644)); err != nil {
		t.Fatal(err)
	}
	l, err := sqlite.OpenLedger(sqlite.LedgerConfig{Path: ledger, Owner: "compare"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Check(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	to, err := localdir.New(localdir.Config{Path: r.to[0]})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	got, err := Compare(t.Context(), l, []Destination{{Name: "a", To: to}}, time.Time{}, func(d Difference) { found[filepath.Base(d.Path)] = d.What })
	if err != nil || got != (Compared{Good: n - 2, Different: 2}) {
		t.Errorf("%+v %v", got, err)
	}
	if len(found) != 2 || found["f001"] != "it is not there" || !strings.Contains(found["f002"], "its SHA-256 is") {
		t.Errorf("%v", found)
	}
}

// TestOverwriteUnpacked: an original that was brought before, and stayed unpacked, is replaced by its packed form; one that is
// too old stays.
func TestOverwriteUnpacked(t *testing.T) {
	needFpack(t)
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.change = func(c *Config) { c.Pack = FPack() }
	r.withLedger(ledger, "one")
	r.write("a.fits", frame("2023-09-19", 1))
	r.write("old.fits", frame("2023-09-19", 2))
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(filepath.Join(r.from, "old.fits"), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	r.run(nil)
	if got := tree(t, r.from); len(got) != 2 || got["a.fits"] == [sha256.Size]byte{} {
		t.Fatalf("there are %v", got)
	}
	again := newRig(t, 1)
	again.from, again.to = r.from, r.to
	again.change = func(c *Config) { c.Pack, c.Overwrite = FPack(), &Age{Within: time.Hour} }
	again.withLedger(ledger, "two")
	for range 2 {
		again.run(nil)
		got := tree(t, r.from)
		if len(got) != 2 || got["a.fits.fz"] == [sha256.Size]byte{} || got["old.fits"] == [sha256.Size]byte{} {
			t.Errorf("there are %v", slices.Sorted(maps.Keys(got)))
		}
		if n := len(tree(t, r.to[0])); n != 2 {
			t.Errorf("%d files are at the destination", n)
		}
	}
}

// TestRecordedAndNotWrittenDown: a life that recorded a file, which gave its claim back, and came no further: the next one
// knows the file for its own.
func TestRecordedAndNotWrittenDown(t *testing.T) {
	r := newRig(t, 1)
	ledger := filepath.Join(t.TempDir(), "ledger.sqlite")
	r.withLedger(ledger, "one")
	change := r.change
	r.write("a", []byte("a"))
	recorded := make(chan bool)
	r.change = func(c *Config) {
		change(c)
		c.Ledger, c.Once = &silenced{c.Ledger, recorded}, false
	}
	r.run(func() { <-recorded })
	if f := r.files()["a"]; f.State != Shipping {
		t.Fatalf("it is %s", f.State)
	}
	r.change = change
	r.run(nil)
	f := r.files()["a"]
	if f.State != Done || len(f.To) != 1 || !f.To[0].Recorded || f.To[0].Path == "" || f.To[0].Size != 1 || f.To[0].At.IsZero() {
		t.Errorf("%s: %+v", f.State, f.To)
	}
	if got := rows(t, ledger, "select source from transfers_holdfast_locks"); len(got) != 0 {
		t.Errorf("%v are held", got)
	}
}

// silenced is a ledger that records, and whose answer never comes.
type silenced struct {
	connector.Ledger
	recorded chan bool
}

func (s *silenced) Record(ctx context.Context, o connector.Original, d connector.Shipment, first, last bool) error {
	if err := s.Ledger.Record(ctx, o, d, first, last); err != nil {
		return err
	}
	close(s.recorded)
	<-ctx.Done()
	return ctx.Err()
}

// TestGivenUpAtOneOfTwo: a file that is dead at a destination, and was recorded at the other meanwhile, keeps its claim, and
// goes on when it is retried.
func TestGivenUpAtOneOfTwo(t *testing.T) {
	r := newRig(t, 2)
	r.withLedger(filepath.Join(t.TempDir(), "ledger.sqlite"), "one")
	other := newUnreliable(t, r.to[1])
	change := r.change
	u := newUnreliable(t, r.to[0])
	u.place = func(ctx context.Context, _ string) error { // fails when the other one has recorded it
		until(t, "it is recorded at the other one", func() bool { return r.isAt("b") })
		return fault.New(fault.Conflict, "something else is there")
	}
	r.change = func(c *Config) { change(c); c.Destinations[0].To, c.Destinations[1].To = u, other }
	r.write("a", []byte("a"))
	r.run(nil)
	letter := r.letters()["a"].ID
	u.place = nil
	r.open(func(st *store.Store) {
		if err := RetryDead(st, letter); err != nil {
			t.Error(err)
		}
	})
	r.run(nil)
	if f := r.files()["a"]; f.State != Done || !f.To[0].Recorded || !f.To[1].Recorded {
		t.Errorf("%s: %+v", f.State, f.To)
	}
	if got := len(tree(t, r.to[0])); got != 1 {
		t.Errorf("%d files are at the first one", got)
	}
}

// isAt reports, while the job runs, whether a file is recorded at a destination.
func (r *rig) isAt(name string) (is bool) {
	j := r.job.Load()
	err := j.env.Store.Latest(func(rd store.Reader) error {
		for f, err := range filesOf(rd, filesKey) {
			if err != nil {
				return err
			}
			for _, s := range f.To {
				is = is || s.Name == name && s.Recorded
			}
		}
		return nil
	})
	if err != nil {
		r.t.Error(err)
	}
	return is
}
