package streamer

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/nats"
	"holdfast/job/stream/wire"
)

// embedded is the broker of this process.
func embedded(t *testing.T) connector.Broker {
	t.Helper()
	e, err := nats.StartEmbedded(nats.EmbeddedConfig{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Broker(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(); _ = e.Close() })
	return b
}

// TestPayloads: the payload of a batch is the original's, byte by byte.
func TestPayloads(t *testing.T) {
	b := embedded(t)
	l := newListener(t, b)
	defer l.listen(t.Context())()
	at := day.Add(7 * time.Hour)
	rows := []obs{{at, "00501", 40}, {at.Add(30 * time.Minute), "a\"b", -0.1}, {at, "é", 1e21}}
	src := feedOf(rows, 2)
	for layout, want := range map[string][2]string{
		"": {`[{"time":"2023-09-19 07:00","zip_code":"00501","temp_c":40.0,"hour":7},` +
			`{"time":"2023-09-19 07:30","zip_code":"a\"b","temp_c":-0.1,"hour":7}]`,
			`[{"time":"2023-09-19 07:00","zip_code":"é","temp_c":1e+21,"hour":7}]`},
		time.RFC3339: {`[{"time":"2023-09-19T07:00:00Z","zip_code":"00501","temp_c":40.0,"hour":7},` +
			`{"time":"2023-09-19T07:30:00Z","zip_code":"a\"b","temp_c":-0.1,"hour":7}]`,
			`[{"time":"2023-09-19T07:00:00Z","zip_code":"é","temp_c":1e+21,"hour":7}]`},
	} {
		l.forget()
		r := newRig(t, b, func() connector.Source { return src })
		r.cfg.Batch, r.cfg.TimeLayout = 2, layout
		stop, _ := r.start()
		until(t, "both batches", func() bool { return len(l.heard()) == 3 })
		stop()
		if got := l.heard(); !same(got, []string{"manifest:1", "0:7", "LAST:7"}) {
			t.Errorf("got %v", got)
		}
		for i, key := range []string{"0:7", "LAST:7"} {
			if got := l.payload(key, 0); got != want[i] {
				t.Errorf("%s: got\n%s, want\n%s", key, got, want[i])
			}
		}
	}
}

// TestAnHour: 44,000 rows of 38 columns are the 88 batches of the original, the last one LAST, and the
// manifest says what they are.
func TestAnHour(t *testing.T) {
	b := embedded(t)
	l := newListener(t, b)
	l.confirms = true
	defer l.listen(t.Context())()
	src := &feed{schema: record.NewSchema(weather(), "", "time"), pages: []connector.Page{
		{Rows: weatherRows(20_000, day)}, {Rows: weatherRows(20_000, day)}, {Rows: weatherRows(4_000, day)}}}
	r := newRig(t, b, func() connector.Source { return src })
	r.once()
	var want []string
	want = append(want, "manifest:1")
	for i := range 87 {
		want = append(want, fmt.Sprintf("%d:0", i))
	}
	want = append(want, "LAST:0")
	if got := l.heard(); !same(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	m := l.all()[0]
	if !m.From.Equal(day) || !m.To.Equal(day.Add(time.Hour)) || m.Window != "0" || len(m.Batches) != 88 {
		t.Errorf("manifest: %v to %v, %s, %d batches", m.From, m.To, m.Window, len(m.Batches))
	}
	for i, key := range want[1:] {
		payload := []byte(l.payload(key, 0))
		if n := bytes.Count(payload, []byte(`"hour":0}`)); n != 500 || m.Batches[i].Rows != n ||
			m.Batches[i].Hash != wire.Hash(payload) {
			t.Fatalf("%s: %d rows, the manifest says %+v", key, n, m.Batches[i])
		}
	}
	if items, err := itemsOf([]byte(l.payload("LAST:0", 0))); err != nil || len(items) != 500 || len(items[0]) != 38 {
		t.Errorf("LAST: %d rows of %d members (%v)", len(items), len(items[0]), err)
	}
	if b := l.lastBeacon(); !b.End || b.Newest != 1 || b.Confirmed != 1 {
		t.Errorf("last beacon: %+v", b)
	}
	if got := r.books(); got.Read != 44_000 || got.Accepted != 44_000 {
		t.Errorf("books: %+v", got)
	}
}

// TestDeadLetters: what can't be sent is a dead letter with its reason, and its neighbours go.
func TestDeadLetters(t *testing.T) {
	b := embedded(t)
	l := newListener(t, b)
	l.confirms = true
	defer l.listen(t.Context())()
	at := day.Add(time.Hour)
	rows := []obs{{at, "1", 1}, {time.Time{}, "2", 2}, {at, "3", math.NaN()}, {at, "4", 4},
		{at, strings.Repeat("x", 9<<20), 5}, {at, "bad \xff", 6}}
	src := feedOf(rows, 10)
	src.pages[0].Rejected = []connector.Reject{{Raw: []byte("?,?"), Reason: "line 9 of data.csv: temp_c is no number"}}
	src.pages[0].Filtered = 3
	r := newRig(t, b, func() connector.Source { return src })
	r.once()
	if got := l.payload("LAST:1", 0); !strings.Contains(got, `"zip_code":"4"`) || strings.Count(got, "zip_code") != 2 {
		t.Errorf("got %s", got)
	}
	got := r.books()
	if got.Read != 10 || got.Accepted != 2 || got.Rejected != 5 || got.Filtered != 3 {
		t.Errorf("books: %+v", got)
	}
	reasons := strings.Join(r.letters(), "\n")
	for _, want := range []string{"line 9 of data.csv", "time is null", "temp_c is NaN", "bytes as JSON",
		"zip_code is not UTF-8"} {
		if !strings.Contains(reasons, want) {
			t.Errorf("no dead letter says %q: %s", want, reasons)
		}
	}
	if w := r.events("dead.intake"); len(w) != 1 || !strings.HasPrefix(w[0], "5 of 7 rows") {
		t.Errorf("events: %q", w)
	}
}
