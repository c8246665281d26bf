package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/plural"
)

// superviseCommand watches and acts.
func (f *face) superviseCommand() *cobra.Command {
	k := new(app.SuperviseFlags)
	var lf logFlags
	c := &cobra.Command{
		Use:   "supervise --rules FILE",
		Short: "Watch logs, metrics and services, and act by rules",
		Long: "Follow the journal, log files, Prometheus values and service states, decide by\n" +
			"the rules of a file, and act. Nothing that is seen is missed and nothing is done\n" +
			"twice, over restarts, rotations and hangs. SIGHUP reads the rules again.",
		Example: "  holdfast supervise check --rules rules.yaml   every mistake, with its line\n" +
			"  holdfast supervise test --rules rules.yaml    the tests in the rules\n" +
			"  holdfast supervise replay --since 24h         what would have been done\n" +
			"  holdfast supervise history                    what was done\n" +
			"  holdfast supervise explain 12                 and why",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withLog(lf, true, func(log *slog.Logger) error { return f.supervise(cmd.Context(), k, log) })
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	rulesFlag(c, &k.Rules)
	fs.StringVar(&k.Since, "since", "now", "where journal and files begin at first: now, boot, or a time")
	fs.StringArrayVar(&k.Notify, "notify", nil, "NAME=URL of whom rules can tell something, such as ops=ntfy://ntfy.sh/topic")
	fs.IntVar(&k.AtOnce, "at-once", 32, "actions at once")
	f.processFlags(c, &lf)
	fs.StringVar(&k.Listen, "listen", "", "address of the API (default none)")
	c.AddCommand(f.rulesCheck(), f.rulesTest(), f.rulesReplay(), f.rulesShow(), f.actionHistory(), f.actionExplain(),
		f.silenceCommand(), f.unsilenceCommand(), f.silencesCommand(),
		f.actionOrder("repeat ACTION", "Do an action (again)", "repeat", "action %s is done again"),
		f.actionOrder("abandon ACTION", "Give up an action of which nobody knows", "abandon", "action %s is given up"))
	return c
}

// rulesFlag adds the flag that names a rule file.
func rulesFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "rules", app.RulesFile, "rule file")
}

func (f *face) supervise(ctx context.Context, k *app.SuperviseFlags, log *slog.Logger) error {
	fl := *k
	fl.DataDir = f.dataDir
	plan, err := app.Supervise(fl, os.LookupEnv, log)
	if err != nil {
		return err
	}
	p := &process{plan: plan, log: log, ready: func(*desk.Desk, string) {
		log.Info(fmt.Sprintf("holdfast %s supervises by %s, with its state in %s", app.Version, fl.Rules, plan.Place.Dir))
	}}
	return p.run(ctx)
}

func (f *face) rulesCheck() *cobra.Command {
	var file string
	var schema bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check a rule file: every mistake, with its line",
		Long: "Check a rule file. Exits 2 if it has a mistake. What is allowed and hardly meant\n" +
			"is told too: rules that can't fire, patterns that anybody can make match, rules\n" +
			"that nothing holds back, and rules without a test; and files and programs that\n" +
			"others can write, with which no rule is obeyed.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if schema {
				b, err := app.RulesSchema()
				if err == nil {
					_, err = f.out.Write(b)
				}
				return err
			}
			set, err := app.LoadRules(file)
			if f.json {
				return f.rulesCheckJSON(file, set, err)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(f.out, "%s is good: %s over %s\n", file, counted(len(set.Rules), "rule"), counted(len(set.Sources), "source"))
			for _, x := range app.CheckRules(file, set) {
				rule := ""
				if x.Rule != "" {
					rule = "rule " + x.Rule + ": "
				}
				fmt.Fprint(f.out, wrap(fmt.Sprintf("%s: %s%s (%s)", x.Where, rule, x.Text, x.About), "  "))
			}
			return nil
		},
	}
	rulesFlag(c, &file)
	c.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of rule files, for editors")
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	return c
}

// counted is a number with its noun.
func counted[T int | int64 | uint64](n T, noun string) string {
	return count(n) + " " + plural.Noun(n, noun)
}

func (f *face) rulesCheckJSON(file string, set *app.Rules, err error) error {
	answer := struct {
		Good     bool              `json:"good"`
		Mistakes app.Mistakes      `json:"mistakes"`
		Findings []app.RuleFinding `json:"findings"`
	}{Good: err == nil, Mistakes: app.Mistakes{}, Findings: []app.RuleFinding{}}
	if err == nil {
		answer.Findings = append(answer.Findings, app.CheckRules(file, set)...)
	} else if m, ok := errors.AsType[app.Mistakes](err); ok {
		answer.Mistakes = m
	} else {
		return err
	}
	if werr := f.printJSON(answer); werr != nil || err == nil {
		return werr
	}
	return &exitError{code: WrongUsage}
}

func (f *face) rulesTest() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "test",
		Short: "Run the tests that stand in a rule file",
		Long:  "Run the tests that stand in a rule file, in no time. Exits 1 if one fails.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			set, err := app.LoadRules(file)
			if err != nil {
				return err
			}
			n, failures := app.TestRules(set)
			if f.json {
				err = f.printJSON(map[string]any{"tests": n, "failures": append([]app.TestFailure{}, failures...)})
			}
			for _, x := range failures {
				if !f.json {
					fmt.Fprint(f.out, wrap(fmt.Sprintf("%s: rule %s, test %s:", set.Where(set.Rule(x.Rule)), x.Rule, x.Test), ""))
					for line := range strings.Lines(x.Text) {
						fmt.Fprint(f.out, wrap(line, "  "))
					}
				}
			}
			if err != nil {
				return err
			}
			if len(failures) > 0 {
				return fmt.Errorf("%d of %s failed", len(failures), counted(n, "test"))
			}
			if !f.json {
				untested := 0
				for _, r := range set.Rules {
					if len(r.Tests) == 0 {
						untested++
					}
				}
				fmt.Fprintf(f.out, "%s of %s passed", counted(n, "test"), counted(len(set.Rules), "rule"))
				if untested > 0 {
					fmt.Fprintf(f.out, "; %d without a test", untested)
				}
				fmt.Fprintln(f.out)
			}
			return nil
		},
	}
	rulesFlag(c, &file)
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	return c
}

func (f *face) rulesReplay() *cobra.Command {
	var file, since, log string
	var all bool
	c := &cobra.Command{
		Use:   "replay --since 24h | --file LOG",
		Short: "What rules would have done on what was",
		Long: "Read what was (journal, log files, Prometheus), and tell what the rules would\n" +
			"have done then, beginning with nothing known. Nothing is done, or kept.\n" +
			"With --file the lines of one log go to all rules of lines.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := app.LoadRules(file)
			if err != nil {
				return err
			}
			p := app.Past{File: log}
			if p.Since, err = desk.ParseTime(since, time.Now()); err != nil {
				return err
			}
			tried, err := app.Try(cmd.Context(), set, p, func(w app.Would) error {
				if !all && !w.Acts() {
					return nil
				}
				if f.json {
					return json.NewEncoder(f.out).Encode(map[string]any{"decision": w})
				}
				f.showWould(w)
				return nil
			})
			if err != nil {
				return err
			}
			if f.json {
				return json.NewEncoder(f.out).Encode(map[string]any{"result": tried})
			}
			f.showTried(tried)
			if tried.Unread > 0 {
				return &exitError{LeftOver, errors.New(counted(tried.Unread, "source") + " could not be read: see the notes")}
			}
			return nil
		},
	}
	rulesFlag(c, &file)
	c.Flags().StringVar(&since, "since", "24h", "from when on: a time, or how long ago")
	c.Flags().StringVar(&log, "file", "", "a log to read instead")
	c.Flags().BoolVar(&all, "all", false, "also what was suppressed or led to nothing")
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON, a decision a line")
	return c
}

func (f *face) showWould(w app.Would) {
	text := w.Time.Local().Format("2006-01-02 15:04:05") + "  " + w.Rule
	if w.Key != "" {
		text += " for " + w.Key
	}
	if w.Outcome != "acted" {
		text += ": " + w.Outcome
		if w.Reason != "" {
			text += " (" + w.Reason + ")"
		}
	}
	fmt.Fprint(f.out, wrap(text, ""))
	for _, a := range w.Actions {
		fmt.Fprint(f.out, wrap(a, "    "))
	}
	fmt.Fprintln(f.out, "    < "+cut(w.Seen, width-6))
}

func (f *face) showTried(t app.Tried) {
	fmt.Fprintf(f.out, "\n%s and %s", counted(t.Lines, "line"), counted(t.Looks, "look"))
	if !t.From.IsZero() {
		fmt.Fprintf(f.out, " from %s to %s", t.From.Local().Format("2006-01-02 15:04"), t.To.Local().Format("2006-01-02 15:04"))
	}
	fmt.Fprintf(f.out, ", in %v\n", t.Took.Round(time.Millisecond))
	f.ruleTable(t.Rules)
	for _, n := range t.Notes {
		fmt.Fprint(f.out, wrap(n, "note: "))
	}
}

// titled is the name of a rule, with its mode where that is none that acts.
func titled(r app.RuleStatus) string {
	if r.Mode == "live" {
		return r.Name
	}
	return r.Name + " (" + string(r.Mode) + ")"
}

// ruleTable shows how often what became of rules.
func (f *face) ruleTable(rules []app.RuleStatus) {
	t := newTable("~rule", ">matched", ">acted", ">suppressed", ">unmet", ">refused", ">failed", "last")
	for _, r := range rules {
		suppressed := uint64(0)
		for _, o := range []string{"cooldown", "limit", "silence", "stale"} {
			suppressed += r.Became[o]
		}
		acted := r.Became["acted"] + r.Became["shadow"]
		t.add(titled(r), count(r.Matched), count(acted), count(suppressed), count(r.Became["unmet"]), count(r.Became["refused"]),
			count(r.Failed), ago(r.Seen, time.Now()))
	}
	t.write(f.out, "")
}

func (f *face) rulesShow() *cobra.Command {
	var file string
	var c *cobra.Command
	c = f.asking(&cobra.Command{
		Use:   "rules [JOB]",
		Short: "What the rules say, and what became of each",
		Long: "What the rules of a job say, and how often what became of each; with --rules\n" +
			"what a rule file says.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Flags().Changed("rules") {
				set, err := app.LoadRules(file)
				if err != nil {
					return err
				}
				return f.showRules(app.DescribeRules(set), false)
			}
			return f.withJobOf(cmd.Context(), "supervise", first(args), func(a asked, job string) error {
				all, err := a.rules(cmd.Context(), job)
				if err != nil {
					return err
				}
				return f.showRules(all, true)
			})
		},
	})
	c.Flags().StringVar(&file, "rules", "", "a rule file, in the place of a job")
	return c
}

func (f *face) showRules(all []app.RuleStatus, counts bool) error {
	if f.json {
		return f.printJSON(map[string]any{"rules": all})
	}
	for i, r := range all {
		if i > 0 {
			fmt.Fprintln(f.out)
		}
		fmt.Fprintln(f.out, titled(r))
		f.row("trigger", r.Trigger)
		f.row("condition", r.Condition)
		f.row("action", r.Action)
		if r.Why != "" {
			f.row("why", r.Why)
		}
		if counts {
			f.row("so far", soFar(r))
		}
	}
	return nil
}

// soFar says what became of a rule.
func soFar(r app.RuleStatus) string {
	text := count(r.Matched) + " matched"
	if r.Due > 0 {
		text += ", " + count(r.Due) + " times ran out"
	}
	for _, o := range []string{"acted", "shadow", "unmet", "cooldown", "limit", "silence", "stale", "refused", "off"} {
		if n := r.Became[o]; n > 0 {
			text += ", " + count(n) + " " + o
		}
	}
	if r.Failed > 0 {
		text += "; " + counted(r.Failed, "action") + " failed"
	}
	if !r.Seen.IsZero() {
		text += "; last " + ago(r.Seen, time.Now())
	}
	return text
}

// row writes a label and a text beside it, which may take several lines.
func (f *face) row(label, text string) {
	const at = 14
	if text == "" {
		text = "-"
	}
	lines := wrap(text, strings.Repeat(" ", at))
	fmt.Fprintf(f.out, "  %-*s%s", at-2, label, lines[at:])
}
