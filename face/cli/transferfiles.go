package cli

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/face/api"
)

// fileFlags say which files are meant.
type fileFlags struct {
	text, state, since string
	limit              int
}

// transferFilesCommand lists the files of a transfer job.
func (f *face) transferFilesCommand() *cobra.Command {
	var q fileFlags
	c := f.asking(&cobra.Command{
		Use:   "files JOB [TEXT]",
		Short: "List the files of a transfer job",
		Long: "List the files that a transfer job has found, the newest first. TEXT is what the\n" +
			"name of a file begins with (t1_r0000) or, if there is a slash in it, what its\n" +
			"path below the source directory begins with (2023-09-19/t1). They are listed\n" +
			"from the last name to the first then. The job of the command line is `transfer`.",
		Example: "  holdfast transfer files frames t1_r0000123 --state done\n" +
			"  holdfast transfer files frames 2023-09-19/ --since 7d",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				q.text = args[1]
			}
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				out, err := a.files(cmd.Context(), job, q)
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(out)
				}
				f.showFiles(out)
				return nil
			})
		},
	})
	c.Flags().StringVar(&q.state, "state", "", "only those in a state: "+strings.Join(desk.FileStates(), ", "))
	c.Flags().StringVar(&q.since, "since", "", "only those found since then: 7d, 2026-01-31, 2026-01-31T12:00:00Z")
	maxFlag(c, &q.limit, 100, "limit", "at most so many")
	return c
}

// files asks page by page. An answer may be empty and not the end.
func (a asked) files(ctx context.Context, job string, q fileFlags) (out desk.Files, err error) {
	const page = 1000
	out.Files = []desk.FileRecord{}
	for more := true; more && len(out.Files) < q.limit; more = out.Next != "" {
		var next desk.Files
		v := url.Values{"text": {q.text}, "state": {q.state}, "since": {q.since}, "after": {out.Next},
			"limit": {strconv.Itoa(min(page, q.limit-len(out.Files)))}}
		err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "files") + "?" + v.Encode(), Result: &next})
		if err != nil {
			return out, err
		}
		out.Files, out.Next = append(out.Files, next.Files...), next.Next
	}
	return out, nil
}

func (f *face) showFiles(out desk.Files) {
	if len(out.Files) == 0 {
		fmt.Fprintln(f.out, "there are no such files")
		return
	}
	now := time.Now()
	t := newTable(">id", "found", "state", ">size", "~path")
	for _, r := range out.Files {
		t.add(strconv.FormatUint(r.ID, 10), ago(r.Found, now), string(r.State), disk.Size(r.Size), r.Path)
	}
	t.write(f.out, "")
	if out.Next != "" {
		fmt.Fprintln(f.err, "there are more: -n takes more")
	}
}

// transferFileCommand shows one file.
func (f *face) transferFileCommand() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "file JOB PATH|ID",
		Short: "Show what is known of one file, with all that happened to it",
		Long: "Show what is known of one file of a transfer job: what it is, where it is and\n" +
			"how that was verified, and each step of its way. PATH is below the source\n" +
			"directory, or absolute; of several files that stood there one after the other\n" +
			"the last is shown.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJob(cmd.Context(), args[0], func(a asked, job string) error {
				r, others, err := a.file(cmd.Context(), job, args[1])
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(r)
				}
				f.showFile(r, others)
				return nil
			})
		},
	})
}

// file finds a file by its number or its path; others are files that stood at its path before.
func (a asked) file(ctx context.Context, job, which string) (r desk.FileRecord, others []desk.FileRecord, err error) {
	id, err := strconv.ParseUint(which, 10, 64)
	if err != nil {
		var found desk.Files
		v := url.Values{"path": {strings.TrimPrefix(which, "./")}, "limit": {"10"}}
		err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "files") + "?" + v.Encode(), Result: &found})
		switch {
		case err != nil:
			return r, nil, err
		case len(found.Files) == 0:
			return r, nil, fault.WithHint(fault.New(fault.NotFound, "job %s knows no file %s", job, which),
				"`holdfast transfer files %s` lists them; PATH is below the source directory, with all its directories", job)
		}
		id, others = found.Files[0].ID, found.Files[1:]
	}
	return r, others, a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "files", strconv.FormatUint(id, 10)), Result: &r})
}

func (f *face) showFile(r desk.FileRecord, others []desk.FileRecord) {
	say := func(name, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		fmt.Fprintf(f.out, "  %-10s %s\n", name, strings.TrimSpace(strings.TrimLeft(wrap(text, "             "), " ")))
	}
	fmt.Fprintf(f.out, "file %d: %s\n", r.ID, printable(pathOf(r)))
	say("state", "%s since %s", r.State, r.Since.Format(time.RFC3339))
	if r.Why != "" {
		say("why", "%s", r.Why)
	}
	say("size", "%s bytes, written %s", count(r.Size), r.Modified.Format(time.RFC3339Nano))
	for _, fact := range [][2]string{{"FITS", r.Verdict}, {"SHA-1", r.SHA1}, {"SHA-256", r.SHA256}, {"placed", r.Placed}} {
		if fact[1] != "" {
			say(fact[0], "%s", fact[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Meta)) {
		say("metadata", "%s = %s", name, r.Meta[name])
	}
	for _, p := range r.To {
		if p.At.IsZero() {
			say("at", "%s: not yet", p.Destination)
			continue
		}
		where := []byte(p.Path)
		if p.PathBytes != nil {
			where = p.PathBytes
		}
		say("at", "%s: %s", p.Destination, printable(where))
		say("", "%s bytes, verified by %s at %s, SHA-256 %s", count(p.Size), p.Verified, p.At.Format(time.RFC3339), p.SHA256)
	}
	fmt.Fprintln(f.out, "steps:")
	for i, s := range r.Steps {
		if r.Skipped > 0 && i == desk.FirstSteps {
			fmt.Fprintf(f.out, "  ... %s not kept\n", count(r.Skipped))
		}
		fmt.Fprint(f.out, stepText(s))
	}
	for _, o := range others {
		fmt.Fprintf(f.out, "another stood there before: file %d, %s\n", o.ID, o.State)
	}
}

// pathOf is the path of a file, with the bytes that it has.
func pathOf(r desk.FileRecord) []byte {
	if r.PathBytes != nil {
		return r.PathBytes
	}
	return []byte(r.Path)
}

// stepText is a step in a line or two.
func stepText(s desk.FileStep) string {
	text := s.At.Format("2006-01-02 15:04:05.000") + "  " + string(s.What)
	switch {
	case s.Where != "" && s.What == desk.ShippedStep:
		text += " to " + s.Where
	case s.Where != "":
		text += " (" + s.Where + ")"
	}
	if s.Seconds > 0 {
		text += " in " + time.Duration(s.Seconds*float64(time.Second)).Round(10*time.Microsecond).String()
	}
	if s.Times > 0 {
		text += fmt.Sprintf(", %s %s", count(s.Times), plural.Noun(s.Times, "time"))
	}
	if s.Text != "" {
		text += ": " + s.Text
	}
	first, rest, _ := strings.Cut(strings.TrimSuffix(wrap(text, "  "), "\n"), "\n")
	for line := range strings.Lines(rest) {
		first += "\n  " + strings.TrimRight(line, "\n")
	}
	return first + "\n"
}
