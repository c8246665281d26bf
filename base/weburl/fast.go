package weburl

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// What becomes of a byte of a path or a query. A string with a byte that is not keep can't stay as it is.
const (
	keep   = iota
	encode // as %XX
	unsure // the library shall say
)

// The sets of the standard (path and special-query percent-encode sets). A tab or a line end inside of a URL is
// removed, which needs the whole algorithm.
var pathBytes, queryBytes = byteClasses("\"#<>?`{}", "\\"), byteClasses("\"#<>'", "")

func byteClasses(encoded, unclear string) (class [256]uint8) {
	for b := range class {
		if b <= 0x20 || b > 0x7e || strings.IndexByte(encoded, byte(b)) >= 0 {
			class[b] = encode
		}
	}
	for _, b := range []byte("\t\n\r" + unclear) {
		class[b] = unsure
	}
	return class
}

// trim cuts control characters and spaces from both ends.
func trim(s string) string {
	for s != "" && s[0] <= 0x20 {
		s = s[1:]
	}
	for s != "" && s[len(s)-1] <= 0x20 {
		s = s[:len(s)-1]
	}
	return s
}

// schemeOf looks at the scheme of a trimmed reference: web is the length of "http://" or "https://" if it begins
// so; other, that it has a scheme that is neither.
func schemeOf(s string) (web int, other bool) {
	for i := range len(s) {
		switch b := s[i] | 0x20; {
		case s[i] == ':' && i > 0:
			if name := s[:i]; !strings.EqualFold(name, "http") && !strings.EqualFold(name, "https") {
				return 0, true
			}
			if strings.HasPrefix(s[i+1:], "//") {
				return i + 3, false
			}
			return 0, false
		case 'a' <= b && b <= 'z':
		case i > 0 && ('0' <= s[i] && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.'):
		default:
			return 0, false
		}
	}
	return 0, false
}

// fast resolves a reference if it is a plain one: web is the length of its "http://" or "https://", if it has one. It returns
// false if it isn't sure: the library shall resolve it then.
func fast(base URL, ref string, web int) (URL, bool) {
	switch {
	case web > 0:
		return absolute(ref, "", web)
	case base.href == "" || strings.IndexByte(ref, ':') >= 0 && hasScheme(ref):
		return URL{}, false
	case ref == "":
		return base, true
	case strings.HasPrefix(ref, "//"):
		return absolute(ref[2:], base.Scheme()+"://", 0)
	case ref[0] == '/':
		return join(base.href[:base.path], int(base.path), ref[1:])
	case ref[0] == '?':
		return join(base.href[:base.query], int(base.path), ref)
	case ref[0] == '\\':
		return URL{}, false
	}
	cut := int(base.path) + strings.LastIndexByte(base.href[base.path:base.query], '/')
	return join(base.href[:cut], int(base.path), ref)
}

// hasScheme reports whether a reference that has a colon begins with "http:" or "https:". (Those with slashes, and those of
// other schemes, were told apart by schemeOf.)
func hasScheme(ref string) bool {
	colon := strings.IndexByte(ref, ':')
	return strings.EqualFold(ref[:colon], "http") || strings.EqualFold(ref[:colon], "https")
}

// absolute parses raw, whose authority begins at byte at, behind prefix.
func absolute(raw, prefix string, at int) (URL, bool) {
	end, port, clean, ok := authority(raw, at)
	if !ok {
		return URL{}, false
	}
	rest := raw[end:]
	scheme := prefix
	if prefix == "" {
		scheme = raw[:at]
	}
	secure := len(scheme) == len("https://")
	if port == "80" && !secure || port == "443" && secure { // the scheme's own is not written
		clean = false
		end -= len(port) + 1
	}
	if clean && prefix == "" && lower(scheme) && rest != "" && rest[0] == '/' && isClean(rest) {
		return locate(raw), true
	}
	buf := make([]byte, 0, usual)
	buf = append(buf, "https://"[:4]...)
	if secure {
		buf = append(buf, 's')
	}
	buf = append(buf, "://"...)
	for _, b := range []byte(raw[at:end]) {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		buf = append(buf, b)
	}
	return finish(buf, len(buf), strings.TrimPrefix(rest, "/"))
}

// lower reports whether a scheme is in lower case.
func lower(s string) bool {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return false
		}
	}
	return true
}

// authority looks at the host and port that begin at byte at. ok means that they are a plain name or a dotted
// quad, with a plain port or none; clean, that they are spelt as the standard does. The end is that of the
// whole authority.
func authority(raw string, at int) (end int, port string, clean, ok bool) {
	end, clean = at, true
	label := at // where the current label begins
scan:
	for ; end < len(raw); end++ {
		switch b := raw[end]; {
		case 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-':
		case 'A' <= b && b <= 'Z':
			clean = false
		case b == '.':
			if end == label || punycode(raw[label:end]) {
				return 0, "", false, false
			}
			label = end + 1
		case b == '/' || b == '?' || b == ':':
			break scan
		default:
			return 0, "", false, false
		}
	}
	last := raw[label:end]
	if last == "" || punycode(last) || last[0] == '-' {
		return 0, "", false, false
	}
	if '0' <= last[0] && last[0] <= '9' && !dottedQuad(raw[at:end]) {
		return 0, "", false, false
	}
	if end == len(raw) || raw[end] != ':' {
		return end, "", clean, true
	}
	start := end + 1
	for end = start; end < len(raw) && '0' <= raw[end] && raw[end] <= '9'; end++ {
	}
	port = raw[start:end]
	plain := port != "" && len(port) < 5 && port[0] != '0' // five digits may be beyond the last port
	if len(port) == 5 && port[0] != '0' && port <= "65535" {
		plain = true
	}
	if !plain || end < len(raw) && raw[end] != '/' && raw[end] != '?' {
		return 0, "", false, false
	}
	return end, port, clean, true
}

// usual is what most URLs fit in; a buffer of a fixed size needs no allocation.
const usual = 256

// punycode reports whether a label could be one: those have rules of their own.
func punycode(label string) bool {
	return len(label) >= 4 && label[2] == '-' && label[3] == '-'
}

// dottedQuad reports whether a host is four numbers up to 255, spelt without leading zeros.
func dottedQuad(host string) bool {
	numbers, value, digits := 0, 0, 0
	for i := 0; i <= len(host); i++ {
		if i == len(host) || host[i] == '.' {
			if digits == 0 || value > 255 || digits > 1 && host[i-digits] == '0' {
				return false
			}
			numbers, value, digits = numbers+1, 0, 0
			continue
		}
		if host[i] < '0' || host[i] > '9' || digits == 3 {
			return false
		}
		value, digits = value*10+int(host[i]-'0'), digits+1
	}
	return numbers == 4
}

// isClean reports whether a path and query, beginning with a slash, stay as they are.
func isClean(s string) bool {
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == '?':
			for _, b := range []byte(s[i+1:]) {
				if queryBytes[b] != keep {
					return false
				}
			}
			return true
		case pathBytes[b] != keep:
			return false
		case b == '.' && s[i-1] == '/', b == '%': // perhaps a dot segment
			return !mayBeDots(s) && isCleanTail(s[i+1:])
		}
	}
	return true
}

// isCleanTail is isClean of the rest of a path that is known to have no dot segments.
func isCleanTail(s string) bool {
	class := &pathBytes
	for i := range len(s) {
		if class == &pathBytes && s[i] == '?' {
			class = &queryBytes
		} else if class[s[i]] != keep {
			return false
		}
	}
	return true
}

// mayBeDots reports whether a path has a segment that is one or two dots, or dots that are encoded.
func mayBeDots(s string) bool {
	s, _, _ = strings.Cut(s, "?")
	if encodedDot(s) {
		return true
	}
	for i := strings.Index(s, "/."); i >= 0; {
		end := strings.TrimPrefix(s[i+2:], ".")
		if end == "" || end[0] == '/' {
			return true
		}
		next := strings.Index(s[i+1:], "/.")
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

// encodedDot reports whether a path has a dot as %2e: it counts as one, but only as a segment.
func encodedDot(s string) bool {
	for i := strings.IndexByte(s, '%'); i >= 0 && i+2 < len(s); {
		if s[i+1] == '2' && s[i+2]|0x20 == 'e' {
			return true
		}
		next := strings.IndexByte(s[i+1:], '%')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

// join puts a plain reference behind the part of the base that stays; path is where the path begins in it.
func join(stays string, path int, ref string) (URL, bool) {
	buf := make([]byte, 0, usual)
	return finish(append(buf, stays...), path, ref)
}

// finish appends a path, without its leading slash, and a query to buf, whose path begins at byte path.
func finish(buf []byte, path int, rest string) (URL, bool) {
	way, query, asked := strings.Cut(rest, "?")
	if encodedDot(way) || !utf8.ValidString(rest) {
		return URL{}, false
	}
	ok := true
	if way != "" || len(buf) == path || !asked {
		if buf, ok = appendPath(buf, path, way); !ok {
			return URL{}, false
		}
	}
	if asked {
		if buf, ok = appendBytes(append(buf, '?'), query, &queryBytes); !ok {
			return URL{}, false
		}
	}
	return locate(string(buf)), true
}

// appendPath appends the segments of way to the path in buf; dots go up and stay as the standard says.
func appendPath(buf []byte, path int, way string) ([]byte, bool) {
	for more := true; more; {
		var segment string
		segment, way, more = strings.Cut(way, "/")
		switch segment {
		case "..":
			if len(buf) > path {
				buf = buf[:path+bytes.LastIndexByte(buf[path:], '/')]
			}
			fallthrough
		case ".":
			if !more {
				buf = append(buf, '/')
			}
		default:
			var ok bool
			if buf, ok = appendBytes(append(buf, '/'), segment, &pathBytes); !ok {
				return nil, false
			}
		}
	}
	return buf, true
}

func appendBytes(buf []byte, s string, class *[256]uint8) ([]byte, bool) {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch b := s[i]; class[b] {
		case keep:
			buf = append(buf, b)
		case encode:
			buf = append(buf, '%', digits[b>>4], digits[b&15])
		default:
			return nil, false
		}
	}
	return buf, true
}
