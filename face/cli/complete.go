package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/face/api"
	"holdfast/kernel/engine"
)

// offerJobs makes shells complete the names of jobs, wherever a command takes one, and the names of what a job has: its
// checkpoints, its sinks, its dead letters, and its gates that are closed. Jobs and checkpoints are read from the data
// directories, without opening a store; the others are asked of a running process alone.
func (f *face) offerJobs(c *cobra.Command) {
	if words := strings.Fields(c.Use); len(words) > 1 && (words[1] == "JOB" || words[1] == "[JOB]") {
		c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			switch {
			case len(args) == 0:
				return f.jobNames(), cobra.ShellCompDirectiveNoFileComp
			case len(args) == 1 && c.Parent().Name() == "checkpoint":
				return f.checkpointNames(args[0]), cobra.ShellCompDirectiveNoFileComp
			case len(args) == 1 && c.Parent().Name() == "gate":
				return f.closedGates(c.Context(), args[0]), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		}
	}
	if words := strings.Fields(c.Use); len(words) > 1 && strings.HasPrefix(words[1], "ID") && c.Parent().Name() == "dead" {
		c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 && words[1] == "ID" {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return f.letters(c.Context(), jobOf(c, nil)), cobra.ShellCompDirectiveNoFileComp
		}
	}
	if c.Flags().Lookup("sink") != nil {
		_ = c.RegisterFlagCompletionFunc("sink", func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return f.sinks(c.Context(), jobOf(c, args)), cobra.ShellCompDirectiveNoFileComp
		})
	}
	if c.HasParent() && c.Parent().Name() != c.Root().Name() && c.Flags().Lookup("job") != nil {
		_ = c.RegisterFlagCompletionFunc("job", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return f.jobNames(), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, sub := range c.Commands() {
		f.offerJobs(sub)
	}
}

// jobOf is the job that a command names, by --job or as its first word; "" for none.
func jobOf(c *cobra.Command, args []string) string {
	if flag := c.Flags().Lookup("job"); flag != nil {
		return flag.Value.String()
	}
	return first(args)
}

// jobNames are the jobs of the data directories that a command would ask; none if there are none.
func (f *face) jobNames() (names []string) {
	places, _ := datadir.Places(f.dataDir)
	for _, p := range places {
		jobs, _ := datadir.Jobs(p.Dir)
		names = append(names, jobs...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkpointNames are the checkpoints of a job.
func (f *face) checkpointNames(job string) (names []string) {
	places, _ := datadir.Places(f.dataDir)
	for _, p := range places {
		all, _ := desk.CheckpointsIn(p.Dir, job)
		names = append(names, all...)
	}
	return names
}

// offeredIn is how long a person who presses Tab waits, and offered how many dead letters are shown then.
const (
	offeredIn = time.Second
	offered   = 100
)

// eachRunning calls do for the jobs of that name, or for all for "", of the processes that run in the data directories that a
// command would ask.
func (f *face) eachRunning(ctx context.Context, job string, do func(context.Context, asked, engine.Status)) {
	ctx, cancel := context.WithTimeout(ctx, offeredIn)
	defer cancel()
	places, _ := datadir.Places(f.dataDir)
	for _, p := range places {
		c, err := api.Dial(p.Dir)
		if err != nil {
			continue // nothing runs there
		}
		a := asked{place: p, client: c}
		a.rep, _ = a.status(ctx)
		for _, j := range a.rep.Jobs {
			if job == "" || j.Name == job {
				do(ctx, a, j)
			}
		}
	}
}

// closedGates are the gates of a job that are closed now.
func (f *face) closedGates(ctx context.Context, job string) (names []string) {
	f.eachRunning(ctx, job, func(_ context.Context, _ asked, j engine.Status) {
		for _, g := range j.Gates {
			if !g.Open {
				names = append(names, g.Name)
			}
		}
	})
	return names
}

// sinks are those of a job, or of all for "".
func (f *face) sinks(ctx context.Context, job string) (names []string) {
	f.eachRunning(ctx, job, func(_ context.Context, _ asked, j engine.Status) {
		for _, s := range j.Balance.Sinks {
			names = append(names, s.Sink)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// letters are dead letters of a job, or of all for "", with why they are.
func (f *face) letters(ctx context.Context, job string) (ids []string) {
	f.eachRunning(ctx, job, func(ctx context.Context, a asked, j engine.Status) {
		if a.rep.Letters[j.Name] == 0 {
			return
		}
		list, _ := a.dead(ctx, j.Name, 0, offered)
		for _, d := range list.Dead {
			ids = append(ids, fmt.Sprintf("%d\t%s", d.ID, cut(brief(d.Reason), 40)))
		}
	})
	return ids
}
