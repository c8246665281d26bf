package columns

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// scan walks over the JSON of one object. What it does not know at a glance it refuses: it says nothing of
// whether that is JSON.
type scan struct {
	b []byte
	i int
}

// kind is what a value begins with; numbers begin with a 0.
type kind byte

// next passes white space over and returns the byte behind it, 0 at the end.
func (s *scan) next() byte {
	for ; s.i < len(s.b); s.i++ {
		if c := s.b[s.i]; c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

// take passes over c if it is what comes.
func (s *scan) take(c byte) bool {
	ok := s.next() == c
	if ok {
		s.i++
	}
	return ok
}

// text returns what stands between the quotes that begin here. One with an escape is refused.
func (s *scan) text() (v []byte, ok bool) {
	from, ascii := s.i+1, true
	for j := from; j < len(s.b); j++ {
		switch c := s.b[j]; {
		case c == '"':
			v, s.i = s.b[from:j], j+1
			return v, ascii || utf8.Valid(v)
		case c == '\\' || c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

// value returns the value that begins here: of a text what is between its quotes. dec reads what lies deeper.
func (s *scan) value(dec *jsontext.Decoder) (k kind, v []byte, ok bool) {
	switch c := s.next(); c {
	case '"':
		v, ok = s.text()
		return '"', v, ok
	case 't':
		return 't', nil, s.word("true")
	case 'f':
		return 'f', nil, s.word("false")
	case 'n':
		return 'n', nil, s.word("null")
	case '{', '[':
		dec.Reset(bytes.NewBuffer(s.b[s.i:]), jsontext.AllowDuplicateNames(true))
		v, err := dec.ReadValue()
		s.i += int(dec.InputOffset())
		return kind(c), v, err == nil
	}
	v, ok = s.number()
	return '0', v, ok
}

func (s *scan) word(w string) bool {
	ok := bytes.HasPrefix(s.b[s.i:], []byte(w))
	s.i += len(w)
	return ok
}

// number follows the grammar of RFC 8259, section 6.
func (s *scan) number() (v []byte, ok bool) {
	from := s.i
	if s.at() == '-' {
		s.i++
	}
	if s.at() == '0' {
		s.i++
	} else if !s.digits() {
		return nil, false
	}
	if s.at() == '.' {
		s.i++
		if !s.digits() {
			return nil, false
		}
	}
	if c := s.at(); c == 'e' || c == 'E' {
		s.i++
		if c := s.at(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			return nil, false
		}
	}
	return s.b[from:s.i], true
}

func (s *scan) at() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// digits passes over digits, at least one.
func (s *scan) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

// elements returns the texts of the elements of an array, as far as commas and brackets tell; ok is false if there is
// no array, or something behind it.
func elements(b []byte) (all [][]byte, ok bool) {
	s := scan{b: b}
	if !s.take('[') {
		return nil, false
	}
	if s.take(']') {
		return nil, s.next() == 0 && s.i == len(b)
	}
	for {
		v, ok := s.extent()
		if !ok {
			return nil, false
		}
		all = append(all, v)
		if !s.take(',') {
			return all, s.take(']') && s.next() == 0 && s.i == len(b)
		}
	}
}

// extent passes over what is at least as long as the value that begins here: up to a comma or a closing bracket that
// is not within it.
func (s *scan) extent() (v []byte, ok bool) {
	s.next()
	from, depth := s.i, 0
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '"':
			if !s.pass() {
				return nil, false
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return s.b[from:s.i], s.i > from
			}
		case ',':
			if depth == 0 {
				return s.b[from:s.i], s.i > from
			}
		}
	}
	return nil, false
}

// pass goes to the closing quote of the text that begins here.
func (s *scan) pass() bool {
	for s.i++; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '"':
			return true
		case '\\':
			s.i++
		}
	}
	return false
}
