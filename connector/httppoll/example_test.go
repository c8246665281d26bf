package httppoll

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/tests/testenv"
)

// example reads the configuration of that name from the page that shows it.
func example(t *testing.T, name, url string) Config {
	t.Helper()
	var file struct {
		HTTP Config `yaml:"http"`
	}
	text := testenv.Example(t, "../../docs/sources-http.md", name)
	if err := yaml.UnmarshalWithOptions([]byte(text), &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if faults := file.HTTP.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	_, query, _ := strings.Cut(file.HTTP.URL, "?")
	file.HTTP.URL = url + "/?" + query
	return file.HTTP
}

// file answers with a file, and with 304 to whoever has it.
func file(t *testing.T, name string) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, name)
	})
}

func TestOpenMeteo(t *testing.T) {
	s := open(t, example(t, "open-meteo", file(t, "testdata/open-meteo.json")))
	p := fetch(t, s, nil)
	same(t, "rows", strings.Join(rows(t, p), "\n"),
		`{"hour":"2024-05-01T00:00","rain":0,"temp":15.2,"time":"2024-05-01T00:00:00Z"}
{"hour":"2024-05-01T01:00","rain":0.1,"temp":14.6,"time":"2024-05-01T01:00:00Z"}
{"hour":"2024-05-01T02:00","rain":0,"temp":null,"time":"2024-05-01T02:00:00Z"}
{"hour":"2024-05-01T03:00","rain":0,"temp":13.4,"time":"2024-05-01T03:00:00Z"}`)
	lo, hi, ok := record.TimeRange(s.Schema(), p.Rows)
	if !ok || lo != 1714521600 || hi != 1714532400 {
		t.Errorf("got the time range %d %d %v", lo, hi, ok)
	}
}

func TestEarthquakes(t *testing.T) {
	s := open(t, example(t, "usgs", file(t, "testdata/usgs.json")))
	p := fetch(t, s, nil)
	if got := rows(t, p); len(got) != 2 || !strings.HasPrefix(got[0],
		`{"depth_km":1.88,"id":"nc74041234","lat":38.8263321,"lon":-122.8118362,"mag":1.32,`) ||
		!strings.HasSuffix(got[0], `"time":"2024-05-01T09:48:41.33Z"}`) {
		t.Errorf("got %v", got)
	}
	if len(p.Rejected) != 1 || p.Rejected[0].Key != "us7000abcd" ||
		p.Rejected[0].Reason != "column mag: is text, want a number" {
		t.Errorf("got rejects %+v", p.Rejected)
	}
	again := fetch(t, s, p.Cursor)
	if again.Rows != nil || again.Notes["unchanged"] != 1 || string(again.Cursor) != string(p.Cursor) {
		t.Errorf("an unchanged feed: got %+v", again)
	}
}

func TestWeatherCSV(t *testing.T) {
	s := open(t, example(t, "weather-csv", file(t, "testdata/weather.csv")))
	p := fetch(t, s, nil)
	if got := rows(t, p); len(got) != 3 || got[1] != `{"date":"2010-01-01T02:00:00Z",`+
		`"hour":"2010-01-01T02:00:00","pressure":1016.6,"temperature":null,"wind":3.8}` {
		t.Errorf("got %v", got)
	}
	if len(p.Rejected) != 1 {
		t.Fatalf("got rejects %+v", p.Rejected)
	}
	rej := p.Rejected[0]
	same(t, "raw", string(rej.Raw),
		"date,pressure,temperature,wind\n2010-01-01T03:00:00,n/a,3.9,3.8\n")
	same(t, "reason", rej.Reason, `column pressure: is "n/a", want a number`)
	mended := s.Parse([]byte(strings.Replace(string(rej.Raw), "n/a", "1016.7", 1)))
	if mended.Rows == nil || mended.Rows.NumRows() != 1 || len(mended.Rejected) > 0 {
		t.Errorf("a mended line: got %+v", mended)
	}
	if pos, _ := readPosition(p.Cursor); pos.Cursor != "2010-01-01T04:00:00" {
		t.Errorf("got the cursor %s", p.Cursor)
	}
}

// The real file, where it is there: 8759 hours, each one a row.
func TestSeattle(t *testing.T) {
	const name = "../../../shared/data/weather/seattle-weather-hourly-normals.csv"
	if _, err := os.Stat(name); err != nil {
		t.Skip("left out: the real weather file is not there")
	}
	s := open(t, example(t, "weather-csv", file(t, name)))
	p := fetch(t, s, nil)
	if p.Rows.NumRows() != 8759 || len(p.Rejected) != 0 {
		t.Errorf("got %d rows, %d rejects, want 8759 and none", p.Rows.NumRows(), len(p.Rejected))
	}
}

func FuzzDecode(f *testing.F) {
	for i, name := range []string{"open-meteo.json", "usgs.json", "weather.csv"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	f.Add(uint8(3), []byte("{\"id\":1}\n{\"id\":-2}\nx\n{\"id\":1e999}"))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		c := idConfig("http://h")
		c.Extra = columns.ExtraKeep
		c.Format = []string{formatJSON, formatJSON, formatCSV, formatJSONL}[kind%4]
		if kind%4 == 1 {
			c.Rows = ".features[]"
		}
		s, err := Open(c, Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := s.table.Begin(t.Context())
		if _, err := s.decoder.items(t.Context(), strings.NewReader(string(data)), r.Add); err != nil {
			return
		}
		b, err := r.Batch()
		if err != nil {
			t.Fatal(err)
		}
		if int(b.NumRows())+len(r.Rejected) != r.Items {
			t.Fatalf("%d rows and %d rejects of %d items", b.NumRows(), len(r.Rejected), r.Items)
		}
		if _, _, err := record.Encode(nil, b); err != nil {
			t.Fatal(err)
		}
		for _, rej := range r.Rejected {
			checkReject(t, s, rej)
		}
	})
}

// checkReject reads a reject again: it must fail again, and in the same way.
func checkReject(t *testing.T, s *Source, rej connector.Reject) {
	t.Helper()
	if rej.Reason == "" || len(rej.Raw) == 0 || len(rej.Raw) > columns.RawLimit {
		t.Fatalf("a reject has %d raw bytes and the reason %q", len(rej.Raw), rej.Reason)
	}
	if p := s.Parse(rej.Raw); p.Rows != nil && p.Rows.NumRows() > 0 {
		t.Fatalf("%q was rejected (%s) and is a row alone", rej.Raw, rej.Reason)
	}
}
