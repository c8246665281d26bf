package command

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
)

// looks are the first few looks of a watcher.
func looks(t *testing.T, cfg Config, n int) (all []connector.Event) {
	t.Helper()
	w, err := Open(cfg, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	done := errors.New("enough")
	err = w.Watch(t.Context(), nil, func(_ context.Context, s connector.Seen) error {
		if all = append(all, s.Events...); len(all) >= n {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	return all
}

func TestLooks(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	got := looks(t, Config{Run: []string{"/bin/sh", "-c", `echo x >> ` + count + `; echo "run $(wc -l < ` + count + `)"; exit $(wc -l < ` + count + `)`}}, 3)
	for i, e := range got {
		if len(e.Samples) != 1 || e.Samples[0].Value != float64(i+1) || e.Samples[0].Text != "run "+string(rune('1'+i)) {
			t.Errorf("look %d: %+v", i, e)
		}
	}
}

// What did not run to its end says nothing.
func TestFailed(t *testing.T) {
	for want, cfg := range map[string]Config{
		"too long": {Run: []string{"/bin/sleep", "60"}, Timeout: 50 * time.Millisecond},
		"killed":   {Run: []string{"/bin/sh", "-c", "kill -9 $$"}},
	} {
		if e := looks(t, cfg, 1)[0]; !strings.Contains(e.Failed, want) || len(e.Samples) != 0 {
			t.Errorf("want %q: got %+v", want, e)
		}
	}
}

// A program that others can write is not run, also if that came later.
func TestUnsafe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(name, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := Open(Config{Run: []string{name}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.look(t.Context()); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(Config{Run: []string{name}}, time.Hour); err == nil {
		t.Error("opened")
	}
}
