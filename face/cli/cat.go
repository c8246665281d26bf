package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/plural"
	"holdfast/face/api"
)

// cat is what a person wants to see of a spool's rows.
type cat struct {
	sel            selecting
	format, output string
	max            int
}

func (f *face) spoolCat() *cobra.Command {
	var job string
	var o cat
	c := jobFlag(f.asking(&cobra.Command{
		Use:   "cat [BLOCK[-BLOCK]]",
		Short: "Print rows, of blocks or a range of time, or write them to a file",
		Long: "Print rows as JSON, one a line, or in another format. A range of time is exact\n" +
			"to the row where the job's source names a time column; else whole blocks go by\n" +
			"when they came in. Rows come in the order in which they were taken in. Without\n" +
			"blocks and sink, each row comes once, also if it was delivered again. A file\n" +
			"gets its name when it is whole and on the disk. In Parquet and CSV there is\n" +
			"every column that some row has.\n" + rangeHelp,
		Example: "  holdfast spool cat --from 1h --format table\n" +
			"  holdfast spool cat --from 2026-01-01 --to 2026-02-01 --output january.parquet",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			q, err := o.sel.query(time.Now())
			if err != nil {
				return err
			}
			if err := blockRange(first(args), q); err != nil {
				return err
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				shown, err := f.cat(cmd.Context(), a, job, q, o)
				if err != nil {
					return err
				}
				return f.showMissing(shown)
			})
		},
	}), &job)
	o.sel.flags(c)
	c.Flags().StringVar(&o.format, "format", "", "jsonl (default), table, csv or parquet; else by the ending of "+
		"--output")
	c.Flags().StringVarP(&o.output, "output", "o", "", "write to this file")
	c.Flags().IntVarP(&o.max, "max", "n", 0, "at most so many rows; default all, of a table 100")
	return c
}

// complete fills in what was left to us, and refuses what makes no sense.
func (o *cat) complete() error {
	if o.format == "" {
		switch o.format = strings.TrimPrefix(filepath.Ext(o.output), "."); o.format {
		case "csv", "parquet":
		default:
			o.format = "jsonl"
		}
	}
	if err := oneOf(o.format, "table", "jsonl", "csv", "parquet"); err != nil {
		return err
	}
	switch {
	case o.format == "parquet" && o.output == "":
		return &exitError{WrongUsage, errNeedsFile}
	case o.format == "table" && o.output != "":
		return &exitError{WrongUsage, errors.New("a table is for a terminal: want another --format for a file")}
	case o.max < 0:
		return &exitError{WrongUsage, errors.New("--max: want a number from 1")}
	case o.format == "table" && o.max == 0:
		o.max = 100
	}
	return nil
}

func (f *face) cat(ctx context.Context, a asked, job string, q url.Values, o cat) (shown desk.Shown, err error) {
	q.Set("format", o.format)
	if o.max > 0 {
		q.Set("max", strconv.Itoa(o.max))
	}
	get := func(to io.Writer) error {
		return a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "spool", "rows") + "?" + q.Encode(),
			File: to, Result: &shown})
	}
	switch {
	case o.output != "":
		err = whole(o.output, get)
		if err == nil {
			fmt.Fprintf(f.err, "%s %s of %s %s in %s\n", count(shown.Rows), plural.Noun(shown.Rows, "row"),
				count(shown.Blocks), plural.Noun(shown.Blocks, "block"), o.output)
		}
	case o.format == "table":
		q.Set("format", "jsonl")
		var text bytes.Buffer // of at most max rows
		if err = get(&text); err == nil {
			err = f.showRows(&text)
		}
	default:
		err = get(f.file)
	}
	return shown, err
}

// showMissing tells of rows that should have come and can't.
func (f *face) showMissing(shown desk.Shown) error {
	if len(shown.Bad) == 0 {
		return nil
	}
	for _, b := range shown.Bad {
		fmt.Fprint(f.err, wrap(fmt.Sprintf("! block %d is damaged and its rows are missing: %s", b.Seq, b.Text), ""))
	}
	return &exitError{code: LeftOver}
}

// whole has write make a file that is whole or not there, after a power cut too: its bytes are on the disk
// before it gets its name, and the name is before anybody is told.
func whole(name string, write func(io.Writer) error) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer os.Remove(f.Name()) // which is gone, if all went well
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = disk.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// showRows draws rows as a table of the columns that fit into 80, and says which do not.
func (f *face) showRows(text io.Reader) error {
	dec := json.NewDecoder(text)
	dec.UseNumber()
	var names []string
	var rows []map[string]string
	for dec.More() {
		row, order, err := oneRow(dec)
		if err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		for _, name := range order {
			if len(rows) == 0 {
				names = append(names, name)
			} else if _, ok := rows[0][name]; !ok {
				names = append(names, name)
				rows[0][name] = "" // it is known from here on
			}
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		fmt.Fprintln(f.out, "there are no such rows")
		return nil
	}
	shown, left := 0, width
	for _, name := range names {
		widest := columns(name)
		for _, row := range rows {
			widest = max(widest, min(columns(row[name]), 30))
		}
		if left -= widest + 2; left < -2 && shown > 0 {
			break
		}
		shown++
	}
	t := newTable(names[:shown]...)
	for _, row := range rows {
		cells := make([]string, shown)
		for i, name := range names[:shown] {
			cells[i] = cut(row[name], 30)
		}
		t.add(cells...)
	}
	t.write(f.out, "")
	if rest := names[shown:]; len(rest) > 0 {
		fmt.Fprint(f.out, wrap("not shown, for want of width: "+strings.Join(rest, ", "), ""))
	}
	return nil
}

// oneRow reads an object with the order of its names.
func oneRow(dec *json.Decoder) (row map[string]string, order []string, err error) {
	row = map[string]string{}
	if _, err := dec.Token(); err != nil {
		return nil, nil, err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		value, err := dec.Token() // values have no inside
		if err != nil {
			return nil, nil, err
		}
		text := ""
		if value != nil {
			text = fmt.Sprint(value)
		}
		row[fmt.Sprint(name)] = text
		order = append(order, fmt.Sprint(name))
	}
	_, err = dec.Token()
	return row, order, err
}
