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
	// Limit is how many actions all rules together may begin within a time. Default 100 within 10m.
	Limit *Limit `yaml:"limit"`
	// Loop is how many actions may be led to by what our own actions caused. Default 10 within 10m.
	Loop *Limit `yaml:"loop"`
	// Allow, if there is any, are the only programs that rules may run: absolute paths.
	Allow []string `yaml:"allow"`
	Rules []*Rule  `yaml:"rules"`
}

// Rule is one rule.
type Rule struct {
	// Name is how the rule is called everywhere; its state is kept under it.
	Name string `yaml:"name"`
	// Why is the rationale, for people.
	Why string `yaml:"why"`
	// Mode is live, shadow or off; default live.
	Mode Mode `yaml:"mode"`
	// From is what is watched.
	From Source `yaml:"from"`
	// With are further values that expressions may use by these names: each the value of the one series that its source has.
	With map[string]*Source `yaml:"with"`

	// Match is a regular expression (RE2) that is found in a line. Its named groups are captures.
	Match string `yaml:"match"`
	// Where is an expression over what is known of a line or a value.
	Where string `yaml:"where"`
	// Captures say of what type captures and fields are, where actions use them. Default: word, of at most 64 bytes.
	Captures map[string]*Type `yaml:"captures"`
	// Key are the fields, captures and labels that tell apart what is counted, cooled down and limited by itself. Default: of
	// lines nothing, of values all labels.
	Key []string `yaml:"key"`
	// When says when what matches leads to something; default at once.
	When *When `yaml:"when"`
	// State turns values into on and off, for on_change. A rule has either this or When.
	State *State `yaml:"state"`
	// StaleAfter: what is older than this when it is read is counted, and leads to nothing. Default: any age will do.
	StaleAfter time.Duration `yaml:"stale_after"`

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
	// Unknown is what becomes of actions whose outcome nobody knows: ask (default) or repeat.
	Unknown Unknown `yaml:"unknown"`
	Tests   []Test  `yaml:"tests"`

	re     *regexp.Regexp
	where  *Condition
	vars   map[string]bool   // the names of With
	line   int               // where the rule begins
	places map[string]string // where its keys stand, LINE:COLUMN; "" is the rule
}

// When says when what matches leads to something. At most one of its forms is used.
type When struct {
	// Count: at the so manieth within Within, after which it begins from 0.
	Count int `yaml:"count"`
	// Within is the window of Count, and the time in which Then must or Without must not come.
	Within time.Duration `yaml:"within"`
	// Then: what matched is followed by this within Within, and this is when the rule fires.
	Then *Follow `yaml:"then"`
	// Without: what matched is not followed by this within Within; the rule fires when that time is over.
	Without *Follow `yaml:"without"`
	// Above and Below are bounds for a value. It fires when the value passes one, and again only after it was back behind Until
	// (default: the bound itself).
	Above *float64 `yaml:"above"`
	Below *float64 `yaml:"below"`
	Until *float64 `yaml:"until"`
	// Change: the value, or the text, is another than before.
	Change bool `yaml:"change"`
	// Initial: with Change, the first one ever seen is a change too.
	Initial bool `yaml:"initial"`
	// State: the value is one of these words.
	State []string `yaml:"state"`
	// For: Above, Below, State or Where must hold for so long without a break before the rule fires. No data is no break.
	For time.Duration `yaml:"for"`
	// NoData: nothing that matches was seen for so long.
	NoData time.Duration `yaml:"no_data"`
}

// Follow is what else is seen.
type Follow struct {
	// From is where; default the source of the rule.
	From  *Source `yaml:"from"`
	Match string  `yaml:"match"`
	Where string  `yaml:"where"`
	// Key are the fields or captures that must be those of the key of the rule, in its order. Default: those of the rule.
	Key []string `yaml:"key"`

	re    *regexp.Regexp
	where *Condition
}

// State turns a value into on, off, or neither: then it is pending, and what was before stays.
type State struct {
	On  string `yaml:"on"`
	Off string `yaml:"off"`
	// NoData: without a value for so long, the state is "no data". Default 0: at once.
	NoData time.Duration `yaml:"no_data"`

	on, off *Condition
}

// Cooldown is how long nothing more is done for a key.
type Cooldown struct {
	For time.Duration `yaml:"for"`
	// Trailing: what was suppressed meanwhile is made up for once, at the end, with the last of it.
	Trailing bool `yaml:"trailing"`
}

// Limit is how often within a time.
type Limit struct {
	Max    int           `yaml:"max"`
	Within time.Duration `yaml:"within"`
	// Then is who is told when it is reached, once until it is no more: a target of notify.
	Then string `yaml:"then"`
}

// Heal says what should be seen after the actions of a rule, and by when.
type Heal struct {
	// Expect is a regular expression that is found in a line of From.
	Expect string `yaml:"expect"`
	// Where is an expression over a line or a value of From.
	Where string `yaml:"where"`
	// From is where it is seen; default the source of the rule.
	From   *Source       `yaml:"from"`
	Within time.Duration `yaml:"within"`
	// Else are the rungs: what is done one after another while it is not seen, each with the same time. After the last one
	// Then is told.
	Else []Actions `yaml:"else"`
	Then string    `yaml:"then"`

	re    *regexp.Regexp
	where *Condition
}

// Test is a test of a rule: what is seen, and what should come of it. The steps of Lines, Values and Steps follow each other.
type Test struct {
	Name string `yaml:"name"`
	// Lines are seen one after another, all at one moment; Fields are those of each.
	Lines  []string          `yaml:"lines"`
	Fields map[string]string `yaml:"fields"`
	// Values are seen one after another, Every apart (default that of the source, or 10s): numbers, words, absent, stale,
	// unanswered (the look failed), restart (of Holdfast).
	Values []string          `yaml:"values"`
	Labels map[string]string `yaml:"labels"`
	Every  time.Duration     `yaml:"every"`
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
	After  time.Duration     `yaml:"after"`
	Line   string            `yaml:"line"`
	Fields map[string]string `yaml:"fields"`
	Value  string            `yaml:"value"`
	Labels map[string]string `yaml:"labels"`
	With   map[string]string `yaml:"with"`
	// Of is which source sees it: from (default), then, without or heal.
	Of string `yaml:"of"`
	// Age is how old it is when it is seen.
	Age time.Duration `yaml:"age"`
	// Expect is what comes of this step alone.
	Expect *Expect `yaml:"expect"`
}

// Expect is what should come of a test; what is not said does not matter, but Runs, whose default is 0.
type Expect struct {
	Runs       int  `yaml:"runs"`       // how often the rule acts
	Suppressed *int `yaml:"suppressed"` // by cooldown, limit, silence, age
	Unmet      *int `yaml:"unmet"`      // matched, and the condition was not met
	Matched    *int `yaml:"matched"`
	Refused    *int `yaml:"refused"`
	// Actions are the actions in their order, each as one line: its words with a blank between.
	Actions []string `yaml:"actions"`
	Healed  *bool    `yaml:"healed"`
}
