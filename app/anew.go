package app

import (
	"reflect"
	"slices"
	"strings"

	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

// Reloadable reports whether there is something that can be read anew: a configuration file, or rules.
func (p *Plan) Reloadable() bool {
	return p.File() != "" || slices.ContainsFunc(p.Jobs, func(j Job) bool { return j.Kind == SuperviseKind })
}

// File is the configuration file that the plan came from, "" for none.
func (p *Plan) File() string {
	if p.config == nil {
		return ""
	}
	return p.config.file
}

// Anew is what the files of a plan say now.
type Anew struct {
	Jobs  []Job
	Specs []engine.Spec // of each

	config *Config
	begun  begunSet
}

// ReadAnew reads the configuration file, the rule files, and the files of jobs that were begun at the running process. It
// changes nothing; a mistake in the first two is an error.
func (p *Plan) ReadAnew() (*Anew, error) {
	c, err := Load(p.File())
	if err != nil {
		return nil, err
	}
	// Who is told by notify is what the start had: see differs.
	after := &Plan{Place: p.Place, Jobs: c.Jobs, Notify: p.Notify}
	if missing, err := after.checkRuleFiles(c.Jobs); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, fault.New(fault.Invalid, "%s", strings.Join(missing, "; "))
	}
	begun, err := p.begunBeside(c.Jobs)
	if err != nil {
		return nil, err
	}
	list := slices.Concat(c.Jobs, begun.jobs)
	specs := make([]engine.Spec, len(list))
	for i, j := range list {
		if specs[i], err = p.Spec(j); err != nil {
			return nil, err
		}
	}
	return &Anew{Jobs: list, Specs: specs, config: c, begun: begun}, nil
}

// Settle says that the jobs are now those of the files. later names the keys whose values count from the next start of the
// process on.
func (p *Plan) Settle(a *Anew) (later []string) {
	p.settle(a.begun)
	return a.config.differs(p.config)
}

// Put puts a job into the plan, in the place of the one of its name.
func (p *Plan) Put(j Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Jobs = slices.Clone(p.Jobs) // others may hold the old list
	if i := p.index(j.Name); i >= 0 {
		p.Jobs[i] = j
		return
	}
	p.Jobs = append(p.Jobs, j)
}

// Drop takes a job out of the plan.
func (p *Plan) Drop(name string) {
	p.running.Delete(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Jobs = slices.DeleteFunc(slices.Clone(p.Jobs), func(j Job) bool { return j.Name == name })
}

// differs names the keys beside jobs that have another value than in the configuration that is at work.
func (c *Config) differs(from *Config) []string {
	out := []string{}
	a, b := reflect.ValueOf(*c), reflect.ValueOf(*from)
	for i := range a.NumField() {
		key := a.Type().Field(i).Tag.Get("yaml")
		if key == "" || key == "jobs" || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		out = append(out, key)
	}
	return out
}
