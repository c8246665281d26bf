package influxdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/tests/testenv"
)

// report is a row of a report; a value of "" is null, and so is a temp of 0.
type report struct {
	hour        int
	state, zip  string
	temp        float64
	name        string
	revision    int64
	unversioned bool // the revision is null
}

var reportSchema = record.NewSchema([]arrow.Field{{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
	{Name: "state", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "zip", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "temp", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "revision", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, "", "time")

const firstHour = 1695081600

func reports(rows ...report) connector.Delivery {
	b := array.NewRecordBuilder(memory.DefaultAllocator, reportSchema.Schema)
	text := func(i int, v string) {
		if b := b.Field(i).(*array.StringBuilder); v == "" {
			b.AppendNull()
		} else {
			b.Append(v)
		}
	}
	for _, r := range rows {
		b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(firstHour + 3600*r.hour))
		text(1, r.state)
		text(2, r.zip)
		if temp := b.Field(3).(*array.Float64Builder); r.temp == 0 {
			temp.AppendNull()
		} else {
			temp.Append(r.temp)
		}
		text(4, r.name)
		if revision := b.Field(5).(*array.Int64Builder); r.unversioned {
			revision.AppendNull()
		} else {
			revision.Append(r.revision)
		}
	}
	return delivery(reportSchema, b.NewRecordBatch())
}

func (r report) String() string {
	return fmt.Sprintf("%d %q %q %v %q r%d", r.hour, r.state, r.zip, r.temp, r.name, r.revision)
}

// reportsAt is a sink of reports on a fresh server.
func reportsAt(t testing.TB, s *testenv.InfluxServer) *Sink {
	t.Helper()
	sink, err := New(Config{URL: "http://" + s.Addr(), Database: "d", Measurement: "m", Username: "admin",
		Password: "geheim123", Create: true, Tags: []string{"state", "zip"}, Precision: "s", Unique: true,
		Replace: "revision", Timeout: 5 * time.Second, Request: 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	if err := sink.Prepare(t.Context(), reportSchema); err != nil {
		t.Fatal(err)
	}
	return sink
}

// puts writes rows, which must all be taken or superseded.
func puts(t *testing.T, s *Sink, present int64, rows ...report) {
	t.Helper()
	v, err := s.Write(t.Context(), reports(rows...))
	if err != nil || len(v.Rejected) > 0 || v.Present != present {
		t.Fatalf("got %+v %v, want %d present", v, err, present)
	}
}

// stands wants exactly these reports in the measurement, asked for without the sink's own ways.
func stands(t *testing.T, s *Sink, want ...report) {
	t.Helper()
	var got []string
	err := s.Query(t.Context(), "SELECT * FROM m", nil, func(r Row) error {
		at, _ := r.Time()
		text := func(name string) string { v, _ := r.Value(name).(string); return v }
		got = append(got, fmt.Sprintf("%d %q %q %v %q r%v", (at.Unix()-firstHour)/3600, text("state"), text("zip"),
			orNull(r.Value("temp")), text("name"), r.Value("revision")))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(want))
	for i, r := range want {
		texts[i] = r.String()
	}
	slices.Sort(got)
	slices.Sort(texts)
	if !slices.Equal(got, texts) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(texts, "\n  "))
	}
}

func orNull(v any) any {
	if v == nil {
		return 0
	}
	return v
}

// TestReplace: of each time only the highest revision stands, in parts, in any order, and again; with both kinds
// of index that a server can have.
func TestReplace(t *testing.T) {
	for _, index := range []string{"inmem", "tsi1"} {
		t.Run(index, func(t *testing.T) { replaces(t, testenv.Influx(t, "", "INFLUXDB_DATA_INDEX_VERSION="+index)) })
	}
}

func replaces(t *testing.T, server *testenv.InfluxServer) {
	s := reportsAt(t, server)
	ohio := report{0, "Ohio", "1", 20, "a", 1, false}
	iowa := report{0, "Iowa", "", 21, "", 1, false}
	utah := report{0, "Utah", "3", 22, "c", 1, false}
	next := report{1, "Ohio", "1", 30, "a", 1, false}
	puts(t, s, 0, ohio, next)
	puts(t, s, 0, iowa, utah) // the rest of the same report
	puts(t, s, 0, ohio, next)
	stands(t, s, ohio, iowa, utah, next)

	// Utah is over, and Ohio has no name any more: neither is seen through the next revision.
	ohio2 := report{0, "Ohio", "1", 25, "", 2, false}
	iowa2 := report{0, "Iowa", "", 26, "b", 2, false}
	puts(t, s, 0, ohio2)
	stands(t, s, ohio2, next)
	puts(t, s, 0, iowa2)
	stands(t, s, ohio2, iowa2, next)

	// What comes late is there already, in a better form. A mixed delivery replaces itself.
	puts(t, s, 2, utah, iowa)
	puts(t, s, 1, utah, report{0, "Utah", "4", 23, "", 2, false})
	stands(t, s, ohio2, iowa2, next, report{0, "Utah", "4", 23, "", 2, false})
	last := report{0, "Iowa", "", 1, "", 7, false}
	puts(t, s, 2, report{0, "Iowa", "", 5, "x", 3, false}, last, report{0, "Ohio", "1", 5, "x", 6, false})
	stands(t, s, last, next)

	// Another process finds what stands.
	again := reportsAt(t, server)
	puts(t, again, 1, ohio2)
	puts(t, again, 0, report{1, "Ohio", "", 5, "", 2, false})
	stands(t, s, last, report{1, "Ohio", "", 5, "", 2, false})
	negative := report{9, "Ohio", "", 5, "", -3, false}
	puts(t, again, 0, negative)
	puts(t, s, 0, report{8, "Ohio", "", 5, "", 0, false})
	stands(t, s, last, report{1, "Ohio", "", 5, "", 2, false}, negative, report{8, "Ohio", "", 5, "", 0, false})
}

// TestReplaceBeforeRevisions: points of a time before there were revisions are older than any; what is not of
// the measurement, or of another time, stays.
func TestReplaceBeforeRevisions(t *testing.T) {
	server := testenv.Influx(t, "")
	server.Query(t, "", "CREATE DATABASE d")
	at := func(hour int) string { return fmt.Sprint(firstHour+3600*hour, "000000000") }
	server.Write(t, "d", "m,state=Ohio,zip=1 temp=1,other=\"x\" "+at(0)+"\nm,state=Iowa,planet=earth temp=1 "+at(0)+
		"\nm temp=1 "+at(0)+"\nm,state=Ohio temp=1 "+at(1)+"\nn,state=Ohio temp=1 "+at(0))
	s := reportsAt(t, server)
	ohio := report{0, "Ohio", "1", 20, "a", -5, false}
	puts(t, s, 0, ohio)
	got := server.Query(t, "d", "SELECT * FROM m")
	if n := strings.Count(got, "],["); n != 1 || !strings.Contains(got, `"a",null,-5,"Ohio",20,"1"]`) ||
		!strings.Contains(got, at(1)) {
		t.Errorf("got %s, want the new point, with nothing of the old one, and the next hour", got)
	}
	if got := server.Query(t, "d", "SELECT * FROM n"); !strings.Contains(got, at(0)) {
		t.Errorf("got %s, want the other measurement's point", got)
	}
}

// TestReplaceMany: more points than one statement deletes; those of the hour before stay.
func TestReplaceMany(t *testing.T) {
	s := reportsAt(t, testenv.Influx(t, ""))
	s.cfg.Request = 1000
	var old, before []report
	for i := range 2*atOnce + 200 {
		old = append(old, report{1, []string{"Ohio", "Iowa"}[i%2], fmt.Sprint(i), 1, "x", 1, false})
		before = append(before, old[i])
		before[i].hour = 0
	}
	puts(t, s, 0, before...)
	puts(t, s, 0, old...)
	last := report{1, "Utah", "1", 1, "", 2, false}
	puts(t, s, 0, last)
	stands(t, s, append(before, last)...)
}

// TestReplaceHostileTags: what a tag holds is a value, also where points are deleted by it.
func TestReplaceHostileTags(t *testing.T) {
	s := reportsAt(t, testenv.Influx(t, ""))
	texts := []string{`x' OR 1=1`, `x' OR 1=1 --`, `'`, `''`, `"`, `\'x`, `a\b`, `a\\b`, `a\nb`, `$t`, `$p0`, `%`, `.*`, `/.*/`,
		`"; DROP MEASUREMENT m; --`, `'; DROP MEASUREMENT m; --`, `日本 🌍`, ` `, `a b,c=d`, `null`, `time`, `) OR (1=1`}
	var rows []report
	for i, x := range texts {
		rows = append(rows, report{i, x, "z" + x, 1, "", 1, false}, report{i, "Ohio", x, 1, "", 1, false},
			report{i, "Ohio", "stays", 1, "", 1, false})
	}
	puts(t, s, 0, rows...)
	stands(t, s, rows...)
	// Each text's hour loses the points with the text, and keeps one that is written over.
	var want []report
	for i := range texts {
		want = append(want, report{i, "Ohio", "stays", 2, "", 2, false})
	}
	puts(t, s, 0, want...)
	stands(t, s, want...)
}

// TestReplaceRefused: a row that is refused, by us or by the server, replaces nothing.
func TestReplaceRefused(t *testing.T) {
	s := reportsAt(t, testenv.Influx(t, ""))
	ohio, iowa := report{0, "Ohio", "1", 20, "a", 1, false}, report{0, "Iowa", "1", 20, "a", 1, false}
	puts(t, s, 0, ohio, iowa)
	long := strings.Repeat("long", 20_000) // more than the server takes for a tag
	for _, bad := range []report{{0, "two\nlines", "1", 1, "", 2, false}, {0, long, "1", 1, "", 2, false},
		{0, "Ohio", "1", 1, "", 0, true}, {0, "", "", 1, "", 2, false}} {
		for _, beside := range [][]report{nil, {ohio}, {{3, "Ohio", "1", 1, "", 1, false}}} {
			v, err := s.Write(t.Context(), reports(append(beside, bad)...))
			if err != nil || len(v.Rejected) != 1 || v.Rejected[0].Row != len(beside) || v.Present != 0 {
				t.Fatalf("%.20q: got %+v %v, want the last row refused and none present", bad.state, v, err)
			}
		}
	}
	stands(t, s, ohio, iowa, report{3, "Ohio", "1", 1, "", 1, false})
	// Beside one that is taken, it is a row less of the next revision.
	ohio.revision = 2
	if v, err := s.Write(t.Context(), reports(report{0, long, "1", 1, "", 2, false}, ohio)); err != nil ||
		len(v.Rejected) != 1 {
		t.Fatalf("got %+v %v, want one refused", v, err)
	}
	stands(t, s, ohio, report{3, "Ohio", "1", 1, "", 1, false})
}

// errCut is a connection that broke.
var errCut = errors.New("cut")

// wire is what stands between a sink and its server; do decides what becomes of each request.
type wire struct {
	base http.RoundTripper
	mu   sync.Mutex // guards what stands below
	seen []string   // the statements, and "write"
	do   func(what string, send func() (*http.Response, error)) (*http.Response, error)
}

func wired(c *Client) *wire {
	w := &wire{base: c.http.Transport}
	w.do = func(_ string, send func() (*http.Response, error)) (*http.Response, error) { return send() }
	c.http.Transport = w
	return w
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	what := "write"
	if strings.HasSuffix(strings.Fields(string(text) + " - -")[1], "time=true") {
		what = "hold"
	}
	if strings.HasSuffix(req.URL.Path, "/query") {
		form, err := url.ParseQuery(string(text))
		if err != nil {
			return nil, err
		}
		what = form.Get("q")
	}
	w.mu.Lock()
	w.seen = append(w.seen, what)
	do := w.do
	w.mu.Unlock()
	return do(what, func() (*http.Response, error) {
		again := req.Clone(req.Context())
		if req.Context().Err() != nil { // it was given up, and is executed late
			again = req.Clone(context.WithoutCancel(req.Context()))
		}
		again.Body = io.NopCloser(strings.NewReader(string(text)))
		return w.base.RoundTrip(again)
	})
}

// CloseIdleConnections lets the client close what it holds.
func (w *wire) CloseIdleConnections() { w.base.(*http.Transport).CloseIdleConnections() }

// TestReplaceHistories: whatever comes, in whatever order, cut off wherever and then repeated, also by
// another process: of each time the rows of the highest revision stand, and nothing else.
func TestReplaceHistories(t *testing.T) {
	server := testenv.Influx(t, "")
	for seed := range testenv.Count(t, 400) {
		rng := rand.New(rand.NewSource(int64(seed)))
		server.Query(t, "", "DROP DATABASE d")
		s := reportsAt(t, server)
		cut := 0.3 * rng.Float64()
		broken := func(_ string, send func() (*http.Response, error)) (*http.Response, error) {
			switch x := rng.Float64(); {
			case x < cut/2:
				return nil, errCut
			case x < cut:
				if res, err := send(); err == nil { // executed, or still under way
					_ = res.Body.Close()
				}
				return nil, errCut
			}
			return send()
		}
		wired(s.Client).do = broken
		want := map[string]report{}
		var all [][]report
		for range 3 + rng.Intn(6) {
			all = append(all, someReports(rng))
		}
		all = append(all, all[rng.Intn(len(all))], all[rng.Intn(len(all))])
		for _, rows := range all {
			for _, r := range rows {
				now := r
				for at, old := range want {
					switch {
					case old.hour != r.hour:
					case old.revision > r.revision:
						now.revision = old.revision
					case old.revision < r.revision:
						delete(want, at)
					}
				}
				if now == r {
					want[fmt.Sprint(r.hour, r.state, r.zip)] = r
				}
			}
			d := reports(rows...)
			for attempts := 1; ; attempts++ {
				v, err := s.Write(t.Context(), d)
				if err == nil {
					if len(v.Rejected) > 0 {
						t.Fatalf("seed %d: refused %+v", seed, v.Rejected)
					}
					break
				}
				if !fault.Is(err, fault.Transient) || attempts == 1000 {
					t.Fatalf("seed %d: %v (kind %v)", seed, err, fault.KindOf(err))
				}
				d.Unknown = true
				if rng.Intn(3) == 0 { // the process was killed
					s = reportsAt(t, server)
					wired(s.Client).do = broken
				}
			}
		}
		var left []report
		for _, r := range want {
			left = append(left, r)
		}
		stands(t, reportsAt(t, server), left...)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// someReports are rows of few times, series and revisions; what a row says follows from these three.
func someReports(rng *rand.Rand) (rows []report) {
	has := map[string]bool{}
	revision := int64(rng.Intn(4))
	for range 1 + rng.Intn(12) {
		r := report{hour: rng.Intn(3), state: []string{"Ohio", "Iowa", `x' OR 1=1`}[rng.Intn(3)],
			zip: []string{"", "1", "2"}[rng.Intn(3)], revision: revision}
		if rng.Intn(4) == 0 {
			r.revision = int64(rng.Intn(4))
		}
		r.temp = float64((len(r.state)*7+len(r.zip)*3+int(r.revision)*5+r.hour)%3) / 2
		r.name = []string{"", "n"}[(len(r.state)+int(r.revision))%2]
		if r.temp == 0 && r.name == "" {
			r.temp = 1
		}
		if key := fmt.Sprint(r.hour, r.state, r.zip, r.revision); !has[key] {
			has[key] = true
			rows = append(rows, r)
		}
	}
	return rows
}

// TestLateDeletion: a deletion whose attempt was given up is executed while the next one works. Whenever that
// is, the delivery is not done before its points stand.
func TestLateDeletion(t *testing.T) {
	server := testenv.Influx(t, "")
	old, new := report{0, "Ohio", "1", 20, "a", 1, false}, report{0, "Ohio", "1", 25, "", 2, false}
	for _, behind := range []string{"SHOW QUERIES", "SELECT *", "DELETE", "write"} {
		server.Query(t, "", "DROP DATABASE d")
		s := reportsAt(t, server)
		puts(t, s, 0, old)
		w := wired(s.Client)
		var held func() (*http.Response, error)
		w.do = func(what string, send func() (*http.Response, error)) (*http.Response, error) {
			if strings.HasPrefix(what, "DELETE") {
				held = send
				return nil, errCut
			}
			return send()
		}
		d := reports(new)
		if _, err := s.Write(t.Context(), d); !fault.Is(err, fault.Transient) || held == nil {
			t.Fatalf("got %v, want an outage at a deletion", err)
		}
		late := false
		w.do = func(what string, send func() (*http.Response, error)) (*http.Response, error) {
			res, err := send()
			if !late && strings.HasPrefix(what, behind) {
				late = true
				if res, err := held(); err == nil { // its head comes before it is done
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				// The server lists it for a moment longer than its answer lasts.
				for end := time.Now().Add(10 * time.Second); s.quiet(t.Context()) != nil && time.Now().Before(end); {
				}
			}
			return res, err
		}
		var last error
		failed := 0
		for d.Unknown = true; ; failed++ {
			_, err := s.Write(t.Context(), d)
			if err == nil {
				break
			}
			if !fault.Is(err, fault.Transient) || failed > 3 {
				t.Fatalf("behind %s: %v (kind %v)", behind, err, fault.KindOf(err))
			}
			last = err
		}
		if !late || (failed > 0) != (behind == "write") {
			t.Errorf("behind %s: late %v, %d attempts failed, the last with %v", behind, late, failed, last)
		}
		stands(t, s, new)
	}
}

// TestDeletionUnderWay: nothing is done while a deletion runs that may be ours.
func TestDeletionUnderWay(t *testing.T) {
	s := reportsAt(t, testenv.Influx(t, ""))
	w := wired(s.Client)
	running := true
	w.do = func(what string, send func() (*http.Response, error)) (*http.Response, error) {
		if what == "SHOW QUERIES" && running {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(
				`{"results":[{"series":[{"columns":["qid","query","database","duration","status"],"values":[` +
					`[1,"SHOW QUERIES","d","1s","running"],[2,"DELETE FROM m WHERE time = 1","d","1s","running"]]}]}]}`))}, nil
		}
		return send()
	}
	d := reports(report{0, "Ohio", "1", 25, "", 2, false})
	d.Unknown = true
	if _, err := s.Write(t.Context(), d); !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("got %v (kind %v), want an outage", err, fault.KindOf(err))
	}
	if got := strings.Join(w.seen, "|"); got != "SHOW QUERIES" {
		t.Errorf("sent %s, want nothing but the question", got)
	}
	running = false
	if _, err := s.Write(t.Context(), d); err != nil {
		t.Errorf("it is over: %v", err)
	}
}

// TestReplaceAsksLittle: first revisions, in the order of time, are written without a question.
func TestReplaceAsksLittle(t *testing.T) {
	server := testenv.Influx(t, "")
	s := reportsAt(t, server)
	w := wired(s.Client)
	sent := func(want string) {
		t.Helper()
		for i, what := range w.seen {
			w.seen[i], _, _ = strings.Cut(what, " ")
		}
		if got := strings.Join(w.seen, " "); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		w.seen = nil
	}
	at := func(hour int, revision int64) report { return report{hour, "Ohio", "1", 25, "", revision, false} }
	puts(t, s, 0, at(5, 1))
	sent("SELECT SELECT write") // is there anything later? what stands there?
	puts(t, s, 0, at(6, 1), at(7, 1))
	sent("write")
	puts(t, s, 0, at(7, 2)) // written over
	sent("SELECT write")
	puts(t, s, 0, at(1, 1), at(2, 1), at(3, 1), at(300, 1)) // within a day of one another: one question
	sent("SELECT write")
	puts(t, s, 0, report{7, "Iowa", "1", 25, "", 3, false})
	sent("SELECT write hold DELETE")
	// Behind an outage somebody may have written.
	if err := s.Prepare(t.Context(), reportSchema); err != nil {
		t.Fatal(err)
	}
	w.seen = nil
	server.Write(t, "d", fmt.Sprintf("m,state=Utah temp=1,revision=1i %d000000000", firstHour+3600*400))
	puts(t, s, 0, at(350, 1))
	sent("SELECT SELECT write")
	puts(t, s, 0, at(400, 2))
	sent("SELECT write hold DELETE")
}

// TestOtherPolicies: InfluxDB deletes in all retention policies, so none other may have points of the
// measurement.
func TestOtherPolicies(t *testing.T) {
	server := testenv.Influx(t, "")
	s := reportsAt(t, server)
	server.Query(t, "", "CREATE RETENTION POLICY r ON d DURATION INF REPLICATION 1")
	puts(t, s, 0, report{0, "Ohio", "1", 25, "", 2, false})
	if err := s.Prepare(t.Context(), reportSchema); err != nil {
		t.Errorf("an empty policy beside: %v", err)
	}
	server.Query(t, "d", "SELECT temp INTO r.m FROM m")
	err := s.Prepare(t.Context(), reportSchema)
	if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), "retention policy r has points of m") {
		t.Errorf("got %v (kind %v), want permanent and the policy's name", err, fault.KindOf(err))
	}
	server.Query(t, "d", "DROP RETENTION POLICY r ON d")
	if err := s.Prepare(t.Context(), reportSchema); err != nil {
		t.Errorf("the policy is gone: %v", err)
	}
}

// TestReplaceFrozen: the server stops in the middle of a replacement, for longer than a time-out.
func TestReplaceFrozen(t *testing.T) {
	server := newServer(t, "")
	s := reportsAt(t, server.InfluxServer)
	s.c.Timeout = time.Second
	var old, new []report
	for i := range 30 {
		old = append(old, report{0, "Ohio", fmt.Sprint(i), 1, "x", 1, false})
		new = append(new, report{0, "Ohio", fmt.Sprint(i + 15), 2, "", 2, false})
	}
	for _, at := range []string{"SELECT", "DELETE", "write"} {
		puts(t, s, 0, old...)
		w := wired(s.Client)
		var frozen atomic.Bool
		w.do = func(what string, send func() (*http.Response, error)) (*http.Response, error) {
			if strings.HasPrefix(what, at) && frozen.CompareAndSwap(false, true) {
				server.Freeze()
			}
			return send()
		}
		d := reports(new...)
		_, err := s.Write(t.Context(), d)
		server.Thaw()
		if !fault.Is(err, fault.Transient) {
			t.Fatalf("frozen at %s: got %v (kind %v)", at, err, fault.KindOf(err))
		}
		d.Unknown = true
		testenv.Until(t, 30*time.Second, "the delivery is done", func() bool {
			_, err := s.Write(t.Context(), d)
			if err != nil && !fault.Is(err, fault.Transient) {
				t.Fatal(err)
			}
			return err == nil
		})
		stands(t, s, new...)
		s.http.Transport = w.base
		for i := range old {
			old[i].revision, new[i].revision = old[i].revision+2, new[i].revision+2
		}
	}
}

// TestReplaceByAUser: it takes no admin, but to make the database.
func TestReplaceByAUser(t *testing.T) {
	server := testenv.Influx(t, "")
	for _, statement := range []string{"CREATE DATABASE d", "CREATE USER writer WITH PASSWORD 'geheim456'",
		"GRANT ALL ON d TO writer"} {
		server.Query(t, "", statement)
	}
	c := reportsAt(t, server).cfg
	c.Username, c.Password, c.Create = "writer", "geheim456", false
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Prepare(t.Context(), reportSchema); err != nil {
		t.Fatal(err)
	}
	puts(t, s, 0, report{0, "Ohio", "1", 20, "a", 1, false})
	d := reports(report{0, "Iowa", "1", 20, "a", 2, false})
	d.Unknown = true
	if _, err := s.Write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	stands(t, s, report{0, "Iowa", "1", 20, "a", 2, false})
	tables, err := OpenTables(c)
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	if got := readAll(t, tables, connector.TableQuery{Table: "m", Columns: []string{"state"}}); len(got) != 1 {
		t.Errorf("got %q, want a row", got)
	}
}

// TestReplaceMappings: a column that can't be the revision is refused by its name.
func TestReplaceMappings(t *testing.T) {
	for _, c := range []struct{ replace, want string }{{"revision", ""}, {"x", "no column x, which replace names"},
		{"temp", "column temp is float64"}, {"name", "column name is utf8"}, {"zip", "column zip is no field"},
		{"time", "column time is no field"}} {
		cfg := Config{Database: "d", Measurement: "m", Tags: []string{"zip"}, Unique: true, Replace: c.replace}.WithDefaults()
		_, err := cfg.mappingOf(reportSchema)
		if c.want == "" && err != nil || c.want != "" && (!fault.Is(err, fault.Permanent) ||
			!strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.replace, err, c.want)
		}
	}
}

// FuzzDeletion: a text of a tag never becomes a part of a statement.
func FuzzDeletion(f *testing.F) {
	f.Add("m", "state", "Ohio", "Iowa")
	f.Add(`m" WHERE 1=1`, `s"`, `x' OR 1=1`, "")
	f.Add("m\n", `\`, `\'`, "$t")
	f.Fuzz(func(t *testing.T, measurement, name, a, b string) {
		text, params := deletion(measurement, 7, []standing{{tags: map[string]string{name: a, "x": a}},
			{tags: map[string]string{name: b, "x": a}}})
		want := "DELETE FROM " + identifier(measurement) + " WHERE time = $t AND "
		if !strings.HasPrefix(text, want) {
			t.Fatalf("got %s, want it to begin %s", text, want)
		}
		for _, id := range []string{identifier(measurement), identifier(name), identifier("x")} {
			text = strings.ReplaceAll(text, id, "I")
		}
		for rest := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" ()=I", r) }) {
			if rest != "DELETE" && rest != "FROM" && rest != "WHERE" && rest != "AND" && rest != "OR" && rest != "time" &&
				params[strings.TrimPrefix(rest, "$")] == nil {
				t.Fatalf("got %q in %s", rest, text)
			}
		}
	})
}
