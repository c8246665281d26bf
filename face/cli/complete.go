package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app"
)

// offerJobs has the completions of shells offer the names of jobs, wherever a command takes one. They are read from the
// directories that there are: no store is opened for them, and nobody is asked.
func (f *face) offerJobs(c *cobra.Command) {
	if words := strings.Fields(c.Use); len(words) > 1 && (words[1] == "JOB" || words[1] == "[JOB]") {
		c.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return f.jobNames(), cobra.ShellCompDirectiveNoFileComp
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
	places, _ := app.Places(f.dataDir)
	for _, p := range places {
		jobs, _ := app.JobsIn(p.Dir)
		names = append(names, jobs...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
