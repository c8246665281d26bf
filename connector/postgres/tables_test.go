package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
	"holdfast/tests/testenv"
)

// weather is a sink's configuration for the rows of tabletest.
func (b *broken) weather(table string) Config {
	return Config{DSN: b.dsn("geheim123"), Schema: "wspr", Table: table, Create: true, Timeout: 2 * time.Second,
		Key: tabletest.Keys}
}

func TestTables(t *testing.T) {
	pg := testenv.Postgres(t)
	tabletest.Run(t, func(t *testing.T) *tabletest.Target {
		b := fresh(t, pg)
		cfg := b.weather(`weather "#1"`)
		return &tabletest.Target{
			Table:   cfg.Table,
			Timeout: cfg.Timeout,
			Sink:    func() (connector.Sink, error) { return New(cfg) },
			Open:    func() (connector.Tables, error) { return OpenTables(cfg) },
			Away:    sinktest.HookOf(b.proxy.Down, b.proxy.Up),
			Restart: sinktest.HookOf(b.pg.Kill, b.pg.Restart),
			Freeze:  sinktest.HookOf(b.pg.Freeze, b.pg.Thaw),
			Denied: tabletest.Denied{Open: func() (connector.Tables, error) {
				cfg := cfg
				cfg.DSN = b.dsn("wrong")
				return OpenTables(cfg)
			}},
		}
	})
}

func TestKeyed(t *testing.T) {
	pg := testenv.Postgres(t)
	tabletest.RunKeyed(t, func(t *testing.T) *tabletest.Keyed {
		b := fresh(t, pg)
		return &tabletest.Keyed{
			Table: "weather",
			Sink: func(key []string, replace string) (connector.Sink, error) {
				cfg := b.weather("weather")
				cfg.Key, cfg.Replace = key, replace
				return New(cfg)
			},
			Open: func() (connector.Tables, error) { return OpenTables(b.weather("weather")) },
			Exec: func(statement string) error {
				_, err := pg.Try(context.Background(), "SET search_path = wspr; "+statement)
				return err
			},
			LostAnswer: sinktest.Losing(b.lossy),
			Cut:        sinktest.CutBy(t, b.proxy),
			Child:      []string{b.dsn("geheim123").Reveal()},
			Histories:  testenv.Count(t, 60),
		}
	})
}

// TestTableIgnoresARevision: a row that a trigger ignores replaces nothing, whatever else its delivery has.
func TestTableIgnoresARevision(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t, func(c *Config) { *c = b.weather("weather"); c.Replace = "revision" })
	if err := s.Prepare(t.Context(), tabletest.Schema()); err != nil {
		t.Fatal(err)
	}
	b.pg.Query(t, `CREATE FUNCTION wspr.ignore() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN IF new.temp_c = 1 THEN RETURN NULL; END IF; RETURN new; END $$;
		CREATE TRIGGER ignore BEFORE INSERT ON wspr.weather FOR EACH ROW EXECUTE FUNCTION wspr.ignore()`)
	row := func(at int64, zip string, revision int64, temp float64) tabletest.Row {
		return tabletest.Row{Time: at, ZipCode: zip, State: "x", Revision: revision, TempC: temp}
	}
	put(t, s, tabletest.Schema(), tabletest.Batch([]tabletest.Row{row(1, "a", 3, 0), row(1, "b", 3, 0),
		row(2, "a", 1, 0), row(3, "a", 1, 0)}), 1)
	v := put(t, s, tabletest.Schema(), tabletest.Batch([]tabletest.Row{row(1, "a", 5, 1), row(1, "b", 4, 1),
		row(2, "a", 9, 1), row(2, "b", 9, 0), row(3, "a", 2, 1), row(3, "b", 1, 0)}), 2)
	var refused []int
	for _, r := range v.Rejected {
		refused = append(refused, r.Row)
	}
	if !slices.Equal(refused, []int{0, 1, 2, 4}) || v.Present != 0 {
		t.Errorf("got %+v, want rows 0, 1, 2 and 4 refused", v)
	}
	got := b.pg.Query(t, `SELECT string_agg(extract(epoch FROM time)::int || zip_code || revision, ' '
		ORDER BY time, zip_code) FROM wspr.weather`)
	if want := "1a3 1b3 2b9 3a1 3b1"; got != want {
		t.Errorf("the table holds %s, want %s", got, want)
	}
}

// TestRevisionsAtOnce: sinks of several jobs write revisions of one time at once, and one of them stands.
func TestRevisionsAtOnce(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	var all sync.WaitGroup
	const writers, rounds = 4, 15
	for w := range writers {
		s := b.open(t, func(c *Config) {
			*c = b.weather("weather")
			c.Replace, c.Timeout = "revision", 20*time.Second
		})
		if err := s.Prepare(t.Context(), tabletest.Schema()); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for n := range rounds {
				rows := make([]tabletest.Row, 20)
				for i := range rows {
					rows[i] = tabletest.Row{ZipCode: strconv.Itoa(i), State: "x", Revision: int64(n*writers + w)}
				}
				v, err := s.Write(t.Context(), connector.Delivery{Schema: tabletest.Schema(), Rows: tabletest.Batch(rows),
					FirstAttempt: time.Now(), Token: record.Token{Job: strconv.Itoa(w), First: uint64(n), Last: uint64(n)}})
				if err != nil || len(v.Rejected) > 0 {
					t.Errorf("writer %d: got %+v, %v", w, v, err)
				}
			}
		})
	}
	all.Wait()
	got := b.pg.Query(t, "SELECT count(*), min(revision), max(revision) FROM wspr.weather")
	if want := fmt.Sprintf("20\t%d\t%[1]d", writers*rounds-1); got != want {
		t.Errorf("the table holds %q, want %q", got, want)
	}
}

// TestReplaceNeedsDelete: a user that may not delete rows is told before anything is written.
func TestReplaceNeedsDelete(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t, func(c *Config) { *c = b.weather("weather") })
	if err := s.Prepare(t.Context(), tabletest.Schema()); err != nil {
		t.Fatal(err)
	}
	b.pg.Query(t, "ALTER TABLE wspr.weather OWNER TO postgres; GRANT SELECT, INSERT ON wspr.weather TO writer")
	if err := s.Prepare(t.Context(), tabletest.Schema()); err != nil {
		t.Errorf("without replace: %v", err)
	}
	replacing := b.open(t, func(c *Config) { *c = b.weather("weather"); c.Replace = "revision" })
	err := replacing.Prepare(t.Context(), tabletest.Schema())
	if want := `GRANT DELETE ON "wspr"."weather" TO "writer";`; !fault.Is(err, fault.Permanent) ||
		fault.HintOf(err) != want {
		t.Fatalf("got %v (kind %v, hint %q), want permanent with %q", err, fault.KindOf(err), fault.HintOf(err),
			want)
	}
	b.pg.Query(t, fault.HintOf(err))
	if err := replacing.Prepare(t.Context(), tabletest.Schema()); err != nil {
		t.Errorf("when it may: %v", err)
	}
}

// TestReplaceLooksAtFewRows: a revision of one time is no question about all of them.
func TestReplaceLooksAtFewRows(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t, func(c *Config) { *c = b.weather("weather"); c.Replace = "revision" })
	if err := s.Prepare(t.Context(), tabletest.Schema()); err != nil {
		t.Fatal(err)
	}
	b.pg.Query(t, `INSERT INTO wspr.weather SELECT to_timestamp(n / 100), n, 'x', 0, 0, 1, true, NULL
		FROM generate_series(1, 50000) AS n; ANALYZE wspr.weather`)
	table := s.session.table
	stage := strings.Replace(table.stage, "ON COMMIT DROP", "", 1)
	for _, query := range []string{table.late, table.older} {
		plan := b.pg.Query(t, "DISCARD TEMP; "+stage+"; INSERT INTO pg_temp."+staging+
			" SELECT n, to_timestamp(7), n, 'x', 0, 0, 2, true, NULL FROM generate_series(1, 1000) AS n; "+
			"EXPLAIN "+query)
		if !strings.Contains(plan, "Index") || strings.Contains(plan, "Seq Scan on weather") {
			t.Errorf("%s\nis done so: %s", query, plan)
		}
	}
}

// read asks for rows.
func (b *broken) read(t *testing.T, cfg Config, q connector.TableQuery) (got [][]any, err error) {
	t.Helper()
	tables, err := OpenTables(cfg)
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
	b := fresh(t, testenv.Postgres(t))
	b.pg.Query(t, `SET search_path = wspr; ALTER ROLE writer SET timezone = 'Asia/Tokyo';
		CREATE TABLE plain (time timestamp(3), "Small" smallint, one real, num numeric(30, 2), big numeric(20),
			raw bytea, id uuid, doc jsonb, code char(3), day date, far timestamptz);
		INSERT INTO plain VALUES ('2026-01-02 12:00:00.5', 7, 1.5, 2.25, 18446744073709551615, '\x00ff',
			'00000000-0000-0000-0000-00000000002a', '{"a": 1}', 'x', '2026-01-02', 'infinity');
		INSERT INTO plain (time, num) VALUES (NULL, 1), ('infinity', 2), ('2026-01-02 13:00:00', 3);
		CREATE VIEW seen AS SELECT time, num FROM plain WHERE num > 2.5;
		CREATE TABLE texts (time text); CREATE TABLE shut (time timestamptz);
		GRANT SELECT ON plain, seen, texts TO writer`)
	for _, c := range []struct {
		table, columns, want string
		kind                 fault.Kind
	}{
		{"plain", "time Small one num big raw id doc code day far", "[[2026-01-02 12:00:00.5 +0000 UTC 7 1.5 " +
			"2.25 1.8446744073709552e+19 AP8= 00000000-0000-0000-0000-00000000002a {\"a\": 1} x 2026-01-02 infinity] " +
			"[2026-01-02 13:00:00 +0000 UTC <nil> <nil> 3 <nil> <nil> <nil> <nil> <nil> <nil> <nil>]]", 0},
		{"plain", "", "[[] []]", 0},
		{"seen", "num", "[[3]]", 0},
		{"PLAIN", "time", "[]", 0},
		{"plain", "small", "it has no column small", fault.Permanent},
		{"texts", "time", "column time is text, want a timestamp", fault.Permanent},
		{"shut", "time", "permission denied", fault.Permanent},
	} {
		got, err := b.read(t, b.weather("weather"), connector.TableQuery{Table: c.table, Time: "time",
			Columns: strings.Fields(c.columns)})
		if c.kind == 0 && (err != nil || fmt.Sprint(got) != c.want) ||
			c.kind != 0 && (!fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, %v (kind %v), want %s", c.table, got, err, fault.KindOf(err), c.want)
		}
	}
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for hours, want := range []int{0, 2, 1, 0} { // of the hour before, the minute behind with it
		at := noon.Add(time.Duration(hours) * time.Hour)
		got, err := b.read(t, b.weather("weather"), connector.TableQuery{Table: "plain", Time: "time",
			From: at.Add(-time.Hour), To: at.Add(time.Second / 4)})
		if err != nil || len(got) != want {
			t.Errorf("around %v: got %v %v, want %d", at, got, err, want)
		}
	}
}

// TestFarBounds: times that no timestamp of PostgreSQL reaches are bounds all the same.
func TestFarBounds(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	b.pg.Query(t, "CREATE TABLE wspr.plain AS SELECT now() AS time; GRANT SELECT ON wspr.plain TO writer")
	before, after := time.Unix(-1<<40, 0), time.Unix(1<<50, 0)
	for _, c := range []struct {
		from, to time.Time
		want     int
	}{{before, after, 1}, {after, time.Time{}, 0}, {time.Time{}, before, 0}, {before, time.Time{}, 1},
		{time.Date(-100, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC), 1}} {
		got, err := b.read(t, b.weather("weather"), connector.TableQuery{Table: "plain", Time: "time", From: c.from,
			To: c.to})
		if err != nil || len(got) != c.want {
			t.Errorf("from %v to %v: got %v %v, want %d", c.from, c.to, got, err, c.want)
		}
	}
}

// TestNoDatabase: what is not there yet holds no rows; a schema neither.
func TestNoDatabase(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	for _, change := range []func(c *Config){func(c *Config) { c.Schema = "none" },
		func(c *Config) { c.DSN += "&database=none" }} {
		cfg := b.weather("weather")
		change(&cfg)
		got, err := b.read(t, cfg, connector.TableQuery{Table: "weather", Time: "time"})
		if err != nil || len(got) > 0 {
			t.Errorf("got %v %v (kind %v), want nothing", got, err, fault.KindOf(err))
		}
	}
}

// TestConnectionsAreKept: questions one after the other need one connection, and one that has gone is
// replaced without an error once it has waited.
func TestConnectionsAreKept(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	tables, err := OpenTables(b.weather("weather"))
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	ask := func() {
		t.Helper()
		_, _, err := tables.Newest(t.Context(), connector.TableQuery{Table: "weather", Time: "time"})
		if err != nil {
			t.Error(err)
		}
	}
	backends := func() string {
		return b.pg.Query(t, `SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity
			WHERE usename = 'writer'`)
	}
	ask()
	first := backends()
	for range 5 {
		ask()
	}
	if now := backends(); now != first || first == "" || strings.Contains(first, " ") {
		t.Errorf("connections %q became %q, want one that stays", first, now)
	}
	b.pg.Query(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'")
	tables.mu.Lock()
	if len(tables.idle) != 1 {
		tables.mu.Unlock()
		t.Fatalf("%d connections wait, want 1", len(tables.idle))
	}
	tables.idle[0].since = time.Now().Add(-2 * trusted)
	tables.mu.Unlock()
	ask()
	if now := backends(); now == first || now == "" {
		t.Errorf("connections %q became %q, want another", first, now)
	}
	if err := tables.Close(); err != nil {
		t.Error(err)
	}
	_, _, err = tables.Newest(t.Context(), connector.TableQuery{Table: "weather", Time: "time"})
	if !fault.Is(err, fault.Permanent) {
		t.Errorf("after Close: got %v, want permanent", err)
	}
}
