// Package plural writes how many there are of a thing, as people do: 1 day, 2 days.
package plural

import (
	"fmt"
	"strings"
)

// Int is what things are counted in.
type Int interface {
	int | int32 | int64 | uint | uint32 | uint64
}

// Noun is the word for n of a thing: its regular plural unless there is one.
func Noun[T Int](n T, noun string) string {
	if n == 1 {
		return noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.ContainsAny(noun[len(noun)-2:], "aeou") {
		return stem + "ies"
	}
	for _, end := range []string{"s", "x", "ch", "sh"} {
		if strings.HasSuffix(noun, end) {
			return noun + "es"
		}
	}
	return noun + "s"
}

// Of is the number with its word.
func Of[T Int](n T, noun string) string { return fmt.Sprintf("%d %s", n, Noun(n, noun)) }

// Number is n with separators between the thousands.
func Number[T Int](n T) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Are is the verb behind n of a thing.
func Are[T Int](n T) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
