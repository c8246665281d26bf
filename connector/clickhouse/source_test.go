package clickhouse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// jsonRows are the rows of a page as JSON, one each.
func jsonRows(t testing.TB, p connector.Page) []string {
	t.Helper()
	b, err := p.Rows.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = string(r)
	}
	return out
}

func fetchOne(t testing.TB, s *Source, cursor []byte) connector.Page {
	t.Helper()
	p, err := s.Fetch(soon(t), connector.Request{Cursor: cursor})
	if err != nil {
		t.Fatalf("fetch from %s: %v", cursor, err)
	}
	return p
}

func check(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %.900s, want %.900s", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

// example reads the configuration of that name from the page that shows it.
func example(t *testing.T, name string) SourceConfig {
	t.Helper()
	var file struct {
		ClickHouse SourceConfig `yaml:"clickhouse"`
	}
	text := testenv.Example(t, "../../docs/sources-clickhouse.md", name)
	if err := yaml.UnmarshalWithOptions([]byte(text), &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if faults := file.ClickHouse.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	return file.ClickHouse
}

// The table of wspr.live: its columns, and a user who may only read and set nothing.
func TestWsprLive(t *testing.T) {
	reader := testenv.ClickHouseUser{Name: "guest", Password: "pw", ReadOnly: true}
	low := map[string]string{lowCardinal: "1"}
	for _, v := range []struct {
		name   string
		ch     *testenv.ClickHouseServer
		user   string
		engine string
	}{
		{"18.16", testenv.ClickHouseWith(t, testenv.ClickHouseOptions{Settings: low,
			Users: []testenv.ClickHouseUser{reader}}), "guest", "MergeTree ORDER BY (time, band, id)"},
		{"modern", testenv.ModernClickHouse(t), "", "ReplacingMergeTree ORDER BY (rx_sign, band, time, id)"},
	} {
		t.Run(v.name, func(t *testing.T) {
			v.ch.Query(t, "CREATE DATABASE wspr")
			v.ch.Query(t, "CREATE TABLE wspr.rx (id UInt64, time DateTime, band Int16, rx_sign LowCardinality(String), "+
				"rx_lat Float32, rx_lon Float32, rx_loc LowCardinality(String), tx_sign LowCardinality(String), "+
				"tx_lat Float32, tx_lon Float32, tx_loc LowCardinality(String), distance UInt16, azimuth UInt16, "+
				"rx_azimuth UInt16, frequency UInt64, power Int8, snr Int8, drift Int8, version "+
				"LowCardinality(String), code Int8) ENGINE = "+v.engine)
			const day = 1769817600 // 2026-01-31
			insert := func(first, at, n int) {
				v.ch.Query(t, fmt.Sprintf("INSERT INTO wspr.rx SELECT %d + number, toDateTime(%d + intDiv(number, "+
					"500) * 120), 14, 'AE2EA', 42.5, -75.0625, 'FN12fr', 'AA1A', 42.25, -71, 'FN42pb', 566, 280, 95, "+
					"14097123, 30, -12, -1, '4.0 r4889', 1 FROM system.numbers LIMIT %d", first, at, n))
			}
			insert(1, day-3600, 100) // before from
			insert(1001, day, 3000)
			cfg := example(t, "wspr-live")
			cfg.URL, cfg.Page, cfg.Username = v.ch.URL(), 700, v.user
			if v.user != "" {
				cfg.Password = "pw"
			}
			s := openSource(t, cfg, SourceOptions{})
			p := fetchOne(t, s, nil)
			check(t, "schema", p.Rows.Schema().Fields(), spots.Fields())
			check(t, "first row", jsonRows(t, p)[0], `{"azimuth":280,"band":14,"code":1,"distance":566,"drift":-1,`+
				`"frequency":14097123,"id":1001,"power":30,"rx_azimuth":95,"rx_lat":42.5,"rx_loc":"FN12fr",`+
				`"rx_lon":-75.0625,"rx_sign":"AE2EA","snr":-12,"time":"2026-01-31T00:00:00Z","tx_lat":42.25,`+
				`"tx_loc":"FN42pb","tx_lon":-71,"tx_sign":"AA1A","version":"4.0 r4889"}`)
			got, bad, cursor := all(t, s, nil)
			if len(got) != 3000 || len(bad) != 0 {
				t.Errorf("got %d rows and %d rejects, want 3000", len(got), len(bad))
			}
			for k, n := range got {
				if k < 1001 || n != 1 {
					t.Fatalf("row %d came %d times", k, n)
				}
			}
			insert(5001, day+300, 10) // late, by less than the overlap
			got, _, _ = all(t, s, cursor)
			for id := uint64(5001); id < 5011; id++ {
				if got[id] != 1 {
					t.Fatalf("the late row %d came %d times", id, got[id])
				}
			}
		})
	}
}

// TestSourceTypes: what becomes of each type, and which are refused.
func TestSourceTypes(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE TABLE default.types (id Int32, e Enum8('a\tb' = 1, 'c' = 2), f FixedString(5), "+
			"d DateTime('Europe/Berlin'), day Date, n Nullable(Int16), s Nullable(String), u UUID, arr Array(String), "+
			"dec Decimal(18, 4), x Float64, hidden UInt8 ALIAS 7, made UInt8 MATERIALIZED 8) ENGINE = Memory")
		// 2026-10-25 00:30 and 01:30 UTC are both 02:30 in Berlin.
		ch.Query(t, `INSERT INTO default.types (id, e, f, d, day, n, s, u, arr, dec, x) SELECT 1, 'a\tb', `+
			`toFixedString('abc', 5), toDateTime(1792888200), toDate('2026-03-01'), NULL, NULL, `+
			`toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), ['x\n', 'y'], toDecimal64(1.5, 4), 0.1`)
		ch.Query(t, `INSERT INTO default.types (id, e, f, d, day, n, s, u, arr, dec, x) SELECT 2, 'c', `+
			`toFixedString('', 5), toDateTime(1792891800), toDate('1970-01-02'), -7, '\\N', `+
			`toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba1'), [], toDecimal64(-2, 4), nan`)
		s := openSource(t, SourceConfig{URL: ch.URL(), Table: "types", Key: "id", Time: "d"}, SourceOptions{})
		p := fetchOne(t, s, nil)
		got := jsonRows(t, p)
		if len(got) != 2 || len(p.Rejected) != 0 {
			t.Fatalf("got %v and %v", got, p.Rejected)
		}
		dec := []string{"1.5000", "-2.0000"}
		if !strings.Contains(got[0], dec[0]) { // later servers leave zeros out
			dec = []string{"1.5", "-2"}
		}
		check(t, "first", got[0], `{"arr":"['x\\n','y']","d":"2026-10-25T00:30:00Z","day":"2026-03-01T00:00:00Z",`+
			`"dec":"`+dec[0]+`","e":"a\tb","f":"abc","id":1,"n":null,"s":null,`+
			`"u":"61f0c404-5cb3-11e7-907b-a6006ad3dba0","x":0.1}`)
		check(t, "second", got[1], `{"arr":"[]","d":"2026-10-25T01:30:00Z","day":"1970-01-02T00:00:00Z",`+
			`"dec":"`+dec[1]+`","e":"c","f":"","id":2,"n":-7,"s":"\\N",`+
			`"u":"61f0c404-5cb3-11e7-907b-a6006ad3dba1","x":"NaN"}`)

		ch.Query(t, "CREATE TABLE default.odd (id UInt64, a AggregateFunction(sum, UInt64)) ENGINE = Memory")
		_, err := OpenSource(SourceConfig{URL: ch.URL(), Table: "odd", Key: "id"}, SourceOptions{})
		wantFault(t, "a state", err, fault.Permanent, "column a is AggregateFunction")
		openSource(t, SourceConfig{URL: ch.URL(), Table: "odd", Key: "id", Columns: []string{"id"}}, SourceOptions{})
	})
}

// TestSourceModernTypes are those that 18.16 does not have.
func TestSourceModernTypes(t *testing.T) {
	ch := testenv.ModernClickHouse(t)
	ch.Query(t, "CREATE TABLE default.types (id UUID, m DateTime64(3), u DateTime64(5, 'Asia/Tokyo'), "+
		"n Nullable(DateTime64(9)), b Bool, d Date32, big UInt256, l LowCardinality(Nullable(String)), "+
		"map Map(String, UInt8)) ENGINE = Memory")
	ch.Query(t, "INSERT INTO default.types SELECT toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), "+
		"fromUnixTimestamp64Milli(-1), fromUnixTimestamp64Micro(1784116800000010), "+
		"fromUnixTimestamp64Nano(1784116800000000001), true, '1900-01-01', toUInt256('1180591620717411303424'), NULL, map('k', 1)")
	cfg := SourceConfig{URL: ch.URL(), Table: "types", Key: "id", Cursor: "m", Time: "u", Overlap: "1s"}
	s := openSource(t, cfg, SourceOptions{})
	p := fetchOne(t, s, nil)
	check(t, "row", jsonRows(t, p), `[{"b":true,"big":"1180591620717411303424","d":"1900-01-01T00:00:00Z",`+
		`"id":"61f0c404-5cb3-11e7-907b-a6006ad3dba0","l":null,"m":"1969-12-31T23:59:59.999Z","map":"{'k':1}",`+
		`"n":"2026-07-15T12:00:00.000000001Z","u":"2026-07-15T12:00:00.00001Z"}]`)
	if got, _, _ := all(t, s, p.Cursor); len(got) != 0 {
		t.Errorf("got integer keys %v", got)
	}
	if p = fetchOne(t, s, p.Cursor); p.Rows.NumRows() != 1 {
		t.Errorf("got %d rows, want the overlap's", p.Rows.NumRows())
	}
}

// TestSourceTies: far more rows with the same cursor than a page holds.
func TestSourceTies(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE TABLE default.ties (id Int64, k String, at Int16) ENGINE = MergeTree PARTITION BY at "+
			"ORDER BY (at, id)")
		ch.Query(t, `INSERT INTO default.ties SELECT number, concat(unhex('ff27'), toString(number)), -5 + `+
			`intDiv(number, 1000) FROM system.numbers LIMIT 2000`)
		for _, key := range []string{"id", "k"} {
			cols := []string{"at", key}
			s := openSource(t, SourceConfig{URL: ch.URL(), Table: "ties", Key: key, Cursor: "at", Page: 96,
				Columns: cols}, SourceOptions{})
			got, bad, cursor := all(t, s, nil)
			if key == "k" { // no key is text, and yet each row comes once
				got = map[uint64]int{}
				for _, r := range bad {
					got[uint64(len(got))]++
					if !strings.Contains(r.Reason, "column k: is not UTF-8") {
						t.Fatal(r.Reason)
					}
				}
			}
			if len(got) != 2000 {
				t.Errorf("%s: got %d rows, want 2000; cursor %s", key, len(got), cursor)
			}
			for id, n := range got {
				if n != 1 {
					t.Errorf("row %d came %d times", id, n)
				}
			}
		}
	})
}

// TestSourceClock: what lies ahead waits, and settle leaves young rows alone.
func TestSourceClock(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE TABLE default.clock (id UInt64, at DateTime) ENGINE = Memory")
		ch.Query(t, "INSERT INTO default.clock SELECT number, now() - 3600 + number * 1200 FROM system.numbers "+
			"LIMIT 7") // an hour ago to one hour ahead
		cfg := SourceConfig{URL: ch.URL(), Table: "clock", Key: "id", Cursor: "at", Overlap: "0s"}
		got, _, cursor := all(t, openSource(t, cfg, SourceOptions{}), nil)
		check(t, "up to now", got, map[uint64]int{0: 1, 1: 1, 2: 1, 3: 1})
		cfg.Settle, cfg.Overlap = 30*time.Minute, ""
		got, _, _ = all(t, openSource(t, cfg, SourceOptions{}), nil)
		check(t, "settled", got, map[uint64]int{0: 1, 1: 1})
		ch.Query(t, "INSERT INTO default.clock SELECT 100 + number, now() - 1300 FROM system.numbers LIMIT 3")
		cfg.Settle, cfg.Overlap = 0, "25m"
		s := openSource(t, cfg, SourceOptions{})
		got, _, next := all(t, s, cursor) // it ended behind its last row: the first poll only resets it
		for range 2 {
			got, _, next = all(t, s, next)
		}
		check(t, "overlap", got, map[uint64]int{2: 1, 3: 1, 100: 1, 101: 1, 102: 1})
	})
}

// TestSourceNumbersOverlap: an overlap of numbers, at the lower end of their type.
func TestSourceNumbersOverlap(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE TABLE default.n (id UInt32) ENGINE = Memory")
		ch.Query(t, "INSERT INTO default.n SELECT 10 + number * 10 FROM system.numbers LIMIT 3")
		s := openSource(t, SourceConfig{URL: ch.URL(), Table: "n", Key: "id", Overlap: "15"}, SourceOptions{})
		_, _, cursor := all(t, s, nil)
		ch.Query(t, "INSERT INTO default.n SELECT number * 20 FROM system.numbers LIMIT 3") // 0, 20, 40
		got, _, cursor := all(t, s, cursor)
		check(t, "from 15", got, map[uint64]int{20: 2, 30: 1, 40: 1})
		s = openSource(t, SourceConfig{URL: ch.URL(), Table: "n", Key: "id", Overlap: "4000000000"}, SourceOptions{})
		got, _, _ = all(t, s, cursor)
		check(t, "from 0", got, map[uint64]int{0: 1, 10: 1, 20: 2, 30: 1, 40: 1})
	})
}

// exceptions are how ClickHouse ends an answer that it can't finish: old, and from 25.11 on.
var exceptions = map[string]string{
	"old": "Code: 159, e.displayText() = DB::Exception: Timeout exceeded: elapsed 1.2 seconds, maximum: 1, " +
		"e.what() = DB::Exception\n",
	"tagged": "\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 241. DB::Exception: (total) memory limit exceeded. " +
		"(MEMORY_LIMIT_EXCEEDED) (version 25.11)\r\n108 abcdefghijklmnop\r\n__exception__\r\n",
}

// TestSourceExceptions: an error behind rows, at whatever byte it begins, is an outage and no row.
func TestSourceExceptions(t *testing.T) {
	ch := testenv.ClickHouse(t)
	ch.Query(t, "CREATE TABLE default.feed (id UInt64, at DateTime, v String) ENGINE = Memory")
	ch.Query(t, "INSERT INTO default.feed SELECT number + 1, toDateTime(1e9), 'DB::Exception' FROM system.numbers "+
		"LIMIT 5")
	f := newFront(t, ch)
	s := openSource(t, feedConfig(f.url), SourceOptions{})
	whole := 0
	for name, words := range exceptions {
		for cut := 1; ; cut++ {
			over := false
			f.mu.Lock()
			f.spoil = func(query string, body []byte) []byte {
				if !strings.Contains(query, "ORDER BY") {
					return body
				}
				if over = cut > len(body); over {
					return body
				}
				return append(body[:cut:cut], words...)
			}
			f.mu.Unlock()
			p, err := s.Fetch(soon(t), connector.Request{})
			if over {
				if err != nil || p.Rows.NumRows() != 5 {
					t.Fatalf("whole: got %v %v", p.Rows, err)
				}
				whole++
				break
			}
			if !fault.Is(err, fault.Transient) || code(err) == 0 {
				t.Fatalf("%s, cut at %d: got %v %v of kind %v, want ClickHouse's error", name, cut, p.Rows, err,
					fault.KindOf(err))
			}
		}
	}
	check(t, "whole", whole, len(exceptions))
}

// TestSourceDescriptionCut: half a description is not taken for another table.
func TestSourceDescriptionCut(t *testing.T) {
	ch := testenv.ClickHouse(t)
	newFeedTable(t, ch).publish(1)
	f := newFront(t, ch)
	s := openSource(t, feedConfig(f.url), SourceOptions{})
	for cut := range len("id\tat\tv\tw\nUInt64\tDateTime\tString\tFloat32\n") {
		f.mu.Lock()
		f.spoil = func(query string, body []byte) []byte {
			if strings.Contains(query, "LIMIT 0") {
				return body[:cut]
			}
			return body
		}
		f.mu.Unlock()
		if _, err := s.Fetch(soon(t), connector.Request{}); !fault.Is(err, fault.Transient) {
			t.Errorf("cut at %d: got %v of kind %v", cut, err, fault.KindOf(err))
		}
	}
}

// TestSourceBroken: killed, frozen, cut on the way: told in time, and all comes once from each cursor.
func TestSourceBroken(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		tab, b := newFeedTable(t, ch), behindProxies(t, ch)
		tab.publish(20_000)
		s := openSource(t, feedConfig("http://"+b.proxy.Addr(), func(c *SourceConfig) { c.Page = 15_000 }),
			SourceOptions{})
		p := fetchOne(t, s, nil)
		for name, h := range map[string][2]func(){
			"down": {b.proxy.Down, b.proxy.Up}, "frozen": {ch.Freeze, ch.Thaw},
			"cut": {func() { b.proxy.Toxic(t, "cut", "limit_data", "downstream", map[string]any{"bytes": 50_000}) },
				func() { b.proxy.Remove(t, "cut") }},
			"killed": {ch.Kill, ch.Restart},
		} {
			h[0]()
			begun := time.Now()
			_, err := s.Fetch(t.Context(), connector.Request{Cursor: p.Cursor})
			if took := time.Since(begun); !fault.Is(err, fault.Transient) || took > 6*time.Second {
				t.Errorf("%s: got %v after %v, want an outage", name, err, took)
			}
			h[1]()
		}
		got, bad, _ := all(t, s, p.Cursor)
		if n := len(got) + len(bad); n != 5000 {
			t.Errorf("got %d behind the outages, want 5000", n)
		}
	})
}

// TestSourceRefused says what a person has to do, apart from an outage.
func TestSourceRefused(t *testing.T) {
	enginesWith(t, testenv.ClickHouseOptions{Users: []testenv.ClickHouseUser{{Name: "reader", Password: "geheim123"}}},
		func(t *testing.T, ch *testenv.ClickHouseServer) {
			newFeedTable(t, ch).publish(3)
			for what, c := range map[string]struct {
				change func(*SourceConfig)
				kind   fault.Kind
				words  string
			}{
				"password": {func(c *SourceConfig) { c.Password = "falsch" }, fault.Credentials, ""},
				"table":    {func(c *SourceConfig) { c.Table = "none" }, fault.Permanent, "read table default.none"},
				"column":   {func(c *SourceConfig) { c.Columns = []string{"id", "none"} }, fault.Permanent, "none"},
				"syntax":   {func(c *SourceConfig) { c.Table, c.Query = "", "SELECT 1 FROM" }, fault.Permanent, "read the query"},
				"key":      {func(c *SourceConfig) { c.Key = "nr" }, fault.Permanent, `there is no column "nr", only: id`},
				"late":     {func(c *SourceConfig) { c.Cursor = "at" }, fault.Permanent, "overlap: is missing"},
				"settle":   {func(c *SourceConfig) { c.Settle = 1 }, fault.Permanent, "settle: column id"},
				"overlap":  {func(c *SourceConfig) { c.Overlap = "1m" }, fault.Permanent, "overlap: got"},
				"from":     {func(c *SourceConfig) { c.From = "2026-01-01" }, fault.Permanent, "from: got"},
				"float":    {func(c *SourceConfig) { c.Cursor = "w" }, fault.Permanent, "cursor: column w is Float32"},
			} {
				cfg := feedConfig(ch.URL(), func(c *SourceConfig) { c.Username, c.Password = "reader", "geheim123" }, c.change)
				_, err := OpenSource(cfg, SourceOptions{})
				if !fault.Is(err, c.kind) || fault.HintOf(err) == "" || strings.Contains(err.Error(), "geheim") ||
					!strings.Contains(err.Error(), c.words) {
					t.Errorf("%s: got %v (kind %v, hint %q), want %v with a hint", what, err, fault.KindOf(err),
						fault.HintOf(err), c.kind)
				}
			}
		})
}

// TestSourceColumnsChange: new ones are kept, others read as what they were, one that is gone is told;
// and a job starts while the server is away.
func TestSourceColumnsChange(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		tab := newFeedTable(t, ch)
		tab.publish(3)
		opts := SourceOptions{Memory: filepath.Join(t.TempDir(), "columns.json")}
		cfg := feedConfig(ch.URL())
		s := openSource(t, cfg, opts)
		p := fetchOne(t, s, nil)
		ch.Query(t, "ALTER TABLE default.feed ADD COLUMN extra UInt8, MODIFY COLUMN w String")
		ch.Query(t, "INSERT INTO default.feed (id, at, v, w, extra) VALUES (100, 1000000000, 'x', '1.5', 7), "+
			"(101, 1000000000, 'y', 'many', 8)")
		p = fetchOne(t, s, p.Cursor)
		check(t, "row", jsonRows(t, p), `[{"at":"2001-09-09T01:46:40Z","extra":7,"id":100,"v":"x","w":1.5}]`)
		if len(p.Rejected) != 1 || p.Rejected[0].Key != "101" || !strings.Contains(p.Rejected[0].Reason,
			`column w: is "many", which is no Float32`) {
			t.Errorf("got %+v, want the row that does not fit", p.Rejected)
		}
		mended := strings.Replace(string(p.Rejected[0].Raw), "many", "2.5", 1)
		check(t, "mended", jsonRows(t, s.Parse([]byte(mended))),
			`[{"at":"2001-09-09T01:46:40Z","extra":8,"id":101,"v":"y","w":2.5}]`)
		for _, raw := range []string{"", "id\nUInt64\n1", mended[:20], mended + "\t1"} {
			if p := s.Parse([]byte(raw)); len(p.Rejected) != 1 || p.Rows != nil {
				t.Errorf("%q became %+v", raw, p)
			}
		}
		ch.Query(t, "ALTER TABLE default.feed DROP COLUMN v")
		_, err := s.Fetch(soon(t), connector.Request{Cursor: p.Cursor})
		wantFault(t, "a column that went", err, fault.Permanent, "column v is not there any more")
		ch.Kill()
		again := openSource(t, cfg, opts)
		check(t, "columns of the next life", again.Schema().Fields()[2].Name, "w")
		if _, err := again.Fetch(soon(t), connector.Request{}); !fault.Is(err, fault.Transient) {
			t.Errorf("away: got %v", err)
		}
		if _, err := OpenSource(feedConfig(ch.URL(), func(c *SourceConfig) { c.Table = "other" }), opts); !fault.Is(err,
			fault.Transient) {
			t.Errorf("another table, and nobody to ask: got %v", err)
		}
	})
}

// TestSourceWide: a page ends before it is too large for memory, and the next one goes on there.
func TestSourceWide(t *testing.T) {
	ch := testenv.ClickHouse(t)
	ch.Query(t, "CREATE TABLE default.wide (id UInt64, v String) ENGINE = Memory")
	ch.Query(t, "INSERT INTO default.wide SELECT number, toString(range(200000)) FROM system.numbers LIMIT 60")
	s := openSource(t, SourceConfig{URL: ch.URL(), Table: "wide", Key: "id"}, SourceOptions{})
	p := fetchOne(t, s, nil)
	if n := p.Rows.NumRows(); !p.More || n < 20 || n > 30 {
		t.Errorf("got %d rows of a megabyte and a half, more is %v", n, p.More)
	}
	if got, _, _ := all(t, s, nil); len(got) != 60 {
		t.Errorf("got %d rows, want 60", len(got))
	}
}

// TestSourceStuck: a query that does not end is given up, and the server is told how long it may take.
func TestSourceStuck(t *testing.T) {
	ch := testenv.ClickHouse(t)
	cfg := SourceConfig{URL: ch.URL(), Key: "n", Timeout: 10 * time.Second, PageTimeout: time.Second,
		Query: "SELECT number AS n FROM system.numbers WHERE number < 0"}
	s := openSource(t, cfg, SourceOptions{})
	begun := time.Now()
	_, err := s.Fetch(soon(t), connector.Request{})
	if took := time.Since(begun); !fault.Is(err, fault.Transient) || took > 5*time.Second {
		t.Errorf("got %v after %v", err, took)
	}
	testenv.Until(t, 20*time.Second, "the server to give up", func() bool {
		return ch.Query(t, "SELECT count() FROM system.processes WHERE query LIKE '%number <'||' 0)%'") == "0"
	})
}

// TestSourceCursor: a cursor of other columns, or none at all, is not guessed at.
func TestSourceCursor(t *testing.T) {
	ch := testenv.ClickHouse(t)
	newFeedTable(t, ch).publish(3)
	s := openSource(t, feedConfig(ch.URL()), SourceOptions{})
	byTime := openSource(t, feedConfig(ch.URL(), followTime), SourceOptions{})
	for _, cursor := range []string{"x", `{"v":2}`, string(byTime.Start(0))} {
		_, err := s.Fetch(soon(t), connector.Request{Cursor: []byte(cursor)})
		wantFault(t, cursor, err, fault.Permanent, "cursor")
	}
	if _, err := s.Fetch(soon(t), connector.Request{Fill: &connector.KeyRange{}}); !fault.Is(err, fault.Permanent) {
		t.Errorf("fill: got %v", err)
	}
}

// A door before the server that asks for a login of its own is no outage either.
func TestSourceDoor(t *testing.T) {
	status := http.StatusForbidden
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer srv.Close()
	_, err := OpenSource(feedConfig(srv.URL), SourceOptions{})
	if !fault.Is(err, fault.Credentials) || fault.HintOf(err) == "" {
		t.Errorf("got %v of kind %v", err, fault.KindOf(err))
	}
}

// TestSourceLeavesOut: a server that cuts answers short in silence is refused.
func TestSourceLeavesOut(t *testing.T) {
	ch := testenv.ClickHouseWith(t, testenv.ClickHouseOptions{Settings: map[string]string{
		"read_overflow_mode": "break", "max_rows_to_read": "10"}})
	newFeedTable(t, ch).publish(50)
	s := openSource(t, feedConfig(ch.URL()), SourceOptions{})
	_, err := s.Fetch(soon(t), connector.Request{})
	wantFault(t, "break", err, fault.Permanent, "read_overflow_mode is break")
}
