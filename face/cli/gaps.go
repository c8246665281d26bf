package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/plural"
	"holdfast/face/api"
)

func (f *face) gapsCommand() *cobra.Command {
	var all bool
	var max int
	var after string
	c := f.asking(&cobra.Command{
		Use:   "gaps [JOB]",
		Short: "List what a source should have and we have not seen",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), first(args), func(a asked, job string) error {
				out, err := a.gaps(cmd.Context(), job, all, after, max)
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(out)
				}
				f.showGaps(out, all)
				return nil
			})
		},
	})
	c.Flags().BoolVar(&all, "all", false, "settled ones too: filled, absent at the source, lost")
	maxFlag(c, &max, 1000, "max", "at most so many")
	c.Flags().StringVar(&after, "after", "", "go on behind this place, which the list before told")
	return c
}

// gaps asks page by page.
func (a asked) gaps(ctx context.Context, job string, all bool, after string, max int) (out desk.Gaps, err error) {
	const page = 1000
	out.Gaps, out.Next = []desk.JobGap{}, after
	for len(out.Gaps) < max {
		var next desk.Gaps
		q := url.Values{"all": {strconv.FormatBool(all)}, "after": {out.Next},
			"max": {strconv.Itoa(min(page, max-len(out.Gaps)))}}
		err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "gaps") + "?" + q.Encode(),
			Result: &next})
		if err != nil {
			return out, err
		}
		out.Gaps, out.Totals, out.Next = append(out.Gaps, next.Gaps...), next.Totals, next.Next
		if out.Next == "" {
			break
		}
	}
	return out, nil
}

func (f *face) showGaps(out desk.Gaps, all bool) {
	if len(out.Gaps) == 0 {
		fmt.Fprintln(f.out, "there are no such gaps")
		if n := out.Totals.Settled; n > 0 && !all {
			fmt.Fprintf(f.out, "%s %s settled (%s %s lost): see `--all`\n", count(n), plural.Are(n), count(out.Totals.Lost), plural.Noun(out.Totals.Lost, "row"))
		}
		return
	}
	now := time.Now()
	t := newTable(">from", ">to", ">missing", "state", "cause", "found", "~sink")
	for _, g := range out.Gaps {
		t.add(strconv.FormatUint(g.From, 10), strconv.FormatUint(g.To, 10), count(g.Missing), string(g.State),
			string(g.Cause), ago(g.Found, now), g.Sink)
	}
	t.write(f.out, "")
	if out.Next != "" {
		fmt.Fprintf(f.err, "there are more: --after %s goes on, -n takes more at once\n", out.Next)
	}
}
