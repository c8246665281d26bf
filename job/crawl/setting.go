package crawl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"holdfast/base/fault"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/store"
)

// control is what persons have ordered. It lasts over restarts, and is in checkpoints.
type control struct {
	Draining bool `json:"draining,omitempty"` // no new URL is queued
	// Set are settings that are in force in the place of those of the configuration, as that would have them.
	Set map[string]string `json:"set,omitempty"`
	// Budget is the budget that the configuration had when it was put in force last: a person may have set another one since.
	Budget *frontier.Budget `json:"budget,omitempty"`
}

var controlKey = store.Key{byte(store.Job), 'C'}

func readControl(r store.Reader) (c control, err error) {
	_, err = r.Look(controlKey, func(v []byte) error {
		if err := json.Unmarshal(v, &c); err != nil {
			return fault.New(fault.Corrupt, "what was ordered of the crawl is %q: %w", v, err)
		}
		return nil
	})
	return c, err
}

// openControl reads what was ordered. Settings that are given now, and a budget that is new in the configuration, win over
// that.
func (j *Job) openControl() error {
	var c control
	var budget frontier.Budget
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		if budget, err = frontier.ReadBudget(r); err == nil {
			c, err = readControl(r)
		}
		return err
	})
	if err != nil {
		return err
	}
	was := len(c.Set)
	for _, key := range j.cfg.Given {
		delete(c.Set, key)
	}
	given := slices.Contains(j.cfg.Given, "limits")
	changes := !j.resting && (c.Budget == nil && j.cfg.Budget != frontier.Budget{} || c.Budget != nil && *c.Budget != j.cfg.Budget || given)
	if changes {
		c.Budget = &j.cfg.Budget
		if budget != j.cfg.Budget {
			if err := j.frontier.BeginBudget(j.cfg.Budget); err != nil {
				return err
			}
		}
	}
	if changes || len(c.Set) != was {
		err := j.env.Store.Update(func(tx *store.Tx) error { return c.put(tx) })
		if err != nil {
			return err
		}
	}
	return j.obey(c)
}

func (c control) put(tx *store.Tx) error {
	b, err := json.Marshal(c)
	if err == nil {
		tx.Set(controlKey, b)
	}
	return err
}

// obey puts what was ordered into effect.
func (j *Job) obey(c control) error {
	sheets, err := sheetsOf(j.cfg.Settings, c.Set, j.cfg.Sheets)
	if err == nil {
		j.sheets.Store(sheets)
		j.control.Store(&c)
	}
	return err
}

// sheetsOf combines the settings of all URLs: those of a configuration, over them what a person set, and over them the sheets.
func sheetsOf(base Settings, set map[string]string, sheets []scope.Sheet[Settings]) (*scope.Sheets[Settings], error) {
	s, err := parseSettings(set)
	if err != nil {
		return nil, err
	}
	return scope.NewSheets(base.with(s), sheets, Settings.with)
}

// change writes down what was ordered, and puts it into effect. The goroutine that writes calls it.
func (j *Job) change(by func(c *control) error) error {
	c := *j.control.Load()
	c.Set = maps.Clone(c.Set)
	if err := by(&c); err != nil {
		return err
	}
	if err := j.commit(func(w *writing) error { return c.put(w.tx) }); err != nil {
		return err
	}
	return j.obey(c)
}

// parseSettings reads settings that stand as a configuration has them.
func parseSettings(set map[string]string) (s Settings, err error) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		text := set[key]
		if strings.ContainsAny(key+text, "\n\r") || strings.ContainsAny(key, ":#{}[] ") {
			return s, fault.New(fault.Invalid, "setting %q: want one line", key)
		}
		var one Settings
		if key == "robots" && !strings.HasPrefix(strings.TrimSpace(text), "{") { // its mode is enough
			text = "{mode: " + text + "}"
		}
		if err := yaml.UnmarshalWithOptions([]byte(key+": "+text+"\n"), &one, yaml.Strict()); err != nil {
			why := strings.ReplaceAll(strings.SplitN(err.Error(), "\n", 2)[0], "[1:1] ", "")
			return s, fault.WithHint(fault.New(fault.Invalid, "setting %s=%.100s: %s", key, set[key], why), "settings are: %s",
				strings.Join(settingNames, ", "))
		}
		if faults := one.Validate(); len(faults) > 0 {
			return s, fault.New(fault.Invalid, "setting %w", faults[0])
		}
		s = s.with(one)
	}
	if faults := s.Validate(); len(faults) > 0 {
		return s, fault.New(fault.Invalid, "setting %w", faults[0])
	}
	return s, nil
}

// settingNames are the keys of Settings.
var settingNames = []string{"delay_factor", "min_delay", "max_delay", "max_crawl_delay", "robots", "max_bytes", "max_links", "retries",
	"retry_after", "conditional", "cookies", "metadata", "bandwidth", "pdf_links"}

func (j *Job) orderSet(ctx context.Context, set map[string]string) (string, error) {
	if j.cfg.Fixed {
		return "", fault.WithHint(fault.New(fault.Conflict, "the settings of this crawl are in a configuration file"),
			"change it there; `holdfast reload` puts that in force")
	}
	if len(set) == 0 {
		return "", fault.WithHint(fault.New(fault.Invalid, "there is no setting"), "settings are: %s", strings.Join(settingNames, ", "))
	}
	for key := range set {
		if !slices.Contains(settingNames, key) {
			return "", fault.WithHint(fault.New(fault.Invalid, "there is no setting %s", key), "settings are: %s",
				strings.Join(settingNames, ", "))
		}
	}
	err := j.errand(ctx, func() error {
		return j.change(func(c *control) error {
			for key, text := range set {
				if c.Set == nil {
					c.Set = map[string]string{}
				}
				if c.Set[key] = text; text == "" {
					delete(c.Set, key)
				}
			}
			_, err := parseSettings(c.Set)
			return err
		})
	})
	if err != nil {
		return "", err
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if set[key] == "" {
			words = append(words, key+" is as it was configured")
		} else {
			words = append(words, key+" is "+set[key])
		}
	}
	text := strings.Join(words, ", ")
	j.env.History.Note("crawl.set", "a person has changed settings: %s", text)
	return fmt.Sprintf("from now on: %s", text), nil
}
