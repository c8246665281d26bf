package app

import (
	"path/filepath"

	"holdfast/base/fault"
	"holdfast/base/process"
	"holdfast/job/supervise"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/rule"
)

// What rules are, and what is found in them.
type (
	Rules       = rule.Set
	RuleFinding = rule.Finding
	RuleStatus  = supervise.RuleStatus
	Opinion     = supervise.Opinion
	TestFailure = decide.Failure
)

// LoadRules reads a rule file. What is wrong comes as Mistakes.
func LoadRules(file string) (*Rules, error) { return rule.LoadFile(file, watcherKinds()) }

// CheckRules finds what is allowed in rules and hardly meant, and what would not be obeyed here as it is: a file, or a program,
// that others can write.
func CheckRules(file string, set *Rules) []RuleFinding {
	var all []RuleFinding
	if path, err := filepath.Abs(file); err == nil {
		if err := process.Owned(path); err != nil {
			all = append(all, RuleFinding{Where: file, About: "unsafe", Text: err.Error()})
		}
	}
	for _, r := range set.Rules {
		for _, l := range r.Lists() {
			for i := range l.Actions {
				if run := l.Actions[i].Run; len(run) > 0 {
					if err := process.Safe(run[0]); err != nil && !fault.Is(err, fault.NotFound) { // it may be checked elsewhere
						all = append(all, RuleFinding{Where: set.Where(r), Rule: r.Name, About: "unsafe", Text: err.Error()})
					}
				}
			}
		}
	}
	return append(all, set.Check()...)
}

// TestRules runs the tests that stand in rules.
func TestRules(set *Rules) (tests int, failures []TestFailure) { return decide.Test(set) }

// DescribeRules says what rules say.
func DescribeRules(set *Rules) []RuleStatus { return supervise.CountsOf(set, decide.New(set)) }

// ExplainRules says what rules that have seen nothing yet would make of a line of a source; "" is any source.
func ExplainRules(set *Rules, source, line string, fields map[string]string) ([]Opinion, error) {
	return supervise.Explain(set, decide.New(set), source, line, fields)
}

// RuleFile is the rule file of a supervise job of a data directory; ok is false for another job.
func (j Job) RuleFile(dir string) (file string, ok bool) {
	c, ok := j.work.(*superviseConfig)
	if ok {
		file = c.file(dir)
	}
	return file, ok
}
