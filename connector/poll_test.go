package connector

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A look that fails, or hangs until its time is up, is told as one that knows nothing, and the next comes when it is due.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, n := time.Now(), 0
		var told []Event
		ctx, stop := context.WithCancel(t.Context())
		err := Poll(ctx, 10*time.Second, 3*time.Second, func(ctx context.Context) ([]Sample, []string, error) {
			switch n++; n {
			case 2:
				return nil, nil, errors.New("nobody there")
			case 3:
				<-ctx.Done()
				return nil, nil, ctx.Err()
			}
			return []Sample{{Value: float64(n)}}, nil, nil
		}, func(_ context.Context, s Seen) error {
			if told = append(told, s.Events...); len(told) == 4 {
				stop()
			}
			return nil
		})
		if err != nil || len(told) != 4 {
			t.Fatalf("told %v, %v", told, err)
		}
		for i, want := range []string{"", "nobody there", "took longer than 3s", ""} {
			e := told[i]
			if at := e.Time.Sub(begin); at != time.Duration(i)*10*time.Second || !strings.Contains(e.Failed, want) || (want == "") != (e.Failed == "") {
				t.Errorf("look %d: after %v: %+v", i, at, e)
			}
			if (e.Failed == "") != (len(e.Samples) == 1) || e.ID == "" {
				t.Errorf("look %d: %+v", i, e)
			}
		}
	})
}

// What was not kept ends it.
func TestPollEnds(t *testing.T) {
	full := errors.New("full")
	err := Poll(t.Context(), time.Hour, time.Hour, func(context.Context) ([]Sample, []string, error) { return nil, nil, nil },
		func(context.Context, Seen) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}
