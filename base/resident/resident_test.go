package resident

import (
	"context"
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

// What a start has touched is given back, and the program goes on.
func TestTrim(t *testing.T) {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil || len(exe) == 0 {
		t.Fatal(err)
	}
	before := ofFiles(t)
	if err := trim(); err != nil {
		t.Fatal(err)
	}
	if after := ofFiles(t); after > before*3/4 {
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
