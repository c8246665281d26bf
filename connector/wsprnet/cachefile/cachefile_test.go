package cachefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/base/fault"
	"holdfast/connector/wsprnet/spot"
)

var at = time.Date(2025, 11, 10, 14, 23, 45, 123456789, time.UTC)

func rows(n int) arrow.RecordBatch {
	var b spot.Builder
	for i := range n {
		s := spot.Spot{ID: uint64(100 + i), Time: 1548761280, RxSign: "AE2EA", RxLoc: "FN12fr",
			TxSign: "PJ4/AA\"1A\u00e9", TxLoc: "FN42pb", Distance: 566, Azimuth: 280, Frequency: 475674,
			Power: 30, SNR: -12, Drift: int8(i % 3), Version: "4.0 r4889", Code: 1}
		s.Place()
		b.Append(&s)
	}
	return b.Batch()
}

func file(t testing.TB, n int, raw bool) string {
	t.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, rows(n), at, raw); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestRoundTripOfBothKinds(t *testing.T) {
	for _, raw := range []bool{false, true} {
		text := file(t, 50, raw)
		res, err := Read(strings.NewReader(text))
		if err != nil || res.Damaged != "" || len(res.Rejected) != 0 || len(res.Notes) != 0 {
			t.Fatalf("raw %v: %v, %+v", raw, err, res)
		}
		if !array.RecordEqual(res.Rows, rows(50)) {
			t.Errorf("raw %v: other rows than were written", raw)
		}
		if res.Count != 50 || res.Timestamp != "20251110_142345_123456" {
			t.Errorf("raw %v: count %d, timestamp %s", raw, res.Count, res.Timestamp)
		}
		var doc struct {
			SpotCount int   `json:"spot_count"`
			Spots     []any `json:"spots"`
			First     int   `json:"first_spotnum"`
			Last      int   `json:"last_spotnum"`
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil || doc.SpotCount != 50 || len(doc.Spots) != 50 {
			t.Errorf("raw %v: other tools read %+v, %v", raw, doc, err)
		}
		if raw && (doc.First != 100 || doc.Last != 149) {
			t.Errorf("first and last are %d and %d", doc.First, doc.Last)
		}
	}
	if got := Name(at); got != "spots_20251110_142345_123456.json" {
		t.Errorf("name: got %s", got)
	}
	if ok, _ := filepath.Match(Pattern, Name(at)); !ok {
		t.Error("the pattern does not match the name")
	}
}

// As the scraper wrote them: indented or not, keys in any order, time as text, numbers as floats.
func TestWhatTheScraperWrote(t *testing.T) {
	const row = `[7, %s, 0, "AE2EA", 42.729167, -77.541667, "FN12fr", "AA1A", 42.0625, -70.708333, ` +
		`"FN42pb", 566, 280, 95, 475674, 30, -12, 0, "4.0 r4889", 0]`
	want := spot.Spot{ID: 7, Time: 1548761280, RxSign: "AE2EA", RxLat: 42.729167, RxLon: -77.541667,
		RxLoc: "FN12fr", TxSign: "AA1A", TxLat: 42.0625, TxLon: -70.708333, TxLoc: "FN42pb", Distance: 566,
		Azimuth: 280, RxAzimuth: 95, Frequency: 475674, Power: 30, SNR: -12, Version: "4.0 r4889"}
	for _, when := range []string{`1548761280`, `1548761280.0`, `"1548761280"`, `"2019-01-29 11:28:00"`,
		`"2019-01-29T11:28:00"`, `"2019-01-29T11:28:00+00:00"`} {
		for _, shape := range []string{`{"timestamp": "x", "spot_count": 1, "spots": [%s]}`,
			"{\n  \"spots\" : [\n %s\n ],\n \"spot_count\": 1,\n \"timestamp\": \"x\"\n}", `[%s]`} {
			text := fmt.Sprintf(shape, fmt.Sprintf(row, when))
			res, err := Read(strings.NewReader(text))
			if err != nil || res.Damaged != "" || len(res.Rejected) > 0 {
				t.Fatalf("%s: %v, %+v", text, err, res)
			}
			var got []spot.Spot
			spot.Read(res.Rows, func(s *spot.Spot) bool { got = append(got, *s); return true })
			if !reflect.DeepEqual(got, []spot.Spot{want}) {
				t.Errorf("%s: got %+v", text, got)
			}
			if shape[0] == '{' && (res.Count != 1 || res.Timestamp != "x") {
				t.Errorf("%s: count %d, timestamp %q", text, res.Count, res.Timestamp)
			}
		}
	}
}

func TestBadCells(t *testing.T) {
	good := string((&spot.Spot{ID: 7, Time: 5}).AppendArray(nil))
	for old, c := range map[string]struct{ new, want string }{
		"[7,":        {"[-7,", `id is "-7", out of its range`},
		"[7,5,":      {`[7,"yesterday",`, `time is "yesterday", not a time`},
		"[7,5,0,":    {"[7,5,99999,", `band is "99999", out of its range`},
		`,0,0,"",0]`: {`,0,"x","",0]`, `drift is "x", not a whole number`},
		`"",0,0,`:    {`"",91,0,`, `rx_lat is "91", not degrees`},
		`[7`:         {`[7,7`, `it has more than 20 columns`},
		`,"",0]`:     {`]`, `it has 18 columns, not 20`},
		`0,"",`:      {`0,{},`, `rx_sign is "{}", not a text`},
	} {
		bad := strings.Replace(good, old, c.new, 1)
		if old == `[7` { // one column more, with all others in their places
			bad = good[:len(good)-1] + ",0]"
		}
		res, err := Read(strings.NewReader(`{"spots":[` + good + "," + bad + "," + good + "]}"))
		if err != nil || res.Rows.NumRows() != 2 || len(res.Rejected) != 1 {
			t.Fatalf("%s: %v, %d rows, rejected %+v", bad, err, res.Rows.NumRows(), res.Rejected)
		}
		if got := res.Rejected[0]; !strings.HasPrefix(got.Reason, c.want) || string(got.Raw) != bad {
			t.Errorf("%s: got %q, want %q", bad, got.Reason, c.want)
		}
	}
}

// Cut anywhere, a file still gives its whole spots, says that it is damaged, and drops nothing
// in silence.
func TestHalfWritten(t *testing.T) {
	for _, raw := range []bool{false, true} {
		text := file(t, 4, raw)
		var ends []int
		for i := range text {
			if strings.HasPrefix(text[i:], "],\n[") || strings.HasPrefix(text[i:], "},\n{") ||
				strings.HasPrefix(text[i:], "]\n]") || strings.HasPrefix(text[i:], "}\n]") {
				ends = append(ends, i+1)
			}
		}
		if len(ends) != 4 {
			t.Fatalf("found %d spots in %s", len(ends), text)
		}
		for n := 1; n < len(text)-1; n++ {
			res, err := Read(strings.NewReader(text[:n]))
			if err != nil {
				t.Fatalf("cut at %d: %v", n, err)
			}
			want := int64(0)
			for _, e := range ends {
				if n >= e {
					want++
				}
			}
			if res.Rows.NumRows() != want {
				t.Fatalf("cut at %d: got %d rows, want %d", n, res.Rows.NumRows(), want)
			}
			// The spot that was cut is told, with what there is of it.
			if begun := strings.LastIndexAny(text[:n], "[{"); want < 4 && begun > ends[0] &&
				!slices.Contains(ends, n) && strings.TrimSpace(text[begun:n]) != "" &&
				(want == 0 || begun >= ends[want-1]) {
				if k := len(res.Rejected); k != 1 || string(res.Rejected[0].Raw) != text[begun:n] {
					t.Fatalf("cut at %d: rejected %+v, want the beginning %q", n, res.Rejected, text[begun:n])
				}
			}
			if n < len(text)-2 && res.Damaged == "" {
				t.Fatalf("cut at %d: not damaged", n)
			}
		}
	}
}

func TestDamage(t *testing.T) {
	text := file(t, 10, false)
	lines := strings.SplitAfter(text, "\n")
	lines[4] = "\x00\x00\x00\x00" + lines[4][:20] + "\n"
	res, err := Read(strings.NewReader(strings.Join(lines, "")))
	if err != nil || res.Rows.NumRows() != 9 || len(res.Rejected) == 0 {
		t.Errorf("garbage: %v, %d rows, rejected %+v", err, res.Rows.NumRows(), res.Rejected)
	}
	few := strings.Replace(file(t, 3, false), `"spot_count": 3`, `"spot_count": 5`, 1)
	if res, _ := Read(strings.NewReader(few)); res.Notes["missing_spots"] != 2 || res.Damaged == "" {
		t.Errorf("two spots are missing: got %+v", res)
	}
	if res, err := Read(strings.NewReader("")); err != nil || res.Damaged == "" || res.Rows.NumRows() != 0 {
		t.Errorf("empty: %v, %+v", err, res)
	}
	for _, none := range []string{"\x00\x00\x00\x00", "<html>", `{"other": 1}`, "5"} {
		if _, err := Read(strings.NewReader(none)); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%q: got %v, want corrupt", none, err)
		}
	}
	boom := errors.New("input/output error")
	bad := io.MultiReader(strings.NewReader(text[:200]), iotest.ErrReader(boom))
	if _, err := Read(bad); !errors.Is(err, boom) {
		t.Errorf("a disk error: got %v", err)
	}
	long := file(t, 2000, false)
	bad = io.MultiReader(strings.NewReader(long[:len(long)/2]), iotest.ErrReader(boom))
	if res, err := Read(bad); !errors.Is(err, boom) || res.Rows.NumRows() < 900 {
		t.Errorf("a disk error far into the file: got %v, %d rows", err, res.Rows.NumRows())
	}
	if err := Write(failing{}, rows(5000), at, false); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a full disk: got %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func FuzzRead(f *testing.F) {
	f.Add([]byte(file(f, 2, false)))
	f.Add([]byte(file(f, 2, true)))
	f.Fuzz(func(t *testing.T, in []byte) {
		res, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		// What was read can be written and read again, to the same rows.
		var buf bytes.Buffer
		if err := Write(&buf, res.Rows, at, false); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&buf)
		if err != nil || again.Damaged != "" || !array.RecordEqual(res.Rows, again.Rows) {
			t.Fatalf("%v, %+v\n%+v", err, res.Rows, again.Rows)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := file(b, 20_000, false)
	for b.Loop() {
		if res, err := Read(strings.NewReader(text)); err != nil || res.Rows.NumRows() != 20_000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "spots/s")
}

func TestInTakesTheDirectoryByItsName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache[1]*")
	for _, name := range []string{"spots_b.json", "spots_a.json", "other.json", "spots_c.json.tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := In(dir)
	want := []string{filepath.Join(dir, "spots_a.json"), filepath.Join(dir, "spots_b.json")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}
