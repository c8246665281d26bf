package collect_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// object is a spot as the feed gives it.
func object(id int) string {
	return fmt.Sprintf(`{"Spotnum":"%d","Date":"1762784625","Reporter":"N7TUG","ReporterGrid":"CN87tq",`+
		`"dB":"-24","MHz":"7.040061","CallSign":"KN0VA","Grid":"EN35","Power":"37","Drift":"0",`+
		`"distance":"2242","azimuth":"287","Band":"7","version":"","code":"1"}`, id)
}

func parse(raw []byte) connector.Page {
	r := spot.Parse(strings.NewReader("["+string(raw)+"]"), spot.Limits{})
	return connector.Page{Rows: r.Rows, Rejected: r.Rejected}
}

// emptyStore is the store of a job with one sink that takes nothing.
func emptyStore(t *testing.T) *store.Store {
	t.Helper()
	st := newRig(t, simulator.Options{Seed: 1}).open()
	t.Cleanup(func() { st.Close() })
	sp, err := spool.Open(st, "spots")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sp.Sink("main"); err != nil {
		t.Fatal(err)
	}
	return st
}

func intake(t *testing.T, st *store.Store) *collect.Intake {
	t.Helper()
	in, err := collect.OpenIntake(st, "spots", "feed", spot.Schema(), connector.SourceTraits{},
		collect.IntakeOptions{BlockRows: 100, Parse: parse})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestRetryOfARowThatCameMeanwhile: an item whose key could not be read is a row now, and another copy of
// that row came in before: it is a duplicate. One that died under its key is the row itself.
func TestRetryOfARowThatCameMeanwhile(t *testing.T) {
	st := emptyStore(t)
	in := intake(t, st)
	for _, p := range []connector.Page{
		{Rejected: []connector.Reject{{Raw: []byte(object(11)), Reason: "no JSON"},
			{Raw: []byte(object(12)), Key: "12", Reason: "out of range"},
			{Raw: []byte(object(13)), Reason: "no JSON"}}},
		parse([]byte(object(11))),
	} {
		if _, err := in.Take(t.Context(), p, collect.Follow); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint64(3) {
		if err := in.RetryDead(t.Context(), id+1); err != nil {
			t.Fatal(err)
		}
	}
	want := balance.Intake{Read: 4, Accepted: 3, Duplicate: 1}
	if b := readBooks(t, st); b.Intake != want || b.Sinks[0].Pending != 3 {
		t.Errorf("got %+v and %+v, want %+v and 3 pending rows", b.Intake, b.Sinks[0].Flow, want)
	}
}

// readBooks returns the books, which must balance.
func readBooks(t *testing.T, st *store.Store) (b engine.Books) {
	t.Helper()
	err := st.View(t.Context(), func(r store.Reader) (err error) {
		b, err = engine.ReadBooks(r, "spots")
		return err
	})
	if err != nil || !b.Balanced() {
		t.Fatalf("the books do not balance: %v (%v)", b.Broken, err)
	}
	return b
}
