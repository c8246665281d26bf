package store

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// lateCompactions has no compaction begin before the store is open. Pebble's Open begins them, and then waits until they have
// ended: a start behind a crash took as long as the largest of them.
//
// Pebble's own scheduler can't be had without its looking around ten times a second. It does that for a limit that changes; here
// one compaction runs at a time, and the end of one, or what makes another necessary, begins the next.
type lateCompactions struct {
	*pebble.ConcurrencyLimitScheduler
	open atomic.Bool
}

func newLateCompactions() *lateCompactions {
	return &lateCompactions{ConcurrencyLimitScheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()}
}

// begin lets compactions begin, the one that waits at once.
func (l *lateCompactions) begin() {
	l.open.Store(true)
	if ok, turn := l.TrySchedule(); ok {
		turn.Done()
	}
}

// Register hands the database on, which allows none until begin.
func (l *lateCompactions) Register(goroutines int, db pebble.DBForCompaction) {
	l.ConcurrencyLimitScheduler.Register(goroutines, lateDB{db, l})
}

type lateDB struct {
	pebble.DBForCompaction
	late *lateCompactions
}

// GetAllowedWithoutPermission is how many compactions may run.
func (d lateDB) GetAllowedWithoutPermission() int {
	if !d.late.open.Load() {
		return 0
	}
	return d.DBForCompaction.GetAllowedWithoutPermission()
}
