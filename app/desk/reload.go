package desk

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
)

// Reloaded is what a reload did.
type Reloaded struct {
	Added   []string `json:"added"`   // jobs that began
	Changed []string `json:"changed"` // jobs that were started again with another configuration
	Removed []string `json:"removed"` // jobs that ended; what they hold stays
	Kept    []string `json:"kept"`    // jobs that did not notice
	// Rules are the supervise jobs that read their rule files anew, with what is other in them.
	Rules map[string]string `json:"rules,omitempty"`
	// Later are keys that have another value now, which counts from the next start of the process on.
	Later []string `json:"later"`
}

// String tells it in one sentence.
func (r Reloaded) String() string {
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"added", r.Added}, {"changed and started again", r.Changed}, {"removed", r.Removed},
		{"untouched", r.Kept}, {"from the next start on", r.Later}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+": "+strings.Join(p.names, ", "))
		}
	}
	for _, job := range slices.Sorted(maps.Keys(r.Rules)) {
		parts = append(parts, fmt.Sprintf("rules of %s: %s", job, r.Rules[job]))
	}
	return strings.Join(parts, "; ")
}

// Any reports whether anything is other than before.
func (r Reloaded) Any() bool {
	return len(r.Added)+len(r.Changed)+len(r.Removed)+len(r.Rules) > 0
}

// drainFor is how long a reload waits for one job to drain.
const drainFor = time.Minute

// Reload reads the configuration file anew, and the rule files of supervise jobs. A mistake in a file changes nothing of what
// it is about. Jobs that were begun at the running process are read anew, too. A job whose configuration is another is started
// again, new ones begin, ones that are gone end in order; the others do not notice.
func (d *Desk) Reload(ctx context.Context) (out Reloaded, err error) {
	if d.eng == nil || !d.plan.Reloadable() {
		return out, fault.WithHint(fault.New(fault.Invalid, "no configuration file is at work in %s", d.plan.Place.Dir),
			"only `holdfast run` reads one")
	}
	d.reloading.Lock()
	defer d.reloading.Unlock()
	if d.plan.File() == "" {
		out.Rules, err = d.reloadRules(ctx, d.eng.Names())
		return out, err
	}
	next, err := d.plan.ReadAnew()
	if err != nil {
		return out, err
	}
	// Who asked may go away: what was begun is done all the same.
	if out, err = d.apply(context.WithoutCancel(ctx), next); err != nil {
		return out, fault.WithHint(fmt.Errorf("reload: %w", err), "done so far: %s; reload again", out)
	}
	out.Later = d.plan.Settle(next)
	if out.Rules, err = d.reloadRules(ctx, out.Kept); err != nil {
		return out, fault.WithHint(fmt.Errorf("reload: %w", err), "done so far: %s; reload again", out)
	}
	d.plan.Log.Info("configuration read anew: " + out.String())
	return out, nil
}

// apply makes the running jobs those of the files. New ones come first: an engine without jobs would end.
func (d *Desk) apply(ctx context.Context, next *app.Anew) (Reloaded, error) {
	out := Reloaded{Added: []string{}, Changed: []string{}, Removed: []string{}, Kept: []string{},
		Later: []string{}}
	for i, j := range next.Jobs {
		was, there := d.plan.Job(j.Name)
		if there && was.Same(j) {
			out.Kept = append(out.Kept, j.Name)
			continue
		}
		if err := d.plan.Record([]app.Job{j}); err != nil {
			return out, err
		}
		if err := d.begins(ctx, next.Specs[i], there); err != nil {
			return out, err
		}
		d.plan.Put(j)
		if there {
			out.Changed = append(out.Changed, j.Name)
		} else {
			out.Added = append(out.Added, j.Name)
		}
	}
	for _, name := range d.eng.Names() {
		if slices.ContainsFunc(next.Jobs, func(j app.Job) bool { return j.Name == name }) {
			continue
		}
		if err := d.eng.Remove(name); err != nil {
			return out, err
		}
		d.plan.Drop(name)
		out.Removed = append(out.Removed, name)
	}
	return out, nil
}

func (d *Desk) begins(ctx context.Context, s engine.Spec, there bool) error {
	if !there {
		return d.eng.Add(s)
	}
	ctx, cancel := context.WithTimeout(ctx, drainFor)
	defer cancel()
	return d.eng.Replace(ctx, s)
}
