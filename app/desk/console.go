package desk

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/app"
	"holdfast/base/disk"
	"holdfast/base/plural"
	"holdfast/job/supervise"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// JobGate is a gate with the job that waits behind it.
type JobGate struct {
	Job string `json:"job"`
	gate.Status
}

// Gates returns the gates of one job or all.
func (d *Desk) Gates(ctx context.Context, job string) ([]JobGate, error) {
	out := []JobGate{}
	all, err := d.counters(ctx, job)
	for _, s := range all {
		for _, g := range s.Gates {
			out = append(out, JobGate{s.Name, g})
		}
	}
	return out, err
}

// Balance returns the counters of one job or all with what laws they break, at a cost that does not grow.
// Audit also counts the blocks.
func (d *Desk) Balance(ctx context.Context, job string) ([]engine.Books, error) {
	out := []engine.Books{}
	all, err := d.counters(ctx, job)
	for _, s := range all {
		out = append(out, s.Balance)
	}
	return out, err
}

// counters is what can be told of one job or all without the work growing with what they hold.
func (d *Desk) counters(ctx context.Context, job string) (out []engine.Status, err error) {
	names, err := d.only(job)
	if err != nil {
		return nil, err
	}
	if d.eng == nil {
		for _, name := range names {
			out = append(out, d.statusAtRest(ctx, name, map[string]int64{}))
		}
		return out, ctx.Err()
	}
	all, err := d.eng.Counters(ctx)
	for _, s := range all {
		if slices.Contains(names, s.Name) {
			out = append(out, s)
		}
	}
	return out, err
}

// JobGap is a gap with the name of its source.
type JobGap struct {
	SourceName string `json:"source"`
	balance.Gap
}

// Gaps are gaps of a job.
type Gaps struct {
	Gaps   []JobGap          `json:"gaps"`
	Totals balance.GapTotals `json:"totals"` // of all, those included that are not listed
	// Next is the place behind which the next page begins, "" if there are no more.
	Next string `json:"next,omitempty"`
}

// Gaps returns at most max gaps of a job behind a place ("" for the beginning), in the order of their keys:
// the open ones, or all that are kept.
func (d *Desk) Gaps(ctx context.Context, job string, openOnly bool, after string, max int) (Gaps, error) {
	out := Gaps{Gaps: []JobGap{}}
	at, err := balance.ParseGapPlace(after)
	if err != nil {
		return out, err
	}
	err = d.view(ctx, job, func(r store.Reader) error {
		books, err := engine.ReadCounters(r, job)
		if err != nil {
			return err
		}
		out.Totals = books.GapSums
		sources, err := store.NamesOf(r, store.SourceName)
		if err != nil {
			return err
		}
		names := slices.SortedFunc(maps.Keys(sources), func(a, b string) int {
			return cmp.Compare(sources[a], sources[b])
		})
		for _, name := range names {
			if sources[name] >= at.Source {
				if err := out.add(r, name, sources[name], at, openOnly, max); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return out, err
}

// add lists the gaps of a source until there are max, and one more to know that there are more.
func (g *Gaps) add(r store.Reader, name string, source uint32, at balance.GapPlace, openOnly bool,
	max int) (err error) {
	if g.Next != "" {
		return nil
	}
	var list []balance.Gap
	room := max - len(g.Gaps) + 1
	if source == at.Source {
		list, err = balance.GapsBehind(r, at, openOnly, room)
	} else {
		list, err = balance.ListGaps(r, source, openOnly, room)
	}
	for _, gap := range list {
		if len(g.Gaps) == max {
			g.Next = at.String()
			if max > 0 {
				g.Next = g.Gaps[max-1].Place().String()
			}
			return err
		}
		g.Gaps = append(g.Gaps, JobGap{name, gap})
	}
	return err
}

// JobSeries are the samples of one job.
type JobSeries struct {
	Name    string          `json:"name"`
	Samples []engine.Sample `json:"samples"`
}

// Series returns the samples of one job or all that are younger than a time; none while no engine runs.
func (d *Desk) Series(job string, since time.Time) ([]JobSeries, error) {
	names, err := d.only(job)
	out := []JobSeries{}
	if err != nil || d.eng == nil {
		return out, err
	}
	for _, name := range names {
		out = append(out, JobSeries{name, d.eng.Series(name, since)})
	}
	return out, nil
}

// Gauges is what metrics are made of.
type Gauges struct {
	Jobs  []engine.Status
	Disk  disk.Room
	Marks engine.RoomLimits
	Short bool // the disk is below its soft mark
	// Rules and Actions are those of supervise jobs that run, by job: what became of each rule, and how many actions are in
	// which state.
	Rules   map[string][]app.RuleStatus
	Actions map[string]map[ActionState]uint64
}

// Gauges reads the counters of all jobs of a running engine.
func (d *Desk) Gauges(ctx context.Context) (g Gauges, err error) {
	if d.eng == nil {
		return g, nil
	}
	if g.Disk, err = d.eng.Room().Look(); err != nil {
		return g, err
	}
	g.Marks = d.eng.Room().Limits()
	g.Short, _ = d.eng.Room().Short()
	if g.Jobs, err = d.eng.Counters(ctx); err != nil {
		return g, err
	}
	g.Rules, g.Actions = map[string][]app.RuleStatus{}, map[string]map[ActionState]uint64{}
	for _, j := range g.Jobs {
		if j.Kind == app.SuperviseKind && j.State == engine.Running && j.Readable {
			// One that ends just now is as if it did not run.
			g.Rules[j.Name], _ = d.RuleStatus(ctx, j.Name)
			_ = d.view(ctx, j.Name, func(r store.Reader) (err error) {
				g.Actions[j.Name], err = supervise.Counts(r)
				return err
			})
		}
	}
	return g, nil
}

// Health says in a few words how the jobs are. It waits for the engine, and for no disk.
func (d *Desk) Health() string {
	unready, running := d.Unready()
	if !running {
		return "nothing runs"
	}
	text := plural.Of(len(d.eng.Names()), "job")
	for _, name := range slices.Sorted(maps.Keys(unready)) {
		text += fmt.Sprintf("; %s is %s", name, unready[name])
	}
	return text
}

// Unready says of each job that is not fit for work what it does instead. While no engine runs none is asked.
func (d *Desk) Unready() (jobs map[string]engine.State, running bool) {
	if d.eng == nil {
		return nil, false
	}
	return d.eng.Unready(), true
}
