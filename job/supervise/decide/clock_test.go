package decide

import (
	"testing"
	"time"
	"unsafe"
)

// jumped is a time that the clock on the wall shows when it was set by a while, forward or back, and no time has gone by:
// that of the clock that nobody sets, which a time.Time has beside it, is the same.
func jumped(t *testing.T, now time.Time, by time.Duration) time.Time {
	t.Helper()
	set := now
	wall := (*uint64)(unsafe.Pointer(&set)) // a bit that says that there are two clocks, 33 of seconds, 30 of nanoseconds
	*wall += uint64(int64(by/time.Second)) << 30
	if set.Sub(now) != 0 || set.Round(0).Sub(now.Round(0)) != by {
		t.Skip("this Go keeps its times otherwise")
	}
	return set
}

const year = 365 * 24 * time.Hour

// A clock that is set by a year, as on a machine without one of its own that hears the time from the network, ends nothing
// that has not ended, and begins nothing.
func TestAClockThatIsSetByAYear(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": year, "back": -year} {
		t.Run(name, func(t *testing.T) {
			p := newProbe(t, `
rules:
  - {name: quiet, from: {journal: {unit: a.service}}, match: beat, when: {no_data: 5m}, do: {notify: ops}}
  - {name: cool, from: {journal: {unit: a.service}}, match: hit, cooldown: {for: 10m, trailing: true}, limit: {max: 2, within: 1h}, do: {notify: ops}}
  - {name: without, from: {journal: {unit: a.service}}, match: stop, when: {without: {match: start}, within: 10m}, do: {notify: ops}}
  - {name: heal, from: {journal: {unit: a.service}}, match: ill, do: {notify: ops}, heal: {expect: well, within: 10m, else: [{notify: dev}]}}
  - {name: count, from: {journal: {unit: a.service}}, match: third, when: {count: 3, within: 10m}, do: {notify: ops}}`)
			p.now = time.Now()
			for _, line := range []string{"beat", "hit", "hit", "stop", "ill", "third", "third"} {
				p.line(line, time.Second)
			}
			if _, err := p.m.Silence(SilenceOf{Rule: "quiet", Until: p.now.Add(time.Hour), Reason: "x"}, p.now); err != nil {
				t.Fatal(err)
			}
			p.now = jumped(t, p.now.Add(time.Second), by)
			if out := p.m.Tick(p.now); len(out.Decisions)+len(out.Silences) != 0 {
				t.Fatalf("it was set by %v, and there followed %+v", by, out)
			}
			if got := acted(p.line("third", time.Second)); got != "count" {
				t.Errorf("%q acted, want count: the third within ten minutes", got)
			}
			if out := p.line("hit", time.Second); out.Decisions[0].Outcome != Cooldown {
				t.Errorf("got %+v", out.Decisions)
			}
			// What is due comes when it is.
			var all []string
			p.now = p.now.Add(11 * time.Minute)
			for _, d := range p.m.Tick(p.now).Decisions {
				all = append(all, d.Rule+" "+d.Outcome.String())
			}
			want := map[string]bool{"quiet silence": true, "cool acted": true, "without acted": true, "heal acted": true}
			for _, got := range all {
				delete(want, got)
			}
			if len(want) > 0 || len(all) != 4 {
				t.Errorf("after eleven minutes came %v", all)
			}
			// A restart goes on from there.
			c, err := p.m.Copy()
			if err != nil {
				t.Fatal(err)
			}
			p.m = c
			p.m.Tick(p.now)
			if out := p.line("hit", time.Second); out.Decisions[0].Outcome != Cooldown {
				t.Errorf("got %+v", out.Decisions)
			}
		})
	}
}
