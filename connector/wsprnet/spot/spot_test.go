package spot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow-go/v18/arrow/array"
)

// aa1a is the spot of the feed's description.
const aa1a = `{"Spotnum":"1451509949","Date":"1548761280","Reporter":"AE2EA","ReporterGrid":"FN12fr",` +
	`"dB":"-12","MHz":"0.475674","CallSign":"AA1A","Grid":"FN42pb","Power":"30","Drift":"0",` +
	`"distance":"566","azimuth":"280","Band":"0","version":"4.0 r4889","code":"0"}`

func wantAA1A() Spot {
	return Spot{ID: 1451509949, Time: 1548761280, Band: 0, RxSign: "AE2EA", RxLat: 42.729167,
		RxLon: -77.541667, RxLoc: "FN12fr", TxSign: "AA1A", TxLat: 42.0625, TxLon: -70.708333,
		TxLoc: "FN42pb", Distance: 566, Azimuth: 280, RxAzimuth: 95, Frequency: 475674, Power: 30,
		SNR: -12, Drift: 0, Version: "4.0 r4889", Code: 0}
}

// with returns aa1a with one field's JSON value replaced, or the field dropped for "".
func with(field, value string) string {
	start := strings.Index(aa1a, `"`+field+`":`)
	end := start + strings.IndexAny(aa1a[start:], ",}")
	if value == "" {
		return strings.Replace(aa1a[:start]+strings.TrimPrefix(aa1a[end:], ","), ",}", "}", 1)
	}
	return aa1a[:start] + `"` + field + `":` + value + aa1a[end:]
}

func numbered(id uint64) string { return with("Spotnum", fmt.Sprintf(`"%d"`, id)) }

func parse(t testing.TB, in string) *Result {
	t.Helper()
	return Parse(strings.NewReader(in), Limits{})
}

func spots(r *Result) (out []Spot) {
	Read(r.Rows, func(s *Spot) bool { out = append(out, *s); return true })
	return out
}

func ids(r *Result) (out []uint64) {
	for _, s := range spots(r) {
		out = append(out, s.ID)
	}
	return out
}

func TestParseTheFeedsOwnExample(t *testing.T) {
	for name, in := range map[string]string{
		"compact":        "[" + aa1a + "]",
		"pretty":         "\xef\xbb\xbf [\n" + strings.ReplaceAll(strings.ReplaceAll(aa1a, ",", ",\n  "), ":", " : ") + "\n]\n",
		"escapes":        "[" + strings.ReplaceAll(with("version", `"4.0 r4889"`), "AE2EA", `\u0041E2EA`) + "]",
		"extra":          "[" + strings.Replace(aa1a, "{", `{"extra":{"a":[1,"}"]},"other":null,`, 1) + "]",
		"twice":          "[" + strings.Replace(aa1a, "{", `{"Spotnum":"7",`, 1) + "]",
		"number":         "[" + strings.NewReplacer(`"1451509949"`, `1451509949`, `"1548761280"`, `1548761280`, `"-12"`, `-12`, `"0.475674"`, `0.475674`, `"30"`, `30`, `"566"`, `566`, `"280"`, `280.0`, `"0"`, `0`).Replace(aa1a) + "]",
		"exponent":       "[" + with("MHz", `4.75674e-1`) + "]",
		"fractions":      "[" + with("MHz", `"0.47567400"`) + "]",
		"blanks in text": "[" + with("dB", `" -12 "`) + "]",
	} {
		r := parse(t, in)
		if !r.Whole || !r.IsArray || len(r.Rejected) != 0 {
			t.Errorf("%s: whole %v, rejected %+v", name, r.Whole, r.Rejected)
		}
		if got := spots(r); !reflect.DeepEqual(got, []Spot{wantAA1A()}) {
			t.Errorf("%s: got %+v, want %+v", name, got, wantAA1A())
		}
		if n := r.Notes["unknown_field"]; (name == "extra") != (n == 2) {
			t.Errorf("%s: unknown_field is %d", name, n)
		}
	}
}

func TestEscapedSlash(t *testing.T) {
	got := spots(parse(t, "["+with("CallSign", `"PJ4\/K1ABC"`)+"]"))
	if len(got) != 1 || got[0].TxSign != "PJ4/K1ABC" {
		t.Errorf("got %+v, want PJ4/K1ABC", got)
	}
	got = spots(parse(t, "["+with("version", "\"x\xff\u00e9\"")+"]"))
	if len(got) != 1 || got[0].Version != "x\ufffd\u00e9" {
		t.Errorf("got %+v, want the odd byte replaced", got)
	}
}

func TestBadValueIsOneReject(t *testing.T) {
	for _, c := range []struct{ field, value, want string }{
		{"Spotnum", `"0"`, `Spotnum is "0", out of its range`},
		{"Spotnum", `"99999999999999999999"`, `Spotnum is "99999999999999999999", not a number`},
		{"Spotnum", `"-5"`, `Spotnum is "-5", out of its range`},
		{"Spotnum", ``, `Spotnum is missing`},
		{"Date", `"4294967296"`, `Date is "4294967296", out of its range`},
		{"Date", `null`, `Date is missing`},
		{"Date", `{"a":1}`, `Date is neither a string nor a number`},
		{"dB", `"999"`, `dB is "999", out of its range -128 to 127`},
		{"dB", `"n/a"`, `dB is "n/a", not a number`},
		{"dB", `""`, `dB is "", not a number`},
		{"dB", `"-12.5"`, `dB is "-12.5", not a whole number`},
		{"MHz", `"abc"`, `MHz is "abc", not a number`},
		{"MHz", `"-7.04"`, `MHz is "-7.04", out of its range`},
		{"MHz", `1e99`, `MHz is "1e99", out of its range`},
		{"Power", `"128"`, `Power is "128", out of its range -128 to 127`},
		{"Drift", `true`, `Drift is neither a string nor a number`},
		{"distance", `"70000"`, `distance is "70000", out of its range 0 to 65535`},
		{"azimuth", `"-1"`, `azimuth is "-1", out of its range 0 to 65535`},
		{"Band", `"40000"`, `Band is "40000", out of its range`},
		{"code", `"200"`, `code is "200", out of its range -128 to 127`},
		{"Reporter", `null`, `Reporter is missing`},
	} {
		in := "[" + numbered(1) + "," + with(c.field, c.value) + "," + numbered(3) + "]"
		r := parse(t, in)
		if got := ids(r); !reflect.DeepEqual(got, []uint64{1, 3}) {
			t.Errorf("%s %s: rows are %v, want 1 and 3", c.field, c.value, got)
		}
		if len(r.Rejected) != 1 || !strings.HasPrefix(r.Rejected[0].Reason, c.want) {
			t.Errorf("%s %s: got %+v, want %q", c.field, c.value, r.Rejected, c.want)
			continue
		}
		if key := r.Rejected[0].Key; c.field != "Spotnum" && key != "1451509949" {
			t.Errorf("%s %s: key is %q", c.field, c.value, key)
		}
		if got := string(r.Rejected[0].Raw); got != with(c.field, c.value) {
			t.Errorf("%s %s: raw is %s", c.field, c.value, got)
		}
	}
}

func TestOptionalFields(t *testing.T) {
	in := "[" + with("version", "null") + "," + with("Grid", "") + "," + with("ReporterGrid", `"ZZ99"`) + "]"
	r := parse(t, in)
	if len(spots(r)) != 3 || r.Notes["locator_invalid"] != 2 {
		t.Fatalf("got %d rows, notes %v, rejected %v", len(spots(r)), r.Notes, r.Rejected)
	}
	if s := spots(r)[1]; s.TxLat != 0 || s.TxLon != 0 || s.TxLoc != "" || s.RxAzimuth != 0 {
		t.Errorf("without a locator: got %+v", s)
	}
	if s := spots(r)[2]; s.RxLat != 0 || s.RxLoc != "ZZ99" {
		t.Errorf("with an invalid locator: got %+v", s)
	}
}

// A page cut anywhere gives all its whole spots and never claims to be whole.
func TestCutAnywhere(t *testing.T) {
	in := "[" + numbered(11) + ", " + with("dB", `"999"`) + ",\n" + numbered(13) + "]"
	ends := []int{1 + len(numbered(11)), 3 + len(numbered(11)) + len(with("dB", `"999"`)), len(in) - 1}
	for n := range len(in) {
		r := parse(t, in[:n])
		items := len(spots(r)) + len(r.Rejected)
		want := 0
		for _, e := range ends {
			if n >= e {
				want++
			}
		}
		if items != want || r.Whole {
			t.Fatalf("cut at %d: got %d items, want %d, whole %v", n, items, want, r.Whole)
		}
	}
}

func TestGarbageBetween(t *testing.T) {
	a, b, c := numbered(1), numbered(2), numbered(3)
	for name, in := range map[string]string{
		"bare words":        "[" + a + ",garbage here," + b + ",\x00\x01]x," + c + "]",
		"unclosed spot":     "[" + a + `,{"Spotnum":"9","Date":` + b + "," + c + "]",
		"unclosed string":   "[" + a + `,{"Spotnum":"9","Date":"12,` + b + "," + c + "]",
		"html":              "[" + a + ",<html>it { broke }</html>," + b + "," + c + "]",
		"other values":      "[" + a + `,null,"text",5,[1,{"a":2}],{},` + b + "," + c + "]",
		"no commas":         "[" + a + b + c + "]",
		"control in string": "[" + a + strings.Replace(numbered(9), "AE2EA", "AE\n2", 1) + b + "," + c + "]",
	} {
		r := parse(t, in)
		if got := ids(r); !reflect.DeepEqual(got, []uint64{1, 2, 3}) || !r.Whole {
			t.Errorf("%s: got rows %v, whole %v, rejected %+v", name, got, r.Whole, r.Rejected)
		}
		if name != "no commas" && len(r.Rejected) == 0 {
			t.Errorf("%s: nothing was rejected", name)
		}
		if (name == "unclosed spot" || name == "control in string") && r.Rejected[0].Key != "9" {
			t.Errorf("%s: key is %q, want 9", name, r.Rejected[0].Key)
		}
	}
	for in, want := range map[string]bool{"[" + a + ",garbage ] \n": true, "[" + a + ",garb]age": false} {
		if r := parse(t, in); r.Whole != want || r.Rows.NumRows() != 1 || len(r.Rejected) != 1 {
			t.Errorf("%s: whole %v, want %v; rejected %v", in, r.Whole, want, r.Rejected)
		}
	}
	for _, in := range []string{"", "<html>", `{"error":"x"}`, "null", "  "} {
		if r := parse(t, in); r.IsArray || r.Rows.NumRows() != 0 || r.Whole {
			t.Errorf("%q: got %+v", in, r)
		}
	}
}

func TestLimits(t *testing.T) {
	in := "[" + strings.Repeat(aa1a+",", 1000) + aa1a + "]"
	r := Parse(strings.NewReader(in), Limits{Bytes: 100_000})
	if want := int64(99_999 / (len(aa1a) + 1)); r.Rows.NumRows() != want || r.Whole || !r.Limited {
		t.Errorf("bytes: got %d rows, want %d; whole %v, limited %v", r.Rows.NumRows(), want, r.Whole, r.Limited)
	}
	if r := Parse(strings.NewReader("["+strings.Repeat("0,", 1000)), Limits{Rejected: 10}); len(r.Rejected) != 10 || !r.Limited {
		t.Errorf("rejects: got %d, limited %v", len(r.Rejected), r.Limited)
	}
	long := with("version", `"`+strings.Repeat("x", bufferSize)+`"`)
	r = parse(t, "["+numbered(1)+","+long+","+numbered(3)+"]")
	if !reflect.DeepEqual(ids(r), []uint64{1, 3}) || len(r.Rejected) != 1 || len(r.Rejected[0].Raw) > rawSize {
		t.Errorf("a long element: got rows %v, %d rejected", ids(r), len(r.Rejected))
	}
	deep := strings.Repeat(`{"a":`, 100_000)
	if r := Parse(strings.NewReader("["+deep), Limits{Broken: 20}); !r.Limited {
		t.Error("a page of nothing but depth was not given up")
	}
	boom := iotest.ErrReader(io.ErrClosedPipe)
	if r := Parse(io.MultiReader(strings.NewReader("["+aa1a), boom), Limits{}); r.ReadErr != io.ErrClosedPipe ||
		r.Rows.NumRows() != 1 || r.Whole {
		t.Errorf("a broken body: got %v, %d rows", r.ReadErr, r.Rows.NumRows())
	}
}

func TestMHz(t *testing.T) {
	for in, want := range map[string]int64{"7.040061": 7_040_061, "0.475674": 475_674, "7": 7_000_000,
		"7.04": 7_040_000, "7.0400615": 7_040_062, "7.0400614999": 7_040_061, "14.0971": 14_097_100,
		"1296.500123": 1_296_500_123, "0.0000004": 0, "+7.1": 7_100_000, "7.04e1": 70_400_000,
		"704E-2": 7_040_000, "123456789.123456": 123_456_789_123_456, "0.000000": 0,
		"": -1, ".5": -1, "7.": -1, "-7": -1, "7.0x": -1, "1.2.3": -1, "7,04": -1, "1e": -1, "1e999": -1,
		"1e18": -1, "99999999999999999999": -1, "NaN": -1, "0x10": -1, "7.04006a": -1} {
		hz, ok := parseMHz([]byte(in))
		if got := int64(hz); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %d, %v, want %d", in, got, ok, want)
		}
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		ids       []uint64
		asc, desc bool
	}{{[]uint64{1, 2, 5}, true, false}, {[]uint64{5, 3, 1}, false, true}, {[]uint64{5, 1, 3}, false, false}, {[]uint64{4}, false, false}} {
		var parts []string
		for _, id := range c.ids {
			parts = append(parts, numbered(id))
		}
		r := parse(t, "["+strings.Join(parts, ",")+"]")
		if r.Ascending != c.asc || r.Descending != c.desc {
			t.Errorf("%v: ascending %v, descending %v", c.ids, r.Ascending, r.Descending)
		}
	}
}

// realSpots returns the real page, nil if it is not there.
func realSpots(t testing.TB) []byte {
	data, err := os.ReadFile("../../../../shared/data/wspr/spots.json")
	if os.IsNotExist(err) {
		t.Log("left out: ../shared/data/wspr/spots.json is not there")
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRealSpots(t *testing.T) {
	data := realSpots(t)
	if data == nil {
		return
	}
	var want []map[string]string
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	got := spots(parse(t, string(data)))
	if len(got) != len(want) {
		t.Fatalf("got %d rows, want %d", len(got), len(want))
	}
	for i, w := range want {
		s := got[i]
		mhz := fmt.Sprintf("%d.%06d", s.Frequency/1e6, s.Frequency%1e6)
		back := map[string]string{"Spotnum": fmt.Sprint(s.ID), "Date": fmt.Sprint(s.Time), "Reporter": s.RxSign,
			"ReporterGrid": s.RxLoc, "dB": fmt.Sprint(s.SNR), "MHz": mhz, "CallSign": s.TxSign, "Grid": s.TxLoc,
			"Power": fmt.Sprint(s.Power), "Drift": fmt.Sprint(s.Drift), "distance": fmt.Sprint(s.Distance),
			"azimuth": fmt.Sprint(s.Azimuth), "Band": fmt.Sprint(s.Band), "version": s.Version, "code": fmt.Sprint(s.Code)}
		if !reflect.DeepEqual(back, w) {
			t.Fatalf("got %v, want %v", back, w)
		}
	}
}

// However the bytes arrive, and whatever they are, the outcome is the same; and of a valid page
// every item is accounted for.
func FuzzParse(f *testing.F) {
	f.Add([]byte("["+aa1a+","+with("dB", `"x"`)+"]"), uint8(3))
	f.Add([]byte("["+with("version", `"\u00e9\ud800"`)+",{}, null, [[],{}]]x"), uint8(1))
	f.Add([]byte("[{\"a\":{\"Spotnum\":\"7\"}"+aa1a+" garbage ] "), uint8(7))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		one := Parse(bytes.NewReader(in), Limits{})
		two := Parse(&stepReader{in, int(step)%16 + 1}, Limits{})
		if !array.RecordEqual(one.Rows, two.Rows) || !reflect.DeepEqual(one.Rejected, two.Rejected) ||
			one.Whole != two.Whole || !reflect.DeepEqual(one.Notes, two.Notes) {
			t.Fatalf("in steps of %d:\n%+v\n%+v", step, one, two)
		}
		var items []json.RawMessage
		if json.Unmarshal(in, &items) == nil && one.IsArray {
			if got := int(one.Rows.NumRows()) + len(one.Rejected); got != len(items) && len(items) < 10_000 {
				t.Fatalf("got %d items, want %d", got, len(items))
			}
			if !one.Whole {
				t.Fatal("a valid page is not whole")
			}
			agree(t, one, items)
		}
	})
}

// What the quick scanner reads, the thorough one reads too, and the same.
func FuzzQuick(f *testing.F) {
	f.Add([]byte(aa1a))
	f.Add([]byte(with("CallSign", `"PJ4\/K1ABC"`)))
	f.Add([]byte(` { "Spotnum" : 5 , "Date":"7","Spotnum":"8"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var q, s object
		if len(in) == 0 || in[0] != '{' {
			return
		}
		n, st := q.quick(in)
		if st != whole {
			return
		}
		m, st := element(in, true)
		if st != whole {
			return // the quick one takes 01 for a number
		}
		if m != n {
			t.Fatalf("an object of %d bytes is taken for one of %d", m, n)
		}
		if s.thorough(in[:n]) != whole || s.have != q.have {
			t.Fatalf("fields %b, want %b", q.have, s.have)
		}
		for f := range fields {
			if !bytes.Equal(q.val[f], s.val[f]) {
				t.Fatalf("%s: got %q, want %q", fieldNames[f], q.val[f], s.val[f])
			}
		}
	})
}

// agree compares the strings of rows with what encoding/json reads.
func agree(t *testing.T, r *Result, items []json.RawMessage) {
	rows := spots(r)
	for _, item := range items {
		var m map[string]any
		if json.Unmarshal(item, &m) != nil || len(rows) == 0 {
			continue
		}
		if id, _ := m["Spotnum"].(string); id == fmt.Sprint(rows[0].ID) {
			if call, ok := m["CallSign"].(string); ok && call != rows[0].TxSign {
				t.Fatalf("CallSign: got %q, want %q", rows[0].TxSign, call)
			}
			rows = rows[1:]
		}
	}
}

type stepReader struct {
	b []byte
	n int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b[:min(r.n, len(r.b))])
	r.b = r.b[n:]
	return n, nil
}

func benchPage(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		s := numbered(6_040_000_000 + uint64(i))
		b.WriteString(strings.Replace(s, "AA1A", fmt.Sprintf("K%dABC", rng.IntN(10)), 1))
	}
	b.WriteByte(']')
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	page := benchPage(20_000)
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		if r := Parse(bytes.NewReader(page), Limits{}); r.Rows.NumRows() != 20_000 {
			b.Fatal(r.Rows.NumRows())
		}
	}
	b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "spots/s")
}

// BenchmarkEncodingJSON is what the standard library needs to read the same page, without making
// rows of it.
func BenchmarkEncodingJSON(b *testing.B) {
	page := benchPage(20_000)
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		var out []struct {
			Spotnum, Date, Reporter, ReporterGrid, DB, MHz, CallSign, Grid string
			Power, Drift, Distance, Azimuth, Band, Version, Code           string
		}
		if err := json.Unmarshal(page, &out); err != nil || len(out) != 20_000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "spots/s")
}

// BenchmarkThorough is the way of spots that the quick scanner leaves alone.
func BenchmarkThorough(b *testing.B) {
	page := bytes.ReplaceAll(benchPage(20_000), []byte("AE2EA"), []byte(`AE\/EA`))
	for b.Loop() {
		if r := Parse(bytes.NewReader(page), Limits{}); r.Rows.NumRows() != 20_000 {
			b.Fatal(r.Rows.NumRows())
		}
	}
	b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "spots/s")
}
