package forensic_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/kernel/store/forensic"
)

var errDisk = errors.New("input/output error")

// failing is a file system that fails the operations of a kind on paths that contain name (with a
// $ at their end), once armed.
func failing(fs vfs.FS, kind errorfs.OpKind, name string, err error) (faulty vfs.FS, armed *atomic.Bool) {
	armed = new(atomic.Bool)
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && op.Kind == kind && strings.Contains(op.Path+"$", name) {
			return err
		}
		return nil
	})), armed
}

// TestPebbleAcknowledgesAfterFatalf shows the trap: with a Fatalf that returns, a commit whose sync
// failed returns nil.
func TestPebbleAcknowledgesAfterFatalf(t *testing.T) {
	fs, armed := failing(vfs.NewMem(), errorfs.OpFileSyncData, ".log", errDisk)
	log := &countingLog{}
	o := options(fs)
	o.Logger = log
	db, err := pebble.Open(dbDir, o)
	must(t, err)
	armed.Store(true)
	err = db.Set([]byte("a"), []byte("1"), pebble.Sync)
	if log.fatal.Load() == 0 || err != nil {
		t.Errorf("%d calls of Fatalf, Set returned %v: the trap has changed", log.fatal.Load(), err)
	}
}

type countingLog struct{ fatal atomic.Int32 }

func (*countingLog) Infof(string, ...any)    {}
func (*countingLog) Errorf(string, ...any)   {}
func (l *countingLog) Fatalf(string, ...any) { l.fatal.Add(1) }

// TestPebbleEndsTheProcess shows the trap: a log that can't be created when the memtable is full
// ends the process with an error that no recover sees. It runs in a child process.
func TestPebbleEndsTheProcess(t *testing.T) {
	if os.Getenv("FORENSIC_CHILD") == "1" {
		fs, armed := failing(vfs.NewMem(), errorfs.OpCreate, ".log", errDisk)
		reuse := noReuse{fs}
		db, err := pebble.Open(dbDir, options(reuse))
		must(t, err)
		armed.Store(true)
		defer func() { fmt.Println("recovered:", recover()) }()
		for range 100 {
			must(t, db.Set([]byte("key"), make([]byte, 8<<10), pebble.Sync))
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPebbleEndsTheProcess$")
	cmd.Env = append(os.Environ(), "FORENSIC_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "unlock of unlocked mutex") {
		t.Errorf("the child ended with %v: the trap has changed\n%s", err, out)
	}
}

// noReuse makes every log a new file.
type noReuse struct{ vfs.FS }

func (n noReuse) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := n.FS.Create(newname, c)
	if err == nil {
		err = n.FS.Remove(oldname)
	}
	return f, err
}

// guarded is a store behind a Guard, as kernel/store would use it.
type guarded struct {
	g  *forensic.Guard
	db *pebble.DB
}

func openGuarded(t *testing.T, fs vfs.FS) (*guarded, error) {
	t.Helper()
	s := &guarded{g: forensic.GuardFS(fs, dbDir, nil)}
	o := options(s.g)
	o.MaxManifestFileSize = 1 // a new MANIFEST as often as can be
	o.Logger = s.g.Logger(quiet{})
	o.EventListener = &pebble.EventListener{
		DataCorruption:  func(pebble.DataCorruptionInfo) {},
		BackgroundError: func(error) {},
	}
	return s, s.g.Do(func() (err error) {
		s.db, err = pebble.Open(dbDir, o)
		return err
	})
}

func (s *guarded) set(key, value string) error {
	return s.g.Do(func() error { return s.db.Set([]byte(key), []byte(value), pebble.Sync) })
}

// fill commits until the guard fails or there were n commits, and returns what was acknowledged.
func (s *guarded) fill(n int, want map[string]string) error {
	for i := range n {
		key, value := fmt.Sprintf("key-%d", i%50), fmt.Sprintf("%d-%s", i, strings.Repeat("v", 6<<10))
		if err := s.set(key, value); err != nil {
			return err
		}
		want[key] = value
	}
	return nil
}

// TestGuard fails each kind of vital write in turn: the call comes back with the cause, the
// process and another store live on, and what was acknowledged is there when the directory is
// opened again in the same process.
func TestGuard(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind errorfs.OpKind
		path string
		err  error
	}{
		{"log write", errorfs.OpFileWrite, ".log", errDisk},
		{"log write, full", errorfs.OpFileWrite, ".log", syscall.ENOSPC},
		{"log sync", errorfs.OpFileSyncData, ".log", errDisk},
		{"log create", errorfs.OpCreate, ".log", errDisk},
		{"MANIFEST write", errorfs.OpFileWrite, "MANIFEST", errDisk},
		{"MANIFEST sync", errorfs.OpFileSync, "MANIFEST", errDisk},
		{"MANIFEST create", errorfs.OpCreate, "MANIFEST", syscall.ENOSPC},
		{"marker create", errorfs.OpCreate, "marker", errDisk},
		{"directory sync", errorfs.OpFileSync, dbDir + "$", errDisk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := vfs.NewMem()
			faulty, armed := failing(mem, tc.kind, tc.path, tc.err)
			s, err := openGuarded(t, noReuse{faulty})
			must(t, err)
			other, err := openGuarded(t, vfs.NewMem())
			must(t, err)
			want := map[string]string{}
			must(t, s.fill(30, want))
			armed.Store(true)
			err = s.failsWithin(t, want)
			if !errors.Is(err, forensic.ErrFrozen) || !errors.Is(err, tc.err) {
				t.Fatalf("got %v, want %v", err, tc.err)
			}
			if got := s.set("x", "y"); !errors.Is(got, forensic.ErrFrozen) {
				t.Errorf("frozen, but a commit says %v", got)
			}
			must(t, other.set("the other store", "lives"))
			must(t, other.db.Close())
			checkReopened(t, mem, want)
		})
	}
}

// failsWithin commits and flushes until the guard fails.
func (s *guarded) failsWithin(t *testing.T, want map[string]string) error {
	t.Helper()
	for range 30 {
		if err := s.fill(40, want); err != nil {
			return err
		}
		// A failure in the background is told at the latest by the next call after it.
		select {
		case <-s.g.Failed():
			return s.g.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// checkReopened opens the directory again through a new guard while the old one's goroutines still
// stand: everything acknowledged is there; at most the one commit that was in hand came with it.
func checkReopened(t *testing.T, mem vfs.FS, want map[string]string) {
	t.Helper()
	r := inspect(t, mem)
	if !r.Sound() {
		t.Errorf("after the failure: %v", r.Err())
	}
	again, err := openGuarded(t, mem)
	must(t, err)
	got, err := content(again.db)
	must(t, err)
	for key, value := range want {
		if got[key] == value {
			delete(got, key)
			delete(want, key)
		}
	}
	if len(want) > 1 || len(got) > 1 {
		t.Errorf("%d acknowledged keys differ, %d others", len(want), len(got))
	}
	for key, value := range want {
		var old, now int
		fmt.Sscanf(value, "%d-", &old)
		fmt.Sscanf(got[key], "%d-", &now)
		if now < old {
			t.Errorf("%s is at commit %d, %d was acknowledged", key, now, old)
		}
	}
	must(t, again.db.Close())
}

// TestGuardStopsAllWriting: after the first failure nothing gets through any more, also not from
// what was open before; reads do.
func TestGuardStopsAllWriting(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll(dbDir, 0o755))
	faulty, armed := failing(mem, errorfs.OpFileWrite, ".log", errDisk)
	told := make(chan error, 1)
	g := forensic.GuardFS(faulty, dbDir, func(err error) { told <- err })
	table, err := g.Create(dbDir+"/000005.sst", vfs.WriteCategoryUnspecified)
	must(t, err)
	log, err := g.Create(dbDir+"/000004.log", vfs.WriteCategoryUnspecified)
	must(t, err)
	armed.Store(true)
	returned := make(chan string, 9)
	try := func(what string, f func()) {
		go func() { f(); returned <- what }()
	}
	try("write of a log", func() { _, _ = log.Write([]byte("x")) })
	if err := <-told; !errors.Is(err, errDisk) {
		t.Errorf("told %v", err)
	}
	try("write of a table", func() { _, _ = table.Write([]byte("x")) })
	try("sync of a table", func() { _ = table.Sync() })
	try("create", func() { _, _ = g.Create(dbDir+"/000006.sst", vfs.WriteCategoryUnspecified) })
	try("remove", func() { _ = g.Remove(dbDir + "/000005.sst") })
	try("rename", func() { _ = g.Rename(dbDir+"/000005.sst", dbDir+"/000007.sst") })
	try("fatal", func() { g.Logger(quiet{}).Fatalf("again") })
	select {
	case what := <-returned:
		t.Errorf("%s came back", what)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := g.Open(dbDir + "/000005.sst"); err != nil {
		t.Errorf("read: %v", err)
	}
}

// TestGuardHealsFullDiskInFlush: a full disk in a table is no failure; it goes on when there is room.
func TestGuardHealsFullDiskInFlush(t *testing.T) {
	mem := vfs.NewMem()
	var armed atomic.Bool
	var tried atomic.Int32
	faulty := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !armed.Load() || op.Kind != errorfs.OpFileWrite || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		tried.Add(1)
		return syscall.ENOSPC
	}))
	s, err := openGuarded(t, faulty)
	must(t, err)
	want := map[string]string{}
	armed.Store(true)
	must(t, s.fill(30, want)) // one memtable full: a flush begins and fails
	time.AfterFunc(50*time.Millisecond, func() { armed.Store(false) })
	must(t, s.fill(200, want))
	must(t, s.db.Close())
	if n := tried.Load(); n < 1 || n > 3 {
		t.Errorf("the full disk was tried %d times", n)
	}
	db, err := pebble.Open(dbDir, options(mem))
	must(t, err)
	got, err := content(db)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%d keys, want %d; %v", len(got), len(want), err)
	}
	must(t, db.Close())
}

// TestGuardCorruption: damage met while running is an error for the reader and an event for the
// store; commits go on.
func TestGuardCorruption(t *testing.T) {
	img := build(t, "closed", pebble.FormatNewest)
	fs := img.copyOf(t)
	path := largestTable(t, img)
	garble(t, fs, path, 2000, 50, rand.New(rand.NewPCG(1, 1)))
	var told atomic.Int32
	g := forensic.GuardFS(fs, dbDir, nil)
	o := options(g)
	o.Logger = g.Logger(quiet{})
	o.EventListener = &pebble.EventListener{
		DataCorruption:  func(pebble.DataCorruptionInfo) { told.Add(1) },
		BackgroundError: func(error) {},
	}
	db, err := pebble.Open(dbDir, o)
	must(t, err)
	if _, err := content(db); !pebble.IsCorruptionError(err) {
		t.Errorf("read through damage: %v", err)
	}
	if told.Load() == 0 {
		t.Error("the damage was not told")
	}
	must(t, g.Do(func() error { return db.Set([]byte("a"), []byte("b"), pebble.Sync) }))
	must(t, db.Close())
}
