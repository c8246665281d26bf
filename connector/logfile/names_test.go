package logfile

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Dates and times in names say which file is older. Of numbers it is what most files show by when they were written to, or
// by the times of their first lines; of other names it is when a file was written to.
func TestOrderOfNames(t *testing.T) {
	const same, forth, back = 0, time.Second, -time.Second // what the times of the files say, from the first to the next
	for name, c := range map[string]struct {
		step time.Duration
		want []string
	}{
		"nothing shows it":        {same, []string{".12", ".3.gz", ".2", ".1", ""}},
		"counted down":            {forth, []string{".10001", ".9999", ".2024", ".12", ".3.gz", ".1", ""}},
		"counted up":              {forth, []string{".1", ".3.gz", ".12", ".2024", ".9999", ".10001", ""}},
		"counted up far":          {forth, []string{".999997", ".999998", ".1000000", ""}},
		"days":                    {back, []string{"-20251231.gz", "-20260101", "-20260102", ""}},
		"days with hyphens":       {back, []string{".2025-12-31", ".2026-01-01.gz", ".2026-01-02", ""}},
		"hours":                   {back, []string{"-2025123123", "-2026010100", ""}},
		"days and numbers":        {forth, []string{".2025-12-31.9", ".2025-12-31.10", ".2026-01-01.1", ".2026-01-01.2", ""}},
		"days and numbers, same":  {same, []string{".2025-12-31.9", ".2025-12-31.10", ".2026-01-01.1", ""}},
		"days and numbers, down":  {forth, []string{".2025-12-31.2", ".2025-12-31.1", ".2026-01-01.2", ".2026-01-01.1", ""}},
		"seconds":                 {back, []string{".1767225600", ".1767225601", ""}},
		"days without a year":     {forth, []string{".1230", ".1231", ".0101", ".0102", ""}},
		"the year at the end":     {forth, []string{".12-31-2025", ".01-01-2026", ""}},
		"other":                   {forth, []string{".old", ".b", ".a", ""}},
		"what was touched is one": {forth, []string{".9 touched", ".8", ".7", ".6", ""}},
		"two ways":                {forth, []string{".2", ".1", "-20260101", "-20260102", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			var want []string
			for i, suffix := range c.want {
				suffix, touched := strings.CutSuffix(suffix, " touched")
				want = append(want, suffix)
				appendTo(t, l.path(suffix), "")
				at := time.Now().Add(time.Duration(i)*c.step - time.Hour).Truncate(time.Second)
				if touched {
					at = time.Now()
				}
				must(t, os.Chtimes(l.path(suffix), time.Time{}, at))
			}
			if got := l.order(); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// order are the suffixes of the files in their order.
func (l *log) order() (got []string) {
	all, err := l.cfg.files().list()
	must(l.t, err)
	for _, e := range all {
		got = append(got, e.path[len(l.cfg.Path):])
	}
	return got
}

// What lines say of their times counts where the times of files say nothing, and nothing where the two contradict each other.
func TestOrderByFirstLines(t *testing.T) {
	l := newLog(t)
	for i, suffix := range []string{".1", ".2", ".3", ""} {
		appendTo(t, l.path(suffix), fmt.Sprintf("2026-01-0%d 12:00:00 x\n", i+1))
		must(t, os.Chtimes(l.path(suffix), time.Time{}, time.Unix(1767800000, 0)))
	}
	if got, want := l.order(), []string{".1", ".2", ".3", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	l.cfg.Counts = "down"
	if got, want := l.order(), []string{".3", ".2", ".1", ""}; !slices.Equal(got, want) {
		t.Errorf("counts down: got %q, want %q", got, want)
	}
	l.cfg.Counts = ""
	for i, suffix := range []string{".1", ".2", ".3"} {
		must(t, os.Chtimes(l.path(suffix), time.Time{}, time.Unix(1767800000-int64(i), 0)))
	}
	if got, want := l.order(), []string{".3", ".2", ".1", ""}; !slices.Equal(got, want) {
		t.Errorf("contradiction: got %q, want %q", got, want)
	}
}

// log4j counts up: app.log.3 is behind app.log.2. What was seen of that is known behind a restart, when nothing else shows it.
func TestCountedUp(t *testing.T) {
	for name, shift := range map[string]bool{"for ever": false, "and shifts": true} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			at := time.Now().Add(-time.Minute)
			same := func() {
				for _, suffix := range []string{".1", ".2", ".3", ".4"} {
					if _, err := os.Stat(l.path(suffix)); err == nil {
						must(t, os.Chtimes(l.path(suffix), time.Time{}, at))
					}
				}
			}
			appendTo(t, l.path(".1"), "never watched\n")
			same()
			l.write("old\n")
			l.start()
			l.Ready()
			l.write("one\n")
			l.Tells("one")
			l.rename("", ".2")
			l.write("two\n")
			l.Tells("one", "two")
			l.Stop()
			l.write("three\n")
			if shift {
				l.rename(".2", ".1")
				l.rename("", ".2")
				l.write("four\n")
				l.rename("", ".3")
			} else {
				l.rename("", ".3")
				l.write("four\n")
				l.rename("", ".4")
			}
			l.write("five\n")
			if !shift {
				same()
			}
			l.start()
			l.Tells("one", "two", "three", "four", "five")
		})
	}
}

// A file that was read to its end is not read again where its name, or the time of a line that came late, puts it behind a
// younger one.
func TestOutOfOrder(t *testing.T) {
	for name, to := range map[string][2]string{
		"written to late":         {".x", ".y"},
		"counted down from above": {".999999", ".999998"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.start()
			l.Ready()
			l.write("one\n")
			l.Tells("one")
			l.rename("", to[0])
			l.write("two\n")
			l.Tells("one", "two")
			appendTo(t, l.path(to[0]), "late\n")
			l.Tells("one", "two", "late")
			l.Stop()
			l.rename("", to[1])
			l.write("three\n")
			l.start()
			l.Tells("one", "two", "late", "three")
		})
	}
}
