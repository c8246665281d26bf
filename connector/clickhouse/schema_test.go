package clickhouse

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/tests/testenv"
)

// layouts are tables that people have. The words in columns replace those of the layout of 18.16.
var layouts = []struct {
	name    string
	columns map[string]string
	extra   string // more columns
	engine  string // instead of MergeTree by month
	modern  bool   // not for 18.16
}{
	{name: "as created"},
	{name: "UInt32 frequency", columns: map[string]string{"frequency": "UInt32"}},
	{name: "time, id", engine: "MergeTree PARTITION BY toYYYYMM(time) ORDER BY (time, id)"},
	{name: "Float64 places", columns: map[string]string{"rx_lat": "Float64", "tx_lon": "Float64"}},
	{name: "zone", columns: map[string]string{"time": "DateTime('UTC')"}},
	{name: "zone with summer time", columns: map[string]string{"time": "DateTime('Europe/Berlin')"}},
	{name: "Nullable", columns: map[string]string{"version": "Nullable(String)", "snr": "Nullable(Int8)",
		"rx_lat": "Nullable(Float32)", "frequency": "Nullable(UInt64)"}},
	{name: "FixedString", columns: map[string]string{"rx_loc": "FixedString(6)"}},
	{name: "wider", columns: map[string]string{"band": "Int32", "power": "Int64", "distance": "UInt32",
		"snr": "Float32"}, modern: true, engine: "unfit"},
	{name: "extra columns", extra: ", Spotnum UInt64 ALIAS id, MHz Float64 ALIAS frequency / 1e6, " +
		"day Date MATERIALIZED toDate(time), seen DateTime DEFAULT now(), note String"},
	{name: "by day", engine: "MergeTree PARTITION BY toYYYYMMDD(time) ORDER BY id"},
	{name: "by date", engine: "MergeTree PARTITION BY toDate(time) ORDER BY id"},
	{name: "by week", engine: "MergeTree PARTITION BY toMonday(time) ORDER BY id"},
	{name: "no partitions", engine: "MergeTree ORDER BY id"},
	{name: "tuple()", engine: "MergeTree PARTITION BY tuple() ORDER BY (time, id)"},
	{name: "strange partitions", engine: "MergeTree PARTITION BY (toYear(time), band) ORDER BY id"},
	{name: "replacing", engine: "ReplacingMergeTree PARTITION BY toYYYYMM(time) ORDER BY id"},
	{name: "LowCardinality", columns: map[string]string{"rx_sign": "LowCardinality(String)",
		"version": "LowCardinality(Nullable(String))"}},
	{name: "DateTime64", columns: map[string]string{"time": "DateTime64(3, 'UTC')"}, modern: true},
	{name: "microseconds", columns: map[string]string{"time": "DateTime64(6)"}, modern: true},
}

func tableDDL(table string, columns map[string]string, extra, engine string) string {
	var lines []string
	for _, f := range spots.Fields() {
		kind, _ := typeFor(f.Type, false, false)
		if k, ok := columns[f.Name]; ok {
			kind = k
		}
		lines = append(lines, f.Name+" "+kind)
	}
	if engine == "" {
		engine = "MergeTree PARTITION BY toYYYYMM(time) ORDER BY (time, band, id)"
	}
	return "CREATE TABLE wspr." + table + " (" + strings.Join(lines, ", ") + extra + ") ENGINE = " + engine
}

func TestLayouts(t *testing.T) {
	options := testenv.ClickHouseOptions{
		Settings: map[string]string{"allow_experimental_low_cardinality_type": "1"}}
	t.Run("18.16", func(t *testing.T) { allLayouts(t, testenv.ClickHouseWith(t, options), false) })
	t.Run("modern", func(t *testing.T) { allLayouts(t, testenv.ModernClickHouse(t), true) })
}

func allLayouts(t *testing.T, ch *testenv.ClickHouseServer, modern bool) {
	ch.Query(t, "CREATE DATABASE wspr")
	// Two months, two days and a summer-time change: 25 October 2026, 01:00 UTC.
	const autumn = 1792886400
	rows := spotsOf(3000, func(i int) (uint64, int64) {
		return 5_000_000_000 + uint64(i), autumn + int64(i%3)*8*86400 + int64(i)*30
	})
	for i, l := range layouts {
		if l.modern && !modern || l.engine == "unfit" {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			table := fmt.Sprintf("rx%d", i)
			ch.Query(t, tableDDL(table, l.columns, l.extra, l.engine))
			s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table, c.Create = "wspr", table, false })
			prepare(t, s)
			d := delivery(t, 1, rows)
			write(t, s, d)
			d.Unknown, d.ByKey = true, true
			if v := write(t, s, d); v.Present != 3000 {
				t.Errorf("compared by key: got %d present, want 3000", v.Present)
			}
			compareSpots(t, ch, "wspr."+table, rows)
		})
	}
}

// compareSpots compares a table with a batch, row by row.
func compareSpots(t *testing.T, ch *testenv.ClickHouseServer, table string, rows arrow.RecordBatch) {
	t.Helper()
	var fields []string
	for _, f := range spots.Fields() {
		at := f.Name
		if f.Name == "time" {
			at = "toInt64(time)"
		}
		fields = append(fields, at)
	}
	got := strings.Split(ch.Query(t, "SELECT "+strings.Join(fields, ", ")+" FROM "+table+
		" ORDER BY id, time"), "\n")
	if len(got) != int(rows.NumRows()) {
		t.Fatalf("%s: got %d rows, want %d", table, len(got), rows.NumRows())
	}
	for i := range got {
		var want []string
		for c, f := range spots.Fields() {
			v := rows.Column(c).ValueStr(i)
			if f.Name == "time" {
				v = fmt.Sprint(int64(rows.Column(c).(*array.Timestamp).Value(i)))
			}
			want = append(want, v)
		}
		if w := strings.Join(want, "\t"); got[i] != w {
			t.Fatalf("%s: row %d:\n got %s\nwant %s", table, i, got[i], w)
		}
	}
}

func TestMisfits(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE DATABASE wspr")
		for i, c := range []struct {
			columns map[string]string
			extra   string
			want    []string
		}{
			{columns: map[string]string{"frequency": "String"},
				want: []string{"column frequency", "uint64", "String"}},
			{columns: map[string]string{"snr": "Float32", "time": "Date"},
				want: []string{"column snr", "Float32", "column time", "timestamp[s", "Date"}},
			{columns: map[string]string{"version": "UInt32"}, want: []string{"column version", "UInt32"}},
			{columns: map[string]string{"code": "Array(Int8)"}, want: []string{"column code", "Array(Int8)"}},
			{columns: map[string]string{"code": "Int8 MATERIALIZED 1"}, want: []string{"column code",
				"MATERIALIZED"}},
		} {
			table := fmt.Sprintf("bad%d", i)
			ddl := tableDDL(table, c.columns, c.extra, "MergeTree PARTITION BY tuple() ORDER BY id")
			ch.Query(t, ddl)
			s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", table })
			wantFault(t, "prepare", s.Prepare(soon(t), spots), fault.Permanent, c.want...)
			_, err := s.Write(soon(t), delivery(t, 1, spotBatch(1, noon, 5)))
			wantFault(t, "write", err, fault.Permanent, c.want...)
			if n := ch.Query(t, "SELECT count() FROM wspr."+table); n != "0" {
				t.Errorf("%s: got %s rows, want none", table, n)
			}
		}
		s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table, c.Create = "wspr", "none", false })
		err := s.Prepare(soon(t), spots)
		wantFault(t, "no table", err, fault.Permanent, "none")
		if !strings.Contains(fault.HintOf(err), "create: true") {
			t.Errorf("no table: hint %q does not say create: true", fault.HintOf(err))
		}
		ch.Query(t, "CREATE TABLE wspr.short (id UInt64, time DateTime) ENGINE = MergeTree "+
			"PARTITION BY tuple() ORDER BY id")
		s = open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "short" })
		wantFault(t, "few columns", s.Prepare(soon(t), spots), fault.Permanent, "column band", "none",
			"column rx_sign", "column code")
	})
}

func wantFault(t *testing.T, what string, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: got %v (kind %v), want %v", what, err, fault.KindOf(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

// A value that the table can't hold is told with its row and reason; its neighbours go on.
func TestRowFaults(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE DATABASE wspr")
		ch.Query(t, tableDDL("rx", map[string]string{"frequency": "UInt32", "distance": "UInt8",
			"rx_loc": "FixedString(4)"}, "", ""))
		s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "rx" })
		prepare(t, s)
		b := array.NewRecordBuilder(testMemory, spots.Schema)
		for i := range 6 {
			for c, f := range spots.Fields() {
				switch x := b.Field(c).(type) {
				case *array.StringBuilder:
					x.Append("ok")
				default:
					if err := x.AppendValueFromString(map[bool]string{true: "2026-07-15T12:00:00Z",
						false: "7"}[f.Name == "time"]); err != nil {
						t.Fatal(err)
					}
				}
				_ = i
			}
		}
		rows := b.NewRecordBatch()
		rows = replace(t, rows, "id", []uint64{1, 2, 3, 4, 5, 6})
		rows = replace(t, rows, "frequency", []uint64{1 << 32, 1<<32 - 1, 0, 7, 7, 7})
		rows = replace(t, rows, "distance", []uint16{255, 255, 256, 0, 7, 7})
		rows = replace(t, rows, "time", []arrow.Timestamp{noon, 0, noon, -1, 1 << 32, 1<<32 - 1})
		rows = replace(t, rows, "rx_loc", []string{"", "four", "four", "", "", "FN12fr"})
		want := map[int]string{
			0: "frequency: 4294967296 is outside UInt32 (0 to 4294967295)",
			2: "distance: 256 is outside UInt8 (0 to 255)",
			3: "time: 1969-12-31T23:59:59Z is outside DateTime",
			4: "time: 2106-02-07T06:28:16Z is outside DateTime",
			5: "rx_loc: 6 bytes do not fit FixedString(4)",
		}
		d := delivery(t, 1, rows)
		for range 2 {
			v := write(t, s, d)
			if len(v.Rejected) != len(want) {
				t.Errorf("rejected: got %+v, want rows 0, 2, 3, 4, 5", v.Rejected)
			}
			for _, r := range v.Rejected {
				if want[r.Row] != r.Reason {
					t.Errorf("row %d: got %q, want %q", r.Row, r.Reason, want[r.Row])
				}
			}
			if ids := ch.Query(t, "SELECT groupArray(id) FROM wspr.rx"); ids != "[2]" {
				t.Errorf("rows in the table: got %s, want [2]", ids)
			}
			d.Unknown = true
		}
	})
}

// Nulls go where there is Nullable, and are told where there is not.
func TestNulls(t *testing.T) {
	schema := record.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "time", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
		{Name: "note", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "level", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "strict", Type: arrow.PrimitiveTypes.Int16, Nullable: true},
		{Name: "on", Type: arrow.FixedWidthTypes.Boolean},
	}, "id", "time")
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE DATABASE wspr")
		ch.Query(t, "CREATE TABLE wspr.n (id Int64, time DateTime('UTC'), note Nullable(String), "+
			"level Nullable(Float64), strict Int16, on UInt8) ENGINE = MergeTree "+
			"PARTITION BY toYYYYMM(time) ORDER BY id")
		s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "n" })
		b := array.NewRecordBuilder(testMemory, schema.Schema)
		for i := range 4 {
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(noon*1000 + 999*i))
			b.Field(5).(*array.BooleanBuilder).Append(i%2 == 1)
		}
		b.Field(2).(*array.StringBuilder).AppendValues([]string{"a", "", "", "d"}, []bool{true, false, true, true})
		b.Field(3).(*array.Float64Builder).AppendValues([]float64{1, 2, 3, 4}, []bool{true, true, false, true})
		b.Field(4).(*array.Int16Builder).AppendValues([]int16{1, 2, 3, 4}, []bool{true, true, true, false})
		d := delivery(t, 1, b.NewRecordBatch())
		d.Schema = schema
		if err := s.Prepare(soon(t), schema); err != nil {
			t.Fatal(err)
		}
		v := write(t, s, d)
		if len(v.Rejected) != 1 || v.Rejected[0].Row != 3 || !strings.Contains(v.Rejected[0].Reason, "null") {
			t.Errorf("rejected: got %+v, want row 3 for its null", v.Rejected)
		}
		got := ch.Query(t, "SELECT id, toInt64(time), note, level, strict, on FROM wspr.n ORDER BY id")
		want := "0\t1784116800\ta\t1\t1\t0\n1\t1784116800\t\\N\t2\t2\t1\n2\t1784116801\t\t\\N\t3\t0"
		if got != want {
			t.Errorf("rows:\n got %q\nwant %q", got, want)
		}
	})
}

// A table that is changed while we write is no poison: the next Write knows the new columns.
func TestTableChanges(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL())
		prepare(t, s)
		write(t, s, delivery(t, 1, spotBatch(1, noon, 10)))
		ch.Query(t, "ALTER TABLE wsprnet.spots MODIFY COLUMN frequency UInt32")
		rows := replace(t, spotBatch(11, noon, 3), "frequency", []uint64{7, 1 << 32, 9})
		v := deliverThrough(t, s, delivery(t, 2, rows))
		if len(v.Rejected) != 1 || v.Rejected[0].Row != 1 {
			t.Errorf("a narrower column: got %+v, want row 1 rejected", v.Rejected)
		}
		ch.Query(t, "ALTER TABLE wsprnet.spots DROP COLUMN code")
		_, err := s.Write(soon(t), delivery(t, 3, spotBatch(21, noon, 10)))
		wantFault(t, "a column less", err, fault.Transient, "changed")
		_, err = s.Write(soon(t), delivery(t, 3, spotBatch(21, noon, 10)))
		wantFault(t, "a column less, seen", err, fault.Permanent, "code")
		ch.Query(t, "ALTER TABLE wsprnet.spots ADD COLUMN code Int16")
		d := delivery(t, 3, spotBatch(21, noon, 10))
		d.Unknown = true
		write(t, s, d)
		ch.Query(t, "ALTER TABLE wsprnet.spots MODIFY COLUMN version Nullable(String)")
		for i := range 3 { // at most an outage, never the rows' fault
			d := delivery(t, uint64(4+i), spotBatch(uint64(31+10*i), noon, 10))
			deliverThrough(t, s, d)
		}
		if n := ch.Query(t, "SELECT count(), uniqExact(id) FROM wsprnet.spots"); n != "52\t52" {
			t.Errorf("rows and keys: got %s, want 52", n)
		}
	})
}
