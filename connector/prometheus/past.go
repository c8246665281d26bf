package prometheus

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"holdfast/connector"
)

// pastAtOnce is how many looks are asked for at once. Prometheus gives at most 11,000 values of a series in one answer.
const pastAtOnce = 1000

// Past tells the looks that would have been, as connector.Historian says. What Prometheus has no value of any more is
// absent in them, and how old a value was is not asked.
func (q *Query) Past(ctx context.Context, since time.Time, tell func(context.Context, connector.Seen) error) error {
	k, err := q.asker()
	if err != nil {
		return err
	}
	defer k.close()
	every := cmp.Or(q.cfg.Every, defaultEvery)
	for at, now := since, time.Now(); at.Before(now); at = at.Add(pastAtOnce * every) {
		end := at.Add((pastAtOnce - 1) * every)
		if end.After(now) {
			end = now
		}
		if err := k.between(ctx, at, end, every, tell); err != nil {
			return err
		}
	}
	return nil
}

// between tells the looks from one time to another.
func (k *asker) between(ctx context.Context, from, to time.Time, every time.Duration, tell func(context.Context, connector.Seen) error) error {
	limited, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	x, err := k.post(limited, "/api/v1/query_range", k.query, url.Values{"start": {seconds(from)}, "end": {seconds(to)},
		"step": {strconv.FormatFloat(every.Seconds(), 'f', 3, 64)}})
	if err != nil {
		return err
	}
	var all model.Matrix
	if err := json.Unmarshal(x.Data.Result, &all); err != nil {
		return k.failed(ctx, k.query, err)
	}
	if err := k.tooMany(len(all)); err != nil {
		return err
	}
	next := make([]int, len(all)) // the value of each series that comes next
	for at := from; !at.After(to); at = at.Add(every) {
		e := connector.Event{Kind: connector.EventLook, Time: at, ID: at.UTC().Format(time.RFC3339Nano)}
		for i, s := range all {
			for next[i] < len(s.Values) && s.Values[next[i]].Timestamp < model.Time(at.UnixMilli()) {
				next[i]++
			}
			if next[i] < len(s.Values) && s.Values[next[i]].Timestamp == model.Time(at.UnixMilli()) {
				e.Samples = append(e.Samples, sampleOf(s.Metric, s.Values[next[i]].Value))
			}
		}
		if err := tell(ctx, connector.Seen{Events: []connector.Event{e}}); err != nil {
			return err
		}
	}
	return nil
}
