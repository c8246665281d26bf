// Package resident gives memory back that a process needed for its start alone.
//
// A program with many libraries reads half of its own file while it begins, and the kernel counts those pages as the
// process's for as long as there is room. What is in use later is a fourth of it. Giving the pages back costs nothing but
// that those which are needed are found in the page cache again.
package resident

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settling is how long a process is taken to begin.
const settling = 10 * time.Second

// Settle gives back what only the start needed, once, when that is over; it returns then, or when ctx ends. That it could
// not be done is no failure: it is more memory, and nothing else.
func Settle(ctx context.Context) error {
	t := time.NewTimer(settling)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
		debug.FreeOSMemory()
		_ = trim()
	}
	return nil
}

// trim gives back the pages of the program's own file. It touches only mappings that can't be written to and never were: the
// kernel reads their pages again from the file, which can't change while it runs (ETXTBSY). What a dynamic linker has
// written before it was protected (RELRO, of a position-independent program) would be lost.
func trim() error {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("give memory back: %w", err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("give memory back: %w", err)
	}
	var from, to uint64 // of the mapping at hand, 0 for one that is left alone
	for line := range strings.Lines(string(smaps)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && !strings.HasSuffix(f[0], ":"): // proc(5): from-to, permissions, offset, device, inode, path
			from, to = 0, 0
			if len(f) < 6 || strings.Join(f[5:], " ") != own || len(f[1]) != 4 || f[1][1] != '-' || f[1][3] != 'p' {
				continue
			}
			low, high, _ := strings.Cut(f[0], "-")
			begin, err1 := strconv.ParseUint(low, 16, 64)
			end, err2 := strconv.ParseUint(high, 16, 64)
			if err1 == nil && err2 == nil && begin < end {
				from, to = begin, end
			}
		case len(f) == 3 && f[0] == "Anonymous:" && to > 0: // pages that are not the file's any more
			if f[1] != "0" {
				continue
			}
			if _, _, e := unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED); e != 0 {
				return fmt.Errorf("give memory back: %w", e)
			}
		}
	}
	return nil
}
