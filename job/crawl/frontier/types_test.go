package frontier

import (
	"fmt"
	"testing"

	"holdfast/kernel/store"
)

// TestMadeUpTypes: of all the MIME types that servers make up, so many are counted apart, and none is counted twice or lost.
func TestMadeUpTypes(t *testing.T) {
	r := newRig(t, Options{})
	const urls, batches = mostTypes + 200, 6
	for n := range batches {
		r.batch(func(b *Batch) error {
			for i := range urls / batches {
				if err := b.countType(fmt.Sprintf("made/up%d", n*urls/batches+i), 3); err != nil {
					return err
				}
				if err := b.countType("text/html", 5); err != nil {
					return err
				}
			}
			return nil
		})
	}
	r.see(func(rd store.Reader) error {
		all, err := Types(rd)
		if err != nil {
			return err
		}
		html, other := all["text/html"], all[otherTypes]
		if len(all) != mostTypes+1 || html != (TypeCount{urls, 5 * urls}) || other != (TypeCount{urls - mostTypes + 1, 3 * (urls - mostTypes + 1)}) {
			t.Errorf("%d types, text/html %+v, others %+v", len(all), html, other)
		}
		return nil
	})
}

func BenchmarkMadeUpTypes(b *testing.B) {
	st, err := store.Open(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	f, err := Open(st, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		err := st.Update(func(tx *store.Tx) error {
			batch, err := f.Begin(tx)
			for i := range 200 {
				if err == nil {
					err = batch.countType(fmt.Sprintf("made/up%d", n*200+i), 3)
				}
			}
			if err != nil {
				return err
			}
			return batch.Write()
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
