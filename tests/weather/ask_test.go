package weather

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"
)

// held is who has an extreme in an answer of the API, and what it is.
type held struct {
	Zip   string  `json:"zip_code"`
	State string  `json:"state"`
	Value float64 `json:"value"`
}

// extremes is an answer of /extremes and /state_extremes: by field.
type extremes struct {
	Max, Min map[string]held
}

// askAll asks the API of the reports for each state and each hour, and compares the answers with the data set.
func (s *station) askAll() {
	s.t.Helper()
	api, want := s.roles[server], s.expected()
	if status, _, body := api.get("/"); status != 200 || body != "online" {
		s.t.Errorf("/: got %d %q, want online", status, body)
	}
	for _, path := range []string{"/avg?state=State+01", "/extremes?hour=1", "/state_extremes", "/avg?state=State+01&hour=24"} {
		if status, _, body := api.get(path); status != 400 {
			s.t.Errorf("%s: got %d %s, want 400", path, status, body)
		}
	}
	for _, path := range []string{"/avg?state=Nowhere&hour=1", "/extremes?hour=1&state=x'+OR+'1'%3D'1"} {
		if status, _, body := api.get(path); status != 404 {
			s.t.Errorf("%s: got %d %s, want 404", path, status, body)
		}
	}
	for _, at := range want.hours {
		s.askStates(want, at)
		for i := range 50 {
			if (at.Hour()+i)%6 == 0 { // a sixth of all, of every state and every hour
				s.askState(want, stateOf(i), at)
			}
		}
	}
	status, _, body := api.get("/api/v1/reports?table=" + averagesTable + "&limit=100000")
	if n := strings.Count(body, `"avg_temp_c"`); status != 200 || n != len(want.averages) {
		s.t.Errorf("/api/v1/reports: got %d and %d averages, want %d", status, n, len(want.averages))
	}
}

// askState asks for the averages and the extremes of one state in one hour.
func (s *station) askState(want *expected, state string, at time.Time) {
	s.t.Helper()
	query := url.Values{"state": {state}, "hour": {fmt.Sprint(at.Hour())}}.Encode()
	var got record
	if !s.answer("/avg?"+query, &got) {
		return
	}
	averages := want.averages[place("", state, at)]
	for _, field := range measured {
		g, _ := got["avg_"+field].(float64)
		if w := averages["avg_"+field].(float64); !near(g, w) {
			s.t.Errorf("/avg?%s: %s is %v, want %v", query, field, g, w)
		}
	}
	var tops extremes
	if !s.answer("/extremes?"+query, &tops) {
		return
	}
	high, low := map[string]held{}, map[string]held{}
	for key, row := range want.extremes {
		if !strings.HasSuffix(key, "|"+state+"|"+at.Format(time.RFC3339Nano)) {
			continue
		}
		for _, field := range measured {
			if v, ok := row["max_"+field].(float64); ok {
				high[field] = held{Zip: row["zip_code"].(string), Value: v}
			}
			if v, ok := row["min_"+field].(float64); ok {
				low[field] = held{Zip: row["zip_code"].(string), Value: v}
			}
		}
	}
	compare(s.t, "/extremes?"+query, tops, high, low)
}

// askStates asks which states have the extremes of an hour.
func (s *station) askStates(want *expected, at time.Time) {
	s.t.Helper()
	path := fmt.Sprintf("/state_extremes?hour=%02d", at.Hour())
	var tops extremes
	if !s.answer(path, &tops) {
		return
	}
	high, low := map[string]held{}, map[string]held{}
	for key, row := range want.averages {
		if !strings.HasSuffix(key, "|"+at.Format(time.RFC3339Nano)) {
			continue
		}
		state := row["state"].(string)
		for _, field := range measured {
			v := row["avg_"+field].(float64)
			if x, ok := high[field]; !ok || v > x.Value || v == x.Value && state < x.State {
				high[field] = held{State: state, Value: v}
			}
			if x, ok := low[field]; !ok || v < x.Value || v == x.Value && state < x.State {
				low[field] = held{State: state, Value: v}
			}
		}
	}
	compare(s.t, path, tops, high, low)
}

func compare(t testing.TB, path string, got extremes, high, low map[string]held) {
	t.Helper()
	for _, field := range measured {
		for side, x := range map[string][2]held{"max": {got.Max[field], high[field]}, "min": {got.Min[field], low[field]}} {
			g, w := x[0], x[1]
			if g.Zip != w.Zip || g.State != w.State && !near(g.Value, w.Value) || !near(g.Value, w.Value) {
				t.Errorf("%s: the %s of %s is %+v, want %+v", path, side, field, g, w)
			}
		}
	}
	if len(got.Max) != len(measured) || len(got.Min) != len(measured) {
		t.Errorf("%s: got %d and %d fields, want %d", path, len(got.Max), len(got.Min), len(measured))
	}
}

// near reports whether two means are the same: within 1e-9 of each other, or both nothing but what adding up floats
// leaves of a sum that is 0.
func near(a, b float64) bool {
	return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) || math.Abs(a-b) < 1e-14
}

// answer asks the API for a JSON; ok is false if it says anything but 200.
func (s *station) answer(path string, into any) (ok bool) {
	s.t.Helper()
	status, _, body := s.roles[server].get(path)
	if err := json.Unmarshal([]byte(body), into); status != 200 || err != nil {
		s.t.Errorf("%s: got %d %s %v", path, status, body, err)
		return false
	}
	return true
}
