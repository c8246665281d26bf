package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/face/api"
)

func (a asked) rules(ctx context.Context, job string) ([]app.RuleStatus, error) {
	var out struct {
		Rules []app.RuleStatus `json:"rules"`
	}
	err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "supervise", "rules"), Result: &out})
	return out.Rules, err
}

func (f *face) actionHistory() *cobra.Command {
	var rule, state string
	var most int
	c := f.asking(&cobra.Command{
		Use:   "history [JOB]",
		Short: "What was done, the newest first",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJobOf(cmd.Context(), "supervise", first(args), func(a asked, job string) error {
				all, err := a.actions(cmd.Context(), job, rule, state, most)
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(map[string]any{"actions": all})
				}
				if len(all) == 0 {
					fmt.Fprintln(f.out, "nothing was done")
					return nil
				}
				t := newTable(">action", "when", "state", "rule", "~what")
				for _, x := range all {
					name := x.Call.Rule
					if x.Call.Key != "" {
						name += " " + x.Call.Key
					}
					t.add(strconv.FormatUint(x.Number, 10), ago(x.Queued, time.Now()), string(x.State), cut(name, 24), x.Call.Words())
				}
				t.write(f.out, "")
				return nil
			})
		},
	})
	c.Flags().StringVar(&rule, "rule", "", "of this rule alone")
	c.Flags().StringVar(&state, "state", "", "queued, running, done, failed, skipped, unknown or abandoned")
	maxFlag(c, &most, 50, "max", "at most so many")
	return c
}

// actions asks page by page.
func (a asked) actions(ctx context.Context, job, rule, state string, most int) (all []desk.Action, err error) {
	all = []desk.Action{}
	q := url.Values{"rule": {rule}, "state": {state}}
	for len(all) < most {
		var page desk.Actions
		q.Set("max", strconv.Itoa(min(1000, most-len(all))))
		err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "supervise", "actions") + "?" + q.Encode(), Result: &page})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Actions...)
		if page.Next.IsZero() {
			break
		}
		q.Set("before", page.Next.Format(time.RFC3339Nano))
	}
	return all, nil
}

func (f *face) actionExplain() *cobra.Command {
	var job, line, source, file string
	var fields map[string]string
	c := jobFlag(f.asking(&cobra.Command{
		Use:   "explain ACTION | --line TEXT",
		Short: "Why an action was done, or what a line would lead to",
		Long: "Of an action, by its number in `history`: the lines and values that led to it,\n" +
			"what was run, how it ended, what it said, and whether it helped. With --line:\n" +
			"which rules match, and why nothing would be done.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			byLine := cmd.Flags().Changed("line")
			if byLine == (len(args) == 1) {
				return &fault.Usage{Err: errors.New("want the number of an action, or --line")}
			}
			if byLine && file != "" {
				set, err := app.LoadRules(file)
				if err != nil {
					return err
				}
				all, err := app.ExplainRules(set, source, line, fields)
				if err != nil {
					return err
				}
				return f.showOpinions(all)
			}
			return f.withJobOf(cmd.Context(), "supervise", job, func(a asked, job string) error {
				if byLine {
					return f.explainLine(cmd.Context(), a, job, source, line, fields)
				}
				var x desk.Action
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: path(job, "supervise", "actions", args[0]), Result: &x})
				if err != nil {
					return err
				}
				if f.json {
					return f.printJSON(x)
				}
				f.showAction(x)
				return nil
			})
		},
	}), &job)
	c.Flags().StringVar(&line, "line", "", "a line as it would come")
	c.Flags().StringVar(&source, "source", "", "what it would come from, as `supervise rules` names it (default any)")
	c.Flags().StringToStringVar(&fields, "field", nil, "fields that it would have, NAME=VALUE, such as unit=a.service")
	c.Flags().StringVar(&file, "rules", "", "with --line: a rule file, in the place of a job")
	return c
}

func (f *face) explainLine(ctx context.Context, a asked, job, source, line string, fields map[string]string) error {
	var out struct {
		Rules []app.Opinion `json:"rules"`
	}
	q := url.Values{"line": {line}, "source": {source}}
	for name, value := range fields {
		q.Add("field", name+"="+value)
	}
	err := a.client.Do(ctx, api.Request{Method: "GET", Path: path(job, "supervise", "explain") + "?" + q.Encode(), Result: &out})
	if err != nil {
		return err
	}
	return f.showOpinions(out.Rules)
}

func (f *face) showOpinions(all []app.Opinion) error {
	if f.json {
		return f.printJSON(map[string]any{"rules": all})
	}
	matched := 0
	for _, o := range all {
		if !o.Matched {
			continue
		}
		matched++
		text := o.Rule
		if o.Key != "" {
			text += " for " + o.Key
		}
		text += ": " + o.Outcome
		if o.Reason != "" {
			text += " (" + o.Reason + ")"
		}
		fmt.Fprint(f.out, wrap(text, ""))
		for _, x := range o.Actions {
			fmt.Fprint(f.out, wrap(x, "    "))
		}
	}
	if matched == 0 {
		fmt.Fprintln(f.out, "no rule is about this line:")
		for _, o := range all {
			f.row(cut(o.Rule, 11), o.Why)
		}
	}
	return nil
}

func (f *face) showAction(x desk.Action) {
	c := &x.Call
	fmt.Fprint(f.out, wrap(fmt.Sprintf("action %d: %s", x.Number, c.Words()), ""))
	rule := c.Rule
	if c.Key != "" {
		rule += " for " + c.Key
	}
	if c.List != "" && c.List != "do" {
		rule += ", " + c.List
	}
	f.row("rule", rule)
	if c.Caused != "" {
		f.row("caused by", "our own action "+c.Caused)
	}
	for _, l := range x.Led {
		f.row("led to by", l.Time.Local().Format("2006-01-02 15:04:05")+" "+l.Text)
	}
	seen := x.Seen
	if !x.SeenAt.IsZero() {
		seen = x.SeenAt.Local().Format("2006-01-02 15:04:05") + " " + seen
	}
	f.row("led to by", seen)
	if x.Reason != "" {
		f.row("reason", x.Reason)
	}
	f.row("queued", when(x.Queued))
	state := string(x.State)
	if x.Note != "" {
		state += ": " + x.Note
	}
	f.row("state", state)
	if o := x.Last; o != nil {
		try := fmt.Sprintf("try %d of %d", x.Tries, c.Retries+1)
		if x.Tries > c.Retries+1 { // it was repeated behind a crash, or by a person
			try = fmt.Sprintf("try %d", x.Tries)
		}
		f.row("run", fmt.Sprintf("%s, for %v, %s", when(o.Begun), o.Took.Round(time.Millisecond), try))
		if o.Failed != "" {
			f.row("failed", o.Failed)
		}
		if c.Run != nil || c.HTTP != nil {
			f.row(map[bool]string{true: "exit code", false: "status"}[c.Run != nil], strconv.Itoa(o.Code))
			f.rowOfLines("output", o.Output)
			if o.Left > 0 {
				f.row("left behind", fmt.Sprintf("processes, of which %d had to be killed", o.Left))
			}
		}
	}
	if x.Healed != nil {
		f.row("helped", map[bool]string{true: "yes: what was expected was seen", false: "no: what was expected was not seen in time"}[*x.Healed])
	}
}

func when(t time.Time) string {
	return t.Local().Format("2006-01-02 15:04:05") + " (" + ago(t, time.Now()) + ")"
}

// rowOfLines writes a label and a text whose lines stay lines.
func (f *face) rowOfLines(label, text string) {
	if strings.TrimSpace(text) == "" {
		f.row(label, "none")
		return
	}
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		f.row(label, line)
		label = ""
	}
}

func (f *face) superviseOrder(ctx context.Context, job, order string, o api.SuperviseOrder, said func(text string) string) error {
	return f.withJobOf(ctx, "supervise", job, func(a asked, job string) error {
		answer, err := a.post(ctx, path(job, "supervise", order), o)
		return f.tell(err, answer, said(answer.Text))
	})
}

func (f *face) actionOrder(use, short, order, said string) *cobra.Command {
	var job string
	return jobFlag(f.asking(&cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.superviseOrder(cmd.Context(), job, order, api.SuperviseOrder{Action: args[0]},
				func(string) string { return fmt.Sprintf(said, args[0]) })
		},
	}), &job)
}

func (f *face) silenceCommand() *cobra.Command {
	var job, until, reason string
	var length length
	c := jobFlag(f.asking(&cobra.Command{
		Use:   "silence [RULE [KEY]] --for 2h --reason TEXT",
		Short: "Have rules do nothing for a while",
		Long: "Have rules do nothing for a while: one, one key of it, or all of them. What they\n" +
			"would have done is counted, and told when the silence ends.",
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := api.SuperviseOrder{Rule: first(args), Reason: reason}
			if len(args) > 1 {
				o.Key = args[1]
			}
			now := time.Now()
			switch {
			case (length > 0) == (until != ""):
				return &fault.Usage{Err: errors.New("want either --for or --until")}
			case strings.TrimSpace(reason) == "":
				return &fault.Usage{Err: errors.New("want --reason: it is told when the silence ends")}
			case length > 0:
				o.Until = now.Add(time.Duration(length))
			default:
				var err error
				if o.Until, err = desk.ParseTime(until, now); err != nil {
					return err
				}
			}
			what := "all rules"
			if o.Rule != "" {
				what = "rule " + strings.Join(args, " for ")
			}
			return f.superviseOrder(cmd.Context(), job, "silence", o, func(number string) string {
				return fmt.Sprintf("silence %s: %s until %s", number, what, o.Until.Local().Format("2006-01-02 15:04:05"))
			})
		},
	}), &job)
	c.Flags().Var(&length, "for", "how long, such as 2h")
	c.Flags().Lookup("for").DefValue = ""
	c.Flags().StringVar(&until, "until", "", "until when, such as \"2026-01-31 12:00\" (UTC)")
	c.Flags().StringVar(&reason, "reason", "", "why, for those who come later")
	return c
}

func (f *face) unsilenceCommand() *cobra.Command {
	var job string
	return jobFlag(f.asking(&cobra.Command{
		Use:   "unsilence NUMBER",
		Short: "End a silence, and tell what began under it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := number(args[0], "silence")
			if err != nil {
				return err
			}
			return f.superviseOrder(cmd.Context(), job, "unsilence", api.SuperviseOrder{Silence: n},
				func(string) string {
					return "silence " + args[0] + " is over; `holdfast events` has what began under it"
				})
		},
	}), &job)
}

func (f *face) silencesCommand() *cobra.Command {
	return f.asking(&cobra.Command{
		Use:   "silences [JOB]",
		Short: "The silences that hold",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withJobOf(cmd.Context(), "supervise", first(args), func(a asked, job string) error {
				var out struct {
					Silences []desk.Silence `json:"silences"`
				}
				err := a.client.Do(cmd.Context(), api.Request{Method: "GET", Path: path(job, "supervise", "silences"), Result: &out})
				switch {
				case err != nil:
					return err
				case f.json:
					return f.printJSON(out)
				case len(out.Silences) == 0:
					fmt.Fprintln(f.out, "there are no silences")
					return nil
				}
				t := newTable(">silence", "rule", "key", "until", "~reason")
				for _, s := range out.Silences {
					rule := s.Rule
					if rule == "" {
						rule = "all"
					}
					t.add(strconv.FormatUint(s.ID, 10), rule, s.Key, s.Until.Local().Format("2006-01-02 15:04:05"), s.Reason)
				}
				t.write(f.out, "")
				return nil
			})
		},
	})
}
