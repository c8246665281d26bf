package cli

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"holdfast/base/visible"
	"holdfast/face/api"
	"holdfast/kernel/engine"
)

func (f *face) eventsCommand() *cobra.Command {
	var follow, inCSV bool
	var max int
	var job string
	c := f.asking(&cobra.Command{
		Use:   "events [JOB]",
		Short: "Show what happened, oldest first",
		Long: "Show what happened, oldest first. With --csv it is a time line for other\n" +
			"programs: RFC 4180, times in UTC, and all that one answer can have unless -n\n" +
			"says how many.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case max < 0:
				return &exitError{WrongUsage, fmt.Errorf("--max: want a number from 0, got %d", max)}
			case inCSV && f.json:
				return &exitError{WrongUsage, errors.New("--csv and --json: want one of them")}
			case len(args) > 0 && job != "":
				return &exitError{WrongUsage, errors.New("--job and JOB: want one of them")}
			case len(args) > 0:
				job = args[0]
			}
			show := f.showEvent
			if inCSV {
				if !cmd.Flags().Changed("max") {
					max = mostEvents
				}
				var err error
				if show, err = f.timeLine(); err != nil {
					return err
				}
			}
			q := url.Values{"max": {fmt.Sprint(max)}, "follow": {fmt.Sprint(follow)}}
			if job != "" {
				q.Set("job", job)
			}
			return f.each(func(a asked) error {
				if follow && !a.client.Remote {
					return fmt.Errorf("nothing runs in %s, so nothing can be followed", a.place.Dir)
				}
				return a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: "/api/v1/events?" +
					q.Encode(),
					Item: show})
			})
		},
	})
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	c.Flags().IntVarP(&max, "max", "n", 100, "at most so many")
	c.Flags().StringVar(&job, "job", "", "of this job alone, as JOB")
	c.Flags().BoolVar(&inCSV, "csv", false, "as CSV: at, job, kind, warn, text")
	return c
}

// mostEvents is how many one answer can have.
const mostEvents = 10_000

// timeLine writes the head of a time line in CSV, and returns what writes an event to it.
func (f *face) timeLine() (show func(json.RawMessage) error, err error) {
	w := csv.NewWriter(f.file)
	w.UseCRLF = true // as RFC 4180 has it
	write := func(fields ...string) error {
		_ = w.Write(fields) // Error tells
		w.Flush()
		return w.Error()
	}
	return func(raw json.RawMessage) error {
		var e engine.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		return write(e.At.UTC().Format(time.RFC3339Nano), e.Job, e.Kind, strconv.FormatBool(e.Warn),
			visible.Text(e.Text, "\n\t"))
	}, write("at", "job", "kind", "warn", "text")
}

func (f *face) showEvent(raw json.RawMessage) error {
	if f.json {
		_, err := fmt.Fprintf(f.out, "%s\n", raw)
		return err
	}
	var e engine.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	mark := " "
	if e.Warn {
		mark = "!"
	}
	head := fmt.Sprintf("%s %s %s: ", e.At.Local().Format("2006-01-02 15:04:05"), mark, e.Job)
	_, err := fmt.Fprint(f.out, wrap(head+e.Text, ""))
	return err
}
