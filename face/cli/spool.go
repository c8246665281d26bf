package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/plural"
	"holdfast/face/api"
)

func (f *face) spoolCommand() *cobra.Command {
	c := &cobra.Command{Use: "spool", Short: "Look into the spool of a job, import and export"}
	c.AddCommand(f.spoolList(), f.spoolCat(), f.spoolStats(), f.spoolVerify(), f.spoolImport(),
		f.spoolExport(), f.spoolReplay())
	return c
}

// jobFlag adds --job to a command whose arguments are something else.
func jobFlag(c *cobra.Command, job *string) *cobra.Command {
	c.Flags().StringVar(job, "job", "", "the job (needed when there is more than one)")
	return c
}

// most is a flag for how many things are shown at most.
type most int

func (m *most) String() string { return strconv.Itoa(int(*m)) }
func (m *most) Type() string   { return "int" }

func (m *most) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return errors.New("want a number from 1")
	}
	*m = most(n)
	return nil
}

// maxFlag adds it to a command.
func maxFlag(c *cobra.Command, n *int, otherwise int, name, help string) {
	*n = otherwise
	c.Flags().VarP((*most)(n), name, "n", help)
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (f *face) spoolVerify() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "verify [JOB]",
		Short: "Read every block and compare it with its checksums",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), first(args), func(a asked, job string) error {
				var v desk.Verified
				if err := f.long(cmd.Context(), a, path(job, "spool", "verify"), nil, &v); err != nil {
					return err
				}
				if f.json {
					if err := f.printJSON(v); err != nil {
						return err
					}
				} else {
					f.showVerified(v)
				}
				if len(v.Bad) > 0 {
					return &exitError{code: Failed}
				}
				return nil
			})
		},
	})
}

func (f *face) showVerified(v desk.Verified) {
	for _, b := range v.Bad {
		fmt.Fprint(f.out, wrap(fmt.Sprintf("! block %d: %s", b.Seq, b.Text), ""))
	}
	if v.Lost > 0 {
		fmt.Fprintf(f.out, "%s %s lost to damage or limits before: see `holdfast audit %s`\n",
			count(v.Lost), plural.Noun(v.Lost, "row"), v.Job)
	}
	if len(v.Bad) == 0 {
		fmt.Fprintf(f.out, "%s: all %s %s are good\n", v.Job, count(v.Blocks), plural.Noun(v.Blocks, "block"))
		return
	}
	fmt.Fprintf(f.out, "%s: %s of %s %s damaged\n", v.Job, count(len(v.Bad)), count(v.Blocks), plural.Noun(v.Blocks, "block"))
}

// long sends an order that may take long, and shows how far it is.
func (f *face) long(ctx context.Context, a asked, path string, body, result any) error {
	progress, end := f.progress()
	defer end()
	return a.client.Do(ctx, api.Request{Method: "POST", Path: path, Body: body, Result: result,
		Progress: progress})
}

// onDirectory is a command that has a job work on a directory: order gives the order and returns what it
// told, and whether something is left over.
func (f *face) onDirectory(use, short string, order func(ctx context.Context, a asked, job,
	dir string) (leftOver bool, err error)) *cobra.Command {
	var job string
	return jobFlag(f.asking(&cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				leftOver, err := order(cmd.Context(), a, job, dir)
				if err == nil && leftOver {
					err = &exitError{code: LeftOver}
				}
				return err
			})
		},
	}), &job)
}

func (f *face) spoolImport() *cobra.Command {
	return f.onDirectory("import DIR", "Take in cache files (spots_*.json) of the old scraper, which stay",
		func(ctx context.Context, a asked, job, dir string) (bool, error) {
			var out desk.Imported
			err := f.long(ctx, a, path(job, "spool", "import"), api.Order{Dir: dir}, &out)
			if err != nil {
				return false, err
			}
			leftOver := len(out.Stayed) > 0 || out.Rejected > 0
			if f.json {
				return leftOver, f.printJSON(out)
			}
			fmt.Fprintf(f.out, "%s %s: %s %s read, %s new, %s known already, %s rejected\n",
				count(out.Files), plural.Noun(out.Files, "file"), count(out.Read), plural.Noun(out.Read, "row"), count(out.Accepted),
				count(out.Duplicate), count(out.Rejected))
			for _, s := range out.Stayed {
				fmt.Fprint(f.out, wrap("! not taken in: "+s, ""))
			}
			return leftOver, nil
		})
}

func (f *face) spoolReplay() *cobra.Command {
	var job, sink, from, to string
	c := jobFlag(f.asking(&cobra.Command{
		Use:   "replay --sink SINK [--from TIME] [--to TIME]",
		Short: "Deliver retained rows to a sink again, or to one added later",
		Long: "Replay has the retained blocks with rows between two event times delivered to a\n" +
			"sink again, or for the first time if they came in before it was added. What the\n" +
			"sink has is compared by key, so that nothing is there twice; what it lost comes\n" +
			"back. A time is a date (2026-01-31), a date with a time of day\n" +
			"(2026-01-31T12:00:00Z; UTC unless it says so), or how long ago it is (7d).\n",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := api.Order{Sink: sink}
			var err error
			if o.From, err = desk.ParseTime(from, time.Now()); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			if o.To, err = desk.ParseTime(to, time.Now()); err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				var out desk.Replayed
				if err := f.long(cmd.Context(), a, path(job, "spool", "replay"), o, &out); err != nil {
					return err
				}
				return f.showReplayed(out, sink)
			})
		},
	}), &job)
	c.Flags().StringVar(&sink, "sink", "", "the sink that gets them")
	c.Flags().StringVar(&from, "from", "", "rows from this event time on; default: the oldest that is retained")
	c.Flags().StringVar(&to, "to", "", "rows before this event time; default: the newest")
	return c
}

func (f *face) showReplayed(out desk.Replayed, sink string) (err error) {
	if f.json {
		err = f.printJSON(out)
	} else {
		fmt.Fprintf(f.out, "%s %s of %s %s go to sink %s again; `holdfast status` shows how far they are\n",
			count(out.Rows), plural.Noun(out.Rows, "row"), count(out.Blocks), plural.Noun(out.Blocks, "block"), sink)
		if out.Left > 0 {
			fmt.Fprintf(f.out, "%s %s in them stay dead letters or discarded\n", count(out.Left),
				plural.Noun(out.Left, "row"))
		}
	}
	if n := len(out.Unreadable); n > 0 {
		fmt.Fprintf(f.err, "! %s %s can't be read and stay as they are: see `holdfast spool verify`\n", count(n),
			plural.Noun(n, "block"))
		return &exitError{code: LeftOver}
	}
	return err
}

func (f *face) spoolExport() *cobra.Command {
	var raw bool
	c := f.onDirectory("export DIR", "Write the rows of the spool as cache files of the old scraper",
		func(ctx context.Context, a asked, job, dir string) (bool, error) {
			var out desk.Exported
			err := f.long(ctx, a, path(job, "spool", "export"), api.Order{Dir: dir, Raw: raw}, &out)
			if err != nil {
				return false, err
			}
			if f.json {
				return len(out.Bad) > 0, f.printJSON(out)
			}
			fmt.Fprintf(f.out, "%s %s in %s %s\n", count(out.Rows), plural.Noun(out.Rows, "row"), count(out.Files),
				plural.Noun(out.Files, "file"))
			for _, b := range out.Bad {
				fmt.Fprint(f.out, wrap(fmt.Sprintf("! block %d is damaged and was left out: %s", b.Seq,
					b.Text), ""))
			}
			return len(out.Bad) > 0, nil
		})
	c.Flags().BoolVar(&raw, "raw", false, "write the later kind of file, with the feed's own objects")
	return c
}
