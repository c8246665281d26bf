// Package crash proves the kernel's promises about power cuts, kills, failing disks and full ones,
// over the kernel as a whole: store, spool, identity, queue, balance and checkpoint together.
//
// A job runs random steps (pages in, deliveries out, tasks, checkpoints, lazy commits) and tells a
// witness, who is not part of the crash, what it is about to commit, what was acknowledged, what it
// was shown, and what it gave to the world outside. Every transaction also writes its number and name
// into a journal in the store. After the crash the journal says which transactions are there: it must
// hold all that was acknowledged or shown, without a hole; and then the whole state must be exactly
// what those transactions make of a model: counters, cursors, known keys, blocks, dead letters, tasks.
// Deliveries go to modelled sinks that outlive the crash: they find rows that come twice, tokens that
// come with other bytes, repeats that are not marked as such, and work that was given out and forgotten.
//
// The same job runs on Pebble's crashable file system (power cuts at any step of the file system), in
// a child process that is killed (kill -9), on a file system that fails at every step in turn, and on
// a small one that is full.
package crash

import (
	"errors"
	"os"
	"testing"

	"holdfast/kernel/store"
)

// errDown is what the witness answers once the power is cut: the job must not go on.
var errDown = errors.New("the power is cut")

// cache is shared by all stores of the tests, as by all stores of a process.
var cache = store.NewCache(8 << 20)

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		os.Exit(runChild(what))
	}
	os.Exit(m.Run())
}
