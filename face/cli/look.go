package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/plural"
	"holdfast/face/api"
)

// selecting are the flags that say which blocks and rows are meant.
type selecting struct{ from, to, sink string }

const rangeHelp = "A time is that of the rows where the job's source names a time column, else that\n" +
	"at which a block came in: a date (2026-01-31), a date with a time of day\n" +
	"(2026-01-31T12:00:00Z; UTC unless it says so), or how long ago it is (7d).\n"

func (s *selecting) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.from, "from", "", "from this time on; default: the oldest that is retained")
	c.Flags().StringVar(&s.to, "to", "", "before this time; default: the newest")
	c.Flags().StringVar(&s.sink, "sink", "", "only what this sink has not got")
}

// query is the question's part of an address. Times are made absolute here, so that all pages mean the same.
func (s *selecting) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	for name, text := range map[string]string{"from": s.from, "to": s.to} {
		t, err := desk.ParseTime(text, now)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if s.sink != "" {
		q.Set("sink", s.sink)
	}
	return q, nil
}

// oneOf refuses what is none of the formats of a command.
func oneOf(format string, all ...string) error {
	if slices.Contains(all, format) {
		return nil
	}
	return &exitError{WrongUsage, fmt.Errorf("--format: want one of %s, got %q", strings.Join(all, ", "), format)}
}

func (f *face) spoolList() *cobra.Command {
	var sel selecting
	var block uint64
	var max int
	var format string
	c := f.asking(&cobra.Command{
		Use:   "ls [JOB]",
		Short: "List the blocks of rows",
		Long: "List the blocks that have rows between two times, whole: cat is exact to the\n" +
			"row.\n" + rangeHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.json {
				format = "json"
			}
			if err := oneOf(format, "table", "json", "jsonl", "csv"); err != nil {
				return err
			}
			q, err := sel.query(time.Now())
			if err != nil {
				return err
			}
			return f.withJob(cmd.Context(), first(args), func(a asked, job string) error {
				list, more, err := a.blocks(cmd.Context(), job, q, block, max)
				if err != nil {
					return err
				}
				if err := f.showBlocks(list, format); err != nil || !more {
					return err
				}
				fmt.Fprintf(f.err, "there are more: --block %d goes on, -n takes more at once\n",
					list[len(list)-1].Seq+1)
				return nil
			})
		},
	})
	sel.flags(c)
	c.Flags().Uint64Var(&block, "block", 0, "begin with this block")
	maxFlag(c, &max, 1000, "max", "at most so many")
	c.Flags().StringVar(&format, "format", "table", "table, json, jsonl or csv")
	return c
}

// blocks asks page by page, for at most max blocks and whether there are more.
func (a asked) blocks(ctx context.Context, job string, q url.Values, next uint64, max int) (
	all []desk.Block, more bool, err error) {
	const page = 1000
	for len(all) <= max {
		var out struct {
			Blocks []desk.Block `json:"blocks"`
		}
		n := min(page, max+1-len(all)) // one more than is wanted tells whether there are more
		q.Set("first", strconv.FormatUint(next, 10))
		q.Set("max", strconv.Itoa(n))
		err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "spool") + "?" + q.Encode(),
			Result: &out})
		if err != nil {
			return nil, false, err
		}
		all = append(all, out.Blocks...)
		if len(out.Blocks) < n {
			return all, false, nil
		}
		next = all[len(all)-1].Seq + 1
	}
	return all[:max], true, nil
}

func (f *face) showBlocks(blocks []desk.Block, format string) error {
	switch format {
	case "json":
		return f.printJSON(map[string]any{"blocks": append([]desk.Block{}, blocks...)})
	case "jsonl":
		for _, b := range blocks {
			if err := json.NewEncoder(f.file).Encode(b); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		w := csv.NewWriter(f.file)
		lines := [][]string{{"block", "at", "rows", "bytes", "from", "to", "begin", "end", "pending"}}
		for _, b := range blocks {
			lines = append(lines, []string{fmt.Sprint(b.Seq), stamp(b.At), fmt.Sprint(b.Rows), fmt.Sprint(b.Bytes),
				fmt.Sprint(b.From), fmt.Sprint(b.To), stamp(b.Begin), stamp(b.End), strings.Join(b.Pending, " ")})
		}
		return w.WriteAll(lines)
	}
	if len(blocks) == 0 {
		fmt.Fprintln(f.out, "there are no such blocks")
		return nil
	}
	now := time.Now()
	t := newTable(">block", "came in", ">rows", ">size", "first id", "last id", "~not yet at")
	for _, b := range blocks {
		pending := strings.Join(b.Pending, ", ")
		if pending == "" {
			pending = "-"
		}
		t.add(strconv.FormatUint(b.Seq, 10), ago(b.At, now), count(b.Rows), disk.Size(b.Bytes),
			strconv.FormatUint(b.From, 10), strconv.FormatUint(b.To, 10), pending)
	}
	t.write(f.out, "")
	return nil
}

// stamp writes a time for programs; none is nothing.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (f *face) spoolStats() *cobra.Command {
	var sel selecting
	c := f.asking(&cobra.Command{
		Use:   "stats [JOB]",
		Short: "Show the figures of a spool",
		Long: "Show the figures that the store keeps: at once, however much there is. With a\n" +
			"range the heads of its blocks are read and added up.\n" + rangeHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := sel.query(time.Now())
			if err != nil {
				return err
			}
			return f.withJob(cmd.Context(), first(args), func(a asked, job string) error {
				var s desk.SpoolStats
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET",
					Path: path(job, "spool", "stats") + "?" + q.Encode(), Result: &s})
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(s)
				}
				f.showStats(s)
				return nil
			})
		},
	})
	sel.flags(c)
	return c
}

func (f *face) showStats(s desk.SpoolStats) {
	now := time.Now()
	text := fmt.Sprintf("%s: %s %s in %s %s, %s packed, about %s unpacked; the oldest came in %s, the newest %s",
		s.Job, count(s.Rows), plural.Noun(s.Rows, "row"), count(s.Blocks), plural.Noun(s.Blocks, "block"),
		disk.Size(s.Bytes), disk.Size(s.RawBytes), ago(s.Oldest, now), ago(s.Newest, now))
	if !s.Begin.IsZero() {
		text += fmt.Sprintf("; rows of %s to %s", stamp(s.Begin), stamp(s.End))
	}
	fmt.Fprint(f.out, wrap(text, ""), "\n")
	t := newTable("~sink", ">delivered", ">to deliver", ">size", "oldest", ">expired")
	for _, k := range s.Sinks {
		t.add(k.Sink, count(k.Delivered), count(k.Pending), disk.Size(k.PendingBytes), ago(k.Oldest, now),
			count(k.Expired))
	}
	t.write(f.out, "")
}

// blockRange reads BLOCK or BLOCK-BLOCK.
func blockRange(s string, q url.Values) error {
	if s == "" {
		return nil
	}
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	for _, n := range []string{from, to} {
		if v, err := strconv.ParseUint(n, 10, 64); err != nil || v == 0 {
			return &exitError{WrongUsage, fmt.Errorf("want the number of a block, or two with - between, got %q", s)}
		}
	}
	q.Set("first", from)
	q.Set("last", to)
	return nil
}

var errNeedsFile = errors.New("parquet is no text: say where it goes with --output FILE")
