package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long is how long a test waits for what must come.
const long = 30 * time.Second

// receiver takes files.
type receiver struct {
	mu    sync.Mutex // guards what follows
	files []File
	more  chan struct{} // closed when files come
	stall chan struct{} // give waits for its end; nil: it does not
}

func newReceiver() *receiver { return &receiver{more: make(chan struct{})} }

func (r *receiver) give(ctx context.Context, files []File) error {
	r.mu.Lock()
	stall := r.stall
	r.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = append(r.files, files...)
	close(r.more)
	r.more = make(chan struct{})
	return nil
}

// block makes give wait until the function that it returns is called.
func (r *receiver) block() (open func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stall := make(chan struct{})
	r.stall = stall
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stall = nil
		close(stall)
	}
}

func (r *receiver) got() []File {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.files)
}

// of returns what was given of a path.
func (r *receiver) of(path string) (fs []File) {
	for _, f := range r.got() {
		if f.Path == path {
			fs = append(fs, f)
		}
	}
	return fs
}

// until waits until a condition of what was given holds.
func (r *receiver) until(t *testing.T, what string, is func([]File) bool) {
	t.Helper()
	end := time.NewTimer(long)
	defer end.Stop()
	for {
		r.mu.Lock()
		ok, more, n := is(r.files), r.more, len(r.files)
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-more:
		case <-end.C:
			t.Fatalf("after %v and %d files: no %s", long, n, what)
		}
	}
}

// paths waits until each of some paths was given.
func (r *receiver) paths(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		r.until(t, p, func(fs []File) bool {
			return slices.ContainsFunc(fs, func(f File) bool { return f.Path == p })
		})
	}
}

// rig is a tree that runs.
type rig struct {
	*receiver
	t    *testing.T
	tree *Tree
	dir  string
	stop func() error
}

// config is that of tests: what needs patience never comes.
func config(dir string) Config { return Config{Root: dir, Patience: time.Hour} }

func mustNew(t *testing.T, c Config) *Tree {
	t.Helper()
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	tr.own.pause = 20 * time.Millisecond
	return tr
}

// start runs a tree, and waits until the first scan is over.
func start(t *testing.T, c Config, set func(*own)) *rig {
	t.Helper()
	g := begin(t, c, set)
	g.waits("end of the first scan", func(s Status) bool { return s.Last.Kind != "" })
	return g
}

func begin(t *testing.T, c Config, set func(*own)) *rig {
	t.Helper()
	g := &rig{receiver: newReceiver(), t: t, tree: mustNew(t, c), dir: c.Root}
	if set != nil {
		set(&g.tree.own)
		g.tree.seen = newRecent(g.tree.own.remember)
	}
	g.run()
	return g
}

func (g *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var err error
	done.Go(func() { err = g.tree.Run(ctx, g.give) })
	g.stop = sync.OnceValue(func() error {
		cancel()
		done.Wait()
		return err
	})
	g.t.Cleanup(func() {
		if err := g.stop(); !errors.Is(err, context.Canceled) {
			g.t.Errorf("Run returned %v, want the end of its context", err)
		}
	})
}

// waits until the status is as wanted.
func (g *rig) waits(what string, is func(Status) bool) {
	g.t.Helper()
	for end := time.Now().Add(long); !is(g.tree.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("after %v no %s: %+v", long, what, g.tree.Status())
		}
	}
}

func (g *rig) path(name string) string { return filepath.Join(g.dir, name) }

func (g *rig) write(name, text string) { write(g.t, g.path(name), text) }

func write(t testing.TB, path, text string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

func (g *rig) mkdir(name string) {
	g.t.Helper()
	check(g.t, os.MkdirAll(g.path(name), 0o755))
}

func (g *rig) rename(from, to string) {
	g.t.Helper()
	check(g.t, os.Rename(g.path(from), g.path(to)))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantHint checks that an error tells a person what to do.
func wantHint(t testing.TB, err error, hint string) {
	t.Helper()
	if !strings.Contains(fault.HintOf(err), hint) {
		t.Errorf("got %v with hint %q, want a hint that names %q", err, fault.HintOf(err), hint)
	}
}

// identity is that of a file as it stands.
func identity(t testing.TB, dir, name string) Identity {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Lstat(dir+"/"+name, &st))
	return identify(name, &st)
}

// passes lets what was changed be older than what comes, by the kernel's clock, which ticks slowly.
func passes() { time.Sleep(20 * time.Millisecond) }
