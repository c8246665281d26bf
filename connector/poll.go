package connector

import (
	"context"
	"time"
)

// Poll is the Watch of what has no past: look is called at once, and then every so often until ctx ends or tell returns an error. A
// look that takes longer than within has failed. What was missed while tell or a look took its time is not made up for.
func Poll(ctx context.Context, every, within time.Duration, look func(context.Context) ([]Sample, error),
	tell func(context.Context, Seen) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		e := Event{Kind: EventLook, Time: time.Now()}
		limited, cancel := context.WithTimeout(ctx, within)
		samples, err := look(limited)
		late := limited.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && late:
			e.Failed = "took longer than " + within.String() + ": " + err.Error()
		case err != nil:
			e.Failed = err.Error()
		default:
			e.Samples = samples
		}
		e.ID = e.Time.UTC().Format(time.RFC3339Nano)
		if err := tell(ctx, Seen{Events: []Event{e}}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}
