// Package identifier says what may be the name of a job, a sink, a destination or the like. Such a name also is that of a
// directory and a part of delivery tokens, so it has no character that means something to a file system or a shell.
//
// Whoever reads a name from outside calls it.
package identifier

import (
	"fmt"
	"regexp"
)

// Pattern is what every name matches.
var Pattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Check says what is wrong with a name, "" if nothing is.
func Check(what, name string) string {
	if Pattern.MatchString(name) {
		return ""
	}
	return fmt.Sprintf("%q can't be the name of a %s; want up to 64 letters, digits, - and _, "+
		"beginning with a letter or digit", name, what)
}
