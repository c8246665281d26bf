package balance_test

import (
	"testing"
	"time"

	"holdfast/kernel/balance"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestManyLettersInOneTransaction: a delivery of which a sink refuses every row buries them all in one transaction, while others
// wait for the store. Each costs the same, however many there are.
func TestManyLettersInOneTransaction(t *testing.T) {
	st, err := store.Open("/job", storetest.Options(t, storetest.NewCrashFS().FS()))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	bury := func(n int) time.Duration {
		begun := time.Now()
		err := st.Update(func(tx *store.Tx) error {
			for range n {
				if _, err := balance.Bury(tx, balance.DeadLetter{Reason: "refused"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(begun) / time.Duration(n)
	}
	bury(1000)
	few, many := bury(1000), bury(30_000)
	t.Logf("a letter costs %v among 1,000 and %v among 30,000", few, many)
	if many > 8*few+100*time.Microsecond { // it was thirty times as much, and a machine may be busy
		t.Errorf("a letter costs %v among 1,000 and %v among 30,000", few, many)
	}
	if err := st.View(t.Context(), func(r store.Reader) error {
		n, err := balance.Letters(r)
		if n != 32_000 {
			t.Errorf("%d letters", n)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
