package bench

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/tests/testenv"
)

// telegrafModule is the peer, built with what it needs here alone: its default build is the same code.
const telegrafModule = "github.com/influxdata/telegraf/cmd/telegraf@v1.37.2"

// telegraf builds the peer, once for a machine's temporary directory: it takes two minutes.
func telegraf(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "holdfast-bench-telegraf-1.37.2")
	path := filepath.Join(dir, "telegraf")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "install", "-tags", "custom,inputs.tail,outputs.sql,parsers.json", telegrafModule)
	cmd.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", telegrafModule, err, out)
	}
	return path
}

// lineFeed is the feed that both can follow and ask again: a file that grows by lines of JSON.
type lineFeed struct {
	t    *testing.T
	path string
	sim  *simulator.Simulator
	next uint64
}

func newLineFeed(t *testing.T, rows int) *lineFeed {
	t.Helper()
	sim := simulator.New(simulator.Options{Seed: 1, Rate: -1, Backlog: uint64(rows)})
	return &lineFeed{t: t, path: filepath.Join(t.TempDir(), "spots.jsonl"), sim: sim, next: sim.Oldest()}
}

// grow appends the next n spots.
func (f *lineFeed) grow(n int) {
	f.t.Helper()
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	for s := range f.sim.Expected(f.next, f.next+uint64(n)-1) {
		writeLine(w, &s)
	}
	f.next += uint64(n)
	if err := w.Flush(); err != nil {
		f.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func writeLine(w *bufio.Writer, s *spot.Spot) {
	fmt.Fprintf(w, `{"id":%d,"time":%d,"band":%d,"rx_sign":%q,"rx_lat":%g,"rx_lon":%g,"rx_loc":%q,"tx_sign":%q,`+
		`"tx_lat":%g,"tx_lon":%g,"tx_loc":%q,"distance":%d,"azimuth":%d,"rx_azimuth":%d,"frequency":%d,`+
		`"power":%d,"snr":%d,"drift":%d,"version":%q,"code":%d}`+"\n", s.ID, s.Time, s.Band, s.RxSign, s.RxLat,
		s.RxLon, s.RxLoc, s.TxSign, s.TxLat, s.TxLon, s.TxLoc, s.Distance, s.Azimuth, s.RxAzimuth, s.Frequency,
		s.Power, s.SNR, s.Drift, s.Version, s.Code)
}

var (
	lineNumbers = []string{"band", "rx_lat", "rx_lon", "tx_lat", "tx_lon", "distance", "azimuth",
		"rx_azimuth", "frequency", "power", "snr", "drift", "code"}
	lineTexts = []string{"rx_sign", "rx_loc", "tx_sign", "tx_loc", "version"}
)

// lineTable makes a table for the lines. Telegraf's JSON parser knows no integers: for it, id is a Float64.
func lineTable(t *testing.T, ch *testenv.ClickHouseServer, table, time, id string) {
	t.Helper()
	sql := "create table bench." + table + " (" + time + " DateTime, id " + id
	for _, c := range lineNumbers {
		sql += ", " + c + " Float64"
	}
	for _, c := range lineTexts {
		sql += ", " + c + " String"
	}
	ch.Query(t, "create database if not exists bench")
	ch.Query(t, sql+") engine = MergeTree partition by toYYYYMM("+time+") order by ("+time+", id)")
}

// peerOptions say where Telegraf reads and writes.
type peerOptions struct {
	dir, feed     string
	native, table string
	from          string // where it begins if it has not saved where it was
	buffer        string // memory or disk
}

// startPeer starts Telegraf behind the feed.
func startPeer(t *testing.T, bin string, o peerOptions) *testenv.Process {
	t.Helper()
	file := filepath.Join(o.dir, "telegraf.conf")
	text := fmt.Sprintf(`[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 100000
  metric_buffer_limit = 5000000
  buffer_strategy = %q
  buffer_directory = %q
  statefile = %q
  omit_hostname = true
[[inputs.tail]]
  files = [%q]
  initial_read_offset = %q
  name_override = %q
  max_undelivered_lines = 100000
  data_format = "json"
  json_strict = true
  json_time_key = "time"
  json_time_format = "unix"
  json_string_fields = ["%s"]
  path_tag = ""
[[outputs.sql]]
  driver = "clickhouse"
  data_source_name = "clickhouse://%s/bench"
  batch_transactions = true
  table_exists_template = "SELECT 1"
`, o.buffer, filepath.Join(o.dir, "buffer"), filepath.Join(o.dir, "state"), o.feed, o.from, o.table,
		strings.Join(lineTexts, `", "`), o.native)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return testenv.Start(t, testenv.Command{Path: bin, Args: []string{"--config", file}})
}

// startOurs starts the product behind the feed.
func startOurs(t *testing.T, dir, feed string, ch *testenv.ClickHouseServer, table string) *testenv.Process {
	t.Helper()
	file := filepath.Join(dir, "holdfast.yaml")
	columns := "{name: id, type: uint64}, {name: time, type: time, format: unix}"
	for _, c := range lineNumbers {
		columns += ", {name: " + c + ", type: float64}"
	}
	for _, c := range lineTexts {
		columns += ", {name: " + c + ", type: text}"
	}
	text := fmt.Sprintf(`listen: none
jobs:
  bench:
    collect:
      source: {file: {path: %q, mode: tail, format: jsonl, key: id, time: time, columns: [%s]}}
      sinks:
        main: {clickhouse: {url: %q, database: bench, table: %s}, batch: {rows: %d, every: 1s}}
`, feed, columns, ch.URL(), table, insertRows)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return testenv.Start(t, testenv.Command{Path: testenv.PlainBinary(t),
		Args: []string{"run", "-c", file, "--data-dir", filepath.Join(dir, "data"), "--verbose", "0"}})
}

// withNative starts ClickHouse 18.16 with the port that Telegraf speaks to.
func withNative(t *testing.T) (ch *testenv.ClickHouseServer, native string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	native = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(native)
	return testenv.ClickHouseWith(t, testenv.ClickHouseOptions{Config: "<tcp_port>" + port + "</tcp_port>"}), native
}

// TestTelegrafRate is the rate, end to end, of both behind the same file into the same server, the
// median of three pairs. Telegraf has its buffer in memory, which is the faster one.
func TestTelegrafRate(t *testing.T) {
	const longest = 30 * time.Second
	bin := telegraf(t)
	ch, native := withNative(t)
	n := rows(t, 10_000_000) * 2 / 5
	f := newLineFeed(t, n)
	f.grow(n)
	rate := func(table string, start func() *testenv.Process) float64 {
		begin, got := time.Now(), 0
		p := start()
		for got < n && time.Since(begin) < longest {
			time.Sleep(50 * time.Millisecond)
			got = count(t, ch, table)
		}
		took := time.Since(begin)
		p.Kill()
		if got == 0 {
			t.Fatalf("no row of %s after %v:\n%s", table, longest, p.Output())
		}
		return float64(got) / took.Seconds()
	}
	testenv.PlainBinary(t) // built before the clock runs
	var ratios []float64
	for i := range 3 {
		ours, peer := fmt.Sprintf("ours%d", i), fmt.Sprintf("peer%d", i)
		lineTable(t, ch, ours, "time", "UInt64")
		lineTable(t, ch, peer, "timestamp", "Float64")
		a := rate(ours, func() *testenv.Process { return startOurs(t, t.TempDir(), f.path, ch, ours) })
		b := rate(peer, func() *testenv.Process {
			return startPeer(t, bin, peerOptions{dir: t.TempDir(), feed: f.path, native: native, table: peer,
				from: "saved-or-beginning", buffer: "memory"})
		})
		t.Logf("E: %d rows from a file into ClickHouse: Holdfast %.0f rows/s, Telegraf %.0f, ratio %.1f", n, a, b, a/b)
		ratios = append(ratios, a/b)
	}
	slices.Sort(ratios)
	if ratios[1] < 10 {
		t.Errorf("ratio %.1f, the median of %.1f, want at least 10", ratios[1], ratios)
	}
}

// TestTelegrafKilled counts what both lose and double: the file grows for two minutes, each is killed -9
// five times, and the server is away for a minute of it. Telegraf has its buffer on the disk, and both
// answers to where it begins without a saved place: it saves that when it is stopped, not when it is killed.
func TestTelegrafKilled(t *testing.T) {
	const second = 500 // rows
	bin := telegraf(t)
	ch, native := withNative(t)
	f := newLineFeed(t, 200*second)
	f.grow(second)
	lineTable(t, ch, "ours", "time", "UInt64")
	begin, end := t.TempDir(), t.TempDir()
	followers := map[string]func() *testenv.Process{}
	dir := t.TempDir()
	followers["ours"] = func() *testenv.Process { return startOurs(t, dir, f.path, ch, "ours") }
	for table, o := range map[string]peerOptions{
		"beginning": {dir: begin, from: "saved-or-beginning"}, "end": {dir: end, from: "saved-or-end"},
	} {
		o.feed, o.native, o.table, o.buffer = f.path, native, table, "disk"
		lineTable(t, ch, table, "timestamp", "Float64")
		followers[table] = func() *testenv.Process { return startPeer(t, bin, o) }
	}
	running := map[string]*testenv.Process{}
	for table, start := range followers {
		running[table] = start()
	}
	for s := 1; s <= 120; s++ {
		f.grow(second)
		switch s {
		case 15, 30, 60, 75, 110: // two of them during the outage
			for table, p := range running {
				p.Kill()
				running[table] = followers[table]()
			}
		case 40:
			ch.Stop()
		case 100:
			ch.Restart()
		}
		time.Sleep(time.Second)
	}
	all := 121 * second
	for table, p := range running {
		got, lost, doubled := settled(t, ch, table, all)
		t.Logf("E: %s: of %d rows %d arrived, %d lost, %d doubled", table, all, got, lost, doubled)
		if table == "ours" && (lost > 0 || doubled > 0) {
			t.Errorf("%d lost and %d doubled:\n%s", lost, doubled, p.Output())
		}
	}
}

// settled waits until a table has not changed for fifteen seconds.
func settled(t *testing.T, ch *testenv.ClickHouseServer, table string, all int) (got, lost, doubled int) {
	t.Helper()
	last, since := -1, time.Now()
	for deadline := time.Now().Add(5 * time.Minute); time.Since(since) < 15*time.Second; {
		if n := count(t, ch, table); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still changes: %d rows", table, last)
		}
		time.Sleep(200 * time.Millisecond)
	}
	ids, err := strconv.Atoi(strings.TrimSpace(ch.Query(t, "select uniqExact(id) from bench."+table)))
	if err != nil {
		t.Fatal(err)
	}
	return last, all - ids, last - ids
}
