package app

import (
	"log/slog"
	"strings"

	"github.com/goccy/go-yaml"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/base/identifier"
)

// SuperviseFlags are the flags of `holdfast supervise`. What is empty has a default.
type SuperviseFlags struct {
	Rules  string
	Since  string
	Notify []string // NAME=URL
	AtOnce int

	DataDir, Listen string
}

// Supervise makes a plan of the command line: one job as a configuration file would have it. Rules that can't be read are told
// at once.
func Supervise(f SuperviseFlags, env func(string) (string, bool), log *slog.Logger) (*Plan, error) {
	place, err := datadir.Locate(f.DataDir, SuperviseKind)
	if err != nil {
		return nil, err
	}
	work := some("rules", absolute(orElse(f.Rules, RulesFile)), "since", f.Since, "at_once", f.AtOnce)
	top := tree{{Key: "jobs", Value: tree{{Key: SuperviseKind, Value: tree{{Key: SuperviseKind, Value: work}}}}}}
	targets := tree{}
	for _, arg := range f.Notify {
		name, url, ok := strings.Cut(arg, "=")
		if !ok || identifier.Check("target", name) != "" {
			return nil, fault.NewUsage("give it as ops=ntfy://ntfy.sh/topic", "--notify: want NAME=URL, got %.40q", arg)
		}
		targets = append(targets, yaml.MapItem{Key: name, Value: url})
	}
	if len(targets) > 0 {
		top = append(top, yaml.MapItem{Key: "notify", Value: targets})
	}
	text, err := yaml.Marshal(top)
	if err != nil {
		return nil, err
	}
	c, err := Parse("command line", text, env)
	if err != nil {
		return nil, err
	}
	p, err := c.PlanAt(place, orElse(f.Listen, NoListen), log)
	if err != nil {
		return nil, err
	}
	p.config = nil
	_, err = p.rules(p.Jobs[0].work.(*superviseConfig), SuperviseKind)
	return p, err
}
