package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

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
func count[T int | int64 | uint64 | uint32](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// span writes a time that something takes or took.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

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
