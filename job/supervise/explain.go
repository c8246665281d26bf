package supervise

import (
	"encoding/json"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
)

// Opinion is what a rule makes of a line.
type Opinion struct {
	Rule    string `json:"rule"`
	Matched bool   `json:"matched"`
	// Why says why the rule is not about the line. If it is, Outcome and Reason say what the line would lead to now, and
	// Actions what would be done.
	Why     string   `json:"why,omitempty"`
	Key     string   `json:"key,omitempty"`
	Outcome string   `json:"outcome,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Actions []string `json:"actions,omitempty"`
}

func (j *Job) explain(source, line, fields string) (string, error) {
	var known map[string]string
	if fields != "" {
		if err := json.Unmarshal([]byte(fields), &known); err != nil {
			return "", fault.New(fault.Invalid, "want the fields of the line as an object of texts: %w", err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	all, err := Explain(j.set, j.machine, source, line, known)
	if err != nil {
		return "", err
	}
	return asJSON(all)
}

// Explain says what each rule would make of a line of a source, and its fields, now; "" is any source. The machine stays as
// it is.
func Explain(set *rule.Set, m *decide.Machine, source, line string, fields map[string]string) ([]Opinion, error) {
	now := time.Now()
	e := connector.Event{Kind: connector.EventLine, Time: now, ID: "explain", Line: []byte(line), Fields: fields}
	id := ""
	for _, s := range set.Sources {
		if source != "" && (s.Title == source || strings.HasPrefix(s.Title, source+" ") || s.Kind+" "+source == s.Title) {
			id = s.ID
		}
	}
	if source != "" && id == "" {
		return nil, fault.WithHint(fault.New(fault.NotFound, "no rule watches %q", source), "sources are: %s",
			strings.Join(titles(set), "; "))
	}
	found, err := m.Explain(id, &e, now)
	if err != nil {
		return nil, err
	}
	all := []Opinion{}
	for _, f := range found {
		o := Opinion{Rule: f.Rule, Matched: f.Matched, Why: f.Why}
		if d := f.Decision; d != nil {
			o.Key, o.Outcome, o.Reason = d.Key, d.Outcome.String(), d.Reason.String()
			for i := range d.Calls {
				o.Actions = append(o.Actions, d.Calls[i].Words())
			}
		}
		all = append(all, o)
	}
	return all, nil
}

func titles(set *rule.Set) (all []string) {
	for _, s := range set.Sources {
		if !s.Looks() {
			all = append(all, s.Title)
		}
	}
	return all
}
