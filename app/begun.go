package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/kernel/engine"
)

// begunName is the file in the directory of a job that a person began at the running process: what a configuration file would
// have of it below jobs:. It is there before the job is started, and every start and reload runs the job by it until it is
// removed, or until the configuration file has the job.
const begunName = "job.yaml"

// mostBegun is how much of one is read.
const mostBegun = 1 << 20

// BegunFile is where that is of a job; in the directory "" as people are told it: from the data directory on.
func BegunFile(dir, job string) string { return filepath.Join(engine.JobDir(dir, job), begunName) }

// keepBegun makes a job outlive this process. A crash leaves the file whole, or not there.
func keepBegun(dir, job, text string) error {
	head := fmt.Sprintf("# Crawl %s was begun at the running process, and is run by this file at each start.\n"+
		"# To have it in the configuration file: put what is below there, below jobs:, and reload.\n"+
		"# To end it for good: remove this file, and reload. What it has archived stays.\n", job)
	if err := disk.WriteFile(BegunFile(dir, job), []byte(head+text), 0o600); err != nil {
		return fmt.Errorf("write down that crawl %s is to run at each start: %w", job, err)
	}
	return nil
}

// begunSet is what the job.yaml files of a data directory come to beside a configuration.
type begunSet struct {
	jobs []Job // to be run
	same []string
	// warnings are of files that can't be used, or that the configuration file overrules.
	warnings []string
}

// begunBeside reads the jobs that were begun. A file that can't be used stops nothing: its job goes on as it runs, if it does.
func (p *Plan) begunBeside(list []Job) (set begunSet, err error) {
	if !p.TakesBegun {
		return set, nil
	}
	names, err := datadir.Jobs(p.Place.Dir)
	if err != nil {
		return set, err
	}
	for _, name := range names {
		j, err := p.readBegun(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		i := slices.IndexFunc(list, func(j Job) bool { return j.Name == name })
		switch {
		case i >= 0 && err == nil && j.Same(list[i]):
			set.same = append(set.same, name)
		case i >= 0:
			set.warnings = append(set.warnings, fmt.Sprintf("job %s runs as the configuration file has it; %s has it otherwise, and does not "+
				"count: remove it", name, BegunFile("", name)))
		case err != nil:
			state := "crawl " + name + " does not run"
			if was, runs := p.Job(name); runs && p.WasBegun(name) {
				set.jobs = append(set.jobs, was)
				state = "crawl " + name + " goes on as it was, and does not run at the next start"
			}
			set.warnings = append(set.warnings, fmt.Sprintf("%s can't be used, so %s: %s; mend it and %s, or remove it",
				BegunFile("", name), state, strings.ReplaceAll(err.Error(), "\n", "; "), p.again()))
		default:
			set.jobs = append(set.jobs, j)
		}
	}
	return set, nil
}

// again is how the files are read again.
func (p *Plan) again() string {
	if p.File() != "" {
		return "reload"
	}
	return "start again"
}

func (p *Plan) readBegun(name string) (j Job, err error) {
	f, err := disk.OpenRegular(BegunFile(p.Place.Dir, name)) // a pipe would be waited for
	if err != nil {
		return j, err
	}
	text, err := io.ReadAll(io.LimitReader(f, mostBegun))
	if err = errors.Join(err, f.Close()); err != nil {
		return j, err
	}
	var list jobList
	dec := newDecoder(BegunFile("", name), os.LookupEnv)
	if root := dec.Parse(text); root != nil {
		dec.Decode(root, reflect.ValueOf(&list).Elem(), "")
	}
	if err := dec.Mistakes.Err(); err != nil {
		return j, err
	}
	if len(list) != 1 || list[0].Name != name || list[0].Kind != CrawlKind {
		return j, fmt.Errorf("want one job in it, %s, which is a crawl", name)
	}
	_, err = p.Spec(list[0])
	return list[0], err
}

// settle makes the set what is at work: files of jobs that the configuration file has are not needed any more.
func (p *Plan) settle(set begunSet) {
	for _, name := range set.same {
		err := os.Remove(BegunFile(p.Place.Dir, name))
		if err == nil {
			err = disk.SyncDir(engine.JobDir(p.Place.Dir, name))
		}
		if err != nil {
			set.warnings = append(set.warnings, fmt.Sprintf("the configuration file has job %s, but %s can't be removed: %v",
				name, BegunFile("", name), err))
			continue
		}
		p.Log.Info(fmt.Sprintf("the configuration file has job %s now: %s is removed", name, BegunFile("", name)))
	}
	for _, w := range set.warnings {
		p.Log.Warn(w)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begunWarnings, p.begun = set.warnings, map[string]bool{}
	for _, j := range set.jobs {
		p.begun[j.Name] = true
	}
}

// WasBegun reports whether a job runs by such a file.
func (p *Plan) WasBegun(job string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun[job]
}

// KeepBegun writes down the configuration of a crawl that is about to be begun, so that each later start runs it. The file is
// told as BegunFile tells it, "" where the plan takes no such jobs.
func (p *Plan) KeepBegun(job, text string) (file string, err error) {
	if !p.TakesBegun {
		return "", nil
	}
	return BegunFile("", job), keepBegun(p.Place.Dir, job, text)
}

// PutBegun puts a job into the plan that was just begun.
func (p *Plan) PutBegun(j Job) {
	p.Put(j)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.TakesBegun {
		p.begun[j.Name] = true
	}
}

// BegunWarnings are of files of begun jobs that can't be used, or that the configuration file overrules.
func (p *Plan) BegunWarnings() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begunWarnings
}
