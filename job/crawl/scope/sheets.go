package scope

import (
	"slices"
	"strings"

	"holdfast/base/fault"
	"holdfast/base/weburl"
)

// Sheet is settings for some URLs, as Heritrix's sheets are: For says which, as a line of SURTs.List does, and Set
// holds the settings that are other for them.
type Sheet[T any] struct {
	// For are the URLs, by prefixes of their SURTs, as below scope: accept: surts: list.
	For []string `yaml:"for"`
	// Set holds the settings that are other for them.
	Set T `yaml:"set"`
}

// Sheets are the settings of all URLs: those of the crawl, and over them every sheet whose prefix a URL has, the one with
// the longest prefix last. Of one prefix, a later sheet is over an earlier one. They are never changed, and safe for
// use by many.
type Sheets[T any] struct {
	base    T
	entries []entry[T] // sorted by prefix
}

// entry is a prefix with what holds below it.
type entry[T any] struct {
	prefix string
	parent int // the longest other prefix that it begins with; -1
	merged T
}

// NewSheets puts settings together; over returns base with what sheet says in its place. The error names the sheet at
// fault, and is of the kind Invalid.
func NewSheets[T any](base T, sheets []Sheet[T], over func(base, sheet T) T) (*Sheets[T], error) {
	byPrefix := map[string][]T{}
	for i, sheet := range sheets {
		if len(sheet.For) == 0 {
			return nil, fault.New(fault.Invalid, "sheets[%d].for: is empty, so the sheet is for nothing", i)
		}
		for k, line := range sheet.For {
			prefixes, err := prefixes(line)
			if err != nil {
				return nil, fault.New(fault.Invalid, "sheets[%d].for[%d]: %w", i, k, err)
			}
			for _, p := range prefixes {
				byPrefix[p] = append(byPrefix[p], sheet.Set)
			}
		}
	}
	s := &Sheets[T]{base: base}
	for p := range byPrefix {
		s.entries = append(s.entries, entry[T]{prefix: p})
	}
	slices.SortFunc(s.entries, func(a, b entry[T]) int { return strings.Compare(a.prefix, b.prefix) })
	for i := range s.entries {
		e := &s.entries[i]
		e.parent, e.merged = s.covering(i-1, e.prefix), base
		if e.parent >= 0 {
			e.merged = s.entries[e.parent].merged
		}
		for _, set := range byPrefix[e.prefix] {
			e.merged = over(e.merged, set)
		}
	}
	return s, nil
}

// covering returns the entry with the longest prefix of surt, where i is the last one that is not behind surt. All
// between that prefix and surt begin with it too, so it is found by going up from i.
func (s *Sheets[T]) covering(i int, surt string) int {
	for i >= 0 && !strings.HasPrefix(surt, s.entries[i].prefix) {
		i = s.entries[i].parent
	}
	return i
}

// of returns the entry of a URL, -1 if there is none.
func (s *Sheets[T]) of(u weburl.URL) int {
	if len(s.entries) == 0 {
		return -1
	}
	surt := u.SURT()
	i, found := slices.BinarySearchFunc(s.entries, surt, func(e entry[T], surt string) int {
		return strings.Compare(e.prefix,
			surt)
	})
	if !found {
		i--
	}
	return s.covering(i, surt)
}

// For returns the settings of a URL.
func (s *Sheets[T]) For(u weburl.URL) T {
	if i := s.of(u); i >= 0 {
		return s.entries[i].merged
	}
	return s.base
}

// Applied returns the prefixes of the sheets that say something of a URL, the one that is under the others first.
func (s *Sheets[T]) Applied(u weburl.URL) (all []string) {
	for i := s.of(u); i >= 0; i = s.entries[i].parent {
		all = append(all, s.entries[i].prefix)
	}
	slices.Reverse(all)
	return all
}
