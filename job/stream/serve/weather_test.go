package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/stream/report"
)

// TestWeather: the answers of the routes of WeatherVane, to the byte.
func TestWeather(t *testing.T) {
	r := start(t, Config{Tables: weather(t).tables()}).opened()
	for path, want := range map[string]string{
		"/avg?state=Texas&hour=7": `{"state":"Texas","hour":"07","time":"2023-09-20T07:00:00Z","complete":true,"lost":0,` +
			`"revision":1,"avg_temp_c":31,"avg_pressure_mb":969,"avg_humidity":50.5,"avg_precip_mm":null}`,
		"/avg?state=Alaska&hour=07": `{"state":"Alaska","hour":"07","time":"2023-09-20T07:00:00Z","complete":false,` +
			`"lost":500,"revision":2,"avg_temp_c":3,"avg_pressure_mb":997,"avg_humidity":50.5,"avg_precip_mm":null}`,
		"/avg?hour=7&date=2023-09-19&state=Alaska": `{"state":"Alaska","hour":"07","time":"2023-09-19T07:00:00Z",` +
			`"complete":true,"lost":0,"revision":1,"avg_temp_c":1.5,"avg_pressure_mb":998.5,"avg_humidity":50.5,` +
			`"avg_precip_mm":null}`,
		"/avg?state=Alaska&hour=23": `{"state":"Alaska","hour":"23","time":"2023-09-19T23:00:00Z","complete":true,` +
			`"lost":0,"revision":1,"avg_temp_c":-1,"avg_pressure_mb":1001,"avg_humidity":50.5,"avg_precip_mm":null}`,
		"/avg?state=Alaska&hour=0&date=2023-09-19": `{"state":"Alaska","hour":"00","time":"2023-09-19T00:00:00Z",` +
			`"complete":true,"lost":0,"revision":1,"avg_temp_c":0,"avg_pressure_mb":1000,"avg_humidity":50.5,` +
			`"avg_precip_mm":null}`,
		"/extremes?state=Alaska&hour=7": `{"max":{"temp_c":{"zip_code":"99501","value":9.5},` +
			`"pressure_mb":{"zip_code":"99603","value":1020.5},"humidity":{"zip_code":"99950","value":99},` +
			`"precip_mm":{"zip_code":"99950","value":2.5}},"min":{"temp_c":{"zip_code":"99950","value":-4},` +
			`"pressure_mb":{"zip_code":"99603","value":990},"humidity":{"zip_code":"99501","value":10},` +
			`"precip_mm":{"zip_code":"99501","value":0}}}`,
		"/extremes?state=Texas&hour=07&date=2023-09-19": `{"max":{"temp_c":{"zip_code":"00501","value":40}},` +
			`"min":{"temp_c":{"zip_code":"00501","value":20}}}`,
		"/state_extremes?hour=7": `{"max":{"temp_c":{"state":"Texas","value":31},` +
			`"pressure_mb":{"state":"Alaska","value":997},"humidity":{"state":"Alaska","value":50.5}},` +
			`"min":{"temp_c":{"state":"Alaska","value":3},"pressure_mb":{"state":"Texas","value":969},` +
			`"humidity":{"state":"Alaska","value":50.5}}}`,
		"/state_extremes?hour=07&date=2023-09-19": `{"max":{"temp_c":{"state":"Texas","value":30},` +
			`"pressure_mb":{"state":"Alaska","value":998.5},"humidity":{"state":"Alaska","value":50.5}},` +
			`"min":{"temp_c":{"state":"Alaska","value":1.5},"pressure_mb":{"state":"Texas","value":970},` +
			`"humidity":{"state":"Alaska","value":50.5}}}`,
	} {
		s := r.wants(path, 200)
		if s.body != want+"\n" {
			t.Errorf("%s: got\n%swant\n%s", path, s.body, want)
		}
		if s.header.Get("Content-Type") != jsonType || s.header.Get(windowHeader) == "" {
			t.Errorf("%s: got %v", path, s.header)
		}
	}
	for path, want := range map[string][4]string{
		"/avg?state=Alaska&hour=7":      {"2023-09-20T07:00:00Z", "2", "false", "500"},
		"/state_extremes?hour=7":        {"2023-09-20T07:00:00Z", "2", "false", "500"},
		"/extremes?state=Alaska&hour=7": {"2023-09-19T07:00:00Z", "1", "true", "0"},
	} {
		s := r.get(path)
		for i, name := range []string{windowHeader, revisionHeader, completeHeader, lostHeader} {
			if s.header.Get(name) != want[i] {
				t.Errorf("%s: %s is %q, want %q", path, name, s.header.Get(name), want[i])
			}
		}
	}
}

// TestNoReport: 404 says for what there is nothing, and a text that means something elsewhere is a text.
func TestNoReport(t *testing.T) {
	r := start(t, Config{Tables: weather(t).tables()}).opened()
	for _, c := range []struct {
		path  string
		words []string
	}{
		{"/avg?state=Ohio&hour=7", []string{`hour 07`, `state \"Ohio\"`, "weather_averages"}},
		{"/avg?state=Alaska&hour=9", []string{"hour 09"}},
		{"/avg?state=Alaska&hour=7&date=2023-09-21", []string{"on 2023-09-21"}},
		{"/avg?state=alaska&hour=7", nil},
		{"/avg?state=Alask%25&hour=7", nil},
		{"/extremes?state=New+York&hour=7", []string{"zip_code_extremes"}},
		{"/extremes?state=Alaska&hour=7&date=2023-09-20", nil},
		{"/state_extremes?hour=9", []string{"no report of hour 09"}},
		{"/state_extremes?hour=7&date=2024-02-29", nil},
	} {
		s := r.wants(c.path, 404, c.words...)
		if f := s.failure(t); f.Kind != "not found" || f.Hint == "" || f.Age != nil {
			t.Errorf("%s: got %+v", c.path, f)
		}
	}
	for _, state := range []string{"x' OR 1=1", "x' OR 1=1 --", `x" OR 1=1`, "'; DROP TABLE weather_averages; --", "%", "_",
		"*", "/.*/", "$state", "?", `a\`, `\'`, "\x00", "Alaska\x00", "a\nb", "\xff\xfe", "日本 🌍", "Alaska' --", " Alaska",
		"Alaska ", strings.Repeat("'", 3000)} {
		for _, path := range []string{"/avg?hour=7&state=", "/extremes?hour=7&state="} {
			r.wants(path+url.QueryEscape(state), 404)
		}
		if s := r.get("/api/v1/reports?table=weather_averages&state=" + url.QueryEscape(state)); s.status != 200 ||
			strings.Contains(s.body, "avg_temp_c") {
			t.Errorf("reports of the state %q: got %d %s", state, s.status, s.body)
		}
	}
	r.wants("/avg?state=Alaska&hour=7", 200) // it is all there still
}

// TestBadParameters: each problem is named, all at once.
func TestBadParameters(t *testing.T) {
	r := start(t, Config{Tables: weather(t).tables()}).opened()
	for query, words := range map[string][]string{
		"/avg":                            {"state is missing", "hour is missing", "parameters are: date, hour, state"},
		"/avg?state=Alaska":               {"hour is missing"},
		"/avg?hour=7":                     {"state is missing"},
		"/avg?state=&hour=":               {"state is empty", "hour is empty"},
		"/avg?state=Alaska&hour=24":       {`hour: want 0 to 23, got \"24\"`},
		"/avg?state=Alaska&hour=-1":       {"hour: want"},
		"/avg?state=Alaska&hour=%2B7":     {"hour: want"},
		"/avg?state=Alaska&hour=007":      {"hour: want"},
		"/avg?state=Alaska&hour=7.5":      {"hour: want"},
		"/avg?state=Alaska&hour=%207":     {"hour: want"},
		"/avg?state=Alaska&hour=0x7":      {"hour: want"},
		"/avg?state=Alaska&hour=seven":    {"hour: want"},
		"/avg?state=Alaska&hour=%D9%A7":   {"hour: want"},
		"/avg?state=Alaska&hour=7%27--":   {"hour: want"},
		"/avg?state=Alaska&hour=7&hour=8": {"hour is there 2 times"},
		"/avg?state=a&state=b&hour=x&date=yesterday&x=1": {"state is there 2 times", "hour: want", "date: want a day",
			`no parameter \"x\"`},
		"/avg?state=Alaska&hour=7&date=2023-09-31": {"date: want a day such as 2023-09-19"},
		"/avg?state=Alaska&hour=7&date=19.9.2023":  {"date: want"},
		"/avg?state=Alaska&hour=7&date=":           {"date is empty"},
		"/avg?state=Alaska&hour=7&dat=2023-09-19":  {`no parameter \"dat\"`},
		"/avg?state=Alaska&hour=7;x":               {"the query can't be read"},
		"/avg?state=%zz&hour=7":                    {"the query can't be read"},
		"/extremes?hour=7":                         {"state is missing"},
		"/extremes?state=Alaska&hour=99":           {"hour: want"},
		"/state_extremes":                          {"hour is missing"},
		"/state_extremes?hour=7&state=Alaska":      {`no parameter \"state\"`},
		"/api/v1/reports?from=2023-09-19": {`no parameter \"from\"`,
			"reports are: weather_averages"},
		"/api/v1/reports?table=":                                               {"table is empty"},
		"/api/v1/reports?table=weather_averages&form=x":                        {`no parameter \"form\"`},
		"/api/v1/reports?table=weather_averages&zip_code=1":                    {`no parameter \"zip_code\"`},
		"/api/v1/reports?table=weather_averages&limit=0":                       {"limit: want 1 to 1000000"},
		"/api/v1/reports?table=weather_averages&limit=-1":                      {"limit: want"},
		"/api/v1/reports?table=weather_averages&limit=1e3":                     {"limit: want"},
		"/api/v1/reports?table=weather_averages&format=xml":                    {"format: want json or csv"},
		"/api/v1/reports?table=weather_averages&from=now":                      {"from: want a time"},
		"/api/v1/reports?table=weather_averages&state=":                        {"state is empty"},
		"/api/v1/reports?table=weather_averages&hour=24":                       {"hour: want"},
		"/api/v1/reports?table=weather_averages&limit=9&to=":                   {"to is empty"},
		"/api/v1/reports?table=weather_averages&from=2023-09-20&to=2023-09-19": {"from is not before to"},
		"/api/v1/reports?table=weather_averages&limit=99999999999999999999999": {"limit: want"},
	} {
		s := r.wants(query, 400, words...)
		if f := s.failure(t); f.Kind != "invalid" || f.Hint == "" {
			t.Errorf("%s: got %+v", query, f)
		}
	}
	r.wants("/api/v1/reports?table=weather_data", 404, "weather_averages, zip_code_extremes")
	r.wants("/api/v1/reports?table="+url.QueryEscape("weather_averages; --"), 404)
}

// TestExtremesAreRight: of reports of many hours, states and zip codes the answers are those that are
// computed here of the rows.
func TestExtremesAreRight(t *testing.T) {
	const states, zips, hours = 6, 9, 28
	rng := rand.New(rand.NewPCG(4, 2))
	l := newLite(t)
	var means, ends []row
	type key struct {
		hour        int
		state, name string
	}
	high, low := map[key]row{}, map[key]row{}
	meet := func(k key, who, column string, v float64) {
		one := row{who: k.name, "value": v}
		all := key{k.hour, k.state, column}
		if b, ok := high[all]; !ok || v > b["value"].(float64) {
			high[all] = one
		}
		if b, ok := low[all]; !ok || v < b["value"].(float64) {
			low[all] = one
		}
	}
	metrics := []string{"temp_c", "pressure_mb", "humidity", "precip_mm"}
	for h := range hours {
		when := at(19, 0).Add(time.Duration(h) * time.Hour)
		for s := range states {
			state := fmt.Sprintf("State %d", s)
			mean := average(when, state, 0)
			for _, m := range metrics {
				v := math.Round(rng.Float64()*1e6) / 1e3
				mean["avg_"+m] = v
				meet(key{h, "", state}, "state", m, v)
			}
			means = append(means, mean)
			for z := range zips { // each zip code has an extreme of one metric, one has two
				zip := fmt.Sprintf("%05d", s*100+z)
				m := metrics[z%len(metrics)]
				v := math.Round(rng.Float64()*1e6) / 1e3
				ends = append(ends, extreme(when, state, zip, row{"max_" + m: v, "min_" + m: v}))
				meet(key{h, state, zip}, "zip_code", m, v)
			}
		}
	}
	l.write(averages, means...)
	l.write(extremes, ends...)
	r := start(t, Config{Tables: l.tables()}).opened()
	check := func(path, state string, h int) {
		t.Helper()
		want := map[string]row{"max": {}, "min": {}}
		for _, m := range metrics {
			want["max"][m], want["min"][m] = high[key{h, state, m}], low[key{h, state, m}]
		}
		s := r.wants(path, 200)
		var got map[string]row
		if err := json.Unmarshal([]byte(s.body), &got); err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("%s: got %s, want %s", path, a, b)
		}
	}
	for h := range hours {
		when := at(19, 0).Add(time.Duration(h) * time.Hour)
		date := fmt.Sprintf("hour=%d&date=%s", when.Hour(), when.Format(time.DateOnly))
		check("/state_extremes?"+date, "", h)
		check("/extremes?state=State+3&"+date, "State 3", h)
	}
	for hour := range 24 { // of the hours that are there twice the latter
		h := hour
		if hour+24 < hours {
			h += 24
		}
		check(fmt.Sprintf("/state_extremes?hour=%d", hour), "", h)
	}
}

// TestReportBeingReplaced: rows of an older revision do not count, and one that is gone between two questions
// is looked for again.
func TestReportBeingReplaced(t *testing.T) {
	row := func(zip string, revision int64, values ...any) []any {
		return append([]any{zip, revision, revision > 1, int64(0)}, values...)
	}
	// The columns are min and max of each metric in turn.
	rows := [][]any{row("1", 1, -9.0, 50.0), row("2", 2, 3.0, nil), row("3", 2, nil, 9.0), row("4", 2, nil, 9.0),
		row("0", 1, -9.0, 99.0), row("5", 1, nil, nil, 7.0, math.Inf(1))}
	asked := 0
	r := start(t, Config{Tables: &faulty{
		newest: func(context.Context, connector.TableQuery) (time.Time, bool, error) { return at(19, 7), true, nil },
		rows: func(_ context.Context, q connector.TableQuery, yield func([]any) error) error {
			if asked++; asked < 3 {
				return nil
			}
			if !q.From.Equal(at(19, 7)) || !q.To.Equal(at(19, 7).Add(1)) || q.Equal["state"] != "Ohio" {
				t.Errorf("asked for %+v", q)
			}
			for _, r := range rows {
				if err := yield(append(r, make([]any, len(q.Columns)-len(r))...)); err != nil {
					return err
				}
			}
			return nil
		}}}).opened()
	s := r.wants("/extremes?state=Ohio&hour=7", 200)
	const want = `{"max":{"temp_c":{"zip_code":"3","value":9}},` +
		`"min":{"temp_c":{"zip_code":"2","value":3},"pressure_mb":{"zip_code":"5","value":7}}}` + "\n"
	if s.body != want || s.header.Get(revisionHeader) != "2" || s.header.Get(completeHeader) != "true" {
		t.Errorf("got %v\n%swant\n%s", s.header, s.body, want)
	}
	asked = -1000 // it does not come back
	s = r.wants("/extremes?state=Ohio&hour=8", 503, "being replaced")
	if s.header.Get("Retry-After") != "1" || !r.job.Gates()[0].Open {
		t.Errorf("got %v, the gate is %+v", s.header, r.job.Gates()[0])
	}
}

// TestOldReports: rows of the first WeatherVane have no revision, and are answered all the same.
func TestOldReports(t *testing.T) {
	r := start(t, Config{Tables: &faulty{
		newest: func(context.Context, connector.TableQuery) (time.Time, bool, error) { return at(19, 7), true, nil },
		rows: func(_ context.Context, q connector.TableQuery, yield func([]any) error) error {
			values := make([]any, len(q.Columns))
			values[0], values[len(values)-1] = "Ohio", 4.5
			return yield(values)
		}}}).opened()
	r.wants("/avg?state=Ohio&hour=7", 200, `"complete":null,"lost":null,"revision":null`, `"avg_precip_mm":4.5`)
	s := r.wants("/state_extremes?hour=7", 200, `{"max":{"precip_mm":{"state":"Ohio","value":4.5}}`)
	if s.header.Get(completeHeader) != "" || s.header.Get(windowHeader) == "" {
		t.Errorf("got %v", s.header)
	}
}

// TestOtherReports: other names and groups, and routes that need reports which there are not.
func TestOtherReports(t *testing.T) {
	l := newLite(t)
	by := report.Report{Table: "by_county", Group: []string{"county"}, Values: []report.Value{{Mean: "wind", As: "breeze"},
		{Percentile: "wind", P: new(float64)}}}
	l.write(by, row{"time": at(19, 7), "hour": "07", "county": "Kent", "revision": 1, "complete": true, "lost": 0,
		"breeze": 2.5, "p0_wind": 1.0})
	r := start(t, Config{Tables: l.tables(), Reports: report.List{by}, Averages: "by_county"}).opened()
	r.wants("/avg?state=Kent&hour=7", 200, `{"county":"Kent",`, `"breeze":2.5}`)
	r.wants("/state_extremes?hour=7", 200, `{"max":{"wind":{"county":"Kent","value":2.5}},`)
	s := r.wants("/extremes?state=Kent&hour=7", 404)
	if f := s.failure(t); strings.Contains(f.Hint, "/extremes,") || !strings.Contains(f.Hint, "/avg") {
		t.Errorf("got %+v, want the routes that there are", f)
	}
	r.wants("/api/v1/reports", 200, `{"tables":[{"table":"by_county","columns":["time","county","hour","breeze",`+
		`"p0_wind","complete","lost","revision"],"filters":["county","hour"]}]}`)
}
