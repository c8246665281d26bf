package fits

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
)

// recordSize is the size of a keyword record, which everybody calls a card (4.1).
const recordSize = 80

// Kind is what a card's value is.
type Kind uint8

// The kinds of values (4.2).
const (
	Commentary Kind = iota // it has none: COMMENT, HISTORY, a blank keyword, no "= " in columns 9 and 10
	Undefined              // its place is blank
	Text
	Integer
	Float
	Logical
	Complex
)

// String returns the kind as messages name it.
func (k Kind) String() string {
	return [...]string{"commentary", "undefined", "text", "an integer", "a float", "a logical",
		"complex"}[min(k, Complex)]
}

// Card is one card of a header: a keyword, and maybe a value and a comment.
type Card struct {
	// Keyword as it stands; of a HIERARCH card the words behind that one, with a blank between them.
	Keyword string
	Kind    Kind
	// Value is a text as it is meant, a number or logical as it stands, what a commentary card says.
	Value   string
	Comment string
	HDU     int
	Number  int // in its header, from 1; a long string's is that of its first card
}

// Problem is a rule that a card breaks, and where.
type Problem struct {
	HDU    int
	Card   int // its number in the header, from 1
	Column int // from 1
	// Keyword is what stands in its first eight columns, made fit to be shown.
	Keyword string
	Text    string
}

// Error returns the whole sentence.
func (p Problem) Error() string {
	return fmt.Sprintf("HDU %d, card %d (%s), column %d: %s", p.HDU, p.Card, p.Keyword, p.Column, p.Text)
}

// wrong is the error of asking a card for what it is not.
func (c Card) wrong(want string) error {
	if c.Kind == Undefined || c.Kind == Commentary {
		return fault.New(fault.NotFound, "HDU %d, card %d: %s has no value", c.HDU, c.Number, c.Keyword)
	}
	return fault.New(fault.Invalid, "HDU %d, card %d: %s is %s, %.60q: want %s", c.HDU, c.Number, c.Keyword,
		c.Kind, c.Value, want)
}

// Text returns the text of a text card, without the blanks at its end. As the other methods that read a value,
// it is NotFound if the card has none, and Invalid if it has another.
func (c Card) Text() (string, error) {
	if c.Kind != Text {
		return "", c.wrong("text")
	}
	return c.Value, nil
}

// Int returns the value of an integer card.
func (c Card) Int() (int64, error) {
	if c.Kind != Integer {
		return 0, c.wrong("an integer")
	}
	v, err := strconv.ParseInt(c.Value, 10, 64)
	if err != nil {
		return 0, c.wrong("one of 64 bits")
	}
	return v, nil
}

// Bool returns the value of a logical card.
func (c Card) Bool() (bool, error) {
	if c.Kind != Logical {
		return false, c.wrong("T or F")
	}
	return c.Value == "T", nil
}

// Time returns the moment that a text card gives, by the clock that it was taken with.
func (c Card) Time() (time.Time, error) {
	s, err := c.Text()
	if err != nil {
		return time.Time{}, err
	}
	t, err := ParseTime(s)
	if err != nil {
		return t, fault.New(fault.Invalid, "HDU %d, card %d: %s: %w", c.HDU, c.Number, c.Keyword, err)
	}
	return t, nil
}

// broken is why a record breaks the rules, and in which column, from 1.
type broken struct {
	column int
	why    string
	// harmless is set if it could be read all the same: only its comment is at fault.
	harmless bool
}

func breaks(column int, format string, args ...any) *broken {
	return &broken{column: column, why: fmt.Sprintf(format, args...)}
}

// problem says where a record broke.
func (b *broken) problem(rec []byte, hdu, number int) Problem {
	return Problem{HDU: hdu, Card: number, Column: b.column, Keyword: shown(rec[:8]), Text: b.why}
}

// shown is bytes of a file made fit for a message.
func shown(b []byte) string { return strings.TrimSpace(masked(b)) }

// masked is b with a ? for each byte that is not printable ASCII.
func masked(b []byte) string {
	out := bytes.Clone(b)
	for i := range out {
		if unprintable(out[i]) {
			out[i] = '?'
		}
	}
	return string(out)
}

func unprintable(b byte) bool { return b < ' ' || b > '~' }

// indexOdd is the index of the first byte that is not printable ASCII, -1 if there is none.
func indexOdd(b []byte) int { return slices.IndexFunc(b, unprintable) }

// parse reads one record (4.1), without the others that a long string goes on in. Only printable ASCII may be
// in it (4.1.2.3, 4.2.1); a stray byte in a comment does not hide the value.
func parse(rec []byte) (Card, *broken) {
	odd := indexOdd(rec)
	if odd < 0 {
		c, _, bad := parseText(rec)
		return c, bad
	}
	c, comment, bad := parseText([]byte(masked(rec)))
	if odd < 8 || bad == nil {
		bad = breaks(odd+1, "the byte 0x%02x is no printable ASCII", rec[odd])
		bad.harmless = odd >= comment
	}
	return c, bad
}

// parseText is parse of printable ASCII. comment is the index where the comment begins.
func parseText(rec []byte) (c Card, comment int, bad *broken) {
	keyword, bad := keywordOf(rec)
	if bad != nil {
		return c, len(rec), bad
	}
	c.Keyword = keyword
	switch {
	case keyword == "" || keyword == "COMMENT" || keyword == "HISTORY": // 4.4.2.4
	case keyword == "HIERARCH" && rec[8] == ' ':
		return hierarch(rec)
	case keyword == "CONTINUE" && rec[8] == ' ' && rec[9] == ' ':
		if comment, bad := c.readValue(rec, 10); bad == nil && c.Kind == Text {
			return c, comment, nil
		}
		c = Card{Keyword: keyword} // 4.2.1.2: it is read as a commentary
	case rec[8] == '=' && rec[9] == ' ':
		comment, bad = c.readValue(rec, 10)
		return c, comment, bad
	case rec[8] == '=':
		return c, len(rec), breaks(10, "%q follows the =: want a blank", rec[9])
	}
	c.Value = strings.TrimRight(string(rec[8:]), " ")
	return c, 8, nil
}

// keywordOf reads columns 1 to 8 (4.1.2.1).
func keywordOf(rec []byte) (string, *broken) {
	keyword := bytes.TrimRight(rec[:8], " ")
	for i, b := range keyword {
		switch {
		case b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_':
		default:
			return "", breaks(i+1, "%q may not be in a keyword", b)
		}
	}
	return string(keyword), nil
}

// hierarch reads a card of ESO's convention: HIERARCH words = value / comment. Without a = before any string
// it is a commentary.
func hierarch(rec []byte) (c Card, comment int, bad *broken) {
	eq := bytes.IndexAny(rec, "='/")
	words := []string{}
	if eq >= 0 && rec[eq] == '=' {
		words = strings.Fields(string(rec[9:eq]))
	}
	if len(words) == 0 {
		return Card{Keyword: "HIERARCH", Value: strings.TrimRight(string(rec[8:]), " ")}, 8, nil
	}
	c.Keyword = strings.Join(words, " ")
	comment, bad = c.readValue(rec, eq+1)
	return c, comment, bad
}

// readValue reads value and comment from index at on (4.1.2.3, 4.2), and returns where the comment begins.
func (c *Card) readValue(rec []byte, at int) (comment int, bad *broken) {
	at = blanks(rec, at)
	end := at
	switch {
	case at == len(rec) || rec[at] == '/':
		c.Kind = Undefined // 4.1.2.3
	case rec[at] == '\'':
		c.Kind = Text
		c.Value, end, bad = quoted(rec, at)
	case rec[at] == '(':
		c.Kind = Complex
		c.Value, end, bad = bracketed(rec, at)
	default:
		if end = len(rec); bytes.ContainsAny(rec[at:], " /") {
			end = at + bytes.IndexAny(rec[at:], " /")
		}
		c.Value = string(rec[at:end])
		if c.Kind = kindOf(c.Value); c.Kind == Commentary {
			bad = breaks(at+1, "%q is no value", c.Value)
		}
	}
	if bad != nil {
		return len(rec), bad
	}
	end = blanks(rec, end)
	if end == len(rec) {
		return end, nil
	}
	if rec[end] != '/' {
		return len(rec), breaks(end+1, "%q stands between value and comment", rec[end])
	}
	c.Comment = strings.Trim(string(rec[end+1:]), " ")
	return end, nil
}

// blanks is the index of the first byte from at on that is no blank.
func blanks(rec []byte, at int) int {
	for at < len(rec) && rec[at] == ' ' {
		at++
	}
	return at
}

// quoted reads a string that begins at its quote, and returns the index behind it (4.2.1.1). Two quotes within
// it are one. Blanks at its end mean nothing, but a string of blanks is not the same as an empty one.
func quoted(rec []byte, at int) (string, int, *broken) {
	var s []byte
	for i := at + 1; i < len(rec); i++ {
		if rec[i] != '\'' {
			s = append(s, rec[i])
			continue
		}
		if i+1 < len(rec) && rec[i+1] == '\'' {
			s = append(s, '\'')
			i++
			continue
		}
		return string(trimmed(s)), i + 1, nil
	}
	return "", 0, breaks(at+1, "the string is not closed")
}

// trimmed is s without the blanks at its end, but for the first if there is nothing else.
func trimmed(s []byte) []byte {
	out := bytes.TrimRight(s, " ")
	if len(out) == 0 && len(s) > 0 {
		return s[:1]
	}
	return out
}

// kindOf is the kind of a value without quotes, Commentary if it is none (4.2.2 to 4.2.4).
func kindOf(s string) Kind {
	if s == "T" || s == "F" {
		return Logical
	}
	mantissa, exponent, scaled := s, "", false
	if i := strings.IndexAny(s, "ED"); i >= 0 {
		mantissa, exponent, scaled = s[:i], unsigned(s[i+1:]), true
	}
	whole, fraction, point := strings.Cut(unsigned(mantissa), ".")
	switch {
	case whole+fraction == "" || !digits(whole+fraction):
		return Commentary
	case scaled && (exponent == "" || !digits(exponent)):
		return Commentary
	case scaled || point:
		return Float
	}
	return Integer
}

// unsigned is s without its sign.
func unsigned(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// bracketed reads a complex number that begins at its bracket (4.2.5, 4.2.6), and returns the index behind it.
func bracketed(rec []byte, at int) (string, int, *broken) {
	n := bytes.IndexByte(rec[at:], ')')
	if n < 0 {
		return "", 0, breaks(at+1, "the ( of a complex number is not closed")
	}
	s := string(rec[at : at+n+1])
	re, im, two := strings.Cut(s[1:n], ",")
	if !two || !isNumber(strings.TrimSpace(re)) || !isNumber(strings.TrimSpace(im)) {
		return "", 0, breaks(at+1, "%q is no complex number", s)
	}
	return s, at + n + 1, nil
}

func isNumber(s string) bool {
	k := kindOf(s)
	return k == Integer || k == Float
}
