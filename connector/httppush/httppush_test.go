package httppush

import (
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/sinktest"
)

func prepared(t *testing.T, s *service, change ...func(*Config)) *Sink {
	t.Helper()
	sink, err := s.sink(formatJSON, packNone, change...)
	if err == nil {
		t.Cleanup(func() { _ = sink.Close() })
		err = sink.Prepare(t.Context(), sinktest.Schema())
	}
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

// lose writes a delivery whose answer is lost, and then again with Unknown set.
func lose(t *testing.T, s *service, sink *Sink) (connector.Verdict, error) {
	t.Helper()
	_, d := sinktest.Numbered(1)
	s.lossy.Lose.Store(true)
	if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Transient) {
		t.Fatalf("the answer is lost: got %v (kind %v), want an outage", err, fault.KindOf(err))
	}
	d.Unknown = true
	return sink.Write(t.Context(), d)
}

// TestReceiverThatIgnoresTheKey: what Traits say is what happens.
func TestReceiverThatIgnoresTheKey(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *Config)
		rows   int
		says   connector.Exactness
	}{
		{"nothing is known of it", func(c *Config) { c.Idempotent, c.Keys = false, "" }, 800, connector.AtLeastOnce},
		{"no keys", func(c *Config) { c.Keys = "" }, 800, connector.AtLeastOnce},
		{"asked before a repeat", func(c *Config) {
			c.Idempotent = false
			c.Lookup = strings.Replace(c.URL, "/rows", "/taken?key={{.Key}}", 1)
		}, 400, connector.AtLeastOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(t)
			s.control("ignores=1")
			sink := prepared(t, s, c.change)
			v, err := lose(t, s, sink)
			rows, rerr := s.rows()
			if err != nil || rerr != nil || len(rows) != c.rows || v.Present != int64(800-c.rows) {
				t.Errorf("got %d rows, %+v, %v %v; want %d rows", len(rows), v, err, rerr, c.rows)
			}
			if got := sink.Traits().Exactness; got != c.says {
				t.Errorf("traits: got %q, want %q", got, c.says)
			}
		})
	}
	if sink := prepared(t, newService(t)); sink.Traits().Exactness != connector.ExactlyOnce {
		t.Error("a receiver that is idempotent and can be asked: want exactly once")
	}
}

// TestPartAndWhole: an attempt by key brought the part of a delivery that was missing, its outcome is not known, and
// the next one is not by key: the receiver does not know the delivery's own key.
func TestPartAndWhole(t *testing.T) {
	s := newService(t)
	sink := prepared(t, s)
	_, d := sinktest.Numbered(1)
	old := d
	old.Token.Lineage, old.Rows = record.Lineage{9}, d.Rows.NewSlice(0, 100)
	for i, d := range []connector.Delivery{old, d, d} {
		d.ByKey, d.Unknown = i == 1, i == 2
		if _, err := sink.Write(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if rows, err := s.rows(); err != nil || len(rows) != 400 {
		t.Errorf("got %d rows (%v), want 400", len(rows), err)
	}
}

// TestAlready: a status means that the receiver has a delivery only if it was tried before.
func TestAlready(t *testing.T) {
	s := newService(t)
	s.control("conflict=409")
	sink := prepared(t, s, func(c *Config) { c.Keys = "" }) // without a question for them the post is all there is
	if _, err := lose(t, s, sink); !fault.Is(err, fault.Transient) || !strings.Contains(fault.HintOf(err), "409") {
		t.Errorf("409 to a repeat: got %v (hint %q), want an outage with a hint", err, fault.HintOf(err))
	}
	sink = prepared(t, s, func(c *Config) { c.Keys, c.Already = "", []int{409} })
	_, d := sinktest.Numbered(1)
	if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Transient) {
		t.Errorf("409 to a first attempt: got %v, want an outage", err)
	}
	d.Unknown = true
	if v, err := sink.Write(t.Context(), d); err != nil || v.Present != sinktest.PerDelivery {
		t.Errorf("got %+v %v, want all present", v, err)
	}
}

// TestRepeatIsTheSameToTheByte: key, body, headers and URL of every attempt, by any process.
func TestRepeatIsTheSameToTheByte(t *testing.T) {
	for _, c := range [][2]string{{formatJSON, packNone}, {formatJSONL, packGzip}, {formatCSV, packZstd}} {
		var asked [][32]byte
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions {
				return
			}
			h := sha256.New()
			for _, name := range []string{"Idempotency-Key", "Content-Type", "Content-Encoding", "X-Key"} {
				_, _ = io.WriteString(h, name+r.Header.Get(name))
			}
			_, _ = io.WriteString(h, r.URL.String())
			_, _ = io.Copy(h, r.Body)
			asked = append(asked, [32]byte(h.Sum(nil)))
			if !strings.HasPrefix(r.Header.Get("Idempotency-Key"), `"spots/`) ||
				r.Header.Get("X-Key") != strings.Trim(r.Header.Get("Idempotency-Key"), `"`) {
				t.Errorf("key %s, in a header of ours %s", r.Header.Get("Idempotency-Key"), r.Header.Get("X-Key"))
			}
			w.WriteHeader(http.StatusBadGateway)
		}))
		_, d := sinktest.Numbered(3)
		for range 3 {
			sink, err := New(Config{URL: srv.URL + "/{{.Job}}/{{.Rows}}?k={{.Key}}", Format: c[0], Compression: c[1],
				Headers: map[string]secret.Text{"X-Key": "{{.Key}}"}})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Transient) {
					t.Errorf("got %v (kind %v), want an outage", err, fault.KindOf(err))
				}
				d.Unknown = true
			}
			_ = sink.Close()
		}
		srv.Close()
		if len(asked) != 6 || len(slices.Compact(asked)) != 1 {
			t.Errorf("%v: %d different requests of 6", c, len(slices.Compact(asked)))
		}
	}
}

// TestAnswers: what a status means.
func TestAnswers(t *testing.T) {
	status, after := 0, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.Header().Set("Location", "http://elsewhere.invalid/")
		w.WriteHeader(status)
	}))
	defer srv.Close()
	sink, err := New(Config{URL: srv.URL + "/rows?secret=geheim", Headers: map[string]secret.Text{"X": "geheim"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	_, d := sinktest.Numbered(1)
	for _, c := range []struct {
		status int
		after  string
		kind   fault.Kind
		wait   time.Duration
	}{
		{301, "", fault.Permanent, 0}, {307, "", fault.Permanent, 0}, {400, "", fault.Invalid, 0},
		{401, "", fault.Credentials, 0}, {403, "", fault.Credentials, 0}, {404, "", fault.Permanent, 0},
		{405, "", fault.Permanent, 0}, {408, "", fault.Transient, 0}, {409, "", fault.Transient, 0},
		{413, "", fault.Invalid, 0}, {415, "", fault.Permanent, 0}, {422, "", fault.Invalid, 0},
		{425, "", fault.Transient, 0}, {429, "", fault.Throttled, 0}, {429, "9", fault.Throttled, 9 * time.Second},
		{500, "", fault.Transient, 0}, {503, "", fault.Transient, 0}, {503, "3", fault.Throttled, 3 * time.Second},
		{507, "", fault.Full, 0},
	} {
		status, after = c.status, c.after
		_, err := sink.Write(t.Context(), d)
		if fault.KindOf(err) != c.kind || fault.WaitOf(err) != c.wait {
			t.Errorf("%d: got %v, wait %v, want %v, %v", c.status, fault.KindOf(err), fault.WaitOf(err), c.kind, c.wait)
		}
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%d: got %v", c.status, err)
		}
	}
}

func TestValidate(t *testing.T) {
	errs := Config{URL: "ftp://x/{{.Key}}", Lookup: "http://x/y", Keys: "http://x/{{.From}}", Format: "xml",
		Already: []int{401}, Refused: []int{500}, Rejected: ".[", Auth: Auth{Basic: &Basic{}, Bearer: "x"},
		Headers: map[string]secret.Text{"authorization": "x"}, KeyHeader: "a b", Timeout: -1}.Validate()
	var keys []string
	for _, err := range errs {
		key, _, _ := strings.Cut(err.Error(), ":")
		keys = append(keys, key)
	}
	want := "already auth.basic.user auth format headers key_header keys keys lookup refused rejected timeout url"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("got faults of %s, want %s", got, want)
	}
	if errs := (Config{URL: "http://x/", Already: []int{422}}).Validate(); len(errs) != 0 {
		t.Errorf("a status that refused has by default: got %v", errs)
	}
	if errs := (Config{URL: "http://x/{{.Nothing}}"}).Validate(); len(errs) != 1 ||
		!strings.HasPrefix(errs[0].Error(), "url: is no template") {
		t.Errorf("got %v", errs)
	}
}

// TestLostRowsAreNotPresent: rows that the receiver has lost are sent under another key, once it says of the old one that it was
// done; what it still had is all that was present.
func TestLostRowsAreNotPresent(t *testing.T) {
	s := newService(t)
	sink := prepared(t, s)
	spots, d := sinktest.Numbered(1)
	ids := make([]uint64, len(spots))
	for i, spot := range spots {
		ids[i] = spot.ID
	}
	if v, err := sink.Write(t.Context(), d); err != nil || v.Present != 0 {
		t.Fatalf("got %+v, %v", v, err)
	}
	const lost = 3
	d.ByKey = true
	for _, left := range []int{len(ids) - lost, len(ids) - lost, 0} {
		if err := s.each("DELETE FROM rows WHERE id = ?")(ids[left:]); err != nil {
			t.Fatal(err)
		}
		v, err := sink.Write(t.Context(), d)
		if err != nil || v.Present != int64(left) {
			t.Errorf("%d rows were left: got %d present, %v", left, v.Present, err)
		}
	}
}
