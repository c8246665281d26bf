package outfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// failing is a file of which one fsync fails, as the kernel tells it once: the next would say that all is well.
type failing struct {
	Handle
	fails error
}

var errDisk = errors.New("input/output error")

func (f *failing) Sync() error {
	if err := f.fails; err != nil {
		f.fails = nil
		return err
	}
	return f.Handle.Sync()
}

// What may be lost by an fsync that failed never counts as durable, whatever the next one says, until it was written once more.
func TestFailedSync(t *testing.T) {
	f, err := Create(OS, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(s string) {
		t.Helper()
		if _, err := f.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("durable")
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	at := f.Size()
	write(" lost")
	f.f = &failing{f.f, errDisk}
	for range 2 {
		if err := f.Sync(); !errors.Is(err, errDisk) {
			t.Fatalf("got %v", err)
		}
	}
	if err := f.CutBack(at + 1); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, errDisk) {
		t.Errorf("a byte that may be lost is there: got %v", err)
	}
	if err := f.CutBack(at); err != nil {
		t.Fatal(err)
	}
	write(" again")
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(f.f.Name()); err != nil || string(b) != "durable again" {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestAppendSync: what could not be synced is not there, so that it is there once when it is written again.
func TestAppendSync(t *testing.T) {
	f, err := Create(OS, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.AppendSync([]byte("one ")); err != nil {
		t.Fatal(err)
	}
	for _, cause := range []error{errDisk, unix.ENOSPC} {
		f.f = &failing{f.f, cause}
		if err := f.AppendSync([]byte("two ")); !errors.Is(err, cause) {
			t.Fatalf("got %v", err)
		}
		if b, err := os.ReadFile(f.f.Name()); err != nil || string(b) != "one " || f.Size() != 4 {
			t.Errorf("there is %q, %v", b, err)
		}
	}
	if err := f.AppendSync([]byte("two")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(f.f.Name()); err != nil || string(b) != "one two" {
		t.Errorf("there is %q, %v", b, err)
	}
}
