package fits

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
)

// UTC is the time scale of a header without TIMESYS (9.2.1).
const UTC = "UTC"

// ParseTime reads a date of a header (9.1.1): YYYY-MM-DD, YYYY-MM-DDThh:mm:ss with any fraction, years outside
// of 0 to 9999 with a sign and five digits, and DD/MM/YY of the twentieth century (4.4.2.1). A Z at the end is
// no FITS, but says what a header without TIMESYS means anyway. Second 60 of a leap second is the next second,
// for want of another in package time; what is finer than a nanosecond is cut off.
func ParseTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	t, err := parseTime(s)
	if err != nil {
		return time.Time{}, fault.New(fault.Invalid, "%.60q is no FITS date: %w", s, err)
	}
	return t, nil
}

func parseTime(s string) (time.Time, error) {
	if len(s) == 8 && s[2] == '/' && s[5] == '/' {
		return moment("19"+s[6:], s[3:5], s[:2], "00", "00", "00", "")
	}
	date, clock, timed := strings.Cut(s, "T")
	year := 4
	if date != "" && (date[0] == '-' || date[0] == '+') {
		year = 6
	}
	if len(date) != year+6 || date[year] != '-' || date[year+3] != '-' {
		return time.Time{}, fmt.Errorf("want YYYY-MM-DD")
	}
	y, m, d := date[:year], date[year+1:year+3], date[year+4:]
	if !timed {
		return moment(y, m, d, "00", "00", "00", "")
	}
	clock, fraction, point := strings.Cut(strings.TrimSuffix(clock, "Z"), ".")
	if len(clock) != 8 || clock[2] != ':' || clock[5] != ':' {
		return time.Time{}, fmt.Errorf("want hh:mm:ss behind the T")
	}
	if point && fraction == "" {
		return time.Time{}, fmt.Errorf("want digits behind the point")
	}
	return moment(y, m, d, clock[:2], clock[3:5], clock[6:], fraction)
}

// moment puts the parts together. time.Date would take the 30th of February for the 1st of March.
func moment(year, month, day, hour, minute, second, fraction string) (time.Time, error) {
	if !digits(unsigned(year) + month + day + hour + minute + second + fraction) {
		return time.Time{}, fmt.Errorf("want digits")
	}
	number := func(s string) int {
		n, _ := strconv.Atoi(s) // no more than nine digits
		return n
	}
	y, m, d := number(year), time.Month(number(month)), number(day)
	date := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	if gy, gm, gd := date.Date(); gy != y || gm != m || gd != d {
		return time.Time{}, fmt.Errorf("there is no such day")
	}
	h, min, sec := number(hour), number(minute), number(second)
	leap := sec == 60 && h == 23 && min == 59
	if h > 23 || min > 59 || sec > 59 && !leap {
		return time.Time{}, fmt.Errorf("there is no such time of day")
	}
	ns := number((fraction + "000000000")[:9])
	return time.Date(y, m, d, h, min, sec, ns, time.UTC), nil
}

// Time returns the moment that the card of a keyword gives, and its time scale: TIMESYS, or UTC without it.
// The card DATE is always UTC (4.4.2.1). With another scale than UTC the moment is what its clock showed, read
// as if it were UTC: whoever needs the second must convert it.
func (h *Header) Time(keyword string) (t time.Time, scale string, err error) {
	c, err := h.Find(keyword)
	if err != nil {
		return t, "", err
	}
	if t, err = c.Time(); err != nil {
		return t, "", err
	}
	return t, h.scaleOf(c.Keyword), nil
}

func (h *Header) scaleOf(keyword string) string {
	c, ok := h.Get("TIMESYS")
	if !ok || c.Kind != Text || keyword == "DATE" {
		return UTC
	}
	scale, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(c.Value)), "(") // "UTC(NIST)" is a clock's UTC
	if scale == "" {
		return UTC
	}
	return scale
}
