package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/kernel/series"
	"holdfast/kernel/store"
)

// How a job goes is in its store, also what is of less than a minute before it ended, and goes on at the next start.
func TestSeriesAreRecorded(t *testing.T) {
	dir := t.TempDir()
	var begin time.Time
	run := func() (s series.Series) {
		synctest.Test(t, func(t *testing.T) {
			st, err := store.Open(dir, store.Options{Fatal: func(err error) { t.Error(err) }})
			if err != nil {
				t.Fatal(err)
			}
			begin = time.Now()
			r := &runner{spec: Spec{Name: "one"}}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				r.record(ctx, st)
			}()
			time.Sleep(3*time.Minute + 25*time.Second)
			stop()
			<-ended
			if err := st.Latest(func(rd store.Reader) (err error) {
				s, err = series.Read(rd, begin, time.Now(), time.Now(), 100)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
		})
		return s
	}
	first := run()
	if len(first.Points) != 4 || first.Points[0].Seconds != 40 || first.Points[1].Seconds != 60 || first.Points[3].Seconds != 35 {
		t.Errorf("got %+v", first)
	}
	// The clock of the second one begins at the same time again: what it saw comes to what was there.
	if second := run(); second.Points[1].Seconds != 60 && second.Points[1].Seconds != 120 {
		t.Errorf("got %+v", second)
	}
}
