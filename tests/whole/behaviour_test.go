package whole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/app/desk"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/tests/testenv"
)

// outage is one way in which ClickHouse is away or out of order.
type outage struct {
	name  string
	begin func(*behaviour)
	// end mends it, and returns when the server does its work again.
	end func(*behaviour)
	// atStart begins it before holdfast starts; else when all was well.
	atStart bool
	// slow: the sink works on, so its gate stays open.
	slow bool
	// canary is how long the canary itself takes, beside the second that work may take to go on.
	canary time.Duration
}

// behaviour is holdfast between a feed, a ClickHouse 18.16 and an SQLite file.
type behaviour struct {
	*rig
	ch    *testenv.ClickHouseServer
	proxy *testenv.FaultyProxy
	front *front
	p     *testenv.Process
	toxin string
}

// replayWithin is the time from the server's recovery to its first new row.
func replayWithin() time.Duration {
	if testenv.Torture() {
		return time.Second
	}
	return 20 * time.Second // beside other tests, under the race detector
}

// beside lets a test run beside others, unless its time is measured strictly.
func beside(t *testing.T) {
	t.Helper()
	if !testenv.Torture() {
		t.Parallel()
	}
}

var outages = []outage{
	{name: "down at start", atStart: true,
		begin: func(b *behaviour) { b.ch.Kill() },
		end:   func(b *behaviour) { b.ch.Restart() }},
	{name: "down in the middle of an insert",
		begin: func(b *behaviour) {
			// The rows are in the table, and a view keeps the answer back. A slow network would not do: a
			// server reads the whole of a short insert before it begins with it.
			b.ch.Query(b.t, "CREATE MATERIALIZED VIEW wsprnet.slow ENGINE = Null AS "+
				"SELECT sleep(1) AS s FROM wsprnet.spots")
			b.sim.Publish(400)
			testenv.Until(b.t, soon, "an insert runs", func() bool {
				return b.asks("SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'") != "0"
			})
			b.ch.Kill()
		},
		end: func(b *behaviour) {
			b.ch.Restart()
			b.ch.Query(b.t, "DROP TABLE wsprnet.slow")
		}},
	{name: "stopped and started again",
		begin: func(b *behaviour) { b.ch.Stop() },
		end:   func(b *behaviour) { b.ch.Restart() }},
	{name: "slow", slow: true,
		begin: func(b *behaviour) { b.toxic("latency", "downstream", map[string]any{"latency": 300}) },
		end:   func(b *behaviour) { b.mendNet() }},
	{name: "frozen",
		begin: func(b *behaviour) { b.ch.Freeze() },
		end:   func(b *behaviour) { b.ch.Thaw() }},
	{name: "black hole",
		begin: func(b *behaviour) { b.toxic("timeout", "upstream", map[string]any{"timeout": 0}) },
		end:   func(b *behaviour) { b.mendNet(); b.proxy.Down(); b.proxy.Up() }},
	{name: "answering 500",
		begin: func(b *behaviour) { b.front.lie(http.StatusInternalServerError, "out of order") },
		end:   func(b *behaviour) { b.front.tellTruth() }},
	{name: "answering garbage",
		begin: func(b *behaviour) { b.front.lie(http.StatusOK, "<html>\x00\xff It works!") },
		end:   func(b *behaviour) { b.front.tellTruth() }},
	{name: "answering 200 to everything",
		begin: func(b *behaviour) { b.front.lie(http.StatusOK, "") },
		end:   func(b *behaviour) { b.front.tellTruth() }},
}

// TestBehaviour goes through the outages of one server.
func TestBehaviour(t *testing.T) {
	ch := testenv.ClickHouse(t)
	for _, o := range testenv.Some(t, 4, outages) {
		t.Run(o.name, func(t *testing.T) {
			ch.Query(t, "DROP DATABASE IF EXISTS wsprnet")
			endure(t, &behaviour{ch: ch}, o, clickHouse)
		})
	}
}

// TestBehaviourFullDisk lets the disk of the server fill up.
func TestBehaviourFullDisk(t *testing.T) {
	beside(t)
	disk := testenv.SmallDisk(t, 128<<20)
	filler := filepath.Join(disk, "filler")
	endure(t, &behaviour{ch: testenv.ClickHouseWith(t, testenv.ClickHouseOptions{
		DataDir: filepath.Join(disk, "data")})}, outage{
		// The canary of a server whose disk was full lets it write 32 MB.
		canary: 10 * time.Second,
		begin: func(b *behaviour) {
			f, err := os.Create(filler)
			if err != nil {
				b.t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			chunk := make([]byte, 1<<20)
			for err == nil {
				if _, err = f.Write(chunk); err != nil && len(chunk) > 512 {
					chunk, err = chunk[:len(chunk)/2], nil
				}
			}
			if !errors.Is(err, syscall.ENOSPC) {
				b.t.Fatal(err)
			}
		},
		end: func(b *behaviour) {
			if err := os.Remove(filler); err != nil {
				b.t.Fatal(err)
			}
		},
	}, clickHouse)
}

// TestBehaviourReadOnly takes the right to write from the user, and gives it back.
func TestBehaviourReadOnly(t *testing.T) {
	beside(t)
	ch := testenv.ClickHouseWith(t, testenv.ClickHouseOptions{
		Users: []testenv.ClickHouseUser{{Name: "wspr", Password: "pw"}}})
	endure(t, &behaviour{ch: ch}, outage{
		begin: func(b *behaviour) {
			b.editUsers(`<profile>default</profile>`, `<profile>readonly</profile>`)
			testenv.Until(b.t, soon, "the user may not write", func() bool { return !b.mayWrite() })
		},
		end: func(b *behaviour) {
			b.editUsers(`<profile>readonly</profile>`, `<profile>default</profile>`)
			testenv.Until(b.t, soon, "the user may write", b.mayWrite)
		},
	}, as("wspr", "pw"))
}

// mayWrite reports whether the server lets the user write.
func (b *behaviour) mayWrite() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := b.ch.TryAs(ctx, "wspr", "pw", "CREATE DATABASE IF NOT EXISTS wsprnet")
	return err == nil
}

// editUsers changes the part of users.xml that is about the user; the server reads it again by
// itself.
func (b *behaviour) editUsers(from, to string) {
	b.t.Helper()
	name := filepath.Join(filepath.Dir(b.ch.Dir()), "users.xml")
	text, err := os.ReadFile(name)
	if err != nil {
		b.t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), "<wspr>")
	if !ok || !strings.Contains(after, from) {
		b.t.Fatalf("users.xml has no %s behind <wspr>", from)
	}
	info, err := os.Stat(name)
	if err != nil {
		b.t.Fatal(err)
	}
	text = []byte(before + "<wspr>" + strings.Replace(after, from, to, 1))
	if err := os.WriteFile(name, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
	// The server goes by whole seconds: two states of the file within one are the same to it.
	later := info.ModTime().Add(2 * time.Second)
	if err := os.Chtimes(name, later, later); err != nil {
		b.t.Fatal(err)
	}
}

// as is clickHouse with a user.
func as(user, password string) func(name, addr string, terms ...string) sinkText {
	return func(name, addr string, terms ...string) sinkText {
		text := string(clickHouse(name, addr, terms...))
		return sinkText(strings.Replace(text, "create: true",
			fmt.Sprintf("create: true, username: %s, password: %s", user, password), 1))
	}
}

// endure goes through one outage: the source goes on, the backlog grows and is told, the other sink
// gets its rows, delivery goes on by itself, and in the end every row is there once.
func endure(t *testing.T, b *behaviour, o outage, sink func(string, string, ...string) sinkText) {
	t.Helper()
	b.rig = newRig(t, simulator.Options{Seed: 3, Backlog: 200, PageLimit: 50, Holes: 0.01,
		Garbage: 0.002})
	b.proxy = testenv.Proxy(t, b.ch.Addr())
	b.front = newFront(t, b.proxy.Addr())
	b.run(sink("main", b.front.addr(o), "batch: {rows: 2000, every: 50ms}"), b.sqlite("local"))
	if o.atStart {
		o.begin(b)
		b.p = b.up()
	} else {
		b.p = b.up()
		b.drained(b.p)
		o.begin(b)
	}
	b.goesOn(o)
	before, _ := rowCount(b.ch)
	o.end(b)
	ready := time.Now()
	testenv.Until(t, soon, "a row was delivered after the recovery", func() bool {
		n, _ := rowCount(b.ch)
		return n > before
	})
	took := time.Since(ready)
	t.Logf("the first row came %v after the recovery", took.Round(time.Millisecond))
	if most := replayWithin() + o.canary; took > most && !o.slow {
		t.Errorf("the first row came %v after the recovery, want at most %v", took, most)
	}
	b.drained(b.p)
	b.end(b.p)
	want := b.expected()
	compare(t, "clickhouse", clickHouseRows(t, b.ch), want)
	compare(t, "sqlite", b.sqliteRows("local"), want)
	b.balanced()
}

// goesOn checks that spots are taken in and told of while the sink is away.
func (b *behaviour) goesOn(o outage) {
	b.t.Helper()
	for range 3 {
		b.sim.Publish(80)
		good, _ := b.have()
		b.await(b.p, "spots were taken in and brought to the other sink", func(s engine.Status) bool {
			return s.Balance.Accepted == good && sinkOf(s, "local").Pending == 0
		})
	}
	if o.slow {
		return
	}
	s := b.await(b.p, "the outage was noticed", closed("main"))
	if sinkOf(s, "main").Pending < 200 {
		b.t.Errorf("%d rows are pending, want the 200 or more that came during the outage",
			sinkOf(s, "main").Pending)
	}
	var rep desk.Report
	if err := json.Unmarshal([]byte(b.must("status", "--json")), &rep); err != nil {
		b.t.Fatal(err)
	}
	if g := gateOf(rep.Jobs[0], "main"); g.Open || g.Cause == "" || rep.Jobs[0].Backlog.Rows < 200 {
		b.t.Errorf("status --json: gate %+v, backlog %+v", g, rep.Jobs[0].Backlog)
	}
}

// closed reports whether a fault has closed the gate of a sink.
func closed(sink string) func(engine.Status) bool {
	return func(s engine.Status) bool { g := gateOf(s, sink); return !g.Open && g.Kind != "" }
}

func gateOf(s engine.Status, name string) gate.Status {
	for _, g := range s.Gates {
		if g.Name == name {
			return g
		}
	}
	return gate.Status{}
}

// asks is one answer of the server; "0" if it does not answer.
func (b *behaviour) asks(sql string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := b.ch.Try(ctx, sql)
	if err != nil {
		return "0"
	}
	return out
}

func (b *behaviour) toxic(kind, stream string, attrs map[string]any) {
	b.t.Helper()
	b.toxin = kind
	b.proxy.Toxic(b.t, kind, kind, stream, attrs)
}

func (b *behaviour) mendNet() {
	b.t.Helper()
	b.proxy.Remove(b.t, b.toxin)
}

// front is an HTTP proxy that can lie, and counts what it is asked.
type front struct {
	direct  string
	host    string
	asked   atomic.Int64
	falsity atomic.Pointer[falsity]
}

type falsity struct {
	status int
	body   string
}

func newFront(t *testing.T, server string) *front {
	t.Helper()
	f := &front{direct: server}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: server})
	to.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.WriteHeader(http.StatusBadGateway)
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	to.Transport = testenv.ReadFirst{To: transport}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f.asked.Add(1)
		if lie := f.falsity.Load(); lie != nil {
			w.WriteHeader(lie.status)
			_, _ = w.Write([]byte(lie.body))
			return
		}
		to.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	f.host = strings.TrimPrefix(srv.URL, "http://")
	return f
}

// addr is where holdfast finds the server: only for lies does it go through the front.
func (f *front) addr(o outage) string {
	if strings.HasPrefix(o.name, "answering") {
		return f.host
	}
	return f.direct
}

func (f *front) lie(status int, body string) { f.falsity.Store(&falsity{status, body}) }

func (f *front) tellTruth() { f.falsity.Store(nil) }

// TestWrongPasswordIsNoStorm starts holdfast with a wrong password: a person must act, so it is
// told once and the server is left alone, while the source goes on.
func TestWrongPasswordIsNoStorm(t *testing.T) {
	t.Parallel()
	ch := testenv.ClickHouseWith(t, testenv.ClickHouseOptions{
		Users: []testenv.ClickHouseUser{{Name: "wspr", Password: "right"}}})
	r := newRig(t, simulator.Options{Seed: 3, Backlog: 200, PageLimit: 50})
	f := newFront(t, ch.Addr())
	r.run(as("wspr", "wrong")("main", f.host), r.sqlite("local"))
	p := r.up()
	s := r.await(p, "the refusal was noticed", closed("main"))
	if g := gateOf(s, "main"); g.Kind != "credentials" || strings.Contains(g.Cause, "wrong") {
		t.Errorf("the gate says %+v, want credentials and no password", g)
	}
	asked := f.asked.Load()
	for range 20 { // polls, which are 100 ms apart
		r.sim.Publish(10)
		good, _ := r.have()
		r.await(p, "the source goes on", func(s engine.Status) bool { return s.Balance.Accepted == good })
	}
	if n := f.asked.Load() - asked; n > 2 {
		t.Errorf("the server was asked %d times after it had refused the password", n)
	}
	if n := strings.Count(p.Output(), "WARNING: spots: main:"); n != 1 {
		t.Errorf("the log tells of it %d times, want once:\n%s", n, p.Output())
	}
	r.end(p)
	r.run(as("wspr", "right")("main", f.host), r.sqlite("local"))
	p = r.up()
	r.drained(p)
	r.end(p)
	compare(t, "clickhouse", clickHouseRows(t, ch), r.expected())
}

// TestNewestIsNotHeldUp collects a long backlog and then lets a slow server have it: spots that
// come now are delivered soon, and not behind all that is old.
func TestNewestIsNotHeldUp(t *testing.T) {
	t.Parallel()
	ch := testenv.ClickHouse(t)
	proxy := testenv.Proxy(t, ch.Addr())
	r := newRig(t, simulator.Options{Seed: 3, Backlog: 8000, PageLimit: 100})
	proxy.Down()
	r.run(clickHouse("main", proxy.Addr(), "batch: {rows: 100, every: 50ms}"))
	p := r.up()
	good, _ := r.have()
	r.await(p, "the backlog was taken in", func(s engine.Status) bool {
		return s.Balance.Accepted == good && sinkOf(s, "main").Pending == good
	})
	proxy.Toxic(t, "slow", "latency", "downstream", map[string]any{"latency": 100})
	proxy.Up()
	r.await(p, "delivery went on", func(s engine.Status) bool {
		return sinkOf(s, "main").Pending < good
	})
	r.sim.Publish(60)
	newest := fmt.Sprint(r.sim.Newest())
	testenv.Until(t, soon, "the newest spot was delivered", func() bool {
		return ch.Query(t, "SELECT count() FROM wsprnet.spots WHERE id = "+newest) == "1"
	})
	s, ok := r.status()
	if left := sinkOf(s, "main").Pending; !ok || left < good/2 {
		t.Errorf("when the newest spot was delivered %d of %d old rows were left, want most", left, good)
	}
	proxy.Remove(t, "slow")
	r.drained(p)
	r.end(p)
	compare(t, "clickhouse", clickHouseRows(t, ch), r.expected())
	r.balanced()
}
