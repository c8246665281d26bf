package desk

import (
	"context"
	"errors"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/job/crawl"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// CrawlCounts are how many URLs a crawl has.
type CrawlCounts struct {
	Known   int64 `json:"known"`   // all that were ever seen: the sum of those below
	Queued  int64 `json:"queued"`  // to be fetched, those in flight among them
	Waiting int64 `json:"waiting"` // put off until they are tried again
	Done    int64 `json:"done"`
	Failed  int64 `json:"failed"`
	Left    int64 `json:"left"` // not fetched: robots.txt or a person forbids it
	Bytes   int64 `json:"bytes"`
	Hosts   int64 `json:"hosts"`
	Open    int64 `json:"open"` // of those Queued and Waiting, the ones that the budgets allow
}

// CrawlCounts returns how many URLs a crawl has.
func (d *Desk) CrawlCounts(ctx context.Context, job string) (out CrawlCounts, err error) {
	err = d.view(ctx, job, func(r store.Reader) error {
		c, err := frontier.ReadCounts(r)
		out = CrawlCounts{Known: int64(c.Known), Queued: int64(c.Queued), Waiting: int64(c.Waiting), Done: int64(c.Done),
			Failed: int64(c.Failed), Left: int64(c.Left), Bytes: int64(c.Bytes), Hosts: int64(c.Hosts), Open: int64(c.Open())}
		return err
	})
	return out, err
}

// crawlIsOver reports whether a job is a crawl that has nothing left to fetch: nobody wants to go back to its end.
func (d *Desk) crawlIsOver(ctx context.Context, job string) (bool, error) {
	if d.kindOf(job) != app.CrawlKind {
		return false, nil
	}
	c, err := d.CrawlCounts(ctx, job)
	return err == nil && c.Queued+c.Waiting == 0, err
}

// noteCrawl tells how far a crawl is that does not run.
func (d *Desk) noteCrawl(ctx context.Context, s *engine.Status) {
	if s.Kind != app.CrawlKind {
		return
	}
	err := d.view(ctx, s.Name, func(r store.Reader) error {
		c, err := frontier.ReadCounts(r)
		if err != nil {
			return err
		}
		s.Taken, s.Backlog.Rows = int64(c.Known), int64(c.Queued+c.Waiting)
		s.Notes, err = crawl.NotesAtRest(r)
		return err
	})
	if err != nil && !fault.Is(err, fault.Transient) && !errors.Is(err, store.ErrClosed) {
		s.Tell(err)
	}
}
