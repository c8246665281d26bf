// Package ledgertest is the contract suite of ledgers: every implementation of connector.Ledger runs it against
// the real thing. Called by tests only.
package ledgertest

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
)

// Target is the place of one fresh, empty ledger.
type Target struct {
	// New returns the ledger of an owner, which makes its tables. Called again it gives what another process
	// would have, or with the same owner what a restarted one would.
	New func(owner string) (connector.Ledger, error)
	// Table is the first table as SQL has it; those of ours have its name before theirs.
	Table string
	// Query runs SQL without the ledger: it returns the rows, with "NULL" for what is none.
	Query func(sql string) ([][]string, error)
	// AgeOwner makes it so much longer ago that an owner renewed.
	AgeOwner func(owner string, by time.Duration) error
	// AgeRow makes it so much longer ago that the first table's row of a source was made.
	AgeRow func(source string, by time.Duration) error
}

// Types are those of the metadata columns of the first table.
var Types = map[string]string{"tel": "smallint", "run": "int", "note": "varchar(10)"}

// Columns are their names.
var Columns = []string{"tel", "run", "note"}

// File is an original of a path with bytes of its own.
func File(source, content string) connector.Original {
	return connector.Original{Source: source, SHA1: sha1.Sum([]byte(content)),
		SHA256: sha256.Sum256([]byte(content)),
		Size:   int64(len(content)), Created: time.Date(2026, 7, 15, 1, 2, 3, 123456789, time.UTC),
		Meta: map[string]string{"tel": "3", "run": "1234567", "note": "fine"}}
}

// To is a shipment of an original, unpacked.
func To(o connector.Original, destination, path string) connector.Shipment {
	return connector.Shipment{Destination: destination, Path: path, SHA256: o.SHA256, Size: o.Size,
		Verified: connector.ByRemoteHash, At: time.Date(2026, 7, 15, 1, 3, 4, 987654000, time.UTC)}
}

// Run runs the suite; open makes a fresh target for each case. Extra says that its ledger has tables beside the
// first.
func Run(t *testing.T, extra bool, open func(t *testing.T) *Target) {
	cases := []struct {
		name  string
		extra bool // it is of tables beside the first
		run   func(r *rig)
	}{
		{"a file's life", false, life},
		{"repeats", false, repeats},
		{"recorded and given back at once", false, lastOne},
		{"given back", false, givenBack},
		{"not held", false, notHeld},
		{"old shipments", false, oldShipments},
		{"old locks", false, oldLocks},
		{"metadata", false, metadata},
		{"names", false, names},
		{"each", false, eachOne},
		{"restore", false, restore},
		{"probe", false, probe},
		{"check", false, check},
		{"many find one", false, crowd},
		{"taken over", true, takenOver},
		{"late, and nobody came", true, late},
		{"a former life", true, formerLife},
		{"same bytes", true, sameBytes},
		{"several destinations", true, destinations},
		{"packed", true, packed},
		{"many with the same bytes", true, crowdOfBytes},
		{"two that do all", true, pair},
		{"any order", true, anyOrder},
		{"an hour", false, anHour},
	}
	for _, c := range cases {
		if c.extra && !extra {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := &rig{T: t, Target: open(t), extra: extra}
			r.l = r.open("one")
			c.run(r)
		})
	}
}

type rig struct {
	*testing.T
	*Target
	extra bool
	l     connector.Ledger // of owner one
}

func (r *rig) open(owner string) connector.Ledger {
	r.Helper()
	l, err := r.New(owner)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := l.Close(); err != nil {
			r.Error(err)
		}
	})
	if err := l.Check(r.Context(), Columns); err != nil {
		r.Fatalf("check: %v (%s)", err, fault.HintOf(err))
	}
	if l.Traits().Extra != r.extra {
		r.Fatalf("traits %+v, want extra %v", l.Traits(), r.extra)
	}
	return l
}

func (r *rig) lock(l connector.Ledger, o connector.Original, again bool) connector.Claim {
	r.Helper()
	c, err := l.Lock(r.Context(), o, again)
	if err != nil {
		r.Fatalf("lock %q: %v (%v, %s)", o.Source, err, fault.KindOf(err), fault.HintOf(err))
	}
	return c
}

// holds locks a file, which has to be held then.
func (r *rig) holds(l connector.Ledger, o connector.Original, again bool) connector.Claim {
	r.Helper()
	c := r.lock(l, o, again)
	if !c.Held || c.By != "" || c.Done != nil {
		r.Fatalf("lock %q: got %+v, want it held", o.Source, c)
	}
	return c
}

// refused locks a file that somebody else has.
func (r *rig) refused(l connector.Ledger, o connector.Original, again bool, by string, within time.Duration) {
	r.Helper()
	c := r.lock(l, o, again)
	if c.Held || c.Done != nil || c.By != by || time.Until(c.Until) > within ||
		time.Until(c.Until) < -time.Minute {
		r.Fatalf("lock %q: got %+v, want it held by %s for %v at most", o.Source, c, by, within)
	}
}

func (r *rig) record(l connector.Ledger, o connector.Original, d connector.Shipment, first bool) {
	r.Helper()
	if err := l.Record(r.Context(), o, d, first, false); err != nil {
		r.Fatalf("record %q: %v (%v, %s)", o.Source, err, fault.KindOf(err), fault.HintOf(err))
	}
}

func (r *rig) unlock(l connector.Ledger, o connector.Original) {
	r.Helper()
	if err := l.Unlock(r.Context(), o); err != nil {
		r.Fatalf("unlock %q: %v", o.Source, err)
	}
}

// last records what is the last of a file, which is given back by that.
func (r *rig) last(l connector.Ledger, o connector.Original, d connector.Shipment, first bool) {
	r.Helper()
	if err := l.Record(r.Context(), o, d, first, true); err != nil {
		r.Fatalf("record %q: %v (%v, %s)", o.Source, err, fault.KindOf(err), fault.HintOf(err))
	}
}

// done transfers a file.
func (r *rig) done(l connector.Ledger, o connector.Original, d ...connector.Shipment) {
	r.Helper()
	r.holds(l, o, false)
	for i, d := range d {
		r.record(l, o, d, i == 0)
	}
	r.unlock(l, o)
}

func (r *rig) find(l connector.Ledger, sources ...string) map[string]connector.Entry {
	r.Helper()
	found, err := l.Find(r.Context(), sources)
	if err != nil {
		r.Fatal(err)
	}
	return found
}

// wantEntry compares an entry with what was recorded.
func (r *rig) wantEntry(got connector.Entry, o connector.Original, d ...connector.Shipment) {
	r.Helper()
	want := connector.Entry{Original: o, Shipments: d, Of: connector.ByHoldfast}
	if !r.extra {
		want.Of = connector.ByRawtransfer
		want.SHA256, want.Size = [32]byte{}, 0
		want.Created = want.Created.Truncate(time.Microsecond)
		d := d[0]
		d.Destination, d.SHA256, d.Size, d.Verified = "", [32]byte{}, 0, ""
		want.Shipments = []connector.Shipment{d}
	}
	if !reflect.DeepEqual(got, want) {
		r.Errorf("entry\n%+v, want\n%+v", got, want)
	}
}

// rows runs SQL without the ledger.
func (r *rig) rows(format string, args ...any) [][]string {
	r.Helper()
	rows, err := r.Query(fmt.Sprintf(format, args...))
	if err != nil {
		r.Fatal(err)
	}
	return rows
}

// table compares the first table with what has to be in it: hash, source, whether transferred, path, metadata.
func (r *rig) table(want ...[]string) {
	r.Helper()
	got := r.rows(`SELECT sha1_hash, source_filepath,
		CASE WHEN file_transferred_at IS NULL THEN 'locked' ELSE 'done' END, filepath, tel, run, note
		FROM %s ORDER BY source_filepath`, r.Table)
	if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		r.Errorf("table has\n%v, want\n%v", got, want)
	}
}

func hash(o connector.Original) string { return fmt.Sprintf("%x", o.SHA1) }

func lockedRow(o connector.Original) []string {
	row := []string{hash(o), o.Source, "locked", "NULL"}
	for _, name := range Columns {
		value, ok := o.Meta[name]
		if !ok {
			value = "NULL"
		}
		row = append(row, value)
	}
	return row
}

func doneRow(o connector.Original, d connector.Shipment) []string {
	return []string{hash(o), o.Source, "done", d.Path, o.Meta["tel"], o.Meta["run"], o.Meta["note"]}
}

func life(r *rig) {
	o := File("/data/a.fits", "a")
	d := To(o, "goto@gateway:/raw", "/raw/2026/07/15/a.fits")
	if c := r.holds(r.l, o, false); c.Same != nil {
		r.Errorf("got %+v, want nothing with the same bytes", c)
	}
	r.table(lockedRow(o))
	if found := r.find(r.l, o.Source); len(found) > 0 {
		r.Errorf("a locked file is found: %+v", found)
	}
	r.record(r.l, o, d, true)
	r.table(doneRow(o, d))
	// Those times are UTC, whatever the server's zone.
	at := r.rows(`SELECT CAST(file_created_at AS text), CAST(file_transferred_at AS text) FROM %s`, r.Table)[0]
	if at[0] != "2026-07-15 01:02:03.123456" || at[1] != "2026-07-15 01:03:04.987654" {
		r.Errorf("times %v", at)
	}
	if found := r.find(r.l, o.Source); r.extra && len(found) > 0 {
		r.Errorf("a file that is held is done: %+v", found)
	}
	r.unlock(r.l, o)
	other := r.open("two")
	found := r.find(other, o.Source, "/data/b.fits")
	if len(found) != 1 {
		r.Fatalf("found %+v, want one", found)
	}
	r.wantEntry(found[o.Source], o, d)
	for _, l := range []connector.Ledger{r.l, other} {
		c := r.lock(l, o, false)
		if c.Held || c.Done == nil {
			r.Fatalf("lock: got %+v, want it to be done", c)
		}
		r.wantEntry(*c.Done, o, d)
	}
	// Another file of this name: who asks has to know.
	if c := r.lock(other, File(o.Source, "other bytes"), false); c.Held || c.Done == nil || c.Done.SHA1 != o.SHA1 {
		r.Errorf("lock of other bytes: got %+v", c)
	}
	r.table(doneRow(o, d))
}

// lastOne: what is recorded as the last is done for everybody at once, and may be recorded again.
func lastOne(r *rig) {
	o, other := File("/data/a.fits", "a"), r.open("two")
	d := To(o, "here", "/raw/a.fits")
	r.holds(r.l, o, false)
	for range 2 {
		r.last(r.l, o, d, true)
		r.table(doneRow(o, d))
	}
	if c := r.lock(other, o, false); c.Held || c.Done == nil {
		r.Errorf("it is given back, and done: got %+v", c)
	}
	if len(r.find(r.l, o.Source)) != 1 {
		r.Error("it is not found among what is done")
	}
	if !r.extra {
		return
	}
	// What is not held is not given back by it.
	b := File("/data/b.fits", "b")
	d = To(b, "here", "/raw/b.fits")
	r.holds(other, b, false)
	if err := r.l.Record(r.Context(), b, d, true, true); !fault.Is(err, fault.Conflict) {
		r.Errorf("another holds it: got %v, want a conflict", err)
	}
	r.refused(r.l, b, false, "two", time.Minute)
}

func repeats(r *rig) {
	o := File("/data/a.fits", "a")
	d := To(o, "here", "/raw/a.fits")
	r.holds(r.l, o, false)
	r.holds(r.l, o, true)
	for range 2 {
		r.record(r.l, o, d, true)
		other := d
		other.Path, other.At = "/raw/elsewhere", d.At.Add(time.Hour)
		r.record(r.l, o, other, true)
	}
	r.table(doneRow(o, d))
	for range 2 {
		r.unlock(r.l, o)
	}
	r.record(r.l, o, d, true)
	r.table(doneRow(o, d))
	r.wantEntry(r.find(r.l, o.Source)[o.Source], o, d)
}

func givenBack(r *rig) {
	o, other := File("/data/a.fits", "a"), r.open("two")
	by := "one"
	if !r.extra {
		by = "rawtransfer"
	}
	r.holds(r.l, o, false)
	r.refused(other, o, false, by, time.Minute)
	r.unlock(r.l, o)
	r.table()
	r.holds(other, o, false)
	r.table(lockedRow(o))
}

func notHeld(r *rig) {
	o := File("/data/a.fits", "a")
	if err := r.l.Record(r.Context(), o, To(o, "here", "/raw/a.fits"), true, false); !fault.Is(err, fault.Conflict) {
		r.Errorf("got %v, want a conflict", err)
	}
	r.unlock(r.l, o)
	r.table()
	for _, o := range []connector.Original{{Source: "/data/no hash"}, {SHA1: o.SHA1}} {
		if _, err := r.l.Lock(r.Context(), o, false); !fault.Is(err, fault.Invalid) {
			r.Errorf("got %v, want an invalid file", err)
		}
	}
}

// old writes a row as rawtransfer does; at is when it was transferred, "" if it is a lock.
func (r *rig) old(o connector.Original, path, at string) {
	r.Helper()
	if at == "" {
		r.rows(`INSERT INTO %s (sha1_hash, source_filepath) VALUES ('%s', '%s')`, r.Table, hash(o), o.Source)
		return
	}
	r.rows(`INSERT INTO %s (sha1_hash, source_filepath, file_created_at, file_transferred_at, filepath, tel, run)
		VALUES ('%s', '%s', '2019-01-02 03:04:05.5', '%s', '%s', 4, 77)`, r.Table, hash(o), o.Source, at, path)
}

func oldShipments(r *rig) {
	// It has the hash of the packed file.
	a := File("/data/a.fits", "packed a")
	r.old(a, "/raw/a.fits.fz", "2019-01-02 04:00:00")
	c := r.lock(r.l, File("/data/a.fits", "a"), false)
	if c.Held || c.Done == nil {
		r.Fatalf("got %+v, want it to be done", c)
	}
	want := connector.Entry{Of: connector.ByRawtransfer, Shipments: []connector.Shipment{
		{Path: "/raw/a.fits.fz", At: time.Date(2019, 1, 2, 4, 0, 0, 0, time.UTC)}}}
	want.Source, want.SHA1 = "/data/a.fits", a.SHA1
	want.Created, want.Meta = time.Date(2019, 1, 2, 3, 4, 5, 5e8, time.UTC), map[string]string{"tel": "4",
		"run": "77"}
	if !reflect.DeepEqual(*c.Done, want) || !reflect.DeepEqual(r.find(r.l, "/data/a.fits")["/data/a.fits"], want) {
		r.Errorf("got %+v and %+v, want %+v", *c.Done, r.find(r.l, "/data/a.fits"), want)
	}
	// The same bytes under another name: the row stays as it is.
	b := File("/data/b.fits", "packed a")
	if c := r.holds(r.l, b, false); c.Same == nil || !reflect.DeepEqual(*c.Same, want) {
		r.Errorf("same bytes: got %+v, want %+v", c.Same, want)
	}
	r.record(r.l, b, To(b, "here", "/raw/b.fits"), true)
	r.unlock(r.l, b)
	r.table([]string{hash(a), "/data/a.fits", "done", "/raw/a.fits.fz", "4", "77", "NULL"})
	if _, known := r.find(r.l, b.Source)[b.Source]; known != r.extra {
		r.Errorf("the second path is known: %v, want %v", known, r.extra)
	}
}

func oldLocks(r *rig) {
	a, b, packed := File("/data/a.fits", "a"), File("/data/b.fits", "b"), File("/data/b.fits", "packed b")
	r.old(a, "", "")
	r.old(packed, "", "")
	r.rows(`INSERT INTO %s (sha1_hash) VALUES ('%s')`, r.Table, hash(File("", "c"))) // without its source
	for _, o := range []connector.Original{a, b, File("/data/c.fits", "c"), File("/data/like a.fits", "a")} {
		r.refused(r.l, o, false, "rawtransfer", time.Minute)
	}
	if err := r.AgeRow(a.Source, 50*time.Minute); err != nil {
		r.Fatal(err)
	}
	r.refused(r.l, a, false, "rawtransfer", time.Minute)
	if err := r.AgeRow(a.Source, 10*time.Minute-5*time.Second); err != nil {
		r.Fatal(err)
	}
	r.refused(r.l, a, false, "rawtransfer", 5*time.Second)
	for _, o := range []connector.Original{a, b} {
		if err := r.AgeRow(o.Source, time.Hour); err != nil {
			r.Fatal(err)
		}
		r.holds(r.l, o, false)
		r.record(r.l, o, To(o, "here", "/raw"+o.Source), true)
		r.unlock(r.l, o)
	}
	if n := len(r.find(r.l, a.Source, b.Source)); n != 2 {
		r.Errorf("found %d of 2", n)
	}
}

func metadata(r *rig) {
	shown := File("/data/shown", "shown")
	r.done(r.l, shown, To(shown, "here", "/raw/shown"))
	for i, meta := range []map[string]string{{"tel": "x"}, {"tel": "70000"}, {"run": "1.5"},
		{"note": "longer than ten"}} {
		bad, same := File(fmt.Sprint("/data/", i), fmt.Sprint("bad ", i)), File("/data/same bytes", "shown")
		for _, o := range []connector.Original{bad, same} {
			maps.Copy(o.Meta, meta)
			if _, err := r.l.Lock(r.Context(), o, false); !fault.Is(err, fault.Invalid) {
				r.Errorf("%v: got %v (%v), want it to be invalid", meta, err, fault.KindOf(err))
			}
			if found := r.find(r.l, o.Source); len(found) > 0 {
				r.Errorf("%v: found %v", meta, found)
			}
			other := o
			other.Meta = nil
			r.holds(r.open("two"), other, false) // nobody has it
			r.unlock(r.open("two"), other)
		}
		// Held with others, and the expression was changed since.
		good := bad
		good.Meta = nil
		r.holds(r.l, good, false)
		if err := r.l.Record(r.Context(), bad, To(bad, "here", "/raw/x"), true, false); !fault.Is(err, fault.Invalid) {
			r.Errorf("%v: got %v (%v), want it to be invalid", meta, err, fault.KindOf(err))
		}
		r.table(lockedRow(good), doneRow(shown, To(shown, "here", "/raw/shown")))
		r.unlock(r.l, good)
	}
	o := File("/data/z", "no column")
	o.Meta["other"] = "1"
	if _, err := r.l.Lock(r.Context(), o, false); !fault.Is(err, fault.Permanent) {
		r.Errorf("got %v, want permanent", err)
	}
	for _, meta := range []map[string]string{nil, {"tel": "7"}, {"note": `it's "é\`, "run": "-5"}} {
		o := File(fmt.Sprint("/data/good", len(meta)), fmt.Sprint("good ", meta))
		o.Meta = meta
		d := To(o, "here", "/raw/x")
		r.done(r.l, o, d)
		r.wantEntry(r.find(r.l, o.Source)[o.Source], o, d)
	}
}

// hostile are paths that a file system may have.
var hostile = []string{"/data/with space", "/data/new\nline", "/data/quote's \"x\"",
	"/data/'; DROP TABLE transfers; --", "/data/ümläut 🎈",
	"/data/back\\slash\\x41", "/data/%41 100%", "/data/latin-\xe9", "/data/\xff\xfe%", "/data/\xed\xa0\x80",
	"/data/�", "/data/$1 ?1 {}", "%relative", "\xff"}

func names(r *rig) {
	for i, source := range hostile {
		o := File(source, fmt.Sprint(i))
		d := To(o, "host:/"+fmt.Sprint(i), "/raw"+source)
		r.done(r.l, o, d)
		if c := r.lock(r.l, o, false); c.Done == nil || c.Done.Source != source {
			r.Errorf("%q: lock says %+v", source, c)
		}
		r.wantEntry(r.find(r.l, hostile...)[source], o, d)
	}
	if found := r.find(r.l, hostile...); len(found) != len(hostile) {
		r.Errorf("found %d of %d", len(found), len(hostile))
	}
}

func eachOne(r *rig) {
	type key struct{ source, paths string }
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	var want []key
	for i, hours := range []int{5, 1, 4, 2, 3} {
		o := File(fmt.Sprint("/data/", hours), fmt.Sprint("content ", i))
		d, e := To(o, "here", "/raw/here"), To(o, "there", "/raw/there")
		d.At, e.At = at.Add(time.Duration(hours)*time.Hour), at.Add(time.Duration(hours)*time.Hour+time.Minute)
		r.done(r.l, o, d, e)
	}
	for h := 1; h <= 5; h++ {
		paths := "/raw/here /raw/there"
		if !r.extra {
			paths = "/raw/here"
		}
		want = append(want, key{fmt.Sprint("/data/", h), paths})
	}
	for since, from := range map[time.Duration]int{0: 0, 2 * time.Hour: 1, 2*time.Hour + time.Microsecond: 2,
		6 * time.Hour: 5} {
		if r.extra && since == 2*time.Hour+time.Microsecond {
			from = 1 // its other shipment is of later
		}
		var got []key
		err := r.l.Each(r.Context(), at.Add(since), func(e connector.Entry) error {
			k := key{e.Source, e.Shipments[0].Path}
			for _, s := range e.Shipments[1:] {
				k.paths += " " + s.Path
			}
			got = append(got, k)
			_, err := r.l.Find(r.Context(), []string{e.Source}) // it may be asked meanwhile
			return err
		})
		if err != nil || len(got) != 5-from || len(got) > 0 && !reflect.DeepEqual(got, want[from:]) {
			r.Errorf("since %v: got %v %v, want %v", since, got, err, want[from:])
		}
	}
	stop := fmt.Errorf("enough")
	n := 0
	if err := r.l.Each(r.Context(), time.Time{},
		func(connector.Entry) error { n++; return stop }); err != stop || n != 1 {
		r.Errorf("got %v after %d entries, want the error that was returned", err, n)
	}
	r.find(r.l, "/data/1")
}

func restore(r *rig) {
	entries := map[string]connector.Entry{}
	for i := range 3 {
		o := File(fmt.Sprint("/data/", i), fmt.Sprint("content ", i))
		e := connector.Entry{Original: o, Of: connector.ByHoldfast, Shipments: []connector.Shipment{To(o,
			"here", fmt.Sprint("/raw/", i))}}
		if i == 1 {
			e.Shipments = append(e.Shipments, To(o, "there", "/raw/there"))
		}
		entries[o.Source] = e
	}
	for n := range 2 {
		for _, e := range entries {
			added, err := r.l.Restore(r.Context(), e)
			if err != nil || added != (n == 0) {
				r.Errorf("restore %s: got %v %v, want %v", e.Source, added, err, n == 0)
			}
		}
	}
	for source, e := range entries {
		r.wantEntry(r.find(r.l, source)[source], e.Original, e.Shipments...)
	}
	// A shipment that a known entry lacks.
	more := entries["/data/2"]
	more.Shipments = append(more.Shipments, To(more.Original, "there", "/raw/2 there"))
	for n := range 2 {
		if added, err := r.l.Restore(r.Context(), more); err != nil || added != (r.extra && n == 0) {
			r.Errorf("another shipment: got %v %v", added, err)
		}
	}
	if r.extra {
		r.wantEntry(r.find(r.l, more.Source)[more.Source], more.Original, more.Shipments...)
	}
	// Of a source that is known, with other bytes; and of bytes that are known, at another path.
	known, second := File("/data/1", "others"), File("/data/second", "content 1")
	for _, c := range []struct {
		connector.Original
		want bool
	}{{known, false}, {second, r.extra}} {
		added, err := r.l.Restore(r.Context(), connector.Entry{Original: c.Original,
			Shipments: []connector.Shipment{To(c.Original, "here", "/raw/x")}})
		if err != nil || added != c.want {
			r.Errorf("restore %s: got %v %v, want %v", c.Source, added, err, c.want)
		}
	}
	held := File("/data/held", "held")
	r.holds(r.l, held, false)
	if added, err := r.l.Restore(r.Context(), connector.Entry{Original: held,
		Shipments: []connector.Shipment{To(held, "here", "/raw/x")}}); added || err != nil {
		r.Errorf("restore of a held file: got %v %v", added, err)
	}
}

func probe(r *rig) {
	for range 2 {
		if err := r.l.Probe(r.Context()); err != nil {
			r.Errorf("probe: %v", err)
		}
	}
	r.table()
	if r.extra {
		for _, beside := range []string{"files", "locks"} {
			if rows := r.rows("SELECT * FROM %s_holdfast_%s", r.Table, beside); len(rows) > 0 {
				r.Errorf("a probe left %v", rows)
			}
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if err := r.l.Probe(ctx); !fault.Is(err, fault.Transient) {
		r.Errorf("cancelled: got %v, want an outage", err)
	}
	if name := r.l.Traits().Name; name == "" {
		r.Error("it has no name")
	}
}

func check(r *rig) {
	for _, columns := range [][]string{{"nosuch"}, {"sha1_hash"}, {"tel", "tel"}, {""}} {
		err := r.l.Check(r.Context(), columns)
		if !fault.Is(err, fault.Permanent) || columns[0] == "nosuch" && fault.HintOf(err) == "" {
			r.Errorf("%q: got %v (%v), want permanent, with a hint", columns, err, fault.KindOf(err))
		}
	}
	if err := r.l.Check(r.Context(), nil); err != nil {
		r.Error(err)
	}
	o := File("/data/a", "a")
	o.Meta = nil
	r.done(r.l, o, To(o, "here", "/raw/a"))
}

// anHour: without tables of ours a claim is not renewed, and after an hour it is another's.
func anHour(r *rig) {
	if r.extra {
		return
	}
	o, other := File("/data/a.fits", "a"), r.open("two")
	r.holds(r.l, o, false)
	r.holds(r.l, o, false) // of the same process
	r.refused(other, o, false, "rawtransfer", time.Minute)
	again := r.open("one") // another life: it has to know
	r.refused(again, o, false, "rawtransfer", time.Minute)
	r.holds(again, o, true)
	if err := r.l.Record(r.Context(), o, To(o, "here", "/raw/a"), true, false); !fault.Is(err, fault.Conflict) {
		r.Errorf("a former claim: got %v, want a conflict", err)
	}
	if err := r.AgeRow(o.Source, time.Hour); err != nil {
		r.Fatal(err)
	}
	r.holds(other, o, false)
	if err := again.Record(r.Context(), o, To(o, "here", "/raw/a"), true, false); !fault.Is(err, fault.Conflict) {
		r.Errorf("got %v, want a conflict", err)
	}
	r.unlock(again, o) // it is not its own any more
	d := To(o, "here", "/raw/a")
	r.record(other, o, d, true)
	r.record(again, o, d, true)
	r.table(doneRow(o, d))
	// A second path has no place, and is no fault.
	b := File("/data/b.fits", "a")
	if c := r.holds(r.l, b, false); c.Same == nil || c.Same.Source != o.Source {
		r.Errorf("got %+v", c)
	}
	r.record(r.l, b, To(b, "here", "/raw/b"), true)
	r.record(r.l, b, To(b, "there", "/raw/b"), false)
	r.unlock(r.l, b)
	r.table(doneRow(o, d))
}
