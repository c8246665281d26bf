package logfile

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/connector"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keeper is what a job keeps: the position and what was told before it, together.
type keeper struct {
	mu       sync.Mutex
	position []byte
	all      []string // lines as they are; gaps and notes as "GAP cause", "NOTE cause"
	ids      map[string]string
	refuse   func() error // whether a tell is to fail
}

func (k *keeper) tell(_ context.Context, s connector.Seen) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse != nil {
		if err := k.refuse(); err != nil {
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
		if k.ids == nil {
			k.ids = map[string]string{}
		}
		if e.Kind == connector.EventLine {
			if was, twice := k.ids[e.ID]; twice {
				return fmt.Errorf("%q and %q have one ID, %s", was, text, e.ID)
			}
			k.ids[e.ID] = text
		}
		k.all = append(k.all, text)
	}
	k.position = slices.Clone(s.Position)
	return nil
}

func (k *keeper) told() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all)
}

// lines are what was told without notes.
func (k *keeper) lines() []string {
	return slices.DeleteFunc(k.told(), func(s string) bool { return strings.HasPrefix(s, "NOTE ") })
}

// log is a log file that is watched, and what was kept of it.
type log struct {
	keeper
	t    *testing.T
	cfg  Config
	stop func()
}

func newLog(t *testing.T) *log {
	return &log{t: t, cfg: Config{Path: filepath.Join(t.TempDir(), "app.log"), Settle: 30 * time.Millisecond}}
}

// start watches until the test ends or stop is called.
func (l *log) start() {
	l.t.Helper()
	f, err := New(l.cfg)
	must(l.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Watch(ctx, l.position, l.tell) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errKilled) {
			l.t.Errorf("watch: %v", err)
		}
	})
	l.t.Cleanup(l.stop)
}

var errKilled = errors.New("killed")

// ready waits until a position is there.
func (l *log) ready() {
	l.t.Helper()
	l.until("a position", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.position != nil })
}

func (l *log) until(what string, done func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("no %s within 20 s; told: %q, position %s", what, l.told(), l.position)
		}
	}
}

// tells waits for lines, and checks that nothing else was told but notes.
func (l *log) tells(want ...string) {
	l.t.Helper()
	l.until(fmt.Sprintf("%q", want), func() bool { return len(l.lines()) >= len(want) })
	if got := l.lines(); !slices.EqualFunc(got, want, func(g, w string) bool {
		return g == w || strings.HasPrefix(w, "GAP ") && strings.HasPrefix(g, "GAP ") && strings.Contains(g, w[4:])
	}) {
		l.t.Fatalf("got %q\nwant %q", got, want)
	}
}

func (l *log) path(suffix string) string { return l.cfg.Path + suffix }

func (l *log) write(text string) { appendTo(l.t, l.cfg.Path, text) }

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	must(t, f.Close())
}

func (l *log) rename(from, to string) { must(l.t, os.Rename(l.path(from), l.path(to))) }

func (l *log) copyTruncate(to string) {
	b, err := os.ReadFile(l.cfg.Path)
	must(l.t, err)
	must(l.t, os.WriteFile(l.path(to), b, 0o600))
	must(l.t, os.Truncate(l.cfg.Path, 0))
}

// pack does what gzip does: the packed file has the time of the other.
func pack(t testing.TB, path string) {
	b, err := os.ReadFile(path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	f, err := os.Create(path + ".gz")
	must(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(b)
	must(t, err)
	must(t, z.Close())
	must(t, f.Close())
	must(t, os.Chtimes(path+".gz", time.Time{}, info.ModTime()))
	must(t, os.Remove(path))
}
