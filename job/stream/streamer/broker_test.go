package streamer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/wire"
)

var names = wire.Names{Prefix: wire.DefaultPrefix}

// hub is a broker in memory that can be away for the streamer, and counts how often it tries. Who else
// listens is not disturbed, so that nothing is lost.
type hub struct {
	mu       sync.Mutex // guards what is below
	down     error
	durable  bool
	full     bool // it listens, and takes nothing
	room     int  // it has none for larger payloads; 0 for as large as they come
	listens  map[*ear]bool
	attempts int // that failed
	lose     func(m connector.Message) bool
}

type ear struct {
	group  string
	topics []string
	came   chan connector.Message
	ended  chan error
}

func newHub() *hub { return &hub{listens: map[*ear]bool{}} }

var errAway = fault.New(fault.Transient, "connection refused")

func (h *hub) Traits() connector.BrokerTraits {
	return connector.BrokerTraits{Durable: h.durable, MaxPayload: 8 << 20}
}
func (h *hub) Close() error { return nil }

func (h *hub) Publish(_ context.Context, m connector.Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down != nil || h.full {
		h.attempts++
		return errAway
	}
	if h.room > 0 && len(m.Payload) > h.room {
		h.attempts++
		return fault.New(fault.Full, "OOM command not allowed")
	}
	if h.lose != nil && h.lose(m) {
		return nil
	}
	for e := range h.listens {
		if slices.Contains(e.topics, m.Topic) {
			e.came <- m
		}
	}
	return nil
}

func (h *hub) Listen(ctx context.Context, l connector.Listener) error {
	e := &ear{group: l.Group, topics: l.Topics, came: make(chan connector.Message, 100_000), ended: make(chan error, 1)}
	h.mu.Lock()
	if h.down != nil && l.Group == "streamer" {
		h.attempts++
		h.mu.Unlock()
		return errAway
	}
	h.listens[e] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listens, e)
	}()
	l.Ready()
	for {
		select {
		case m := <-e.came:
			if err := l.Hear(connector.Heard{Message: m, Ack: func(context.Context) error { return nil }}); err != nil {
				return err
			}
		case err := <-e.ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// goes takes the broker away.
func (h *hub) goes() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.attempts = errAway, 0
	for e := range h.listens {
		if e.group == "streamer" {
			e.ended <- errAway
		}
	}
}

func (h *hub) comes() (attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = nil
	return h.attempts
}

// listener hears what a streamer says, and remembers all of it.
type listener struct {
	t      *testing.T
	broker connector.Broker

	mu        sync.Mutex // guards what is below
	order     []string   // channels of manifests and data, as they came
	data      map[string][][]byte
	manifests map[string]wire.Manifest // by epoch/number
	beacons   []wire.Beacon
	gone      []wire.Gone
	have      map[string]map[int]bool // batches of a window
	confirms  bool                    // it confirms whole windows
	at        []time.Time             // of order
	hook      func(m connector.Message)
}

func newListener(t *testing.T, b connector.Broker) *listener {
	return &listener{t: t, broker: b, data: map[string][][]byte{}, manifests: map[string]wire.Manifest{},
		have: map[string]map[int]bool{}}
}

// listen hears until the test ends; it returns once it does.
func (l *listener) listen(ctx context.Context) (stop func()) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = l.broker.Listen(ctx, connector.Listener{Topics: []string{names.Data(), names.About()}, Group: "ingester",
				Ready: func() { once.Do(func() { close(ready) }) }, Hear: func(m connector.Heard) error {
					l.hear(ctx, m.Message)
					return m.Ack(ctx)
				}})
			if ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	<-ready
	return func() { cancel(); wg.Wait() }
}

func id(epoch string, number uint64) string { return fmt.Sprintf("%s/%d", epoch, number) }

func (l *listener) hear(ctx context.Context, m connector.Message) {
	if hook := l.hooked(); hook != nil {
		hook(m)
	}
	if m.Topic == names.Data() {
		l.mu.Lock()
		l.order, l.at = append(l.order, m.Key), append(l.at, time.Now())
		l.data[m.Key] = append(l.data[m.Key], m.Payload)
		l.mu.Unlock()
		l.take(ctx, wire.Hash(m.Payload))
		return
	}
	about, err := wire.Read(m)
	if err != nil {
		l.t.Errorf("%s: %v", m.Channel(), err)
		return
	}
	if b, ok := about.(wire.Beacon); ok {
		l.confirm(ctx, &b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch a := about.(type) {
	case wire.Manifest:
		l.order, l.at = append(l.order, m.Key), append(l.at, time.Now())
		if old, ok := l.manifests[id(a.Epoch, a.Number)]; ok && fmt.Sprint(old) != fmt.Sprint(a) {
			l.t.Errorf("manifest %s/%d changed:\n%v\n%v", a.Epoch, a.Number, old, a)
		}
		l.manifests[id(a.Epoch, a.Number)] = a
	case wire.Beacon:
		l.beacons = append(l.beacons, a)
	case wire.Gone:
		l.gone = append(l.gone, a)
	}
}

func (l *listener) hooked() func(connector.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hook
}

// take finds the window of a payload, and confirms what is whole if it is to.
func (l *listener) take(ctx context.Context, hash string) {
	l.mu.Lock()
	for key, m := range l.manifests {
		for i, b := range m.Batches {
			if b.Hash == hash {
				if l.have[key] == nil {
					l.have[key] = map[int]bool{}
				}
				l.have[key][i] = true
			}
		}
	}
	l.mu.Unlock()
	l.confirm(ctx, nil)
}

// confirm says what is whole, if it is to; after a beacon only if that does not know it.
func (l *listener) confirm(ctx context.Context, b *wire.Beacon) {
	var out []wire.Confirm
	l.mu.Lock()
	for epoch := range l.epochs() {
		c := wire.Confirm{Epoch: epoch}
		for l.isWhole(id(epoch, c.UpTo+1)) {
			c.UpTo++
		}
		c.Batches = len(l.have[id(epoch, c.UpTo+1)])
		c.End = b != nil && b.Epoch == epoch && b.End && c.UpTo == b.Newest
		if b == nil || b.Epoch == epoch && (b.Confirmed < c.UpTo || b.End) {
			out = append(out, c)
		}
	}
	if b != nil && b.End && b.Newest == 0 {
		out = append(out, wire.Confirm{Epoch: b.Epoch, End: true})
	}
	confirms := l.confirms
	l.mu.Unlock()
	for _, c := range out {
		if confirms {
			_ = l.broker.Publish(ctx, c.Message(names))
		}
	}
}

func (l *listener) epochs() map[string]bool {
	out := map[string]bool{}
	for _, m := range l.manifests {
		out[m.Epoch] = true
	}
	return out
}

func (l *listener) isWhole(key string) bool {
	m, ok := l.manifests[key]
	return ok && len(l.have[key]) == len(m.Batches)
}

// heard returns the channels of manifests and data so far.
func (l *listener) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.order)
}

// same reports whether manifests and batches came in this order; a broker keeps that of one topic alone.
func same(got, want []string) bool {
	of := func(all []string, manifests bool) (out []string) {
		for _, key := range all {
			if strings.HasPrefix(key, "manifest:") == manifests {
				out = append(out, key)
			}
		}
		return out
	}
	return slices.Equal(of(got, true), of(want, true)) && slices.Equal(of(got, false), of(want, false))
}

func (l *listener) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order, l.at, l.data, l.gone, l.beacons = nil, nil, map[string][][]byte{}, nil, nil
}

// payload returns what came on a channel of data, nil if it came less often.
func (l *listener) payload(key string, time int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.data[key]) <= time {
		return ""
	}
	return string(l.data[key][time])
}

// beaconsIn counts the beacons that come within a time.
func (l *listener) beaconsIn(d time.Duration) int {
	l.forget()
	time.Sleep(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.beacons)
}

func (l *listener) refusals() []wire.Gone {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.gone)
}

func (l *listener) manifest(epoch string, number uint64) wire.Manifest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.manifests[id(epoch, number)]
}

func (l *listener) lastBeacon() wire.Beacon {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.beacons) == 0 {
		return wire.Beacon{}
	}
	return l.beacons[len(l.beacons)-1]
}

// all returns the manifests by number; there must be one epoch.
func (l *listener) all() (out []wire.Manifest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out = slices.Collect(maps.Values(l.manifests))
	slices.SortFunc(out, func(a, b wire.Manifest) int {
		return strings.Compare(fmt.Sprintf("%s/%09d", a.Epoch, a.Number), fmt.Sprintf("%s/%09d", b.Epoch, b.Number))
	})
	return out
}

func (l *listener) say(m connector.Message) {
	l.t.Helper()
	if err := l.broker.Publish(l.t.Context(), m); err != nil {
		l.t.Error(err)
	}
}

func confirm(epoch string, upTo uint64) connector.Message {
	return wire.Confirm{Epoch: epoch, UpTo: upTo}.Message(names)
}

func hashOf(payload []byte) string { return wire.Hash(payload) }
