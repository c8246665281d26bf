package crawl

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPauseBehindCrash: a host that was asked when the crawl was killed is left alone for its delay first, and others are not.
func TestPauseBehindCrash(t *testing.T) {
	t.Parallel()
	const pause = 700 * time.Millisecond
	r := newRig(t, map[string]string{"/": `<a href="/a">a</a><a href="/b">b</a>`, "/a": "a", "/b": "b"})
	other := newSite(t, map[string]string{"/": "other"})
	r.cfg.Settings.MinDelay = new(pause)
	flights := filepath.Join(r.dir, FlightsFile)
	ctx, kill := context.WithCancel(t.Context())
	fetch := r.cfg.Fetch
	var left []byte // of the file, when it is killed
	r.cfg.Fetch = hooked{fetch, func(url string) (err error) {
		if strings.HasSuffix(url, "/a") {
			left, err = os.ReadFile(flights)
			kill()
		}
		return err
	}}
	if err := r.run(ctx); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(left), r.site.URL+"/a\x00") {
		t.Fatalf("in flight are %q", left)
	}
	if b, err := os.ReadFile(flights); err != nil || strings.Contains(string(b), r.site.URL+"/a\x00") {
		t.Errorf("it is in flight behind an end in good order: %v", err)
	}
	time.Sleep(pause) // its due time is over by then
	if err := os.WriteFile(flights, append(left, "no URL, but what a power cut left"...), 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards first
	first := map[string]time.Duration{}
	begun := time.Now()
	r.cfg.Seeds = append(r.cfg.Seeds, other.URL+"/")
	r.cfg.Fetch = hooked{fetch, func(url string) error {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := first[url]; !ok {
			first[url] = time.Since(begun)
		}
		return nil
	}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first[r.site.URL+"/b"] < pause*9/10 || first[other.URL+"/robots.txt"] > first[r.site.URL+"/b"] {
		t.Errorf("they are asked after %v", first)
	}
}

// TestFlightsAreNoFile: what is no file of URLs in flight, or is one that is far too large, keeps no crawl from its work.
func TestFlightsAreNoFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "with something in it"), 0o755) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"too large": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		},
	} {
		r := newRig(t, map[string]string{"/": "home"})
		var said strings.Builder
		r.said = &said
		path := filepath.Join(r.dir, FlightsFile)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := r.run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c := r.counts(); c.Done != 2 {
			t.Errorf("%s: %+v", name, c)
		}
		if told := strings.Contains(said.String(), path); told != (name != "too large") {
			t.Errorf("%s: the log says %s", name, said.String())
		}
	}
}
