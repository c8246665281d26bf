package transfer

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// deaf finds nothing by itself.
type deaf struct{ walker }

func (deaf) Run(ctx context.Context, _ func(context.Context, []Seen) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// What the watch does not find is found when a person asks for it.
func TestBackfillWhenAsked(t *testing.T) {
	r := newRig(t, 1)
	r.change = func(c *Config) { c.Find, c.Once, c.Place = deaf{walker{r.from}}, false, Placer{} }
	r.write("a.dat", []byte("a"))
	r.run(func() {
		for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
			if j := r.job.Load(); j != nil {
				if _, err := j.Command(t.Context(), "backfill", nil); err != nil {
					t.Error(err)
				}
			}
			if _, err := os.Stat(filepath.Join(r.to[0], "a.dat")); err == nil || time.Now().After(deadline) {
				break
			}
		}
	})
	if f := r.files()["a.dat"]; f == nil || f.To[0].At.IsZero() {
		t.Errorf("got %+v, want it brought", f)
	}
}
