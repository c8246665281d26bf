package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
)

// crawlOrder is a command that gives a crawl an order; fill makes it of what stands behind the name of the job.
func (f *face) crawlOrder(use, short string, min, max int, fill func(o *desk.CrawlOrder, args []string) error) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return f.asking(&cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < min+1 || max >= 0 && len(args) > max+1 {
				return &fault.Usage{Err: fmt.Errorf("want `holdfast crawl %s`, got %d words behind it", use, len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var o desk.CrawlOrder
			if err := fill(&o, args[1:]); err != nil {
				return err
			}
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				var said struct {
					Text string `json:"text"`
				}
				err := f.long(cmd.Context(), a, path(job, "crawl", name), o, &said)
				return f.tell(err, said, fmt.Sprintf("crawl %s: %s", job, said.Text))
			})
		},
	})
}

func nothing(*desk.CrawlOrder, []string) error { return nil }

func host(o *desk.CrawlOrder, args []string) error { o.Host = args[0]; return nil }

// crawlOrders are the commands below crawl.
func (f *face) crawlOrders() []*cobra.Command {
	return []*cobra.Command{f.crawlWhy(), f.crawlReport(), f.crawlAdd(), f.crawlDelete(),
		f.crawlOrder("hold JOB HOST", "Ask a host no more, until unhold", 1, 1, host),
		f.crawlOrder("unhold JOB HOST", "Let a host that was held go on", 1, 1, host),
		f.crawlBudget(), f.crawlSet(),
		f.crawlOrder("drain JOB", "Queue no new URL any more; end when the queues are empty", 0, 0, nothing),
		f.crawlOrder("terminate JOB", "End a crawl; what is queued stays", 0, 0, nothing),
		f.crawlRecover(), f.crawlLost(), f.crawlIndex(), f.crawlBegin()}
}

func (f *face) crawlAdd() *cobra.Command {
	var file string
	c := f.crawlOrder("add JOB [URL...]", "Add seeds", 0, -1, func(o *desk.CrawlOrder, args []string) (err error) {
		o.Seeds = args
		if file != "" {
			more, err := app.ReadSeeds(file)
			if err != nil {
				return err
			}
			o.Seeds = append(o.Seeds[:len(o.Seeds):len(o.Seeds)], more...)
		}
		return nil
	})
	c.Flags().StringVar(&file, "seeds", "", "file of seeds, one a line")
	return c
}

func (f *face) crawlDelete() *cobra.Command {
	var match, host string
	var forget bool
	c := f.crawlOrder("delete JOB", "Take URLs out of the queues", 0, 0, func(o *desk.CrawlOrder, _ []string) error {
		o.Match, o.Host, o.Forget = match, host, forget
		return nil
	})
	c.Flags().StringVar(&match, "match", "", "regular expression (RE2) that is found in the URL")
	c.Flags().StringVar(&host, "host", "", "only those of this host")
	c.Flags().BoolVar(&forget, "forget", false, "have them be new when they are found again")
	return c
}

func (f *face) crawlBudget() *cobra.Command {
	var urls, hostURLs, bytes, hostBytes amount
	var host string
	var asOthers bool
	var c *cobra.Command
	c = f.crawlOrder("budget JOB", "Show or set how much is fetched at most; 0 is no limit", 0, 0, func(o *desk.CrawlOrder,
		_ []string) error {
		o.Host, o.AsOthers = host, asOthers
		for name, x := range map[string]struct {
			from *amount
			to   **uint64
		}{"urls": {&urls, &o.URLs}, "bytes": {&bytes, &o.Bytes}, "host-urls": {&hostURLs, &o.HostURLs}, "host-bytes": {&hostBytes, &o.HostBytes}} {
			if c.Flags().Changed(name) {
				*x.to = (*uint64)(x.from)
			}
		}
		return nil
	})
	c.Flags().Var(&urls, "urls", "URLs in all, or of --host")
	c.Flags().Var(&bytes, "bytes", "bytes in all, or of --host")
	c.Flags().StringVar(&host, "host", "", "the budget of this host alone")
	c.Flags().BoolVar(&asOthers, "as-others", false, "--host has that of every host again")
	c.Flags().Var(&hostURLs, "host-urls", "URLs of each host")
	c.Flags().Var(&hostBytes, "host-bytes", "bytes of each host")
	for _, name := range []string{"urls", "bytes", "host-urls", "host-bytes"} {
		c.Flags().Lookup(name).DefValue = "" // as it is
	}
	return c
}

func (f *face) crawlSet() *cobra.Command {
	return f.crawlOrder("set JOB KEY=VALUE...", "Change settings at once; KEY= takes a change back", 1, -1,
		func(o *desk.CrawlOrder, args []string) error {
			o.Set = map[string]string{}
			for _, arg := range args {
				key, value, ok := strings.Cut(arg, "=")
				if !ok {
					return &fault.Usage{Err: fmt.Errorf("want key=value, got %q", arg)}
				}
				o.Set[key] = value
			}
			return nil
		})
}

func (f *face) crawlRecover() *cobra.Command {
	var retry bool
	c := f.crawlOrder("recover JOB FILE...", "Know what recover journals tell, of a crawl at rest", 1, -1,
		func(o *desk.CrawlOrder, args []string) error {
			for _, name := range args {
				p, err := filepath.Abs(name)
				if err != nil {
					return err
				}
				o.Files = append(o.Files, p)
			}
			o.RetryFailed = retry
			return nil
		})
	c.Flags().BoolVar(&retry, "retry-failed", false, "fetch URLs that failed there")
	return c
}

// crawlBegin begins another crawl.
func (f *face) crawlBegin() *cobra.Command {
	var o desk.NewCrawl
	c := f.asking(&cobra.Command{
		Use:   "begin NAME --like JOB",
		Short: "Begin another crawl with what a checkpoint or journals tell",
		Long: "Begin another crawl of the configuration of JOB, with what a checkpoint of it or\n" +
			"recover journals tell. Its WARC files and logs are its own. Where holdfast runs\n" +
			"a configuration it starts at once, and runs at each later start too, by\n" +
			"jobs/NAME/job.yaml in the data directory. Else the lines that a configuration\n" +
			"needs are printed, and nothing is started.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			for i, name := range o.Files {
				p, err := filepath.Abs(name)
				if err != nil {
					return err
				}
				o.Files[i] = p
			}
			return f.withJob(cmd.Context(), o.Like, func(a asked, job string) error {
				var out desk.BegunCrawl
				o.Like = job
				err := f.long(cmd.Context(), a, "/api/v1/crawls", o, &out)
				text := out.Text + "; it is not started"
				if out.Runs {
					text = out.Text + "; it runs"
				}
				if out.File != "" {
					text += ", and does so at each start by " + out.File
				}
				if err := f.tell(err, out, text+". Below jobs: of a configuration it is:"); err != nil || f.json {
					return err
				}
				_, err = fmt.Fprint(f.out, out.Config)
				return err
			})
		},
	})
	c.Flags().StringVar(&o.Like, "like", "", "the crawl whose configuration it takes")
	c.Flags().StringVar(&o.Checkpoint, "checkpoint", "", "a checkpoint of that crawl to begin with")
	c.Flags().StringArrayVar(&o.Files, "journal", nil, "a recover journal to begin with; may be repeated")
	c.Flags().BoolVar(&o.RetryFailed, "retry-failed", false, "fetch URLs that failed there")
	return c
}

func (f *face) crawlLost() *cobra.Command {
	var fetch, accept bool
	c := f.crawlOrder("lost JOB", "WARC files and logs that are gone, and what is to be done", 0, 0,
		func(o *desk.CrawlOrder, _ []string) error {
			if o.Fetch, o.Accept = fetch, accept; fetch && accept {
				return &fault.Usage{Err: errors.New("--fetch and --accept: what is gone is either fetched again or left at that")}
			}
			return nil
		})
	c.Long = "Which WARC files and logs are gone, or are not as they were written. Of a crawl\n" +
		"that does not run they can be given up: then it goes on without them."
	c.Flags().BoolVar(&fetch, "fetch", false, "have what was in the WARC files fetched again")
	c.Flags().BoolVar(&accept, "accept", false, "leave it at that; they were moved away, say")
	return c
}

func (f *face) crawlIndex() *cobra.Command {
	var rebuild bool
	c := f.crawlOrder("index JOB", "Write index.cdxj of the captures until now", 0, 0, func(o *desk.CrawlOrder,
		_ []string) error {
		o.Rebuild = rebuild
		return nil
	})
	c.Flags().BoolVar(&rebuild, "rebuild", false, "from the WARC files alone, of a crawl at rest")
	return c
}
