package extract

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/base/weburl"
)

// script looks for addresses in a piece of JavaScript that stands within another document.
func (f *finder) script(text []byte, base weburl.URL) error {
	s := newScript(f, base, false)
	if err := s.scan(text); err != nil {
		return err
	}
	return s.end()
}

// scriptScanner looks at whatever stands between two quotes of one sort, whether the first opens and the second
// closes or the other way round: so it needs to know no grammar, and a quote within a comment or a regular
// expression puts nothing out of step. Of JSON keys are left out.
type scriptScanner struct {
	f     *finder
	base  weburl.URL
	json  bool
	quote byte
	text  []byte
	long  bool   // the text is longer than an address may be
	held  string // JSON: a candidate that is a key if a colon follows
}

func newScript(f *finder, base weburl.URL, json bool) *scriptScanner {
	return &scriptScanner{f: f, base: base, json: json}
}

func (s *scriptScanner) scan(piece []byte) error {
	for _, b := range piece {
		if b == '"' || b == '\'' || b == '`' {
			if s.json && b != '"' {
				s.add(b)
				continue
			}
			if err := s.boundary(b); err != nil {
				return err
			}
			continue
		}
		if s.held != "" && b > ' ' {
			if err := s.release(b == ':'); err != nil {
				return err
			}
		}
		s.add(b)
	}
	return nil
}

func (s *scriptScanner) add(b byte) {
	switch {
	case s.quote == 0 || s.long:
	case len(s.text) >= maxAddress:
		s.text, s.long = s.text[:0], true
	default:
		s.text = append(s.text, b)
	}
}

// boundary ends a text at a quote. Backslashes before it belong to it.
func (s *scriptScanner) boundary(quote byte) error {
	if err := s.release(false); err != nil {
		return err
	}
	if s.quote == quote && !s.long && len(s.text) > 0 {
		if text := strings.TrimRight(string(s.text), `\`); !hasSpace(text) {
			s.held = text
			if !s.json {
				if err := s.release(false); err != nil {
					return err
				}
			}
		}
	}
	s.quote, s.text, s.long = quote, s.text[:0], false
	return nil
}

// release gives the candidate that is held, if it is no key and looks like an address.
func (s *scriptScanner) release(key bool) error {
	candidate := s.held
	s.held = ""
	if candidate == "" || key {
		return nil
	}
	if candidate = unescapeScript(candidate); !likely(candidate) {
		return nil
	}
	if len(candidate) > 4 && strings.EqualFold(candidate[:4], "www.") {
		candidate = "http://" + candidate
	}
	return s.f.linkFrom(s.base, candidate, Speculative, "=JS_MISC")
}

func (s *scriptScanner) end() error { return s.release(false) }

func hasSpace(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' {
			return true
		}
	}
	return false
}

// unescapeScript undoes \/, \x2f, \u002f and &amp;.
func unescapeScript(s string) string {
	if strings.IndexByte(s, '\\') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			digits := 0
			if s[i] == '\\' && i+1 < len(s) {
				i++
				switch s[i] {
				case 'x':
					digits = 2
				case 'u':
					digits = 4
				}
			}
			if digits > 0 && i+digits < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 16); err == nil {
					b = utf8.AppendRune(b, rune(n))
					i += digits
					continue
				}
			}
			b = append(b, s[i])
		}
		s = string(b)
	}
	if strings.Contains(s, "&") {
		s = html.UnescapeString(s)
	}
	return s
}

// endings are those of files on the web: a relative reference in a script is only believed with one of them.
var endings = func() map[string]bool {
	m := map[string]bool{}
	for s := range strings.FieldsSeq(`html htm xhtml shtml php asp aspx jsp jspx cgi cfm do css js mjs json xml rss atom txt csv pdf
		png jpg jpeg gif svg webp avif ico bmp mp3 mp4 m4a m4v webm ogg ogv oga wav mov mpd m3u8 swf flv woff woff2 ttf otf eot
		zip gz tgz bz2 7z rar tar doc docx xls xlsx ppt pptx odt ods odp epub wasm map vtt srt webmanifest`) {
		m[s] = true
	}
	return m
}()

// likely reports whether a string of a script is an address rather than anything else. It is our own rule, of the
// intent of Heritrix's ExtractorJS: whole URLs, paths from / or a dot, and relative names with a known ending.
func likely(s string) bool {
	if len(s) < 3 || len(s) > weburl.MaxLength || strings.ContainsAny(s, "<>\"'`{}|\\^[]") || hasSpace(s) {
		return false
	}
	lower := strings.ToLower(s[:min(len(s), 8)])
	switch rest := ""; {
	case strings.HasPrefix(lower, "http://"), strings.HasPrefix(lower, "https://"):
		rest = s[strings.Index(s, "//")+2:]
		return rest != "" && word(rest[0])
	case strings.HasPrefix(s, "//"):
		host, _, _ := strings.Cut(s[2:], "/")
		return host != "" && word(host[0]) && strings.Contains(host, ".") && word(host[len(host)-1])
	case strings.HasPrefix(lower, "www."):
		return strings.Count(s, ".") > 1 && word(s[4])
	case s[0] == '/', strings.HasPrefix(s, "./"), strings.HasPrefix(s, "../"):
		return isPath(strings.TrimLeft(s, "./"), s[0] == '/')
	}
	return word(s[0]) && !strings.Contains(s, ":") && hasEnding(s)
}

// isPath reports whether what stands behind the first slash is a path, not a regular expression or a division.
func isPath(s string, rooted bool) bool {
	if s == "" || !word(s[0]) && s[0] != '~' && s[0] != '@' || strings.ContainsAny(s, "*$(),;") && !hasEnding(s) {
		return false
	}
	if last := s[len(s)-1]; !word(last) && last != '/' && last != '=' {
		return false
	}
	return rooted && len(s) > 1 || strings.Contains(s, "/") || hasEnding(s)
}

// hasEnding reports whether the path in s ends as a file of the web does.
func hasEnding(s string) bool {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	i := strings.LastIndexByte(s, '.')
	return i > 0 && len(s)-i < 13 && word(s[i-1]) && endings[strings.ToLower(s[i+1:])]
}

func word(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || b == '_' || b == '-' || b >= utf8.RuneSelf
}
