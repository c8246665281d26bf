package whole

import (
	"strings"
	"testing"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// TestForgottenSinkExpires leaves a sink down whose backlog has a limit: its oldest rows expire,
// counted and told, the other sink gets everything at once, and when it is back it gets the rest.
func TestForgottenSinkExpires(t *testing.T) {
	t.Parallel()
	ch := testenv.ClickHouse(t)
	r := newRig(t, simulator.Options{Seed: 4, Backlog: 100, PageLimit: 50})
	r.run(clickHouse("main", ch.Addr(), "limit: 16KiB", "policy: expire", "batch: {every: 50ms}"),
		r.sqlite("local"))
	p := r.up()
	r.drained(p)
	ch.Stop()
	for range 20 {
		r.sim.Publish(200)
		good, _ := r.have()
		r.await(p, "the other sink got all", func(s engine.Status) bool {
			return s.Balance.Accepted == good && sinkOf(s, "local").Pending == 0
		})
	}
	s, _ := r.status()
	main := sinkOf(s, "main")
	if main.Expired == 0 || main.Pending == 0 || main.Expired+main.Pending+main.Delivered != 4100 {
		t.Errorf("the books of the sink that is away: %+v, want 4100 rows, some expired", main.Flow)
	}
	if main.PendingBytes > 24<<10 {
		t.Errorf("its backlog has %d bytes, the limit is 16 KiB", main.PendingBytes)
	}
	events := strings.Join(strings.Fields(r.must("events", "-n", "1000")), " ")
	if !strings.Contains(events, "rows expired, its backlog limit was reached") {
		t.Errorf("the history does not tell that rows expired:\n%s", events)
	}
	if a := r.audit(false); !a.Balanced || a.Jobs[0].GapSums.Lost != main.Expired {
		t.Errorf("audit: balanced %v, %+v; want %d rows lost in gaps", a.Balanced, a.Jobs[0].GapSums,
			main.Expired)
	}
	ch.Restart()
	r.await(p, "the rest was delivered", func(s engine.Status) bool {
		return sinkOf(s, "main").Pending == 0
	})
	r.end(p)
	compare(t, "sqlite", r.sqliteRows("local"), r.expected())
	rows, ids := rowCount(ch)
	if want := 4100 - main.Expired; rows != want || ids != want {
		t.Errorf("the table has %d rows and %d ids, want %d of each", rows, ids, want)
	}
	c := deepOf(t, r.audit(true), "main")
	if c.Missing != 0 || c.Doubled != 0 || c.Excused != main.Expired || c.Error != "" {
		t.Errorf("audit --deep: %+v, want %d excused", c, main.Expired)
	}
}

// TestForgottenSinkHolds is the other policy: the intake waits, and nothing is lost.
func TestForgottenSinkHolds(t *testing.T) {
	t.Parallel()
	ch := testenv.ClickHouse(t)
	r := newRig(t, simulator.Options{Seed: 4, Backlog: 100, PageLimit: 50})
	r.run(clickHouse("main", ch.Addr(), "limit: 16KiB", "policy: hold", "batch: {every: 50ms}"))
	p := r.up()
	r.drained(p)
	ch.Stop()
	r.sim.Publish(4000)
	p.WaitFor(t, "intake waits", soon)
	s, _ := r.status()
	if held := sinkOf(s, "main"); held.Pending == 0 || held.PendingBytes > 24<<10 {
		t.Errorf("the backlog when the intake waits: %+v, the limit is 16 KiB", held.Flow)
	}
	ch.Restart()
	r.drained(p)
	r.end(p)
	compare(t, "clickhouse", clickHouseRows(t, ch), r.expected())
	r.balanced()
}
