package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// commands are what a person can ask for, with how many words each takes.
var commands = map[string]int{"reload": 0, "rules": 0, "silence": 4, "unsilence": 1, "silences": 0, "repeat": 1, "abandon": 1,
	"explain": 3}

// AtRest is Command for a job that does not run, over its store.
func AtRest(ctx context.Context, env engine.Env, cfg Config, name string, args []string) (text string, err error) {
	j, err := New(env, cfg)
	if err != nil {
		return "", err
	}
	defer j.queue.Close()
	if name == "reload" {
		return "it reads its rules when it starts", nil
	}
	return j.Command(ctx, name, args)
}

// Command carries out what a person asks for:
//
//	reload                        read the rule file again; one with mistakes changes nothing
//	rules                         the rules with their counts, as JSON
//	silence RULE KEY UNTIL REASON nothing is done meanwhile; RULE and KEY may be empty, UNTIL is as RFC 3339 has it
//	unsilence NUMBER
//	silences                      as JSON
//	repeat ACTION                 an action is to be done (again)
//	abandon ACTION                an action of which nobody knows, or that is queued, is not to be done
//	explain SOURCE LINE FIELDS    what each rule makes of a line, as JSON; SOURCE may be empty, and FIELDS is an object, or empty
func (j *Job) Command(_ context.Context, name string, args []string) (string, error) {
	n, ok := commands[name]
	switch {
	case !ok:
		return "", fault.New(fault.Invalid, "a supervise job knows no command %q", name)
	case n != len(args):
		return "", fault.New(fault.Invalid, "%s wants %d words, got %d", name, n, len(args))
	}
	switch name {
	case "reload":
		return j.reload()
	case "rules":
		all, err := j.rules()
		if err != nil {
			return "", err
		}
		return asJSON(all)
	case "silence":
		return j.silence(args[0], args[1], args[2], args[3])
	case "unsilence":
		return j.unsilence(args[0])
	case "silences":
		j.mu.Lock()
		defer j.mu.Unlock()
		return asJSON(j.machine.Silences())
	case "repeat":
		return j.revive(args[0], Queued)
	case "explain":
		return j.explain(args[0], args[1], args[2])
	}
	return j.revive(args[0], Abandoned)
}

func asJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// reload reads the rule file again and puts its rules in the place of the present ones.
func (j *Job) reload() (string, error) {
	set, err := j.cfg.Rules()
	if err != nil {
		j.env.History.Warn("rules.refused", "the rules stay as they were: %v", err)
		return "", err
	}
	var gone map[string]*gate.Gate
	j.mu.Lock()
	was := j.set
	next, err := j.machine.With(set)
	if err == nil && j.broken == nil {
		j.set, j.machine = set, next
		err = j.commit("", nil, func(m *decide.Machine, all *found) {
			all.ordered = true
			all.add(m.Tick(time.Now()))
		})
	}
	if err == nil {
		err = j.broken
	}
	if err == nil {
		gone = j.breakers.forget(j.uses)
		err = j.env.Store.Update(func(tx *store.Tx) error {
			for id := range gone {
				tx.Delete(breakerKey(id))
			}
			return forgetRules(tx, j.known)
		})
	}
	if err == nil {
		err = j.settle(set)
	}
	j.mu.Unlock()
	for id, g := range gone { // nothing else would let go on what they hold, or tell people that they are over
		if g != nil {
			g.OpenByHand()
		}
		j.lines.free(ruleOfBreaker(id), id, true)
	}
	if err != nil {
		return "", err
	}
	j.watch()
	text := difference(was, set)
	j.env.History.Note("rules.read", "%s", text)
	return text, nil
}

// difference says which rules are new, and which no longer exist.
func difference(was, now *rule.Set) string {
	var added, gone []string
	for _, r := range now.Rules {
		if was.Rule(r.Name) == nil {
			added = append(added, r.Name)
		}
	}
	for _, r := range was.Rules {
		if now.Rule(r.Name) == nil {
			gone = append(gone, r.Name)
		}
	}
	text := fmt.Sprintf("rules read: %d", len(now.Rules))
	if added != nil {
		text += "; new: " + strings.Join(added, ", ")
	}
	if gone != nil {
		text += "; gone: " + strings.Join(gone, ", ")
	}
	return text
}

// RuleStatus is what is known of a rule: what it says, and how often each outcome occurred.
type RuleStatus struct {
	Name  string    `json:"name"`
	Mode  rule.Mode `json:"mode"`
	Why   string    `json:"why,omitempty"`
	Where string    `json:"where"` // FILE:LINE
	rule.Words
	Matched uint64            `json:"matched"`
	Due     uint64            `json:"due"` // times that ran out
	Became  map[string]uint64 `json:"became"`
	Failed  uint64            `json:"failed"` // actions that were not done, though they were tried
	// Forgotten are keys of which something still mattered when they had to make room for others.
	Forgotten uint64    `json:"forgotten"`
	Seen      time.Time `json:"seen,omitzero"` // when something matched last
}

// CountsOf returns the status of each rule of a set, with its counts in a machine.
func CountsOf(set *rule.Set, m *decide.Machine) (all []RuleStatus) {
	for _, r := range set.Rules {
		s := RuleStatus{Name: r.Name, Mode: r.Mode, Why: r.Why, Where: set.Where(r), Words: r.Words(), Became: map[string]uint64{}}
		c, _ := m.Counts(r.Name)
		s.Matched, s.Due, s.Seen, s.Forgotten = c.Matched, c.Due, c.Seen, c.Forgotten
		for o := decide.Acted; o <= decide.Refused; o++ {
			s.Became[o.String()] = c.Of(o)
		}
		all = append(all, s)
	}
	return all
}

func (j *Job) rules() (all []RuleStatus, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all = CountsOf(j.set, j.machine)
	err = j.env.Store.Latest(func(r store.Reader) error {
		for i := range all {
			n, err := count(r, failedKey(all[i].Name))
			if err != nil {
				return err
			}
			all[i].Failed = n
		}
		return nil
	})
	return all, err
}

func (j *Job) silence(name, key, until, reason string) (string, error) {
	end, err := time.Parse(time.RFC3339, until)
	if err != nil {
		return "", fault.New(fault.Invalid, "want the end of the silence as 2026-01-31T12:00:00Z, got %q", until)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var id uint64
	var refused error
	err = j.commit("", nil, func(m *decide.Machine, all *found) {
		all.ordered = true
		id, refused = m.Silence(decide.SilenceOf{Rule: name, Key: key, Until: end, Reason: reason}, time.Now())
	})
	if refused != nil {
		return "", fault.As(fault.Invalid, refused)
	}
	return strconv.FormatUint(id, 10), err
}

func (j *Job) unsilence(number string) (string, error) {
	id, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return "", fault.New(fault.Invalid, "%q is not the number of a silence", number)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	known := false
	err = j.commit("", nil, func(m *decide.Machine, all *found) {
		var r decide.Result
		r, known = m.Unsilence(id, time.Now())
		all.ordered = true
		all.add(r)
	})
	if err == nil && !known {
		return "", fault.New(fault.NotFound, "there is no silence %d (any more)", id)
	}
	return "", err
}

// revive makes an action that failed, or whose outcome nobody knows, queued again or abandoned, and lets the actions that come
// after it go on.
func (j *Job) revive(id string, as State) (string, error) {
	group := ""
	err := j.env.Store.Update(func(tx *store.Tx) error {
		rec, ok, err := ReadRecord(tx, id)
		switch {
		case err != nil:
			return err
		case !ok:
			return fault.New(fault.NotFound, "there is no action %s (any more)", id)
		case as == Queued && !rec.State.Over() || rec.State == Running || rec.State == Done:
			return fault.New(fault.Conflict, "action %s is %s", id, rec.State)
		case as == Abandoned && rec.State != Unknown && rec.State != Queued:
			return fault.New(fault.Conflict, "action %s is %s: nothing more becomes of it", id, rec.State)
		}
		was := rec.State
		rec.State, rec.Life, rec.Tries, rec.Note = as, j.life, 0, "by order"
		if err := putRecord(tx, &rec, was); err != nil {
			return err
		}
		group = rec.Call.Group
		if as == Queued { // what was wrong with it may be mended
			breaker := breakerOf(&rec.Call)
			entry, err := j.breakers.hurry(breaker)
			if err != nil {
				return err
			}
			if entry != nil {
				tx.Set(breakerKey(breaker), entry)
			}
		}
		return j.again(tx, group)
	})
	if err == nil {
		j.lines.nudge(group)
	}
	return "", err
}

// again makes sure that the actions of a decision are looked at again. A task that is in the queue, or in the hands of a
// worker, is enough; a dead one is revived, and one that is done is put in anew.
func (j *Job) again(tx *store.Tx, group string) error {
	f, ok, err := j.queue.Find(tx, group)
	switch {
	case err != nil:
		return err
	case ok && f.ID != 0:
		task, _, _, err := j.queue.Show(tx, f.ID)
		if err == nil && task.State == queue.Dead {
			_, err = j.queue.Revive(tx, f.ID)
		}
		return err
	case ok:
		if _, err := j.queue.Forget(tx, group); err != nil {
			return err
		}
	}
	_, err = j.queue.Put(tx, queue.Task{Key: group})
	return err
}

// Gates are those of the watchers, which are closed while nothing is known of what they watch, and the breakers: actions that
// failed again and again and are left alone for a while.
func (j *Job) Gates() []gate.Status {
	j.watching.Lock()
	defer j.watching.Unlock()
	var all []gate.Status
	for _, s := range j.watches {
		all = append(all, s.gate.Status())
	}
	slices.SortFunc(all, func(a, b gate.Status) int { return strings.Compare(a.Name, b.Name) })
	return append(all, j.breakers.gates()...)
}

// OpenGate refuses: a watcher opens its gate itself, once it can see again.
func (j *Job) OpenGate(name string) error {
	j.watching.Lock()
	defer j.watching.Unlock()
	var all []*gate.Gate
	for _, s := range j.watches {
		all = append(all, s.gate)
	}
	return gate.Open(name, all...)
}

// Notes are how many actions are in which state, the silences, and the limits that are reached.
func (j *Job) Notes() (all [][2]string) {
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		all, err = NotesAtRest(r)
		return err
	})
	if err != nil {
		return [][2]string{{"actions", "not known: " + err.Error()}}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.machine.Silences()); n > 0 {
		all = append(all, [2]string{"silences", strconv.Itoa(n)})
	}
	for _, e := range j.machine.Reached() {
		all = append(all, [2]string{e.What, fmt.Sprintf("reached by rule %s: %d within %v; %s nothing was done for it since %s", e.Rule,
			e.Limit.Max, e.Limit.Within, plural.Of(e.Held, "time"), e.Since.UTC().Format(time.RFC3339))})
	}
	return all
}

// NotesAtRest are those of the Notes that can be read from the store alone.
func NotesAtRest(r store.Reader) ([][2]string, error) {
	counts, err := Counts(r)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%d done, %d failed, %d queued", counts[Done], counts[Failed]+counts[Skipped],
		counts[Queued]+counts[Running])
	if n := counts[Unknown]; n > 0 {
		text += fmt.Sprintf(", %d of which nobody knows whether they were done", n)
	}
	return [][2]string{{"actions", text}}, nil
}

// Quotas are none: what is kept is small.
func (j *Job) Quotas() []engine.Quota { return nil }

// Promises are about rows, of which there are none.
func (j *Job) Promises() map[string]string { return nil }

// Tasks are the actions.
func (j *Job) Tasks(r store.Reader) (engine.Tasks, error) {
	all, err := Counts(r)
	t := engine.Tasks{}
	for s, n := range all {
		t.Taken += int64(n)
		if !s.Over() {
			t.Open += int64(n)
		}
	}
	return t, err
}

// silenceText says what began under a silence that has ended.
func silenceText(s decide.SilenceEnd) string {
	var b strings.Builder
	what := "all rules"
	if s.Rule != "" {
		what = "rule " + s.Rule + ofKey(s.Key)
	}
	fmt.Fprintf(&b, "the silence of %s (%s) is over", what, s.Reason)
	if len(s.Began) == 0 {
		b.WriteString("; nothing began under it")
		return b.String()
	}
	b.WriteString("; under it began:")
	for _, x := range s.Began {
		fmt.Fprintf(&b, " %s%s %s since %s;", x.Rule, ofKey(x.Key), plural.Of(x.Times, "time"), x.First.UTC().Format(time.RFC3339))
	}
	if s.More > 0 {
		fmt.Fprintf(&b, " and %s more", plural.Of(s.More, "time"))
	}
	return strings.TrimSuffix(b.String(), ";")
}
