package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/face/api"
)

// where says who wrote the reason of a dead letter.
func where(d desk.Letter) string {
	if d.Refused() {
		return fmt.Sprintf("sink %s refused row %d of block %d: ", d.From, d.Row+1, d.Seq)
	}
	return "why: "
}

// showValues shows the columns of a row, one a line.
func (f *face) showValues(d desk.Letter) error {
	if len(d.Values) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(d.Values))
	dec.UseNumber()
	row, order, err := oneRow(dec)
	if err != nil {
		return fmt.Errorf("read row: %w", err)
	}
	widest := 0
	for _, name := range order {
		widest = max(widest, columns(name))
	}
	fmt.Fprintln(f.out, "  the row:")
	for _, name := range order {
		fmt.Fprintf(f.out, "    %s  %s\n", pad(name, widest), cut(row[name], width-6-widest))
	}
	return nil
}

func (f *face) deadEdit() *cobra.Command {
	var job, file string
	var set []string
	c := jobFlag(f.asking(&cobra.Command{
		Use:   "edit ID [--set COLUMN=VALUE]... [--row FILE]",
		Short: "Change the row of a dead letter, and try it",
		Long: "Edit changes single columns (--set), takes a whole row (--row, a JSON object; -\n" +
			"is standard input), or opens the row in $EDITOR. It is checked against the\n" +
			"columns before anything is changed; then it goes the way of every delivery, to\n" +
			"the sink that refused it. What was and what is stay in the history (`holdfast\n" +
			"events`). The key of a row that a sink refused stays: other sinks have the row\n" +
			"under it. An item that was no row becomes one, for all sinks, unless its key is\n" +
			"known already.\n",
		Example: "  holdfast dead edit 7 --set snr=-21 --set tx_loc=JN47\n" +
			"  jq '.values.snr = -21 | .values' row.json | holdfast dead edit 7 --row -",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := number(args[0], "dead letter"); err != nil {
				return err
			}
			e, err := f.editOf(cmd, set, file)
			if err != nil {
				return err
			}
			return f.withJob(cmd.Context(), job, func(a asked, job string) error {
				if e.Row == nil && e.Set == nil {
					if e.Row, err = f.inEditor(cmd, a, job, args[0]); err != nil {
						return err
					}
				}
				said, err := a.post(cmd.Context(), path(job, "dead", args[0], "edit"), api.Order{Edit: e})
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(said)
				}
				fmt.Fprintf(f.out, "dead letter %s was edited and is tried\n", args[0])
				return nil
			})
		},
	}), &job)
	c.Flags().StringArrayVar(&set, "set", nil, "set a column; null is none, which only an optional one may be")
	c.Flags().StringVar(&file, "row", "", "a file with the whole row as a JSON object; - is standard input")
	return c
}

// editOf reads what the flags say; empty if they say nothing.
func (f *face) editOf(cmd *cobra.Command, set []string, file string) (e desk.Edit, err error) {
	for _, s := range set {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return e, &exitError{WrongUsage, fmt.Errorf("--set: want COLUMN=VALUE, got %q", s)}
		}
		if e.Set == nil {
			e.Set = map[string]string{}
		}
		e.Set[name] = value
	}
	switch file {
	case "":
		return e, nil
	case "-":
		e.Row, err = io.ReadAll(cmd.InOrStdin())
	default:
		e.Row, err = os.ReadFile(file)
	}
	if err != nil {
		return e, fmt.Errorf("read row: %w", err)
	}
	return e, isObject(e.Row)
}

func isObject(row []byte) error {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(row, &v); err != nil {
		return &exitError{WrongUsage, fmt.Errorf("the row is no JSON object: %w", err)}
	}
	return nil
}

// inEditor lets a person change the row as JSON, and returns it.
func (f *face) inEditor(cmd *cobra.Command, a asked, job, id string) (row json.RawMessage, err error) {
	var d desk.Letter
	err = a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: path(job, "dead", id), Result: &d})
	if err != nil {
		return nil, err
	}
	if len(d.Values) == 0 {
		return nil, &exitError{WrongUsage, errors.New("it is no row yet: give one whole, as a JSON object with " +
			"--row FILE")}
	}
	var text bytes.Buffer
	if err := json.Indent(&text, d.Values, "", "  "); err != nil {
		return nil, fmt.Errorf("write row: %w", err)
	}
	text.WriteByte('\n')
	tmp, err := os.CreateTemp("", "holdfast-row-*.json") // readable for us alone
	if err != nil {
		return nil, fmt.Errorf("write row: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text.Bytes())
	if err = errors.Join(err, tmp.Close()); err != nil {
		return nil, fmt.Errorf("write row: %w", err)
	}
	if err := edit(cmd.Context(), tmp.Name()); err != nil {
		return nil, err
	}
	if row, err = os.ReadFile(tmp.Name()); err != nil {
		return nil, fmt.Errorf("read row: %w", err)
	}
	if bytes.Equal(row, text.Bytes()) {
		return nil, &exitError{LeftOver, errors.New("nothing was changed; the dead letter stays")}
	}
	return row, isObject(row)
}

// edit runs the person's editor on a file. Its settings are a command with arguments, for a shell.
func edit(ctx context.Context, file string) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	c := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, editor, file)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("edit with %s ($EDITOR): %w", editor, err)
	}
	return nil
}
