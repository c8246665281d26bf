package clickhouse

import "strings"

// badQuery says what keeps a query from being read as "(query)" in a SELECT of ours, "" if nothing does.
// The server has the last word about the rest of it.
func badQuery(text string) string {
	r := queryReader{text: text}
	first, selects, depth := "", false, 0
	for r.next() {
		switch w := r.word; {
		case w == ";":
			return "want one SELECT, without a semicolon"
		case w == "(":
			depth++
		case w == ")":
			if depth--; depth < 0 {
				return "has a ) without a ("
			}
		case first == "":
			first = w
			selects = w == "select"
		case w == "select":
			selects = true
		}
	}
	switch {
	case r.open == lineComment:
		return "ends within a comment, which would swallow what is asked behind it; put the comment " +
			"above a line of the query, or leave it out"
	case r.open != "":
		return "ends within " + r.open
	case depth > 0:
		return "has a ( without a )"
	case first != "select" && first != "with" || !selects:
		return "want a SELECT, or WITH ... SELECT: nothing else gives rows that can be followed"
	}
	return ""
}

const lineComment = "a comment"

// queryReader cuts a query into words, in small letters, and single signs. Comments and all that stands in
// quotes are passed over.
type queryReader struct {
	text string
	word string
	open string // what the text ended within, "" if nothing
}

func (r *queryReader) next() bool {
	for r.text != "" && r.open == "" {
		switch c := r.text[0]; {
		case strings.HasPrefix(r.text, "--") || strings.HasPrefix(r.text, "#!") || strings.HasPrefix(r.text, "# "):
			r.skip("\n", lineComment)
		case strings.HasPrefix(r.text, "/*"):
			r.text = r.text[2:]
			r.skip("*/", "a comment that no */ ends")
		case c == '\'' || c == '"' || c == '`':
			r.quoted(c)
			r.word = string(c)
			return true
		case isWordByte(c):
			n := 1
			for n < len(r.text) && isWordByte(r.text[n]) {
				n++
			}
			r.word, r.text = strings.ToLower(r.text[:n]), r.text[n:]
			return true
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			r.text = r.text[1:]
		default:
			r.word, r.text = r.text[:1], r.text[1:]
			return true
		}
	}
	return false
}

// skip passes over all up to end.
func (r *queryReader) skip(end, what string) {
	_, rest, ok := strings.Cut(r.text, end)
	if r.text = rest; !ok {
		r.open = what
	}
}

// quoted passes over a text or a name in quotes. One that is doubled ends it and begins the next, which
// comes to the same.
func (r *queryReader) quoted(quote byte) {
	for i := 1; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case quote:
			r.text = r.text[i+1:]
			return
		}
	}
	r.text, r.open = "", "a text or a name in quotes"
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
