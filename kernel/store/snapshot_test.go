package store

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
)

// onSums opens the store in /job on a file system with newTableFS above it.
func onSums(t *testing.T, mem FS) (*Store, *tableFS) {
	t.Helper()
	fs := newTableFS(mem, "/job", "/job/db")
	s, err := Open("/job", Options{FS: fs, Log: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { panic(err) }})
	if err != nil {
		t.Fatal(err)
	}
	return s, tableFSOf(s.guard)
}

// someTables writes enough for tables, and closes and opens the store, which makes them of its log.
func someTables(t *testing.T, mem FS) (*Store, *tableFS) {
	t.Helper()
	for i := range uint64(3) {
		s, fs := onSums(t, mem)
		err := s.Update(func(tx *Tx) error {
			for n := range uint64(300) {
				tx.Set(Job.K().U64(i<<32|n), fmt.Appendf(nil, "%0100d", n))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			return s, fs
		}
		if err := fs.sums.Save(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	panic("not reached")
}

func sumOfFile(t *testing.T, fs FS, path string) string {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	h := xxh3.New()
	h.Write(b)
	return sumText(h)
}

// Every file of a snapshot has a checksum without having been read, the checksums are right, and
// the snapshot survives a power cut although nothing of it was synced before its end.
func TestSnapshotIsSummedAndDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s, _ := someTables(t, mem)
	defer s.Close()
	if err := mem.MkdirAll("/copy", 0o755); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Snapshot("/copy/a")
	if err != nil {
		t.Fatal(err)
	}
	if snap.Commit != s.Durable() {
		t.Errorf("commit %d, want %d", snap.Commit, s.Durable())
	}
	for _, dir := range []string{"/", "/copy"} {
		d, err := mem.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	cut := mem.CrashClone(vfs.CrashCloneCfg{})
	tables := 0
	for _, f := range snap.Files {
		if f.Table {
			tables++
		}
		if got := sumOfFile(t, cut, "/copy/a/"+f.Name); f.Sum != got {
			t.Errorf("%s: sum %q, but after the cut it has %q", f.Name, f.Sum, got)
		}
	}
	if tables == 0 {
		t.Error("there is no table")
	}
	if err := CheckDatabase(cut, "/copy/a"); err != nil {
		t.Error(err)
	}
}

func TestTableSumsAreKept(t *testing.T) {
	mem := vfs.NewMem()
	s, fs := someTables(t, mem)
	if err := s.Close(); err != nil { // so that no compaction is at work
		t.Fatal(err)
	}
	if err := fs.sums.Save(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("/job/db")
	if err != nil {
		t.Fatal(err)
	}
	kept := OpenTableSums(mem, "/job")
	n := 0
	for _, name := range names {
		path := "/job/db/" + name
		if !IsTable(name) {
			continue
		}
		n++
		if got, want := kept.Get(mem, path), sumOfFile(t, mem, path); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if n == 0 || len(kept.sums) != n {
		t.Errorf("%d sums of %d tables", len(kept.sums), n)
	}
	// Another table of the same number and size is another table.
	time.Sleep(time.Millisecond)
	kept.Put(mem, "/job/db/"+names[0], "xxh3:00") // no table, and no sum: passed over
	for _, name := range names {
		if !IsTable(name) {
			continue
		}
		b := bytes.Repeat([]byte{1}, int(sizeOf(t, mem, "/job/db/"+name)))
		f, err := mem.Create("/other-"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(b)
		f.Close()
		if err := mem.MkdirAll("/other", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := mem.Rename("/other-"+name, "/other/"+name); err != nil {
			t.Fatal(err)
		}
		if got := kept.Get(mem, "/other/"+name); got != "" {
			t.Errorf("another %s passes for the old one", name)
		}
	}
}

func sizeOf(t *testing.T, fs FS, path string) int64 {
	t.Helper()
	info, err := fs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A damaged file of checksums is an empty one, whatever bit or cut it was.
func TestDamagedTableSumsAreNone(t *testing.T) {
	sums := map[tableID][16]byte{{1, 2, 3, 4}: {5}, {6, 7, 8, 9}: {10}}
	data := encodeSums(sums)
	if got := decodeSums(data); len(got) != 2 || got[tableID{1, 2, 3, 4}] != [16]byte{5} {
		t.Errorf("got %v, want %v", got, sums)
	}
	for i := range len(data) * 8 {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		if got := decodeSums(bad); len(got) != 0 {
			t.Fatalf("bit %d: got %v", i, got)
		}
	}
	for i := range data {
		if got := decodeSums(data[:i]); len(got) != 0 {
			t.Fatalf("cut at %d: got %v", i, got)
		}
	}
}
