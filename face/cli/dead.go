package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/face/api"
)

func (f *face) deadCommand() *cobra.Command {
	c := &cobra.Command{Use: "dead", Short: "Look at dead letters: what could not go on, and why"}
	c.AddCommand(f.deadList(), f.deadShow(), f.deadRetry(), f.deadEdit(), f.deadDiscard())
	return c
}

type deadList struct {
	Dead []desk.DeadLetter `json:"dead"`
}

// dead asks page by page.
func (a asked) dead(ctx context.Context, job string, after uint64, max int) (all deadList, err error) {
	const page = 1000
	all.Dead = []desk.DeadLetter{}
	for len(all.Dead) < max {
		var out deadList
		n := min(page, max-len(all.Dead))
		err := a.client.Do(ctx, api.Request{Method: "GET",
			Path: path(job, "dead") + fmt.Sprintf("?after=%d&max=%d", after, n), Result: &out})
		if err != nil {
			return all, err
		}
		all.Dead = append(all.Dead, out.Dead...)
		if len(out.Dead) == 0 { // a page of large ones has fewer than were asked for
			break
		}
		after = out.Dead[len(out.Dead)-1].ID
	}
	return all, nil
}

// letterIDs are the numbers of all dead letters of a job. It holds a page of them at a time: each has the item that it is about.
func (a asked) letterIDs(ctx context.Context, job string) (ids []string, err error) {
	for after := uint64(0); ; {
		page, err := a.dead(ctx, job, after, 1000)
		if err != nil || len(page.Dead) == 0 {
			return ids, err
		}
		for _, d := range page.Dead {
			ids, after = append(ids, strconv.FormatUint(d.ID, 10)), d.ID
		}
	}
}

func (f *face) deadList() *cobra.Command {
	var max int
	var after uint64
	c := f.asking(&cobra.Command{
		Use:   "ls [JOB]",
		Short: "List dead letters",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), first(args), func(a asked, job string) error {
				out, err := a.dead(cmd.Context(), job, after, max+1) // one more says that there are more
				if err != nil {
					return err
				}
				more := len(out.Dead) > max
				out.Dead = out.Dead[:min(max, len(out.Dead))]
				if f.json {
					err = f.printJSON(out)
				} else {
					f.showDead(out)
				}
				if more {
					fmt.Fprintf(f.err, "there are more: --after %d goes on, -n takes more at once\n", out.Dead[max-1].ID)
				}
				return err
			})
		},
	})
	c.Flags().Uint64Var(&after, "after", 0, "go on behind this one, which the list before told")
	maxFlag(c, &max, 1000, "max", "at most so many")
	return c
}

func (f *face) showDead(out deadList) {
	if len(out.Dead) == 0 {
		fmt.Fprintln(f.out, "there are no dead letters")
		return
	}
	t := newTable(">id", "when", "from", "key", "~reason")
	for _, d := range out.Dead {
		t.add(strconv.FormatUint(d.ID, 10), ago(d.At, time.Now()), d.From, cut(d.Key, 20), brief(d.Reason))
	}
	t.write(f.out, "")
}

// directories are those of the file at the beginning of a reason: line 3 of /data/day.csv: ...
var directories = regexp.MustCompile(`^(\w+ \d+ of )/[^:]*/`)

// brief leaves them out where there is little room: what is wrong is behind them.
func brief(reason string) string { return directories.ReplaceAllString(reason, "$1") }

func (f *face) deadShow() *cobra.Command {
	var job string
	return jobFlag(f.asking(&cobra.Command{
		Use:   "show ID",
		Short: "Show one dead letter whole",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := number(args[0], "dead letter"); err != nil {
				return err
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				var d desk.Letter
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: path(job, "dead", args[0]),
					Result: &d})
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(d)
				}
				fmt.Fprintf(f.out, "dead letter %d of job %s, from %s, %s\n", d.ID, job, d.From, ago(d.At,
					time.Now()))
				fmt.Fprint(f.out, wrap(where(d)+d.Reason, "  "))
				if d.Key != "" {
					fmt.Fprintf(f.out, "  key: %s\n", d.Key)
				}
				if err := f.showValues(d); err != nil {
					return err
				}
				if len(d.Raw) > 0 {
					fmt.Fprintf(f.out, "  as it came: %s\n", printable(d.Raw))
				}
				return nil
			})
		},
	}), &job)
}

// printable is what a terminal may be given: bytes from outside could hold its commands.
func printable(b []byte) string {
	s := string(b)
	if !utf8.Valid(b) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}

func number(s, of string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, &exitError{WrongUsage, fmt.Errorf("want the number of a %s, got %q", of, s)}
	}
	return n, nil
}

func (f *face) deadRetry() *cobra.Command {
	return f.deadOrder("retry ID... | --all", "Give dead letters another try", "retry",
		"%d tried again")
}

func (f *face) deadDiscard() *cobra.Command {
	return f.deadOrder("discard ID... | --all", "Let dead letters go for good", "discard",
		"%d discarded")
}

// deadOrder is a command that does the same with each of some dead letters, or with all.
func (f *face) deadOrder(use, short, what, said string) *cobra.Command {
	var job, reason string
	var all bool
	c := jobFlag(f.asking(&cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLetters(args, all); err != nil {
				return err
			}
			if what == "discard" && strings.TrimSpace(reason) == "" {
				return &exitError{WrongUsage, errors.New("say why, for the history: --reason TEXT")}
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				if all {
					var err error
					if args, err = a.letterIDs(cmd.Context(), job); err != nil {
						return err
					}
				}
				done, failed := a.eachLetter(cmd.Context(), job, what, reason, args)
				if f.json {
					return errors.Join(failed, f.printJSON(map[string]int{what: done,
						"failed": len(args) - done}))
				}
				fmt.Fprintf(f.out, said+"\n", done)
				return failed
			})
		},
	}), &job)
	c.Flags().BoolVar(&all, "all", false, "all of them")
	if what == "discard" {
		c.Flags().StringVar(&reason, "reason", "", "why, for the history")
	}
	return c
}

// checkLetters wants either numbers or all.
func checkLetters(ids []string, all bool) error {
	if all == (len(ids) > 0) {
		return &exitError{WrongUsage, errors.New("name dead letters by their numbers, or give --all")}
	}
	for _, id := range ids {
		if _, err := number(id, "dead letter"); err != nil {
			return err
		}
	}
	return nil
}

// maxTold is how many failures of one order are told.
const maxTold = 20

// eachLetter gives an order for each letter; one that fails does not keep the others from theirs.
func (a asked) eachLetter(ctx context.Context, job, what, reason string, ids []string) (done int,
	failed error) {
	n := 0
	for _, id := range ids {
		if _, err := a.post(ctx, path(job, "dead", id, what), api.Order{Reason: reason}); err != nil {
			if n++; n <= maxTold {
				failed = errors.Join(failed, err)
			}
			continue
		}
		done++
	}
	if n > maxTold {
		failed = errors.Join(failed, fmt.Errorf("%d more failed", n-maxTold))
	}
	return done, failed
}
