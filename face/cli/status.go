package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/visible"
	"holdfast/face/api"
	"holdfast/kernel/engine"
)

func (f *face) statusCommand() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "status [JOB]",
		Short: "Show how the jobs are",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var reports []app.Report
			err := f.each(func(a asked) error {
				rep, err := a.status(cmd.Context())
				if err == nil {
					reports = append(reports, rep)
				}
				return err
			})
			if err == nil && len(args) > 0 {
				reports, err = keepJob(reports, args[0])
			}
			if err != nil {
				return err
			}
			if f.json {
				return f.printJSON(joinReports(reports))
			}
			for i, rep := range reports {
				if i > 0 {
					fmt.Fprintln(f.out)
				}
				f.showReport(rep, time.Now())
			}
			return nil
		},
	})
}

// keepJob returns the reports that tell of a job, with nothing but that job.
func keepJob(all []app.Report, job string) (kept []app.Report, err error) {
	var names []string
	for _, rep := range all {
		jobs := rep.Jobs
		rep.Jobs = nil
		for _, j := range jobs {
			names = append(names, j.Name)
			if j.Name == job {
				rep.Jobs = append(rep.Jobs, j)
			}
		}
		if len(rep.Jobs) > 0 {
			kept = append(kept, rep)
		}
	}
	if len(kept) == 0 {
		return nil, fault.WithHint(fault.New(fault.NotFound, "there is no job %s", job), "jobs are: %s",
			orNone(strings.Join(names, ", ")))
	}
	return kept, nil
}

// joinReports makes one report of several data directories: the first one's, with everybody's jobs.
func joinReports(all []app.Report) app.Report {
	out := all[0]
	if out.Stayed == nil {
		out.Stayed = map[string][]app.Stayed{}
	}
	for _, r := range all[1:] {
		out.Jobs = append(out.Jobs, r.Jobs...)
		out.Notices = append(out.Notices, r.Notices...)
		out.Work = append(out.Work, r.Work...)
		out.Running = out.Running || r.Running
		maps.Copy(out.Letters, r.Letters)
		maps.Copy(out.Stayed, r.Stayed)
	}
	return out
}

func (f *face) showReport(rep app.Report, now time.Time) {
	if rep.Running {
		fmt.Fprint(f.out, wrap(fmt.Sprintf("holdfast %s runs in %s (process %d, for %s)", rep.Version,
			rep.Place.Dir, rep.Pid, span(now.Sub(rep.Since))), ""))
	} else {
		fmt.Fprint(f.out, wrap(fmt.Sprintf("nothing runs in %s", rep.Place.Dir), ""))
	}
	for _, n := range rep.Notices {
		fmt.Fprint(f.out, wrap("! "+n, "  "))
	}
	for _, p := range rep.Work {
		fmt.Fprintf(f.out, "  %s\n", cut(progressText(p), width-2))
	}
	if len(rep.Jobs) == 0 {
		fmt.Fprintln(f.out, "  there are no jobs")
		return
	}
	fmt.Fprintln(f.out)
	t := newTable("~job", "kind", "state", "since", ">read", ">backlog", "oldest")
	for _, j := range rep.Jobs {
		read, backlog := j.Balance.Read, j.Backlog.Rows
		if j.Kind == "crawl" {
			read = j.Taken
		}
		for i, q := range j.Balance.Queues { // a job of tasks
			if i == 0 {
				read = q.Put
			}
			if j.Bytes == nil { // it does not run
				backlog += left(q)
			}
		}
		t.add(j.Name, j.Kind, string(j.State), ago(j.Since, now), count(read), count(backlog), ago(j.Backlog.Oldest, now))
	}
	t.write(f.out, "")
	for _, j := range rep.Jobs {
		f.showJob(j, rep, now)
	}
}

// showJob tells what a person may have to look at in one job.
func (f *face) showJob(j engine.Status, rep app.Report, now time.Time) {
	lines := jobLines(j, rep, now)
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(f.out, "\n%s\n", j.Name)
	for _, l := range lines {
		fmt.Fprint(f.out, wrap(l, "  "))
	}
}

// jobLines are what a person may have to look at in one job; what is wrong begins with a !.
func jobLines(j engine.Status, rep app.Report, now time.Time) (lines []string) {
	if j.Error != "" {
		lines = append(lines, "! failed last: "+j.Error)
	}
	if p := j.Progress; p != nil {
		lines = append(lines, fmt.Sprintf("%s: %.0f %%, %s left", p.What, p.Percent, span(p.Left)))
	}
	for _, g := range j.Gates {
		if !g.Open {
			lines = append(lines, fmt.Sprintf("! %s is away for %s: %s", g.Name, span(now.Sub(g.Since)),
				g.Cause))
			if g.Hint != "" {
				lines = append(lines, "  "+g.Hint)
			}
		}
	}
	for _, b := range j.Balance.Broken {
		lines = append(lines, "! the books do not balance: "+b)
	}
	if n := j.Balance.GapSums.Lost; n > 0 {
		lines = append(lines, fmt.Sprintf("! %s rows are lost to damage, a limit or overload: see `holdfast gaps %s --all`",
			count(n), j.Name))
	}
	if d := j.Damage; d != nil {
		lines = append(lines, fmt.Sprintf("! damage was met %s ago: %s; `holdfast spool verify %s` tells what "+
			"can't be read now", span(now.Sub(d.At)), d.Text, j.Name))
	}
	for _, what := range j.Balance.Damage() {
		lines = append(lines, "! damage "+what)
	}
	if n := j.Balance.GapSums.Open; n > 0 {
		lines = append(lines, fmt.Sprintf("%s open %s (%s missing)", count(n), plural(n, "gap"),
			count(j.Balance.GapSums.Missing)))
	}
	for _, s := range rep.Stayed[j.Name] {
		lines = append(lines, fmt.Sprintf("! cache file %s stays where it is: %s", s.File, s.Reason))
	}
	if n := rep.Letters[j.Name]; n > 0 {
		lines = append(lines, fmt.Sprintf("%s dead %s: see `holdfast dead ls %s`", count(n),
			plural(n, "letter"), j.Name))
	}
	for _, q := range j.Balance.Queues {
		lines = append(lines, queueText(q, j.State != engine.Stopped))
	}
	if r := j.Rates; r != nil && len(j.Balance.Queues) == 0 && j.Kind != "crawl" {
		lines = append(lines, ratesText(*r))
	}
	lines = append(lines, promiseTexts(j.Promises)...)
	for _, q := range j.Quotas {
		if q.Level != engine.Fine {
			lines = append(lines, quotaText(q))
		}
	}
	for _, n := range j.Notes {
		lines = append(lines, strings.TrimPrefix(n[0]+": "+n[1], ": "))
	}
	return lines
}

// queueText is how a queue stands. What was in the hands of a process that ended waits for the next one.
func queueText(q engine.QueueBooks, runs bool) string {
	waiting, underWay := q.Ready+q.Waiting, q.Leased
	if !runs {
		waiting, underWay = waiting+underWay, 0
	}
	return fmt.Sprintf("%s: %s waiting, %s under way, %s done, %s dropped, %s dead", q.Queue, count(waiting), count(underWay),
		count(q.Done), count(q.Dropped), count(q.Dead))
}

// left is how many tasks of a queue are not done.
func left(q engine.QueueBooks) int64 { return q.Ready + q.Leased + q.Waiting }

// promiseTexts say of the sinks how often a row arrives there, one line a promise.
func promiseTexts(promises map[string]string) (out []string) {
	by := map[string][]string{}
	for _, sink := range slices.Sorted(maps.Keys(promises)) {
		by[promises[sink]] = append(by[promises[sink]], sink)
	}
	for _, promise := range slices.Backward(slices.Sorted(maps.Keys(by))) {
		out = append(out, fmt.Sprintf("%s to %s", promise, strings.Join(by[promise], ", ")))
	}
	return out
}

// ratesText is one line: what came and what each sink got.
func ratesText(r engine.Rates) string {
	text := "rows a second, over a minute: read " + rate(r.Read)
	for _, name := range slices.Sorted(maps.Keys(r.Delivered)) {
		text += fmt.Sprintf(", %s %s", name, rate(r.Delivered[name]))
	}
	return text
}

func rate(perSecond float64) string {
	if perSecond < 10 {
		return fmt.Sprintf("%.1f", perSecond)
	}
	return count(int64(perSecond + 0.5))
}

func (f *face) auditCommand() *cobra.Command {
	var deep bool
	c := f.asking(&cobra.Command{
		Use:   "audit [JOB]",
		Short: "Prove that every row is accounted for; fails if one is not",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all := app.Audit{Balanced: true, Jobs: []engine.Books{}}
			err := f.each(func(a asked) error {
				one, err := f.audit(cmd.Context(), a, args, deep)
				all.Balanced = all.Balanced && one.Balanced
				all.Letters += one.Letters
				all.Jobs, all.Deep = append(all.Jobs, one.Jobs...), append(all.Deep, one.Deep...)
				return err
			})
			if err != nil {
				return err
			}
			if f.json {
				err = f.printJSON(all)
			} else {
				f.showAudit(all)
			}
			if err == nil && !all.Balanced {
				err = &exitError{code: Failed}
			}
			return err
		},
	})
	c.Flags().BoolVar(&deep, "deep", false, "ask the sinks themselves what they hold")
	return c
}

func (f *face) audit(ctx context.Context, a asked, args []string, deep bool) (out app.Audit,
	err error) {
	q := url.Values{"deep": {fmt.Sprint(deep)}}
	if len(args) > 0 {
		q.Set("job", args[0])
	}
	progress, end := f.progress()
	defer end()
	err = a.client.Do(ctx, api.Request{Method: "GET", Path: "/api/v1/audit?" + q.Encode(),
		Result:   &out,
		Progress: progress})
	return out, err
}

// item is what jobs have in their books.
func item(jobs []engine.Books) string {
	rows := slices.ContainsFunc(jobs, func(j engine.Books) bool { return len(j.Queues) == 0 })
	tasks := slices.ContainsFunc(jobs, func(j engine.Books) bool { return len(j.Queues) > 0 })
	switch {
	case rows && tasks:
		return "row and task"
	case tasks:
		return "task"
	}
	return "row"
}

// showQueues shows the books of a job that has tasks.
func (f *face) showQueues(j engine.Books) {
	t := newTable("~queue", ">put", ">ready", ">leased", ">waiting", ">done", ">dead", ">dropped")
	for _, q := range j.Queues {
		t.add(q.Queue, count(q.Put), count(q.Ready), count(q.Leased), count(q.Waiting), count(q.Done), count(q.Dead),
			count(q.Dropped))
	}
	t.write(f.out, "  ")
	f.showBroken(j)
}

func (f *face) showBroken(j engine.Books) {
	for _, b := range j.Broken {
		fmt.Fprint(f.out, wrap("! "+b, "  "))
	}
}

func (f *face) showAudit(a app.Audit) {
	for i, j := range a.Jobs {
		if i > 0 {
			fmt.Fprintln(f.out)
		}
		fmt.Fprintf(f.out, "%s\n", j.Job)
		f.showBooks(j)
	}
	f.showDeep(a.Deep)
	if a.Balanced {
		fmt.Fprintln(f.out, "\nbalanced: every "+item(a.Jobs)+" is accounted for")
		return
	}
	if n := a.Unknown(); n > 0 {
		fmt.Fprintf(f.out, "\nthe books balance; what %d %s is not known\n", n,
			map[bool]string{true: "sink holds", false: "sinks hold"}[n == 1])
		return
	}
	fmt.Fprintln(f.out, "\nNOT balanced")
}

// showBooks shows where everything is that came into a job.
func (f *face) showBooks(j engine.Books) {
	if len(j.Queues) > 0 {
		f.showQueues(j)
		return
	}
	t := newTable("", ">read", ">accepted", ">duplicate", ">filtered", ">rejected")
	t.add("intake", count(j.Read), count(j.Accepted), count(j.Duplicate), count(j.Filtered),
		count(j.Rejected))
	t.write(f.out, "  ")
	if len(j.Sinks) > 0 {
		t = newTable("~sink", ">accepted", ">delivered", ">pending", ">dead", ">discarded", ">expired")
		for _, s := range j.Sinks {
			t.add(s.Sink, count(s.Accepted), count(s.Delivered), count(s.Pending), count(s.Dead),
				count(s.Discarded), count(s.Expired))
		}
		t.write(f.out, "  ")
	}
	g := j.GapSums
	fmt.Fprintf(f.out, "  gaps: %s open (%s missing), %s filled, %s absent, %s lost\n", count(g.Open),
		count(g.Missing), count(g.Filled), count(g.Absent), count(g.Lost))
	f.showBroken(j)
}

func (f *face) showDeep(all []app.Comparison) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(f.out, "\nwhat the sinks hold")
	t := newTable("~job", "sink", ">rows", ">missing", ">doubled", ">excused", ">foreign")
	for _, c := range all {
		if c.Error != "" {
			t.add(c.Job, c.Sink, "?", "?", "?", "?", "?")
			continue
		}
		t.add(c.Job, c.Sink, count(c.Rows), count(c.Missing), count(c.Doubled), count(c.Excused),
			count(c.Foreign))
	}
	t.write(f.out, "  ")
	for _, c := range all {
		if c.Error != "" {
			fmt.Fprint(f.out, wrap(fmt.Sprintf("! %s, %s can't be compared: %s", c.Job, c.Sink, c.Error),
				"  "))
			if c.Hint != "" {
				fmt.Fprint(f.out, wrap(c.Hint, "    "))
			}
		}
		for what, keys := range map[string][]uint64{"missing": c.MissingKeys, "doubled": c.DoubledKeys} {
			if len(keys) > 0 {
				fmt.Fprint(f.out, wrap(fmt.Sprintf("! %s, %s: %s: %s", c.Job, c.Sink, what, some(keys)), "  "))
			}
		}
		if c.Note != "" {
			fmt.Fprint(f.out, wrap(fmt.Sprintf("! %s, %s: %s", c.Job, c.Sink, c.Note), "  "))
		}
	}
}

func some(keys []uint64) string {
	const shown = 5
	out := strings.Trim(fmt.Sprint(keys[:min(shown, len(keys))]), "[]")
	if len(keys) > shown {
		out += " …"
	}
	return out
}

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

// quotaText says what is above which mark, and what follows.
func quotaText(q engine.Quota) string {
	what := "the spool"
	if q.Sink != "" {
		what = "the backlog of sink " + q.Sink
	}
	mark, does := q.Soft, ""
	if q.Level == engine.Hard {
		mark, does = q.Hard, ": intake waits"
		if q.Policy == "expire" {
			does = ": the oldest rows that wait expire"
		}
	}
	where := "above"
	if q.Used <= mark { // a level ends only an eighth below its mark
		where = "not far enough below"
	}
	return fmt.Sprintf("! %s has %s, %s its %s mark of %s%s", what, disk.Size(uint64(max(q.Used, 0))), where,
		q.Level, disk.Size(uint64(mark)), does)
}
