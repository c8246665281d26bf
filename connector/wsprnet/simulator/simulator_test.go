package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/connector/wsprnet/spot"
)

// get asks the feed directly and returns status and body.
func get(t testing.TB, s *Simulator, query string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequest("GET", SpotsPath+"?"+query, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func read(body string) (out []spot.Spot, r *spot.Result) {
	r = spot.Parse(strings.NewReader(body), spot.Limits{})
	spot.Read(r.Rows, func(s *spot.Spot) bool { out = append(out, *s); return true })
	return out, r
}

// all reads the feed page by page.
func all(t testing.TB, s *Simulator) (out []spot.Spot, rejected int) {
	t.Helper()
	for after := uint64(0); ; {
		_, body := get(t, s, fmt.Sprintf("spotnum_start=%d", after))
		rows, r := read(body)
		if !r.Whole {
			t.Fatalf("a page after %d is not whole", after)
		}
		if r.Max == 0 {
			return out, rejected
		}
		out, rejected = append(out, rows...), rejected+len(r.Rejected)
		after = r.Max
	}
}

func TestServesWhatIsExpected(t *testing.T) {
	o := Options{Seed: 7, Backlog: 9_000, Rate: -1, Holes: 0.01, Garbage: 0.002, PageLimit: 2_001}
	s := New(o)
	got, rejected := all(t, s)
	want := slices.Collect(s.Expected(s.Oldest(), s.Newest()))
	faulty := len(slices.Collect(s.Faulty(s.Oldest(), s.Newest())))
	if len(got) != len(want) || rejected != faulty || faulty < 5 || faulty > 60 {
		t.Fatalf("got %d rows, %d rejected, want %d, %d", len(got), rejected, len(want), faulty)
	}
	if holes := 9_000 - len(want) - faulty; holes < 20 || holes > 400 {
		t.Errorf("%d of 9000 ids are holes, want about 1 %%", holes)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("row %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	again := New(Options{Seed: 7, Backlog: 9_000, Rate: -1, Holes: 0.01, Garbage: 0.002, Epoch: s.opts.Epoch})
	if !reflect.DeepEqual(slices.Collect(again.Expected(0, 1<<62)), want) {
		t.Error("the same options give other spots")
	}
	other := New(Options{Seed: 8, Backlog: 100, Rate: -1, Epoch: s.opts.Epoch})
	if reflect.DeepEqual(slices.Collect(other.Expected(0, 1<<62)), want[:100]) {
		t.Error("another seed gives the same spots")
	}
}

func TestSpotsLookReal(t *testing.T) {
	s := New(Options{Seed: 1, Backlog: 10_000, Rate: 80})
	rx, tx, bands := map[string]bool{}, map[string]bool{}, map[int16]int{}
	for sp := range s.Expected(s.Oldest(), s.Newest()) {
		rx[sp.RxSign], tx[sp.TxSign] = true, true
		bands[sp.Band]++
		age := s.opts.Epoch.Unix() - sp.Time
		if sp.Distance > 20_038 || sp.SNR < -33 || sp.SNR > 20 || sp.Time%120 != 0 || age < 0 || age > 3600 {
			t.Fatalf("not like a spot: %+v", sp)
		}
		if sp.RxLat == 0 || sp.TxLat == 0 {
			t.Fatalf("locator not read: %+v", sp)
		}
	}
	if len(rx) < 150 || len(tx) < 400 || len(bands) < 10 || bands[14] < bands[-1] {
		t.Errorf("%d listeners, %d senders, bands %v", len(rx), len(tx), bands)
	}
}

func TestAfterIsStrictlyGreater(t *testing.T) {
	s := New(Options{Backlog: 100, Rate: -1, PageLimit: 10})
	rows, _ := func() ([]spot.Spot, *spot.Result) {
		_, body := get(t, s, fmt.Sprintf("spotnum_start=%d", s.Oldest()+4))
		return read(body)
	}()
	if len(rows) != 10 || rows[0].ID != s.Oldest()+5 {
		t.Errorf("got %d rows from %d, want 10 from %d", len(rows), rows[0].ID, s.Oldest()+5)
	}
	if _, body := get(t, s, fmt.Sprintf("spotnum_start=%d", s.Newest())); body != "[]" {
		t.Errorf("behind the newest: got %s, want []", body)
	}
}

// Spots come at their rate and go after 24 hours.
func TestTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Rate: 10, Backlog: 100})
		first := s.Oldest()
		n := s.Newest()
		time.Sleep(time.Minute)
		if got := s.Newest() - n; got != 600 {
			t.Errorf("after a minute: got %d more, want 600", got)
		}
		time.Sleep(24 * time.Hour)
		if s.Oldest() <= first+600 || s.Newest()-s.Oldest() > 24*3600*10 {
			t.Errorf("kept from %d to %d, want 24 hours", s.Oldest()-first, s.Newest()-first)
		}
		rows, _ := read(func() string { _, b := get(t, s, "spotnum_start=0"); return b }())
		if rows[0].ID != s.Oldest() {
			t.Errorf("the feed begins at %d, want %d", rows[0].ID, s.Oldest())
		}
	})
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Backlog: 5, Rate: -1, Username: "u", Password: "p", SessionLife: time.Minute, Keep: -1})
		login := func(name, pass string) (int, map[string]any) {
			body, _ := json.Marshal(map[string]string{"name": name, "pass": pass})
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("POST", LoginPath, strings.NewReader(string(body))))
			var m map[string]any
			_ = json.Unmarshal(w.Body.Bytes(), &m)
			return w.Code, m
		}
		if code, _ := login("u", "x"); code != 401 {
			t.Errorf("wrong password: got %d", code)
		}
		if code, body := get(t, s, ""); code != 403 || !strings.Contains(body, notAuthorized) {
			t.Errorf("without a session: got %d %s", code, body)
		}
		_, m := login("u", "p")
		cookie := fmt.Sprintf("%s=%s", m["session_name"], m["sessid"])
		if code, body := get(t, s, "", "Cookie", cookie); code != 200 || len(body) < 500 {
			t.Errorf("with a session: got %d %s", code, body)
		}
		s.SetFaults(func(f *Faults) { f.AsText = true })
		time.Sleep(2 * time.Minute)
		if code, body := get(t, s, "", "Cookie", cookie); code != 200 || !strings.Contains(body, notAuthorized) {
			t.Errorf("expired: got %d %s", code, body)
		}
	})
}

func TestFaults(t *testing.T) {
	s := New(Options{Seed: 3, Backlog: 5000, Rate: -1})
	count := func() int { rows, _ := all(t, s); return len(rows) }
	for _, name := range faultNames() {
		if err := s.Switch(name, true); err != nil {
			t.Fatal(err)
		}
		switch name {
		case "reverse":
			if _, r := read(func() string { _, b := get(t, s, ""); return b }()); !r.Descending || r.Rows.NumRows() != 5000 {
				t.Error("reverse: the page is not in descending order")
			}
		case "truncate":
			_, body := get(t, s, "")
			if _, r := read(body); r.Whole {
				t.Error("truncate: the page is whole")
			}
		case "late", "holes":
			if n := count(); n >= 5000 || n < 4700 {
				t.Errorf("%s: got %d of 5000 spots", name, n)
			}
		case "500":
			if code, _ := get(t, s, ""); code != 500 {
				t.Errorf("500: got %d", code)
			}
		case "garbage":
			if _, body := get(t, s, ""); json.Valid([]byte(body)) {
				t.Error("garbage is valid JSON")
			}
		case "retry_after":
			if code, _ := get(t, s, ""); code != 429 {
				t.Errorf("retry_after: got %d", code)
			}
		case "forbidden":
			if code, _ := get(t, s, ""); code != 403 {
				t.Errorf("forbidden: got %d", code)
			}
		}
		if err := s.Switch(name, false); err != nil {
			t.Fatal(err)
		}
		if s.Faults() != (Faults{}) {
			t.Fatalf("%s can't be switched off: %+v", name, s.Faults())
		}
		if n := count(); n != 5000 {
			t.Errorf("after %s: got %d of 5000 spots", name, n)
		}
	}
	if s.Switch("nonsense", true) == nil {
		t.Error("an unknown fault can be switched")
	}
}

// Against a real server: a reset and a hang, a form pressed, and a clean end.
func TestRun(t *testing.T) {
	s := New(Options{Backlog: 10, Rate: -1, Gzip: true})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()
	base := "http://" + ln.Addr().String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	press := func(name string) {
		resp, err := client.PostForm(base+"/faults", url.Values{"name": {name}, "on": {"true"}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("press %s: %s", name, resp.Status)
		}
	}
	press("reset")
	if _, err := client.Get(base + SpotsPath); err == nil {
		t.Error("reset: there was an answer")
	}
	press("hang")
	hung := make(chan error, 1)
	go func() {
		_, err := client.Get(base + SpotsPath)
		hung <- err
	}()
	for s.Status().Faulty < 2 {
		time.Sleep(time.Millisecond)
	}
	req, _ := http.NewRequest("POST", base+"/faults", strings.NewReader("name=hang&on=false"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp, err := client.Do(req); err != nil || resp.StatusCode != 403 {
		t.Errorf("a button pressed from another site: got %v, %v, want 403", resp, err)
	}
	cancel()
	if err := <-hung; err == nil {
		t.Error("hang: there was an answer")
	}
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func TestFileOfSpots(t *testing.T) {
	const two = `[{"Spotnum":"9","Date":"1684893480","Reporter":"N7TUG","ReporterGrid":"CN87tq","dB":"-24",
"MHz":"7.040061","CallSign":"KN0VA","Grid":"EN35","Power":"37","Drift":"0","distance":"2242","azimuth":"287",
"Band":"7","version":"","code":"1"},{"Spotnum":"5","Date":"1684893360","dB":"999"}]`
	path := filepath.Join(t.TempDir(), "spots.json")
	if err := os.WriteFile(path, []byte(two), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, moved := range []bool{false, true} {
		f, err := LoadSpots(path, moved)
		if err != nil {
			t.Fatal(err)
		}
		s := New(Options{Spots: f, Rate: -1})
		_, body := get(t, s, "spotnum_start=4")
		rows, r := read(body)
		want := slices.Collect(s.Expected(0, 100))
		if !reflect.DeepEqual(rows, want) || len(rows) != 1 || rows[0].ID != 9 || len(r.Rejected) != 1 {
			t.Fatalf("moved %v: got %+v, rejected %d, want %+v", moved, rows, len(r.Rejected), want)
		}
		if age := time.Since(time.Unix(rows[0].Time, 0)); moved && (age < 0 || age > 10*time.Minute) {
			t.Errorf("the newest spot is %v old", age)
		}
		if !moved && rows[0].Time != 1684893480 {
			t.Errorf("the date was moved to %d", rows[0].Time)
		}
	}
	if _, err := LoadSpots(filepath.Join(t.TempDir(), "none"), false); err == nil {
		t.Error("a missing file gives no error")
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkServe is a feed at full speed: into nothing, and over a connection.
func BenchmarkServe(b *testing.B) {
	s := New(Options{Backlog: 1 << 20, Rate: -1, PageLimit: 20_000, Holes: 0.002})
	b.Run("render", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			after := s.Oldest() + uint64(i)*20_000%(1<<20-20_000)
			s.ServeHTTP(discard{http.Header{}}, httptest.NewRequest("GET",
				fmt.Sprintf("%s?spotnum_start=%d", SpotsPath, after), nil))
		}
		b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "spots/s")
	})
	b.Run("loopback", func(b *testing.B) {
		srv := httptest.NewServer(s)
		defer srv.Close()
		for i := 0; b.Loop(); i++ {
			after := s.Oldest() + uint64(i)*20_000%(1<<20-20_000)
			resp, err := http.Get(fmt.Sprintf("%s%s?spotnum_start=%d", srv.URL, SpotsPath, after))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		b.ReportMetric(float64(b.N)*20_000/b.Elapsed().Seconds(), "spots/s")
	})
}

func TestStatusPage(t *testing.T) {
	s := New(Options{Backlog: 10, Rate: -1, Username: "u", Password: "p"})
	page := func() string {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Type"), "text/html") {
			t.Fatalf("got %d %v", w.Code, w.Header())
		}
		return w.Body.String()
	}
	text := page()
	for _, name := range append(faultNames(), "expire") {
		if !strings.Contains(text, `name="name" value="`+name+`"`) {
			t.Errorf("there is no button for %s", name)
		}
	}
	if !strings.Contains(text, "in good health") || strings.Contains(text, "Mend all") || strings.Contains(text, `class="on"`) {
		t.Error("a healthy feed does not look like one")
	}
	press := func(form string) int {
		r := httptest.NewRequest("POST", "http://127.0.0.1/faults", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	if code := press("name=500&on=true"); code != http.StatusSeeOther || s.Faults().Outage != "500" {
		t.Errorf("pressed: got %d, %+v", code, s.Faults())
	}
	if text := page(); !strings.Contains(text, "Mend all") || !strings.Contains(text, "error 500</span>") {
		t.Error("the page does not show the fault")
	}
	if press("name=all&on=false"); s.Faults() != (Faults{}) {
		t.Error("Mend all does not mend")
	}
	foreign := httptest.NewRequest("POST", "http://elsewhere.example/faults", strings.NewReader("name=500&on=true"))
	foreign.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, foreign); w.Code != http.StatusForbidden || s.Faults() != (Faults{}) {
		t.Errorf("a page of another site pressed: got %d", w.Code)
	}
	if code := press("name=nonsense"); code != http.StatusBadRequest {
		t.Errorf("nonsense: got %d", code)
	}
}
