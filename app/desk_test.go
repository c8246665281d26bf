package app

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Long work shows how far it is after two seconds, to who waits for it and in status; short work
// does not.
func TestLongWorkTellsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk(&Plan{}, nil)
		var told []Progress
		w := d.begin("spots", "verifying the spool", func(p Progress) { told = append(told, p) })
		for i := int64(1); i <= 40; i++ {
			time.Sleep(100 * time.Millisecond)
			w.at(i, 80)
			if early := time.Since(w.p.Began) < ShowAfter; early && (len(told) > 0 ||
				len(d.underWay()) > 0) {
				t.Fatalf("told after %v: %v", time.Since(w.p.Began), told)
			}
		}
		if len(told) < 5 {
			t.Fatalf("told %d times in 4 s, want about 10", len(told))
		}
		last := told[len(told)-1]
		if last.Percent() != 50 && last.Percent() != 48 || last.Left < 3*time.Second ||
			last.Left > 5*time.Second {
			t.Errorf("got %d %% and %v left, want about 50 %% and 4 s", last.Percent(), last.Left)
		}
		if got := d.underWay(); len(got) != 1 || got[0].What != "verifying the spool" {
			t.Errorf("status shows %v", got)
		}
		w.end()
		if got := d.underWay(); len(got) != 0 {
			t.Errorf("status shows %v after the end", got)
		}
	})
}

// A sink that was added later did not get what came before it: that is no loss.
func TestSinkThatWasAddedLater(t *testing.T) {
	sim, url := feedOf(t, 50)
	place := Place{Dir: t.TempDir(), Explicit: true}
	cycle(t, place, url)
	text := configText(url)
	text = strings.Replace(text, "local:",
		"other: {sqlite: {path: other.sqlite}, batch: {every: 1ms}}, local:", 1)
	sim.Publish(10)
	a := cycleOf(t, place, text)
	if !a.Balanced || len(a.Deep) != 2 {
		t.Fatalf("got %+v", a.Deep)
	}
	for _, c := range a.Deep {
		want := map[string]Comparison{"local": {Rows: 60}, "other": {Rows: 10, Excused: 50}}[c.Sink]
		if c.Rows != want.Rows || c.Excused != want.Excused || c.Missing != 0 {
			t.Errorf("%s: got %+v, want %+v", c.Sink, c, want)
		}
	}
}
