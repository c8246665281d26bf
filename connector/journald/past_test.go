package journald

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
)

// Past tells what a journal has of a unit behind a time, and ends.
func TestPast(t *testing.T) {
	j, w := journal(t)
	w.cfg.Unit = "a.service"
	begun := time.Now()
	j.Say("a.service", "one", "two")
	j.Say("b.service", "other")
	j.Say("a.service", "three")
	j.Flush()
	past := func(c Config, since time.Time) (all []string) {
		x, err := New(c)
		must(t, err)
		must(t, x.Past(t.Context(), since, func(_ context.Context, s connector.Seen) error {
			for _, e := range s.Events {
				all = append(all, string(e.Line))
			}
			return nil
		}))
		return all
	}
	if got := past(w.cfg, begun.Add(-time.Minute)); !reflect.DeepEqual(got, []string{"one", "two", "three"}) {
		t.Errorf("got %q", got)
	}
	if got := past(w.cfg, time.Now().Add(time.Minute)); got != nil {
		t.Errorf("of the future: %q", got)
	}
	w.cfg.Command = command(t, "echo no such journal >&2; exit 1")
	x, err := New(w.cfg)
	must(t, err)
	err = x.Past(t.Context(), begun, func(context.Context, connector.Seen) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "no such journal") {
		t.Errorf("got %v", err)
	}
}
