package s3

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
)

// replacement stands before the two hexadecimal digits of a byte that is no UTF-8, which keys have to be; a
// replacement character of the name itself is doubled.
const replacement = "\uFFFD"

// key is that of a name below a prefix.
func key(prefix, name string) (string, error) {
	if err := connector.CheckName(name); err != nil {
		return "", err
	}
	k := path.Join(prefix, escape(name))
	if len(k) > mostKey {
		return "", fault.New(fault.Invalid, "name %.100q: its key has %d bytes, a store takes %d", name, len(k), mostKey)
	}
	return k, nil
}

func (b *Bucket) key(name string) (string, error) { return key(b.cfg.Prefix, name) }

// name is that of a key, and false for one that is below no prefix or that key did not make.
func (b *Bucket) name(k string) (string, bool) {
	if b.cfg.Prefix != "" {
		var below bool
		if k, below = strings.CutPrefix(k, b.cfg.Prefix+"/"); !below {
			return "", false
		}
	}
	name, ok := unescape(k)
	return name, ok && name != "" && !strings.HasSuffix(name, "/")
}

func escape(name string) string {
	if utf8.ValidString(name) && !strings.Contains(name, replacement) {
		return name
	}
	var s strings.Builder
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&s, "%s%02x", replacement, name[0])
		case r == utf8.RuneError:
			s.WriteString(replacement + replacement)
		default:
			s.WriteString(name[:n])
		}
		name = name[n:]
	}
	return s.String()
}

// unescape is the way back; it is false for what escape does not make.
func unescape(k string) (string, bool) {
	var s strings.Builder
	for {
		before, after, found := strings.Cut(k, replacement)
		s.WriteString(before)
		if !found {
			break
		}
		if rest, doubled := strings.CutPrefix(after, replacement); doubled {
			s.WriteString(replacement)
			k = rest
			continue
		}
		var c byte
		if len(after) < 2 {
			return "", false
		}
		if _, err := fmt.Sscanf(after[:2], "%02x", &c); err != nil {
			return "", false
		}
		s.WriteByte(c)
		k = after[2:]
	}
	return s.String(), true
}
