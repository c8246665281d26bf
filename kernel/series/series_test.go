package series

import (
	"testing"
	"time"

	"holdfast/kernel/store"
)

func open(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func record(t *testing.T, st *store.Store, rec *Recorder) {
	t.Helper()
	if err := st.Update(rec.Write); err != nil {
		t.Fatal(err)
	}
	rec.Written()
}

func resume(t *testing.T, st *store.Store, now time.Time) (rec *Recorder) {
	t.Helper()
	err := st.Latest(func(r store.Reader) (err error) {
		rec, err = Resume(r, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func read(t *testing.T, st *store.Store, from, to, now time.Time, max int) (s Series) {
	t.Helper()
	err := st.Latest(func(r store.Reader) (err error) {
		s, err = Read(r, from, to, now, max)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seen(done int64, lag float64) Point {
	return Point{Seconds: 10, Read: 2 * done, Lines: []Line{{Name: "main", Done: done, Rows: int64(lag), Bytes: 9, Lag: lag}}}
}

// Points go on over a restart, and coarse ones have the sums of what moved and the most of what waited.
func TestPointsGoOnOverARestart(t *testing.T) {
	st := open(t)
	begin := time.Unix(4*3600*100_000, 0)
	rec := resume(t, st, begin)
	for i := range 90 { // a quarter of an hour
		if i == 31 { // in the middle of a minute: what was not written is lost, what was is gone on with
			record(t, st, rec)
			rec = resume(t, st, begin.Add(310*time.Second))
		}
		lag := 1.0
		if i == 40 {
			lag = 77
		}
		rec.Add(begin.Add(time.Duration(i)*10*time.Second), seen(5, lag))
	}
	record(t, st, rec)
	end := begin.Add(15 * time.Minute)
	fine := read(t, st, begin, end, end, 1000)
	if fine.Step != 60 || len(fine.Points) != 15 {
		t.Fatalf("got %d points of %d s, want 15 of 60", len(fine.Points), fine.Step)
	}
	for i, p := range fine.Points {
		lag := 1.0
		if i == 6 {
			lag = 77
		}
		if p.At != begin.Unix()+int64(i)*60 || p.Seconds != 60 || p.Read != 60 || p.Lines[0].Done != 30 || p.Lines[0].Lag != lag {
			t.Errorf("point %d: got %+v", i, p)
		}
	}
	coarse := read(t, st, begin.AddDate(0, 0, -20), end, end, 5000)
	if coarse.Step != 900 || len(coarse.Points) != 1 || coarse.Points[0].Read != 900 || coarse.Points[0].Lines[0].Lag != 77 {
		t.Errorf("got %+v", coarse)
	}
}

// However long a job runs, the rings do not grow, and what is asked for is what is young enough.
func TestRingsAreBounded(t *testing.T) {
	st := open(t)
	begin := time.Unix(1_700_000_000, 0)
	rec := resume(t, st, begin)
	now := begin
	step := 2 * time.Hour
	for range 420 * 12 { // more than all that is kept
		now = now.Add(step)
		rec.Add(now, seen(1, 0))
		if len(rec.done) > maxDone-2 {
			record(t, st, rec)
		}
	}
	record(t, st, rec)
	keys := 0
	if err := st.Latest(func(r store.Reader) error {
		seq, fail := r.Scan(store.Series.K(), store.Series.K().End())
		for range seq {
			keys++
		}
		return fail()
	}); err != nil {
		t.Fatal(err)
	}
	if most := tiers[0].places + tiers[1].places + tiers[2].places; int64(keys) > most {
		t.Errorf("%d points, want at most %d", keys, most)
	}
	year := read(t, st, now.AddDate(-1, 0, 0), now, now, 5000)
	if n := len(year.Points); year.Step != 4*3600 || n < 365*6 || n > 366*6+1 {
		t.Errorf("a year has %d points of %d s", n, year.Step)
	}
	if few := read(t, st, now.AddDate(-1, 0, 0), now, now, 100); len(few.Points) != 100 || few.Points[99].At != year.Points[len(year.Points)-1].At {
		t.Errorf("got %d points", len(few.Points))
	}
	if hour := read(t, st, now.Add(-time.Hour), now, now, 1000); hour.Step != 60 || len(hour.Points) > 1 {
		t.Errorf("an hour: got %d points of %d s", len(hour.Points), hour.Step)
	}
}

// A store that takes nothing costs no memory, and a clock that goes back no points of other times.
func TestNothingPilesUp(t *testing.T) {
	st := open(t)
	begin := time.Unix(1_700_000_000, 0)
	rec := resume(t, st, begin)
	for i := range 1000 {
		rec.Add(begin.Add(time.Duration(i)*time.Minute), seen(1, 0))
	}
	if len(rec.done) > maxDone {
		t.Errorf("%d points wait", len(rec.done))
	}
	rec.Add(begin, seen(1, 0))
	record(t, st, rec)
	if got := read(t, st, begin.Add(-time.Hour), begin, begin, 100); len(got.Points) != 1 {
		t.Errorf("got %+v", got)
	}
}
