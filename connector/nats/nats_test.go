package nats

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

func (b *broken) open(t *testing.T, change ...func(*SinkConfig)) *Sink {
	t.Helper()
	s, err := b.sink(change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func delivery(schema record.Schema, rows arrow.RecordBatch, first uint64) connector.Delivery {
	return connector.Delivery{Schema: schema, Rows: rows, FirstAttempt: time.Now(),
		Token: record.Token{Job: "job", Lineage: record.Lineage{1}, First: first, Last: first}}
}

func spots(rows []sinktest.Spot) connector.Delivery {
	return delivery(sinktest.Schema(), sinktest.Batch(rows), 1)
}

func (b *broken) create(t *testing.T, c jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	c.Name = "SPOTS"
	if c.Subjects == nil {
		c.Subjects = []string{"spots"}
	}
	s, err := b.direct().CreateStream(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *broken) bodies(t *testing.T) (out []string) {
	t.Helper()
	if err := b.each(func(_ uint64, id string, data []byte) error {
		out = append(out, id+" "+string(data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBeyondTheWindow: what the server has forgotten is found in the stream.
func TestBeyondTheWindow(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	stream := b.create(t, jetstream.StreamConfig{Duplicates: 200 * time.Millisecond})
	s := b.open(t)
	all := sinktest.Spots(5, 0, 300)
	d := spots(all)
	if v, err := s.Write(t.Context(), spots(all[:200])); err != nil || v.Present != 0 {
		t.Fatalf("got %+v %v", v, err)
	}
	testenv.Until(t, 10*time.Second, "the end of the window", func() bool {
		return time.Since(d.FirstAttempt) > 600*time.Millisecond
	})
	d.Unknown = true
	// Within a window of 200 ms our margin lets nothing be sent: the part that is there is told apart.
	if _, err := s.Write(t.Context(), d); !fault.Is(err, fault.Transient) {
		t.Fatalf("got %v, want an outage", err)
	}
	c := stream.CachedInfo().Config
	c.Duplicates = 3 * time.Second
	if _, err := b.direct().UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d.FirstAttempt = time.Now().Add(-time.Hour)
		v, err := s.Write(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d present", v.Present)
	}
	got, err := b.rows()
	if diff := sinktest.Difference(all, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestIDs: rows without a key, with text keys and with none where there should be one.
func TestIDs(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	s := b.open(t)
	fields := []arrow.Field{{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "raw", Type: arrow.BinaryTypes.Binary},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ms}}
	rows := func(names ...string) arrow.RecordBatch {
		r := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
		for i, name := range names {
			if name == "" {
				r.Field(0).AppendNull()
			} else {
				r.Field(0).(*array.StringBuilder).Append(name)
			}
			x := []float64{1.5, math.NaN(), 1e300}[i%3]
			r.Field(1).(*array.Float64Builder).Append(x)
			r.Field(2).(*array.BinaryBuilder).Append([]byte{0, 255})
			r.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(1500 + i))
		}
		return r.NewRecordBatch()
	}
	const rest = `"raw":"AP8=","at":"1970-01-01T00:00:01.5`
	keyless := delivery(record.NewSchema(fields, "", ""), rows("a", "b", "c"), 7)
	for range 2 {
		v, err := s.Write(t.Context(), keyless)
		if err != nil || len(v.Rejected) != 1 || v.Rejected[0].Row != 1 {
			t.Fatalf("got %+v %v, want row 1 rejected", v, err)
		}
	}
	keyed := delivery(record.NewSchema(fields, "name", "at"), rows("a/b#c", "", strings.Repeat("k", 101)), 8)
	if v, err := s.Write(t.Context(), keyed); err != nil || len(v.Rejected) != 1 {
		t.Fatalf("got %+v %v, want row 1 rejected", v, err)
	}
	id := "spots:job/" + record.Lineage{1}.String() + "/7/"
	want := []string{id + `0 {"name":"a","x":1.5,` + rest + `Z"}`,
		id + `2 {"name":"c","x":1e+300,` + rest + `02Z"}`,
		`spots:a%2Fb%23c {"name":"a/b#c","x":1.5,` + rest + `Z"}`}
	got := b.bodies(t)
	if len(got) != 4 || fmt.Sprint(got[:3]) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s\nand one more", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasPrefix(got[len(got)-1], "spots::") {
		t.Errorf("a long key: got %.60s, want its hash", got[len(got)-1])
	}
	if _, _, err := s.Reader().Highest(t.Context()); !fault.Is(err, fault.Permanent) {
		t.Errorf("Highest of a text key: got %v, want a permanent fault", err)
	}
}

// TestFull: a stream that discards what is new refuses some, and what it took is not sent again.
func TestFull(t *testing.T) {
	b := fresh(t, testenv.NATS(t))
	stream := b.create(t, jetstream.StreamConfig{MaxMsgs: 60, Discard: jetstream.DiscardNew})
	s := b.open(t)
	all := sinktest.Spots(5, 0, 100)
	d := spots(all)
	if _, err := s.Write(t.Context(), d); !fault.Is(err, fault.Full) {
		t.Fatalf("got %v (kind %v), want full", err, fault.KindOf(err))
	}
	if err := s.Probe(t.Context()); !fault.Is(err, fault.Full) {
		t.Errorf("probe: got %v (kind %v), want full", err, fault.KindOf(err))
	}
	c := stream.CachedInfo().Config
	c.MaxMsgs = 100
	if _, err := b.direct().UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	d.Unknown = true
	if v, err := s.Write(t.Context(), d); err != nil || v.Present != 60 {
		t.Errorf("with room: got %+v %v, want 60 present", v, err)
	}
	got, err := b.rows()
	if diff := sinktest.Difference(all, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestPrepareRefuses what could not keep the promise, and says what to do.
func TestPrepareRefuses(t *testing.T) {
	server := testenv.NATS(t)
	for what, c := range map[string]struct {
		stream *jetstream.StreamConfig
		change func(*SinkConfig)
		kind   fault.Kind
		words  string
	}{
		"none":      {nil, func(c *SinkConfig) { c.Create = false }, fault.Permanent, "create"},
		"subject":   {&jetstream.StreamConfig{Subjects: []string{"x"}}, nil, fault.Permanent, "subject"},
		"consumed":  {&jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, nil, fault.Permanent, "retention"},
		"no ack":    {&jetstream.StreamConfig{NoAck: true}, nil, fault.Permanent, "no_ack"},
		"replicas":  {nil, func(c *SinkConfig) { c.Replicas = 3 }, fault.Permanent, "replicas"},
		"who":       {nil, func(c *SinkConfig) { c.User = "nobody" }, fault.Credentials, "user"},
		"forbidden": {nil, func(c *SinkConfig) { c.User = "reader" }, fault.Permanent, "publish"},
		"nobody":    {nil, func(c *SinkConfig) { c.URL = "nats://127.0.0.1:1" }, fault.Transient, ""},
	} {
		b := fresh(t, server)
		if c.stream != nil {
			b.create(t, *c.stream)
		}
		var changes []func(*SinkConfig)
		if c.change != nil {
			changes = append(changes, c.change)
		}
		s := b.open(t, changes...)
		_, err := s.Write(t.Context(), spots(sinktest.Spots(1, 0, 3)))
		told := fmt.Sprintf("%v %s %+v", err, fault.HintOf(err), s.cfg)
		if !fault.Is(err, c.kind) || !strings.Contains(told, c.words) || strings.Contains(told, "geheim") {
			t.Errorf("%s: got kind %v, %s; want %v with %q", what, fault.KindOf(err), told, c.kind, c.words)
		}
	}
}

func TestValidate(t *testing.T) {
	c := SinkConfig{URL: "http://u:geheim@x", User: "a", Token: "b", Stream: "a.b", Subject: "x.>",
		Replicas: 9, DuplicateWindow: 1, Timeout: -1}
	got := errors.Join(c.Validate()...).Error()
	for _, key := range []string{"url:", "user:", "stream:", "subject:", "replicas:", "duplicate_window:",
		"timeout:"} {
		if !strings.Contains(got, key) {
			t.Errorf("nothing about %s in %s", key, got)
		}
	}
	if strings.Contains(got, "geheim") {
		t.Errorf("the password is told: %s", got)
	}
}
