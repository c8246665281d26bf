// Package brokertest is the contract suite of brokers: what connector.Broker promises, asked of an
// implementation against a real server. Every broker runs it:
//
//	brokertest.Run(t, func(t *testing.T) brokertest.Rig { ... })
package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/connector"
)

// patience bounds every wait.
const patience = 20 * time.Second

// Rig is a server under the suite's control, and the way to open a broker on it, which has a time-out of a
// second. The suite closes brokers.
type Rig struct {
	Open func(t *testing.T) connector.Broker
	// Stranger opens a broker that shows the wrong password; nil if the server asks for none.
	Stranger func(t *testing.T) connector.Broker
	// Kill ends the server at once, Restart starts it with the same data, Freeze and Thaw stop it where it
	// stands. All nil for a server that can't die alone.
	Kill, Restart, Freeze, Thaw func()
	// Stop, if not nil, ends the server behind a part, before the suite looks for goroutines that were left.
	Stop func()
	// Leaks are goroutines of the server's own.
	Leaks []goleak.Option
}

// Run runs the suite. make is called for every part, and cleans up by t.Cleanup.
func Run(t *testing.T, make func(t *testing.T) Rig) {
	for _, part := range []struct {
		name string
		test func(*testing.T, *rig)
	}{
		{"Delivers", testDelivers}, {"Topics", testTopics}, {"BadNames", testBadNames}, {"HearFails", testHearFails},
		{"Ends", testEnds}, {"Kept", testKept}, {"Backlog", testBacklog}, {"Slow", testSlow}, {"Killed", testKilled},
		{"Frozen", testFrozen}, {"Stranger", testStranger},
	} {
		t.Run(part.name, func(t *testing.T) {
			r := &rig{Rig: make(t), t: t}
			ignore := append(slices.Clone(r.Leaks), goleak.IgnoreCurrent())
			r.broker = r.Open(t)
			part.test(t, r)
			if err := r.broker.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if r.Stop != nil {
				r.Stop()
			}
			if err := goleak.Find(ignore...); err != nil {
				t.Errorf("a broker leaves goroutines behind: %v", err)
			}
		})
	}
}

type rig struct {
	Rig
	t      *testing.T
	broker connector.Broker
}

// ear is a Listen under way.
type ear struct {
	t     *testing.T
	ready chan struct{}
	stop  context.CancelFunc
	ended chan error

	mu    sync.Mutex // guards heard
	heard []connector.Heard
	news  chan struct{}
}

// listen starts a Listen, whose messages hear takes before they are kept.
func (r *rig) listen(hear func(connector.Heard) error, topics ...string) *ear {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	e := &ear{t: r.t, ready: make(chan struct{}), stop: stop, ended: make(chan error, 1), news: make(chan struct{}, 1)}
	go func() { // ends is called for each
		e.ended <- r.broker.Listen(ctx, connector.Listener{Topics: topics, Group: "suite",
			Ready: func() { close(e.ready) },
			Hear: func(m connector.Heard) error {
				if hear != nil {
					if err := hear(m); err != nil {
						return err
					}
				}
				e.mu.Lock()
				e.heard = append(e.heard, m)
				e.mu.Unlock()
				select {
				case e.news <- struct{}{}:
				default:
				}
				return nil
			}})
	}()
	return e
}

// hears starts a Listen and waits until it is ready.
func (r *rig) hears(topics ...string) *ear {
	r.t.Helper()
	e := r.listen(nil, topics...)
	select {
	case <-e.ready:
	case err := <-e.ended:
		r.t.Fatalf("listen: %v", err)
	case <-time.After(patience):
		r.t.Fatal("a listener never gets ready")
	}
	return e
}

// end returns why the Listen ended.
func (e *ear) end() error {
	e.t.Helper()
	defer e.stop()
	select {
	case err := <-e.ended:
		return err
	case <-time.After(patience):
		e.t.Fatal("a listener does not end")
		return nil
	}
}

// got waits for so many messages and returns their payloads.
func (e *ear) got(n int) (out []string) {
	e.t.Helper()
	for deadline := time.After(patience); ; {
		e.mu.Lock()
		out = nil
		for _, m := range e.heard {
			out = append(out, string(m.Payload))
		}
		e.mu.Unlock()
		if len(out) >= n {
			return out
		}
		select {
		case <-e.news:
		case err := <-e.ended:
			e.t.Fatalf("the listener ended with %d of %d messages: %v", len(out), n, err)
		case <-deadline:
			e.t.Fatalf("%d of %d messages came", len(out), n)
		}
	}
}

func (e *ear) acknowledge() {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.heard {
		if err := m.Ack(e.t.Context()); err != nil {
			e.t.Fatalf("acknowledge %s: %v", m.Channel(), err)
		}
	}
}

func (r *rig) publish(topic, key, payload string) {
	r.t.Helper()
	err := r.broker.Publish(r.t.Context(), connector.Message{Topic: topic, Key: key, Payload: []byte(payload)})
	if err != nil {
		r.t.Fatal(err)
	}
}

func numbers(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

// testDelivers: what is published behind Ready is heard, in order, byte for byte.
func testDelivers(t *testing.T, r *rig) {
	e := r.hears("suite:data")
	for _, text := range numbers(1, 1000) {
		r.publish("suite:data", text+":7", text)
	}
	if got := e.got(1000); !slices.Equal(got, numbers(1, 1000)) {
		t.Errorf("got %.200q", got)
	}
	if m := e.heard[41]; m.Topic != "suite:data" || m.Key != "42:7" {
		t.Errorf("message 42 came as topic %q, key %q", m.Topic, m.Key)
	}
	large := bytes.Repeat([]byte{0, 1, '\r', '\n', 0xff}, 100_000)
	r.publish("suite:data", "LAST:0", string(large))
	r.publish("suite:data", "empty:0", "")
	if got := e.got(1002); got[1000] != string(large) || got[1001] != "" {
		t.Errorf("a payload of %d bytes came as %d, an empty one as %d", len(large), len(got[1000]), len(got[1001]))
	}
	e.acknowledge()
	e.stop()
	_ = e.end()
}

// testTopics: a listener hears its topics and no other; one that begins like another is another.
func testTopics(t *testing.T, r *rig) {
	e := r.hears("suite:a", "suite:b")
	r.publish("suite:other", "1", "other")
	r.publish("suite:ab", "1", "ab")
	r.publish("suite:a", "1", "a")
	r.publish("suite:b", "x:y", "b")
	got := e.got(2)
	if slices.Sort(got); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q, want a and b", got)
	}
	for _, m := range e.heard {
		if want := map[string]string{"a": "suite:a:1", "b": "suite:b:x:y"}[string(m.Payload)]; m.Channel() != want ||
			m.Topic != "suite:"+string(m.Payload) {
			t.Errorf("message %s came as %q of %q, want %s", m.Payload, m.Key, m.Topic, want)
		}
	}
	e.acknowledge()
	e.stop()
	_ = e.end()
}

func testBadNames(t *testing.T, r *rig) {
	for _, m := range []connector.Message{{Topic: "a*", Key: "1"}, {Topic: "a", Key: ""}, {Topic: "", Key: "1"},
		{Topic: "a", Key: "b c"}, {Topic: "a.b", Key: ">"}} {
		if err := r.broker.Publish(t.Context(), m); !fault.Is(err, fault.Permanent) {
			t.Errorf("publish to %q: got %v, want a refusal", m.Channel(), err)
		}
	}
}

// testHearFails: an error of Hear ends Listen and comes out of it.
func testHearFails(t *testing.T, r *rig) {
	mine := errors.New("no room")
	e := r.listen(func(connector.Heard) error { return mine }, "suite:data")
	<-e.ready
	r.publish("suite:data", "1", "x")
	if err := e.end(); !errors.Is(err, mine) {
		t.Errorf("got %v, want Hear's own error", err)
	}
}

// testEnds: a Listen that hears nothing ends with its context at once, before and behind Ready.
func testEnds(t *testing.T, r *rig) {
	for range 20 { // wherever it is
		e := r.listen(nil, "suite:data")
		time.Sleep(time.Millisecond)
		e.stop()
		if err := e.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's end", err)
		}
	}
	e := r.hears("suite:data")
	began := time.Now()
	e.stop()
	if err := e.end(); !errors.Is(err, context.Canceled) || time.Since(began) > 2*time.Second {
		t.Errorf("got %v after %v, want the context's end", err, time.Since(began))
	}
}

// testKept: what is not acknowledged comes again, also behind the server's death, and what is does not; of a
// broker that does not keep messages none comes that was published while nobody listened.
func testKept(t *testing.T, r *rig) {
	e := r.hears("suite:data")
	r.publish("suite:data", "1", "acknowledged")
	e.got(1)
	e.acknowledge()
	r.publish("suite:data", "2", "heard")
	e.got(2)
	e.stop()
	_ = e.end()
	r.publish("suite:data", "3", "missed")
	want := []string{"now"}
	if r.broker.Traits().Durable {
		want = []string{"heard", "missed", "now"}
		if r.Kill != nil {
			r.Kill()
			r.Restart()
			r.back()
		}
	}
	e = r.hears("suite:data")
	r.publish("suite:data", "4", "now")
	if got := e.got(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	e.acknowledge()
	e.stop()
	_ = e.end()
	e = r.hears("suite:data")
	r.publish("suite:data", "5", "last")
	if got := e.got(1); !slices.Equal(got, []string{"last"}) {
		t.Errorf("behind the acknowledgement of all got %q, want the last", got)
	}
	e.stop()
	_ = e.end()
}

// testBacklog: a listener is ready while what waits for it was not taken yet, however much that is: who takes messages
// only once it is ready would wait for ever.
func testBacklog(t *testing.T, r *rig) {
	const messages = 300
	e := r.hears("suite:data")
	for _, text := range numbers(1, messages) {
		r.publish("suite:data", text, text)
	}
	e.got(messages)
	e.stop()
	_ = e.end()
	release := make(chan struct{})
	e = r.listen(func(connector.Heard) error { <-release; return nil }, "suite:data")
	select {
	case <-e.ready:
	case <-time.After(patience):
		t.Error("a listener that takes nothing yet never gets ready")
	}
	close(release)
	if r.broker.Traits().Durable {
		if got := e.got(messages); !slices.Equal(got, numbers(1, messages)) {
			t.Errorf("got %.200q again", got)
		}
		e.acknowledge()
	}
	e.stop()
	_ = e.end()
}

// back waits until the server takes messages again.
func (r *rig) back() {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := r.broker.Publish(r.t.Context(), connector.Message{Topic: "suite:nobody", Key: "1"})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the server does not come back: %v", err)
		}
	}
}

// testSlow: while nobody takes them, more messages come than a broker may hold for a listener. It hears them
// all, or is told that it does not: none is left out in silence. What a broker keeps comes to the next listener.
func testSlow(t *testing.T, r *rig) {
	const messages, size = 300, 1 << 19
	release := make(chan struct{})
	e := r.listen(func(connector.Heard) error { <-release; return nil }, "suite:data")
	<-e.ready
	load := bytes.Repeat([]byte("x"), size)
	for i := range messages {
		r.publish("suite:data", fmt.Sprint(i), string(load))
	}
	close(release)
	for tries := 1; ; tries++ {
		n, cut := e.inOrder(messages)
		if cut == nil {
			e.acknowledge()
			e.stop()
			_ = e.end()
			return
		}
		t.Logf("%d of %d messages were heard: %v", n, messages, cut)
		e.stop()
		if !r.broker.Traits().Durable {
			return
		}
		if tries == 3 {
			t.Fatal("a listener that takes messages at once is cut off too")
		}
		e = r.hears("suite:data") // none was acknowledged
	}
}

// inOrder waits until all messages have come in order, or the listener was cut off.
func (e *ear) inOrder(all int) (n int, cut error) {
	e.t.Helper()
	for deadline := time.After(patience); ; {
		e.mu.Lock()
		for i, m := range e.heard {
			if m.Key != fmt.Sprint(i) {
				e.t.Errorf("message %s came in the place of %d, and nobody was told", m.Key, i)
			}
		}
		n = len(e.heard)
		e.mu.Unlock()
		if n == all || cut != nil {
			return n, cut
		}
		select {
		case <-e.news:
		case cut = <-e.ended: // and what was heard before is looked at once more
		case <-deadline:
			e.t.Fatalf("%d of %d messages were heard, and the listener goes on", n, all)
		}
	}
}

// testKilled: the death of the server ends Listen, fails Publish as an outage, and both work again when it is
// back.
func testKilled(t *testing.T, r *rig) {
	if r.Kill == nil {
		return
	}
	e := r.hears("suite:data")
	r.Kill()
	if err := e.end(); !fault.Is(err, fault.Transient) {
		t.Errorf("listen: got %v, want an outage", err)
	}
	for range 3 {
		err := r.broker.Publish(t.Context(), connector.Message{Topic: "suite:data", Key: "1"})
		if !fault.Is(err, fault.Transient) {
			t.Errorf("publish: got %v, want an outage", err)
		}
	}
	if err := r.listen(nil, "suite:data").end(); !fault.Is(err, fault.Transient) {
		t.Errorf("listen: got %v, want an outage", err)
	}
	r.Restart()
	r.back()
	e = r.hears("suite:data")
	r.publish("suite:data", "1", "again")
	e.got(1)
	e.stop()
	_ = e.end()
}

// testFrozen: a server that never answers ends Listen and Publish within the time-out.
func testFrozen(t *testing.T, r *rig) {
	if r.Freeze == nil {
		return
	}
	e := r.hears("suite:data")
	r.publish("suite:data", "1", "before")
	e.got(1)
	began := time.Now()
	r.Freeze()
	defer r.Thaw()
	err := r.broker.Publish(t.Context(), connector.Message{Topic: "suite:data", Key: "1"})
	if !fault.Is(err, fault.Transient) {
		t.Errorf("publish: got %v, want an outage", err)
	}
	if err := e.end(); !fault.Is(err, fault.Transient) {
		t.Errorf("listen: got %v, want an outage", err)
	}
	if err := r.listen(nil, "suite:data").end(); !fault.Is(err, fault.Transient) {
		t.Errorf("listen: got %v, want an outage", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to notice, want a few seconds", took)
	}
	r.Thaw()
	r.back()
}

// testStranger: a wrong password is told apart from an outage.
func testStranger(t *testing.T, r *rig) {
	if r.Stranger == nil {
		return
	}
	b := r.Stranger(t)
	err := b.Publish(t.Context(), connector.Message{Topic: "suite:data", Key: "1"})
	if !fault.Is(err, fault.Credentials) {
		t.Errorf("publish: got %v, want that the password is wrong", err)
	}
	err = b.Listen(t.Context(), connector.Listener{Topics: []string{"suite:data"}, Group: "suite", Ready: func() {},
		Hear: func(connector.Heard) error { return nil }})
	if !fault.Is(err, fault.Credentials) {
		t.Errorf("listen: got %v, want that the password is wrong", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
