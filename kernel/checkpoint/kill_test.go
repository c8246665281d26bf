package checkpoint_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// The test binary is its own second process, to be killed: with childVar set it runs one of these
// on the directory in childDir. What it has done it says, a line each.
const (
	childVar = "HOLDFAST_TEST_CHILD"
	childDir = "HOLDFAST_TEST_DIR"
)

var children = map[string]func(dir string){"create": createForEver, "replace": replaceOnce}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}

// createForEver writes keys in their order and makes checkpoints of them, keeping two.
func createForEver(dir string) {
	ctx := context.Background()
	s := must(store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)}))
	var acked atomic.Uint64
	go func() {
		for n := uint64(1); ; n++ {
			err := s.Update(func(tx *store.Tx) error { tx.Set(key(n), value(n, 1)); return nil })
			must(0, err)
			acked.Store(n)
		}
	}()
	for {
		n := acked.Load()
		c := must(checkpoint.Create(ctx, s, checkpoint.Options{}))
		fmt.Printf("made %s %d\n", c.Name, n)
		must(0, checkpoint.Seal(ctx, s, c.Name, onDisk))
		keep := checkpoint.Policy{Keep: 2}
		for _, name := range must(checkpoint.Retain(ctx, dir, keep, onDisk)) {
			fmt.Printf("gone %s 0\n", name)
		}
	}
}

func replaceOnce(dir string) {
	fmt.Println("begin x 0")
	_, _, err := checkpoint.Replace(context.Background(), dir, "back", onDisk)
	must(0, err)
	fmt.Println("end x 0")
}

// child runs the test binary as another process and kills it: after the delay from its first line,
// or once it has said the last word. It returns what it said, and how long that took.
func child(t *testing.T, what, dir string, after time.Duration) ([]string, time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+what, childDir+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watch := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer watch.Stop()
	var lines []string
	begin := time.Now()
	for in := bufio.NewScanner(out); in.Scan(); {
		if lines = append(lines, in.Text()); len(lines) == 1 {
			watch.Reset(after)
			begin = time.Now()
		}
	}
	took := time.Since(begin)
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 || len(lines) == 0 {
		t.Fatalf("%s: %v: %s", what, err, stderr.String())
	}
	return lines, took
}

// Killed at any moment, every checkpoint that is there is whole, those that were made are there,
// and the newest holds all that was acknowledged when it was asked for.
func TestKillWhileCheckpointsAreMade(t *testing.T) {
	seed := testenv.Seed(t)
	rng := rand.New(rand.NewPCG(seed, seed))
	dir := filepath.Join(t.TempDir(), "job")
	made := 0
	for range testenv.Count(t, 100) {
		lines, _ := child(t, "create", dir, time.Duration(rng.IntN(150))*time.Millisecond)
		there := names(t, dir, onDisk)
		clean(t, store.Disk, filepath.Join(dir, "checkpoints"), there...)
		var newest string
		var acked uint64
		for _, line := range lines {
			var word, name string
			var n uint64
			if _, err := fmt.Sscan(line, &word, &name, &n); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if word == "made" {
				newest, acked = name, n
				made++
			}
		}
		if !slices.Contains(there, newest) {
			t.Fatalf("%s had been made and is not in %v", newest, there)
		}
		for _, name := range there {
			sound(t, checkpoint.Path(dir, name))
		}
		holds(t, checkpoint.Path(dir, newest), acked)
	}
	if made < 10 {
		t.Errorf("only %d checkpoints were made", made)
	}
}

// holds restores the checkpoint and looks for the keys up to n.
func holds(t *testing.T, path string, n uint64) {
	t.Helper()
	into := filepath.Join(t.TempDir(), "again")
	if _, err := checkpoint.Restore(t.Context(), path, into, onDisk); err != nil {
		t.Fatal(err)
	}
	s := open(t, into)
	defer shut(t, s)
	err := s.View(t.Context(), func(r store.Reader) error {
		for i := uint64(1); i <= n; i++ {
			if _, ok, err := r.Get(key(i)); err != nil || !ok {
				return fmt.Errorf("key %d of %d is not there (%v)", i, n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Killed at any moment of a Replace, the store is the old one or the new one.
func TestKillWhileAStoreIsReplaced(t *testing.T) {
	seed := testenv.Seed(t)
	rng := rand.New(rand.NewPCG(seed, seed))
	dir, s := filled(t, 1000)
	c := create(t, s, checkpoint.Options{Name: "back"})
	old := read(t, s)
	put(t, s, 0, 10, 2)
	newer := read(t, s)
	shut(t, s)
	lines, takes := child(t, "replace", dir, time.Minute)
	if len(lines) != 2 {
		t.Fatalf("undisturbed it said %v", lines)
	}
	outcomes := map[string]int{}
	for i := range testenv.Count(t, 200) {
		s := open(t, dir)
		put(t, s, 0, 10, 2)
		shut(t, s)
		lines, took := child(t, "replace", dir, time.Duration(rng.Int64N(int64(takes))))
		if len(lines) == 2 { // the machine is quicker now, or was disturbed before
			takes = min(takes, took)
		}
		out, err := checkpoint.Recover(dir, onDisk)
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		got := readDir(t, dir)
		if got != old && (got != newer || len(lines) == 2) {
			t.Fatalf("round %d: %v, %s: got %+v, want %+v or %+v", i, lines, out, got, old, newer)
		}
		outcomes[fmt.Sprintf("%s, %d lines, went back: %v", out, len(lines), got == old)]++
		sound(t, c.Path)
	}
	t.Log(outcomes)
}
