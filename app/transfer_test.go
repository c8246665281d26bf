package app

import (
	"testing"
	"time"

	filetree "holdfast/connector/tree"
)

func TestFilesThatAreNotWholeAreNamed(t *testing.T) {
	now := time.Now()
	some := []filetree.Held{{Path: "a.fits", Since: now.Add(-90 * time.Second)}, {Path: "b\nc.fits", Since: now}}
	if got, want := heldText(some, 12, now), `a.fits (for 1m30s), "b\nc.fits" (for 0s), and 10 more`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
