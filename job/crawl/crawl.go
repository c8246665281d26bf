// Package crawl archives web sites: the job crawl.
//
// A URL is taken from the frontier when its host may be asked, fetched, and read for links. What became of it is written down by
// one goroutine, for many URLs at once: the records go into a WARC file and the lines into the logs, both are synced, and one
// transaction says that the URLs are done, how far those files count, which links are new, and when each host may be asked again.
// So a crash loses what was in flight and nothing else, and that is fetched again: it stands in its queue still.
//
// Called by app.
package crawl

import (
	"context"
	"fmt"
	"time"

	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// Config is what the job is to do.
type Config struct {
	Seeds []string
	Fetch connector.Fetcher
	// Rules say which URLs are one.
	Rules weburl.Rules
	// Accepts decides whether a URL is crawled that was found.
	Accepts func(Candidate) bool
	Archive archive.Options
	// Logs is the directory of the logs.
	Logs string
	// Workers is how many URLs are fetched at once; default 50.
	Workers int
	Polite  Politeness
	// Agent is the name that robots.txt knows the crawler by.
	Agent string
	// Retries of a URL that could not be fetched, default 30, and the time between them, default 900 s.
	Retries    int
	RetryAfter time.Duration
}

// Candidate is a URL that was found.
type Candidate struct {
	URL  weburl.URL
	Hops string // the hop that leads to it is the last
	Via  weburl.URL
}

// Politeness is how long a host is left alone: Factor times what its last answer took, at least Min, at most Max.
type Politeness struct {
	Factor   float64
	Min, Max time.Duration
}

// after is how long a host is left alone behind an answer.
func (p Politeness) after(took time.Duration) time.Duration {
	return min(max(time.Duration(p.Factor*float64(took)), p.Min), p.Max)
}

func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = 50
	}
	if c.Retries == 0 {
		c.Retries = 30
	}
	if c.RetryAfter == 0 {
		c.RetryAfter = 900 * time.Second
	}
	if c.Accepts == nil {
		c.Accepts = func(Candidate) bool { return true }
	}
	return c
}

// Job is a crawl at work.
type Job struct {
	env      engine.Env
	cfg      Config
	frontier *frontier.Frontier
	archive  *archive.Archive
	logs     *logs
	rules    *ruleBook
	visits   chan *visit   // that are to be written down
	broken   chan struct{} // closed when nobody does so any more
}

// New opens what the job has, and brings it to what the store says.
func New(env engine.Env, cfg Config) (_ *Job, err error) {
	j := &Job{env: env, cfg: cfg.withDefaults(), rules: &ruleBook{st: env.Store, recent: map[string]rulesUntil{}}, visits: make(chan *visit, mostTogether), broken: make(chan struct{})}
	var inFlight int
	err = env.Store.Latest(func(r store.Reader) (err error) {
		inFlight, err = frontier.InFlight(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	if j.frontier, err = frontier.Open(env.Store, frontier.Options{}); err != nil {
		return nil, err
	}
	var recovered archive.Recovered
	if j.archive, recovered, err = archive.Open(env.Store, j.cfg.Archive); err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	var moved []string
	if j.logs, moved, err = openLogs(env.Store, j.cfg.Logs); err != nil {
		_ = j.archive.Close()
		return nil, fmt.Errorf("open the logs: %w", err)
	}
	if inFlight > 0 {
		env.History.Note("crawl.resumed", "resumed after an unclean stop: %d URLs in flight returned to the frontier", inFlight)
	}
	for _, name := range append(recovered.Moved, moved...) {
		env.History.Note("crawl.cut", "what was written and not committed is in %s", name)
	}
	return j, nil
}

// Run crawls until the frontier is empty, or ctx ends.
func (j *Job) Run(ctx context.Context) error {
	if err := j.seed(); err != nil {
		return err
	}
	g, ctx := engine.NewGroup(ctx)
	work, end := context.WithCancel(ctx)
	defer end()
	workers, workersCtx := engine.NewGroup(work)
	for n := range j.cfg.Workers {
		workers.Go(func() error { return j.work(workersCtx, n) })
	}
	g.Go(func() error {
		defer close(j.visits)
		return workers.Wait()
	})
	g.Go(func() error { return j.write() })
	g.Go(func() error {
		defer end()
		err := j.frontier.Wait(work)
		if work.Err() != nil {
			return nil
		}
		return err
	})
	return g.Wait()
}

// seed queues the seeds that are new.
func (j *Job) seed() error {
	var items []frontier.Item
	for _, text := range j.cfg.Seeds {
		u, err := weburl.Parse(text)
		if err != nil {
			return fmt.Errorf("seed %s: %w", text, err)
		}
		items = append(items, j.item(u, "", weburl.URL{}, u.String()))
	}
	return j.env.Store.Update(func(tx *store.Tx) error {
		b, err := j.frontier.Begin(tx)
		if err != nil {
			return err
		}
		if _, err := b.Add(items...); err != nil {
			return err
		}
		return b.Write()
	})
}

// item is a URL as the frontier has it.
func (j *Job) item(u weburl.URL, hops string, via weburl.URL, source string) frontier.Item {
	canonical := j.cfg.Rules.Canonical(u)
	key := canonical.SURT()
	if canonical.Scheme() == "https" { // a SURT says http of both
		key += "\x00s"
	}
	return frontier.Item{URL: u.String(), Key: key, Queue: u.QueueKey(), Hops: hops, Via: via.String(), Source: source,
		Precedence: precedence(u, hops)}
}

// precedence has the rules of a host come first, then seeds, then parts of pages, then the others.
func precedence(u weburl.URL, hops string) uint8 {
	switch {
	case isRobots(u):
		return 0
	case hops == "":
		return 1
	case hops[len(hops)-1] == byte(extract.Embed), hops[len(hops)-1] == byte(extract.Redirect):
		return 2
	}
	return 3
}

// work fetches one URL after the other.
func (j *Job) work(ctx context.Context, worker int) error {
	for {
		l, err := j.frontier.Take(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		v, err := j.visit(ctx, l, worker)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		select { // what was fetched is written down, also when the work is told to end
		case j.visits <- v:
		case <-j.broken:
			return v.close()
		}
	}
}
