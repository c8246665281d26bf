package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
	"holdfast/tests/testenv"
)

// TestMain lets the test binary be a child: another process that writes to or reads a database.
func TestMain(m *testing.M) {
	if os.Getenv("HOLDFAST_SQLITE_CHILD") != "" {
		childReads(os.Args[1])
	}
	tabletest.Child(func(args, key []string, replace string) (connector.Sink, error) {
		return New(Config{Path: args[0], Table: "weather", Key: key, Replace: replace})
	})
	sinktest.Main(m, func(args []string) (connector.Sink, error) { return New(Config{Path: args[0]}) })
}

// childReads counts rows for ever, and says what it sees.
func childReads(path string) {
	s, err := New(Config{Path: path})
	if err == nil {
		err = s.Prepare(context.Background(), sinktest.Schema())
	}
	for err == nil {
		var t connector.Tally
		if t, err = s.Reader().Tally(context.Background(), connector.KeyRange{To: 1 << 62}); err == nil {
			fmt.Println("rows", t.Rows)
		}
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// TestReadByAnotherProcess: others read whole deliveries while we write.
func TestReadByAnotherProcess(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := testenv.Start(t, testenv.Command{Path: self, Args: []string{f.path},
		Env: []string{"HOLDFAST_SQLITE_CHILD=read"}})
	p.WaitFor(t, "rows", 30*time.Second)
	const deliveries = 20
	for n := uint64(1); n <= deliveries; n++ {
		_, d := sinktest.Numbered(n)
		write(t, sink, d)
	}
	p.WaitFor(t, fmt.Sprintf("^rows %d$", deliveries*sinktest.PerDelivery), 30*time.Second)
	p.Kill()
	seen := map[int]bool{}
	for line := range strings.Lines(p.Stdout()) {
		n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "rows ")))
		if err != nil && strings.HasSuffix(line, "\n") {
			t.Fatalf("the reader said %q", line)
		}
		if err == nil && n%sinktest.PerDelivery != 0 && strings.HasSuffix(line, "\n") {
			t.Errorf("the reader saw %d rows, a part of a delivery", n)
		}
		seen[n] = true
	}
	t.Logf("the reader saw %d different states", len(seen))
}

// TestFileIsReadInThisProcess: something else of our process (a hash, a copy) opens the file and
// closes it, which takes a process's plain locks away. A visitor that leaves would then take itself
// for the last one and remove the WAL under us, and what we write would go nowhere.
func TestFileIsReadInThisProcess(t *testing.T) {
	f := newFile(t)
	prepared(t, f, Config{}, sinktest.Schema())
	if !locked(t, f.path) {
		t.Fatal("an open database is not locked")
	}
	if _, err := os.ReadFile(f.path); err != nil {
		t.Fatal(err)
	}
	if !locked(t, f.path) {
		t.Error("reading the file took its lock away")
	}
}

// locked reports whether the range that SQLite's readers lock is locked by somebody.
func locked(t *testing.T, path string) bool {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: 0x40000002, Len: 510}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		t.Fatalf("ask for locks: %v", err)
	}
	return lock.Type != unix.F_UNLCK
}

// TestTwoProcessesWrite: whoever comes second waits, and nothing is lost or doubled.
func TestTwoProcessesWrite(t *testing.T) {
	f := newFile(t)
	a := sinktest.Writer(t, 1, f.path)
	b := sinktest.Writer(t, 1, f.path)
	for _, p := range []*testenv.Process{a, b} {
		p.WaitFor(t, "^acknowledged 12$", 30*time.Second)
	}
	a.Kill()
	b.Kill()
	if out := a.Stdout() + b.Stdout(); strings.Contains(out, "error") {
		t.Fatal(out)
	}
	if n := f.count(t, "SELECT count(*) - count(DISTINCT id) FROM spots"); n != 0 {
		t.Errorf("%d rows are doubled", n)
	}
	var ok string
	if err := f.db.QueryRow("PRAGMA integrity_check").Scan(&ok); err != nil || ok != "ok" {
		t.Errorf("integrity check: got %q %v", ok, err)
	}
}

// TestFullDisk fills a real file system: nothing acknowledged is lost, the error says what it is,
// and it goes on by itself when there is room.
func TestFullDisk(t *testing.T) {
	f := newFile(t)
	f.path = filepath.Join(testenv.SmallDisk(t, 5<<20), "spots.db")
	sink := prepared(t, f, Config{}, sinktest.Schema())
	ballast := filepath.Join(filepath.Dir(f.path), "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var want []sinktest.Spot
	var failed connector.Delivery
	for n := uint64(1); ; n++ {
		spots, d := sinktest.Numbered(n)
		v, err := sink.Write(t.Context(), d)
		if err != nil {
			if !fault.Is(err, fault.Full) {
				t.Fatalf("delivery %d: got %v (kind %v), want full", n, err, fault.KindOf(err))
			}
			failed = d
			break
		}
		if len(v.Rejected) > 0 || n > 1000 {
			t.Fatalf("delivery %d: %v", n, v)
		}
		want = append(want, spots...)
	}
	t.Logf("full after %d rows", len(want))
	if err := sink.Probe(t.Context()); !fault.Is(err, fault.Full) {
		t.Errorf("probe of a full disk: got %v (kind %v)", err, fault.KindOf(err))
	}
	f.has(t, want)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := sink.Probe(t.Context()); err != nil {
		t.Fatalf("probe when there is room: %v", err)
	}
	spots, _ := sinktest.Numbered(failed.Token.First)
	write(t, sink, failed)
	f.has(t, append(want, spots...))
}

// has compares the rows with a fresh look at the file.
func (f *file) has(t *testing.T, want []sinktest.Spot) {
	t.Helper()
	other := newFile(t)
	other.path = f.path
	_ = other.db.Close()
	db, err := openBeside(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other.db = db
	got, err := other.spots()
	if diff := sinktest.Difference(want, got); diff != "" || err != nil {
		t.Errorf("rows: %s %v", diff, err)
	}
}

// TestReadOnlyDisk: a file system that turns read-only needs a person.
func TestReadOnlyDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, 8<<20)
	f := newFile(t)
	f.path = filepath.Join(dir, "spots.db")
	sink := prepared(t, f, Config{}, sinktest.Schema())
	_, d := sinktest.Numbered(1)
	write(t, sink, d)
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatalf("remount: %v", err)
		}
	}
	remount(syscall.MS_RDONLY)
	again, err := f.sink(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	_, werr := again.Write(t.Context(), d)
	for what, err := range map[string]error{"prepare": again.Prepare(t.Context(), sinktest.Schema()),
		"probe": again.Probe(t.Context()), "write": werr} {
		if !fault.Is(err, fault.Permanent) || fault.HintOf(err) == "" {
			t.Errorf("%s: got %v (kind %v), want permanent with a hint", what, err, fault.KindOf(err))
		}
	}
	remount(0)
	if v := write(t, again, d); v.Present != sinktest.PerDelivery {
		t.Errorf("writable again: got %+v", v)
	}
}

// TestBadPlaces: what stands at the path, or on the way to it, and what is said of it.
func TestBadPlaces(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		kind fault.Kind
	}{
		{dir, fault.Permanent},
		{filepath.Join(text, "x.db"), fault.Permanent},
		{filepath.Join(text, "deep", "x.db"), fault.Permanent},
		{text, fault.Corrupt},
		{filepath.Join(dir, strings.Repeat("x", 300)), fault.Permanent},
	} {
		s, err := New(Config{Path: c.path})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Prepare(t.Context(), sinktest.Schema())
		if !fault.Is(err, c.kind) || fault.HintOf(err) == "" && c.path != dir {
			t.Errorf("%s: got %v (kind %v, hint %q), want %v with a hint",
				c.path, err, fault.KindOf(err), fault.HintOf(err), c.kind)
		}
		_ = s.Close()
	}
	if b, err := os.ReadFile(text); err != nil || len(b) != 15_000 {
		t.Errorf("the text file was changed: %d bytes, %v", len(b), err)
	}
}

// TestDamagedFile flips bytes in a closed database: writes either succeed or say that it is
// corrupt; the file is never removed and nothing hangs.
func TestDamagedFile(t *testing.T) {
	random := rand.New(rand.NewPCG(testenv.Seed(t), 2))
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	for n := uint64(1); n < 10; n++ {
		_, d := sinktest.Numbered(n)
		write(t, sink, d)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	_ = f.db.Close()
	whole, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for i := range testenv.Count(t, 200) {
		bad := bytes.Clone(whole)
		page := random.IntN(len(bad)/4096) * 4096 * min(i, 1) // the first page first
		for i := range 64 {
			bad[page+i] ^= byte(1 + random.IntN(255))
		}
		path := filepath.Join(t.TempDir(), "bad.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := New(Config{Path: path})
		_, d := sinktest.Numbered(uint64(1 + random.IntN(12)))
		d.ByKey = true
		_, err := s.Write(t.Context(), d)
		switch {
		case err == nil:
		case fault.Is(err, fault.Corrupt) && fault.HintOf(err) != "":
			told++
		default:
			t.Errorf("damage at %d: got %v (kind %v)", page, err, fault.KindOf(err))
		}
		_ = s.Close()
		if info, err := os.Stat(path); err != nil || info.Size() < int64(len(bad)) {
			t.Errorf("the damaged file is gone or cut: %v", err)
		}
	}
	if told == 0 {
		t.Error("no damage was noticed")
	}
	t.Logf("noticed %d times", told)
}

// TestReplacedFile: a database that is deleted, moved or replaced under us is noticed before the
// next write, and opened and prepared again.
func TestReplacedFile(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"deleted": func(path string) error {
			for _, ending := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(path + ending); err != nil {
					return err
				}
			}
			return nil
		},
		"only the main file deleted": os.Remove,
		"directory deleted":          func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"moved away": func(path string) error {
			return os.Rename(filepath.Dir(path), filepath.Dir(path)+"-old")
		},
		"replaced": func(path string) error {
			other, err := New(Config{Path: path + ".new"})
			if err != nil {
				return err
			}
			if err := other.Prepare(context.Background(), sinktest.Schema()); err != nil {
				return err
			}
			if err := other.Close(); err != nil {
				return err
			}
			for _, ending := range []string{"-wal", "-shm"} {
				if err := os.Remove(path + ending); err != nil {
					return err
				}
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t)
			sink := prepared(t, f, Config{}, sinktest.Schema())
			_, d := sinktest.Numbered(1)
			write(t, sink, d)
			if err := replace(f.path); err != nil {
				t.Fatal(err)
			}
			if _, _, err := sink.Reader().Highest(t.Context()); !fault.Is(err, fault.Transient) {
				t.Errorf("reader: got %v, want an outage", err)
			}
			spots, d := sinktest.Numbered(2)
			if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Transient) ||
				!strings.Contains(err.Error(), "deleted or replaced") {
				t.Fatalf("got %v, want an outage that says so", err)
			}
			if err := sink.Prepare(t.Context(), sinktest.Schema()); err != nil {
				t.Fatalf("prepare: %v", err)
			}
			write(t, sink, d)
			f.has(t, spots)
		})
	}
}

// TestDroppedTable: a table that somebody dropped is made again, and said.
func TestDroppedTable(t *testing.T) {
	f := newFile(t)
	sink := prepared(t, f, Config{}, sinktest.Schema())
	_, d := sinktest.Numbered(1)
	write(t, sink, d)
	if _, err := f.db.Exec("DROP TABLE spots"); err != nil {
		t.Fatal(err)
	}
	spots, d := sinktest.Numbered(2)
	if _, err := sink.Write(t.Context(), d); !fault.Is(err, fault.Transient) {
		t.Fatalf("got %v, want an outage", err)
	}
	if err := sink.Prepare(t.Context(), sinktest.Schema()); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	write(t, sink, d)
	f.has(t, spots)
}

// TestSinksSideBySide: several sinks of one process, one file, different tables.
func TestSinksSideBySide(t *testing.T) {
	f := newFile(t)
	var all sync.WaitGroup
	for i := range 4 {
		sink := prepared(t, f, Config{Table: fmt.Sprintf("t%d", i), Busy: 20 * time.Second},
			sinktest.Schema())
		all.Go(func() {
			for n := uint64(1); n <= 10; n++ {
				_, d := sinktest.Numbered(n)
				if _, err := sink.Write(t.Context(), d); err != nil {
					t.Errorf("sink %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	for i := range 4 {
		if got := f.count(t, fmt.Sprintf("SELECT count(*) FROM t%d", i)); got != 10*sinktest.PerDelivery {
			t.Errorf("table %d: got %d rows, want %d", i, got, 10*sinktest.PerDelivery)
		}
	}
}

// TestRefusedRowsAsJSON pins the form in which refused rows are kept.
func TestRefusedRowsAsJSON(t *testing.T) {
	b, err := json.Marshal([]connector.RowFault{{Row: 3, Reason: "x"}})
	if want := `[{"Row":3,"Reason":"x"}]`; err != nil || string(b) != want {
		t.Errorf("got %s %v, want %s", b, err, want)
	}
}
