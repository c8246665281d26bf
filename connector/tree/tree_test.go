package tree

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
)

func TestValidateNamesEachKey(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		cfg  Config
		keys string
	}{
		{Config{Root: "/data"}, ""},
		{Config{Root: "/data", Patterns: []string{"*.fits", "2026/**/t?_r*.fits", "/a/[!b]"}, Within: day,
			Recency: time.Hour}, ""},
		{Config{}, "root"},
		{Config{Root: "data"}, "root"},
		{Config{Root: "/d", Patterns: []string{"a[", "", "a//b", "../x", "ok"}}, "patterns patterns patterns patterns"},
		{Config{Root: "/d", Ignore: []string{"a\\"}}, "ignore"},
		{Config{Root: "/d", Patience: -1, Overdue: -1, PollEvery: -1, ScanEvery: -1, CheckEvery: -1},
			"patience overdue poll_every scan_every check_every"},
		{Config{Root: "/d", Within: -1, Recency: -1}, "within recency"},
		{Config{Root: "/d", Within: time.Hour, Recency: day}, "recency"},
	} {
		var keys []string
		for _, err := range c.cfg.Validate() {
			key, _, _ := strings.Cut(err.Error(), ": ")
			keys = append(keys, key)
		}
		if got := strings.Join(keys, " "); got != c.keys {
			t.Errorf("%+v: faults of %q, want %q", c.cfg, got, c.keys)
		}
		if _, err := New(c.cfg); (err != nil) != (c.keys != "") {
			t.Errorf("%+v: New says %v", c.cfg, err)
		}
	}
}

func TestRunReturnsTheErrorOfItsReceiver(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "abc")
	c := config(dir)
	c.Patience = time.Millisecond
	tr := mustNew(t, c)
	full := fault.New(fault.Full, "no room")
	err := tr.Run(t.Context(), func(context.Context, []File) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	// What was not taken is given by the next.
	r := newReceiver()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = tr.Run(ctx, func(ctx context.Context, files []File) error {
		defer cancel()
		return r.give(ctx, files)
	})
	if len(r.of("a")) != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v and %v, want a and the end of the context", r.got(), err)
	}
}

func TestTwoRunsAtOnceAreRefused(t *testing.T) {
	g := start(t, config(t.TempDir()), nil)
	if err := g.tree.Run(t.Context(), g.give); !fault.Is(err, fault.Busy) {
		t.Errorf("got %v, want a Busy fault", err)
	}
}

// A second Run of the same tree gives what came in between, and not what was given.
func TestWhatCameBetweenTwoRunsIsGivenWhateverItsAge(t *testing.T) {
	c := config(t.TempDir())
	c.Within, c.Patience = time.Hour, 10*time.Millisecond
	g := start(t, c, nil)
	g.write("a", "abc")
	g.paths(t, "a")
	_ = g.stop()
	if s := g.tree.Status(); s.Mode != "" || s.Directories != 0 {
		t.Errorf("stopped, and the status is %+v", s)
	}
	g.write("b", "abc")
	old(t, g.path("b"))
	g.run()
	g.paths(t, "b")
	if fs := g.of("a"); len(fs) != 1 {
		t.Errorf("a was given %d times, want once", len(fs))
	}
}

func TestTheScanAtTheStartTakesTheWindowAndWhatChangedSince(t *testing.T) {
	for _, c := range []struct {
		since time.Time
		want  int
	}{{time.Now().Add(-time.Second), 2}, {time.Now().Add(time.Hour), 1}} {
		cfg := config(t.TempDir())
		cfg.Within, cfg.Patience, cfg.Since = time.Hour, 10*time.Millisecond, c.since
		write(t, cfg.Root+"/new", "abc")
		write(t, cfg.Root+"/old", "abc")
		old(t, cfg.Root+"/old")
		g := start(t, cfg, nil)
		g.waits("empty table", func(s Status) bool { return s.Waiting == 0 })
		g.paths(t, "new")
		if fs := g.got(); len(fs) != c.want {
			t.Errorf("since %v: got %v, want %d", c.since, fs, c.want)
		}
		if f := g.of("new")[0]; f.Found != Start || f.Found.Live() {
			t.Errorf("found by %s, want start", f.Found)
		}
		_ = g.stop()
	}
}

func TestRunEndsWhileItsReceiverIsStalled(t *testing.T) {
	g := start(t, config(t.TempDir()), nil)
	defer g.block()()
	g.write("a", "abc")
	g.waits("a in hand", func(s Status) bool { return s.Waiting == 1 })
	if err := g.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if fs := g.got(); len(fs) != 0 {
		t.Errorf("a stalled receiver got %v", fs)
	}
}

// TestWhatCantBeReadWaitsOnce: while nobody takes files, the directories that are tried again do not pile up.
func TestWhatCantBeReadWaitsOnce(t *testing.T) {
	s := &session{t: mustNew(t, config(t.TempDir())), files: newTable(1, time.Hour), retry: map[string]bool{"a": true, "b": true}}
	now := time.Now()
	for range 3 {
		s.again(now)
		now = now.Add(time.Hour)
	}
	if len(s.parts) != 2 {
		t.Errorf("%d walks wait, want 2", len(s.parts))
	}
}
