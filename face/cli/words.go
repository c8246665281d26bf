package cli

import (
	"io"
	"strings"
	"time"

	"holdfast/base/lapse"
	"holdfast/base/plural"
	"holdfast/base/visible"
)

// harmless is what every answer goes through: text from outside could hold commands for the
// terminal. A line of progress begins and ends with a carriage return; within one there is none.
type harmless struct{ w io.Writer }

// Write writes all of b, with its control characters written out.
func (h harmless) Write(b []byte) (int, error) {
	s := string(b)
	body := strings.Trim(s, "\r")
	begin := strings.Index(s, body)
	out := s[:begin] + visible.Text(body, "\n\t") + s[begin+len(body):]
	if _, err := io.WriteString(h.w, out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// count writes a number with separators between the thousands.
func count[T plural.Int](n T) string { return plural.Number(n) }

// span writes a time that something takes or took.
func span(d time.Duration) string { return lapse.Words(d) }

// ago writes how long ago something was.
func ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "-"
	case d < 2*time.Second:
		return "now"
	default:
		return span(d) + " ago"
	}
}
