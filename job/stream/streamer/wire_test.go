package streamer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/redis"
	"holdfast/job/stream/wire"
	"holdfast/tests/testenv"
)

// openRedis is a broker over channels of a real server, or over its streams.
func openRedis(t *testing.T, streams bool) (connector.Broker, *testenv.RedisServer) {
	t.Helper()
	s := testenv.Redis(t)
	b, err := redis.OpenBroker(redis.BrokerConfig{URL: "redis://" + s.Addr(), Password: "geheim123", Streams: streams,
		Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, s
}

// TestQuestions: over each kind of broker, questions of ours and WeatherVane's are answered, and garbage
// between them harms nobody.
func TestQuestions(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) connector.Broker{
		"embedded": embedded,
		"channels": func(t *testing.T) connector.Broker { b, _ := openRedis(t, false); return b },
		"streams":  func(t *testing.T) connector.Broker { b, _ := openRedis(t, true); return b },
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			l := newListener(t, b)
			defer l.listen(t.Context())()
			r := newRig(t, b, func() connector.Source { return feedOf(hours(5, 7, 31), 100) }) // both are hour 7
			r.cfg.Batch = 2
			stop, _ := r.start()
			defer stop()
			until(t, "both windows", func() bool { return len(l.heard()) == 8 })
			epoch := l.all()[0].Epoch
			first := l.payload("0:7", 0)
			ask := func(what string, m connector.Message, want ...string) {
				t.Helper()
				l.forget()
				l.say(m)
				until(t, what, func() bool { return len(l.heard()) >= len(want) })
				if got := l.heard(); !same(got, want) {
					t.Errorf("%s: got %v, want %v", what, got, want)
				}
			}
			for _, m := range []connector.Message{
				{Topic: names.Ask(), Key: "again:1", Payload: []byte("garbage")},
				{Topic: names.Ask(), Key: "confirm:1", Payload: nil},
				wire.Beacon{Epoch: "other", Newest: 3}.Message(wire.Names{Prefix: names.Prefix + ":x"}),
				{Topic: names.Ask(), Key: "beacon:3", Payload: wire.Beacon{Epoch: "other", Newest: 3}.Message(names).Payload},
				{Topic: names.Request(), Key: "x:7"}, {Topic: names.Request(), Key: "1:2:3"},
				{Topic: names.Request(), Key: "99:7"}, {Topic: names.Request(), Key: "0:23"},
				wire.Ask{Epoch: "other", Number: 1}.Message(names), wire.Confirm{Epoch: "other", UpTo: 2}.Message(names),
				wire.Confirm{Epoch: epoch, UpTo: 1 << 60}.Message(names),
			} {
				l.say(m)
			}
			ask("the first window's batches", wire.Ask{Epoch: epoch, Number: 1, Batches: []int{2, 0, 5}}.Message(names),
				"manifest:1", "0:7", "LAST:7")
			if l.payload("0:7", 0) != first {
				t.Error("what comes again is another batch")
			}
			ask("the newest of the hour", connector.Message{Topic: names.Request(), Key: "0:07", Payload: []byte("7")}, "0:7")
			if items, err := itemsOf([]byte(l.payload("0:7", 0))); err != nil || items[0]["zip_code"] != "31-0" {
				t.Errorf("a request is answered by %v (%v), want the newest window's", items, err)
			}
			ask("LAST", connector.Message{Topic: names.Request(), Key: "LAST:7", Payload: []byte("7")}, "LAST:7")
			ask("the last by its number", connector.Message{Topic: names.Request(), Key: "2:7", Payload: []byte("7")}, "2:7")
			notes := fmt.Sprint(r.running().Notes())
			for _, want := range []string{"spoilt_messages 5", "strange_epochs 2", "unknown_batches 2", "unknown_windows 2",
				"2 cut, 2 sent, 0 confirmed", "10 sent, nobody ever confirms"} {
				if !strings.Contains(notes, want) {
					t.Errorf("notes: %s, want %q", notes, want)
				}
			}
		})
	}
}

// TestRedisDies: in the middle of a window, and comes back empty. The gate says why and opens within a
// second, the rest leaves in order, and what was lost is asked for.
func TestRedisDies(t *testing.T) {
	b, server := openRedis(t, false)
	l := newListener(t, b)
	stopEar := l.listen(t.Context())
	r := newRig(t, b, func() connector.Source { return feedOf(hours(60, 0, 1), 60) })
	r.cfg.Batch, r.cfg.InFlight = 2, 2500 // of about 120 bytes a batch: some 20 of them go at once
	stop, _ := r.start()
	defer stop()
	until(t, "some batches", func() bool { return len(l.heard()) > 5 })
	server.Kill()
	until(t, "a closed gate", func() bool { return !r.running().Gates()[0].Open })
	if s := r.running().Gates()[0]; s.Kind != fault.Transient.String() || !strings.Contains(s.Cause, "refused") &&
		!strings.Contains(s.Cause, "reset") && !strings.Contains(s.Cause, "EOF") && !strings.Contains(s.Cause, "clos") {
		t.Errorf("gate: %+v", s)
	}
	stopEar()
	l.forget()
	server.Restart()
	back := time.Now()
	defer l.listen(t.Context())()
	until(t, "an open gate", func() bool { return r.running().Gates()[0].Open })
	if d := time.Since(back); d > 1500*time.Millisecond {
		t.Errorf("the gate opened after %v", d)
	}
	until(t, "the last batch", func() bool { h := l.heard(); return len(h) > 0 && h[len(h)-1] == "LAST:1" })
	var batches []int
	for _, key := range l.heard() {
		if p, err := wire.ParsePlace(key); err == nil {
			n := p.Batch
			if p.Last {
				n = 29
			}
			if p.Window == "1" {
				n += 30
			}
			batches = append(batches, n)
		}
	}
	if !slices.IsSorted(batches) || len(slices.Compact(slices.Clone(batches))) != len(batches) {
		t.Errorf("batches came as %v", batches)
	}
	m := l.all()
	l.say(wire.Ask{Epoch: m[len(m)-1].Epoch, Number: 1, Batches: []int{0, 1, 2, 3, 4, 5, 6}}.Message(names))
	until(t, "what was lost", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.have[id(m[0].Epoch, 1)]) == 30
	})
}
