package spool

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestHalveBesideRead reads the next delivery while the one before it is refused and cut, as a job does.
func TestHalveBesideRead(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	for i := range uint64(100) {
		appendBlock(t, st, s, 1+i*10, 10)
	}
	d := take(t, k, Want{Rows: 10})
	for range 50 {
		var next *Delivery
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			if next, err = k.Read(t.Context(), Want{Rows: 10}); err != nil {
				t.Error(err)
			}
		})
		if err := k.Halve(d); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		for !next.Whole() { // the halves come one by one
			settle(t, st, k, next)
			next = take(t, k, Want{Rows: 10})
		}
		if ok, err := k.Begin(next); !ok || err != nil {
			t.Fatal(ok, err)
		}
		d = next
	}
}

// TestWhatComesBackWakesRead: a Read that found nothing learns of a delivery that was given back, or cut.
func TestWhatComesBackWakesRead(t *testing.T) {
	for name, back := range map[string]func(k *Sink, d *Delivery) error{
		"released": func(k *Sink, d *Delivery) error { k.Release(d); return nil },
		"halved":   (*Sink).Halve,
	} {
		st := storetest.Open(t, t.TempDir())
		s, k := open(t, st)
		appendBlock(t, st, s, 1, 10)
		d := take(t, k, Want{Rows: 10})
		got := make(chan *Delivery, 1)
		go func() {
			next, err := k.Read(t.Context(), Want{Rows: 10, Every: time.Hour})
			if err != nil {
				t.Error(err)
			}
			got <- next
		}()
		time.Sleep(20 * time.Millisecond) // so that it waits; it must be right without, too
		if err := back(k, d); err != nil {
			t.Fatal(err)
		}
		select {
		case <-got:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nobody reads it", name)
		}
	}
}

// failing is a store of which some keys can't be read now.
type failing struct {
	store.Reader
	space store.Space
	with  error // nil: they are not there
}

func (f failing) Get(k store.Key) ([]byte, bool, error) {
	if k[0] == byte(f.space) {
		return nil, false, f.with
	}
	return f.Reader.Get(k)
}

func (f failing) Look(k store.Key, fn func([]byte) error) (bool, error) {
	if k[0] == byte(f.space) {
		return false, f.with
	}
	return f.Reader.Look(k, fn)
}

// TestAStoreThatCantBeReadIsNoDamage: what a full table of files or a bad cable hides is not given up.
func TestAStoreThatCantBeReadIsNoDamage(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s, k := open(t, st)
	appendBlock(t, st, s, 1, 10)
	look := func(f failing) (d *Delivery, err error) {
		_ = st.View(t.Context(), func(r store.Reader) error {
			f.Reader = r
			d, _, err = k.next(f, 1, Want{Rows: 100})
			return nil
		})
		return d, err
	}
	for _, space := range []store.Space{store.Blocks, store.Heads} {
		if d, err := look(failing{space: space, with: syscall.EMFILE}); err == nil {
			t.Errorf("EMFILE in space %c: got %+v", space, d)
		}
	}
	d, err := look(failing{space: store.Heads})
	if err != nil || d.Damage != nil || d.Rows.NumRows() != 10 || d.Heads[0].Rows != 10 {
		t.Errorf("without the head: got %+v (%v), want the block under its own head", d, err)
	}
	if d, err = look(failing{space: store.Blocks}); err != nil || d.Damage == nil {
		t.Errorf("without the block: got %+v (%v), want damage", d, err)
	}
}
