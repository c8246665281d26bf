package desk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"holdfast/app"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/identifier"
	"holdfast/base/secret"
	"holdfast/job/crawl/archive"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// NewCrawl is an order to begin a crawl with what another one knows: from a checkpoint, or from recover journals.
type NewCrawl struct {
	Name string `json:"name"` // of the new job
	Like string `json:"like"` // the crawl whose configuration it takes
	// Checkpoint is one of that crawl.
	Checkpoint string `json:"checkpoint,omitempty"`
	// Files are recover journals, the oldest first; RetryFailed has URLs be fetched that failed there.
	Files       []string `json:"files,omitempty"`
	RetryFailed bool     `json:"retry_failed,omitempty"`
}

// BegunCrawl is what came of it.
type BegunCrawl struct {
	Job  string `json:"job"`
	Text string `json:"text"`
	// Config is what a configuration file would have of it below jobs:.
	Config string `json:"config"`
	// File, within the data directory, has that if it was started: by it the crawl runs at each later start, too.
	File string `json:"file,omitempty"`
	Runs bool   `json:"runs"` // it was started
}

func (o NewCrawl) check() error {
	if why := identifier.Check("job", o.Name); why != "" {
		return fault.New(fault.Invalid, "%s", why)
	}
	if (o.Checkpoint == "") == (len(o.Files) == 0) {
		return fault.New(fault.Invalid, "want a checkpoint or recover journals to begin the crawl with, and not both")
	}
	return nil
}

// BeginCrawl makes a job of another crawl's configuration that knows what a checkpoint or journals tell, with a directory of
// WARC files and logs of its own, and starts it where an engine runs a configuration. The other crawl does not notice. A crash
// leaves nothing, or a job directory that nothing runs: it is in the way of another attempt until a person removes it; or, once
// its configuration is written down, the job, which the next start runs.
func (d *Desk) BeginCrawl(ctx context.Context, o NewCrawl, tell func(Progress)) (out BegunCrawl, err error) {
	if err := o.check(); err != nil {
		return out, err
	}
	like, err := d.crawlWork(o.Like)
	if err != nil {
		return out, err
	}
	d.reloading.Lock() // the jobs of the engine change
	defer d.reloading.Unlock()
	// Behind the lock: two who begin the same crawl must not both find the name free, for the one that fails removes the directory.
	dir := engine.JobDir(d.plan.Place.Dir, o.Name)
	if _, err := os.Lstat(dir); err == nil {
		return out, fault.WithHint(fault.New(fault.Conflict, "there is a job %s already", o.Name),
			"choose another name, or remove %s", dir)
	}
	j, text, err := d.jobLike(o.Like, o.Name)
	if err != nil {
		return out, err
	}
	w := d.begin(o.Name, "beginning a crawl", tell)
	defer w.end()
	out = BegunCrawl{Job: o.Name, Config: text}
	if o.Checkpoint != "" {
		out.Text, err = d.crawlOfCheckpoint(ctx, o, like.Archive.Dir, j, w)
	} else {
		out.Text, err = d.crawlOfJournals(ctx, o, j, w)
	}
	if err != nil { // the name is not burnt by an attempt that came to nothing
		return out, errors.Join(err, os.RemoveAll(dir))
	}
	if d.eng == nil || d.plan.Once || strings.Contains(text, secret.Text("x").String()) {
		return out, nil
	}
	s, err := d.plan.Spec(j)
	var file string
	if err == nil {
		file, err = d.plan.KeepBegun(o.Name, text)
	}
	if err != nil {
		return out, errors.Join(err, os.RemoveAll(dir))
	}
	if err := d.eng.Add(s); err != nil {
		return out, fault.WithHint(fmt.Errorf("start crawl %s: %w", o.Name, err), "the next start begins it")
	}
	d.plan.PutBegun(j)
	out.File, out.Runs = file, true
	return out, nil
}

// jobLike is a crawl with the configuration of another one, but for where its files are and what they are called.
func (d *Desk) jobLike(like, name string) (j app.Job, text string, err error) {
	var whole yaml.MapSlice
	if err := yaml.UnmarshalWithOptions([]byte(d.configOf(like)), &whole, yaml.UseOrderedMap()); err != nil {
		return j, "", fmt.Errorf("read the configuration of %s: %w", like, err)
	}
	own := within(whole, app.CrawlKind, func(c yaml.MapSlice) yaml.MapSlice {
		return within(less(c, "logs"), "warc", func(w yaml.MapSlice) yaml.MapSlice { return less(w, "directory", "name", "beside") })
	})
	b, err := yaml.Marshal(own)
	if err != nil {
		return j, "", err
	}
	if j, err = app.ParseJob(name, b); err != nil {
		return j, "", fault.New(fault.Invalid, "the configuration of %s can't be used for another crawl: %w", like, err)
	}
	b, err = yaml.Marshal(yaml.MapSlice{{Key: name, Value: own}})
	return j, string(b), err
}

// within changes what stands below a key.
func within(m yaml.MapSlice, key string, change func(yaml.MapSlice) yaml.MapSlice) yaml.MapSlice {
	out := slices.Clone(m)
	for i, e := range out {
		if inner, ok := e.Value.(yaml.MapSlice); ok && e.Key == key {
			out[i].Value = change(inner)
		}
	}
	return out
}

// less is a mapping without some keys.
func less(m yaml.MapSlice, keys ...string) yaml.MapSlice {
	return slices.DeleteFunc(slices.Clone(m), func(e yaml.MapItem) bool { return slices.Contains(keys, fmt.Sprint(e.Key)) })
}

// crawlOfCheckpoint makes the job of a checkpoint. The WARC files that this knows of get a second name in the directory of the
// new crawl, or are copied where the file system has no links: they have ended, and nobody writes to them.
func (d *Desk) crawlOfCheckpoint(ctx context.Context, o NewCrawl, from string, j app.Job, w *Work) (text string, err error) {
	dir, err := d.findCheckpoint(o.Like, o.Checkpoint)
	if err != nil {
		return "", err
	}
	if _, err := d.restoreNew(ctx, checkpoint.Path(dir, o.Checkpoint), engine.JobDir(d.plan.Place.Dir, o.Name), w); err != nil {
		return "", err
	}
	if err := d.plan.Record([]app.Job{j}); err != nil {
		return "", err
	}
	cfg, _ := d.plan.Crawl(j)
	into := cfg.Archive.Dir
	var lacks []archive.Gone
	err = d.plan.AtRest(o.Name, func(env engine.Env) error {
		return env.Store.Latest(func(r store.Reader) (err error) {
			lacks, err = archive.Losses(r, env.Store.Lineage().String(), into)
			return err
		})
	})
	if err == nil {
		err = disk.MkdirAll(into, 0o755)
	}
	there := 0
	for _, f := range lacks {
		if err != nil {
			break
		}
		err = disk.LinkOrCopy(filepath.Join(from, f.Name), filepath.Join(into, f.Name))
		if errors.Is(err, os.ErrNotExist) { // the start of the crawl tells
			err = nil
			continue
		}
		there++
	}
	return fmt.Sprintf("crawl %s begins with what checkpoint %s of %s knew, and %d of its %d WARC files", o.Name, o.Checkpoint, o.Like, there,
		len(lacks)), err
}

func (d *Desk) crawlOfJournals(ctx context.Context, o NewCrawl, j app.Job, w *Work) (string, error) {
	for _, name := range o.Files {
		f, err := disk.OpenRegular(name)
		if err != nil {
			return "", fault.New(fault.Invalid, "read the recover journal: %w", err)
		}
		f.Close()
	}
	if err := d.plan.Record([]app.Job{j}); err != nil {
		return "", err
	}
	cfg, _ := d.plan.Crawl(j)
	rep, text, err := d.recoverCrawl(ctx, o.Name, cfg, CrawlOrder{Files: o.Files, RetryFailed: o.RetryFailed}, w)
	if err == nil && rep.Ended+rep.Queued+rep.Foreign == 0 {
		err = fault.New(fault.Invalid, "the recover journals tell of no URL: %s", text)
	}
	return fmt.Sprintf("crawl %s begins with what the journals told: %s", o.Name, text), err
}
