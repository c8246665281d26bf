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
	// Start is a pattern (RE2) of lines that begin a text. Exactly one of start and continue is given.
	Start string `yaml:"start"`
	// Continue is a pattern of lines that go on with the text of the line before.
	Continue string `yaml:"continue"`
	// Lines is the most lines of one text, 100000 at most; default 500. What comes above is let go.
	Lines int `yaml:"lines"`
	// Bytes is the most bytes of one text, 1MiB at most; default 64KiB. What comes above is let go.
	Bytes int `yaml:"bytes"`
	// Quiet is how long after its last line a text is at its end though no other began, 1h at most; default 1s.
	Quiet time.Duration `yaml:"quiet"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	r := Rule{Lines: c.Lines, Bytes: c.Bytes, Quiet: c.Quiet}.withDefaults()
	c.Lines, c.Bytes, c.Quiet = r.Lines, r.Bytes, r.Quiet
	return c
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
	r = Rule{Start: pattern("start", c.Start), Continue: pattern("continue", c.Continue), Lines: c.Lines, Bytes: c.Bytes,
		Quiet: c.Quiet}
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
