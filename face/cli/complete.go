package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/face/api"
)

// offerJobs makes shells complete the names of jobs, wherever a command takes one, and the names of what a job has: its
// checkpoints, and its gates that are closed. They are read from the data directories, without opening a store; gates are
// asked of a running process alone.
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
	if c.HasParent() && c.Parent().Name() != c.Root().Name() && c.Flags().Lookup("job") != nil {
		_ = c.RegisterFlagCompletionFunc("job", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return f.jobNames(), cobra.ShellCompDirectiveNoFileComp
		})
	}
	for _, sub := range c.Commands() {
		f.offerJobs(sub)
	}
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

// offeredIn is how long a person who presses Tab waits.
const offeredIn = time.Second

// closedGates are the gates of a job that are closed now.
func (f *face) closedGates(ctx context.Context, job string) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, offeredIn)
	defer cancel()
	places, _ := datadir.Places(f.dataDir)
	for _, p := range places {
		c, err := api.Dial(p.Dir)
		if err != nil {
			continue // nothing runs there
		}
		rep, _ := asked{place: p, client: c}.status(ctx)
		for _, j := range rep.Jobs {
			for _, g := range j.Gates {
				if j.Name == job && !g.Open {
					names = append(names, g.Name)
				}
			}
		}
	}
	return names
}
