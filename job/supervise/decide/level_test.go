package decide

import (
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/connector"
)

// look is one look at a value; NaN is none.
type look struct {
	at    time.Duration
	value float64
}

// fires goes through all looks anew, and says at which a bound with hysteresis has held for so long for the first time.
func fires(all []look, above, until float64, hold time.Duration) (at []int) {
	for i := range all {
		if math.IsNaN(all[i].value) {
			continue
		}
		since, over := time.Duration(-1), false
		for j := 0; j <= i; j++ { // where the span of i begins, and whether an earlier look of it was long enough already
			v := all[j].value
			switch {
			case math.IsNaN(v):
			case since < 0 && v > above:
				since, over = all[j].at, hold == 0 && j < i
			case since >= 0 && v <= until:
				since, over = -1, false
			case since >= 0 && j < i && all[j].at-since >= hold:
				over = true
			}
		}
		if since >= 0 && !over && all[i].at-since >= hold {
			at = append(at, i)
		}
	}
	return at
}

func TestBoundsAreThoseOfTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		above := float64(rapid.IntRange(3, 6).Draw(t, "above"))
		until := float64(rapid.IntRange(1, int(above)).Draw(t, "until"))
		hold := seconds(0, 25).Draw(t, "for")
		text := "rules: [{name: r, from: {prometheus: {query: q}}, when: {above: %v, until: %v, for: %v}, do: {notify: ops}}]"
		set := parse(t, fmt.Sprintf(text, above, until, hold))
		store, m, passed := keptStates{}, New(set), time.Duration(0)
		now := begin
		var all []look
		var got []int
		for i, v := range rapid.SliceOfN(rapid.IntRange(-1, 8), 1, 40).Draw(t, "values") {
			d := seconds(-5, 15).Draw(t, "pass")
			now, passed = now.Add(d), passed+max(0, d)
			e := &connector.Event{Kind: connector.EventLook, ID: strconv.Itoa(i), Time: now}
			l := look{passed, math.NaN()}
			if v >= 0 {
				l.value = float64(v)
				e.Samples = []connector.Sample{{Value: l.value}}
			}
			all = append(all, l)
			out := m.Tick(now)
			out.Decisions = append(out.Decisions, m.Step(set.Sources[0].ID, e, now).Decisions...)
			for _, d := range out.Decisions {
				if d.Outcome == Acted {
					got = append(got, i)
				}
			}
			store.commit(m)
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				m = store.restart(t, set)
			}
		}
		if want := fires(all, above, until, hold); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("above %v until %v for %v, %v:\n got %v\nwant %v", above, until, hold, all, got, want)
		}
	})
}
