package streamer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/filesource"
)

// files are a data set in a directory of the test.
type files struct {
	t   *testing.T
	dir string
	*rig
	l *listener
}

func newFiles(t *testing.T) *files {
	h := newHub()
	l := newListener(t, h)
	l.confirms = true
	t.Cleanup(l.listen(t.Context()))
	f := &files{t: t, dir: t.TempDir(), l: l}
	var src *filesource.Once
	f.rig = newRig(t, h, func() connector.Source {
		var err error
		src, err = filesource.OpenSet(filesource.Config{Path: filepath.Join(f.dir, "*.csv"), Format: "csv", Time: "time",
			Settle: time.Nanosecond, Columns: []columns.Column{{Name: "time", Type: columns.Time, Format: "2006-01-02 15:04"},
				{Name: "zip_code", Type: columns.Text}}})
		if err != nil {
			t.Fatal(err)
		}
		return src
	})
	f.cfg.Changed = func(cursor []byte) map[string]string { return src.Changed(cursor) }
	f.cfg.Empty = func(cursor []byte) []string { return src.Empty(cursor) }
	return f
}

// put writes a file of one row for each of the hours.
func (f *files) put(name string, hours ...int) {
	f.t.Helper()
	text := "time,zip_code\n"
	for _, h := range hours {
		text += fmt.Sprintf("2023-09-19 %02d:00,%s-%d\n", h, name, h)
	}
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) told(want int, texts ...string) {
	f.t.Helper()
	all := f.events("stream.changed")
	if len(all) != want {
		f.t.Errorf("%d events, want %d: %q", len(all), want, all)
	}
	for _, text := range texts {
		if !strings.Contains(strings.Join(all, "\n"), text) {
			f.t.Errorf("no event says %q: %q", text, all)
		}
	}
}

// TestSetAgain: what was read is another file at the next start: that is told each time, and it is not read. What was
// added is.
func TestSetAgain(t *testing.T) {
	f := newFiles(t)
	f.put("a.csv", 0, 1)
	f.once()
	f.once()
	f.told(0)
	f.put("a.csv", 0, 1, 2)
	f.once()
	f.told(1, "a.csv has changed since it was read (64 bytes then, 89 now): a data set does not change")
	if changed := f.job.Changed(); len(changed) != 1 || len(f.l.all()) != 2 {
		t.Errorf("%q, %d windows, want 2", changed, len(f.l.all()))
	}
	f.put("b.csv", 1, 2)
	f.once()
	f.told(2)
	if got := f.l.payload("LAST:1", 1); len(f.l.all()) != 4 || !strings.Contains(got, "b.csv-1") {
		t.Errorf("%d windows, want 4; got %s", len(f.l.all()), got)
	}
	if b := f.books(); b.Read != 4 || b.Accepted != 4 {
		t.Errorf("books: %+v", b)
	}
}

// TestSetGrows: a service takes what is added while it runs, and tells once of what has changed.
func TestSetGrows(t *testing.T) {
	f := newFiles(t)
	f.put("a.csv", 0, 1)
	stop, _ := f.start()
	windows := func(n int) func() bool {
		return func() bool {
			_, err := f.running().Command(context.Background(), "try", nil)
			return err == nil && len(f.l.all()) == n
		}
	}
	until(t, "the first file", windows(2))
	f.put("b.csv", 2)
	until(t, "the second file", windows(3))
	f.put("a.csv", 5, 6, 7)
	until(t, "the change", func() bool { return windows(3)() && len(f.running().Changed()) == 1 })
	f.put("a.csv", 5, 6)
	f.put("c.csv", 3)
	until(t, "the third file", windows(4))
	status := fmt.Sprint(f.running().Notes())
	stop()
	f.told(1, "a.csv has changed")
	if !strings.Contains(status, "{changed ") && !strings.Contains(status, "[changed ") {
		t.Errorf("status: %s", status)
	}
	f.put("d.csv", 4)
	stop, _ = f.start()
	until(t, "the file of the second start", windows(5))
	stop()
}

// TestSetEmpty: a file that is empty is told once, and holds up none behind it; its rows come once it has some.
func TestSetEmpty(t *testing.T) {
	f := newFiles(t)
	f.put("a.csv", 0)
	if err := os.WriteFile(filepath.Join(f.dir, "b.csv"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f.put("c.csv", 2)
	stop, _ := f.start()
	windows := func(n int) func() bool {
		return func() bool {
			_, err := f.running().Command(context.Background(), "try", nil)
			return err == nil && len(f.l.all()) == n
		}
	}
	until(t, "the files that have content", windows(2))
	f.put("b.csv", 1)
	until(t, "the file that has content now", windows(3))
	stop()
	f.told(0)
	if all := f.events("stream.empty"); len(all) != 1 || !strings.Contains(all[0], "b.csv is empty: it is passed over") {
		t.Errorf("events: %q", all)
	}
}

// TestSetGrowsPaced: a file grows while its windows wait for their time: it is told at the end.
func TestSetGrowsPaced(t *testing.T) {
	f := newFiles(t)
	f.put("a.csv", 0, 1)
	f.cfg.Interval, f.cfg.Once = 500*time.Millisecond, true
	_, ended := f.start()
	until(t, "the first window", func() bool { return len(f.l.all()) == 1 })
	f.put("a.csv", 0, 1, 2)
	f.ends(ended)
	f.told(1, "a.csv has changed")
	if len(f.job.Changed()) != 1 {
		t.Errorf("changed: %q", f.job.Changed())
	}
}

// TestSetIsLookedAtFirst: after a restart nobody hears of an end before the data set was looked at: there may be more.
func TestSetIsLookedAtFirst(t *testing.T) {
	h := newHub()
	l := newListener(t, h)
	l.confirms = true
	defer l.listen(t.Context())()
	f := feedOf(hours(3, 0, 1), 2)
	r := newRig(t, h, func() connector.Source { return f })
	r.once()
	asked := f.times()
	f.breaks(errors.New("the disk is away"))
	r.cfg.Once = false
	stop, _ := r.start()
	defer stop()
	until(t, "the data set is looked at", func() bool { return f.times() > asked })
	if r.running().desk.figures().over {
		t.Error("it is said to be at its end, and nobody could look")
	}
	f.breaks(nil)
	until(t, "the end", func() bool {
		_, err := r.running().Command(context.Background(), "try", nil)
		return err == nil && r.running().desk.figures().over
	})
}
