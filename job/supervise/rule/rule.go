// Package rule reads rule files: what is watched, which lines and values matter, when they lead to something, and to what.
// A file is YAML, and strict: each mistake is told with its line and column, all of them at once.
//
//	rules:
//	  - name: electrs-cookie
//	    why: electrs loses bitcoind when its cookie changes
//	    from: {journal: {unit: electrs.service}}
//	    match: 'reconnecting to bitcoind: (?P<cause>no reply from daemon)'
//	    when: {count: 1, within: 60s}
//	    do: [{systemctl: restart, unit: electrs.service, timeout: 30s}]
//	    cooldown: 30s
//	    tests: [{lines: ["WARN - reconnecting to bitcoind: no reply from daemon"], repeat: 3, expect: {runs: 1, suppressed: 2}}]
//
// Load reads a file into a Set. The kinds of watchers are given to it (Kind), so that this package knows no connector. An
// Action is what a rule wants done, as data; Render makes of it and of what was seen the words that a program gets, and
// refuses what could be understood as anything but one argument. Check finds what is allowed and hardly meant. Schema is
// for editors.
//
// Nothing is done here, no clock is read, and a Set is never changed. Called by job/supervise and its packages match,
// decide and action.
package rule

import (
	"cmp"
	"regexp"
	"time"
)

// Mode says whether a rule acts.
type Mode string

// The modes.
const (
	Live   Mode = "live"
	Shadow Mode = "shadow" // decides and counts as if it acted, and does not
	Off    Mode = "off"    // counts what it would be about
)

// Unknown says what becomes of an action of which nobody knows whether it was done: one that ran when Holdfast crashed, or was
// queued before a restore.
type Unknown string

// The policies.
const (
	Ask    Unknown = "ask" // a person decides
	Repeat Unknown = "repeat"
)

// File is a rule file.
type File struct {
	// Limit is how many actions all rules together may begin within a time; without it 100 within 10m.
	Limit *Limit `yaml:"limit"`
	// Loop is how many actions may be led to by what our own actions caused; without it 10 within 10m.
	Loop *Limit `yaml:"loop"`
	// Allow, if there is any, are the only programs that rules may run: absolute paths.
	Allow []string `yaml:"allow"`
	// Rules are the rules, each by itself.
	Rules []*Rule `yaml:"rules"`
}

// Rule is one rule.
type Rule struct {
	// Name is how the rule is called everywhere; its state is kept under it.
	Name string `yaml:"name"`
	// Why is the rationale, for people.
	Why string `yaml:"why"`
	// Mode: live acts, shadow decides and counts and does nothing, off counts; default live.
	Mode Mode `yaml:"mode"`
	// From is what is watched.
	From Source `yaml:"from"`
	// With are further values that expressions may use by these names: each the value of the one series that its source has.
	With map[string]*Source `yaml:"with"`

	// Match is a regular expression (RE2) that is found in a line. Its named groups are captures.
	Match string `yaml:"match"`
	// Where is an expression over what is known of a line or a value.
	Where string `yaml:"where"`
	// Captures say of what type captures and fields are, where actions use them; default word.
	Captures map[string]*Type `yaml:"captures"`
	// Key are the fields, captures and labels that tell apart what is counted, cooled down and limited by itself; default of
	// lines nothing, of values all labels.
	Key []string `yaml:"key"`
	// When says when what matches leads to something; default at once.
	When *When `yaml:"when"`
	// State turns values into on and off, for on_change. A rule has either this or when.
	State *State `yaml:"state"`
	// StaleAfter: what is older than this when it is read is counted, and leads to nothing; default any age will do.
	StaleAfter time.Duration `yaml:"stale_after"`

	// Do is what is done when the rule fires: one action, or a list of them.
	Do Actions `yaml:"do"`
	// OnChange is done when the state changes.
	OnChange Actions `yaml:"on_change"`
	// OnNoData is done when the state has been without data for so long as it says.
	OnNoData Actions `yaml:"on_no_data"`
	// Cooldown is the flood control: for so long after the rule fired for a key nothing more is done for that key.
	Cooldown Cooldown `yaml:"cooldown"`
	// Limit is how often the rule may fire within a time, whatever the keys.
	Limit *Limit `yaml:"limit"`
	// Heal says what should be seen after the actions, and what is done if it is not.
	Heal *Heal `yaml:"heal"`
	// Unknown is what becomes of actions whose outcome nobody knows: a person is asked, or they are repeated; default ask.
	Unknown Unknown `yaml:"unknown"`
	// Tests say what the rule does of what it sees; holdfast supervise test runs them.
	Tests []Test `yaml:"tests"`

	re     *regexp.Regexp
	where  *Condition
	vars   map[string]bool   // the names of With
	line   int               // where the rule begins
	places map[string]string // where its keys stand, LINE:COLUMN; "" is the rule
}

// WithDefaults returns the words of a rule that have a default.
func (r *Rule) WithDefaults() *Rule {
	return &Rule{Mode: cmp.Or(r.Mode, Live), Unknown: cmp.Or(r.Unknown, Ask)}
}

// When says when what matches leads to something. At most one of its forms is used.
type When struct {
	// Count: it fires when so many came in the time that within says, and counts from 0 again.
	Count int `yaml:"count"`
	// Within is the time of count, and the time in which then must or without must not come.
	Within time.Duration `yaml:"within"`
	// Then: it fires when what matched is followed by this in the time that within says.
	Then *Follow `yaml:"then"`
	// Without: it fires when the time that within says is over, and what matched was not followed by this.
	Without *Follow `yaml:"without"`
	// Above is a bound: the rule fires when the value passes it, and again only after it was back behind until.
	Above *float64 `yaml:"above"`
	// Below is a bound from the other side.
	Below *float64 `yaml:"below"`
	// Until is where the value has to be back; default the bound itself.
	Until *float64 `yaml:"until"`
	// Change: the value, or the text, is another than before.
	Change bool `yaml:"change"`
	// Initial: with change, the first one ever seen is a change too.
	Initial bool `yaml:"initial"`
	// State: the value is one of these words.
	State []string `yaml:"state"`
	// For: above, below, state or where must hold for so long without a break before the rule fires. No data is no break.
	For time.Duration `yaml:"for"`
	// NoData: nothing that matches was seen for so long.
	NoData time.Duration `yaml:"no_data"`
}

// Follow is what else is seen.
type Follow struct {
	// From is where; default the source of the rule.
	From *Source `yaml:"from"`
	// Match is a regular expression (RE2) that is found in a line.
	Match string `yaml:"match"`
	// Where is an expression over a line or a value.
	Where string `yaml:"where"`
	// Key are the fields or captures that must be those of the key of the rule, in its order; default those of the rule.
	Key []string `yaml:"key"`

	re    *regexp.Regexp
	where *Condition
}

// State turns a value into on, off, or neither: then it is pending, and what was before stays.
type State struct {
	// On is an expression that holds when the state is on.
	On string `yaml:"on"`
	// Off is an expression that holds when the state is off. Where neither does, what was before stays.
	Off string `yaml:"off"`
	// NoData: without a value for so long, the state is "no data"; default at once.
	NoData time.Duration `yaml:"no_data"`

	on, off *Condition
}

// Cooldown is how long nothing more is done for a key.
type Cooldown struct {
	// For so long nothing more is done for the key.
	For time.Duration `yaml:"for"`
	// Trailing: what was suppressed meanwhile is made up for once, at the end, with the last of it.
	Trailing bool `yaml:"trailing"`
}

// Limit is how often within a time.
type Limit struct {
	// Max is how often.
	Max int `yaml:"max"`
	// Within is the time in which.
	Within time.Duration `yaml:"within"`
	// Then is who is told when it is reached, once until it is no more: a target of notify.
	Then string `yaml:"then"`
}

// Heal says what should be seen after the actions of a rule, and by when.
type Heal struct {
	// Expect is a regular expression that is found in a line of from.
	Expect string `yaml:"expect"`
	// Where is an expression over a line or a value of from.
	Where string `yaml:"where"`
	// From is where it is seen; default the source of the rule.
	From *Source `yaml:"from"`
	// Within is the time in which it has to be seen.
	Within time.Duration `yaml:"within"`
	// Else are the rungs: what is done one after another while it is not seen, each with the same time.
	Else []Actions `yaml:"else"`
	// Then is who is told after the last rung: a target of notify.
	Then string `yaml:"then"`

	re    *regexp.Regexp
	where *Condition
}

// Test is a test of a rule: what is seen, and what should come of it. The steps of Lines, Values and Steps follow each other.
type Test struct {
	// Name of the test, for people.
	Name string `yaml:"name"`
	// Lines are seen one after another, all at one moment.
	Lines []string `yaml:"lines"`
	// Fields are those of each line.
	Fields map[string]string `yaml:"fields"`
	// Values are seen one after another: numbers, words, absent, stale, unanswered (the look failed), restart (of Holdfast).
	Values []string `yaml:"values"`
	// Labels are those of each value.
	Labels map[string]string `yaml:"labels"`
	// Every is the time between two values; default that of the source, or 10s.
	Every time.Duration `yaml:"every"`
	// With are values of the sources under with.
	With map[string]string `yaml:"with"`
	// Repeat is how often all of it is seen; default once.
	Repeat int `yaml:"repeat"`
	// Steps are seen after that.
	Steps []Step `yaml:"steps"`
	// Expect is what comes of all.
	Expect Expect `yaml:"expect"`

	expects bool // it is there
}

// Step is one step of a test.
type Step struct {
	// After is how much time goes by before.
	After time.Duration `yaml:"after"`
	// Line is what is seen.
	Line string `yaml:"line"`
	// Fields are those of the line.
	Fields map[string]string `yaml:"fields"`
	// Value is what is seen, in the place of a line.
	Value string `yaml:"value"`
	// Labels are those of the value.
	Labels map[string]string `yaml:"labels"`
	// With are values of the sources under with.
	With map[string]string `yaml:"with"`
	// Of is which source sees it: from, then, without or heal; without it from does.
	Of string `yaml:"of"`
	// Age is how old it is when it is seen.
	Age time.Duration `yaml:"age"`
	// Expect is what comes of this step alone.
	Expect *Expect `yaml:"expect"`
}

// Expect is what should come of a test; what is not said does not matter, but Runs, whose default is 0.
type Expect struct {
	// Runs is how often the rule acts.
	Runs int `yaml:"runs"`
	// Suppressed is how often it does not for cooldown, limit, silence or age.
	Suppressed *int `yaml:"suppressed"`
	// Unmet is how often something matches and the condition is not met.
	Unmet *int `yaml:"unmet"`
	// Matched is how often something matches.
	Matched *int `yaml:"matched"`
	// Refused is how often what was seen can't become an argument.
	Refused *int `yaml:"refused"`
	// Actions are the actions in their order, each as one line: its words with a blank between.
	Actions []string `yaml:"actions"`
	// Healed is whether what should be seen after the actions is seen.
	Healed *bool `yaml:"healed"`
}
