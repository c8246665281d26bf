package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/job/crawl"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// CrawlFlags are the flags of `holdfast crawl`. What is empty or nil has a default.
type CrawlFlags struct {
	Job, Contact       string
	Seeds              []string
	SeedsFile          string
	WARCDir            string
	DelayFactor        *float64
	MinDelay, MaxDelay *time.Duration
	PerHost, Workers   int
	AllowAddresses     []string
	UserAgent          string
	Again, RecoverLog  bool
	Beside             bool
	MaxURLs            *uint64
	MaxBytes           string // such as 20GiB
	Dedupe             []string
	// From is a checkpoint to go back to: its name, "latest", or its directory, which may be another job's.
	From string
	// Paused has the crawl wait for `holdfast resume`.
	Paused          bool
	DataDir, Listen string
}

// Crawl makes a plan of the command line: one job as a configuration file would have it. Without seeds it is the job as it ran
// last, and flags are stronger than what that had.
func Crawl(f CrawlFlags, env func(string) (string, bool), log *slog.Logger) (*Plan, error) {
	if why := identifier.Check("job", f.Job); why != "" {
		return nil, fault.NewUsage("", "--job: %s", why)
	}
	place, err := datadir.Locate(f.DataDir, filepath.Join(CrawlKind, f.Job))
	if err != nil {
		return nil, err
	}
	var from checkpoint.Checkpoint
	if f.From != "" {
		if from, err = f.checkpoint(place, log); err != nil {
			return nil, err
		}
	}
	work, err := f.work(place, from)
	if err != nil {
		return nil, err
	}
	if f.From != "" {
		if err := tellDifferences(work, from, log); err != nil {
			return nil, err
		}
	}
	text, err := yaml.Marshal(tree{{Key: "jobs", Value: tree{{Key: f.Job, Value: tree{{Key: CrawlKind, Value: work}}}}}})
	if err != nil {
		return nil, err
	}
	c, err := Parse("command line", text, env)
	if err != nil {
		return nil, byCrawlFlags(err)
	}
	p, err := c.PlanAt(place, orElse(f.Listen, NoListen), log)
	if err != nil {
		return nil, err
	}
	p.config, p.Once = nil, true
	w := p.Jobs[0].work.(*crawlConfig)
	w.once, w.again, w.beside, w.given = true, f.Again, f.Beside, f.given()
	if f.From == "" && !f.Beside { // told at once: the job would try again and again
		dir := engine.JobDir(p.Place.Dir, f.Job)
		if noStore(dir) {
			if err := crawl.Alone(w.job(p.Place.Dir, f.Job, nil, nil).Archive, dir); err != nil {
				return nil, err
			}
		}
	}
	if f.From != "" || f.Paused {
		p.before = func(ctx context.Context) error { return f.restore(ctx, p, from) }
	}
	return p, nil
}

// noStore reports whether the directory of a crawl has no store. What else may be there says nothing without one.
func noStore(dir string) bool {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		switch e.Name() {
		case crawl.FlightsFile, filepath.Base(configFile("", "")), "LOCK", "checkpoints":
		default:
			return false
		}
	}
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// latest is the word for the checkpoint that was made last, of those that are whole.
const latest = "latest"

// checkpoint finds the one to go back to.
func (f CrawlFlags) checkpoint(place datadir.Place, log *slog.Logger) (checkpoint.Checkpoint, error) {
	if strings.ContainsRune(f.From, filepath.Separator) || f.From == "." {
		return checkpoint.Read(absolute(f.From))
	}
	dir := engine.JobDir(place.Dir, f.Job)
	all, err := checkpoint.List(dir, checkpoint.Work{})
	if err != nil {
		return checkpoint.Checkpoint{}, err
	}
	for _, c := range slices.Backward(all) {
		switch {
		case c.Name == f.From && c.Err != nil:
			return c, fmt.Errorf("checkpoint %s: %w", c.Name, c.Err)
		case c.Name == f.From:
			return c, nil
		case f.From != latest:
			continue
		}
		err := c.Err
		if v, judged := c.Judged(); err == nil && judged && v.Bad != "" {
			err = errors.New(v.Bad)
		}
		if err == nil { // it may be damaged, and nobody has looked yet
			var found checkpoint.Report
			if found, err = checkpoint.Verify(context.Background(), c.Path, checkpoint.Work{}); err == nil {
				err = found.Err()
			}
		}
		if err == nil {
			return c, nil
		}
		log.Warn(fmt.Sprintf("checkpoint %s is passed over: %v", c.Name, err))
	}
	return checkpoint.Checkpoint{}, fault.NewUsage("see `holdfast checkpoint ls "+f.Job+"`",
		"crawl %s has no checkpoint %s in %s", f.Job, f.From, dir)
}

// restore takes the job back to a checkpoint, and has it wait if that is asked for. The directory is locked.
func (f CrawlFlags) restore(ctx context.Context, p *Plan, from checkpoint.Checkpoint) (err error) {
	dir := engine.JobDir(p.Place.Dir, f.Job)
	if f.From != "" {
		if err := disk.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		_, quarantine, err := checkpoint.ReplaceFrom(ctx, dir, from.Path, checkpoint.Work{})
		if err != nil {
			return err
		}
		p.Log.Info(fmt.Sprintf("crawl %s is as it was at checkpoint %s of %s", f.Job, from.Name, from.Created.Format(time.DateTime)))
		if quarantine != "" {
			p.Log.Info("the state that it had is kept in " + quarantine)
		}
	}
	if _, err := checkpoint.Recover(dir, checkpoint.Work{}); err != nil {
		return err
	}
	st, err := store.Open(dir, store.Options{Log: p.Log})
	if err != nil {
		return err
	}
	return errors.Join(engine.SetPaused(st, f.Paused), st.Close()) // whatever it was when the checkpoint was made
}

// known is the configuration that the flags change: that of the checkpoint or of the crawl that goes on, empty for a crawl that
// is begun.
func (f CrawlFlags) known(place datadir.Place, from checkpoint.Checkpoint) (tree, error) {
	switch {
	case f.From != "":
		return crawlOf([]byte(from.Config), "checkpoint "+from.Name)
	case len(f.Seeds) > 0 || f.SeedsFile != "":
		return nil, nil
	}
	file := configFile(place.Dir, f.Job)
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !noStore(engine.JobDir(place.Dir, f.Job)):
		return nil, fault.NewUsage("give its seeds and flags again; what it has crawled is still there",
			"how crawl %s ran last is not known any more: %s is gone", f.Job, file)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.NewUsage("give URLs, or a file of them with --seeds",
			"there are no seeds, and in %s is no crawl %s to go on with", place.Dir, f.Job)
	case err != nil:
		return nil, err
	}
	return crawlOf(text, file)
}

// work is the part of a configuration that the flags stand for.
func (f CrawlFlags) work(place datadir.Place, from checkpoint.Checkpoint) (tree, error) {
	work, err := f.known(place, from)
	if err != nil {
		return nil, err
	}
	seeds := f.Seeds
	if f.SeedsFile != "" {
		more, err := ReadSeeds(f.SeedsFile)
		if err != nil {
			return nil, &fault.Usage{Err: err}
		}
		if seeds = append(slices.Clone(seeds), more...); len(seeds) == 0 {
			return nil, fault.NewUsage("", "%s has no seed", f.SeedsFile)
		}
	}
	if len(seeds) > 0 {
		set(&work, "seeds", seeds)
	}
	for _, item := range some("contact", f.Contact, "user_agent", f.UserAgent, "workers", f.Workers, "per_host", f.PerHost,
		"recover_log", f.RecoverLog) {
		set(&work, item.Key.(string), item.Value)
	}
	if f.WARCDir != "" {
		set(&work, "warc", tree{{Key: "directory", Value: absolute(f.WARCDir)}})
	}
	if len(f.AllowAddresses) > 0 {
		set(&work, "allow_addresses", f.AllowAddresses)
	}
	if len(f.Dedupe) > 0 {
		var paths []string
		for _, p := range f.Dedupe {
			if _, err := os.Stat(p); err != nil {
				return nil, fault.NewUsage("give the index.cdxj of an earlier crawl, or its directory", "--dedupe: %v", err)
			}
			paths = append(paths, absolute(p))
		}
		set(&work, "dedupe", paths)
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
	limits, _ := get(work, "limits").(tree)
	if f.MaxURLs != nil {
		set(&limits, "urls", *f.MaxURLs)
	}
	if f.MaxBytes != "" {
		set(&limits, "bytes", f.MaxBytes)
	}
	if len(limits) > 0 {
		set(&work, "limits", limits)
	}
	return work, nil
}

// tellDifferences says in what a crawl that goes back to a checkpoint is to be other than it was there, because flags say so.
func tellDifferences(work tree, from checkpoint.Checkpoint, log *slog.Logger) error {
	was, err := crawlOf([]byte(from.Config), "checkpoint "+from.Name)
	if err != nil {
		return err
	}
	before, now := leaves(was, ""), leaves(work, "")
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if old, had := before[key]; !had {
			log.Info(fmt.Sprintf("%s is %s; the checkpoint does not have it", key, now[key]))
		} else if old != now[key] {
			log.Info(fmt.Sprintf("%s is %s; at the checkpoint it was %s", key, now[key], old))
		}
	}
	return nil
}

// leaves are the values of a tree by their paths.
func leaves(t tree, path string) map[string]string {
	all := map[string]string{}
	for _, item := range t {
		key := path + fmt.Sprint(item.Key)
		if below, ok := item.Value.(tree); ok {
			maps.Copy(all, leaves(below, key+"."))
		} else {
			all[key] = fmt.Sprint(item.Value)
		}
	}
	return all
}

// given are the keys of what stands above what a person ordered while it ran.
func (f CrawlFlags) given() (keys []string) {
	for key, yes := range map[string]bool{"delay_factor": f.DelayFactor != nil, "min_delay": f.MinDelay != nil, "max_delay": f.MaxDelay != nil,
		"limits": f.MaxURLs != nil || f.MaxBytes != ""} {
		if yes {
			keys = append(keys, key)
		}
	}
	return keys
}

// crawlOf is the configuration of a crawl in what was kept of it.
func crawlOf(text []byte, name string) (tree, error) {
	var whole tree
	if err := yaml.UnmarshalWithOptions(text, &whole, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("read the configuration that the crawl had: %s: %w", name, err)
	}
	work, ok := get(whole, CrawlKind).(tree)
	if !ok {
		return nil, fault.NewUsage("", "%s has no configuration of a crawl", name)
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
	"settings.delay_factor": "--delay-factor", "settings.min_delay": "--min-delay", "settings.max_delay": "--max-delay",
	"limits.bytes": "--max-bytes"}

// seedNumber is in front of a complaint about one of the seeds, which people see in front of them.
var seedNumber = regexp.MustCompile(`^\[[0-9]+\]: seed `)

// byCrawlFlags is a complaint about flags, which have names of their own and no lines.
func byCrawlFlags(err error) error {
	all, ok := errors.AsType[Mistakes](err)
	if !ok {
		return err
	}
	out := slices.Clone(all)
	for i := range out {
		out[i].Line, out[i].Column = 0, 0
		out[i].Text = seedNumber.ReplaceAllString(out[i].Text, "")
		key := ""
		if parts := strings.SplitN(out[i].Path, ".", 4); len(parts) == 4 { // jobs, its name, which may be that of the kind, and that
			key = parts[3]
		}
		if crawlFlag[key] != "" {
			out[i].Path = crawlFlag[key]
		} else if key == "" {
			if out[i].Path = ""; strings.HasPrefix(out[i].Text, "contact ") {
				out[i].Text = "--" + out[i].Text
			}
		}
	}
	return out
}
