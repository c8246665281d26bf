package sinktest

import (
	"context"
	"flag"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/connector"
)

// histories tries random deliveries, faults and repeats: in the end the target holds each row once.
func histories(t *testing.T, open func(t *testing.T) *Target) {
	Checks(t, open(t).withDefaults().Histories)
	rapid.Check(t, func(r *rapid.T) {
		tg := open(t).withDefaults()
		h := &history{T: r, driver: start(r, tg)}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			h.step()
		}
		h.verify()
	})
}

// Checks sets how many cases rapid tries in this test, unless the command line says so.
func Checks(t *testing.T, n int) {
	const name = "rapid.checks"
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	f := flag.Lookup(name)
	old := f.Value.String()
	t.Cleanup(func() { _ = f.Value.Set(old) })
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatalf("set %s: %v", name, err)
	}
}

// history is one run of random steps.
type history struct {
	*rapid.T
	*driver
	done []sent
}

// sent is a delivery that was acknowledged.
type sent struct {
	connector.Delivery
	spots []Spot
}

func (h *history) step() {
	steps := map[string]func(){"write": h.write, "repeat": h.repeat, "restore": h.restore,
		"new sink": h.renew, "cancel": h.cancel}
	names := []string{"write", "repeat", "restore", "new sink", "cancel"}
	add := func(name string, hook Hook) {
		if hook.Lacks == "" {
			names = append(names, name)
			steps[name] = func() { h.broken(name, hook) }
		}
	}
	add("outage", h.tg.Outage)
	add("lost answer", h.tg.LostAnswer)
	if h.tg.cut(1).Lacks == "" {
		add("cut", h.tg.Cut(rapid.Int64Range(1, 30_000).Draw(h.T, "cut at")))
	}
	add("restart", h.tg.Restart)
	if h.tg.Freeze.Weak == "" && h.tg.Timeout <= 2*time.Second {
		add("freeze", h.tg.Freeze)
	}
	steps[rapid.SampledFrom(names).Draw(h.T, "step")]()
}

func (h *history) draw() sent {
	n := rapid.IntRange(0, 1200).Draw(h.T, "rows")
	spots := OverMonths(h.fresh(n), rapid.IntRange(1, 4).Draw(h.T, "months"))
	return sent{h.delivery(spots), spots}
}

// finish delivers what may have been tried before.
func (h *history) finish(s sent) {
	if v := h.deliver(s.Delivery); len(v.Rejected) > 0 {
		h.T.Fatalf("good row rejected: %s", v.Rejected[0].Reason)
	}
	h.expect(s.spots)
	s.Unknown = true
	h.done = append(h.done, s)
}

func (h *history) write() { h.finish(h.draw()) }

func (h *history) repeat() {
	if len(h.done) == 0 {
		return
	}
	s := rapid.SampledFrom(h.done).Draw(h.T, "again")
	s.ByKey = rapid.Bool().Draw(h.T, "by key")
	h.deliver(s.Delivery)
}

// restore begins a new life that delivers an old delivery's rows again, with new ones.
func (h *history) restore() {
	h.lineage[0]++
	h.next = 1
	if len(h.done) == 0 {
		return
	}
	old := rapid.SampledFrom(h.done).Draw(h.T, "restored").spots
	from := rapid.IntRange(0, len(old)).Draw(h.T, "from")
	spots := append(append([]Spot{}, old[from:]...), h.fresh(50)...)
	s := sent{h.delivery(spots), spots}
	s.ByKey = true
	h.finish(s)
}

// cancel stops a write at a random moment.
func (h *history) cancel() {
	s := h.draw()
	after := time.Duration(rapid.IntRange(0, 5000).Draw(h.T, "microseconds")) * time.Microsecond
	ctx, cancel := context.WithTimeout(context.Background(), after)
	_, err := h.sink.Write(ctx, s.Delivery)
	cancel()
	if err != nil && !outage(err) {
		h.T.Fatalf("cancelled write: want an outage, got %v", err)
	}
	s.Unknown = err != nil
	h.finish(s)
}

// broken writes while the target is broken, perhaps with another sink afterwards.
func (h *history) broken(name string, hook Hook) {
	s := h.draw()
	h.driver.do(name, hook.Do)
	ctx, cancel := context.WithTimeout(context.Background(), h.tg.Timeout)
	_, err := h.sink.Write(ctx, s.Delivery)
	cancel()
	if err != nil && !outage(err) {
		h.T.Fatalf("write during %s: want an outage, got %v", name, err)
	}
	h.driver.do("end of "+name, hook.Undo)
	if rapid.Bool().Draw(h.T, "new sink after "+name) {
		h.renew()
	}
	s.Unknown = true
	h.finish(s)
}
