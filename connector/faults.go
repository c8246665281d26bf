package connector

import (
	"fmt"
	"slices"
	"strings"
)

// Faults gathers what is wrong with a configuration, each fault beginning with the name of its key.
type Faults []error

// Bad adds a fault of a key.
func (f *Faults) Bad(key, format string, args ...any) {
	*f = append(*f, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...))) // a key may be of the configuration, and hold a %
}

// OneOf adds a fault if the value of a key is none of some words.
func (f *Faults) OneOf(key, got string, want ...string) {
	if !slices.Contains(want, got) {
		f.Bad(key, "is %q, want one of: %s", got, strings.Join(want, ", "))
	}
}

// Sorted returns the faults in the order of their texts.
func (f Faults) Sorted() []error {
	return slices.SortedFunc(slices.Values(f), func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}
