package transfer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/connector"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestTheOldestIsFoundAgain: who looks for the oldest file with a reader from before it was revived does not hide it from those
// who look later.
func TestTheOldestIsFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.Open(t, t.TempDir())
		b := new(below)
		opens := func(id uint64) {
			t.Helper()
			if err := st.Update(func(tx *store.Tx) error { tx.Set(openKey(id), nil); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		first := func(r store.Reader) error {
			_, _, err := b.first(r)
			return err
		}
		opens(60)
		err := st.View(t.Context(), func(r store.Reader) error {
			opens(10) // it is revived meanwhile
			b.forget()
			return first(r)
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var id uint64
			if err := st.View(t.Context(), func(r store.Reader) (err error) { id, _, err = b.first(r); return err }); err != nil || id != 10 {
				t.Errorf("file %d is the oldest (%v), want 10", id, err)
			}
			time.Sleep(2 * untilSeen)
		}
		if b.id != 10 {
			t.Errorf("later looks begin at %d, want 10", b.id)
		}
	})
}

// losing is a ledger by which the claims are lost while one is asked for.
type losing struct {
	connector.Ledger
	of *ledger
}

func (l *losing) Lock(context.Context, connector.Original, bool) (connector.Claim, error) {
	l.of.lost()
	return connector.Claim{Held: true}, nil
}

// TestAClaimThatWasLostAtOnce: a claim that was granted before all claims were lost is not good for sure, though its answer came
// after that.
func TestAClaimThatWasLostAtOnce(t *testing.T) {
	l := &ledger{sure: map[uint64]bool{}, gate: gate.New("ledger", gate.Options{})}
	l.Ledger = &losing{of: l}
	j := &Job{ledger: l, cfg: Config{Root: "/from"}}
	f := &file{ID: 7}
	if c, err := j.lock(t.Context(), f, false); err != nil || !c.Held {
		t.Fatalf("got %+v, %v", c, err)
	}
	if l.isSure(f.ID) {
		t.Error("the claim counts as good")
	}
	l.claimed(f.ID, l.lossesSoFar())
	if !l.isSure(f.ID) {
		t.Error("a claim that was granted since does not count as good")
	}
}
