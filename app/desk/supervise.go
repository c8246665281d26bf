package desk

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/job/supervise"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

// What people ask of supervise jobs, and are told.
type (
	Action      = supervise.Record
	ActionState = supervise.State
	Silence     = decide.SilenceOf
)

// Actions are a page of what was done, the newest first.
type Actions struct {
	Actions []Action `json:"actions"`
	// Next, if it is not zero, is the before with which there may be more.
	Next time.Time `json:"next,omitzero"`
}

// ActionQuery asks for actions: of a rule, in a state, queued before a time; what is empty is all.
type ActionQuery = supervise.Query

// RuleFile is the rule file of a supervise job.
func (d *Desk) RuleFile(job string) (string, error) {
	if _, err := d.only(job); err != nil {
		return "", err
	}
	j, _ := d.plan.Job(job)
	file, ok := j.RuleFile(d.plan.Place.Dir)
	if !ok {
		return "", fault.New(fault.Invalid, "job %s does not supervise", job)
	}
	return file, nil
}

// Actions returns what was done, the newest first.
func (d *Desk) Actions(ctx context.Context, job string, q ActionQuery) (out Actions, err error) {
	if _, err := d.RuleFile(job); err != nil {
		return out, err
	}
	if q.State != "" && !slices.Contains(supervise.States, q.State) {
		return out, fault.WithHint(fault.New(fault.Invalid, "an action is never %.40q", q.State), "states are: %v",
			supervise.States)
	}
	out.Actions = []Action{}
	err = d.view(ctx, job, func(r store.Reader) error {
		all, next, err := supervise.Actions(r, q)
		out.Actions, out.Next = append(out.Actions, all...), next
		return err
	})
	return out, err
}

// Action returns what is known of one action.
func (d *Desk) Action(ctx context.Context, job, id string) (a Action, err error) {
	if _, err := d.RuleFile(job); err != nil {
		return a, err
	}
	err = d.view(ctx, job, func(r store.Reader) error {
		rec, ok, err := supervise.ReadRecord(r, id)
		if err == nil && !ok {
			err = fault.WithHint(fault.New(fault.NotFound, "there is no action %.100q (any more)", id),
				"`holdfast supervise history` lists them")
		}
		a = rec
		return err
	})
	return a, err
}

// RuleStatus returns the rules of a job with their counts.
func (d *Desk) RuleStatus(ctx context.Context, job string) (all []app.RuleStatus, err error) {
	return all, d.superviseJSON(ctx, job, &all, "rules")
}

// RuleReplay is what the rules of a job would have done on what was.
type RuleReplay struct {
	app.Tried
	// Would are the newest of the decisions, the oldest first; More is how many came before them.
	Would []app.Would `json:"would"`
	More  int64       `json:"more"`
}

// mostWould is how many decisions of a replay are kept.
const mostWould = 200

// ReplayRules replays what was since a time through the rules of a job as its file has them: what would have been done, or with
// all also what would not, and why. Nothing is done. One replay runs at a time; it ends with ctx.
func (d *Desk) ReplayRules(ctx context.Context, job string, since time.Time, all bool) (out RuleReplay, err error) {
	file, err := d.RuleFile(job)
	if err != nil {
		return out, err
	}
	set, err := app.LoadRules(file)
	if err != nil {
		return out, err
	}
	if !d.replaying.TryLock() {
		return out, fault.New(fault.Throttled, "rules are being replayed already; wait for that to end")
	}
	defer d.replaying.Unlock()
	out.Would = []app.Would{}
	out.Tried, err = app.Try(ctx, set, app.Past{Since: since}, func(w app.Would) error {
		if !all && !w.Acts() {
			return nil
		}
		if out.Would = append(out.Would, w); len(out.Would) > mostWould {
			out.Would, out.More = slices.Delete(out.Would, 0, 1), out.More+1
		}
		return nil
	})
	return out, err
}

// Silences returns those that hold.
func (d *Desk) Silences(ctx context.Context, job string) (all []Silence, err error) {
	return all, d.superviseJSON(ctx, job, &all, "silences")
}

// ExplainLine returns what each rule would make of a line of a source, and its fields, now; "" is any source.
func (d *Desk) ExplainLine(ctx context.Context, job, source, line string, fields map[string]string) (all []app.Opinion,
	err error) {
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	return all, d.superviseJSON(ctx, job, &all, "explain", source, line, string(b))
}

func (d *Desk) superviseJSON(ctx context.Context, job string, to any, name string, args ...string) error {
	text, err := d.Supervise(ctx, job, name, args...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), to)
}

// Supervise hands an order to a supervise job, which need not run.
func (d *Desk) Supervise(ctx context.Context, job, name string, args ...string) (text string, err error) {
	file, err := d.RuleFile(job)
	if err != nil {
		return "", err
	}
	text, err = d.commandSoon(ctx, job, name, args...)
	if !fault.Is(err, fault.Transient) {
		return text, err
	}
	atRest := func() error {
		return d.plan.AtRest(job, func(env engine.Env) (err error) {
			text, err = supervise.AtRest(ctx, env, supervise.Config{
				Rules: func() (*rule.Set, error) { return app.LoadRules(file) }}, name, args)
			return err
		})
	}
	if d.eng != nil {
		return text, d.eng.Offline(ctx, job, atRest)
	}
	return text, atRest()
}

// noteSupervise tells what a supervise job has done that does not run.
func (d *Desk) noteSupervise(ctx context.Context, s *engine.Status) {
	if s.Kind != app.SuperviseKind {
		return
	}
	err := d.view(ctx, s.Name, func(r store.Reader) (err error) {
		s.Notes, err = supervise.NotesAtRest(r)
		return err
	})
	if err != nil && !fault.Is(err, fault.Transient) && !errors.Is(err, store.ErrClosed) {
		s.Tell(err)
	}
}
