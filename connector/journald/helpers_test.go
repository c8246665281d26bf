package journald

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/connector"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProcessLeaks()...) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched is a journal that is watched, and what a job would have kept of it.
type watched struct {
	t    *testing.T
	cfg  Config
	stop func()

	mu       sync.Mutex
	position []byte
	all      []string // messages; gaps and notes as "GAP cause", "NOTE cause"
	fields   []map[string]string
	ids      map[string]bool
	tells    int
	refuse   func() error
}

func (w *watched) tell(_ context.Context, s connector.Seen) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(); err != nil {
			return err
		}
	}
	for _, e := range s.Events {
		text := string(e.Line)
		switch e.Kind {
		case connector.EventGap:
			text = "GAP " + e.Cause
		case connector.EventNote:
			text = "NOTE " + e.Cause
		}
		if e.Cut {
			text += " (cut)"
		}
		if w.ids[e.ID] || e.ID == "" {
			return fmt.Errorf("%q has the ID of another, %q", text, e.ID)
		}
		if w.ids == nil {
			w.ids = map[string]bool{}
		}
		w.ids[e.ID] = true
		w.all, w.fields = append(w.all, text), append(w.fields, e.Fields)
	}
	w.tells++
	w.position = slices.Clone(s.Position)
	return nil
}

func (w *watched) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// lines are what was told without notes.
func (w *watched) lines() []string {
	return slices.DeleteFunc(w.told(), func(s string) bool { return strings.HasPrefix(s, "NOTE ") })
}

func (w *watched) start() {
	w.t.Helper()
	j, err := New(w.cfg)
	must(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Watch(ctx, w.position, w.tell) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("watch: %v", err)
		}
	})
	w.t.Cleanup(w.stop)
}

func (w *watched) ready() {
	w.t.Helper()
	w.until("position", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.position != nil })
}

func (w *watched) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s within 10 s; told: %.3000q, position %s", what, w.told(), w.position)
		}
	}
}

// says waits for messages, and checks that nothing else was told but notes. A want that begins with GAP is a part of one.
func (w *watched) says(want ...string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%.300q", want), func() bool { return len(w.lines()) >= len(want) })
	if got := w.lines(); !slices.EqualFunc(got, want, func(g, w string) bool {
		return g == w || strings.HasPrefix(w, "GAP ") && strings.HasPrefix(g, "GAP ") && strings.Contains(g, w[4:])
	}) {
		w.t.Fatalf("got %.3000q\nwant %.3000q", got, want)
	}
}

func signal(t *testing.T, pid, sig string) {
	t.Helper()
	must(t, exec.Command("/bin/kill", sig, pid).Run())
}
