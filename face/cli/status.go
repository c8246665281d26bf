package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/engine"
)

func (f *face) statusCommand() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "status [JOB]",
		Short: "Show how the jobs are",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var reports []desk.Report
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
func keepJob(all []desk.Report, job string) (kept []desk.Report, err error) {
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
func joinReports(all []desk.Report) desk.Report {
	out := all[0]
	if out.Stayed == nil {
		out.Stayed = map[string][]app.Stayed{}
	}
	for _, r := range all[1:] {
		out.Jobs = append(out.Jobs, r.Jobs...)
		out.Notices = append(out.Notices, r.Notices...)
		out.Work = append(out.Work, r.Work...)
		out.Checkpoints = append(out.Checkpoints, r.Checkpoints...)
		out.Running = out.Running || r.Running
		if !r.ShortSince.IsZero() && (out.ShortSince.IsZero() || r.ShortSince.Before(out.ShortSince)) {
			out.ShortSince = r.ShortSince
		}
		maps.Copy(out.Letters, r.Letters)
		maps.Copy(out.Stayed, r.Stayed)
	}
	return out
}

func (f *face) showReport(rep desk.Report, now time.Time) {
	if rep.Running {
		fmt.Fprint(f.out, wrap(fmt.Sprintf("holdfast %s runs in %s (process %d, for %s)", rep.Version,
			rep.Place.Dir, rep.Pid, span(now.Sub(rep.Since))), ""))
	} else {
		fmt.Fprint(f.out, wrap(fmt.Sprintf("nothing runs in %s", rep.Place.Dir), ""))
	}
	if text := rep.ShortText(now); text != "" {
		fmt.Fprint(f.out, wrap("! "+text, "  "))
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
func (f *face) showJob(j engine.Status, rep desk.Report, now time.Time) {
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
func jobLines(j engine.Status, rep desk.Report, now time.Time) (lines []string) {
	if j.Error != "" {
		what := "failed last"
		if j.State == engine.Starting && j.Restarts == 0 {
			what = "does not start"
		}
		lines = append(lines, "! "+what+": "+j.Error)
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
		mark, then := "! ", fmt.Sprintf("see `holdfast gaps %s --all`, and then `holdfast acknowledge %s`", j.Name, j.Name)
		if a := j.Acknowledged; a != nil && a.Lost >= n {
			mark, then = "", "acknowledged "+ago(a.At, now)
		}
		lines = append(lines, fmt.Sprintf("%s%s %s lost to damage, a limit or overload: %s", mark, count(n), plural.Noun(n, "row"), then))
	}
	if d := j.Damage; d != nil {
		lines = append(lines, fmt.Sprintf("! damage was met %s ago: %s; `holdfast spool verify %s` tells what "+
			"can't be read now", span(now.Sub(d.At)), d.Text, j.Name))
	}
	for _, what := range j.Balance.Damage() {
		lines = append(lines, "! damage "+what)
	}
	if n := j.Balance.GapSums.Open; n > 0 {
		lines = append(lines, fmt.Sprintf("%s open %s (%s missing)", count(n), plural.Noun(n, "gap"),
			count(j.Balance.GapSums.Missing)))
	}
	for _, s := range rep.Stayed[j.Name] {
		lines = append(lines, fmt.Sprintf("! cache file %s stays where it is: %s", s.File, s.Reason))
	}
	if n := rep.Letters[j.Name]; n > 0 {
		lines = append(lines, fmt.Sprintf("%s dead %s: see `holdfast dead ls %s`", count(n),
			plural.Noun(n, "letter"), j.Name))
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
