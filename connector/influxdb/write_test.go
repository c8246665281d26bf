package influxdb

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
)

// prepared is a sink of a real server's database d, with rows {at, tag, v}.
func prepared(t *testing.T, s *server, schema record.Schema, change func(*Config)) *Sink {
	t.Helper()
	c := Config{URL: "http://" + s.lossy.Addr, Database: "d", Measurement: "m", Username: "admin",
		Password: "geheim123", Create: true, Tags: []string{"tag"}, Unique: true, Timeout: 2 * time.Second}
	change(&c)
	sink, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	if err := sink.Prepare(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	return sink
}

func schemaOf(v arrow.DataType) record.Schema {
	return record.NewSchema([]arrow.Field{{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_s, Nullable: true},
		{Name: "tag", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "v", Type: v, Nullable: true}}, "", "at")
}

// refusedRows are the rows of a verdict, each with a part of the reason.
func refusedRows(v connector.Verdict) (out []int) {
	for _, r := range v.Rejected {
		out = append(out, r.Row)
	}
	return out
}

// TestFieldConflict: the type of a field changed behind the sink's back, in one week. The rows of that week
// are refused with InfluxDB's words, those of all other weeks arrive.
func TestFieldConflict(t *testing.T) {
	s, schema := newServer(t, ""), schemaOf(arrow.PrimitiveTypes.Float64)
	sink := prepared(t, s, schema, func(c *Config) { c.Request = 40 })
	const week = 7 * 86400
	s.Write(t, "d", fmt.Sprintf("m,tag=x v=\"text\" %d000000000", 3*week+1))
	var objects []string
	for i := range 100 {
		objects = append(objects, fmt.Sprintf(`{"at":"%s","tag":"t%d","v":%d}`,
			time.Unix(int64(i%10)*week+60, 0).UTC().Format(time.RFC3339), i, i))
	}
	for range 2 {
		v, err := sink.Write(t.Context(), delivery(schema, batchOf(t, schema, objects...)))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(refusedRows(v)); got != "[3 13 23 33 43 53 63 73 83 93]" {
			t.Errorf("refused rows %s, want each tenth from 3", got)
		}
		for _, r := range v.Rejected {
			if !strings.Contains(r.Reason, `field type conflict: input field "v" on measurement "m"`) {
				t.Errorf("row %d: got reason %q, want InfluxDB's words", r.Row, r.Reason)
			}
		}
		if got := s.Query(t, "d", `SELECT count(v) FROM m WHERE "tag" != 'x'`); !strings.Contains(got, ",90]") {
			t.Errorf("got %s, want the 90 others", got)
		}
	}
}

// TestBeyondRetention: a policy is made; points that are older than it keeps are refused, all at once where
// the server says that it was all.
func TestBeyondRetention(t *testing.T) {
	s, schema := newServer(t, ""), schemaOf(arrow.PrimitiveTypes.Float64)
	sink := prepared(t, s, schema, func(c *Config) { c.RetentionPolicy, c.Retention = "short", 48*time.Hour })
	now := time.Now().UTC()
	var objects []string
	for i, ago := range []time.Duration{1, 1000, 2, 2000, 3} {
		objects = append(objects, fmt.Sprintf(`{"at":"%s","tag":"t%d","v":1}`,
			now.Add(-ago*time.Hour).Format(time.RFC3339), i))
	}
	v, err := sink.Write(t.Context(), delivery(schema, batchOf(t, schema, objects...)))
	if err != nil || fmt.Sprint(refusedRows(v)) != "[1 3]" {
		t.Fatalf("got %+v %v, want rows 1 and 3 refused", v, err)
	}
	if !strings.Contains(v.Rejected[0].Reason, "points beyond retention policy") {
		t.Errorf("got reason %q", v.Rejected[0].Reason)
	}
	if got := s.Query(t, "d", `SELECT count(v) FROM short.m`); !strings.Contains(got, ",3]") {
		t.Errorf("got %s, want the 3 others in the policy", got)
	}
	if got := s.Query(t, "d", `SHOW RETENTION POLICIES`); !strings.Contains(got, `"short","48h0m0s"`) {
		t.Errorf("got %s, want a policy of 48 hours", got)
	}
}

// TestNothingIsMade: without create a database or policy that is not there needs a person; one that goes
// while rows are written is an outage with create, for Prepare makes it again.
func TestNothingIsMade(t *testing.T) {
	s, schema := newServer(t, ""), schemaOf(arrow.PrimitiveTypes.Float64)
	base := Config{URL: "http://" + s.Addr(), Database: "d", Measurement: "m", Username: "admin",
		Password: "geheim123", Unique: true}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{{func(*Config) {}, "database not found"}, {func(c *Config) { c.RetentionPolicy = "r" }, "database not found"},
		{func(c *Config) { c.RetentionPolicy = "r" }, "there is no retention policy r"}} {
		cfg := base
		c.change(&cfg)
		if strings.Contains(c.want, "policy r") {
			s.Query(t, "", "CREATE DATABASE d")
		}
		sink, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = sink.Prepare(t.Context(), schema)
		if !fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), c.want) || fault.HintOf(err) == "" {
			t.Errorf("got %v (kind %v), want permanent, %s and a hint", err, fault.KindOf(err), c.want)
		}
		_ = sink.Close()
	}
	sink := prepared(t, s, schema, func(*Config) {})
	s.Query(t, "", "DROP DATABASE d")
	d := delivery(schema, batchOf(t, schema, `{"at":"2026-01-01T00:00:00Z","tag":"a","v":1}`))
	_, err := sink.Write(t.Context(), d)
	if probe := sink.Probe(t.Context()); !fault.Is(err, fault.Transient) || !fault.Is(probe, fault.Transient) {
		t.Errorf("the database is gone: write %v, probe %v, want outages", err, probe)
	}
	if err := sink.Prepare(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	if v, err := sink.Write(t.Context(), d); err != nil || len(v.Rejected) > 0 {
		t.Errorf("after it was made again: %+v %v", v, err)
	}
}

// TestRowsThatOverwrite: in one delivery, a row with the tags and time of another is refused, unless it is
// the same; nulls and empty tags are left out; a row without a value has no point.
func TestRowsThatOverwrite(t *testing.T) {
	s, schema := newServer(t, ""), schemaOf(arrow.FixedWidthTypes.Boolean)
	sink := prepared(t, s, schema, func(c *Config) { c.Precision = "s" })
	d := delivery(schema, batchOf(t, schema, `{"at":"2026-01-01T00:00:00Z","tag":"a","v":true}`,
		`{"at":"2026-01-01T00:00:00Z","tag":"b","v":true}`, `{"at":"2026-01-01T00:00:00Z","tag":"a","v":false}`,
		`{"at":"2026-01-01T00:00:00Z","tag":"b","v":true}`, `{"at":"2026-01-01T00:00:01Z","tag":"a","v":null}`,
		`{"at":"2026-01-01T00:00:02Z","tag":"","v":false}`, `{"at":"2026-01-01T00:00:03Z","tag":null,"v":false}`,
		`{"at":null,"tag":"a","v":true}`))
	for range 2 {
		v, err := sink.Write(t.Context(), d)
		if err != nil || fmt.Sprint(refusedRows(v)) != "[2 4 7]" {
			t.Fatalf("got %+v %v, want rows 2, 4 and 7 refused", v, err)
		}
	}
	got := s.Query(t, "d", "SELECT * FROM m")
	for _, want := range []string{`000,"a",true]`, `000,"b",true]`, `2000000000,null,false]`, `3000000000,null,false]`} {
		if !strings.Contains(got, want) {
			t.Errorf("want a point %s in %s", want, got)
		}
	}
	if n := strings.Count(got, "],["); n != 3 {
		t.Errorf("got %d points, want 4: %s", n+1, got)
	}
}

// TestFinerThanPrecision: a time that the precision would cut is refused, for another row may have the same
// then.
func TestFinerThanPrecision(t *testing.T) {
	schema := record.NewSchema([]arrow.Field{{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ms},
		{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, "", "at")
	c := Config{Database: "d", Measurement: "m", Unique: true, Precision: "s"}.WithDefaults()
	m, err := c.mappingOf(schema)
	if err != nil {
		t.Fatal(err)
	}
	rows := batchOf(t, schema, `{"at":"2026-01-01T00:00:00.000Z","v":1}`, `{"at":"2026-01-01T00:00:00.250Z","v":2}`)
	refused, _ := c.writer(m, rows).encode(2, nil, func(lines) error { return nil })
	if len(refused) != 1 || refused[0].Row != 1 || !strings.Contains(refused[0].Reason, "no whole number of s") {
		t.Errorf("got %+v, want row 1 refused", refused)
	}
}

// TestOddTexts: whatever a text holds, the server gives it back as it was, or the row was refused.
func TestOddTexts(t *testing.T) {
	s := newServer(t, "")
	var rows []odd
	letters := []string{`\`, ",", " ", "=", `"`, "'", "a", "#", "ü", "\n", "\t", "\r", "\x00", "\x7f", `\n`}
	add := func(text string) {
		n := len(rows)
		rows = append(rows, odd{"m" + text, "x" + text, text, int64(n), 1, 1.5, true, int64(n)})
		rows = append(rows, odd{"z", text + "x", text + `"`, int64(n + 1), 1, math.MaxFloat64, false, int64(n + 1)})
		rows = append(rows, odd{"z", "plain", `"` + text, int64(n + 2), 1, 0.1, true, int64(n + 2)})
	}
	for _, a := range letters {
		for _, b := range letters {
			for _, c := range []string{"", "b"} {
				add(a + b + c)
			}
		}
	}
	c := oddConfig()
	c.URL, c.Username, c.Password, c.Create = "http://"+s.Addr(), "admin", "geheim123", true
	sink, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	v, err := sink.Write(t.Context(), delivery(oddSchema, oddBatch(rows...)))
	if err != nil {
		t.Fatal(err)
	}
	refused := map[int]string{}
	for _, r := range v.Rejected {
		refused[r.Row] = r.Reason
	}
	got := map[int64]odd{}
	err = sink.Query(t.Context(), `SELECT * FROM /.*/`, nil, func(r Row) error {
		n, _ := r.Value("whole").(json.Number).Int64()
		tag, _ := r.Value("a tag,=").(string)
		text, _ := r.Value("text").(string)
		real, _ := r.Value("real, =").(json.Number).Float64()
		yes, _ := r.Value("yes").(bool)
		at, _ := r.Time()
		if _, twice := got[n]; twice {
			t.Errorf("row %d is there twice", n)
		}
		got[n] = odd{r.Measurement, tag, text, n, 1, real, yes, at.UnixNano()}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range rows {
		have, ok := got[int64(i)]
		switch _, no := refused[i]; {
		case no && ok:
			t.Errorf("row %d was refused (%s), and is there: %+v", i, refused[i], have)
		case !no && have != want:
			t.Errorf("row %d:\n got %+v\nwant %+v", i, have, want)
		}
	}
	if n := len(refused); n > len(rows)*3/4 {
		t.Errorf("%d of %d rows were refused, want few", n, len(rows))
	}
	t.Logf("%d of %d rows refused", len(refused), len(rows))
}

// TestNoSecrets: a sink that can't reach its server, or is refused, says nothing of how it wanted in.
func TestNoSecrets(t *testing.T) {
	c := spotsAt("127.0.0.1:1")
	sink, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	err = sink.Prepare(t.Context(), sinktest.Schema())
	if text := fmt.Sprintf("%v %+v %v", err, c, fault.HintOf(err)); strings.Contains(text, "geheim") {
		t.Errorf("got a secret in %s", text)
	}
	if !fault.Is(err, fault.Transient) {
		t.Errorf("got %v (kind %v), want an outage", err, fault.KindOf(err))
	}
}

// TestProbeOfAFailedDelivery: the canary writes what failed, so that a server which takes requests without
// rows alone is not taken for well.
func TestProbeOfAFailedDelivery(t *testing.T) {
	s := newStand(t, func(lines int) (int, map[string]string, string) {
		if lines > 0 {
			return 500, nil, `{"error":"engine: error writing WAL entry: no space left on device"}`
		}
		return 204, nil, ""
	})
	sink := s.bucket(t)
	d := delivery(sinktest.Schema(), sinktest.Batch(sinktest.Spots(1, 0, 20)))
	if err := sink.Probe(t.Context()); err != nil {
		t.Errorf("probe before anything failed: %v", err)
	}
	if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Full) {
		t.Errorf("write: got %v (kind %v), want full", err, fault.KindOf(err))
	}
	if err := sink.Probe(t.Context()); !fault.Is(err, fault.Full) {
		t.Errorf("probe: got %v (kind %v), want full", err, fault.KindOf(err))
	}
	s.mu.Lock()
	line, _, _ := strings.Cut(s.got[0], "\n")
	if last := s.got[len(s.got)-1]; strings.Count(last, "\n") != 2 || !strings.HasPrefix(last, line) {
		t.Errorf("the probe sent %q, want one line of what failed", last)
	}
	s.answer = always(204, "")
	s.mu.Unlock()
	if _, err := sink.Write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	sent := len(s.got)
	if err := sink.Probe(t.Context()); err != nil || len(s.got) != sent {
		t.Errorf("probe behind a success: %v, and %d more requests with lines, want none", err, len(s.got)-sent)
	}
}
