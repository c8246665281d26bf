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

// hub is a broker in memory that can be away, and counts who tries it.
type hub struct {
	mu       sync.Mutex // guards the below
	down     error
	full     bool // it listens, and takes nothing
	listens  map[*ear]bool
	attempts int // that failed
	lose     func(m connector.Message) bool
}

type ear struct {
	topics []string
	came   chan connector.Message
	ended  chan error
}

func newHub() *hub { return &hub{listens: map[*ear]bool{}} }

var errAway = fault.New(fault.Transient, "connection refused")

func (h *hub) Traits() connector.BrokerTraits { return connector.BrokerTraits{MaxPayload: 8 << 20} }
func (h *hub) Close() error                   { return nil }

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
	e := &ear{topics: l.Topics, came: make(chan connector.Message, 100_000), ended: make(chan error, 1)}
	h.mu.Lock()
	if h.down != nil {
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
		e.ended <- errAway
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

	mu        sync.Mutex // guards the below
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
	var out []wire.Confirm
	if l.confirms {
		for epoch := range l.epochs() {
			c := wire.Confirm{Epoch: epoch}
			for l.isWhole(id(epoch, c.UpTo+1)) {
				c.UpTo++
			}
			c.Batches = len(l.have[id(epoch, c.UpTo+1)])
			out = append(out, c)
		}
	}
	l.mu.Unlock()
	for _, c := range out {
		_ = l.broker.Publish(ctx, c.Message(names))
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

func (l *listener) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order, l.at, l.data, l.gone, l.beacons = nil, nil, map[string][][]byte{}, nil, nil
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
