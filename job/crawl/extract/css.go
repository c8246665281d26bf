package extract

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// css looks for the addresses of a style sheet that stands within another document.
func (f *finder) css(text []byte) error {
	s := newCSS(f)
	if err := s.scan(text); err != nil {
		return err
	}
	return s.end()
}

// cssScanner knows of CSS what is needed to find url() and @import: comments, strings, escapes (CSS Syntax 3).
type cssScanner struct {
	f       *finder
	state   cssState
	quote   byte
	word    []byte // the last identifier, at most as long as those that count
	imports bool   // @import was read, and the address is awaited
	set     int    // how many parentheses are open since that of image-set(; only directly within it are strings addresses
	text    []byte
	long    bool
	escape  bool // the last byte was a backslash
}

type cssState uint8

const (
	cssPlain   cssState = iota
	cssSlash            // a slash, perhaps of a comment
	cssComment          // within one
	cssStar             // a star within one
	cssString           // a string that is no address
	cssOpen             // behind "url(", before the address
	cssAddress          // an address without quotes
	cssQuoted           // an address in quotes
)

const (
	maxWord   = 20
	cssImport = "@import"
	cssURL    = "url"
)

func newCSS(f *finder) *cssScanner { return &cssScanner{f: f} }

func (s *cssScanner) scan(piece []byte) error {
	for _, b := range piece {
		if err := s.step(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *cssScanner) step(b byte) error {
	switch s.state {
	case cssSlash:
		s.state = cssPlain
		if b == '*' {
			s.state = cssComment
			return nil
		}
		s.plain(b)
	case cssComment:
		if b == '*' {
			s.state = cssStar
		}
	case cssStar:
		if b == '/' {
			s.state = cssPlain
		} else if b != '*' {
			s.state = cssComment
		}
	case cssString, cssQuoted:
		return s.quoted(b)
	case cssOpen:
		switch {
		case b == '"' || b == '\'':
			s.state, s.quote = cssQuoted, b
		case b > ' ' && b != ')':
			s.state = cssAddress
			s.add(b)
		case b == ')':
			s.state = cssPlain
			s.closed()
		}
	case cssAddress:
		if s.escape || b > ' ' && b != ')' && b != '"' && b != '\'' {
			s.add(b)
			return nil
		}
		if b == ')' {
			s.closed()
		}
		return s.give()
	default:
		s.plain(b)
	}
	return nil
}

// plain is the text between strings, addresses and comments.
func (s *cssScanner) plain(b byte) {
	switch {
	case word(b) || b == '@':
		if len(s.word) < maxWord {
			s.word = append(s.word, b)
		}
		return
	case b == '(':
		if s.set > 0 || strings.HasSuffix(strings.ToLower(string(s.word)), "image-set") {
			s.set++
		}
		if strings.EqualFold(string(s.word), cssURL) {
			s.state = cssOpen
		}
	case b == ')':
		s.closed()
	case b == '"' || b == '\'':
		s.quote = b
		if s.imports || s.set == 1 || strings.EqualFold(string(s.word), cssImport) {
			s.state = cssQuoted
		} else {
			s.state = cssString
		}
	case b == '/':
		s.state = cssSlash
	case b == ';' || b == '}' || b == '{':
		s.imports, s.set, s.state = false, 0, cssPlain
	}
	if strings.EqualFold(string(s.word), cssImport) && s.state != cssQuoted {
		s.imports = true
	}
	s.word = s.word[:0]
}

// closed counts a parenthesis that ends.
func (s *cssScanner) closed() { s.set = max(s.set-1, 0) }

// quoted is a byte of a string, which a line end ends too, unless a backslash stands before it.
func (s *cssScanner) quoted(b byte) error {
	switch {
	case !s.escape && (b == s.quote || b == '\n'):
		if s.state == cssQuoted {
			if b == s.quote {
				return s.give()
			}
			s.text, s.long = s.text[:0], false
		}
		s.state = cssPlain
	default:
		s.add(b)
	}
	return nil
}

func (s *cssScanner) add(b byte) {
	s.escape = b == '\\' && !s.escape
	switch {
	case s.state == cssString || s.long:
	case len(s.text) >= maxAddress:
		s.text, s.long = s.text[:0], true
	default:
		s.text = append(s.text, b)
	}
}

// give ends an address.
func (s *cssScanner) give() error {
	text := string(s.text)
	long := s.long
	s.state, s.text, s.long, s.escape, s.imports = cssPlain, s.text[:0], false, false, false
	if long || text == "" {
		return nil
	}
	return s.f.link(unescapeCSS(text), Embed, "=EMBED_MISC")
}

// end gives an address that the end of the sheet ends, as the standard has it.
func (s *cssScanner) end() error {
	if s.state == cssQuoted || s.state == cssAddress {
		return s.give()
	}
	return nil
}

// unescapeCSS undoes \26 and \( and lines that are continued.
func unescapeCSS(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		end := i
		for end < len(s) && end < i+6 && strings.IndexByte("0123456789abcdefABCDEF", s[end]) >= 0 {
			end++
		}
		switch {
		case end > i:
			n, _ := strconv.ParseUint(s[i:end], 16, 32) // of hexadecimal digits only
			r := rune(n)
			if n == 0 || n > utf8.MaxRune {
				r = utf8.RuneError
			}
			b = utf8.AppendRune(b, r)
			if end < len(s) && (s[end] == ' ' || s[end] == '\t' || s[end] == '\n') {
				end++
			}
			i = end - 1
		case s[i] != '\n' && s[i] != '\r':
			b = append(b, s[i])
		}
	}
	return string(b)
}
