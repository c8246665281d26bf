package collect

import (
	"context"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// whileHeld waits while intake is held, until something has changed or it is time to look again. It counts what a source that
// can't wait loses meanwhile.
func (j *Job) whileHeld(ctx context.Context, changed <-chan struct{}, look time.Duration) error {
	timer := time.NewTimer(look)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C:
	}
	return j.countOverload()
}

// countOverload writes down what the source could not hold. While intake is held no page comes that would tell of it, and
// after a kill nobody would know the number. (While a Fetch is under way, its page tells.)
func (j *Job) countOverload() error {
	told := j.src.Traits().Lost
	if told == nil || !j.fetchMu.TryLock() {
		return nil
	}
	j.overload.uncounted += told()
	j.fetchMu.Unlock()
	n := j.overload.uncounted
	if n == 0 {
		return nil
	}
	err := j.env.Store.Update(func(tx *store.Tx) error {
		return j.intake.lost(tx, balance.Overload, "", 0, 0, uint64(n), overloaded)
	})
	if fault.Is(err, fault.Full) {
		return nil // the next time, or the next page
	}
	if err == nil {
		j.overload.uncounted, j.overload.untold = 0, j.overload.untold+n
	}
	return err
}

// overloaded says why rows of a source that can't wait are lost.
const overloaded = "the source could not wait for us"

// overload is what the source lost while no page told of it; of intake's goroutine.
type overload struct {
	uncounted int64 // not in the books yet
	untold    int64 // counted, and not in the history yet
}
