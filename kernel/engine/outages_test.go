package engine

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"holdfast/kernel/store"
)

// Outages are read from the history: those that lasted into the time, those that last, and one of several causes as one.
func TestOutagesOfAHistory(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	begin := time.Unix(1_700_000_000, 0).UTC()
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
	for _, e := range []struct {
		minute     int
		kind, text string
	}{
		{0, "gate.closed", "before: the run that it was in is over"},
		{1, "job.stopped", "job one stopped"},
		{1, "job.started", "job one runs"},
		{2, "gate.closed", "early: over long ago"},
		{3, "gate.opened", "early is back"},
		{4, "gate.closed", "still: it lasts through all of it"},
		{5, "gate.closed", "shop: connection refused: by the host"},
		{6, "gap.found", "shop: no outage"},
		{12, "gate.closed", "main: away"},
		{13, "gate.closed", "main: still away, for another reason"},
		{15, "gate.opened", "main is back"},
		{13, "disk.short", "disk: 3 MB are left"},
		{14, "disk.roomy", "disk: 3 GB are left"},
		{16, "job.paused", "job one is paused"},
		{18, "job.resumed", "job one goes on"},
		{20, "gate.opened", "shop is back"},
		{21, "gate.closed", "bank: away"},
		{22, "gate.opened", "bank counts as back, on the word of a person"},
		{23, "gate.closed", "ban do[1]: sh: failed 5 times: away"},
		{24, "gate.closed", "ban do[1]: sh: failed 6 times: away"},
		{25, "gate.opened", "ban do[1]: sh is back"},
		{30, "gate.closed", "main: and again"},
		{32, "gate.closed", "main: and for another reason"},
		{34, "job.stopped", "job one stopped"},
		{35, "job.started", "job one runs"},
		{36, "gate.closed", "main: the new run finds it so"},
		{50, "gate.closed", "late: behind the time"},
	} {
		if err := st.Update(func(tx *store.Tx) error {
			return AddEvent(tx, Event{At: at(e.minute), Job: "one", Kind: e.kind, Text: e.text})
		}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(most int) string {
		var out []string
		if err := st.Latest(func(r store.Reader) error {
			all, err := Outages(r, at(10), at(40), most)
			for _, o := range all {
				end := "-"
				if !o.To.IsZero() {
					end = fmt.Sprint(o.To.Sub(begin).Minutes())
				}
				out = append(out, fmt.Sprintf("%s %v %s %s", o.What, o.From.Sub(begin).Minutes(), end, o.Cause))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, "\n")
	}
	want := "still 4 34 it lasts through all of it\nshop 5 20 connection refused: by the host\nmain 12 15 away\ndisk 13 14 3 MB are left\npaused 16 18 \n" +
		"bank 21 22 away\nban do[1]: sh 23 25 failed 5 times: away\nmain 30 34 and again\nmain 36 - the new run finds it so"
	if got := read(100); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := read(1); got != "main 36 - the new run finds it so" {
		t.Errorf("the newest one: got %s", got)
	}
}
