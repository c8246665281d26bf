package connector

import (
	"errors"
	"testing"
)

// A key may be of the configuration, and hold a sign of a format.
func TestFaults(t *testing.T) {
	var f Faults
	f.Bad("headers.X-%d", "%q holds a line end", "a")
	f.OneOf("format", "xml", "json", "csv")
	f.OneOf("format", "csv", "json", "csv")
	const want = "format: is \"xml\", want one of: json, csv\nheaders.X-%d: \"a\" holds a line end"
	if got := errors.Join(f.Sorted()...).Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
