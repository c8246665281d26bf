package supervise

import (
	"encoding/json"
	"time"

	"holdfast/base/fault"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/store"
)

// Led is a line that was seen before the line at which a rule fired, and without which the rule would not have fired.
type Led struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

const (
	// mostLed is how many of them are kept, and mostLedText how much of each.
	mostLed     = 5
	mostLedText = 300
	// ledFor is how long lines are kept that have led to nothing so far.
	ledFor = 7 * 24 * time.Hour
)

func ledKey(rule, k string) store.Key { return key('W').Str(rule).Str("\x00" + k) }

// gathers reports whether a rule fires because of several lines.
func gathers(r *rule.Rule) bool {
	return r != nil && r.When != nil && (r.When.Count > 1 || r.When.Then != nil || r.When.Without != nil)
}

// ledUp keeps the lines of decisions that may still lead to something, and adds to the actions the lines that led to them.
func (j *Job) ledUp(tx *store.Tx, decisions []decide.Decision, records []*Record) error {
	all := map[string][]Led{}
	for i := range decisions {
		d := &decisions[i]
		r := j.set.Rule(d.Rule)
		if !gathers(r) {
			continue
		}
		k := string(ledKey(d.Rule, d.Key))
		led, known := all[k]
		if !known {
			var err error
			if led, err = readLed(tx, store.Key(k)); err != nil {
				return err
			}
		}
		switch {
		case d.Outcome != decide.Unmet: // what comes next begins from nothing
			for _, rec := range records {
				if rec.from == d {
					rec.Led = within(led, d.Time.Add(-r.When.Within))
				}
			}
			led = nil
		case !d.Due && d.Facts != nil:
			text := d.Facts.Seen()
			led = append(led[max(0, len(led)-mostLed+1):len(led):len(led)], Led{d.Time, head(text, mostLedText)})
		}
		all[k] = led
	}
	for k, led := range all {
		if led == nil {
			tx.Delete(store.Key(k))
			continue
		}
		b, err := json.Marshal(led)
		if err != nil {
			return err
		}
		tx.Set(store.Key(k), b)
	}
	return nil
}

func within(led []Led, from time.Time) (all []Led) {
	for _, l := range led {
		if !l.Time.Before(from) {
			all = append(all, l)
		}
	}
	return all
}

func readLed(r store.Reader, k store.Key) (all []Led, err error) {
	_, err = r.Look(k, func(v []byte) error {
		if err := json.Unmarshal(v, &all); err != nil {
			return fault.New(fault.Corrupt, "the lines that a rule waits with can't be read: %w", err)
		}
		return nil
	})
	return all, err
}

// forgetLed forgets lines that have led to nothing for long.
func forgetLed(tx *store.Tx, now time.Time) error {
	entries, failed := tx.Scan(key('W'), key('W').End())
	for k, v := range entries {
		var all []Led
		if err := json.Unmarshal(v, &all); err != nil || len(all) == 0 || now.Sub(all[len(all)-1].Time) > ledFor {
			tx.Delete(store.Key(nil).Raw(k))
		}
	}
	return failed()
}
