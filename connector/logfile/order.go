package logfile

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/linetime"
)

// order is what is known, besides their names, about the order of rotated files. Each Watch has its own.
type order struct {
	// counts is 1 if files with higher numbers are younger, as log4j counts; -1 if they are older, as logrotate counts; 0 if
	// nothing has shown it yet.
	counts int
	fixed  bool                  // the configuration says so
	begins map[version]time.Time // when the first lines of files were written; the zero time where they don't say
}

// version is a file in the state in which it was written to last.
type version struct {
	identity
	mod int64
}

// named is what the name of a rotated file says about its age.
type named struct {
	entry
	date string // so that of two the lower is the older; "" if there is none
	n    uint64 // a number, of which nobody knows yet in which way it counts
	is   bool   // there is a number
}

// dateForm is a year, a month, and so on, and a number behind that. Digits may stand without anything between them.
var dateForm = regexp.MustCompile(`^((?:19|20)\d\d)[-._]?(0[1-9]|1[0-2])(?:[-._]?([0-2]\d|3[01])` +
	`(?:[-._T]?([01]\d|2[0-3])(?:[-._:]?([0-5]\d)(?:[-._:]?([0-5]\d))?)?)?)?(?:[-._](\d{1,9}))?$`)

// yearless is a month and a day. They begin anew each year, so they say nothing.
var yearless = regexp.MustCompile(`^(0[1-9]|1[0-2])([0-2]\d|3[01])$`)

// timesFrom is the least number that is taken for a time, in seconds since 1970 or parts of seconds.
const timesFrom = 100_000_000

// named reads the name of a file.
func (r rotation) named(e entry) named {
	f := named{entry: e}
	s := r.suffix(e.path)
	if m := dateForm.FindStringSubmatch(s); m != nil {
		f.date = strings.Join(m[1:7], "")
		f.n, _ = strconv.ParseUint(m[7], 10, 64)
		f.is = true
		return f
	}
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case err != nil:
	case n >= timesFrom:
		f.date = fmt.Sprintf("%020d", n)
	default:
		f.n, f.is = n, true
	}
	return f
}

// suffix is what a rotation has put behind the name, or between it and its extension.
func (r rotation) suffix(path string) string {
	s, base := strings.TrimSuffix(filepath.Base(path), ".gz"), filepath.Base(r.path)
	if rest, ok := strings.CutPrefix(s, base); ok {
		return strings.TrimLeft(rest, ".-_")
	}
	ext := filepath.Ext(base)
	if rest, ok := strings.CutPrefix(s, strings.TrimSuffix(base, ext)); ok {
		return strings.Trim(strings.TrimSuffix(rest, ext), ".-_")
	}
	return s
}

// sort puts files in their order, the oldest first and the one at the path last.
//
// Dates and times in names decide. Numbers in names count in some direction: the one that was seen when a file was rotated,
// else the one that most files show by when they were written to and by what their first lines say, else higher numbers are
// older. Where a name says nothing, it is decided by when the file was written to last.
func (r rotation) sort(all []entry) []entry {
	var dated, counted, others []named
	var last []entry
	short := false
	for _, e := range all {
		short = short || e.path != r.path && r.suffix(e.path) != "" && r.suffix(e.path)[0] == '0' && yearless.MatchString(r.suffix(e.path))
	}
	for _, e := range all {
		f := r.named(e)
		switch {
		case e.path == r.path:
			last = append(last, e)
		case f.date != "":
			dated = append(dated, f)
		case f.is && !(short && yearless.MatchString(r.suffix(e.path))):
			counted = append(counted, f)
		default:
			others = append(others, f)
		}
	}
	r.byNumber(dated, 1)
	r.byNumber(counted, -1)
	slices.SortStableFunc(others, byTime)
	return append(merge(dated, counted, others), last...)
}

// byTime orders files by when they were written to.
func byTime(a, b named) int { return cmp.Or(a.mod.Compare(b.mod), cmp.Compare(a.path, b.path)) }

// byNumber orders files by their dates, and those of one date by their numbers. usual is the direction in which they count if
// nothing shows it.
func (r rotation) byNumber(all []named, usual int) {
	up := func(a, b named) int { return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.n, b.n), byTime(a, b)) }
	slices.SortFunc(all, up)
	counts := r.order.known()
	if counts == 0 {
		counts = cmp.Or(r.votes(all), usual)
	}
	if counts < 0 {
		slices.SortFunc(all, func(a, b named) int {
			return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(b.n, a.n), byTime(a, b))
		})
	}
}

func (o *order) known() int {
	if o == nil {
		return 0
	}
	return o.counts
}

// votes returns the direction in which numbers count by most pairs of neighbours: 1, -1, or 0 if there are as many for one as
// for the other. A pair whose times contradict each other shows nothing: one of the files may have been copied or touched, and
// whoever writes lines can write any time.
func (r rotation) votes(all []named) int {
	sum := 0
	for i := range len(all) - 1 {
		a, b := all[i], all[i+1]
		if a.date != b.date || a.n == b.n {
			continue
		}
		byMod, byBegin := b.mod.Compare(a.mod), 0
		if x, y := r.begin(a.entry), r.begin(b.entry); !x.IsZero() && !y.IsZero() {
			byBegin = y.Compare(x)
		}
		if byMod*byBegin >= 0 {
			sum += cmp.Or(byMod, byBegin)
		}
	}
	return cmp.Compare(sum, 0)
}

// begin returns when the first line of a file was written, by what it says itself; the zero time if it does not say, or can't
// be read.
func (r rotation) begin(e entry) time.Time {
	key := version{e.identity, e.mod.UnixNano()}
	if r.order != nil {
		if at, known := r.order.begins[key]; known {
			return at
		}
	}
	var at time.Time
	if s, err := open(e.path); err == nil {
		if head, err := s.at(0, headBytes); err == nil && s.identity == e.identity {
			at, _ = (&linetime.Parser{Now: e.mod}).Of(head)
		}
		s.f.Close()
	}
	if r.order != nil {
		if r.order.begins == nil || len(r.order.begins) > 1000 {
			r.order.begins = map[version]time.Time{}
		}
		r.order.begins[key] = at
	}
	return at
}

// merge makes one order of several: the next is always the one, of the first of each, that was written to longest ago.
func merge(lists ...[]named) (all []entry) {
	for {
		first := -1
		for i, l := range lists {
			if len(l) > 0 && (first < 0 || byTime(l[0], lists[first][0]) < 0) {
				first = i
			}
		}
		if first < 0 {
			return all
		}
		all, lists[first] = append(all, lists[first][0].entry), lists[first][1:]
	}
}

// learn finds out in which direction numbers count, by the name that the file that was at the path was given: it is younger
// than those of before, which had been rotated earlier. It returns what is known now.
func (r rotation) learn(own identity, before map[identity]bool) (int, error) {
	all, err := r.list()
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(all, func(e entry) bool { return e.identity == own && e.path != r.path })
	if i < 0 || len(before) == 0 {
		return r.order.counts, nil
	}
	sum, young := 0, r.named(all[i])
	for _, e := range all {
		if f := r.named(e); before[e.identity] && f.is && young.is && f.date == young.date {
			sum += cmp.Compare(young.n, f.n)
		}
	}
	if sum != 0 && !r.order.fixed {
		r.order.counts = cmp.Compare(sum, 0)
	}
	return r.order.counts, nil
}
