package connector

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// Poll is the Watch of what has no past: look is called at once, and then every so often until ctx ends or tell returns an
// error. A look that takes longer than within has failed. What was missed while tell or a look took its time is not made
// up for. The notes of a look, such as warnings of a server, are told when the look before had them not.
func Poll(ctx context.Context, every, within time.Duration, look func(context.Context) (all []Sample, notes []string, err error),
	tell func(context.Context, Seen) error) error {
	var told []string // the notes of the last look
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		e := Event{Kind: EventLook, Time: time.Now()}
		limited, cancel := context.WithTimeout(ctx, within)
		samples, notes, err := look(limited)
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
		var s Seen
		for i, n := range notes {
			if !slices.Contains(told, n) && !slices.Contains(notes[:i], n) {
				s.Events = append(s.Events, Event{Kind: EventNote, Time: e.Time, ID: e.ID + "-" + strconv.Itoa(i), Cause: n})
			}
		}
		told = notes
		s.Events = append(s.Events, e)
		if err := tell(ctx, s); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}
