package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/app/desk"
	"holdfast/face/api"
	"holdfast/kernel/engine"
)

func (f *face) auditCommand() *cobra.Command {
	var deep bool
	c := f.asking(&cobra.Command{
		Use:   "audit [JOB]",
		Short: "Prove that every row is accounted for; fails if one is not",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all := desk.Audit{Balanced: true, Jobs: []engine.Books{}}
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

func (f *face) audit(ctx context.Context, a asked, args []string, deep bool) (out desk.Audit,
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

func (f *face) showAudit(a desk.Audit) {
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

func (f *face) showDeep(all []desk.Comparison) {
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
