package cli

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/plural"
	"holdfast/face/api"
)

func (f *face) windowsCommand() *cobra.Command {
	var from, to, state string
	var max int
	c := f.asking(&cobra.Command{
		Use:   "windows [JOB]",
		Short: "List the windows of a stream: what is here, and what is missing",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := desk.WindowQuery(from, to, state, "", max); err != nil {
				return &exitError{WrongUsage, err}
			}
			show := func(a asked, job string) error {
				var out struct {
					Windows []desk.Window `json:"windows"`
				}
				q := url.Values{"job": {job}, "from": {from}, "to": {to}, "state": {state}, "limit": {strconv.Itoa(max)}}
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: "/api/v1/windows?" + q.Encode(), Result: &out})
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(out)
				}
				f.showWindows(out.Windows)
				return nil
			}
			if len(args) == 1 {
				return f.withJob(cmd.Context(), args[0], show)
			}
			return f.each(func(a asked) error { return show(a, "") })
		},
	})
	c.Flags().StringVar(&from, "from", "", "windows that begin then or later: 2023-09-19T07:00:00Z, or a day")
	c.Flags().StringVar(&to, "to", "", "windows that begin before that")
	c.Flags().StringVar(&state, "state", "", "only open, complete, lost, stored or told ones")
	maxFlag(c, &max, 100, "max", "at most so many of each job")
	return c
}

func (f *face) showWindows(list []desk.Window) {
	if len(list) == 0 {
		fmt.Fprintln(f.out, "no windows")
		return
	}
	t := newTable("window", "state", "since", ">batches", ">rows", "~missing")
	for _, w := range list {
		at := w.From.UTC().Format("2006-01-02 15:04")
		if w.From.IsZero() {
			at = "number " + strconv.FormatUint(w.Number, 10)
		}
		missing := "-"
		if n := len(w.Missing); n > 0 {
			missing = fmt.Sprintf("%s (%s %s)", numbers(w.Missing), count(w.MissingRows), plural.Noun(w.MissingRows, "row"))
			if w.Because != "" {
				missing += ": " + w.Because
			}
		}
		t.add(at, string(w.State), w.Since.Local().Format(time.DateTime), strconv.Itoa(w.Batches), count(w.Rows), missing)
	}
	t.write(f.out, "")
}

// numbers are ascending numbers in short: 0-2, 7, at most a few of them.
func numbers(list []int) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if parts = append(parts, strconv.Itoa(list[i])); j > i {
			parts[len(parts)-1] += "-" + strconv.Itoa(list[j])
		}
		if i = j + 1; len(parts) == 4 && i < len(list) {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
	}
	return strings.Join(parts, ", ")
}
