package postgres

import (
	"fmt"
	"math"
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
	"holdfast/tests/testenv"
)

func TestValidate(t *testing.T) {
	const dsn = "postgres://u:geheim123@h/x"
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{DSN: dsn, Table: "spots"}, ""},
		{Config{DSN: "host=h user=u password=geheim123", Table: "spots"}, ""},
		{Config{Table: "spots"}, "dsn: missing"},
		{Config{DSN: "postgres://u:geheim123@h:geheim123/x", Table: "spots"}, "dsn: it can't be read"},
		{Config{DSN: "host=h sslmode=geheim123", Table: "spots"}, "dsn: it can't be read"},
		{Config{DSN: dsn}, "table: missing"},
		{Config{DSN: dsn, Table: "holdfast_delivered"}, "table: holdfast_delivered"},
		{Config{DSN: dsn, Table: strings.Repeat("x", 64)}, "table: want a name of at most 63 bytes"},
		{Config{DSN: dsn, Table: "spots", Timeout: -1}, "timeout: got -1ns"},
		{Config{DSN: dsn, Table: "spots", Key: []string{"a", ""}}, "key[1]: is empty"},
		{Config{DSN: dsn, Table: "spots", Replace: "revision"}, "replace: wants key"},
	} {
		errs := c.cfg.Validate()
		if c.want == "" && len(errs) > 0 || c.want != "" && (len(errs) != 1 ||
			!strings.HasPrefix(errs[0].Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.cfg, errs, c.want)
		}
		if _, err := New(c.cfg); strings.Contains(fmt.Sprint(err, errs), "geheim123") {
			t.Errorf("the password is told: %v", err)
		}
	}
}

// spotsTable is the table that we make, with one column's definition changed; "" leaves it out.
func spotsTable(s *Sink, column, definition string) string {
	key, _ := s.cfg.rows().Of(sinktest.Schema())
	ddl := s.createTable(key)
	for line := range strings.Lines(ddl) {
		if !strings.HasPrefix(line, `  "`+column+`" `) {
			continue
		}
		if definition == "" {
			return strings.Replace(ddl, line, "", 1)
		}
		return strings.Replace(ddl, line, `  "`+column+`" `+definition+",\n", 1)
	}
	return ddl
}

func TestExistingTables(t *testing.T) {
	pg := testenv.Postgres(t)
	for _, c := range []struct{ name, column, definition, after, want string }{
		{"as we make it", "", "", "", ""},
		{"a numeric key", "id", "numeric(20) PRIMARY KEY", "", ""},
		{"a unique index", "id", "bigint", "CREATE UNIQUE INDEX ON wspr.spots (id)", ""},
		{"wider", "snr", "bigint", "", ""},
		{"without zone", "time", "timestamp", "", ""},
		{"varchar", "version", "varchar", "", ""},
		{"double", "rx_lat", "float8", "", ""},
		{"one column more", "snr", "smallint, more text", "", ""},
		{"one more with a default", "snr", "smallint, more text NOT NULL DEFAULT ''", "", ""},
		{"one needed more", "snr", "smallint, more text NOT NULL", "", "column more must not be null"},
		{"missing", "snr", "", "", "it has no column snr"},
		{"narrow", "distance", "smallint", "", "column distance is smallint"},
		{"narrow text", "version", "varchar(10)", "", "column version is character varying(10)"},
		{"narrow numeric", "frequency", "numeric(12)", "", "column frequency is numeric(12,0)"},
		{"rounded time", "time", "date", "", "column time is date"},
		{"generated", "drift", "smallint GENERATED ALWAYS AS (1) STORED", "", "column drift is generated"},
		{"not unique", "id", "bigint", "", "column id has no unique index"},
		{"partly unique", "id", "bigint", "CREATE UNIQUE INDEX ON wspr.spots (id) WHERE snr > 0",
			"column id has no unique index"},
		{"unique with another", "id", "bigint", "CREATE UNIQUE INDEX ON wspr.spots (id, time)",
			"column id has no unique index"},
		{"unique at the end", "id", "bigint UNIQUE DEFERRABLE", "", "column id has no unique index"},
		{"not ours to write", "", "", "REVOKE INSERT ON wspr.spots FROM writer", "no permission"},
		{"foreign set", "", "", "CREATE TABLE wspr.holdfast_delivered (x int); " +
			"ALTER TABLE wspr.holdfast_delivered OWNER TO writer", "it is not one of ours"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := fresh(t, pg)
			s := b.open(t)
			b.pg.Query(t, spotsTable(s, c.column, c.definition)+
				"; ALTER TABLE wspr.spots OWNER TO writer; "+c.after)
			b.existing(t, s, c.want)
		})
	}
}

func (b *broken) open(t *testing.T, change ...func(*Config)) *Sink {
	t.Helper()
	s, err := b.sink(change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (b *broken) existing(t *testing.T, s *Sink, want string) {
	t.Helper()
	err := s.Prepare(t.Context(), sinktest.Schema())
	if want != "" {
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), want) ||
			strings.Contains(want, "unique") && !strings.Contains(fault.HintOf(err),
				`CREATE UNIQUE INDEX ON "wspr"."spots" ("id")`) {
			t.Fatalf("got %v (%v, hint %q), want permanent with %q", err, fault.KindOf(err),
				fault.HintOf(err), want)
		}
		return
	}
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	spots := sinktest.Spots(3, 0, 120)
	for n := uint64(1); n < 3; n++ {
		v := put(t, s, sinktest.Schema(), sinktest.Batch(spots), n)
		if len(v.Rejected) > 0 || v.Present != int64(n-1)*120 {
			t.Errorf("write %d: got %d present, rejected %v", n, v.Present, v.Rejected)
		}
	}
	got, err := b.rows()
	if diff := sinktest.Difference(spots, got); diff != "" || err != nil {
		t.Errorf("rows: %s %v", diff, err)
	}
}

// put delivers rows as block n.
func put(t *testing.T, s *Sink, schema record.Schema, rows arrow.RecordBatch,
	n uint64) connector.Verdict {
	t.Helper()
	v, err := s.Write(t.Context(), connector.Delivery{Schema: schema, Rows: rows,
		FirstAttempt: time.Now(), Token: record.Token{Job: "spots", First: n, Last: n}})
	if err != nil {
		t.Fatalf("write: %v (kind %v)", err, fault.KindOf(err))
	}
	return v
}

// lineageText is the lineage of spotsDelivery, as the server sees it.
var lineageText = record.Lineage{}.String()

func spotsDelivery(spots []sinktest.Spot) connector.Delivery {
	return connector.Delivery{Schema: sinktest.Schema(), Rows: sinktest.Batch(spots),
		FirstAttempt: time.Now(), Token: record.Token{Job: "spots", First: 1, Last: 1}}
}

// TestOtherContent: the row that stands stays, and what came later is told with what differs.
func TestOtherContent(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t)
	spots := sinktest.Spots(5, 0, 100)
	put(t, s, sinktest.Schema(), sinktest.Batch(spots), 1)
	other := append([]sinktest.Spot{}, spots...)
	other[7].SNR++
	other[7].Version = "other"
	v := put(t, s, sinktest.Schema(), sinktest.Batch(other), 2)
	if v.Present != 99 || len(v.Rejected) != 1 || v.Rejected[0].Row != 7 ||
		!strings.HasSuffix(v.Rejected[0].Reason, "it differs in snr, version") {
		t.Errorf("got %+v", v)
	}
	got, err := b.rows()
	if diff := sinktest.Difference(spots, got); diff != "" || err != nil {
		t.Errorf("rows: %s %v", diff, err)
	}
}

// TestNumericRange: a numeric key holds all of uint64, and the reader knows it.
func TestNumericRange(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t)
	b.pg.Query(t, spotsTable(s, "id", "numeric(20) PRIMARY KEY")+
		"; ALTER TABLE wspr.spots OWNER TO writer")
	spots := sinktest.Spots(5, 0, 2)
	spots[1].ID = math.MaxUint64
	if v := put(t, s, sinktest.Schema(), sinktest.Batch(spots), 1); len(v.Rejected) > 0 {
		t.Fatalf("got %+v", v)
	}
	key, ok, err := s.Reader().Highest(t.Context())
	if key != math.MaxUint64 || !ok || err != nil {
		t.Errorf("highest: got %d %v %v", key, ok, err)
	}
	tally, err := s.Reader().Tally(t.Context(), connector.KeyRange{From: 1 << 63, To: math.MaxUint64})
	if tally.Rows != 1 || tally.Sum != math.MaxUint64 || err != nil {
		t.Errorf("tally: got %+v %v", tally, err)
	}
}

// TestTextKeyAndTypes: a table of every type, with a text for a key, and rows that can't be held.
func TestTextKeyAndTypes(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t, func(c *Config) { c.Table = `odd "name"` })
	schema := record.NewSchema([]arrow.Field{
		{Name: "Name", Type: arrow.BinaryTypes.String},
		{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "yes", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ns, Nullable: true},
		{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "count", Type: arrow.PrimitiveTypes.Uint32, Nullable: true},
	}, "Name", "at")
	r := array.NewRecordBuilder(memory.DefaultAllocator, schema.Schema)
	for i, name := range []string{"a", "b", "nul\x00", "nanos", "\xff", "a"} {
		r.Field(0).(*array.StringBuilder).Append(name)
		r.Field(1).(*array.BinaryBuilder).Append([]byte{0, 1})
		r.Field(2).(*array.BooleanBuilder).AppendNull()
		r.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(-1000 + i/3))
		r.Field(4).(*array.Float64Builder).Append(math.NaN())
		r.Field(5).(*array.Uint32Builder).Append(math.MaxUint32)
	}
	v := put(t, s, schema, r.NewRecordBatch(), 1)
	if fmt.Sprint(len(v.Rejected), v.Present) != "4 0" {
		t.Fatalf("got %+v, want rows 2 to 5 rejected", v)
	}
	got := b.pg.Query(t, `SET timezone = 'UTC'; SELECT * FROM wspr."odd ""name""" ORDER BY 1`)
	const rest = "\t\\x0001\t\t1969-12-31 23:59:59.999999+00\tNaN\t4294967295"
	if got != "a"+rest+"\nb"+rest {
		t.Errorf("got %q", got)
	}
	if some, err := s.Reader().Holds(t.Context()); !some || err != nil {
		t.Errorf("Holds: got %v (%v), want true", some, err)
	}
	if _, _, err := s.Reader().Highest(t.Context()); !fault.Is(err, fault.Permanent) {
		t.Errorf("Highest of a text key: got %v, want a permanent fault", err)
	}
}

// TestLostCommit: what was committed without an answer is found out, and not written again.
func TestLostCommit(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	s := b.open(t)
	if err := s.Prepare(t.Context(), sinktest.Schema()); err != nil {
		t.Fatal(err)
	}
	spots := sinktest.Spots(5, 0, 100)
	d := spotsDelivery(spots)
	b.lossy.Lose.Store(true)
	if _, err := s.Write(t.Context(), d); !fault.Is(err, fault.Transient) || b.lossy.Lost.Load() != 1 {
		t.Fatalf("got %v, want an outage", err)
	}
	if err := b.remove([]uint64{spots[0].ID}); err != nil {
		t.Fatal(err)
	}
	d.Unknown = true
	if v, err := s.Write(t.Context(), d); err != nil || v.Present != 100 {
		t.Fatalf("again: got %+v %v", v, err)
	}
	if got, err := b.rows(); err != nil || len(got) != 99 {
		t.Errorf("the token had an effect twice: %d rows, %v", len(got), err)
	}
	d.Token.Hash[0]++
	if _, err := s.Write(t.Context(), d); !fault.Is(err, fault.Conflict) {
		t.Errorf("the same token with other content: got %v, want a conflict", err)
	}
}
