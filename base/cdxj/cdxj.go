// Package cdxj keeps the index of an archive: a sorted text file that says for each capture where its WARC record
// lies, as pywb and its kin read it (https://specs.webrecorder.net/cdxj/0.1.0/). A line is
//
//	com,example)/a 20260111232425 {"url": "http://example.com/a", "mime": "text/html", "status": "200",
//	"digest": "EH2SPSI2J7IA53E7X7MLVOIBNGZPXYIP", "length": "1219", "offset": "771", "filename": "x.warc.gz"}
//
// (on one line): the URL as a SURT key, the time of the capture in 14 digits, and JSON with numbers as strings, since
// that is what pywb writes. Lines are in order of their bytes, as by LC_ALL=C sort.
//
// Index makes the lines of a WARC file by reading it, so an index that was lost is made again; Written makes the same
// line while a file is written. A Sorter sorts any number of lines in bounded memory, Merge joins sorted files, and a
// File finds the lines of a key by binary search. The SURT function is the caller's.
//
// Called by the job crawl.
package cdxj

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"holdfast/base/fault"
)

// MaxLine bounds a line, in bytes.
const MaxLine = 256 << 10

// Revisit is the media type of captures that are not kept again.
const Revisit = "warc/revisit"

// Line is a capture. What is zero is left out of the JSON, but for Length and Offset.
type Line struct {
	Key      string // SURT: com,example)/a
	Time     string // 14 digits, UTC: 20260111232425
	URL      string
	Mime     string // without parameters; Revisit
	Status   int    // of HTTP
	Digest   string // of the payload: SHA-1 in Base32 without a label, another digest with its own
	Length   int64  // of the record in the file, compressed
	Offset   int64
	Filename string
}

// Append appends the line, with its end. A key that has spaces or control characters gets them as %XX. An error is
// Invalid: a line without key or time, or one that is too long.
func (l Line) Append(b []byte) ([]byte, error) {
	if l.Key == "" || !isTime(l.Time) || l.Length < 0 || l.Offset < 0 {
		return b, fault.New(fault.Invalid, "index %.200q: key %.200q, time %.40q, offset %d and length %d make no line",
			l.URL, l.Key, l.Time, l.Offset, l.Length)
	}
	start := len(b)
	b = appendKey(b, l.Key)
	b = append(append(append(b, ' '), l.Time...), ' ', '{')
	for _, f := range [...]struct{ name, value string }{
		{"url", l.URL}, {"mime", l.Mime}, {"status", number(int64(l.Status))}, {"digest", l.Digest},
	} {
		if f.value != "" {
			b = append(appendMember(b, f.name, f.value), ", "...)
		}
	}
	b = append(b, `"length": "`...)
	b = strconv.AppendInt(b, l.Length, 10)
	b = append(b, `", "offset": "`...)
	b = strconv.AppendInt(b, l.Offset, 10)
	b = append(b, '"')
	if l.Filename != "" {
		b = appendMember(append(b, ", "...), "filename", l.Filename)
	}
	b = append(b, "}\n"...)
	if len(b)-start > MaxLine {
		return b[:start], fault.New(fault.Invalid, "index %.200q: its line has more than %d bytes", l.URL, MaxLine)
	}
	return b, nil
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

const upperHex = "0123456789ABCDEF"

func appendKey(b []byte, key string) []byte {
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c == 0x7f {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

func appendMember(b []byte, name, value string) []byte {
	b = append(append(append(b, '"'), name...), `": `...)
	// A byte that is no UTF-8 becomes U+FFFD; JSON has no other place for it.
	if quoted, err := jsontext.AppendQuote(b, value); err == nil {
		return quoted
	}
	quoted, _ := jsontext.AppendQuote(b, strings.ToValidUTF8(value, "\ufffd"))
	return quoted
}

func isTime(s string) bool {
	return len(s) == 14 && strings.Trim(s, "0123456789") == ""
}

// text is a string or a number: writers differ.
type text string

// UnmarshalJSON takes either, and null as none.
func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		*t = ""
	case len(b) > 0 && b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = text(s)
	case len(b) > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9'):
		*t = text(b)
	default:
		return fault.New(fault.Invalid, "neither a string nor a number")
	}
	return nil
}

func (t text) int(name string) (int64, error) {
	if t == "" || t == "-" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "its %s is %.40q", name, string(t))
	}
	return n, nil
}

// Parse reads a line, with or without its end. Members that Line has no place for are passed over. An error is
// Invalid.
func Parse(b []byte) (Line, error) {
	l, err := parse(bytes.TrimRight(b, "\r\n"))
	if err != nil {
		return Line{}, fault.New(fault.Invalid, "the index line %.120q: %w", b, err)
	}
	return l, nil
}

func parse(b []byte) (Line, error) {
	key, rest, _ := bytes.Cut(b, []byte(" "))
	when, object, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(key) == 0 || !isTime(string(when)) || len(b) > MaxLine {
		return Line{}, fault.New(fault.Invalid, "no key, 14 digits and JSON with a space between them")
	}
	var m struct {
		URL      text `json:"url"`
		Mime     text `json:"mime"`
		Status   text `json:"status"`
		Digest   text `json:"digest"`
		Length   text `json:"length"`
		Offset   text `json:"offset"`
		Filename text `json:"filename"`
	}
	if err := json.Unmarshal(object, &m); err != nil {
		return Line{}, err
	}
	l := Line{Key: string(key), Time: string(when), URL: string(m.URL), Mime: string(m.Mime), Digest: string(m.Digest),
		Filename: string(m.Filename)}
	status, err := m.Status.int("status")
	if err == nil && status > 999 {
		err = fault.New(fault.Invalid, "its status is %d", status)
	}
	l.Status = int(status)
	if err == nil {
		l.Length, err = m.Length.int("length")
	}
	if err == nil {
		l.Offset, err = m.Offset.int("offset")
	}
	return l, err
}
