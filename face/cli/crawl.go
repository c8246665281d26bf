package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
)

// crawlFlags are those of `holdfast crawl`.
type crawlFlags struct {
	app.CrawlFlags
	factor   float64
	maxURLs  amount
	min, max length
	log      logFlags
}

// amount is a flag that is a number.
type amount uint64

func (a *amount) String() string { return strconv.FormatUint(uint64(*a), 10) }
func (a *amount) Type() string   { return "uint" }

func (a *amount) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return errors.New("want a whole number from 0")
	}
	*a = amount(n)
	return nil
}

// crawlCommand archives web sites.
func (f *face) crawlCommand() *cobra.Command {
	k := new(crawlFlags)
	c := &cobra.Command{
		Use:   "crawl --job NAME --contact MAIL SEED...",
		Short: "Archive web sites into WARC files, and go on after any crash",
		Long: "Fetch the seeds and all that their hosts have, politely, into WARC files. Ends\n" +
			"when nothing is left to fetch, or the budget is used up. Killed at any moment,\n" +
			"the same command goes on where it was; without seeds it goes on as it ran last.",
		Example: "  holdfast crawl --job manual --contact me@example.org https://www.example.org/\n" +
			"  holdfast crawl --job sites --contact me@example.org --seeds sites.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			k.Seeds = args
			return f.withLog(k.log, true, func(log *slog.Logger) error { return f.crawl(cmd, k, log) })
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&k.Job, "job", "crawl", "name of the crawl")
	fs.StringVar(&k.Contact, "contact", "", "mail address or URL of who answers for it; servers are told")
	fs.StringVar(&k.SeedsFile, "seeds", "", "file of seeds, one a line")
	fs.StringVar(&k.WARCDir, "warc-dir", "", "where the WARC files go (default warc/NAME in the data directory)")
	fs.Float64Var(&k.factor, "delay-factor", 5, "a host is left alone for so many times what its last answer took,")
	fs.Var(&k.min, "min-delay", "but at least for so long (default 3s)")
	fs.Var(&k.max, "max-delay", "and at most for so long (default 30s)")
	for _, name := range []string{"min-delay", "max-delay"} {
		fs.Lookup(name).DefValue = ""
	}
	fs.IntVar(&k.PerHost, "per-host", 1, "URLs of a host at once, for one's own sites")
	fs.IntVar(&k.Workers, "workers", 50, "URLs at once")
	fs.StringArrayVar(&k.AllowAddresses, "allow-address", nil, "network that may be asked though it is not public, such as 10.1.0.0/16")
	fs.Var(&k.maxURLs, "max-urls", "URLs that are fetched at most; 0 is all")
	fs.Lookup("max-urls").DefValue = ""
	fs.StringVar(&k.MaxBytes, "max-bytes", "", "what is fetched at most, such as 20GiB (default all)")
	fs.StringVar(&k.UserAgent, "user-agent", "", "what servers are told in the place of holdfast and the contact")
	fs.BoolVar(&k.Again, "again", false, "if it is over, begin again: what did not change is kept as a revisit")
	fs.BoolVar(&k.Beside, "beside", false, "begin anew where WARC files of a crawl of that name are")
	fs.StringArrayVar(&k.Dedupe, "dedupe", nil, "index.cdxj of an earlier crawl, or a directory of them: what it has is a revisit")
	fs.BoolVar(&k.RecoverLog, "recover-log", false, "keep a recover journal, frontier.recover.gz")
	fs.StringVar(&k.From, "from", "", "go back to a checkpoint first: its NAME, latest, or its directory")
	fs.BoolVar(&k.Paused, "paused", false, "wait until holdfast resume")
	f.processFlags(c, &k.log)
	fs.StringVar(&k.Listen, "listen", "", "address of the API (default none)")
	c.AddCommand(f.crawlOrders()...)
	return c
}

func (f *face) crawl(cmd *cobra.Command, k *crawlFlags, log *slog.Logger) error {
	fl := k.CrawlFlags
	fl.DataDir = f.dataDir
	changed := cmd.Flags().Changed
	if changed("max-urls") {
		fl.MaxURLs = (*uint64)(&k.maxURLs)
	}
	if changed("delay-factor") {
		fl.DelayFactor = &k.factor
	}
	for name, to := range map[string]struct {
		from *length
		to   **time.Duration
	}{"min-delay": {&k.min, &fl.MinDelay}, "max-delay": {&k.max, &fl.MaxDelay}} {
		if changed(name) {
			*to.to = (*time.Duration)(to.from)
		}
	}
	for _, x := range []struct {
		name  string
		value *int
	}{{"per-host", &fl.PerHost}, {"workers", &fl.Workers}} {
		if !changed(x.name) {
			*x.value = 0 // as the job has it
		} else if *x.value < 1 {
			return &exitError{WrongUsage, fmt.Errorf("--%s: want a number from 1, got %d", x.name, *x.value)}
		}
	}
	plan, err := app.Crawl(fl, os.LookupEnv, log)
	if err != nil {
		return err
	}
	began := time.Now()
	p := &process{plan: plan, log: log, ready: func(*desk.Desk, string) {
		log.Info(fmt.Sprintf("holdfast %s crawls %s, with its state in %s", app.Version, fl.Job, plan.Place.Dir))
	}}
	if err := p.run(cmd.Context()); err != nil {
		return err
	}
	return f.crawlEnded(context.WithoutCancel(cmd.Context()), plan.Place, fl.Job, began)
}

// crawlEnded tells what there is, when the work has ended.
func (f *face) crawlEnded(ctx context.Context, place datadir.Place, job string, began time.Time) error {
	d, err := desk.Open(place, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	now, err := d.CrawlCounts(ctx, job)
	if err != nil {
		return err
	}
	fmt.Fprintf(f.out, "%s %s known: %s fetched (%s), %s failed, %s left alone; in %s\n", count(now.Known), plural.Noun(now.Known, "URL"),
		count(now.Done), disk.Size(uint64(now.Bytes)), count(now.Failed), count(now.Left), span(time.Since(began)))
	if left := now.Queued + now.Waiting; left > 0 {
		if now.Open == 0 {
			return &exitError{LeftOver, fault.WithHint(errors.New("the budget is used up: "+count(left)+" are still to be fetched"),
				"`holdfast crawl budget %s%s` shows and raises it", job, f.sameDir())}
		}
		return &exitError{LeftOver, fault.WithHint(errors.New(count(left)+" are still to be fetched"),
			"`holdfast crawl --job %s%s` goes on with them", job, f.sameDir())}
	}
	return nil
}

// sameDir is what a command needs to work in the directory that this one was given; what else it was given stands there.
func (f *face) sameDir() string {
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-", r)
	}
	switch {
	case f.dataDir == "":
		return ""
	case strings.ContainsFunc(f.dataDir, odd):
		return " --data-dir '" + strings.ReplaceAll(f.dataDir, "'", `'\''`) + "'"
	}
	return " --data-dir " + f.dataDir
}
