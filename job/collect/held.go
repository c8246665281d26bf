package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
)

const (
	// askFor is how long a sink may take to say which rows of an import it has.
	askFor = 30 * time.Second
	// wideHole is the size from which a hole in the keys of an import is left out of the question to a sink: the rows within
	// it have nothing to do with the import.
	wideHole = 10_000
	// askParts is how many parts the question about an import may have.
	askParts = 100
)

// heldOrSuspect is held. If that can't be known, rows are compared with those of the sinks by key from now on.
func (j *Job) heldOrSuspect(ctx context.Context, p connector.Page) (map[uint64]bool, error) {
	held, err := j.held(ctx, p)
	if err != nil || held != nil || p.Rows == nil {
		return held, err
	}
	keys, _ := record.Keys(j.src.Schema(), p.Rows)
	for _, d := range j.sinks {
		if len(keys) == 0 {
			break
		}
		if err := d.k.Suspect(slices.Max(keys), false); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// held returns the keys of a page that every sink has; nil if that can't be known.
func (j *Job) held(ctx context.Context, p connector.Page) (map[uint64]bool, error) {
	if p.Rows == nil || p.Rows.NumRows() == 0 {
		return nil, nil
	}
	keys, ok := record.Keys(j.src.Schema(), p.Rows)
	if !ok {
		return nil, nil
	}
	parts := spans(keys)
	if len(parts) > askParts {
		return nil, nil
	}
	votes := map[uint64]int{}
	for _, d := range j.sinks {
		if err := d.has(ctx, parts, func(key uint64) { votes[key]++ }); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			j.env.Log.Debug(fmt.Sprintf("sink %s can't say what it has: %v", d.Name, err))
			return nil, nil
		}
	}
	held := map[uint64]bool{}
	for _, k := range keys {
		held[k] = votes[k] == len(j.sinks)
	}
	return held, nil
}

// spans returns the ranges that cover the keys, without the wide holes between them.
func spans(keys []uint64) (out []connector.KeyRange) {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	for i, k := range keys {
		if i == 0 || k-keys[i-1] > wideHole {
			out = append(out, connector.KeyRange{From: k, To: k})
		}
		out[len(out)-1].To = k
	}
	return out
}

// has calls yield for each key in the ranges that the sink has. Before the job works nobody else has prepared the sink. A sink
// that can't tell then is not asked again for every file of the import.
func (d *delivery) has(ctx context.Context, in []connector.KeyRange,
	yield func(key uint64)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if !d.j.begun.Load() {
		if d.mute {
			return errors.New("it could not before")
		}
		defer func() { d.mute = err != nil }()
		if err := d.Sink.Sink.Prepare(ctx, d.j.src.Schema()); err != nil {
			return err
		}
	}
	r := d.Sink.Sink.Reader()
	if r == nil {
		return errors.New("it can't be read back")
	}
	for _, part := range in {
		err := r.Keys(ctx, part, func(key, _ uint64) error {
			yield(key)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
