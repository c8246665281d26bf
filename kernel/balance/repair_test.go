package balance

import (
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// A value of counters that is not theirs is damage, an empty one too.
func TestCountersThatAreNone(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	for _, v := range [][]byte{{}, {version}, make([]byte, 1+8*7), append([]byte{version}, make([]byte, 8)...)} {
		update(t, st, func(tx *store.Tx) error {
			tx.Set(counterKey(lawFlow, 1), v)
			if _, err := ReadFlow(tx, 1); !fault.Is(err, fault.Corrupt) {
				t.Errorf("%x: %v, want a Corrupt", v, err)
			}
			return nil
		})
	}
}

// What a salvage lost of gaps is not counted as open any more, for a source too that has none left.
func TestRecountOfGapsThatAreGone(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	update(t, st, func(tx *store.Tx) error {
		for source := uint32(1); source <= 2; source++ {
			for from := uint64(0); from < 3; from++ {
				g := Gap{Source: source, From: from, To: from, Missing: 5, Filled: 2, State: []GapState{GapFound, GapFilled, GapFilling}[from]}
				if err := PutGap(tx, g); err != nil {
					return err
				}
			}
			tx.Delete(gapKey(source, 2, 0))
		}
		tx.Delete(gapKey(2, 0, 0))
		tx.Delete(gapKey(2, 1, 0))
		return RecountGaps(tx)
	})
	update(t, st, func(tx *store.Tx) error {
		for source, want := range map[uint32]GapTotals{1: {Open: 1, Missing: 5, Filled: 6, Settled: 1}, 2: {Filled: 6}} {
			if got, err := ReadGapTotals(tx, source); err != nil || got != want {
				t.Errorf("source %d: %+v, %v, want %+v", source, got, err, want)
			}
		}
		return nil
	})
}
