package lines

import (
	"fmt"
	"regexp"
	"time"
)

// Config is how a configuration file says which lines belong together:
//
//	join: {continue: '^\s', quiet: 1s}
type Config struct {
	// Start and Continue are patterns (RE2), of which one is set, as in Rule.
	Start    string `yaml:"start"`
	Continue string `yaml:"continue"`
	// Lines, Bytes and Quiet are those of Rule.
	Lines int           `yaml:"lines"`
	Bytes int           `yaml:"bytes"`
	Quiet time.Duration `yaml:"quiet"`
}

// The most that a configuration may ask for.
const (
	mostLines = 100_000
	mostBytes = 1 << 20
	mostQuiet = time.Hour
)

// Validate returns all faults at once, each beginning with the name of its key.
func (c Config) Validate() []error {
	_, faults := c.rule()
	return faults
}

// Rule is what the configuration says. It is nil if Validate has something to say.
func (c Config) Rule() *Rule {
	r, faults := c.rule()
	if len(faults) > 0 {
		return nil
	}
	return &r
}

func (c Config) rule() (r Rule, faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	pattern := func(key, text string) *regexp.Regexp {
		if text == "" {
			return nil
		}
		re, err := regexp.Compile(text)
		if err != nil {
			bad("%s: %w", key, err)
		}
		return re
	}
	r = Rule{Start: pattern("start", c.Start), Continue: pattern("continue", c.Continue), Lines: c.Lines, Bytes: c.Bytes, Quiet: c.Quiet}
	if (c.Start == "") == (c.Continue == "") {
		bad("start: want either start or continue")
	}
	if c.Lines < 0 || c.Lines > mostLines {
		bad("lines: is %d, want 1 to %d", c.Lines, mostLines)
	}
	if c.Bytes < 0 || c.Bytes > mostBytes {
		bad("bytes: is %d, want 1 to %d", c.Bytes, mostBytes)
	}
	if c.Quiet < 0 || c.Quiet > mostQuiet {
		bad("quiet: is %v, want at most %v", c.Quiet, mostQuiet)
	}
	return r, faults
}
