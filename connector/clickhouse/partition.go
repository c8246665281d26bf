package clickhouse

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// partitioning is a table's partition expression, and whether it is one that we can compute.
type partitioning struct {
	expr string
	// known: of gives the server's own answer.
	known bool
	// unit is the function around the time column; "" for a table of one partition.
	unit string
	zone *time.Location
}

var byTime = regexp.MustCompile("^(toYYYYMM|toYYYYMMDD|toDate|toMonday|toStartOfMonth|toStartOfDay)" +
	"\\(`?([^`()]+)`?\\)$")

// understand sets known for an expression over the time column, whose zone is given.
func (p *partitioning) understand(time string, zone *time.Location) {
	expr := strings.TrimSpace(p.expr)
	if expr == "" || expr == "tuple()" {
		p.known = true
		return
	}
	if m := byTime.FindStringSubmatch(expr); m != nil && m[2] == time && zone != nil {
		p.known, p.unit, p.zone = true, m[1], zone
	}
}

// span is a partition: the times from lo up to hi, in Unix seconds, and its name in tokens.
type span struct {
	lo, hi int64
	name   string
}

func (s span) has(t int64) bool { return t >= s.lo && t < s.hi }

// of returns the partition of a time in Unix seconds.
func (p *partitioning) of(t int64) span {
	at := time.Unix(t, 0).In(p.zone)
	y, m, d := at.Date()
	var lo, hi time.Time
	switch p.unit {
	case "toYYYYMM", "toStartOfMonth":
		lo, hi = time.Date(y, m, 1, 0, 0, 0, 0, p.zone), time.Date(y, m+1, 1, 0, 0, 0, 0, p.zone)
		return span{lo.Unix(), hi.Unix(), strconv.Itoa(y*100 + int(m))}
	case "toMonday":
		d -= (int(at.Weekday()) + 6) % 7
		lo, hi = time.Date(y, m, d, 0, 0, 0, 0, p.zone), time.Date(y, m, d+7, 0, 0, 0, 0, p.zone)
	default:
		lo, hi = time.Date(y, m, d, 0, 0, 0, 0, p.zone), time.Date(y, m, d+1, 0, 0, 0, 0, p.zone)
	}
	y, m, d = lo.Date()
	return span{lo.Unix(), hi.Unix(), strconv.Itoa(y*10000 + int(m)*100 + d)}
}
