package desk

import (
	"context"

	"holdfast/app"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Audit is the answer of `holdfast audit`.
type Audit struct {
	Balanced bool           `json:"balanced"`
	Jobs     []engine.Books `json:"jobs"`
	Deep     []Comparison   `json:"deep,omitempty"`
	// Letters counts the dead letters that nobody has decided on.
	Letters int64 `json:"dead_letters"`
}

// LeftOver reports whether rows wait for a sink. Gaps and dead letters do not count: they may stay for days,
// and a cycle that delivered all it has is done.
func (a Audit) LeftOver() bool {
	for _, j := range a.Jobs {
		for _, s := range j.Sinks {
			if s.Pending > 0 {
				return true
			}
		}
	}
	return false
}

func (c Comparison) good() bool { return c.Missing == 0 && c.Doubled == 0 }

// Unknown is how many sinks could not be compared, if that is all that keeps the audit from being
// balanced; else 0.
func (a Audit) Unknown() (n int) {
	for _, j := range a.Jobs {
		if !j.Balanced() {
			return 0
		}
	}
	for _, c := range a.Deep {
		if !c.good() {
			return 0
		}
		if c.Error != "" {
			n++
		}
	}
	return n
}

// Audit checks the laws of one job or all. With deep the sinks themselves are asked what they hold.
func (d *Desk) Audit(ctx context.Context, job string, deep bool, tell func(Progress)) (Audit,
	error) {
	a := Audit{Balanced: true, Jobs: []engine.Books{}}
	names, err := d.only(job)
	if err != nil {
		return a, err
	}
	for _, name := range names {
		var books engine.Books
		err := d.view(ctx, name, func(r store.Reader) (err error) {
			if books, err = engine.ReadBooks(r, name); err != nil {
				return err
			}
			if d.kindOf(name) == app.CrawlKind {
				if err := addURLs(&books, r); err != nil {
					return err
				}
			}
			n, err := balance.Letters(r)
			a.Letters += n
			return err
		})
		if err != nil {
			return a, err
		}
		a.Jobs = append(a.Jobs, books)
		a.Balanced = a.Balanced && books.Balanced()
		if !deep {
			continue
		}
		for _, s := range books.Sinks {
			c := d.compare(ctx, books, s, tell)
			a.Deep = append(a.Deep, c)
			a.Balanced = a.Balanced && c.good() && c.Error == ""
		}
	}
	return a, nil
}

// addURLs adds the books of a crawl: its tasks are URLs, and its frontier has them in the place of a queue.
func addURLs(b *engine.Books, r store.Reader) error {
	c, err := frontier.ReadCounts(r)
	if err != nil {
		return err
	}
	t := balance.Tasks{Put: int64(c.Known), Ready: int64(c.Queued), Waiting: int64(c.Waiting), Done: int64(c.Done), Dead: int64(c.Failed),
		Dropped: int64(c.Left)}
	if why := t.Check(); why != "" {
		b.Broken = append(b.Broken, "URLs: "+why)
	}
	b.Queues = append(b.Queues, engine.QueueBooks{Queue: "URLs", Tasks: t})
	return nil
}
