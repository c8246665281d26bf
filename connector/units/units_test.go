package units

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	bus "github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/watchertest"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProcessLeaks()...) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched is some units that are watched, and the states that were told of each: "failed/1" is failed, restarted once.
type watched struct {
	t    *testing.T
	cfg  Config
	stop func()

	mu     sync.Mutex
	states map[string][]string
	last   map[string]connector.Sample
	failed []string
}

func (w *watched) tell(_ context.Context, s connector.Seen) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(s.Events) != 1 || s.Events[0].Kind != connector.EventLook || s.Events[0].ID == "" || s.Position != nil {
		return fmt.Errorf("told %+v", s)
	}
	e := s.Events[0]
	if e.Failed != "" {
		w.failed = append(w.failed, e.Failed)
	}
	for _, x := range e.Samples {
		name := x.Labels["unit"]
		now := fmt.Sprintf("%s/%v", x.Text, x.Value)
		if all := w.states[name]; len(all) == 0 || all[len(all)-1] != now {
			w.states[name] = append(all, now)
		}
		w.last[name] = x
	}
	return nil
}

func start(t *testing.T, c Config) *watched {
	w := &watched{t: t, cfg: c, states: map[string][]string{}, last: map[string]connector.Sample{}}
	u, err := New(c)
	must(t, err)
	w.stop = watchertest.Start(t, u, nil, w.tell)
	return w
}

// is waits until the states of a unit were these.
func (w *watched) is(unit string, want ...string) {
	w.t.Helper()
	testenv.Until(w.t, 20*time.Second, fmt.Sprintf("%s is %v", unit, want), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		got := w.states[unit]
		return strings.Join(got, " ") == strings.Join(want, " ")
	})
}

// until waits until a unit was told to be in a state.
func (w *watched) until(unit, state string) {
	w.t.Helper()
	testenv.Until(w.t, 20*time.Second, unit+" is "+state, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		all := w.states[unit]
		return len(all) > 0 && all[len(all)-1] == state
	})
}

var units = map[string]string{
	"a.service":     "[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/true\n",
	"crash.service": "[Service]\nExecStart=/bin/sh -c 'exit 3'\n",
	"again.service": "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=1ms\n",
	"slow.service":  "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n",
	"soon.service":  "[Service]\nType=oneshot\nExecStart=/bin/sleep 1\n",
	"then.service":  "[Service]\nExecStartPre=/bin/sleep 0.7\nExecStart=/bin/sleep 1000\n",
	"late.service":  "[Service]\nType=oneshot\nTimeoutStartSec=1\nExecStart=/bin/sleep 1000\n",
}

func TestStates(t *testing.T) {
	s := testenv.Systemd(t, units)
	w := start(t, Config{Unit: "a.service", Units: []string{"crash.service", "again.service", "none.service", "dbus.socket"}, Bus: s.Bus(),
		Look: time.Hour})
	w.is("a.service", "inactive/0")
	w.is("none.service", "not-found/0")
	w.is("dbus.socket", "active/0")
	must(t, Do(t.Context(), s.Bus(), "start", "a.service"))
	w.is("a.service", "inactive/0", "active/0")
	w.mu.Lock()
	x := w.last["a.service"]
	w.mu.Unlock()
	if x.Fields["sub"] != "running" || x.Fields["load"] != "loaded" || x.Fields["result"] != "success" {
		t.Errorf("got %+v", x)
	}
	must(t, Do(t.Context(), s.Bus(), "stop", "a.service"))
	w.until("a.service", "inactive/0")
	must(t, Do(t.Context(), s.Bus(), "start", "crash.service"))
	w.until("crash.service", "failed/0")
	must(t, Do(t.Context(), s.Bus(), "start", "again.service"))
	for i := 1; i <= 3; i++ {
		s.Run("systemctl", "kill", "-s", "KILL", "again.service")
		w.until("again.service", fmt.Sprintf("active/%d", i))
	}
	// A unit that comes into being.
	s.Unit("none.service", "[Service]\nExecStart=/bin/sleep 1000\n")
	s.Run("systemctl", "daemon-reload")
	w.until("none.service", "inactive/0")
	w.mu.Lock()
	defer w.mu.Unlock()
	if all := strings.Join(w.states["again.service"], " "); strings.Count(all, "activating") < 3 {
		t.Errorf("three restarts, and of them was told: %s", all)
	}
}

func TestBusAway(t *testing.T) {
	s := testenv.Systemd(t, units)
	w := start(t, Config{Unit: "a.service", Bus: s.Bus()})
	w.until("a.service", "inactive/0")
	s.Run("systemctl", "stop", "dbus.service", "dbus.socket")
	testenv.Until(t, 20*time.Second, "looks fail", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.failed) > 0 })
	s.Run("systemctl", "start", "a.service")
	s.Run("systemctl", "start", "dbus.socket")
	w.until("a.service", "active/0")
}

// systemd that begins anew is asked anew.
func TestReexec(t *testing.T) {
	s := testenv.Systemd(t, units)
	w := start(t, Config{Unit: "a.service", Bus: s.Bus(), Look: time.Hour})
	w.until("a.service", "inactive/0")
	s.Run("systemctl", "daemon-reexec")
	s.Run("systemctl", "start", "a.service")
	w.until("a.service", "active/0")
}

func TestVerbs(t *testing.T) {
	s := testenv.Systemd(t, units)
	do := func(verb, unit string) error {
		t.Helper()
		return Do(t.Context(), s.Bus(), verb, unit)
	}
	active := func(unit string) string {
		return strings.TrimSpace(s.Run("sh", "-c", "systemctl is-active "+unit+" || true"))
	}
	for _, c := range []struct {
		verb, unit string
		kind       fault.Kind
		state      string
	}{
		{"try-restart", "a.service", fault.Unknown, "inactive"},
		{"start", "a.service", fault.Unknown, "active"},
		{"reload", "a.service", fault.Unknown, "active"},
		{"restart", "a.service", fault.Unknown, "active"},
		{"reload-or-restart", "a.service", fault.Unknown, "active"},
		{"try-restart", "a.service", fault.Unknown, "active"},
		{"reload", "again.service", fault.Invalid, "inactive"},
		{"stop", "a.service", fault.Unknown, "inactive"},
		{"start", "crash.service", fault.Unknown, "failed"},
		{"reset-failed", "crash.service", fault.Unknown, "inactive"},
		{"start", "none.service", fault.NotFound, "inactive"},
		{"start", "late.service", fault.Invalid, "failed"},
		{"mask", "a.service", fault.Invalid, "inactive"},
		{"start", "-rf", fault.Invalid, ""},
		{"start", "a.service;reboot", fault.Invalid, ""},
	} {
		err := do(c.verb, c.unit)
		if (err == nil) != (c.kind == fault.Unknown) || fault.KindOf(err) != c.kind {
			t.Errorf("%s %s: got %v, want kind %v", c.verb, c.unit, err, c.kind)
		}
		if c.state == "" {
			continue
		}
		if !strings.HasPrefix(c.unit, "crash") && active(c.unit) != c.state {
			t.Errorf("%s %s: it is %s, want %s", c.verb, c.unit, active(c.unit), c.state)
		}
		if strings.HasPrefix(c.unit, "crash") {
			testenv.Until(t, 10*time.Second, c.unit+" is "+c.state, func() bool { return active(c.unit) == c.state })
		}
	}
	// A job that does not end: the outcome is not known.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := Do(ctx, s.Bus(), "start", "slow.service"); !errors.Is(err, ErrUnknown) || !fault.Is(err, fault.Transient) {
		t.Errorf("slow: %v", err)
	}
	must(t, do("stop", "slow.service"))
	// systemd goes on without a bus: a job that ends when it is back, and one that has ended meanwhile.
	for unit, while := range map[string]time.Duration{"soon.service": 0, "then.service": 1500 * time.Millisecond} {
		ended := make(chan error, 1)
		go func() { ended <- do("start", unit) }()
		testenv.Until(t, 10*time.Second, unit+" is begun", func() bool { return active(unit) == "activating" })
		s.Run("systemctl", "stop", "dbus.service", "dbus.socket")
		time.Sleep(while)
		s.Run("systemctl", "start", "dbus.socket")
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", unit, err)
		}
	}
	if err := outcome("start", "a.service", "canceled"); !fault.Is(err, fault.Transient) {
		t.Errorf("a job whose place was taken: %v", err)
	}
	s.Kill()
	if err := do("start", "a.service"); !fault.Is(err, fault.Transient) {
		t.Errorf("no bus: %v", err)
	}
}

// What became of a job that ended without a bus is told by its unit, or nobody knows.
func TestJudge(t *testing.T) {
	begun := time.Now()
	before, behind := uint64(begun.Add(-time.Hour).UnixMicro()), uint64(begun.Add(time.Second).UnixMicro())
	for _, c := range []struct {
		verb, state      string
		active, inactive uint64
		want             string
	}{
		{"start", "active", before, 0, ""},
		{"restart", "active", behind, before, ""},
		{"restart", "active", before, 0, "not known"},
		{"reload", "active", before, 0, "not known"},
		{"restart", "failed", before, behind, "systemd says: failed"},
		{"restart", "failed", 0, before, "not known"},
		{"start", "inactive", before, behind, ""},
		{"start", "inactive", 0, 0, "not known"},
		{"stop", "inactive", before, 0, ""},
		{"stop", "failed", before, behind, ""},
		{"stop", "active", behind, 0, "not known"},
	} {
		j := job{verb: c.verb, unit: "a.service", begun: begun}
		err := j.judge(map[string]bus.Variant{"ActiveState": bus.MakeVariant(c.state), "ActiveEnterTimestamp": bus.MakeVariant(c.active),
			"InactiveEnterTimestamp": bus.MakeVariant(c.inactive)})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrUnknown) != (c.want == "not known") {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"unit: is missing": {},
		"unit: \"x\" is":   {Unit: "x"},
		"unit: \"a b.se":   {Units: []string{"a b.service"}},
		"bus: is":          {Unit: "a.service", Bus: "x"},
		"look: is":         {Unit: "a.service", Look: -1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Permanent) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	full := errors.New("full")
	u, err := New(Config{Unit: "a.service", Bus: "/none/bus"})
	must(t, err)
	if err := u.Watch(t.Context(), nil, func(context.Context, connector.Seen) error { return full }); !errors.Is(err, full) {
		t.Errorf("tell failed, and Watch says %v", err)
	}
}
