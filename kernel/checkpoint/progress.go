package checkpoint

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"holdfast/kernel/store"
)

// Work says how work on a checkpoint is done that may take long. The zero value does it on the
// disk, at full speed, in silence.
type Work struct {
	// FS is the file system; nil is the disk.
	FS store.FS
	// Progress is called now and then, from the goroutine that does the work.
	Progress func(Progress)
	// Rate bounds reading, in bytes a second; 0 is no bound.
	Rate int
	// Store is for the moment in which Restore opens what it restored; its FS is not used.
	Store store.Options
}

func (w Work) fs() store.FS {
	if w.FS != nil {
		return w.FS
	}
	return store.Disk
}

// Progress is how far long work has got.
type Progress struct {
	Done, Total int64 // bytes
	Left        time.Duration
}

// tracker counts bytes, tells how far work has got and keeps it to its rate. nil does none of it.
type tracker struct {
	p     Progress
	begin time.Time
	told  time.Time
	tell  func(Progress)
	limit *rate.Limiter
}

// tellEvery is how often progress is told.
const tellEvery = 200 * time.Millisecond

func (w Work) track(total int64) *tracker {
	t := &tracker{p: Progress{Total: total}, begin: time.Now(), tell: w.Progress}
	if w.Rate > 0 {
		t.limit = rate.NewLimiter(rate.Limit(w.Rate), max(w.Rate/10, chunk))
	}
	return t
}

func (t *tracker) add(ctx context.Context, n int64) error {
	if t == nil {
		return ctx.Err()
	}
	t.p.Done += n
	if t.tell != nil && time.Since(t.told) >= tellEvery {
		t.told = time.Now()
		if t.p.Done > 0 {
			t.p.Left = time.Duration(float64(time.Since(t.begin)) *
				float64(t.p.Total-t.p.Done) / float64(t.p.Done)).Round(time.Second)
		}
		t.tell(t.p)
	}
	if t.limit != nil && n > 0 {
		return t.limit.WaitN(ctx, int(n))
	}
	return ctx.Err()
}

// end tells that all is done.
func (t *tracker) end() {
	if t.tell != nil {
		t.tell(Progress{Done: t.p.Total, Total: t.p.Total})
	}
}
