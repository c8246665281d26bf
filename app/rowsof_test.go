package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/base/rowtext"
	"holdfast/connector/columns"
)

// TestInputPattern: a name that is no pattern is refused, unless there is a file of that name.
func TestInputPattern(t *testing.T) {
	here := filepath.Join(t.TempDir(), "day[1.csv")
	if err := os.WriteFile(here, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for input, want := range map[string]string{here: "", "/none/day[1.csv": "jobs.send.stream.streamer.input: there is no such " +
		"file, and its name is no pattern"} {
		_, err := Parse("f", []byte("jobs: {send: {stream: {streamer: {input: '"+input+"'}}}}"), nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", input, err, want)
		}
	}
}

// TestPresetTimes: the preset takes times as they are written, and what is on the wire is WeatherVane's, or has the
// seconds that this can't say.
func TestPresetTimes(t *testing.T) {
	c, err := Parse("f", []byte("jobs: {send: {stream: {streamer: {input: a.csv}, rows: {timezone: Europe/Berlin}}}}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	rows := c.Jobs[0].work.(*streamConfig).Rows
	if rows.layout() != weatherLayout {
		t.Errorf("the layout on the wire is %s", rows.layout())
	}
	in, err := columns.New(rows.spec())
	if err != nil {
		t.Fatal(err)
	}
	wire, err := rows.onWire()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][2]string{
		"2023-09-19 07:00":          {"2023-09-19T05:00:00Z", "2023-09-19T07:00:00Z"},
		"2023-09-19T07:00:30":       {"2023-09-19T05:00:30Z", "2023-09-19T07:00:30Z"},
		"2023-09-19 07:00:30+02:00": {"2023-09-19T05:00:30Z", "2023-09-19T05:00:30Z"},
		"2023-09-19T07:00:30.5Z":    {"2023-09-19T07:00:30.5Z", "2023-09-19T07:00:30.5Z"},
	} {
		for i, table := range []*columns.Table{in, wire} {
			r := table.Begin(t.Context())
			err := r.AddArray([]byte(`[{"time":"` + text + `","zip_code":"1","state":"NY","temp_c":1,"pressure_mb":2,` +
				`"humidity":3,"precip_mm":4}]`))
			if err != nil {
				t.Fatal(err)
			}
			b, err := r.Batch()
			if err != nil || len(r.Rejected) > 0 {
				t.Errorf("%s: %v %+v", text, err, r.Rejected)
				continue
			}
			if got, _ := rowtext.Objects(b, rowtext.Exact).Append(nil, 0); !strings.HasPrefix(string(got), `{"time":"`+want[i]+`"`) {
				t.Errorf("%s: got %s, want %s", text, got, want[i])
			}
		}
	}
}
