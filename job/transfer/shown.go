package transfer

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// String is a name for people, in logs and messages: quoted if it has more in it than what is to be seen. A name may hold
// line ends, and whoever gives files their names would write lines of our log.
func (n Name) String() string {
	s := string(n)
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}
