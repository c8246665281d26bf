package cli

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
)

// transferRebuildCommand makes the ledger anew.
func (f *face) transferRebuildCommand() *cobra.Command {
	t := new(transferFlags)
	var dry bool
	c := &cobra.Command{
		Use:   "rebuild SOURCE DEST | rebuild -c FILE JOB",
		Short: "Make the ledger anew from what the destinations have",
		Long: "Give the ledger, if it was lost or lacks some, an entry of each file that stands\n" +
			"at a destination: by the job's own record of it, else by its original or packed\n" +
			"form in SOURCE, if that has the same bytes or unpacks to the same data. What has\n" +
			"no known original is listed and stays out. Takes the flags of transfer, or the\n" +
			"job of a configuration file. It may be repeated: what the ledger has is not\n" +
			"looked at again. Exits 0 if the ledger has all, 3 if something stays out.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, name, err := f.transferPlan(t, args, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			tell, end := f.progress()
			began, told := time.Now(), time.Now()
			found, err := plan.Rebuild(cmd.Context(), name, app.RebuildOrder{Dry: dry,
				Tell: func(done, total int64) {
					if now := time.Now(); now.Sub(began) >= desk.ShowAfter && now.Sub(told) >= desk.ShowAfter/10 {
						told = now
						tell(desk.Progress{What: "looking at files", Done: done, Total: total, Began: began})
					}
				},
				Left: func(d app.Difference) {
					of := ""
					if d.Source != "" {
						of = "  (of " + printable([]byte(d.Source)) + ")"
					}
					fmt.Fprintf(f.out, "%s  at %s%s: %s\n", printable([]byte(d.Path)), d.Destination, of, d.What)
				}})
			end()
			if err != nil {
				return err
			}
			added := "added"
			if dry {
				added = "would be added"
			}
			fmt.Fprintf(f.out, "%s known, %s %s, %s without a known original\n", count(found.Known), count(found.Added), added,
				count(found.Left))
			if found.Left > 0 {
				return &exitError{LeftOver, nil}
			}
			return nil
		},
	}
	c.Flags().SortFlags = false
	t.add(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be added, and add nothing")
	c.Flags().StringVarP(&f.config, "config", "c", "", "configuration file that has the job")
	c.Flags().StringVar(&f.dataDir, "data-dir", "", "data directory (default as for transfer)")
	return c
}
