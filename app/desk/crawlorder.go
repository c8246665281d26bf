package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/crawl"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/index"
	"holdfast/job/crawl/journal"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// What people ask of crawls, and are told.
type (
	CrawlWhy    = crawl.Why
	CrawlReport = crawl.Report
	CrawlAsked  = crawl.Asked
)

// CrawlReports are the names of the reports.
var CrawlReports = crawl.Reports

// CrawlOrder is what a person asks of a crawl, beside the name of the order.
type CrawlOrder struct {
	crawl.Order
	// Files are recover journals, the oldest first; RetryFailed has URLs be fetched that failed there.
	Files       []string `json:"files,omitempty"`
	RetryFailed bool     `json:"retry_failed,omitempty"`
	// Rebuild has the index made anew from the WARC files alone.
	Rebuild bool `json:"rebuild,omitempty"`
}

// crawlOrders are the names of the orders.
var crawlOrders = []string{"add", "delete", "hold", "unhold", "budget", "set", "drain", "terminate", "recover", "lost", "index"}

// crawlWork is the configuration of a crawl.
func (d *Desk) crawlWork(job string) (crawl.Config, error) {
	if _, err := d.only(job); err != nil {
		return crawl.Config{}, err
	}
	j, _ := d.plan.Job(job)
	cfg, ok := d.plan.Crawl(j)
	if !ok {
		return crawl.Config{}, fault.New(fault.Invalid, "job %s is no crawl", job)
	}
	return cfg, nil
}

// CrawlWhy says what is known of a URL, and why it is fetched or not.
func (d *Desk) CrawlWhy(ctx context.Context, job string, ask CrawlAsked) (why CrawlWhy, err error) {
	cfg, err := d.crawlWork(job)
	if err != nil {
		return why, err
	}
	err = d.view(ctx, job, func(r store.Reader) (err error) {
		why, err = crawl.ExplainURL(r, cfg, ask)
		return err
	})
	if err != nil {
		return why, err
	}
	flying, err := d.flying(ctx, job)
	for _, f := range flying {
		if f.URL == why.URL && why.State == "queued" {
			why.State = "in flight"
		}
	}
	return why, err
}

// flying are the URLs in flight: none if the crawl does not run.
func (d *Desk) flying(ctx context.Context, job string) (all []crawl.Flight, err error) {
	text, err := d.Command(ctx, job, "leases")
	if fault.Is(err, fault.Transient) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &all)
	}
	return all, err
}

// CrawlReport returns a page of a report: at most n rows, from behind after.
func (d *Desk) CrawlReport(ctx context.Context, job, name, after string, n int) (rep CrawlReport, err error) {
	cfg, err := d.crawlWork(job)
	if err != nil {
		return rep, err
	}
	err = d.view(ctx, job, func(r store.Reader) (err error) {
		rep, err = crawl.ReadReport(r, cfg, name, after, n)
		return err
	})
	rep.Job = job
	if err != nil || rep.Frontier == nil && rep.Crawl == nil {
		return rep, err
	}
	flying, err := d.flying(ctx, job)
	switch {
	case rep.Frontier != nil && flying != nil:
		rep.Frontier.InFlight = flying
	case rep.Crawl != nil && flying != nil && rep.Crawl.Queued+rep.Crawl.Waiting > 0:
		rep.Crawl.State = "RUNNING"
	}
	return rep, err
}

// CrawlOrder carries out an order, and tells what came of it. A crawl that does not run obeys too, but for what only one at
// work can.
func (d *Desk) CrawlOrder(ctx context.Context, job, name string, o CrawlOrder, tell func(Progress)) (string, error) {
	cfg, err := d.crawlWork(job)
	if err != nil {
		return "", err
	}
	for _, known := range crawlOrders {
		if name == known {
			return d.crawlOrder(ctx, job, name, cfg, o, tell)
		}
	}
	return "", fault.WithHint(fault.New(fault.NotFound, "a crawl can't %.100q", name), "orders are: %s",
		strings.Join(crawlOrders, ", "))
}

func (d *Desk) crawlOrder(ctx context.Context, job, name string, cfg crawl.Config, o CrawlOrder, tell func(Progress)) (string, error) {
	if name == "recover" || name == "index" && o.Rebuild {
		if d.eng != nil {
			return "", fault.WithHint(fault.New(fault.Conflict, "holdfast runs crawl %s: that is for one at rest", job),
				"stop it first")
		}
		w := d.begin(job, name, tell)
		defer w.end()
		if name == "index" {
			return rebuildIndex(ctx, cfg, w)
		}
		_, text, err := d.recoverCrawl(ctx, job, cfg, o, w)
		return text, err
	}
	b, err := json.Marshal(o.Order)
	if err != nil {
		return "", err
	}
	text, err := d.Command(ctx, job, name, string(b))
	if !fault.Is(err, fault.Transient) || name == "terminate" {
		return text, err
	}
	cfg.Fixed = d.eng != nil && !cfg.Once // as the job has it that runs
	atRest := func() error {
		text, err = d.crawlAtRest(ctx, job, cfg, name, string(b))
		return err
	}
	if d.eng != nil {
		return text, errors.Join(d.eng.Offline(ctx, job, atRest))
	}
	return text, atRest()
}

func (d *Desk) crawlAtRest(ctx context.Context, job string, cfg crawl.Config, name, order string) (text string, err error) {
	err = d.plan.AtRest(job, func(env engine.Env) error {
		text, err = crawl.AtRest(ctx, env, cfg, name, []string{order})
		return err
	})
	return text, err
}

func rebuildIndex(ctx context.Context, cfg crawl.Config, w *Work) (string, error) {
	r, err := index.Rebuild(ctx, cfg.Archive.Dir, func(files, of int) { w.at(int64(files), int64(of)) })
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("index.cdxj has %s of %s", plural.Of(r.Captures, "capture"), plural.Of(r.Files, "WARC file"))
	for _, bad := range r.Damaged {
		text += fmt.Sprintf("; %s: %v", bad.File, bad.Err)
	}
	return text, nil
}

// recoverCrawl has a crawl know what the recover journals of another one tell.
func (d *Desk) recoverCrawl(ctx context.Context, job string, cfg crawl.Config, o CrawlOrder, w *Work) (rep journal.Report, text string, err error) {
	if len(o.Files) == 0 {
		return rep, "", fault.New(fault.Invalid, "there is no recover journal to read")
	}
	err = d.plan.AtRest(job, func(env engine.Env) error {
		items, err := crawl.Recovering(env.Store, cfg)
		if err != nil {
			return err
		}
		f, err := frontier.Open(env.Store, frontier.Options{})
		if err != nil {
			return err
		}
		into, err := f.Importer()
		if err != nil {
			return err
		}
		rep, err = journal.Import(ctx, env.Store, into, o.Files, journal.Options{Item: items, RetryFailed: o.RetryFailed,
			Progress: func(r journal.Report) { w.at(r.Lines, 0) }})
		if err != nil {
			return err
		}
		text = fmt.Sprintf("%s: %s ended, %d queued, %d out of scope, nothing told by %s", plural.Of(rep.Lines, "line"), plural.Of(rep.Ended, "URL"), rep.Queued,
			rep.Foreign, plural.Of(rep.Bad, "line"))
		if rep.Again {
			text = "these journals were imported before; nothing was done"
		}
		for _, cut := range rep.Cut {
			text += "; cut off: " + cut
		}
		env.History.Note("crawl.recovered", "recover journals were imported: %s", text)
		return nil
	})
	return rep, text, err
}
