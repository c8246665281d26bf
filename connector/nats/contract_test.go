package nats

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// broken is a server behind a proxy that breaks connections and one that loses answers.
type broken struct {
	t      testing.TB
	server *testenv.NATSServer
	proxy  *testenv.FaultyProxy
	lossy  *testenv.Lossy
}

// fresh empties the server and puts the proxies before it.
func fresh(t testing.TB, server *testenv.NATSServer) *broken {
	t.Helper()
	b := &broken{t: t, server: server}
	// What the test before gave up may be on its way still, and would come into this one's stream.
	server.Restart()
	js := b.direct()
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatalf("delete stream %s: %v", name, err)
		}
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		t.Fatalf("ask for streams: %v", err)
	}
	b.proxy = testenv.Proxy(t, server.Addr())
	b.lossy = testenv.NewLossy(t, b.proxy.Addr(), stored)
	return b
}

// direct returns a connection of the test's own.
func (b *broken) direct() jetstream.JetStream {
	b.t.Helper()
	nc, err := nats.Connect(b.server.URL(b.server.Addr()), nats.UserInfo("writer", "geheim123"),
		nats.NoReconnect())
	if err != nil {
		b.t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	b.t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	return js
}

func (b *broken) sink(change ...func(*SinkConfig)) (*Sink, error) {
	cfg := SinkConfig{URL: b.server.URL(b.lossy.Addr), User: "writer", Password: "geheim123",
		Stream: "SPOTS", Subject: "spots", Create: true, Timeout: 2 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	return New(cfg)
}

// each calls f for every message of the stream.
func (b *broken) each(f func(seq uint64, id string, data []byte) error) error {
	js := b.direct()
	stream, err := js.Stream(b.t.Context(), "SPOTS")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	left := stream.CachedInfo().State.Msgs
	if left == 0 {
		return nil
	}
	c, err := stream.OrderedConsumer(b.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	msgs, err := c.Messages()
	if err != nil {
		return err
	}
	defer msgs.Stop()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for ; left > 0; left-- {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if err := f(meta.Sequence.Stream, m.Headers().Get(nats.MsgIdHdr), m.Data()); err != nil {
			return err
		}
	}
	return nil
}

// rows reads the stream without the sink.
func (b *broken) rows() (out []sinktest.Spot, err error) {
	err = b.each(func(_ uint64, _ string, data []byte) error {
		s, err := sinktest.ReadObject(data)
		out = append(out, s)
		return err
	})
	return out, err
}

// change changes the stream.
func (b *broken) change(f func(*jetstream.StreamConfig)) error {
	js := b.direct()
	stream, err := js.Stream(b.t.Context(), "SPOTS")
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	f(&cfg)
	_, err = js.UpdateStream(b.t.Context(), cfg)
	return err
}

// forget has the server forget the ids that it holds in memory: it looks for old ones once in a window.
func (b *broken) forget() error {
	const shortest = 100 * time.Millisecond
	if err := b.change(func(c *jetstream.StreamConfig) { c.Duplicates = shortest }); err != nil {
		return err
	}
	time.Sleep(4 * shortest)
	return b.change(func(c *jetstream.StreamConfig) { c.Duplicates = 2 * time.Minute })
}

// double publishes messages once more, under ids that the sink gives to rows that were lost.
func (b *broken) double(keys []uint64) error {
	js := b.direct()
	return b.each(func(seq uint64, id string, data []byte) error {
		key, err := strconv.ParseUint(strings.TrimPrefix(id, "spots:"), 10, 64)
		if err != nil || !slices.Contains(keys, key) {
			return err
		}
		_, err = js.Publish(b.t.Context(), "spots", data, jetstream.WithMsgID(id+again+strconv.FormatUint(seq, 10)))
		return err
	})
}

func (b *broken) remove(keys []uint64) error {
	js := b.direct()
	stream, err := js.Stream(b.t.Context(), "SPOTS")
	if err != nil {
		return err
	}
	return b.each(func(seq uint64, id string, _ []byte) error {
		key, err := strconv.ParseUint(strings.TrimPrefix(first(id), "spots:"), 10, 64)
		if err != nil || !slices.Contains(keys, key) {
			return err
		}
		return stream.DeleteMsg(b.t.Context(), seq)
	})
}

func (b *broken) target(change ...func(*SinkConfig)) *sinktest.Target {
	return &sinktest.Target{
		New:        func() (connector.Sink, error) { return b.sink(change...) },
		Rows:       b.rows,
		Timeout:    2 * time.Second,
		Large:      20_000,
		Histories:  testenv.Count(b.t, 30),
		Outage:     sinktest.HookOf(b.proxy.Down, b.proxy.Up),
		Restart:    sinktest.HookOf(b.server.Kill, b.server.Restart),
		Freeze:     sinktest.HookOf(b.server.Freeze, b.server.Thaw),
		Slow:       sinktest.Slowly(b.t, b.proxy),
		LostAnswer: sinktest.Losing(b.lossy),
		Cut:        sinktest.CutBy(b.t, b.proxy),
		Child:      sinktest.Child{Args: []string{b.server.URL(b.lossy.Addr)}},
		Pressure: sinktest.Pressure{Kinds: []fault.Kind{fault.Full}, Hook: sinktest.Hook{
			Do: func() error {
				return b.change(func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 20, jetstream.DiscardNew })
			},
			Undo: func() error { return b.change(func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 }) }}},
		Forget: sinktest.Hook{Do: b.forget},
		Double: sinktest.Deletion{Do: b.double},
		Delete: sinktest.Deletion{Do: b.remove},
		Denied: sinktest.Variant{New: func() (connector.Sink, error) {
			return b.sink(func(c *SinkConfig) { c.Password = secret.Text("wrong") })
		}},
		Unfit:   sinktest.Variant{Lacks: "a message is JSON, which has room for every column"},
		Refused: sinktest.Rows{Spots: outOfRange()},
		Poison: sinktest.Rows{Lacks: "the server answers to every message by itself, and refuses none " +
			"because of its neighbours"},
	}
}

// outOfRange are spots that a message can't hold.
func outOfRange() []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 3)
	spots[0].TxSign = "\xff"
	spots[1].Version = strings.Repeat("long", 300_000) // above the server's max_payload
	spots[2].Time = 1 << 40
	return spots
}

// TestMain lets the test binary be a child: another process that publishes to a stream.
func TestMain(m *testing.M) {
	sinktest.Main(m, func(args []string) (connector.Sink, error) {
		return New(SinkConfig{URL: args[0], User: "writer", Password: "geheim123", Stream: "SPOTS",
			Subject: "spots", Create: true, Timeout: 2 * time.Second})
	})
}

func TestContract(t *testing.T) {
	server := testenv.NATS(t)
	sinktest.Run(t, func(t *testing.T) *sinktest.Target { return fresh(t, server).target() })
}

// stored reports whether an answer says that the server has stored a message.
func stored(answer []byte) bool {
	return bytes.Contains(answer, []byte(`", "seq":`)) || bytes.Contains(answer, []byte(`","seq":`))
}
