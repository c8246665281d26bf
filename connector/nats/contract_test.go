package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	if !server.Running() {
		server.Restart()
	}
	js := b.direct()
	for name := range js.StreamNames(t.Context()).Name() {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatalf("delete stream %s: %v", name, err)
		}
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

// spot is a message.
type spot struct {
	ID        uint64  `json:"id"`
	Time      string  `json:"time"`
	Band      int16   `json:"band"`
	RxSign    string  `json:"rx_sign"`
	RxLat     float32 `json:"rx_lat"`
	RxLon     float32 `json:"rx_lon"`
	RxLoc     string  `json:"rx_loc"`
	TxSign    string  `json:"tx_sign"`
	TxLat     float32 `json:"tx_lat"`
	TxLon     float32 `json:"tx_lon"`
	TxLoc     string  `json:"tx_loc"`
	Distance  uint16  `json:"distance"`
	Azimuth   uint16  `json:"azimuth"`
	RxAzimuth uint16  `json:"rx_azimuth"`
	Frequency uint64  `json:"frequency"`
	Power     int8    `json:"power"`
	SNR       int8    `json:"snr"`
	Drift     int8    `json:"drift"`
	Version   string  `json:"version"`
	Code      int8    `json:"code"`
}

func (m spot) spot() (sinktest.Spot, error) {
	at, err := time.Parse(time.RFC3339Nano, m.Time)
	return sinktest.Spot{ID: m.ID, Time: at.Unix(), Band: m.Band, RxSign: m.RxSign, RxLat: m.RxLat,
		RxLon: m.RxLon, RxLoc: m.RxLoc, TxSign: m.TxSign, TxLat: m.TxLat, TxLon: m.TxLon, TxLoc: m.TxLoc,
		Distance: m.Distance, Azimuth: m.Azimuth, RxAzimuth: m.RxAzimuth, Frequency: m.Frequency,
		Power: m.Power, SNR: m.SNR, Drift: m.Drift, Version: m.Version, Code: m.Code}, err
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
		var m spot
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		s, err := m.spot()
		out = append(out, s)
		return err
	})
	return out, err
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

func (b *broken) toxic(name, kind, stream string, attrs map[string]any) sinktest.Hook {
	return sinktest.Hook{
		Do:   func() error { b.proxy.Toxic(b.t, name, kind, stream, attrs); return nil },
		Undo: func() error { b.proxy.Remove(b.t, name); return nil },
	}
}

func hook(do, undo func()) sinktest.Hook {
	return sinktest.Hook{Do: func() error { do(); return nil }, Undo: func() error { undo(); return nil }}
}

func (b *broken) target(change ...func(*SinkConfig)) *sinktest.Target {
	return &sinktest.Target{
		New:       func() (connector.Sink, error) { return b.sink(change...) },
		Rows:      b.rows,
		Timeout:   2 * time.Second,
		Large:     20_000,
		Histories: testenv.Count(b.t, 30),
		Outage:    hook(b.proxy.Down, b.proxy.Up),
		Restart:   hook(b.server.Kill, b.server.Restart),
		Freeze:    hook(b.server.Freeze, b.server.Thaw),
		Slow:      b.toxic("slow", "latency", "downstream", map[string]any{"latency": 30}),
		LostAnswer: sinktest.Hook{Do: func() error {
			b.lossy.Lose.Store(true)
			return nil
		}},
		Cut: func(bytes int64) sinktest.Hook {
			return b.toxic("cut", "limit_data", "upstream", map[string]any{"bytes": bytes})
		},
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

func TestContract(t *testing.T) {
	server := testenv.NATS(t)
	sinktest.Run(t, func(t *testing.T) *sinktest.Target { return fresh(t, server).target() })
}

// stored reports whether an answer says that the server has stored a message.
func stored(answer []byte) bool {
	return bytes.Contains(answer, []byte(`", "seq":`)) || bytes.Contains(answer, []byte(`","seq":`))
}
