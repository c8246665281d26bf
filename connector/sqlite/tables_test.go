package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
)

func TestTables(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) *tabletest.Target {
		f := newFile(t)
		cfg := Config{Path: f.path, Table: `weather "#1"`, Key: tabletest.Keys, Busy: time.Second}
		return &tabletest.Target{
			Table:   cfg.Table,
			Large:   20_000 / slower,
			Sink:    func() (connector.Sink, error) { return New(cfg) },
			Open:    func() (connector.Tables, error) { return OpenTables(cfg) },
			Away:    sinktest.Hook{Lacks: "a file that is away has no rows"},
			Restart: sinktest.Hook{Lacks: "a file has no server"},
			Freeze:  sinktest.Hook{Lacks: "a file has no server"},
			Denied:  tabletest.Denied{Lacks: "a file has no credentials"},
		}
	})
}

// TestTimesOfEveryUnit: a created table says what its integers count, and bounds mean the same in each.
func TestTimesOfEveryUnit(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	early, late := time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	for unit, word := range units {
		f := newFile(t)
		schema := record.NewSchema([]arrow.Field{{Name: "at", Type: &arrow.TimestampType{Unit: unit}},
			{Name: "since", Type: &arrow.TimestampType{Unit: unit}, Nullable: true}}, "", "at")
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
		for i := range 3 {
			v := arrow.Timestamp(noon.Add(time.Duration(i)*time.Second).UnixNano() / int64(unit.Multiplier()))
			b.Field(0).(*array.TimestampBuilder).Append(v)
			b.Field(1).(*array.TimestampBuilder).Append(v)
		}
		write(t, prepared(t, f, Config{}, schema), connector.Delivery{Schema: schema, Rows: b.NewRecordBatch(),
			Token: record.Token{First: 1, Last: 1}})
		for _, c := range []struct {
			from, to time.Time
			want     int
		}{{early, late, 3}, {late, late.Add(time.Hour), 0}, {early, early.Add(time.Hour), 0},
			{noon.Add(1), noon.Add(2 * time.Second), 1}, {noon, noon.Add(2*time.Second + 1), 3}} {
			q := connector.TableQuery{Table: "spots", Time: "AT", Columns: []string{"since"}, From: c.from, To: c.to}
			got, err := f.read(t, q)
			if err != nil || len(got) != c.want {
				t.Errorf("%s from %v to %v: got %v %v, want %d", word, c.from, c.to, got, err, c.want)
			}
			for _, v := range got {
				if at, ok := v[0].(time.Time); !ok || at.Before(noon) || at.After(noon.Add(2*time.Second)) {
					t.Errorf("%s: got %v", word, v)
				}
			}
		}
	}
}

// read asks for rows.
func (f *file) read(t *testing.T, q connector.TableQuery) (got [][]any, err error) {
	t.Helper()
	tables, err := OpenTables(Config{Path: f.path, Busy: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	err = tables.Rows(t.Context(), q, func(values []any) error {
		got = append(got, slices.Clone(values))
		return nil
	})
	return got, err
}

// TestForeignTables: what a table of somebody else's holds is told as what it is, or refused.
func TestForeignTables(t *testing.T) {
	f := newFile(t)
	s, err := f.sink(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.makeRoom(); err != nil {
		t.Fatal(err)
	}
	for _, ddl := range []string{
		"CREATE TABLE plain (time INTEGER, yes BOOLEAN, day DATETIME, raw BLOB, any)",
		"INSERT INTO plain VALUES (7, 1, 1700000000, x'00ff', 1.5), (NULL, 0, NULL, NULL, NULL), " +
			"(8, NULL, '2026-01-02 03:04:05', '', 3)",
		"CREATE VIEW seen AS SELECT time, any FROM plain WHERE any > 2",
		"CREATE TABLE texts (time TEXT)", "CREATE TABLE mixed (time)", "INSERT INTO mixed VALUES (1), ('noon')",
		"CREATE VIEW broken AS SELECT time FROM gone",
	} {
		if _, err := f.db.Exec(ddl); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		table, columns, want string
		kind                 fault.Kind
	}{
		{"plain", "time yes day raw any", "[[1970-01-01 00:00:07 +0000 UTC true 1700000000 AP8= 1.5] " +
			"[1970-01-01 00:00:08 +0000 UTC <nil> 2026-01-02 03:04:05  3]]", 0},
		{"PLAIN", "ANY", "[[1.5] [3]]", 0},
		{"plain", "", "[[] []]", 0},
		{"seen", "any", "[[3]]", 0},
		{"texts", "time", `column time is declared "TEXT", want integers`, fault.Permanent},
		{"mixed", "time", "a time is noon, want an integer", fault.Permanent},
		{"broken", "time", "no such table", fault.Permanent},
	} {
		got, err := f.read(t, connector.TableQuery{Table: c.table, Time: "time",
			Columns: strings.Fields(c.columns)})
		if c.kind == 0 && (err != nil || fmt.Sprint(got) != c.want) ||
			c.kind != 0 && (!fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, %v (kind %v), want %s", c.table, got, err, fault.KindOf(err), c.want)
		}
	}
}

// TestFileComesAndGoes: a reader follows the path, not a file, and leaves nothing there.
func TestFileComesAndGoes(t *testing.T) {
	f := newFile(t)
	tables, err := OpenTables(Config{Path: f.path})
	if err != nil {
		t.Fatal(err)
	}
	rows := func(want uint64) {
		t.Helper()
		n := uint64(0)
		err := tables.Rows(t.Context(), connector.TableQuery{Table: "spots", Time: "time", Columns: []string{"id"}},
			func([]any) error { n++; return nil })
		if err != nil || n != want {
			t.Errorf("got %d rows, %v, want %d", n, err, want)
		}
	}
	rows(0)
	if _, err := os.Stat(filepath.Dir(f.path)); !os.IsNotExist(err) {
		t.Errorf("the reader made a directory: %v", err)
	}
	for n := uint64(1); n <= 2; n++ {
		sink := prepared(t, f, Config{}, sinktest.Schema())
		rows(0)
		_, d := sinktest.Numbered(n)
		write(t, sink, d)
		rows(sinktest.PerDelivery)
		if !locked(t, f.path) {
			t.Error("reading the file took the sink's lock away")
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		rows(sinktest.PerDelivery)
		if err := os.RemoveAll(filepath.Dir(f.path)); err != nil {
			t.Fatal(err)
		}
		rows(0)
	}
	if err := tables.Close(); err != nil {
		t.Error(err)
	}
	_, _, err = tables.Newest(t.Context(), connector.TableQuery{Table: "spots", Time: "time"})
	if !fault.Is(err, fault.Permanent) {
		t.Errorf("after Close: got %v, want permanent", err)
	}
}

// TestReaderChangesNothing: what a writer that was killed has left is read, and left for the next one.
func TestReaderChangesNothing(t *testing.T) {
	f, left := newFile(t), filepath.Join(t.TempDir(), "left.db")
	sink := prepared(t, f, Config{}, sinktest.Schema())
	_, d := sinktest.Numbered(1)
	write(t, sink, d)
	files := map[string][]byte{}
	for _, ending := range []string{"", "-wal"} {
		b, err := os.ReadFile(f.path + ending)
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %d bytes, %v", f.path+ending, len(b), err)
		}
		if err := os.WriteFile(left+ending, b, 0o600); err != nil {
			t.Fatal(err)
		}
		files[left+ending] = b
	}
	f.path = left
	got, err := f.read(t, connector.TableQuery{Table: "spots", Time: "time"})
	if err != nil || len(got) != sinktest.PerDelivery {
		t.Errorf("got %d rows, %v", len(got), err)
	}
	for name, was := range files {
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, was) {
			t.Errorf("%s was changed: %d bytes, %v, want %d", name, len(b), err, len(was))
		}
	}
}

// TestUnreadableFiles: what stands at the path and can't be read.
func TestUnreadableFiles(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	_, d := sinktest.Numbered(1)
	write(t, sink, d)
	q := connector.TableQuery{Table: "spots", Time: "time"}
	if err := f.lock(); err != nil {
		t.Fatal(err)
	}
	if got, err := f.read(t, q); err != nil || len(got) != sinktest.PerDelivery {
		t.Errorf("beside a writer: got %d rows, %v", len(got), err)
	}
	if err := f.unlock(); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.Exec("PRAGMA locking_mode=EXCLUSIVE; DELETE FROM spots WHERE id = 0"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(t, q); !fault.Is(err, fault.Transient) {
		t.Errorf("locked by another: got %v (kind %v), want an outage", err, fault.KindOf(err))
	}
	f.path = t.TempDir()
	if _, err := f.read(t, q); !fault.Is(err, fault.Permanent) {
		t.Errorf("a directory: got %v (kind %v), want permanent", err, fault.KindOf(err))
	}
	f.path = filepath.Join(f.path, "notes.txt")
	if err := os.WriteFile(f.path, bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(t, q); !fault.Is(err, fault.Corrupt) || fault.HintOf(err) == "" {
		t.Errorf("no database: got %v (kind %v), want corrupt with a hint", err, fault.KindOf(err))
	}
	if _, err := OpenTables(Config{}); !fault.Is(err, fault.Permanent) {
		t.Errorf("no path: got %v, want permanent", err)
	}
}

// BenchmarkNewest is what a question costs: it opens the file for itself.
func BenchmarkNewest(b *testing.B) {
	f := newFile(b)
	schema := hourly()
	sink := prepared(b, f, Config{Key: []string{"zip_code", "state", "time"}}, schema)
	write(b, sink, connector.Delivery{Schema: schema, Rows: hour(schema, 1),
		Token: record.Token{First: 1, Last: 1}})
	tables, err := OpenTables(Config{Path: f.path})
	if err != nil {
		b.Fatal(err)
	}
	q := connector.TableQuery{Table: "spots", Time: "time"}
	for b.Loop() {
		if _, ok, err := tables.Newest(b.Context(), q); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func TestKeyed(t *testing.T) {
	tabletest.RunKeyed(t, func(t *testing.T) *tabletest.Keyed {
		f := newFile(t)
		return &tabletest.Keyed{
			Table: "weather",
			Sink: func(key []string, replace string) (connector.Sink, error) {
				return f.sink(Config{Table: "weather", Key: key, Replace: replace, Busy: time.Second})
			},
			Open:       func() (connector.Tables, error) { return OpenTables(Config{Path: f.path}) },
			Exec:       func(statement string) error { _, err := f.db.Exec(statement); return err },
			LostAnswer: sinktest.Hook{Do: func() error { f.lose.Store(true); return nil }},
			Cut: func(bytes int64) sinktest.Hook {
				return sinktest.Hook{
					Do:   func() error { f.cutAfter.Store(bytes / 5000); return nil },
					Undo: func() error { f.cutAfter.Store(-1); return nil },
				}
			},
			Child:     []string{f.path},
			Histories: max(10, 100/slower),
		}
	})
}
