package whole

import (
	"testing"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// TestGoingBack restores an old checkpoint while the sinks hold newer rows, twice, and then starts
// with a new data directory: nothing is in a sink twice, and nothing is missing.
func TestGoingBack(t *testing.T) {
	t.Parallel()
	old, modern := testenv.ClickHouse(t), testenv.ModernClickHouse(t)
	r := newRig(t, simulator.Options{Seed: 11, Backlog: 300, PageLimit: 40, Holes: 0.02})
	r.run(clickHouse("old", old.Addr(), "batch: {rows: 150, every: 30ms}"),
		clickHouse("modern", modern.Addr(), "batch: {rows: 150, every: 30ms}"), r.sqlite("local"))
	exact := func(what string) {
		t.Helper()
		want := r.expected()
		compare(t, what+": old clickhouse", clickHouseRows(t, old), want)
		compare(t, what+": modern clickhouse", clickHouseRows(t, modern), want)
		compare(t, what+": sqlite", r.sqliteRows("local"), want)
		r.balanced()
	}
	p := r.up()
	r.drained(p)
	r.must("checkpoint", "create", "--name", "then")
	r.sim.Publish(400)
	r.drained(p)
	r.end(p)
	exact("before")

	r.must("checkpoint", "restore", "then")
	r.sim.Publish(100)
	p = r.up()
	r.drained(p)
	r.end(p)
	exact("restored")

	// The same once more, with one sink away at first and holdfast killed on the way.
	r.must("checkpoint", "restore", "then")
	r.sim.Publish(100)
	old.Kill()
	p = r.up()
	r.await(p, "all was taken in while one sink was away", func(s engine.Status) bool {
		good, _ := r.have()
		return s.Balance.Accepted == good && closed("old")(s)
	})
	p.Kill()
	old.Restart()
	p = r.up()
	r.drained(p)
	r.end(p)
	exact("restored again")

	// And once more while it runs.
	p = r.up()
	r.must("checkpoint", "restore", "then")
	r.sim.Publish(100)
	r.drained(p)
	r.end(p)
	exact("restored while it ran")

	// A new data directory goes on behind what the sinks hold.
	held := r.sim.Newest()
	r.data = r.path("new")
	r.sim.Publish(100)
	p = r.up()
	var fresh int64
	for range r.sim.Expected(held+1, r.sim.Newest()) {
		fresh++
	}
	s := r.await(p, "the new spots were delivered", func(s engine.Status) bool {
		return s.Balance.Accepted >= fresh && s.Backlog.Rows == 0
	})
	if s.Balance.Read != fresh {
		t.Errorf("%d spots were read, want the %d that no sink had", s.Balance.Read, fresh)
	}
	r.end(p)
	exact("new data directory")
}

// TestOtherBlocksAfterARestore goes back behind deliveries whose blocks the restored store cuts
// in another way than before: not tokens but keys must tell what is there.
func TestOtherBlocksAfterARestore(t *testing.T) {
	t.Parallel()
	old, modern := testenv.ClickHouse(t), testenv.ModernClickHouse(t)
	r := newRig(t, simulator.Options{Seed: 12, Backlog: 50, PageLimit: 30})
	sinks := func(rows string) {
		r.run(clickHouse("old", old.Addr(), "batch: {rows: "+rows+", every: 30ms}"),
			clickHouse("modern", modern.Addr(), "batch: {rows: "+rows+", every: 30ms}"),
			r.sqlite("local", "batch: {rows: "+rows+", every: 30ms}"))
	}
	sinks("45")
	p := r.up()
	r.drained(p)
	r.must("checkpoint", "create", "--name", "then")
	for range 4 {
		r.sim.Publish(17) // a block of its own
		r.drained(p)
	}
	r.end(p)
	r.must("checkpoint", "restore", "then")
	sinks("1000")
	p = r.up()
	r.drained(p)
	r.end(p)
	want := r.expected()
	compare(t, "old clickhouse", clickHouseRows(t, old), want)
	compare(t, "modern clickhouse", clickHouseRows(t, modern), want)
	compare(t, "sqlite", r.sqliteRows("local"), want)
	r.balanced()
}
