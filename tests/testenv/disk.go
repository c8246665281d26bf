package testenv

import (
	"errors"
	"fmt"
	"os"
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
