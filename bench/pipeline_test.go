package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/clickhouse"
	"holdfast/connector/wsprnet"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/tests/testenv"
)

// The bench binary is its own feed: with these set it serves the simulator, in a process of its own.
const (
	feedAddr = "HOLDFAST_BENCH_FEED"
	feedRows = "HOLDFAST_BENCH_FEED_ROWS"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(feedAddr); addr != "" {
		serveFeed(addr)
		return
	}
	os.Exit(m.Run())
}

func serveFeed(addr string) {
	n, _ := strconv.ParseUint(os.Getenv(feedRows), 10, 64)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	sim := simulator.New(simulator.Options{Seed: 1, Rate: -1, Backlog: n, PageLimit: 20000, Keep: -1})
	srv := &http.Server{Handler: &rendered{from: sim, pages: map[string][]byte{}}}
	context.AfterFunc(ctx, func() { srv.Close() })
	_ = srv.Serve(ln)
}

// rendered keeps the pages that were served once: writing them is the simulator's work, and slower than
// all that is measured.
type rendered struct {
	from  http.Handler
	mu    sync.Mutex // guards pages
	pages map[string][]byte
}

func (c *rendered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	page, ok := c.pages[r.URL.String()]
	c.mu.Unlock()
	if !ok {
		r.Header.Del("Accept-Encoding")
		rec := httptest.NewRecorder()
		c.from.ServeHTTP(rec, r)
		page = rec.Body.Bytes()
		if rec.Code != http.StatusOK || len(page) < 3 { // nothing new yet
			w.WriteHeader(rec.Code)
			_, _ = w.Write(page)
			return
		}
		c.mu.Lock()
		if len(c.pages) < 200 { // a gigabyte
			c.pages[r.URL.String()] = page
		}
		c.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(page)
}

// read fetches and parses all that the feed has and returns rows/s.
func read(t *testing.T, url string) float64 {
	t.Helper()
	src := source(t, url)
	begin, done := time.Now(), int64(0)
	for cursor, more := []byte(nil), true; more; {
		p, err := src.Fetch(t.Context(), connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		cursor, more, done = p.Cursor, p.More, done+p.Rows.NumRows()
	}
	return float64(done) / time.Since(begin).Seconds()
}

// rows is how much is collected and drained: ten million, or HOLDFAST_BENCH_ROWS.
func rows(t *testing.T, def int) int {
	if v := os.Getenv("HOLDFAST_BENCH_ROWS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return def
}

// feed starts a simulator with n spots in a process of its own and returns its URL.
func feed(t *testing.T, n int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), feedAddr+"="+addr, feedRows+"="+strconv.Itoa(n))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	testenv.Until(t, 20*time.Second, "the feed to answer", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "http://" + addr + simulator.SpotsPath
}

func source(t *testing.T, url string) *wsprnet.Source {
	t.Helper()
	src, err := wsprnet.Open(wsprnet.Config{URL: url, MaxBytesPerSecond: -1}, wsprnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func sink(t *testing.T, ch *testenv.ClickHouseServer, table string) *clickhouse.Sink {
	t.Helper()
	s, err := clickhouse.Open(clickhouse.Config{URL: ch.URL(), Database: "bench", Table: table, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Prepare(t.Context(), spot.Schema()); err != nil {
		t.Fatal(err)
	}
	return s
}

func insert(t *testing.T, s *clickhouse.Sink, seq int, b arrow.RecordBatch) {
	t.Helper()
	v, err := s.Write(t.Context(), connector.Delivery{Schema: spot.Schema(), Rows: b, FirstAttempt: time.Now(),
		Token: record.Token{Job: "bench", First: uint64(seq), Last: uint64(seq)}})
	if err != nil || len(v.Rejected) > 0 {
		t.Fatalf("insert: %v, %d rejected", err, len(v.Rejected))
	}
}

const insertRows = 100_000

// straight inserts the feed's first n rows from memory, without any durability: the yardstick of F2 and F3.
func straight(t *testing.T, ch *testenv.ClickHouseServer, table string, n int) float64 {
	t.Helper()
	batches := spots(n/insertRows, insertRows)
	s := sink(t, ch, table)
	begin := time.Now()
	for i, b := range batches {
		insert(t, s, i, b)
	}
	return float64(n) / time.Since(begin).Seconds()
}

// straightFeed is a program without durability: it fetches, parses and inserts.
func straightFeed(t *testing.T, ch *testenv.ClickHouseServer, table, url string, n int) float64 {
	t.Helper()
	src, s := source(t, url), sink(t, ch, table)
	begin := time.Now()
	var cursor []byte
	var pages []arrow.RecordBatch
	done, held := 0, 0
	for done < n {
		p, err := src.Fetch(t.Context(), connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		cursor, pages, held = p.Cursor, append(pages, p.Rows), held+int(p.Rows.NumRows())
		if held < insertRows && p.More {
			continue
		}
		all, err := record.Concat(pages[0].Schema(), pages)
		if err != nil {
			t.Fatal(err)
		}
		insert(t, s, done, all)
		done, pages, held = done+held, nil, 0
		if !p.More {
			break
		}
	}
	return float64(done) / time.Since(begin).Seconds()
}

// holdfast starts the product with one job from the feed into a table. more are other sinks of the job.
func holdfast(t *testing.T, dir, url string, ch *testenv.ClickHouseServer, table string,
	more ...string) *testenv.Process {
	t.Helper()
	file := filepath.Join(dir, "holdfast.yaml")
	text := fmt.Sprintf(`listen: none
jobs:
  bench:
    collect:
      source: {wsprnet: {url: %q, max_bytes_per_second: -1, every: 1s}}
      sinks:
        main: {clickhouse: {url: %q, database: bench, table: %s, create: true}, batch: {rows: %d, every: 1s}}
%s`, url, ch.URL(), table, insertRows, strings.Join(more, ""))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return testenv.Start(t, testenv.Command{Path: testenv.PlainBinary(t),
		Args: []string{"run", "-c", file, "--data-dir", filepath.Join(dir, "data"), "--verbose", "0"}})
}

func count(t *testing.T, ch *testenv.ClickHouseServer, table string) int {
	t.Helper()
	// This server counts by reading a column; the list of parts costs it nothing.
	out, err := ch.Try(t.Context(), fmt.Sprintf(
		"select sum(rows) from system.parts where active and database = 'bench' and table = '%s'", table))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	return n
}

// filled waits until the table holds n rows.
func filled(t *testing.T, ch *testenv.ClickHouseServer, table string, n int) {
	t.Helper()
	testenv.Until(t, 10*time.Minute, fmt.Sprintf("%d rows in %s", n, table), func() bool {
		if count(t, ch, table) >= n {
			return true
		}
		time.Sleep(50 * time.Millisecond) // the machine is for what is measured
		return false
	})
}

// TestFeedToClickHouse is F2: feed to spool to ClickHouse 18.16, against the same client without a spool.
func TestFeedToClickHouse(t *testing.T) {
	n := rows(t, 10_000_000) / 5
	ch := testenv.ClickHouse(t)
	url := feed(t, n)
	read(t, url) // so that its pages are rendered
	alone := read(t, url)
	memory := straight(t, ch, "memory", n)
	parsed := straightFeed(t, ch, "parsed", url, n)
	testenv.PlainBinary(t) // built before the clock runs
	begin := time.Now()
	p := holdfast(t, t.TempDir(), url, ch, "ours")
	filled(t, ch, "ours", n)
	ours := float64(n) / time.Since(begin).Seconds()
	peak := p.PeakMemory(t)
	t.Logf("F2: feed -> spool -> ClickHouse %.0f rows/s; feed -> ClickHouse without a spool %.0f, ratio %.2f; "+
		"rows from memory %.0f, ratio %.2f; feed read alone %.0f; peak memory %d MiB", ours, parsed, ours/parsed,
		memory, ours/memory, alone, peak>>20)
	if ours/parsed < 0.8 {
		t.Errorf("ratio %.2f, want at least 0.8", ours/parsed)
	}
	if peak > 256<<20 {
		t.Errorf("peak memory %d MiB, want at most 256", peak>>20)
	}
}

// TestDrain is F3 and F4: a backlog of ten million rows after an outage, drained; and killed -9 and
// started again in the middle.
func TestDrain(t *testing.T) {
	n := rows(t, 10_000_000)
	ch := testenv.ClickHouse(t)
	url := feed(t, n)
	memory := straight(t, ch, "memory", n)
	ch.Stop()
	dir := t.TempDir()
	p := holdfast(t, dir, url, ch, "ours")
	spooled(t, dir, n)
	ch.Restart()
	testenv.Until(t, time.Minute, "the first rows", func() bool { return count(t, ch, "ours") > 0 })
	peak := p.PeakMemory(t)
	p.Kill()
	had := count(t, ch, "ours")
	begin := time.Now()
	p = holdfast(t, dir, url, ch, "ours")
	testenv.Until(t, time.Minute, "the first row after the start", func() bool { return count(t, ch, "ours") > had })
	first := time.Since(begin)
	had = count(t, ch, "ours")
	begin = time.Now()
	filled(t, ch, "ours", n)
	ours := float64(n-had) / time.Since(begin).Seconds()
	memory = (memory + straight(t, ch, "behind", n)) / 2 // the server's merges come when they like
	peak = max(peak, p.PeakMemory(t))
	t.Logf("F3: %d rows of backlog drained at %.0f rows/s; rows from memory %.0f, ratio %.2f; peak memory %d MiB",
		n, ours, memory, ours/memory, peak>>20)
	t.Logf("F4: first row %v after the start behind kill -9", first.Round(time.Millisecond))
	if got := count(t, ch, "ours"); got != n {
		t.Errorf("%d rows in the table, want %d", got, n)
	}
	if ours/memory < 0.9 {
		t.Errorf("ratio %.2f, want at least 0.9", ours/memory)
	}
	if peak > 256<<20 {
		t.Errorf("peak memory %d MiB, want at most 256", peak>>20)
	}
	if first > time.Second {
		t.Errorf("first row after %v, want under 1s", first)
	}
}

// TestMemory shows that memory does not grow with the backlog: the sink is away, and the job takes in a
// million rows and twenty million.
func TestMemory(t *testing.T) {
	n := rows(t, 20_000_000)
	ch := testenv.ClickHouse(t)
	ch.Stop()
	var peaks []int64
	for _, n := range []int{n / 20, n} {
		dir := t.TempDir()
		p := holdfast(t, dir, feed(t, n), ch, "away")
		spooled(t, dir, n)
		peaks = append(peaks, p.PeakMemory(t))
		p.Term()
		p.Wait(t, time.Minute)
	}
	t.Logf("memory: peak %d MiB with %d rows of backlog, %d MiB with %d", peaks[0]>>20, n/20, peaks[1]>>20, n)
	if peaks[1] > 256<<20 {
		t.Errorf("peak memory %d MiB, want at most 256", peaks[1]>>20)
	}
	if peaks[1] > peaks[0]*5/4 {
		t.Errorf("peak memory grows from %d to %d MiB with the backlog", peaks[0]>>20, peaks[1]>>20)
	}
}

// spooled waits until the job has taken n rows in.
func spooled(t *testing.T, dir string, n int) {
	t.Helper()
	want := fmt.Sprintf(`"read": %d,`, n)
	testenv.Until(t, 15*time.Minute, "the backlog", func() bool {
		out, _ := exec.Command(testenv.PlainBinary(t), "audit", "--json", "--data-dir",
			filepath.Join(dir, "data")).Output()
		time.Sleep(50 * time.Millisecond)
		return strings.Contains(string(out), want)
	})
}
