package robots

import (
	"encoding/binary"
	"time"

	"holdfast/base/fault"
)

// version is that of the form below.
const version = 1

// The encoded form, in which rules are kept in memory and in a store; numbers are unsigned varints:
//
//	version(1) state(1) delay            in milliseconds
//	bytes of the rules, rules            in the order in which they decide, each
//	    length of pattern<<3 | flags     1 allow, 2 exact, 4 wild
//	    line, pattern
//	sitemaps                             to the end, each its length and its bytes
const (
	allows = 1 << iota
	exact  // the path ends where the pattern does: it had a $
	wild   // it has a *
)

// encode makes Rules.
func encode(s State, g group, sitemaps []string) Rules {
	var rules []byte
	for _, r := range g.rules {
		head := uint64(len(r.pattern))<<3 | r.flags
		rules = binary.AppendUvarint(binary.AppendUvarint(rules, head), uint64(r.line))
		rules = append(rules, r.pattern...)
	}
	b := binary.AppendUvarint([]byte{version, byte(s)}, uint64(g.delay/time.Millisecond))
	b = append(binary.AppendUvarint(b, uint64(len(rules))), rules...)
	for _, m := range sitemaps {
		b = append(binary.AppendUvarint(b, uint64(len(m))), m...)
	}
	return Rules{enc: string(b)}
}

// Encode returns the rules as a store keeps them; nothing for the zero value.
func (r Rules) Encode() []byte { return []byte(r.enc) }

// Decode returns the rules that Encode gave. The error is of the kind Corrupt: they are to be asked for again.
func Decode(b []byte) (Rules, error) {
	if len(b) == 0 {
		return Rules{}, nil
	}
	r := Rules{enc: string(b)}
	if !r.sound() {
		return Rules{}, fault.New(fault.Corrupt, "the rules of a robots.txt are not as they were written: %.40x", b)
	}
	return r, nil
}

// sound reports whether the form is whole, so that whatever reads it needs no further look.
func (r Rules) sound() bool {
	if len(r.enc) < 4 || r.enc[0] != version || State(r.enc[1]) > Custom {
		return false
	}
	s := r.enc[2:]
	delay, n := uvarint(s)
	size, m := uvarint(s[n:])
	if n == 0 || m == 0 || delay > uint64(MaxDelay/time.Millisecond) || size > uint64(len(s)-n-m) {
		return false
	}
	rules, sitemaps := s[n+m:n+m+int(size)], s[n+m+int(size):]
	for rules != "" {
		head, n := uvarint(rules)
		line, m := uvarint(rules[n:])
		if n == 0 || m == 0 || line > MaxBytes || head>>3 > uint64(len(rules)-n-m) {
			return false
		}
		rules = rules[n+m+int(head>>3):]
	}
	for sitemaps != "" {
		size, n := uvarint(sitemaps)
		if n == 0 || size > uint64(len(sitemaps)-n) {
			return false
		}
		sitemaps = sitemaps[n+int(size):]
	}
	return true
}

// parts takes the form apart. It is sound, and not the zero value's.
func (r Rules) parts() (delay time.Duration, rules, sitemaps string) {
	s := r.enc[2:]
	ms, n := uvarint(s)
	size, m := uvarint(s[n:])
	s = s[n+m:]
	return time.Duration(ms) * time.Millisecond, s[:size], s[size:]
}

// nextRule takes the first rule off. Most are short and stand in front, so their numbers are one byte each: a check
// goes through all of them.
func nextRule(s string) (head uint64, line int, pattern, rest string) {
	if len(s) >= 2 && s[0] < 0x80 && s[1] < 0x80 {
		head, line, s = uint64(s[0]), int(s[1]), s[2:]
	} else {
		var n, m int
		var l uint64
		head, n = uvarint(s)
		l, m = uvarint(s[n:])
		line, s = int(l), s[n+m:]
	}
	return head, line, s[:head>>3], s[head>>3:]
}

func cutString(s string) (first, rest string) {
	size, n := uvarint(s)
	return s[n : n+int(size)], s[n+int(size):]
}

// uvarint is binary.Uvarint of a string; n is 0 if there is none.
func uvarint(s string) (v uint64, n int) {
	for i := range min(len(s), 5) { // no number here needs more
		b := s[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
