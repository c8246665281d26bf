package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// CrawlFlags are the flags of `holdfast crawl`. What is empty or nil has a default.
type CrawlFlags struct {
	Job, Contact         string
	Seeds                []string
	SeedsFile            string
	WARCDir              string
	DelayFactor          *float64
	MinDelay, MaxDelay   *time.Duration
	PerHost, Workers     int
	AllowAddresses       []string
	UserAgent            string
	Again                bool
	DataDir, Listen, Log string
}

// Crawl makes a plan of the command line: one job as a configuration file would have it. Without seeds it is the job as it ran
// last, and flags are stronger than what that had.
func Crawl(f CrawlFlags, env func(string) (string, bool), log *slog.Logger) (*Plan, error) {
	if why := badName("job", f.Job); why != "" {
		return nil, usage("", "--job: %s", why)
	}
	place, err := Locate(f.DataDir, filepath.Join(crawlKind, f.Job))
	if err != nil {
		return nil, err
	}
	work, err := f.work(place)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(tree{{Key: "jobs", Value: tree{{Key: f.Job, Value: tree{{Key: crawlKind, Value: work}}}}}})
	if err != nil {
		return nil, err
	}
	c, err := Parse("command line", text, env)
	if err != nil {
		return nil, byCrawlFlags(err)
	}
	p, err := c.planAt(place, orElse(f.Listen, NoListen), log)
	if err != nil {
		return nil, err
	}
	p.config, p.Once = nil, true
	w := p.Jobs[0].work.(*crawlConfig)
	w.once, w.again = true, f.Again
	return p, nil
}

// work is the part of a configuration that the flags stand for.
func (f CrawlFlags) work(place Place) (tree, error) {
	var work tree
	if len(f.Seeds) == 0 && f.SeedsFile == "" {
		last, err := lastCrawl(configFile(place.Dir, f.Job))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage("give URLs, or a file of them with --seeds", "there are no seeds, and in %s is no crawl %s to go on with", place.Dir, f.Job)
		}
		if err != nil {
			return nil, err
		}
		work = last
	}
	seeds := f.Seeds
	if f.SeedsFile != "" {
		more, err := ReadSeeds(f.SeedsFile)
		if err != nil {
			return nil, err
		}
		if seeds = append(slices.Clone(seeds), more...); len(seeds) == 0 {
			return nil, usage("", "%s has no seed", f.SeedsFile)
		}
	}
	if len(seeds) > 0 {
		set(&work, "seeds", seeds)
	}
	for _, item := range some("contact", f.Contact, "user_agent", f.UserAgent, "workers", f.Workers, "per_host", f.PerHost,
		"logs", absolute(f.Log)) {
		set(&work, item.Key.(string), item.Value)
	}
	if f.WARCDir != "" {
		set(&work, "warc", tree{{Key: "directory", Value: absolute(f.WARCDir)}})
	}
	if len(f.AllowAddresses) > 0 {
		set(&work, "allow_addresses", f.AllowAddresses)
	}
	settings, _ := get(work, "settings").(tree)
	if f.DelayFactor != nil {
		set(&settings, "delay_factor", *f.DelayFactor)
	}
	if f.MinDelay != nil {
		set(&settings, "min_delay", f.MinDelay.String())
	}
	if f.MaxDelay != nil {
		set(&settings, "max_delay", f.MaxDelay.String())
	}
	if len(settings) > 0 {
		set(&work, "settings", settings)
	}
	return work, nil
}

// lastCrawl is the configuration of a crawl as it ran last.
func lastCrawl(file string) (tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var whole tree
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return nil, fmt.Errorf("read the configuration that the crawl had: %s: %w", file, err)
	}
	work, ok := get(whole, crawlKind).(tree)
	if !ok {
		return nil, usage("give the crawl another name with --job", "%s is no configuration of a crawl", file)
	}
	return work, nil
}

func get(t tree, key string) any {
	for _, item := range t {
		if item.Key == key {
			return item.Value
		}
	}
	return nil
}

// set puts a value in the place of the one that the key has.
func set(t *tree, key string, value any) {
	for i, item := range *t {
		if item.Key == key {
			(*t)[i].Value = value
			return
		}
	}
	*t = append(*t, yaml.MapItem{Key: key, Value: value})
}

// crawlFlag are the flags by the keys that they stand for.
var crawlFlag = map[string]string{"seeds": "SEED", "contact": "--contact", "user_agent": "--user-agent", "workers": "--workers",
	"per_host": "--per-host", "allow_addresses": "--allow-address", "warc.directory": "--warc-dir",
	"settings.delay_factor": "--delay-factor", "settings.min_delay": "--min-delay", "settings.max_delay": "--max-delay"}

// byCrawlFlags is a complaint about flags, which have names of their own and no lines.
func byCrawlFlags(err error) error {
	all, ok := errors.AsType[Mistakes](err)
	if !ok {
		return err
	}
	out := slices.Clone(all)
	for i := range out {
		out[i].Line, out[i].Column = 0, 0
		_, key, _ := strings.Cut(out[i].Path, "."+crawlKind)
		if key = strings.TrimPrefix(key, "."); crawlFlag[key] != "" {
			out[i].Path = crawlFlag[key]
		} else if key == "" {
			out[i].Path = ""
		}
	}
	return out
}
