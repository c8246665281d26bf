// Package testenv gives tests the real things they need: ClickHouse, InfluxDB, PostgreSQL, NATS and Redis servers, a
// proxy that breaks connections, a disk that fills up, the built holdfast binary, child processes that can be
// killed, frozen and read, and a reader of WARC files that others wrote.
//
// Whatever it starts listens on loopback, keeps its files in a temporary directory, and ends with
// the test: by a cleanup when the test ends well, by the kernel when the test process is killed.
// Every wait has a bound. What this machine does not have is missing aloud: a test that needs it
// is skipped with the reason, and fails when CI=true.
//
// Called by tests only. It imports nothing of ours, so that any package can use it.
package testenv

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startWithin bounds the start of a server. They need less than a second on an idle machine;
// the rest is for a machine that is busy with other tests.
const startWithin = 60 * time.Second

// CI reports whether a missing server is a failure.
func CI() bool {
	v, _ := strconv.ParseBool(os.Getenv("CI"))
	return v
}

// Missing ends the test because this machine lacks something: as a failure in CI, else as a skip
// that says what stays untested.
func Missing(t testing.TB, what string, err error) {
	t.Helper()
	if CI() {
		t.Fatalf("missing %s: %v (run make deps)", what, err)
	}
	t.Skipf("MISSING %s, so this stays untested: %v (run make deps)", what, err)
}

// Torture reports whether the full counts are to be run (make torture).
func Torture() bool {
	v, _ := strconv.ParseBool(os.Getenv("HOLDFAST_TORTURE"))
	return v
}

// Count is how often a campaign repeats: full under make torture, else a tenth of it, at least 1,
// and a twentieth of a long one, of 200 or more. Its random choices come from a Seed or from rapid,
// so that every run tries others.
func Count(t testing.TB, full int) int {
	t.Helper()
	n := full
	if !Torture() {
		n = max(1, full/10)
		if full >= 200 {
			n = full / 20
		}
	}
	t.Logf("campaign of %d of %d", n, full)
	return n
}

// Seed starts a campaign's random choices: HOLDFAST_SEED when it is set, else a fresh number. It
// is logged, so that a failure can be run again.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if v := os.Getenv("HOLDFAST_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("parse HOLDFAST_SEED: %v", err)
		}
	}
	t.Logf("HOLDFAST_SEED=%d", seed)
	return seed
}

// Some is a part of what there is to be tried, n of it and another part in each run (see Seed), in its order; all of it under
// make torture.
func Some[T any](t testing.TB, n int, all []T) []T {
	t.Helper()
	if Torture() || n >= len(all) {
		return all
	}
	chosen := rand.New(rand.NewPCG(Seed(t), 5)).Perm(len(all))[:n]
	slices.Sort(chosen)
	some := make([]T, n)
	for i, at := range chosen {
		some[i] = all[at]
	}
	return some
}

// Until calls done every few milliseconds until it is true, and fails the test after within.
func Until(t testing.TB, within time.Duration, what string, done func() bool) {
	t.Helper()
	if !until(within, done) {
		t.Fatalf("%s: not within %v", what, within)
	}
}

func until(within time.Duration, done func() bool) bool {
	for begun := time.Now(); ; {
		if done() {
			return true
		}
		waited := time.Since(begun)
		if waited > within {
			return false
		}
		// Asking often costs the processor that what is waited for needs.
		time.Sleep(min(max(waited/16, time.Millisecond), 100*time.Millisecond))
	}
}

// tail is the last part of a server's output, for an error message.
func tail(s string) string {
	const most = 4000
	if len(s) > most {
		s = "... " + s[len(s)-most:]
	}
	return fmt.Sprintf("\n--- its output ---\n%s", s)
}

// Example returns the configuration of that name from a page of the documents: the lines of the block that
// begins with "# name".
func Example(t testing.TB, page, name string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut(string(text), "```yaml\n# "+name+"\n")
	example, _, ended := strings.Cut(rest, "```")
	if !begun || !ended {
		t.Fatalf("%s has no example %s", page, name)
	}
	return example
}
