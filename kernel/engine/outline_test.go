package engine_test

import (
	"context"
	"slices"
	"testing"

	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// telling is a job that depends on a feed, and has rows for a broker.
type telling struct{ work }

func (telling) Gates() []gate.Status        { return []gate.Status{{Name: "feed"}, {Name: "broker"}} }
func (telling) Promises() map[string]string { return map[string]string{"broker": "at least once"} }
func (telling) Tasks(store.Reader) (engine.Tasks, error) {
	return engine.Tasks{Sinks: []engine.SinkBooks{{Sink: "broker", Flow: balance.Flow{Accepted: 7, Delivered: 3, Pending: 4}}}}, nil
}

// What a job depends on, and where its rows are, is told as well while it is paused, restarts included.
func TestAPausedJobIsTold(t *testing.T) {
	dir := t.TempDir()
	spec := engine.Spec{Name: "one", New: func(context.Context, engine.Env) (engine.Job, error) { return telling{waiting}, nil }}
	told := func(e *engine.Engine, want engine.State) {
		t.Helper()
		until(t, string(want), func() bool { return state(t, e, "one").State == want })
		s := state(t, e, "one")
		names := s.Needs
		if want == engine.Running {
			for _, g := range s.Gates {
				names = append(names, g.Name)
			}
		}
		if len(s.Balance.Sinks) != 1 || s.Balance.Sinks[0].Delivered != 3 || s.Backlog.Rows != 4 || s.Promises["broker"] == "" ||
			!slices.Equal(names, []string{"feed", "broker"}) || len(s.Balance.Broken) > 0 {
			t.Errorf("%s: %+v", want, s)
		}
	}
	e, stop := run(t, dir, new(log), spec)
	told(e, engine.Running)
	if err := e.Pause("one"); err != nil {
		t.Fatal(err)
	}
	told(e, engine.Paused)
	stop()
	e, stop = run(t, dir, new(log), spec)
	told(e, engine.Paused)
	if err := e.Resume("one"); err != nil {
		t.Fatal(err)
	}
	told(e, engine.Running)
	stop()
}
