package crawl

import (
	"fmt"
	"strings"
	"time"
)

// logLine is a line of crawl.log, as Heritrix writes it: twelve fields with one blank between them, and - where there is nothing.
// https://heritrix.readthedocs.io/en/latest/operating.html#log-files
type logLine struct {
	at     time.Time // of the line
	status int
	size   int64 // of the answer's body; below 0 for none
	url    string
	hops   string
	via    string
	mime   string
	worker int // Heritrix's thread
	begun  time.Time
	took   time.Duration
	digest string // sha1:...
	source string
	notes  []string
}

// logTime is how logs write a time.
const logTime = "2006-01-02T15:04:05.000Z"

// append writes the line behind b.
func (l *logLine) append(b []byte) []byte {
	size := "-"
	if l.size >= 0 {
		size = fmt.Sprint(l.size)
	}
	begun := "-"
	if !l.begun.IsZero() {
		begun = fmt.Sprintf("%s+%d", strings.Replace(l.begun.UTC().Format("20060102150405.000"), ".", "", 1), l.took.Milliseconds())
	}
	mime := l.mime
	switch { // as Heritrix's CrawlURI and MimetypeUtils have it
	case mime == "" && l.status > 0:
		mime = "no-type"
	case mime == "":
		mime = "unknown"
	}
	return fmt.Appendf(b, "%s %5d %10s %s %s %s %s #%03d %s %s %s %s\n", l.at.UTC().Format(logTime), l.status, size,
		field(l.url), field(l.hops), field(l.via), field(mime), l.worker, begun, field(l.digest), field(l.source),
		field(strings.Join(l.notes, ",")))
}

// field is a text as one field: nothing in it parts fields or lines.
func field(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, s)
}
