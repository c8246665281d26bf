package weather

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// hostile is a broker that drops, doubles, reorders and spoils what it delivers.
type hostile struct {
	mu    sync.Mutex // guards all below
	rnd   *rand.Rand
	late  [][]byte // that are delivered behind later ones
	count map[string]int
}

func newHostile(seed uint64) *hostile {
	return &hostile{rnd: rand.New(rand.NewPCG(seed, 4)), count: map[string]int{}}
}

// met is what became of how many messages.
func (h *hostile) met() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.count)
}

// hook is what becomes of a frame on its way to a listener.
func (h *hostile) hook(f frame) [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, _, ok := f.delivered(); !ok {
		out := append([][]byte{f.raw}, h.late...) // an answer: whoever is late comes behind it
		h.late = nil
		return out
	}
	pick := h.rnd.IntN(100)
	var what string
	out := [][]byte{f.raw}
	switch {
	case pick < 30:
		what, out = "dropped", nil
	case pick < 40:
		what, out = "doubled", [][]byte{f.raw, f.raw}
	case pick < 50:
		what, out = "late", nil
		h.late = append(h.late, f.raw)
	case pick < 55:
		what, out = "spoilt", [][]byte{h.spoilt(f)}
	case pick < 60:
		what, out = "cut short", [][]byte{cutShort(f, h.rnd)}
	default:
		what = "as it was"
	}
	h.count[what]++
	if pick >= 60 && len(h.late) > 0 && h.rnd.IntN(2) == 0 {
		out, h.late = append(out, h.late...), nil
	}
	return out
}

// spoilt is a message of which one byte is another.
func (h *hostile) spoilt(f frame) []byte {
	raw := bytes.Clone(f.raw)
	if n := len(f.items[3].text); n > 0 {
		raw[len(raw)-2-n+h.rnd.IntN(n)] ^= 1 << h.rnd.IntN(8)
	}
	return raw
}

// cutShort is a message without its end.
func cutShort(f frame, rnd *rand.Rand) []byte {
	text := f.items[3].text
	if len(text) > 0 {
		text = text[:rnd.IntN(len(text))]
	}
	head := f.raw[:len(f.raw)-len(f.items[3].raw)]
	return append(bytes.Clone(head), fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)...)
}

// TestHostileBroker has a broker lose 30 % of what each role is to hear, double, reorder, spoil and cut short some of
// the rest, in two days in a row whose hours have the same names.
func TestHostileBroker(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	s := newStation(t, shape{seed: seed, hours: 48, zips: 55})
	s.with(streamer, "--speedup", "max", "--batch", "10")
	h := newHostile(seed)
	for _, name := range brokerRoles {
		s.roles[name].broker.down = frames(h.hook)
	}
	s.start()
	s.done()
	met := h.met()
	t.Logf("messages: %v", met)
	if met["dropped"] < 100 || met["spoilt"] == 0 || met["late"] == 0 {
		t.Errorf("messages: %v; this broker was not hostile", met)
	}
	if got, want := len(s.expected().hours), 48; got != want {
		t.Errorf("the data set has %d hours, want %d", got, want)
	}
	s.finish()
}

// TestTwoStreamers starts a second streamer by mistake, of other data of the same hours: it is refused while the first
// is at work, the ingester says so, and nothing of it is in the database.
func TestTwoStreamers(t *testing.T) {
	t.Parallel()
	s := newStation(t, shape{seed: testenv.Seed(t), hours: 6, zips: 60})
	s.with(streamer, "--interval", "2s", "--batch", "20")
	s.start()
	s.roles[ingester].await("it listens to the first streamer", func(st engine.Status) bool {
		return st.Balance.Accepted > 0
	})
	other := bare(t)
	shape{seed: 99, hours: 6, zips: 60, warmer: 50}.write(t, other.input)
	second := other.role(streamer)
	second.broker = newRelay(t, testenv.Address(t), s.redis.Addr())
	second.args = append(second.args, "--broker", "redis://"+second.broker.addr, "--interval", "100ms", "--batch", "20")
	second.start()
	s.roles[ingester].await("it refuses the second one", func(st engine.Status) bool {
		return line(st, "refused_messages") != ""
	})
	st := second.await("it has sent its windows", func(st engine.Status) bool {
		return number(line(st, "windows"), "sent") == 6
	})
	if n := number(line(st, "windows"), "confirmed"); n != 0 {
		t.Errorf("%d windows of the second streamer are confirmed, want none", n)
	}
	testenv.Until(t, soon, "the second streamer is told of", func() bool {
		return s.roles[ingester].told("stream.second", "a second streamer is heard and refused")
	})
	if s.roles[streamer].p.Running() { // a streamer that is alone is listened to
		second.end()
	} else {
		t.Error("the first streamer ended before the second")
	}
	s.finish()
	text, err := os.ReadFile(other.input)
	if err != nil || !strings.Contains(string(text), timeOf(theDay)) {
		t.Errorf("the second data set is not of the same hours: %v", err)
	}
}

func timeOf(at time.Time) string { return at.Format(timeLayout) }
