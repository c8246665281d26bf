package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/series"
	"holdfast/kernel/store"
)

// record keeps how the job goes in its store until ctx ends, also while the job is paused. What it can't read or write is
// a hole in a picture and no more: those who work in the store tell of it.
func (r *runner) record(ctx context.Context, st *store.Store) {
	var rec *series.Recorder
	err := st.Latest(func(rd store.Reader) (err error) {
		rec, err = series.Resume(rd, time.Now())
		return err
	})
	if err != nil {
		r.log.Warn(fmt.Sprintf("how job %s goes is not recorded: %v", r.spec.Name, err))
		return
	}
	tick := time.NewTicker(SampleEvery)
	defer tick.Stop()
	written := time.Now()
	var was *seen
	for {
		over := false
		select {
		case <-ctx.Done():
			over = true
		case <-tick.C:
		}
		now := time.Now()
		var at seen
		err := fault.Catch(func() (err error) { // the job is not ours, and may panic
			at, err = r.look(st, now)
			return err
		})
		if err == nil {
			if was != nil {
				rec.Add(now, point(*was, at))
			}
			was = &at
		}
		if over || now.Sub(written) >= series.Every {
			written = now
			if st.UpdateLazy(rec.Write) == nil {
				rec.Written()
			}
		}
		if over {
			return
		}
	}
}

// seen is what the counters of a job say at a moment.
type seen struct {
	at   time.Time
	read int64         // items that came, ever
	out  []series.Line // of which Done is what went, ever
}

// everything is the one way out of a job whose work is tasks and that has no queue of the kernel's.
const everything = "all"

func (r *runner) look(st *store.Store, now time.Time) (s seen, err error) {
	s.at = now
	err = st.Latest(func(rd store.Reader) error {
		b, t, err := r.counters(rd)
		if err != nil {
			return err
		}
		s.read = b.Read
		for _, k := range b.Sinks {
			s.out = append(s.out, series.Line{Name: k.Sink, Done: k.Delivered, Rows: k.Pending, Bytes: k.PendingBytes, Lag: lag(k.Oldest, now)})
		}
		for i, q := range b.Queues {
			if i == 0 {
				s.read += q.Put
			}
			s.out = append(s.out, series.Line{Name: q.Queue, Done: q.Done, Rows: q.Open()})
		}
		if len(s.out) == 0 && t.Taken > 0 {
			s.read += t.Taken
			s.out = append(s.out, series.Line{Name: everything, Done: t.Taken - t.Open, Rows: t.Open, Lag: lag(t.Since, now)})
		}
		return nil
	})
	return s, err
}

// point is what happened between two states. A store that went back has counted back: nothing happened then.
func point(was, now seen) series.Point {
	p := series.Point{Seconds: max(0, now.at.Sub(was.at).Seconds()), Read: max(0, now.read-was.read)}
	for _, l := range now.out {
		i := slices.IndexFunc(was.out, func(k series.Line) bool { return k.Name == l.Name })
		if i < 0 {
			l.Done = 0 // it has begun just now
		} else {
			l.Done = max(0, l.Done-was.out[i].Done)
		}
		p.Lines = append(p.Lines, l)
	}
	return p
}
