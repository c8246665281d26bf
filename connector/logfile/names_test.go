package logfile

import (
	"os"
	"slices"
	"testing"
	"time"
)

// Small numbers count back from now, dates and times go forwards; other names say nothing, and it counts when a file was written to.
func TestOrderOfNames(t *testing.T) {
	for name, want := range map[string][]string{
		"counted":     {".12", ".3.gz", ".2", ".1", ""},
		"up to there": {".9999", ".9998", ".1", ""},
		"beyond":      {".999997", ".999998", ".999999", ""},
		"days":        {"-20251231.gz", "-20260101", "-20260102", ""},
		"seconds":     {".1767225600", ".1767225601", ""},
		"other":       {".old", ".b", ".a", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			for i, suffix := range want {
				appendTo(t, l.path(suffix), "")
				written := time.Now().Add(time.Duration(i) * time.Second)
				if name != "other" {
					written = time.Now().Add(-time.Duration(i) * time.Second) // this is not asked
				}
				must(t, os.Chtimes(l.path(suffix), time.Time{}, written))
			}
			all, err := (rotation{path: l.cfg.Path}).list()
			must(t, err)
			var got []string
			for _, e := range all {
				got = append(got, e.path[len(l.cfg.Path):])
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// A file that was read to its end is not read again where its name, or the time of a line that came late, puts it behind a younger
// one.
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
