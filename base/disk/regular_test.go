package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenRegular: a file is read; what is none is refused at once.
func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenRegular(file)
	if err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 2); true {
		if n, err := f.Read(b); n != 1 {
			t.Errorf("read %d: %v", n, err)
		}
	}
	f.Close()
	for _, name := range []string{fifo, dir, "/dev/null"} {
		if _, err := OpenRegular(name); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := OpenRegular(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}
