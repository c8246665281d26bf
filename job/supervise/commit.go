package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

	"holdfast/base/plural"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// found is what followed from what was seen.
type found struct {
	decide.Result
	ordered bool // a person waits for it
}

func (f *found) add(r decide.Result) {
	f.Decisions = append(f.Decisions, r.Decisions...)
	f.Calls = append(f.Calls, r.Calls...)
	f.Healings = append(f.Healings, r.Healings...)
	f.Silences = append(f.Silences, r.Silences...)
	f.Episodes = append(f.Episodes, r.Episodes...)
	f.Full = append(f.Full, r.Full...)
}

// commit steps the rules, and commits their states, the actions that were decided, and the position of the source that led to
// them, all in one transaction. Called with mu held. After an error the machine is ahead of the store, so the job starts
// again.
//
// If nothing is to be done, the commit is lazy: what a crash loses of it is seen again.
func (j *Job) commit(source string, position []byte, step func(*decide.Machine, *found)) error {
	if j.broken != nil {
		return j.broken
	}
	var all found
	step(j.machine, &all)
	records, events := j.records(&all), j.events(&all)
	update := j.env.Store.UpdateLazy
	if len(records)+len(events) > 0 || all.ordered {
		update = j.env.Store.Update
	}
	err := update(func(tx *store.Tx) error {
		if position != nil {
			tx.Set(positionKey(source), position)
		}
		for entry, value := range j.machine.Changes() {
			if k := key('M').Str(entry); value == nil {
				tx.Delete(k)
				if rule, of, ok := decide.KeyOf(entry); ok {
					tx.Delete(ledKey(rule, of))
				}
			} else {
				tx.Set(k, value)
			}
		}
		for _, h := range all.Healings {
			if err := j.heal(tx, h); err != nil {
				return err
			}
		}
		if err := j.ledUp(tx, all.Decisions, records); err != nil {
			return err
		}
		for _, e := range events {
			if err := engine.AddEvent(tx, e); err != nil {
				return err
			}
		}
		return j.put(tx, records)
	})
	if err != nil {
		j.broken = fmt.Errorf("keep what was seen: %w", err)
		j.fail(j.broken)
		return j.broken
	}
	j.say(&all)
	for _, e := range events {
		level := slog.LevelInfo
		if e.Warn {
			level = slog.LevelWarn
		}
		j.env.Log.Log(context.Background(), level, e.Text)
	}
	for _, rec := range records {
		if rec.State == Unknown {
			j.tellUnknown(rec)
		}
	}
	j.setAlarm()
	return nil
}

// records returns a Record for each action that was decided.
func (j *Job) records(all *found) (records []*Record) {
	why := map[string]*decide.Decision{}
	for i := range all.Decisions {
		for k := range all.Decisions[i].Calls {
			why[all.Decisions[i].Calls[k].ID] = &all.Decisions[i]
		}
	}
	now := time.Now()
	for i := range all.Calls { // a nanosecond apart, so that lists have them in their order
		rec := &Record{Call: all.Calls[i], State: Queued, Queued: now.Add(time.Duration(i)), Life: j.life}
		if d := why[rec.Call.ID]; d != nil {
			rec.Reason, rec.from = d.Reason.String(), d
			if d.Time.Before(j.restored) && rec.Call.Unknown != rule.Repeat {
				rec.State, rec.Note = Unknown, "what led to it was seen before the restore, and may have been acted on then"
			}
			if d.Facts != nil {
				rec.Seen, rec.SeenAt = short(d.Facts.Seen()), d.Time
			}
		}
		records = append(records, rec)
	}
	return records
}

// mostSeen is how much of what led to an action is kept with it.
const mostSeen = 4 << 10

func short(s string) string {
	if len(s) > mostSeen {
		return head(s, mostSeen) + "..."
	}
	return s
}

// head is the beginning of a text, of at most n bytes, that ends with no part of a character.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for range utf8.UTFMax - 1 {
		if n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
	}
	return s[:n]
}

// put queues actions. All actions of one decision are one task, because they depend on each other.
func (j *Job) put(tx *store.Tx, records []*Record) error {
	groups, order := map[string][]string{}, []string(nil)
	for _, rec := range records {
		switch _, known, err := ReadRecord(tx, rec.Call.ID); {
		case err != nil:
			return err
		case known: // whatever told the event again: what is done for it is done once
			j.env.Log.Warn(fmt.Sprintf("action %s was decided before, and is not done again", rec.Call.ID))
			continue
		}
		if err := putRecord(tx, rec, ""); err != nil {
			return err
		}
		g := rec.Call.Group
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], rec.Call.ID)
	}
	for _, g := range order {
		if err := putGroup(tx, g, groups[g]); err != nil {
			return err
		}
		if _, err := j.queue.Put(tx, queue.Task{Key: g}); err != nil {
			return err
		}
	}
	return nil
}

// heal writes down whether actions helped: the first ones, and those of each rung that was climbed.
func (j *Job) heal(tx *store.Tx, h decide.Healing) error {
	for rung := range h.Rungs + 1 {
		all, err := readGroup(tx, rule.GroupID(h.Rule, h.Key, h.Event, rung))
		if err != nil {
			return err
		}
		for _, rec := range all {
			healed := h.Healed && rung == h.Rungs // those before had not helped
			rec.Healed = &healed
			if err := putRecord(tx, rec, rec.State); err != nil {
				return err
			}
		}
	}
	return nil
}

// say logs each decision, on a line of its own.
func (j *Job) say(all *found) {
	for i := range all.Decisions {
		d := &all.Decisions[i]
		level := slog.LevelInfo
		if d.Outcome == decide.Unmet || d.Outcome == decide.Off {
			level = slog.LevelDebug
		}
		about := []any{"rule", d.Rule, "key", d.Key, "position", d.Event, "outcome", d.Outcome.String(), "reason", d.Reason}
		for i := len(about) - 2; i >= 0; i -= 2 {
			if about[i+1] == "" {
				about = slices.Delete(about, i, i+2)
			}
		}
		j.env.Log.Log(context.Background(), level, "decided", about...)
	}
}

// events are the entries of the history for what followed. They are added in the same commit, so that each is told once.
func (j *Job) events(all *found) (events []engine.Event) {
	add := func(warn bool, kind, format string, args ...any) {
		events = append(events, engine.Event{At: time.Now().UTC(), Job: j.env.Name, Kind: kind, Text: fmt.Sprintf(format, args...),
			Warn: warn})
	}
	for _, x := range all.Healings {
		if x.Healed {
			add(false, "action.healed", "rule %s%s: what was expected is seen, after %d further tries", x.Rule, ofKey(x.Key), x.Rungs)
		} else {
			add(true, "action.not-healed", "rule %s%s: what was expected is not seen, and there is nothing more to try", x.Rule,
				ofKey(x.Key))
		}
	}
	for _, s := range all.Silences {
		add(false, "silence.ended", "%s", silenceText(s))
	}
	for _, e := range all.Episodes {
		if e.Over {
			add(false, "limit.over", "rule %s%s: the %s is no longer reached: %s something was counted and not acted upon since %s",
				e.Rule, ofKey(e.Key), e.What, plural.Of(e.Held, "time"), e.Since.UTC().Format(time.RFC3339))
		} else {
			add(true, "limit.reached", "rule %s%s: the %s is reached: %d within %v; what follows is counted, and not acted upon", e.Rule,
				ofKey(e.Key), e.What, e.Limit.Max, e.Limit.Within)
		}
	}
	for _, name := range all.Full {
		add(true, "rule.full", "rule %s has as many keys as it can remember: from now on the one that was not seen for longest is "+
			"forgotten for each new one, and counted; where all are waited for, a new one is counted as held by a limit", name)
	}
	return events
}

func ofKey(key string) string {
	if key == "" {
		return ""
	}
	return " for " + key
}

// tick lets the rules see that time has passed.
func (j *Job) tick() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.alarm == nil { // it is over
		return
	}
	now := time.Now()
	_ = j.commit("", nil, func(m *decide.Machine, all *found) { all.add(m.Tick(now)) }) // an error ends the job
}

// setAlarm sets the clock to when the machine wants a tick. Called with mu held.
func (j *Job) setAlarm() {
	if j.alarm == nil {
		return
	}
	if wait, ok := j.machine.Next(); ok {
		j.alarm.Reset(max(wait, time.Millisecond))
	} else {
		j.alarm.Stop()
	}
}

func (j *Job) isBroken() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken != nil
}
