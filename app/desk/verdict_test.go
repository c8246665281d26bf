package desk

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
)

// Each kind of trouble is told in its place, once however many jobs have it, and all data directories together.
func TestJudge(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if v := Judge(Report{Jobs: []engine.Status{{Name: "a", State: engine.Running}}}, now); v.Loss != "Nothing is lost." || v.Flow != "Everything flows." {
		t.Errorf("got %+v of a calm job", v)
	} else if b, err := json.Marshal(v); err != nil || strings.Contains(string(b), "null") {
		t.Errorf("got %s, %v", b, err)
	}
	away := []gate.Status{{Name: "broker", Since: now.Add(-3 * time.Minute), Cause: "refused"}, {Name: "fine", Open: true}}
	a := engine.Status{Name: "a", State: engine.Running, Gates: away, Backlog: engine.Backlog{Rows: 1234, Seconds: 180}}
	a.Balance.GapSums.Lost = 1
	b := engine.Status{Name: "b", State: engine.BackOff, Since: now.Add(-time.Hour), Error: "no", Gates: away}
	c := engine.Status{Name: "c", State: engine.Paused, Since: now.Add(-72 * time.Hour)}
	one := Judge(Report{Jobs: []engine.Status{a, b, c}, Letters: map[string]int64{"c": 1}, Notices: []string{"the disk is short"}}, now)
	text := func(list []Finding) string {
		var all []string
		for _, f := range list {
			all = append(all, f.String())
		}
		return strings.Join(all, "\n")
	}
	for got, want := range map[string]string{
		one.Loss + " " + one.Flow: "Something is lost. 2 things are down.",
		text(one.Lost):            "a: 1 row lost to damage, a limit or overload",
		text(one.Down):            "a, b: broker is away for 3 min: refused\nb: restarting for 1 h: no",
		text(one.Late):            "a: 1,234 wait, the oldest for 3 min",
		text(one.Attention):       "c: 1 dead letter: see `holdfast dead ls c`\nc: paused for 3 days\nthe disk is short",
	} {
		if got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	d := engine.Status{Name: "d", State: engine.Running, Gates: away[:1]}
	later := []gate.Status{{Name: "broker", Since: now.Add(-2 * time.Minute), Cause: "refused"}}
	if v := Judge(Report{Jobs: []engine.Status{d, {Name: "e", State: engine.Running, Gates: later}}}, now); v.Flow != "One thing is down." {
		t.Errorf("two jobs find out one after the other: got %+v", v)
	}
	still := Judge(Report{Jobs: []engine.Status{c, {Name: "e", State: engine.Running}}}, now)
	if still.Flow != "One job is paused." || still.And(still).Flow != "2 jobs are paused." {
		t.Errorf("paused: got %+v", still)
	}
	a.Acknowledged = &engine.Acknowledged{Loss: engine.Loss{Lost: 1}}
	if v := Judge(Report{Jobs: []engine.Status{a}}, now); v.Loss != "Nothing is lost." || len(v.Lost) > 0 {
		t.Errorf("acknowledged: got %+v", v)
	}
	a.Balance.GapSums.Lost = 3
	if v := Judge(Report{Jobs: []engine.Status{a}}, now); text(v.Lost) != "a: 2 rows lost to damage, a limit or overload" {
		t.Errorf("lost since: got %+v", v)
	}
	w := engine.Status{Name: "w", State: engine.Running}
	w.Balance.GapSums.Lost, w.Balance.Sinks = 5, []engine.SinkBooks{{Sink: "main", Flow: balance.Flow{Expired: 5}}}
	x := engine.Status{Name: "x", State: engine.Running, Backlog: engine.Backlog{Rows: 1, Seconds: 100}}
	x.Balance.Sinks = []engine.SinkBooks{{Sink: "broker", Flow: balance.Flow{Expired: 2}}}
	y := engine.Status{Name: "y", State: engine.Running, Backlog: engine.Backlog{Rows: 1, Seconds: 100}}
	v := Judge(Report{Jobs: []engine.Status{w, x, y}}, now)
	if got := text(v.Lost); got != "w: 5 rows lost to damage, a limit or overload\nx: 2 rows expired before broker got them" || v.Flow != "2 jobs are late." {
		t.Errorf("got %s; %s", got, v.Flow)
	}
	if v := Judge(Report{ShortSince: now.Add(-time.Hour)}, now); v.Flow != "One thing is down." {
		t.Errorf("a short disk: got %+v", v)
	}
	both := one.And(Judge(Report{Jobs: []engine.Status{d}}, now))
	if got := text(both.Down); !strings.HasPrefix(got, "a, b, d: broker") || both.Flow != one.Flow || text(one.Down) == got {
		t.Errorf("got %s, %s", both.Flow, got)
	}
}
