package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// SmallDisk mounts a file system of so many bytes (a tmpfs; rounded up to pages) and returns its
// directory. A write past its size is a real ENOSPC. It needs root.
func SmallDisk(t testing.TB, bytes int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		Missing(t, "a small disk", errors.New("mounting a tmpfs needs root"))
	}
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV,
		fmt.Sprintf("size=%d,mode=0700", bytes))
	if err != nil {
		Missing(t, "a small disk", fmt.Errorf("mount tmpfs: %w", err))
	}
	// Lazily: a process of the test may still be on it. Its directory goes with t.TempDir.
	done, err := afterwards("umount", "-l", dir)
	if err != nil {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		t.Fatalf("mount small disk: %v", err)
	}
	t.Cleanup(done)
	return dir
}

// Grow gives a SmallDisk another size.
func Grow(t testing.TB, dir string, bytes int64) {
	t.Helper()
	err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%d", bytes))
	if err != nil {
		t.Fatalf("grow a small disk: %v", err)
	}
}

// FailingDisk is a file system that says it has room, and whose disk has none while it fails: what is
// written is lost when it is synced, as on a thin volume that is full below.
type FailingDisk struct {
	Dir  string
	t    testing.TB
	fill string
}

// Disk mounts a FailingDisk, an ext4 on a loop device on a tmpfs of so many bytes. It needs root.
func Disk(t testing.TB, bytes int64) *FailingDisk {
	t.Helper()
	below := SmallDisk(t, bytes)
	d := &FailingDisk{Dir: t.TempDir(), t: t, fill: filepath.Join(below, "fill")}
	image := filepath.Join(below, "image")
	f, err := os.Create(image)
	if err == nil {
		err = errors.Join(f.Truncate(4*bytes), f.Close())
	}
	if err != nil {
		t.Fatalf("make disk: %v", err)
	}
	for _, c := range [][]string{
		{"mkfs.ext4", "-q", "-O", "^has_journal", image}, // a journal that failed stays failed
		{"mount", "-o", "loop", image, d.Dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			Missing(t, "a disk that fails", fmt.Errorf("%s: %w: %s", c[0], err, out))
		}
	}
	done, err := afterwards("umount", "-l", d.Dir)
	if err != nil {
		_ = syscall.Unmount(d.Dir, syscall.MNT_DETACH)
		t.Fatalf("mount disk: %v", err)
	}
	t.Cleanup(done)
	return d
}

// Fail makes what is new on the disk fail from now on; Heal ends it.
func (d *FailingDisk) Fail() {
	d.t.Helper()
	Fill(d.t, d.fill)
}

// Fill makes a file that takes all the room which its file system has left.
func Fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill a disk: %v", err)
		}
	}
}

func (d *FailingDisk) Heal() {
	d.t.Helper()
	if err := os.Remove(d.fill); err != nil {
		d.t.Fatal(err)
	}
}
