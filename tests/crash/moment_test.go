package crash

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/kernel/spool"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// TestNothingIsToldBeforeItsSync cuts the power at each sync of the log, just before it is done: what
// readers had been told of by then is there.
func TestNothingIsToldBeforeItsSync(t *testing.T) {
	t.Parallel()
	w := newWitness()
	disk := storetest.NewCrashFS()
	var fs *storetest.FaultFS
	var at atomic.Pointer[job]
	type moment struct {
		disk          *storetest.CrashFS
		tail, durable uint64
	}
	var moments []moment
	fs = disk.Faulty(func(c storetest.Change) error {
		if j := at.Load(); j != nil && strings.HasPrefix(c.Kind, "sync") && strings.HasSuffix(c.Path, ".log") {
			tail, _ := j.sp.Tail()
			moments = append(moments, moment{tail: tail, durable: j.st.Durable(), disk: fs.After(0)})
		}
		return nil
	})
	j, err := w.open("/job", w.options(fs))
	if err != nil {
		t.Fatal(err)
	}
	at.Store(j)
	for i := range uint64(10) {
		if err := j.page(int(i%2), rand.New(rand.NewPCG(i, 0))); err != nil {
			t.Fatal(err)
		}
	}
	at.Store(nil)
	j.queue.Close()
	if err := j.st.Close(); err != nil {
		t.Fatal(err)
	}
	if len(moments) < 10 {
		t.Fatalf("%d syncs of the log, want 10 or more", len(moments))
	}
	for i, m := range moments {
		st, err := store.Open("/job", w.options(m.disk.FS()))
		if err != nil {
			t.Fatal(err)
		}
		if st.Durable() < m.durable {
			t.Errorf("sync %d: commit %d was called durable, %d is there", i, m.durable, st.Durable())
		}
		err = st.View(t.Context(), func(r store.Reader) error {
			stats, err := spool.ReadStats(r)
			if stats.Next <= m.tail {
				t.Errorf("sync %d: readers were told of block %d, the next one is %d", i, m.tail, stats.Next)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLazyCommitsAreDurableInTime: nobody asks for it, and still a lazy commit is on the disk before a
// second is over.
func TestLazyCommitsAreDurableInTime(t *testing.T) {
	t.Cleanup(func() { runtime.GC(); runtime.GC() }) // see TestPowerCut
	synctest.Test(t, func(t *testing.T) {
		disk, w := storetest.NewCrashFS(), newWitness()
		st, err := store.Open("/job", w.options(disk.FS()))
		if err != nil {
			t.Fatal(err)
		}
		err = st.UpdateLazy(func(tx *store.Tx) error { tx.Set(journalKey, store.Key(nil).U64(7)); return nil })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		cut := disk.After(0)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := store.Open("/job", w.options(cut.FS()))
		if err != nil {
			t.Fatal(err)
		}
		err = again.View(context.Background(), func(r store.Reader) error {
			if n, err := readJournal(r); n != 7 || err != nil {
				t.Errorf("after a second and a power cut: got %d, want 7 (%v)", n, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}
