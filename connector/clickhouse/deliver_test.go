package clickhouse

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// Two attempts at once, as when one was given up and still runs: the token lets one of them in.
func TestTokenAgainstARunningAttempt(t *testing.T) {
	ch := testenv.ModernClickHouse(t)
	a, b := open(t, ch.URL()), open(t, ch.URL())
	prepare(t, a)
	prepare(t, b)
	for i := range 5 {
		d := delivery(t, uint64(i+1), spotBatch(uint64(1+1000*i), noon, 1000))
		var both sync.WaitGroup
		for _, s := range []*Sink{a, b} {
			both.Go(func() { _, _ = s.Write(t.Context(), d) })
		}
		both.Wait()
		deliverThrough(t, a, d)
		onceEach(t, ch, 1000*(i+1))
	}
	ch.Kill()
	ch.Restart()
	d := delivery(t, 5, spotBatch(4001, noon, 1000))
	fresh := open(t, ch.URL()) // it does not know that it is a repeat
	prepare(t, fresh)
	write(t, fresh, d)
	onceEach(t, ch, 5000)
}

func TestCovered(t *testing.T) {
	ch := testenv.ModernClickHouse(t)
	ch.Query(t, "CREATE DATABASE wspr")
	ch.Query(t, tableDDL("rx", nil, "", "MergeTree PARTITION BY toYYYYMM(time) ORDER BY id SETTINGS "+
		"non_replicated_deduplication_window = 5"))
	ch.Query(t, tableDDL("forgetful", nil, "", "MergeTree PARTITION BY toYYYYMM(time) ORDER BY id SETTINGS "+
		"non_replicated_deduplication_window = 0"))
	s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "rx" })
	prepare(t, s)
	covered := func(first time.Time) bool {
		t.Helper()
		w := &writing{s: s, srv: s.server, tab: s.table, d: connector.Delivery{FirstAttempt: first}}
		ok, err := w.covered(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for i := range 8 {
		if got, want := covered(time.Now()), i < 4; got != want {
			t.Errorf("after %d inserts: covered is %v, want %v", i, got, want)
		}
		write(t, s, delivery(t, uint64(i+1), spotBatch(uint64(1+i*10), noon, 10)))
	}
	for what, first := range map[string]time.Time{"no time": {}, "the future": time.Now().Add(time.Hour)} {
		if covered(first) {
			t.Errorf("a first attempt at %s is covered", what)
		}
	}
	s.table.window, s.table.seconds = 1000, time.Hour
	for age, want := range map[time.Duration]bool{time.Minute: true, 58 * time.Minute: true,
		time.Hour: false, 48 * time.Hour: false} {
		if got := covered(time.Now().Add(-age)); got != want {
			t.Errorf("a window of an hour, first attempt %v ago: covered is %v, want %v", age, got, want)
		}
	}
	s = open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "forgetful" })
	prepare(t, s)
	if s.table.tokens(s.server) {
		t.Error("a table with window 0 remembers tokens")
	}
	// It is exact all the same, by key.
	d := delivery(t, 1, spotBatch(1, noon, 100))
	for range 3 {
		write(t, s, d)
	}
	if n := ch.Query(t, "SELECT count() FROM wspr.forgetful"); n != "100" {
		t.Errorf("rows: got %s, want 100", n)
	}
	if got := s.Traits().Exactness; got != connector.ExactlyOnce {
		t.Errorf("traits: got %s, want exactly once", got)
	}
}

func TestTraits(t *testing.T) {
	ch := testenv.ClickHouse(t)
	ch.Query(t, "CREATE DATABASE wspr")
	ch.Query(t, tableDDL("rx", nil, "", "Memory"))
	s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "rx" })
	prepare(t, s)
	if got := s.Traits().Exactness; got != connector.AtLeastOnce {
		t.Errorf("a Memory table: got %s, want at least once", got)
	}
}

// A server that refuses rows by rules of its own.
func TestServerRefusesRows(t *testing.T) {
	rules := map[string]struct{ ddl, words string }{ // 18.16 has no constraints
		"18.16":  {", rule UInt8 MATERIALIZED throwIf(distance = 666)", "throwIf"},
		"modern": {", CONSTRAINT rule CHECK distance != 666", "Constraint `rule`"},
	}
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		ch.Query(t, "CREATE DATABASE wspr")
		_, engine, _ := strings.Cut(t.Name(), "/")
		rule := rules[engine]
		ch.Query(t, tableDDL("rx", nil, rule.ddl, ""))
		s := open(t, ch.URL(), func(c *Config) { c.Database, c.Table = "wspr", "rx" })
		prepare(t, s)
		count := func() string { return ch.Query(t, "SELECT count(), uniqExact(id) FROM wspr.rx") }

		// One month: it is for the caller to halve.
		rows := withDistances(t, spotBatch(1, noon, 100), 13, 77)
		d := delivery(t, 1, rows)
		_, err := s.Write(soon(t), d)
		wantFault(t, "one month", err, fault.Invalid, rule.words)
		if n := count(); n != "0\t0" {
			t.Errorf("after a refusal: got %s rows, want none", n)
		}
		// Two months, the first is in: the caller can't halve what is half in.
		rows = withDistances(t, spotsOf(100, func(i int) (uint64, int64) {
			return 1000 + uint64(i), noon + int64(i/50)*31*86400
		}), 63, 99)
		d = delivery(t, 2, rows)
		for range 2 {
			v := write(t, s, d)
			if len(v.Rejected) != 2 || v.Rejected[0].Row != 63 || v.Rejected[1].Row != 99 ||
				!strings.Contains(v.Rejected[0].Reason, rule.words) {
				t.Errorf("rejected: got %+v, want rows 63 and 99 with the server's words", v.Rejected)
			}
			if n := count(); n != "98\t98" {
				t.Errorf("rows and keys: got %s, want 98 of each", n)
			}
			d.Unknown = true
		}
	})
}

// TestHalvesAreProved: where answers carry no sign of ClickHouse, the rows of each half are looked for, as those of any
// insert are.
func TestHalvesAreProved(t *testing.T) {
	ch := testenv.ClickHouse(t)
	ch.Query(t, "CREATE DATABASE wspr")
	ch.Query(t, tableDDL("rx", nil, ", rule UInt8 MATERIALIZED throwIf(distance = 666)", ""))
	to, err := url.Parse(ch.URL())
	if err != nil {
		t.Fatal(err)
	}
	isInsert := func(r *http.Request) bool { return strings.Contains(r.URL.Query().Get("query"), "INSERT INTO") }
	var refused, lied atomic.Bool
	honest := httputil.NewSingleHostReverseProxy(to)
	honest.Transport = testenv.ReadFirst{}
	honest.ModifyResponse = func(r *http.Response) error {
		if isInsert(r.Request) && r.StatusCode != http.StatusOK {
			refused.Store(true)
		}
		maps.DeleteFunc(r.Header, func(k string, _ []string) bool { return strings.HasPrefix(k, "X-Clickhouse-") })
		return nil
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isInsert(r) && refused.Load() && lied.CompareAndSwap(false, true) {
			_, _ = io.Copy(io.Discard, r.Body) // an empty 200, and nobody has the rows
			return
		}
		honest.ServeHTTP(w, r)
	}))
	defer front.Close()
	s := open(t, front.URL, func(c *Config) { c.Database, c.Table = "wspr", "rx" })
	prepare(t, s)
	d := delivery(t, 1, withDistances(t, spotsOf(100, func(i int) (uint64, int64) {
		return 1 + uint64(i), noon + int64(i/50)*31*86400
	}), 63))
	_, err = s.Write(soon(t), d)
	wantFault(t, "half of a portion that nobody has", err, fault.Transient, "are not there")
	d.Unknown = true
	if v := write(t, s, d); len(v.Rejected) != 1 || v.Rejected[0].Row != 63 {
		t.Errorf("rejected: got %+v, want row 63", v.Rejected)
	}
	if n := ch.Query(t, "SELECT count(), uniqExact(id) FROM wspr.rx"); n != "99\t99" {
		t.Errorf("rows and keys: got %s, want 99 of each", n)
	}
}

func withDistances(t *testing.T, rows arrow.RecordBatch, bad ...int) arrow.RecordBatch {
	t.Helper()
	d := make([]uint16, rows.NumRows())
	for _, i := range bad {
		d[i] = 666
	}
	return replace(t, rows, "distance", d)
}

// A key that is twice in a delivery is two rows; a repeat adds none.
func TestSameKeyTwice(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL())
		prepare(t, s)
		d := delivery(t, 1, spotsOf(1000, func(i int) (uint64, int64) { return 1 + uint64(i/2), noon }))
		for range 3 {
			write(t, s, d)
			if n := ch.Query(t, "SELECT count(), uniqExact(id) FROM wsprnet.spots"); n != "1000\t500" {
				t.Errorf("rows and keys: got %s, want 1000 and 500", n)
			}
			d.Unknown, d.ByKey = true, true
		}
	})
}

// Keys that lie far apart, in a table that is full of others: only the delivery's own are asked for.
func TestSparseKeys(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL())
		prepare(t, s)
		ch.Query(t, "INSERT INTO wsprnet.spots (id, time) SELECT number * 2, toDateTime("+
			fmt.Sprint(noon)+") + intDiv(number, 1000) FROM system.numbers LIMIT 1000000")
		// Every 80th key, of which every second is odd, thus not there.
		d := delivery(t, 1, spotsOf(25_000, func(i int) (uint64, int64) {
			k := uint64(i)*80 + uint64(i%2)
			return k, noon + int64(k/2000)
		}))
		d.ByKey = true
		if v := write(t, s, d); v.Present != 12_500 {
			t.Errorf("verdict: got %d present, want 12500", v.Present)
		}
		d.Unknown = true
		if v := write(t, s, d); v.Present != 25_000 {
			t.Errorf("verdict of the repeat: got %d present, want 25000", v.Present)
		}
		onceEach(t, ch, 1_012_500)
	})
}

// An insert is one part, whatever the profile says about splitting.
func TestOneInsertOnePart(t *testing.T) {
	ch := testenv.ClickHouseWith(t, testenv.ClickHouseOptions{Settings: map[string]string{
		"max_insert_block_size": "1000", "min_insert_block_size_rows": "1000",
		"min_insert_block_size_bytes": "1000"}})
	s := open(t, ch.URL())
	prepare(t, s)
	write(t, s, delivery(t, 1, spotsOf(90_000, func(i int) (uint64, int64) {
		return 1 + uint64(i), noon + int64(i%3)*31*86400
	})))
	got := ch.Query(t, "SELECT count(), min(rows), max(rows) FROM system.parts WHERE table = 'spots' AND level = 0")
	if got != "3\t30000\t30000" {
		t.Errorf("parts, least and most rows: got %s, want 3 of 30000", got)
	}
}

// An old server waits for idle connections before it ends; ours are not idle for long.
func TestServerStopsQuickly(t *testing.T) {
	ch := testenv.ClickHouse(t)
	s := open(t, ch.URL())
	prepare(t, s)
	write(t, s, delivery(t, 1, spotBatch(1, noon, 10)))
	begun := time.Now()
	ch.Stop()
	if took := time.Since(begun); took > 6*time.Second {
		t.Errorf("the server took %v to stop, want less than 6 s", took)
	}
}

// Rows that the table loses again and again come back each time, though their tokens are remembered.
func TestRowsLostTwice(t *testing.T) {
	ch := testenv.ModernClickHouse(t)
	s := open(t, ch.URL())
	prepare(t, s)
	d := delivery(t, 1, spotBatch(1, noon, 1000))
	write(t, s, d)
	d.Unknown, d.ByKey = true, true
	for range 3 {
		ch.Query(t, "ALTER TABLE wsprnet.spots DELETE WHERE id <= 400 SETTINGS mutations_sync = 1")
		if v := write(t, s, d); v.Present != 600 {
			t.Errorf("verdict: got %d present, want 600", v.Present)
		}
		onceEach(t, ch, 1000)
	}
}
