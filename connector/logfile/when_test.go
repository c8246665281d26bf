package logfile

import (
	"os"
	"testing"
	"time"

	"holdfast/base/lines"
)

// times checks when the last lines that were told were written; a time within a second of it will do.
func (l *log) times(want ...time.Time) {
	l.t.Helper()
	all := l.Events()
	for i, e := range all[len(all)-len(want):] {
		if d := e.Time.Sub(want[i]).Abs(); d > time.Second {
			l.t.Errorf("%q is of %v, want %v", e.Line, e.Time, want[i])
		}
	}
}

// Lines of a backlog have the times that they say, as far as these can be.
func TestTimesOfABacklog(t *testing.T) {
	l := newLog(t)
	l.start()
	l.Ready()
	l.Stop()
	now := time.Now()
	ago := func(d time.Duration) string { return now.Add(-d).Format("2006-01-02 15:04:05") }
	written := now.Add(-time.Hour)
	none, old, goesOn, late := "says nothing", ago(3*time.Hour)+" three hours", " goes on", ago(-time.Hour)+" will be"
	l.write(none + "\n" + old + "\n" + goesOn + "\n" + late + "\n")
	must(t, os.Chtimes(l.cfg.Path, time.Time{}, written))
	l.start()
	l.Tells(none, old, goesOn, late)
	l.times(written, now.Add(-3*time.Hour), now.Add(-3*time.Hour), written)
	l.Stop()

	l.rename("", ".1")
	zulu := now.Add(-2*time.Hour).UTC().Format("2006-01-02 15:04:05") + " of another zone"
	l.write(zulu + "\n")
	l.cfg.Zone = "UTC"
	l.cfg.Join = &lines.Config{Continue: `^\s`, Quiet: 10 * time.Millisecond}
	l.start()
	l.Tells(none, old, goesOn, late, zulu)
	l.times(now.Add(-2 * time.Hour))
}

// What is read behind an end that was seen was written just now, whatever it says of itself: its zone may be another, and
// who writes lines can write any time.
func TestTimesOfNow(t *testing.T) {
	l := newLog(t)
	l.write("old\n")
	l.start()
	l.Ready()
	line := time.Now().Add(-2*time.Hour).Format(time.RFC3339) + " forged"
	l.write(line + "\n")
	l.Tells(line)
	l.times(time.Now())
}
