package engine

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// A loss is acknowledged once; the next one is news again. Both stay in the books.
func TestAcknowledge(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	loses := func(rows uint64) {
		t.Helper()
		if err := st.Update(func(tx *store.Tx) error {
			id, _, err := tx.ID(store.SourceName, "feed")
			if err != nil {
				return err
			}
			return balance.PutGap(tx, balance.Gap{Source: id, From: rows, To: rows, Missing: rows, Cause: balance.Damage, State: balance.GapLost,
				Found: time.Now().UTC()})
		}); err != nil {
			t.Fatal(err)
		}
	}
	status := func() (s Status) {
		t.Helper()
		if err := st.Latest(func(r store.Reader) (err error) { s, err = ReadStatus(r, "one"); return err }); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := Acknowledge(st, "one", nil); !fault.Is(err, fault.Conflict) || status().Acknowledged != nil {
		t.Errorf("nothing is lost: got %v", err)
	}
	for _, rows := range []uint64{1, 20} {
		loses(rows)
		shown := LossOf(status().Balance)
		loses(300 + rows) // meanwhile
		if err := Acknowledge(st, "one", &shown); err != nil {
			t.Fatal(err)
		}
		if err := Acknowledge(st, "one", &shown); !fault.Is(err, fault.Conflict) {
			t.Errorf("twice: got %v", err)
		}
	}
	if s := status(); s.Acknowledged == nil || s.Acknowledged.Lost != 322 || s.Acknowledged.At.IsZero() || s.Balance.GapSums.Lost != 642 {
		t.Errorf("got %+v, %+v", s.Acknowledged, s.Balance.GapSums)
	}
	var told []string
	if err := st.Latest(func(r store.Reader) error {
		all, err := ReadEvents(r, 0, 9)
		for _, e := range all {
			told = append(told, e.Text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, "; "); got != "a person knows that 1 row is lost; a person knows that 321 rows are lost" {
		t.Errorf("the history has %s", got)
	}
}
