package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// bulk makes a page of some rows a few hundred kilobytes.
const bulk = 40 << 10

// filler is another program's file.
func filler(t *testing.T, path string, bytes int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, bytes), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: on a real file system that another program fills, intake stops by itself before the
// log can fail; what is in is still delivered and trimmed; and intake goes on by itself when there is
// room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	// A store of any size keeps six preallocated logs of 9 MB to use them again.
	dir := testenv.SmallDisk(t, 150<<20)
	other := filepath.Join(dir, "other")
	filler(t, other, 40<<20)
	room, err := engine.NewRoom(dir, engine.RoomLimits{Soft: 48 << 20, Hard: 32 << 20, Ballast: 4 << 20},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := room.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := newWitness()
	o := w.options(nil)
	o.Admit, o.Survive = room.Admit, true // a dead store would else wait for the end of the process
	path := filepath.Join(dir, "store")
	j, err := w.open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	j.bulk = bulk
	r := rand.New(rand.NewPCG(testenv.Seed(t), 0))

	pages, err := j.fill(room, r)
	if !fault.Is(err, fault.Full) || fault.HintOf(err) == "" || !strings.Contains(err.Error(), "taken in") {
		t.Fatalf("after %d pages: got %v, want a Full fault with a hint", pages, err)
	}
	// A second of waiting would be over at the deadline.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	history := engine.HistoryOf(j.st, "one", slog.New(slog.DiscardHandler))
	begun := time.Now()
	if err := room.Wait(ctx, history); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sources wait for room: got %v", err)
	}
	if short, _ := room.Short(); !short {
		t.Error("nobody is told that room is short")
	}
	if pages < 20 {
		t.Errorf("intake stopped after %d pages", pages)
	}
	t.Logf("%d pages until intake stopped", pages)
	for s := range j.sinks {
		for f, err := j.flow(s); f.Pending > 0 || err != nil; f, err = j.flow(s) {
			if err == nil {
				err = j.deliver(s, r, 50*time.Millisecond, true)
			}
			if err != nil {
				t.Fatalf("deliver at the hard mark: %v", err)
			}
		}
	}
	for {
		n, err := j.sp.Trim(spool.Retain{}, time.Now().Add(time.Second))
		if err != nil {
			t.Fatalf("trim at the hard mark: %v", err)
		}
		if n == 0 {
			break
		}
	}
	// What was trimmed comes free by itself: no other write is needed, and no other program's room.
	testenv.Until(t, 60*time.Second, "trimmed blocks give their room back",
		func() bool { return room.Intake(16<<20) == nil })
	if _, err := j.fill(room, r); !fault.Is(err, fault.Full) {
		t.Fatalf("the second filling: got %v, want a Full fault", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- room.Wait(t.Context(), history) }()
	time.Sleep(50 * time.Millisecond) // until it waits
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if err := room.Intake(bulk); err != nil {
		t.Errorf("there is room again: got %v", err)
	}
	if err := j.st.Latest(func(r store.Reader) error {
		all, err := engine.Outages(r, begun, time.Now(), 9)
		if err == nil && (len(all) != 1 || all[0].What != "disk" || all[0].Cause == "" || all[0].To.IsZero()) {
			t.Errorf("the history has %+v", all)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := j.page(0, r); err != nil {
		t.Error(err)
	}
	j.queue.Close()
	if err := errors.Join(j.st.Close(), w.broken()); err != nil {
		t.Fatal(err)
	}
	w.finishIn(t, path, r)
}

// fill takes pages in, as a collect job does, until intake is refused.
func (j *job) fill(room *engine.Room, r *rand.Rand) (pages int, err error) {
	for ; pages < 2000; pages++ {
		if err := room.Intake(12 * bulk); err != nil {
			return pages, err
		}
		// Without admission a full disk stalls the flush, and with it every commit.
		if err := inTime("page", func() error { return j.page(pages%2, r) }); err != nil {
			return pages, err
		}
	}
	return pages, errors.New("the disk does not get full")
}

// finishIn opens the store again, compares, delivers everything and compares again.
func (w *witness) finishIn(t *testing.T, path string, r *rand.Rand) {
	t.Helper()
	j, err := w.open(path, w.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = j.finish(r)
	j.queue.Close()
	if err := errors.Join(err, j.st.Close(), w.broken()); err != nil {
		t.Fatal(err)
	}
}

// runInSmallRoom takes pages in without asking for room, as nobody should, until the disk is full.
func runInSmallRoom(o orders) int {
	w := newWitness()
	w.model, w.lives, w.out = nil, o.Life, json.NewEncoder(os.Stdout)
	j, err := w.open(o.Dir, store.Options{})
	r := rand.New(rand.NewPCG(o.Seed, 0))
	for err == nil {
		j.bulk = bulk
		err = j.page(0, r)
	}
	w.tell(event{What: violated, Name: err.Error()})
	return 1
}

// TestFullDiskWithoutAdmission: should the log meet a full disk all the same, the process ends with
// code 75 and says so; the next start waits until there is room, and then has everything.
func TestFullDiskWithoutAdmission(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // the kernel ends a child when the thread that started it ends
	defer runtime.UnlockOSThread()
	dir := testenv.SmallDisk(t, 80<<20)
	other, path := filepath.Join(dir, "other"), filepath.Join(dir, "store")
	filler(t, other, 40<<20)
	w := newWitness()
	c := startChild(t, "room", orders{Dir: path, Life: w.rise(), Seed: testenv.Seed(t)})
	hung := time.AfterFunc(2*time.Minute, func() { _ = c.cmd.Process.Kill() })
	err := w.follow(c.out)
	_ = c.cmd.Wait()
	hung.Stop()
	if err != nil {
		t.Fatalf("%v\n%s", err, c.errs)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != store.ExitStorageFailed {
		t.Fatalf("exit code %d, want %d\n%s", code, store.ExitStorageFailed, c.errs)
	}
	for _, words := range []string{"no space left", "nothing acknowledged is lost", fmt.Sprint(store.ExitStorageFailed)} {
		if !strings.Contains(c.errs.String(), words) {
			t.Errorf("the message does not say %q:\n%s", words, c.errs)
		}
	}
	if w.acked < 20 {
		t.Errorf("only %d transactions were acknowledged", w.acked)
	}
	room, err := engine.NewRoom(dir, engine.RoomLimits{Soft: 32 << 20, Hard: 24 << 20, Ballast: 4 << 20},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := room.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a start without room: got %v, want to wait", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := room.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions were acknowledged", w.acked)
	w.finishIn(t, path, rand.New(rand.NewPCG(1, 1)))
}
