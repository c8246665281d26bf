package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/base/process"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/command"
	"holdfast/connector/httpcheck"
	"holdfast/connector/journald"
	"holdfast/connector/logfile"
	"holdfast/connector/prometheus"
	"holdfast/connector/units"
	"holdfast/job/supervise"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
)

// SuperviseKind is the kind of job.
const SuperviseKind = "supervise"

// RulesFile is where rules are looked for.
const RulesFile = "/etc/holdfast/rules.yaml"

// superviseConfig is rules that watch what happens and act, which are a file of their own.
type superviseConfig struct {
	// Rules is the rule file; a relative path is below the data directory; default /etc/holdfast/rules.yaml.
	Rules string `yaml:"rules"`
	// Since is where watchers of the past begin at first, unless a rule says so itself: now, boot, or a time such as
	// 2026-01-31T12:00:00Z; default now.
	Since string `yaml:"since"`
	// AtOnce is how many actions are done at once, 1000 at most; default 32.
	AtOnce int `yaml:"at_once"`
	// Keep is how long it is known what was done; default 90d.
	Keep time.Duration `yaml:"keep"`
}

func (c *superviseConfig) check(d *decoder, n ast.Node, path string) {
	if c.AtOnce < 0 || c.AtOnce > 1000 {
		d.Bad(n, strictyaml.Join(path, "at_once"), "want a number from 1 to 1000, got %d", c.AtOnce)
	}
	if c.Keep < 0 {
		d.Bad(n, strictyaml.Join(path, "keep"), "want a time above 0, got %v", c.Keep)
	}
	if why := badSince(c.Since); why != "" {
		d.Bad(n, strictyaml.Join(path, "since"), "%s", why)
	}
}

// badSince says what is wrong with the time at which a watcher is to begin, "" if nothing is.
func badSince(s string) string {
	if _, err := time.Parse(time.RFC3339, s); s == "" || s == "now" || s == "boot" || err == nil {
		return ""
	}
	return fmt.Sprintf("want now, boot, or a time such as 2026-01-31T12:00:00Z, got %.60q", s)
}

// watcherKind is a kind of watcher: what rule files may say of it, and how one is opened.
type watcherKind struct {
	rule.Kind
	open func(p *Plan, job string, s *rule.Source) (connector.Watcher, error)
}

// watchers are all kinds of watchers.
var watchers = map[string]watcherKind{
	"command": {rule.Kind{Config: &command.Config{}, Looks: true, Polled: true, Trusted: always},
		func(_ *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			return command.Open(*s.Config.(*command.Config), s.Every)
		}},
	"file": {rule.Kind{Config: &logfile.Config{}, Word: "path", Past: true,
		Joins: func(c any) bool { return c.(*logfile.Config).Join != nil },
		Place: func(c any) string { return c.(*logfile.Config).Path }},
		func(_ *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			c := *s.Config.(*logfile.Config)
			c.Since = s.Since
			return logfile.New(c)
		}},
	"holdfast": {rule.Kind{Config: &eventsConfig{}, Word: "job", Trusted: always,
		Place: func(c any) string { return c.(*eventsConfig).Job },
		Names: map[string]string{"job": fieldJob, "kind": fieldKind, "warn": fieldWarn}},
		func(p *Plan, job string, s *rule.Source) (connector.Watcher, error) {
			return &ownEvents{plan: p, own: job, eventsConfig: *s.Config.(*eventsConfig)}, nil
		}},
	"http": {rule.Kind{Config: &httpcheck.Config{}, Word: "url", Looks: true, Polled: true, Trusted: always},
		func(_ *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			return httpcheck.Open(*s.Config.(*httpcheck.Config), s.Every)
		}},
	"journal": {rule.Kind{Config: &journald.Config{}, Word: "unit", Past: true, Trusted: ofOneWriter,
		Joins: func(c any) bool { return c.(*journald.Config).Join != nil },
		Place: func(c any) string { return c.(*journald.Config).Namespace + " " + c.(*journald.Config).Directory },
		Names: map[string]string{"unit": "_unit", "identifier": "SYSLOG_IDENTIFIER", "priority": "PRIORITY", "pid": "_PID",
			"comm": "_COMM", "exe": "_EXE", "uid": "_UID", "host": "_HOSTNAME"}},
		func(p *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			c := *s.Config.(*journald.Config)
			c.Since = s.Since
			return p.bells.New(c)
		}},
	"prometheus": {rule.Kind{Config: &prometheus.Config{}, Looks: true, Polled: true, Trusted: always},
		func(_ *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			c := *s.Config.(*prometheus.Config)
			c.Every = s.Every
			return prometheus.New(c)
		}},
	"scrape": {rule.Kind{Config: &prometheus.ScrapeConfig{}, Looks: true, Polled: true, Trusted: always},
		func(_ *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			c := *s.Config.(*prometheus.ScrapeConfig)
			c.Every = s.Every
			return prometheus.NewScrape(c)
		}},
	"unit": {rule.Kind{Config: &units.Config{}, Word: "unit", Looks: true, Trusted: always,
		States: []string{"active", "reloading", "refreshing", "inactive", "failed", "activating", "deactivating", "maintenance", "not-found"},
		Names:  map[string]string{"unit": "unit", "load": "load", "sub": "sub", "result": "result", "restarts": "restarts"}},
		func(_ *Plan, _ string, s *rule.Source) (connector.Watcher, error) {
			return units.New(*s.Config.(*units.Config))
		}},
}

func always(any) bool { return true }

// ofOneWriter reports whether journald itself says who wrote what is told: a field that begins with "_" has to be the one that
// the rule file names.
func ofOneWriter(config any) bool {
	c := config.(*journald.Config)
	return c.Unit != "" || len(c.Units) > 0 ||
		slices.ContainsFunc(slices.Collect(maps.Keys(c.Match)), func(name string) bool { return strings.HasPrefix(name, "_") })
}

// watcherKinds are what rule files may say.
func watcherKinds() rule.Kinds {
	all := rule.Kinds{}
	for name, k := range watchers {
		all[name] = k.Kind
	}
	return all
}

// RulesSchema is the JSON schema of rule files, for editors that complete them.
func RulesSchema() ([]byte, error) { return rule.Schema(watcherKinds(), reflected) }

func (c *superviseConfig) file(dir string) string { return below(dir, orElse(c.Rules, RulesFile)) }

func (c *superviseConfig) spec(p *Plan, job Job) engine.Spec {
	return engine.Spec{Name: job.Name, Kind: job.Kind, Config: job.Text,
		New: func(_ context.Context, env engine.Env) (engine.Job, error) {
			return supervise.New(env, supervise.Config{
				Rules:   func() (*rule.Set, error) { return p.rules(c, job.Name) },
				Watcher: func(s *rule.Source) (connector.Watcher, error) { return p.watcher(job.Name, c.Since, s) },
				Tools:   p.tools(),
				AtOnce:  c.AtOnce,
				Keep:    c.Keep,
			})
		}}
}

func (p *Plan) watcher(job, since string, s *rule.Source) (connector.Watcher, error) {
	if s.Since == "now" && since != "" {
		own := *s
		own.Since = since
		s = &own
	}
	return watchers[s.Kind].open(p, job, s)
}

// rules reads the rule file of a job, and refuses what nobody here could do.
func (p *Plan) rules(c *superviseConfig, job string) (*rule.Set, error) {
	file, err := filepath.Abs(c.file(p.Place.Dir))
	if err != nil {
		return nil, err
	}
	// Who can write the rules has the actions done as us. (To check, test and replay them is to do nothing.)
	if err := process.Owned(file); err != nil && !fault.Is(err, fault.NotFound) {
		return nil, fault.As(fault.Invalid, err)
	}
	set, err := LoadRules(c.file(p.Place.Dir))
	if err != nil {
		return nil, err
	}
	for _, l := range []*rule.Limit{set.File.Limit, set.Loop} {
		if _, known := p.Notify[l.Then]; l.Then != "" && !known {
			return nil, fault.WithHint(fault.New(fault.Invalid, "limit or loop of all rules tells %s, which is no target of notify", l.Then),
				"%s", notifyHint)
		}
	}
	for _, r := range set.Rules {
		for _, l := range r.Lists() {
			for i := range l.Actions {
				// It is asked again each time that it is run.
				if run := l.Actions[i].Run; len(run) > 0 {
					if err := process.Safe(run[0]); err != nil && !fault.Is(err, fault.NotFound) {
						return nil, fmt.Errorf("%s: rule %s: %w", set.Where(r), r.Name, fault.As(fault.Invalid, err))
					}
				}
				if why, hint := p.cannot(job, &l.Actions[i]); why != "" {
					return nil, fault.WithHint(fault.New(fault.Invalid, "%s: rule %s: %s", set.Where(r), r.Name, why), "%s", hint)
				}
			}
		}
		if to := p.unknownTarget(r); to != "" {
			return nil, fault.WithHint(fault.New(fault.Invalid, "%s: rule %s tells %s, which is no target of notify", set.Where(r), r.Name, to),
				"%s", notifyHint)
		}
	}
	return set, nil
}

const notifyHint = "the configuration has them as notify: {NAME: URL}, and `holdfast supervise` as --notify NAME=URL"

// unknownTarget is who would be told when a rule can't go on, and is not known.
func (p *Plan) unknownTarget(r *rule.Rule) string {
	var all []string
	if r.Limit != nil {
		all = append(all, r.Limit.Then)
	}
	if r.Heal != nil {
		all = append(all, r.Heal.Then)
	}
	for _, name := range all {
		if _, known := p.Notify[name]; name != "" && !known {
			return name
		}
	}
	return ""
}

// cannot says why an action of a job can't be done here, and what can be done about that.
func (p *Plan) cannot(job string, a *rule.Action) (why, hint string) {
	if _, known := p.Notify[a.Notify]; a.Notify != "" && !known {
		return a.Notify + " is no target of notify", notifyHint
	}
	if a.Holdfast == "" {
		return "", ""
	}
	if j, known := p.Job(a.Job); !known {
		return fmt.Sprintf("%s %s: there is no such job", a.Holdfast, a.Job), "jobs of the same configuration can be given orders"
	} else if j.Name == job && a.Holdfast != "checkpoint" {
		return fmt.Sprintf("%s %s: that is the job of the rule itself", a.Holdfast, a.Job), "an action can't stop what runs it"
	}
	takes := ownOrders[a.Holdfast]
	for name := range a.With {
		if !slices.Contains(takes, name) {
			return fmt.Sprintf("%s %s takes no %q", a.Holdfast, a.Job, name), "it takes: " + orElse(strings.Join(takes, ", "), "nothing")
		}
	}
	return "", ""
}

// CheckRuleFiles reads the rule files of supervise jobs, as they will be read in the data directory, "" for that of the
// configuration. What is wrong in them comes as Mistakes, or as the first rule that nobody here could do. missing are files
// that are not there.
func (c *Config) CheckRuleFiles(dir string) (missing []string, err error) {
	dir = orElse(dir, orElse(c.DataDir, orElse(os.Getenv(datadir.Variable), datadir.Default())))
	p := &Plan{Place: datadir.Place{Dir: dir}, Jobs: c.Jobs, Notify: c.Notify}
	return p.checkRuleFiles(c.Jobs)
}

func (p *Plan) checkRuleFiles(list []Job) (missing []string, err error) {
	var all Mistakes
	var others []error
	for _, j := range list {
		w, ok := j.work.(*superviseConfig)
		if !ok {
			continue
		}
		_, err := p.rules(w, j.Name)
		if m, ok := errors.AsType[Mistakes](err); ok {
			all = append(all, m...)
		} else if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, fmt.Sprintf("job %s: there is no rule file %s: the job fails until there is", j.Name, w.file(p.Place.Dir)))
		} else if err != nil {
			others = append(others, err)
		}
	}
	if err := all.Err(); err != nil || len(others) == 0 {
		return missing, err
	}
	return missing, others[0]
}

// hasSystemd reports whether there is a systemd that can be asked.
func hasSystemd() bool {
	_, err := os.Stat(units.Socket())
	return err == nil
}
