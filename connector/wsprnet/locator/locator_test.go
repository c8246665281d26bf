package locator

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"
)

func mustParse(t testing.TB, s string) Point {
	t.Helper()
	p, ok := Parse([]byte(s))
	if !ok {
		t.Fatalf("%s is not read as a locator", s)
	}
	return p
}

func TestDegrees(t *testing.T) {
	for _, c := range []struct {
		loc      string
		lat, lon float32
	}{
		{"FN12fr", 42.729167, -77.541667},
		{"FN42pb", 42.0625, -70.708333},
		{"EN35", 45.479167, -93.041667}, // subsquare ll
		{"EN35ll", 45.479167, -93.041667},
		{"en35LL", 45.479167, -93.041667},
		{"EN35ll47", 45.479167, -93.041667},
		{"EN35ll47aX", 45.479167, -93.041667},
		{"AA00aa", -89.979167, -179.958333},
		{"RR99xx", 89.979167, 179.958333},
	} {
		lat, lon := mustParse(t, c.loc).Degrees()
		if lat != c.lat || lon != c.lon {
			t.Errorf("%s: got %v, %v, want %v, %v", c.loc, lat, lon, c.lat, c.lon)
		}
	}
	for _, bad := range []string{"", "F", "FN", "FN1", "FN12f", "SN12fr", "FS12", "F112", "FN1x",
		"FN12yr", "FN12fy", "12FNfr", "FN12fr4", "FN12frxx", "FN12fr44y1", "FN12fr44aaa", "@N12"} {
		p, ok := Parse([]byte(bad))
		if lat, lon := p.Degrees(); ok || lat != 0 || lon != 0 {
			t.Errorf("%q: got %v %v, %v, want it refused and 0, 0", bad, ok, lat, lon)
		}
	}
}

func TestBearingAndDistance(t *testing.T) {
	rx, tx := mustParse(t, "FN12fr"), mustParse(t, "FN42pb")
	if got := rx.Bearing(tx); got != 95 {
		t.Errorf("from AE2EA to AA1A: got %d, want 95", got)
	}
	if got := tx.Bearing(rx); got != 280 {
		t.Errorf("from AA1A to AE2EA: got %d, want 280", got)
	}
	if got := rx.Distance(tx); math.Abs(float64(got)-566) > 2 {
		t.Errorf("distance: got %d, want about 566", got)
	}
	if got := rx.Bearing(rx); got != 0 {
		t.Errorf("to itself: got %d, want 0", got)
	}
	if got := (Point{}).Bearing(rx); got != 0 {
		t.Errorf("from nowhere: got %d, want 0", got)
	}
	// The tables give what plain trigonometry in degrees gives, also across the date line.
	for _, pair := range [][2]string{{"RR99xx", "AA00aa"}, {"RE78ir", "AL88xx"}, {"JN58td", "QF22ka"}} {
		p, q := mustParse(t, pair[0]), mustParse(t, pair[1])
		la, lo := p.Degrees()
		lb, lp := q.Degrees()
		a, b := float64(la)*math.Pi/180, float64(lb)*math.Pi/180
		d := float64(lp-lo) * math.Pi / 180
		want := math.Atan2(math.Sin(d)*math.Cos(b),
			math.Cos(a)*math.Sin(b)-math.Sin(a)*math.Cos(b)*math.Cos(d)) * 180 / math.Pi
		diff := math.Mod(float64(p.Bearing(q))-want+720+180, 360) - 180
		if math.Abs(diff) > 0.51 {
			t.Errorf("%v: got %d, want %.2f", pair, p.Bearing(q), want)
		}
	}
}

// The feed's own azimuth is transmitter to receiver; for the real spots ours must agree.
func TestAgreesWithRealSpots(t *testing.T) {
	data, err := os.ReadFile("../../../../shared/data/wspr/spots.json")
	if os.IsNotExist(err) {
		t.Log("left out: ../shared/data/wspr/spots.json is not there")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var spots []map[string]string
	if err := json.Unmarshal(data, &spots); err != nil {
		t.Fatal(err)
	}
	for _, s := range spots {
		rx, tx := mustParse(t, s["ReporterGrid"]), mustParse(t, s["Grid"])
		az, _ := strconv.Atoi(s["azimuth"])
		km, _ := strconv.Atoi(s["distance"])
		if km < 200 {
			continue // a 4-character locator is a point in a field of 200 km
		}
		diff := math.Mod(float64(tx.Bearing(rx))-float64(az)+720+180, 360) - 180
		if math.Abs(diff) > 2 {
			t.Errorf("spot %s: azimuth is %d, want %d", s["Spotnum"], tx.Bearing(rx), az)
		}
		if d := math.Abs(float64(tx.Distance(rx)) - float64(km)); d > 12 {
			t.Errorf("spot %s: distance is %d, want %d", s["Spotnum"], tx.Distance(rx), km)
		}
	}
}

func TestTextRoundTrip(t *testing.T) {
	for _, s := range []string{"FN12fr", "AA00aa", "RR99xx", "JO62qm"} {
		if got := string(mustParse(t, s).AppendText(nil)); got != s {
			t.Errorf("got %s, want %s", got, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("FN12fr"), []byte("EN35"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		p, _ := Parse(a)
		q, _ := Parse(b)
		if p.Bearing(q) > 359 || p.Distance(q) > 20038 {
			t.Errorf("%q to %q: %d degrees, %d km", a, b, p.Bearing(q), p.Distance(q))
		}
	})
}

func BenchmarkBearing(b *testing.B) {
	p, q := mustParse(b, "FN12fr"), mustParse(b, "FN42pb")
	for b.Loop() {
		p.Bearing(q)
	}
}
