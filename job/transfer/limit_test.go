package transfer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimitOfADay(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	limit := Limit{{8 * time.Hour, 100}, {18*time.Hour + 30*time.Minute, Paused}, {23 * time.Hour, Unlimited}}
	for _, x := range []struct {
		now, end string
		rate     int64
	}{
		{"2026-06-01 00:00", "2026-06-01 08:00", Unlimited}, // since yesterday
		{"2026-06-01 08:00", "2026-06-01 18:30", 100},
		{"2026-06-01 18:29", "2026-06-01 18:30", 100},
		{"2026-06-01 18:30", "2026-06-01 23:00", Paused},
		{"2026-06-01 23:59", "2026-06-02 08:00", Unlimited},
		{"2026-03-28 23:00", "2026-03-29 08:00", Unlimited}, // a night of 8 hours: the clock goes forward
		{"2026-03-29 07:59", "2026-03-29 08:00", Unlimited},
		{"2026-12-31 23:30", "2027-01-01 08:00", Unlimited},
	} {
		now, _ := time.ParseInLocation("2006-01-02 15:04", x.now, zone)
		rate, end := limit.at(now)
		if got := end.Format("2006-01-02 15:04"); rate != x.rate || got != x.end {
			t.Errorf("at %s: got %d until %s, want %d until %s", x.now, rate, got, x.rate, x.end)
		}
	}
	if rate, _ := Limit(nil).at(time.Now()); rate != Unlimited {
		t.Errorf("no limit is %d", rate)
	}
}

func TestLimitHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock begins at midnight UTC
		now := time.Now()
		midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
		change := now.Sub(midnight) + 30*time.Second
		l := &limiter{limit: Limit{{change.Truncate(time.Minute) + time.Minute, Paused}, {change.Truncate(time.Minute) + 2*time.Minute, 1 << 20}}}
		// Before the first change holds the last one of the day before.
		const size = 20 << 20
		for sent := 0; sent < size; sent += 64 << 10 {
			if err := l.take(t.Context(), 64<<10); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(now); took < 19*time.Second || took > 21*time.Second {
			t.Errorf("20 MiB at 1 MiB/s took %v", took)
		}
		time.Sleep(time.Until(now.Add(time.Minute)))
		begin := time.Now()
		if err := l.take(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("a pause of a minute took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.take(ctx, 100<<20); err == nil {
			t.Error("it waits for more than the context")
		}
	})
}

func TestStopwatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Time, 1)
		begin := time.Now()
		s := startStopwatch(10*time.Second, func() { ended <- time.Now() })
		time.Sleep(4 * time.Second)
		s.hold()
		s.hold()
		time.Sleep(time.Hour)
		s.release()
		time.Sleep(time.Hour)
		s.release()
		if took := (<-ended).Sub(begin); took != 2*time.Hour+10*time.Second {
			t.Errorf("it ended after %v, want what was held and ten seconds", took)
		}
		s = startStopwatch(time.Second, func() { ended <- time.Now() })
		s.hold()
		s.stop()
		s.release()
		time.Sleep(time.Minute)
		select {
		case <-ended:
			t.Error("it ended work that was over")
		default:
		}
	})
}
