package transfer

import (
	"encoding/json"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// places are where the files of a store come from and go to. What the store says to be done was done for these places, and for
// no others.
type places struct {
	From string            `json:"from"`
	To   map[string]string `json:"to"` // roots of the destinations, by name
	// Mounted are the destinations that were on a disk of their own, by name.
	Mounted map[string]bool `json:"mounted,omitempty"`
}

// keepPlaces remembers the places, and refuses to run with others. With another source all files would seem to be gone;
// another destination would lack what the former one has, although the store says that all is done. A destination that is
// added gets what comes from now on.
func (j *Job) keepPlaces() error {
	now := places{j.cfg.Root, map[string]string{}, map[string]bool{}}
	for _, t := range j.destinations {
		traits := t.To.Traits()
		now.To[t.Name] = traits.Root
		if traits.Mounted {
			now.Mounted[t.Name] = true
		}
	}
	return j.env.Store.Update(func(tx *store.Tx) error {
		was, err := readPlaces(tx)
		if err != nil {
			return err
		}
		if was != nil {
			if err := was.allow(tx, now, j.env.Name); err != nil {
				return err
			}
		}
		text, err := json.Marshal(now)
		if err == nil {
			tx.Set(placesKey, text)
		}
		return err
	})
}

func readPlaces(r store.Reader) (*places, error) {
	text, ok, err := r.Get(placesKey)
	if err != nil || !ok {
		return nil, err
	}
	p := new(places)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fault.New(fault.Corrupt, "read the places of the job: %w", err)
	}
	return p, nil
}

// allow returns an error that says why other places may not take the place of these; nil if they may.
func (p places) allow(r store.Reader, now places, job string) error {
	const anew = "give the new one a job of another name, or a data directory of its own (--data-dir); what a ledger or a " +
		"destination has is not transferred twice"
	if p.From != now.From {
		return fault.WithHint(fault.New(fault.Permanent, "job %s transfers the files of %s, and can't go on with %s", job, p.From,
			now.From), anew)
	}
	queues, err := store.NamesOf(r, store.QueueName)
	if err != nil {
		return err
	}
	for name, root := range p.To {
		is, stays := now.To[name]
		if stays && is == root && p.Mounted[name] && !now.Mounted[name] {
			return fault.WithHint(fault.New(fault.Transient, "job %s: nothing is mounted at %s (destination %s) any more", job, root,
				name), "mount its disk; if it is meant to be on this one, "+anew)
		}
		if stays && is != root {
			return fault.WithHint(fault.New(fault.Permanent, "job %s transfers files to %s (destination %s), and can't go on with %s", job,
				root, name, is), anew)
		}
		if stays {
			continue
		}
		c, err := queue.ReadCounts(r, queues[shipPrefix+name])
		if err != nil {
			return err
		}
		if n := c.Open() + c.Dead; n > 0 {
			return fault.WithHint(fault.New(fault.Permanent, "job %s has no destination %s (%s) any more, and there %s %s for it", job,
				name, root, plural.Are(n), plural.Of(n, "file")+" waiting"),
				"take it out once nothing waits for it, or discard what does; or "+anew)
		}
	}
	return nil
}
