package robots

import "strings"

// rule is an allow or a disallow.
type rule struct {
	pattern string // in normal form, its * kept but for those at the end, its $ taken off
	flags   uint64 // allows, exact, wild
	octets  int    // of the pattern as it is written, in normal form: how specific it is
	line    int
}

// newRules makes the rules of a pattern: one, or two if a query may begin within a *, because encoded signs of the pattern
// mean another thing in a query than in a path.
func newRules(pattern string, allow bool, line int) []rule {
	if pattern[0] != '/' && pattern[0] != '*' {
		pattern = "/" + pattern // as people write it; by the standard it would match nothing
	}
	bare, dollar := strings.CutSuffix(pattern, "$")
	inPath, inQuery := normal(bare, false, "*"), normal(bare, true, "*")
	r := rule{octets: len(inPath), line: line}
	if allow {
		r.flags = allows
	}
	if dollar {
		r.octets, r.flags = r.octets+1, r.flags|exact
	}
	all := []rule{r.of(inPath)}
	same := 0
	for same < len(inQuery) && inPath[same] == inQuery[same] { // which is never the longer one
		same++
	}
	if star := strings.LastIndexByte(inQuery[:same], '*'); star >= 0 && len(inPath) != len(inQuery) {
		all = append(all, r.of(inQuery[:star]+"*?"+inQuery[star:]))
	}
	return all
}

// of returns the rule with a pattern.
func (r rule) of(p string) rule {
	for strings.Contains(p, "**") {
		p = strings.ReplaceAll(p, "**", "*")
	}
	if strings.HasSuffix(p, "*") { // what follows a match does not matter, and ends it anywhere
		p, r.flags = p[:len(p)-1], r.flags&^exact
	}
	if strings.Contains(p, "*") {
		r.flags |= wild
	}
	r.pattern = p
	return r
}

// matches reports whether a pattern is about a path in normal form. Each part is taken where it is first found, which is as
// good as any later place: so the path is read once at most.
func matches(pattern, path string, flags uint64) bool {
	if flags&wild == 0 {
		return strings.HasPrefix(path, pattern) && (flags&exact == 0 || len(path) == len(pattern))
	}
	part, rest, _ := strings.Cut(pattern, "*")
	if !strings.HasPrefix(path, part) {
		return false
	}
	path = path[len(part):]
	for more := true; more; {
		part, rest, more = strings.Cut(rest, "*")
		if !more && flags&exact != 0 {
			return strings.HasSuffix(path, part)
		}
		i := strings.Index(path, part)
		if i < 0 {
			return false
		}
		path = path[i+len(part):]
	}
	return true
}

// What becomes of an octet when paths and patterns are compared (2.2.2).
const (
	plain   = iota // unreserved, or reserved: it stays
	special        // * and $, which a pattern has a meaning for: in a path they are encoded (2.2.3)
	encoded        // not ASCII, or nothing that a URL may have: it is encoded
	percent        // it may begin an octet that is encoded
)

var octets = func() (class [256]uint8) {
	for b := range class {
		switch {
		case b == '%':
			class[b] = percent
		case b == '*' || b == '$':
			class[b] = special
		case !alphanumeric(byte(b)) && strings.IndexByte("-._~:/?#[]@!&'()+,;=", byte(b)) < 0 || b >= 0x80:
			class[b] = encoded
		}
	}
	return class
}()

// target is the normal form of the path and query of a URL.
func target(path string) string {
	path, _, _ = strings.Cut(path, "#")
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	return normal(path, false, "")
}

// normal returns the form in which paths and patterns are compared: an octet that is unreserved in RFC 3986 stands for
// itself, what can't stand in a URL is encoded, in capitals, and all else is as it was. In a query, which a question
// mark begins, : / ? [ ] @ stand for themselves too: RFC 9309 takes them for the same encoded and not (its table in
// 2.2.2). Kept are the special signs that keep their meaning.
func normal(s string, query bool, kept string) string {
	i := 0
	for i < len(s) && octets[s[i]] == plain {
		i++
	}
	if i == len(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, i, len(s)+16)
	copy(b, s)
	query = query || strings.IndexByte(s[:i], '?') >= 0
	for ; i < len(s); i++ {
		c := s[i]
		switch class := octets[c]; {
		case class == percent && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			c = byte(hex(s[i+1])<<4 | hex(s[i+2]))
			i += 2
			if unreserved(c) || query && strings.IndexByte(":/?[]@", c) >= 0 {
				b = append(b, c)
			} else {
				b = append(b, '%', digits[c>>4], digits[c&15])
			}
		case class == encoded, class == special && strings.IndexByte(kept, c) < 0:
			b = append(b, '%', digits[c>>4], digits[c&15])
		default:
			query = query || c == '?'
			b = append(b, c)
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

// hex is the value of a hexadecimal digit, -1 if it is none.
func hex(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b|0x20 && b|0x20 <= 'f':
		return int(b|0x20-'a') + 10
	}
	return -1
}
