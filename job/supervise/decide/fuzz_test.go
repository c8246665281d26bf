package decide

import (
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
)

// Whatever rules are taken, nothing that is seen makes them panic, and their counts agree.
func FuzzRules(f *testing.F) {
	f.Add(everything, "ax bx hx", 6.0)
	f.Add(waits, "stop", 0.0)
	if text, err := os.ReadFile("../../../examples/bitboxbase.yaml"); err == nil {
		f.Add(string(text), "finished full compaction", 1.0)
	}
	f.Add("rules: [{name: a, from: {unit: x}, where: 'value > 1 && labels.a == text', when: {for: 1s}, do: {notify: ops, text: '{{value}}'}}]", "", 2.0)
	f.Add("rules: [{name: a, from: {file: x}, when: {no_data: 1s}, do: {set: a, value: '{{vars.a}}x'}, heal: {expect: '(?P<a>b)', within: 1s}}]", "b", 0.0)
	f.Fuzz(func(t *testing.T, text, line string, value float64) {
		if len(text) > 5000 || strings.Contains(text, "values") && strings.Count(text, "restart") > 20 {
			return
		}
		set, err := rule.Load("f", []byte(text), kinds, func(string) (string, bool) { return "", false })
		if err != nil {
			return
		}
		set.Check()
		m, now := New(set), begin
		for range 3 {
			for _, s := range set.Sources {
				now = now.Add(7 * time.Second)
				e := &connector.Event{Kind: connector.EventLine, ID: "x", Time: now, Line: []byte(line),
					Fields: map[string]string{"_SYSTEMD_UNIT": "a.service"}}
				if s.Looks() {
					e.Kind = connector.EventLook
					e.Samples = []connector.Sample{{Value: value, Text: line}, {Value: value, Labels: map[string]string{"a": line}}}
				}
				m.Step(s.ID, e, now)
			}
			now = now.Add(time.Hour)
			m.Pass(now, func(Result) {})
			if m, err = m.Copy(); err != nil {
				t.Fatal(err)
			}
		}
		agree(t, m)
	})
}
