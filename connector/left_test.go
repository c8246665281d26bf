package connector

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestLeft: everything is gone through once, and then what was told of, each until it went well.
func TestLeft(t *testing.T) {
	var l Left
	broken := errors.New("the link broke")
	sweep := func(fails error, want ...string) {
		t.Helper()
		var looked []string
		err := l.Sweep(func(dir string, deep bool) error {
			if deep {
				dir += "..."
			}
			looked = append(looked, dir)
			return fails
		})
		slices.Sort(looked)
		if !slices.Equal(looked, want) || !errors.Is(err, fails) {
			t.Errorf("looked at %s, %v; want %s", strings.Join(looked, " "), err, strings.Join(want, " "))
		}
	}
	l.Maybe("a/x")
	sweep(broken, "....")
	sweep(nil, "....")
	sweep(nil)
	l.Maybe("b/c/y")
	sweep(broken, "b/c")
	l.Maybe("z")
	l.Maybe("b/c/.z.part")
	sweep(nil, ".", "b/c")
	sweep(nil)
}
