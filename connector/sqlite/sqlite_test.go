package sqlite

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/rowkey"
	"holdfast/connector/sinktest"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Path: "x.db"}, ""},
		{Config{}, "path: missing"},
		{Config{Path: "x.db", Table: "sqlite_x"}, "table: names that begin with sqlite_"},
		{Config{Path: "x.db", Table: "holdfast_delivered"}, "table: holdfast_delivered"},
		{Config{Path: "x.db", Busy: -1}, "busy: -1ns is negative"},
		{Config{Path: "x.db", Key: []string{"a", "a"}}, `key[1]: "a" is there twice`},
		{Config{Path: "x.db", Replace: "revision"}, "replace: wants key"},
	} {
		errs := c.cfg.Validate()
		switch {
		case c.want == "" && len(errs) > 0:
			t.Errorf("%+v: got %v", c.cfg, errs)
		case c.want != "" && (len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), c.want)):
			t.Errorf("%+v: got %v, want %q", c.cfg, errs, c.want)
		}
	}
}

func spotsKey() rowkey.Key {
	key, _ := rowkey.Spec{}.Of(sinktest.Schema())
	return key
}

// spotsTable is the table that we make, with one column's definition changed.
func spotsTable(column, definition string) string {
	ddl := spotsKey().CreateTable(quote("spots"), quote, declared)
	for line := range strings.Lines(ddl) {
		if strings.HasPrefix(line, `  "`+column+`" `) {
			if definition == "" {
				return strings.Replace(ddl, line, "", 1)
			}
			end := strings.TrimLeft(line, "abcdefghijklmnopqrstuvwxyzINTEGRALOUXPMKYSDC_ \"")
			return strings.Replace(ddl, line, `  "`+column+`" `+definition+end, 1)
		}
	}
	return ddl
}

func TestExistingTables(t *testing.T) {
	strict := func(ddl string) string { return strings.Replace(ddl, " SECONDS", "", 1) + " STRICT" }
	for _, c := range []struct{ name, ddl, want string }{
		{"as we make it", spotsTable("", ""), ""},
		{"strict", strict(spotsTable("", "")), ""},
		{"without rowid", spotsTable("", "") + " WITHOUT ROWID", ""},
		{"a unique index", spotsTable("id", "BIGINT UNIQUE"), ""},
		{"upper case", strings.ToUpper(spotsTable("", "")), ""},
		{"no types", spotsTable("snr", ""), "it has no column snr"},
		{"untyped", spotsTable("snr", "/* none */"), ""},
		{"datetime", spotsTable("time", "DATETIME NOT NULL"), ""},
		{"a time in no unit", spotsTable("time", "INTEGER NOT NULL"), ""},
		{"a time in another unit", spotsTable("time", "integer milliseconds"),
			`column time is declared "integer milliseconds", and the rows have it as timestamp[s`},
		{"an integer as text", spotsTable("snr", "TEXT"), `column snr is declared "TEXT"`},
		{"a small integer as real", spotsTable("snr", "REAL"), ""},
		{"a large integer as real", spotsTable("frequency", "DOUBLE"), `column frequency is declared`},
		{"text as a number", spotsTable("version", "NUMERIC"), `column version is declared "NUMERIC"`},
		{"strict with a float as integer", strict(spotsTable("rx_lat", "INTEGER")), "column rx_lat"},
		{"strict with any", strict(spotsTable("rx_lat", "ANY")), ""},
		{"generated", spotsTable("code", "INTEGER AS (snr + 1)"), "column code is generated"},
		{"key not unique", spotsTable("id", "INTEGER NOT NULL"), "column id has no unique index"},
		{"unique only in part", spotsTable("id", "INTEGER") +
			"; CREATE UNIQUE INDEX i ON spots (id) WHERE snr > 0", "column id has no unique index"},
		{"unique with another", spotsTable("id", "INTEGER") +
			"; CREATE UNIQUE INDEX i ON spots (id, time)", "column id has no unique index"},
		{"one column more", spotsTable("code", "INTEGER, more TEXT"), ""},
		{"one needed column more", spotsTable("code", "INTEGER, more TEXT NOT NULL"), "column more must"},
		{"one more with a default", spotsTable("code", "INTEGER, more TEXT NOT NULL DEFAULT 'x'"), ""},
		{"a view", "CREATE VIEW spots AS SELECT 1 AS id", "spots is a view"},
		{"a foreign delivered table", "CREATE TABLE holdfast_delivered (x)", "it is not one of ours"},
	} {
		t.Run(c.name, func(t *testing.T) { existing(t, c.ddl, c.want) })
	}
}

func existing(t *testing.T, ddl, want string) {
	f := newFile(t)
	sink, err := f.sink(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if _, err := sink.makeRoom(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.Exec(ddl); err != nil {
		t.Fatalf("%s: %v", ddl, err)
	}
	err = sink.Prepare(t.Context(), sinktest.Schema())
	if want != "" {
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v (kind %v), want permanent with %q", err, fault.KindOf(err), want)
		}
		return
	}
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	spots := sinktest.Spots(3, 0, 120)
	for n := uint64(1); n < 3; n++ {
		v := write(t, sink, connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
			Token: record.Token{First: n, Last: n}})
		if len(v.Rejected) > 0 || v.Present != int64(n-1)*120 {
			t.Errorf("write %d: got %d present, rejected %v", n, v.Present, v.Rejected)
		}
	}
	got, err := f.spots()
	if diff := sinktest.Difference(spots, got); diff != "" || err != nil {
		t.Errorf("rows: %s %v", diff, err)
	}
}

// TestRowsThatATableRefuses: a constraint of a table of the user's refuses rows, not deliveries.
func TestRowsThatATableRefuses(t *testing.T) {
	f := newFile(t)
	sink, err := f.sink(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if _, err := sink.makeRoom(); err != nil {
		t.Fatal(err)
	}
	ddl := spotsTable("snr", "INTEGER CHECK (snr > -30)") + `; CREATE TRIGGER no BEFORE INSERT ON spots
		WHEN new.drift = 4 BEGIN SELECT RAISE(IGNORE); END`
	if _, err := f.db.Exec(ddl); err != nil {
		t.Fatal(err)
	}
	spots := sinktest.Spots(7, 0, 300)
	var want []sinktest.Spot
	for _, s := range spots {
		if s.SNR > -30 && s.Drift != 4 {
			want = append(want, s)
		}
	}
	v := write(t, sink, connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
		Token: record.Token{First: 1, Last: 1}})
	if len(v.Rejected) != len(spots)-len(want) {
		t.Errorf("got %d rejected, want %d", len(v.Rejected), len(spots)-len(want))
	}
	got, err := f.spots()
	if diff := sinktest.Difference(want, got); diff != "" || err != nil {
		t.Errorf("rows: %s %v", diff, err)
	}
}

func TestCreateFalse(t *testing.T) {
	f := newFile(t)
	no := false
	sink, err := f.sink(Config{Create: &no})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	err = sink.Prepare(t.Context(), sinktest.Schema())
	if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), "create is false") {
		t.Errorf("without a file: got %v", err)
	}
	prepared(t, f, Config{Table: "other"}, sinktest.Schema())
	err = sink.Prepare(t.Context(), sinktest.Schema())
	if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), "no table spots") {
		t.Errorf("without a table: got %v", err)
	}
}

// TestEveryConnectionIsSafe: the answer to a power cut is that a commit is synced before it is
// acknowledged, on whatever connection.
func TestEveryConnectionIsSafe(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	for range 3 {
		c, err := sink.session.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var mode string
		var sync int
		err = c.QueryRowContext(t.Context(), "SELECT j.journal_mode, s.synchronous "+
			"FROM pragma_journal_mode AS j, pragma_synchronous AS s").Scan(&mode, &sync)
		if err != nil || mode != "wal" || sync != 2 {
			t.Errorf("got mode %s, synchronous %d, %v; want wal, 2 (FULL)", mode, sync, err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	f := newFile(b)
	sink := prepared(b, f, Config{}, sinktest.Schema())
	const rows = 100_000
	after, n := uint64(0), uint64(0)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		spots := sinktest.Spots(n, after, rows)
		after = spots[rows-1].ID
		n++
		d := connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
			Token: record.Token{First: n, Last: n}}
		b.StartTimer()
		begun := time.Now()
		write(b, sink, d)
		spent += time.Since(begun)
	}
	b.ReportMetric(float64(b.N)*rows/spent.Seconds(), "rows/s")
}

// TestBrokenWriteLeavesNothing: the rows of a delivery are there with its token or not at all, and
// a cancelled write stops where it stands.
func TestBrokenWriteLeavesNothing(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	_, d := sinktest.Numbered(1)
	for _, how := range []string{"cut", "cancelled"} {
		ctx, cancel := context.WithCancel(t.Context())
		statements := 0
		sink.broken = func(stage) error {
			statements++
			if how == "cancelled" {
				cancel()
				return nil
			}
			return fault.New(fault.Transient, "cut on purpose")
		}
		_, err := sink.Write(ctx, d)
		cancel()
		if !fault.Is(err, fault.Transient) || statements != 1 {
			t.Errorf("%s: got %v after %d statements, want an outage after 1", how, err, statements)
		}
		if n := f.count(t, `SELECT (SELECT count(*) FROM spots) +
			(SELECT count(*) FROM holdfast_delivered)`); n != 0 {
			t.Errorf("%s: %d rows are left behind", how, n)
		}
	}
	sink.broken = nil
	if v := write(t, sink, d); v.Present != 0 {
		t.Errorf("afterwards: got %+v", v)
	}
}
