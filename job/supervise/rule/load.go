package rule

import (
	"fmt"
	"io"
	"os"
	"reflect"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/strictyaml"
)

// Limits of a file.
const (
	maxRules   = 10_000
	maxTests   = 1000
	maxRepeat  = 100_000
	maxPattern = 4096 // bytes
	maxLimit   = 1_000_000
)

// Set are the rules of a file, ready for use. It is never changed, and safe for use by many at once.
type Set struct {
	File
	// Sources are all that is watched, each once, in the order in which they are first named.
	Sources []*Source

	name   string
	byName map[string]*Rule
}

// Load reads the text of a rule file; file is its name in messages, env has the variables for secrets. What is wrong comes as
// Mistakes, which is fault.Invalid: all of them, in their order.
func Load(file string, text []byte, kinds Kinds, env func(string) (string, bool)) (*Set, error) {
	d := newDecoder(file, kinds, env)
	s := &Set{name: file, byName: map[string]*Rule{}}
	if n := d.Parse(text); n != nil {
		d.Decode(n, reflect.ValueOf(&s.File).Elem(), "")
	}
	read := len(d.Mistakes)
	c := &compiler{d: d, set: s, allow: s.Allow}
	if c.file(); read > 0 {
		d.Mistakes = append(d.Mistakes[:read:read], c.notOf(d.Mistakes[:read], d.Mistakes[read:])...)
	}
	d.Mistakes = append(d.Mistakes, c.ofKeys...)
	if err := d.Mistakes.Err(); err != nil {
		return nil, fault.As(fault.Invalid, err)
	}
	return s, nil
}

// LoadFile is Load of a file on the disk, with the environment of this process.
func LoadFile(name string, kinds Kinds) (*Set, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, fault.WithHint(fault.As(fault.NotFound, fmt.Errorf("read rules: %w", err)),
			"--rules names the rule file, in a configuration `rules:` of the job: below the data directory, if it is no absolute path")
	}
	return Load(name, text, kinds, os.LookupEnv)
}

// readFile reads a regular file, of one that is too large only one byte more than Load takes.
func readFile(name string) ([]byte, error) {
	f, err := disk.OpenRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, strictyaml.MaxBytes+1))
}

// Rule returns a rule by its name, nil if there is none.
func (s *Set) Rule(name string) *Rule { return s.byName[name] }

// Where says where a rule stands: FILE:LINE.
func (s *Set) Where(r *Rule) string { return fmt.Sprintf("%s:%d", s.name, r.line) }
