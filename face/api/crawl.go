package api

import (
	"context"
	"path/filepath"

	"holdfast/app/desk"
	"holdfast/base/fault"
)

// maxReportRows is how many rows a page of a report has at most.
const maxReportRows = 10_000

// crawlRoutes are for crawls.
func crawlRoutes(d *desk.Desk) map[string]work {
	return map[string]work{
		"GET /api/v1/jobs/{job}/crawl/why": func(ctx context.Context, c *call) (any, error) {
			return d.CrawlWhy(ctx, c.job(), desk.CrawlAsked{URL: c.FormValue("url"), Hops: c.FormValue("hops"),
				Via:    c.FormValue("via"),
				Source: c.FormValue("source")})
		},
		"GET /api/v1/jobs/{job}/crawl/reports/{report}": func(ctx context.Context, c *call) (any, error) {
			max, err := c.number("max", 1000)
			if err != nil {
				return nil, err
			}
			return d.CrawlReport(ctx, c.job(), c.PathValue("report"), c.FormValue("after"), int(min(max, maxReportRows)))
		},
		"POST /api/v1/crawls": func(ctx context.Context, c *call) (any, error) {
			var o desk.NewCrawl
			if err := c.body(&o); err != nil {
				return nil, err
			}
			if err := absolute(o.Files); err != nil {
				return nil, err
			}
			return d.BeginCrawl(ctx, o, c.tell)
		},
		"POST /api/v1/jobs/{job}/crawl/{order}": func(ctx context.Context, c *call) (any, error) {
			o, err := c.crawlOrder()
			if err != nil {
				return nil, err
			}
			return said(d.CrawlOrder(ctx, c.job(), c.PathValue("order"), o, c.tell))
		},
	}
}

// crawlOrder reads what is ordered of a crawl.
func (c *call) crawlOrder() (o desk.CrawlOrder, err error) {
	if err := c.body(&o); err != nil {
		return o, err
	}
	return o, absolute(o.Files)
}

func absolute(paths []string) error {
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return fault.New(fault.Invalid, "want absolute paths, got %q", p)
		}
	}
	return nil
}
