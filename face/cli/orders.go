package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/plural"
	"holdfast/face/api"
	"holdfast/kernel/engine"
)

func (f *face) pauseCommand() *cobra.Command {
	return f.order("pause JOB", "Stop a job's work until it is resumed, restarts included",
		"pause", "job %s is paused")
}

func (f *face) resumeCommand() *cobra.Command {
	return f.order("resume JOB", "Let a paused job go on, or a waiting one try again at once",
		"resume", "job %s goes on")
}

func (f *face) acknowledgeCommand() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "acknowledge JOB",
		Short: "Say that you know what a job has lost: it is no news from then on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				i := slices.IndexFunc(a.rep.Jobs, func(j engine.Status) bool { return j.Name == job })
				loss := engine.LossOf(a.rep.Jobs[i].Balance)
				answer, err := a.post(cmd.Context(), path(job, "acknowledge"), loss)
				return f.tell(err, answer, fmt.Sprintf("acknowledged: job %s has lost %s", job, plural.Of(loss.Rows(), "row")))
			})
		},
	})
}

func (f *face) backfillCommand() *cobra.Command {
	return f.order("backfill JOB", "Ask the source for everything that is missing, now", "backfill",
		"job %s: ")
}

func (f *face) gateCommand() *cobra.Command {
	c := &cobra.Command{Use: "gate", Short: "Open a gate that should not be closed"}
	var reason string
	open := f.asking(&cobra.Command{
		Use:   "open JOB GATE --reason TEXT",
		Short: "Open a closed gate by hand; what work meets closes it again",
		Long: "Open a closed gate by hand, at once: also where the other side asked for time.\n" +
			"`holdfast resume JOB` tries first, and is what you want in most cases.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return &exitError{WrongUsage, errors.New("a reason is missing, for the history: --reason TEXT")}
			}
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				answer, err := a.post(cmd.Context(), path(job, "gates", args[1], "open"), api.Order{Reason: reason})
				return f.tell(err, answer, fmt.Sprintf("the gate of %s is open", args[1]))
			})
		},
	})
	open.Flags().StringVar(&reason, "reason", "", "why, for the history (needed)")
	c.AddCommand(open)
	return c
}

func (f *face) reloadCommand() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "reload",
		Short: "Read the configuration anew: what changed restarts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.each(func(a asked) error {
				var did desk.Reloaded
				err := a.client.Do(cmd.Context(), api.Request{Method: "POST", Path: "/api/v1/reload", Result: &did})
				switch {
				case err != nil:
					return err
				case f.json:
					return f.printJSON(did)
				}
				fmt.Fprint(f.out, wrap(did.String(), ""))
				return nil
			})
		},
	})
}

// order is a command that gives a job one order.
func (f *face) order(use, short, what, said string) *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				answer, err := a.post(cmd.Context(), path(job, what), nil)
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(answer)
				}
				text := fmt.Sprintf(said, job)
				if answer.Text != "done" {
					text += answer.Text
				}
				fmt.Fprintln(f.out, text)
				return nil
			})
		},
	})
}

func (a asked) post(ctx context.Context, path string, body any) (s api.Said, err error) {
	return s, a.client.Do(ctx, api.Request{Method: "POST", Path: path, Body: body, Result: &s})
}
