package resident

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ofFiles is how much of files is resident, in kB.
func ofFiles(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// touch makes every page of the program's file resident, as a long start would.
func touch(t *testing.T) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil || !strings.HasSuffix(line, exe+"\n") {
			continue
		}
		for ; from < to; from += int64(os.Getpagesize()) {
			_, _ = mem.ReadAt(make([]byte, 1), from) // some may not be read
		}
	}
}

// What a start has touched is given back, and the program goes on.
func TestTrim(t *testing.T) {
	var before, after int
	for range 20 { // what other goroutines need at once comes back at once
		touch(t)
		before = ofFiles(t)
		if err := trim(); err != nil {
			t.Fatal(err)
		}
		if after = ofFiles(t); after <= before*3/4 {
			break
		}
	}
	if after > before*3/4 {
		t.Errorf("%d kB are resident of files, and before it were %d", after, before)
	}
	if all := slices.Sorted(slices.Values([]string{"b", "a"})); all[0] != "a" {
		t.Error(all)
	}
}

func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := Settle(t.Context()); err != nil || time.Since(begun) != settling {
			t.Error(time.Since(begun), err)
		}
		over, end := context.WithCancel(t.Context())
		end()
		if err := Settle(over); err != nil || time.Since(begun) != settling {
			t.Error(time.Since(begun), err)
		}
	})
}

// TestPositionIndependent: of such a program, as distributions build them, the dynamic linker has written what is read-only
// later. It lives on.
func TestPositionIndependent(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-buildmode=pie", "-count=1", "-run=^TestTrim$", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %.2000s", err, out)
	}
}
