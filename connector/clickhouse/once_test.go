package clickhouse

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// deliverThrough writes as a job does, again and again until it succeeds.
func deliverThrough(t *testing.T, s *Sink, d connector.Delivery) connector.Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		v, err := s.Write(ctx, d)
		if err == nil {
			return v
		}
		if k := fault.KindOf(err); k != fault.Transient && k != fault.Throttled || ctx.Err() != nil {
			t.Fatalf("write: kind %v: %v", k, err)
		}
		d.Unknown = true
		time.Sleep(20 * time.Millisecond)
	}
}

// onceEach fails unless the table has n rows with n different keys.
func onceEach(t *testing.T, ch *testenv.ClickHouseServer, n int) {
	t.Helper()
	want := fmt.Sprintf("%d\t%d", n, n)
	if got := ch.Query(t, "SELECT count(), uniqExact(id) FROM wsprnet.spots"); got != want {
		t.Fatalf("rows and keys: got %s, want %s", got, want)
	}
}

// TestFrozenInsert freezes the server at a random moment of an insert, lets the sink give it up,
// thaws the server, and delivers again.
func TestFrozenInsert(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
		s := open(t, ch.URL(), func(c *Config) { c.Timeout = time.Second })
		prepare(t, s)
		const rows = 10_000
		doubled, given := 0, 0
		trials := testenv.Count(t, 60)
		for i := range trials {
			d := delivery(t, uint64(i+1), spotBatch(uint64(1+i*rows), noon, rows))
			pause := time.Duration(r.Int64N(int64(40 * time.Millisecond)))
			var frozen sync.WaitGroup
			frozen.Go(func() {
				time.Sleep(pause)
				ch.Freeze()
			})
			_, err := s.Write(soon(t), d)
			frozen.Wait()
			ch.Thaw()
			if err != nil {
				given++
				d.Unknown = true
			}
			deliverThrough(t, s, d)
			if n := ch.Query(t, fmt.Sprintf("SELECT count() FROM wsprnet.spots WHERE id >= %d", 1+i*rows)); n !=
				fmt.Sprint(rows) {
				doubled++
				t.Errorf("frozen after %v: got %s rows of %d (%v)", pause, n, rows, err)
			}
		}
		t.Logf("%d inserts given up of %d, %d doubled", given, trials, doubled)
	})
}

// TestKilledServer ends the server at a random moment of an insert, with kill -9.
func TestKilledServer(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		r := rand.New(rand.NewPCG(testenv.Seed(t), 0))
		s := open(t, ch.URL(), func(c *Config) { c.Timeout = 5 * time.Second })
		prepare(t, s)
		const rows = 30_000
		trials := testenv.Count(t, 30)
		for i := range trials {
			d := delivery(t, uint64(i+1), spotsOf(rows, func(k int) (uint64, int64) {
				return uint64(1 + i*rows + k), noon + int64(k%3)*31*86400 // three months, three inserts
			}))
			pause := time.Duration(r.Int64N(int64(120 * time.Millisecond)))
			var killed sync.WaitGroup
			killed.Go(func() {
				time.Sleep(pause)
				ch.Kill()
			})
			_, err := s.Write(soon(t), d)
			killed.Wait()
			ch.Restart()
			if err != nil {
				d.Unknown = true
			}
			deliverThrough(t, s, d)
		}
		onceEach(t, ch, trials*rows)
	})
}

// TestFrozenServerGetsNothing abandons inserts while the server stands still. Their bytes wait in
// its receive buffers; but without the end, which is held back, none of them is executed. (With the
// end sent at once, one of them is, every time.)
func TestFrozenServerGetsNothing(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL(), func(c *Config) { c.Timeout = 300 * time.Millisecond })
		prepare(t, s)
		s.client.closeIdle() // the next connections are taken up only after the thaw
		ch.Freeze()
		d := delivery(t, 1, spotBatch(1, noon, 2000))
		for range 3 {
			_, err := s.Write(soon(t), d)
			wantFault(t, "write to a frozen server", err, fault.Transient, "silent")
			s.tried = recent{} // each time as if it were the first
		}
		ch.Thaw()
		testenv.Until(t, 10*time.Second, "an answer", func() bool { return ch.Ping() == nil })
		for range 20 {
			time.Sleep(20 * time.Millisecond)
			if n := ch.Query(t, "SELECT count() FROM wsprnet.spots"); n != "0" {
				t.Fatalf("abandoned inserts: got %s rows in the table, want none", n)
			}
		}
		d.Unknown = true
		deliverThrough(t, s, d)
		onceEach(t, ch, 2000)
	})
}

// TestLostAnswers loses the answer to inserts that were executed.
func TestLostAnswers(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		p := newLossy(t, ch.Addr())
		s := open(t, "http://"+p.addr)
		prepare(t, s)
		for i := range 5 {
			d := delivery(t, uint64(i+1), spotBatch(uint64(1+i*1000), noon, 1000))
			p.lose.Store(true)
			_, err := s.Write(soon(t), d)
			wantFault(t, "write", err, fault.Transient, "EOF")
			d.Unknown = true
			if v := deliverThrough(t, s, d); v.Present != 1000 {
				t.Errorf("verdict: got %d present, want 1000", v.Present)
			}
		}
		onceEach(t, ch, 5000)
	})
}

// TestResetDuringInsert breaks the connection after every so many bytes of the request.
func TestResetDuringInsert(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		p := testenv.Proxy(t, ch.Addr())
		s := open(t, "http://"+p.Addr())
		prepare(t, s)
		const rows = 3000
		cuts := []int{0, 1, 700, 2000, 10_000, 30_000, 45_000, 60_000}
		for i, cut := range cuts {
			d := delivery(t, uint64(i+1), spotBatch(uint64(1+i*rows), noon, rows))
			s.client.closeIdle()
			p.Toxic(t, "cut", "limit_data", "upstream", map[string]any{"bytes": cut})
			_, err := s.Write(soon(t), d)
			p.Remove(t, "cut")
			t.Logf("cut after %d bytes: %v", cut, err)
			d.Unknown = err != nil
			deliverThrough(t, s, d)
		}
		onceEach(t, ch, rows*len(cuts))
	})
}

// TestFence keeps an earlier attempt alive in the server: nothing is compared, and nothing sent, until
// it is gone.
func TestFence(t *testing.T) {
	ch := testenv.ClickHouse(t)
	s := open(t, ch.URL(), func(c *Config) { c.Timeout = time.Second })
	prepare(t, s)
	d := delivery(t, 1, spotBatch(1, noon, 50_000))
	w := &writing{s: s, srv: s.server, tab: s.table, m: s.schema, d: d, token: d.Token.String()}
	id := w.queryID(w.split()[0])

	earlier, err := net.Dial("tcp", ch.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = earlier.Close() }()
	q := url.Values{"query": {s.schema.insertInto(s.table.name)}, "query_id": {id}}
	// The server shows an insert as soon as it has read one buffer, 1 MiB, of its body.
	some := make([]byte, 2<<20)
	copy(some, "\x14\xc0\x84\x3d\x02id\x06UInt64") // 20 columns, a million rows, a part of the first
	_, err = fmt.Fprintf(earlier, "POST /?%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
		q.Encode(), 16<<20, some)
	if err != nil {
		t.Fatal(err)
	}
	running := func() string {
		return ch.Query(t, "SELECT count() FROM system.processes WHERE query_id = '"+id+"'")
	}
	testenv.Until(t, 10*time.Second, "the earlier attempt runs", func() bool { return running() == "1" })
	d.Unknown = true
	_, err = s.Write(soon(t), d)
	wantFault(t, "write beside an earlier attempt", err, fault.Transient, "still runs", id)
	if n := ch.Query(t, "SELECT count() FROM wsprnet.spots"); n != "0" {
		t.Errorf("behind the fence: got %s rows, want none", n)
	}
	_ = earlier.Close()
	deliverThrough(t, s, d)
	onceEach(t, ch, 50_000)
}

// TestNoContinue writes through something that never says "100 Continue".
func TestNoContinue(t *testing.T) {
	ch := testenv.ClickHouse(t)
	p := newLossy(t, ch.Addr())
	p.deaf.Store(true)
	s := open(t, "http://"+p.addr, func(c *Config) { c.Timeout = time.Second })
	prepare(t, s)
	write(t, s, delivery(t, 1, spotBatch(1, noon, 1000)))
	onceEach(t, ch, 1000)
	p.deaf.Store(false)
	prepare(t, s)
	if !s.server.expects {
		t.Error("the server says 100 Continue, and that was not learnt")
	}
}
