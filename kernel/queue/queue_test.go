package queue

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// TestMain sets how many histories the property tests run, unless -rapid.checks says it.
func TestMain(m *testing.M) {
	checks := "100"
	switch {
	case testenv.Torture():
		checks = "3000"
	case raceEnabled:
		checks = "10"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

func openQueue(t testing.TB, st *store.Store, o Options) *Queue {
	t.Helper()
	q, err := Open(st, "frames", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// memory opens a store on a file system in memory, which a bubble of synctest can hold.
func memory(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open("/job", storetest.Options(t, storetest.NewCrashFS().FS()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func update(t testing.TB, st *store.Store, f func(tx *store.Tx) error) {
	t.Helper()
	if err := st.Update(f); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, st *store.Store, q *Queue, tasks ...Task) (added int) {
	t.Helper()
	update(t, st, func(tx *store.Tx) (err error) {
		added, err = q.PutAll(tx, tasks)
		return err
	})
	return added
}

func done(t testing.TB, st *store.Store, q *Queue, l Lease) {
	t.Helper()
	update(t, st, func(tx *store.Tx) error { return q.Done(tx, l) })
}

func retry(t testing.TB, st *store.Store, q *Queue, l Lease, after time.Duration) (dead bool) {
	t.Helper()
	update(t, st, func(tx *store.Tx) (err error) {
		dead, err = q.Retry(tx, l, after, "no answer")
		return err
	})
	return dead
}

// take leases up to n tasks that are ready now.
func take(t testing.TB, q *Queue, n int) []Lease {
	t.Helper()
	leases, err := q.look(n)
	if err != nil {
		t.Fatal(err)
	}
	return leases
}

// lease waits for one task.
func lease(ctx context.Context, q *Queue) (Lease, error) {
	leases, err := q.LeaseMany(ctx, 1)
	if err != nil {
		return Lease{}, err
	}
	return leases[0], nil
}

func keysOf(leases []Lease) (keys []string) {
	for _, l := range leases {
		keys = append(keys, l.Key)
	}
	return keys
}

func wantKeys(t testing.TB, what string, leases []Lease, want ...string) {
	t.Helper()
	if got := keysOf(leases); !slices.Equal(got, want) {
		t.Errorf("%s: leased %v, want %v", what, got, want)
	}
}

func wantCounts(t testing.TB, st *store.Store, q *Queue, want Counts) {
	t.Helper()
	err := st.View(t.Context(), func(r store.Reader) error {
		got, err := q.Counts(r)
		if got != want || err != nil {
			t.Errorf("counts: got %+v %v, want %+v", got, err, want)
		}
		faults, err := q.Verify(r)
		if len(faults) > 0 {
			t.Errorf("the queue does not agree with itself:\n%s", strings.Join(faults, "\n"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestARepeatIsNotASecondTask(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{})
	if n := put(t, st, q, Task{Key: "a"}, Task{Key: "a", Payload: []byte("other")}, Task{Key: "b"}); n != 2 {
		t.Errorf("added %d, want 2", n)
	}
	leases := take(t, q, 5)
	wantKeys(t, "in the order they were put", leases, "a", "b")
	if n := put(t, st, q, Task{Key: "a"}); n != 0 {
		t.Error("a task that is leased was added again")
	}
	done(t, st, q, leases[0])
	update(t, st, func(tx *store.Tx) error { return q.Dead(tx, leases[1], "bad header") })
	if n := put(t, st, q, Task{Key: "a"}, Task{Key: "b"}); n != 0 {
		t.Errorf("%d of a done and a dead task were added again", n)
	}
	wantCounts(t, st, q, Counts{Put: 2, Done: 1, Dead: 1})
	update(t, st, func(tx *store.Tx) error {
		if ok, err := q.Forget(tx, "b"); ok || err != nil {
			t.Errorf("forgot a task that is there: %v", err)
		}
		ok, err := q.Forget(tx, "a")
		if !ok {
			t.Error("did not forget what is done")
		}
		return err
	})
	if n := put(t, st, q, Task{Key: "a"}); n != 1 {
		t.Error("a forgotten key can't be put")
	}
	wantCounts(t, st, q, Counts{Put: 3, Ready: 1, Done: 1, Dead: 1})
}

func TestBadTasksAreRefused(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{})
	for what, bad := range map[string]Task{
		"no key":   {},
		"no lane":  {Key: "a", Lane: 1},
		"long key": {Key: strings.Repeat("a", maxKey+1)},
		"payload":  {Key: "a", Payload: make([]byte, MaxPayload+1)},
	} {
		err := st.Update(func(tx *store.Tx) error { _, err := q.Put(tx, bad); return err })
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want an Invalid fault", what, err)
		}
	}
	if _, err := Open(st, "bad", Options{Lanes: []Lane{{}}, Attempts: -1}); err == nil ||
		!strings.Contains(err.Error(), "weight 0") || !strings.Contains(err.Error(), "attempts -1") {
		t.Errorf("bad options: got %v", err)
	}
}

func TestAttemptsEndInDeath(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{Attempts: 2})
	put(t, st, q, Task{Key: "a", Payload: []byte("x")})
	l := take(t, q, 1)[0]
	if l.Attempt != 1 || string(l.Payload) != "x" || l.Reason != "" {
		t.Errorf("first lease: %+v", l)
	}
	// What could not be tried does not count.
	update(t, st, func(tx *store.Tx) error { return q.Release(tx, l, 0) })
	l = take(t, q, 1)[0]
	if l.Attempt != 1 || retry(t, st, q, l, 0) {
		t.Errorf("after a release: %+v", l)
	}
	l = take(t, q, 1)[0]
	if l.Attempt != 2 || l.Reason != "no answer" {
		t.Errorf("second attempt: %+v", l)
	}
	if !retry(t, st, q, l, 0) {
		t.Error("a second failure of two attempts is not the end")
	}
	wantCounts(t, st, q, Counts{Put: 1, Dead: 1})
	var dead Info
	if err := st.View(t.Context(), func(r store.Reader) (err error) {
		dead, _, _, err = q.Show(r, l.ID)
		return err
	}); err != nil || dead.State != Dead || dead.Reason != "no answer" || dead.Attempts != 2 {
		t.Fatalf("the dead task: %+v %v", dead, err)
	}
	update(t, st, func(tx *store.Tx) error { _, err := q.Revive(tx, dead.ID); return err })
	l = take(t, q, 1)[0]
	if l.Attempt != 1 || string(l.Payload) != "x" {
		t.Errorf("revived: %+v", l)
	}
	err := st.Update(func(tx *store.Tx) error { _, err := q.Revive(tx, l.ID); return err })
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("revive a leased task: got %v", err)
	}
	update(t, st, func(tx *store.Tx) error { return q.Drop(tx, l.ID) })
	err = st.Update(func(tx *store.Tx) error { return q.Done(tx, l) })
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("done after drop: got %v, want a Conflict fault", err)
	}
	err = st.Update(func(tx *store.Tx) error { return q.Drop(tx, l.ID) })
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("dropped twice: got %v", err)
	}
	wantCounts(t, st, q, Counts{Put: 1, Dropped: 1})
}

func TestOneOrderRunsOneAfterAnother(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{})
	put(t, st, q, Task{Key: "a1", Order: "a"}, Task{Key: "a2", Order: "a"}, Task{Key: "a3", Order: "a"},
		Task{Key: "b1", Order: "b"}, Task{Key: "c"}, Task{Key: "a4", Order: "a"})
	first := take(t, q, 9)
	wantKeys(t, "one of each order", first, "a1", "b1", "c")
	retry(t, st, q, first[0], 0)
	again := take(t, q, 9)
	wantKeys(t, "a retry keeps its turn", again, "a1")
	done(t, st, q, again[0])
	second := take(t, q, 9)
	wantKeys(t, "the next one", second, "a2")
	wantCounts(t, st, q, Counts{Put: 6, Leased: 3, Waiting: 2, Done: 1})
	// The one in the middle goes, the one in front dies: the last has its turn.
	update(t, st, func(tx *store.Tx) error {
		f, _, err := q.Find(tx, "a3")
		if err != nil {
			return err
		}
		return q.Drop(tx, f.ID)
	})
	update(t, st, func(tx *store.Tx) error { return q.Dead(tx, second[0], "no") })
	third := take(t, q, 9)
	wantKeys(t, "past the dead", third, "a4")
	update(t, st, func(tx *store.Tx) error { _, err := q.Revive(tx, second[0].ID); return err })
	if late := take(t, q, 9); len(late) != 0 {
		t.Errorf("%v runs beside another of its order", keysOf(late))
	}
	done(t, st, q, third[0])
	wantKeys(t, "the revived", take(t, q, 9), "a2")
	wantCounts(t, st, q, Counts{Put: 6, Leased: 3, Done: 2, Dropped: 1})
}

// lanes are some of these weights.
func lanes(weights ...int) (all []Lane) {
	for _, w := range weights {
		all = append(all, Lane{Weight: w})
	}
	return all
}

// What was put last comes first, turn by turn; also when it is put while others are leased, and behind a clock that was set
// back.
func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory(t)
		q := openQueue(t, st, Options{Lanes: []Lane{{Weight: 1, Newest: true}}})
		time.Sleep(time.Until(time.Now().Truncate(turnOfNewest).Add(turnOfNewest)))
		put(t, st, q, Task{Key: "a"}, Task{Key: "b"})
		time.Sleep(turnOfNewest)
		put(t, st, q, Task{Key: "c"})
		put(t, st, q, Task{Key: "d"})
		wantKeys(t, "the last turn", take(t, q, 1), "c")
		time.Sleep(turnOfNewest)
		put(t, st, q, Task{Key: "e"}, Task{Key: "f"})
		second := take(t, q, 3)
		wantKeys(t, "a younger one, then what was left", second, "e", "f", "d")
		retry(t, st, q, second[2], 0)
		put(t, st, q, Task{Key: "g"})
		wantKeys(t, "all, what comes back by turns with the others", take(t, q, 9), "g", "d", "a", "b")
		wantCounts(t, st, q, Counts{Put: 7, Leased: 7})
	})
}

func TestLanesGetTheirShare(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{Lanes: lanes(6, 3, 1)})
	var tasks []Task
	for i := range 600 {
		tasks = append(tasks, Task{Key: fmt.Sprint(i), Lane: i % 3})
	}
	put(t, st, q, tasks...)
	got := [3]int{}
	for _, l := range take(t, q, 100) {
		got[l.Lane]++
	}
	if want := [3]int{60, 30, 10}; got != want {
		t.Errorf("of 100 leases the lanes got %v, want %v", got, want)
	}
	// A lane that had nothing to do has nothing saved up.
	for range 40 { // the first two have nothing left
		take(t, q, 10)
	}
	put(t, st, q, Task{Key: "urgent"})
	if l := take(t, q, 10); !slices.Contains(keysOf(l), "urgent") {
		t.Errorf("the first lane waits behind %v", keysOf(l))
	}
}

func TestTasksThatComeBackTakeTurnsWithNewOnes(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{})
	put(t, st, q, Task{Key: "a"}, Task{Key: "b"}, Task{Key: "c"}, Task{Key: "d"}, Task{Key: "e"})
	for _, l := range take(t, q, 2) {
		retry(t, st, q, l, 0)
	}
	got := keysOf(take(t, q, 5))
	if i := slices.Index(got, "a"); i > 1 || slices.Index(got, "c") > 1 {
		t.Errorf("got %v: neither the new nor the old may wait for all of the others", got)
	}
}

func TestLeaseWaitsForADurablePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory(t)
		q := openQueue(t, st, Options{})
		got := make(chan Lease, 3)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				l, err := lease(t.Context(), q)
				if err != nil {
					t.Error(err)
				}
				got <- l
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := st.UpdateLazy(func(tx *store.Tx) error {
			_, err := q.PutAll(tx, []Task{{Key: "a"}, {Key: "b"}, {Key: "c", Due: time.Now().Add(3 * time.Minute)}})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(got) != 2 || time.Since(began) != 0 {
			t.Errorf("%d leases after %v, want 2 at once", len(got), time.Since(began))
		}
		wg.Wait()
		if d := time.Since(began); d < 3*time.Minute || d > 3*time.Minute+time.Second {
			t.Errorf("the last came after %v, want 3m", d)
		}
	})
}

// A worker whose context ends must not take a wake-up along that another one needs.
func TestNoWakeUpIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory(t)
		q := openQueue(t, st, Options{})
		for i := range 50 {
			hasty, cancel := context.WithCancel(t.Context())
			patient, stop := context.WithTimeout(t.Context(), time.Hour)
			var wg sync.WaitGroup
			var first, second []Lease
			wg.Go(func() {
				if first, _ = q.LeaseMany(hasty, 1); len(first) > 0 {
					stop() // there is nothing left for the other
				}
			})
			synctest.Wait() // the hasty one is the first to be woken
			wg.Go(func() { second, _ = q.LeaseMany(patient, 1) })
			synctest.Wait()
			update(t, st, func(tx *store.Tx) error {
				_, err := q.Put(tx, Task{Key: fmt.Sprint(i)})
				tx.OnDurable(cancel)
				return err
			})
			wg.Wait()
			stop()
			if len(first)+len(second) != 1 {
				t.Fatalf("round %d: leased %v and %v", i, keysOf(first), keysOf(second))
			}
		}
	})
}

func TestClosedQueueLetsWorkersGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory(t)
		q := openQueue(t, st, Options{})
		put(t, st, q, Task{Key: "a", Due: time.Now().Add(time.Hour)})
		failed := make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() { _, err := lease(t.Context(), q); failed <- err })
		synctest.Wait()
		q.Close()
		q.Close()
		wg.Wait()
		if err := <-failed; err != ErrClosed {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func TestOpenTakesLeasesBack(t *testing.T) {
	st := memory(t)
	old := openQueue(t, st, Options{Attempts: 2})
	var tasks []Task
	for i := range reclaimAtOnce + 5 {
		tasks = append(tasks, Task{Key: fmt.Sprint(i)})
	}
	put(t, st, old, tasks...)
	held := take(t, old, len(tasks))
	done(t, st, old, held[0])
	q := openQueue(t, st, Options{Attempts: 2})
	wantCounts(t, st, q, Counts{Put: uint64(len(tasks)), Ready: uint64(len(tasks) - 1), Done: 1})
	if err := st.Update(func(tx *store.Tx) error { return old.Done(tx, held[1]) }); !fault.Is(err, fault.Conflict) {
		t.Errorf("done by the old one: got %v, want a Conflict fault", err)
	}
	if _, err := old.look(1); !fault.Is(err, fault.Conflict) {
		t.Errorf("a lease from the old one: got %v, want a Conflict fault", err)
	}
	again := take(t, q, len(tasks))
	if len(again) != len(tasks)-1 || again[0].Attempt != 2 {
		t.Errorf("%d leases, the first %+v", len(again), again[0])
	}
	// The second crash was the last attempt.
	q = openQueue(t, st, Options{Attempts: 2})
	wantCounts(t, st, q, Counts{Put: uint64(len(tasks)), Done: 1, Dead: uint64(len(tasks) - 1)})
}

func TestKeysAreForgottenBehindTheHorizon(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{Horizon: 7 * 24 * time.Hour})
	put(t, st, q, Task{Key: "a"}, Task{Key: "b"}, Task{Key: "c"})
	for _, l := range take(t, q, 2) {
		done(t, st, q, l)
	}
	expire := func(after time.Duration, limit int) (n int, more bool) {
		update(t, st, func(tx *store.Tx) (err error) {
			n, more, err = q.Expire(tx, time.Now().Add(after), limit)
			return err
		})
		return n, more
	}
	if n, _ := expire(7*24*time.Hour, 10); n != 0 {
		t.Errorf("forgot %d keys early", n)
	}
	if n, more := expire(8*24*time.Hour, 1); n != 1 || !more {
		t.Errorf("got %d %v, want one of two", n, more)
	}
	if n, more := expire(8*24*time.Hour, 1); n != 1 || more {
		t.Errorf("got %d %v, want the other", n, more)
	}
	if n := put(t, st, q, Task{Key: "a"}, Task{Key: "b"}, Task{Key: "c"}); n != 2 {
		t.Errorf("added %d, want the two that were forgotten", n)
	}
	wantCounts(t, st, q, Counts{Put: 5, Ready: 3, Done: 2})
}

// A clock that was ahead when tasks were told to wait: they wait as long as they were meant to, not
// until the clock comes there again.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory(t)
		q := openQueue(t, st, Options{})
		const n = promoteAtOnce + 50
		var tasks []Task
		for i := range n {
			tasks = append(tasks, Task{Key: fmt.Sprint(i)})
		}
		put(t, st, q, tasks...)
		leases := take(t, q, n)
		update(t, st, func(tx *store.Tx) error {
			for _, l := range leases {
				if err := q.holding(tx, l, func(c *change, task *task) error {
					c.now = c.now.Add(1000 * time.Hour) // what the clock says for now
					c.delay(task, 10*time.Minute)
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
		// One that the clock has nothing to do with, and which is due before them all.
		put(t, st, q, Task{Key: "in an hour", Due: time.Now().Add(time.Hour)})
		began, got := time.Now(), 0
		for got < n {
			leases, err := q.LeaseMany(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			got += len(leases)
		}
		if d := time.Since(began); d < 9*time.Minute || d > 12*time.Minute {
			t.Errorf("they waited %v, want some 10m", d)
		}
		wantCounts(t, st, q, Counts{Put: n + 1, Leased: n, Waiting: 1})
	})
}

// A clock that went back a little is not noticed, and must not hide what is due before that which
// was.
func TestClockSetBackALittle(t *testing.T) {
	st := memory(t)
	q := openQueue(t, st, Options{})
	put(t, st, q, Task{Key: "a"}, Task{Key: "b"})
	leases := take(t, q, 2)
	wait := func(l Lease, ago time.Duration) {
		update(t, st, func(tx *store.Tx) error {
			return q.holding(tx, l, func(c *change, task *task) error {
				c.now = c.now.Add(-ago)
				c.delay(task, time.Millisecond)
				return nil
			})
		})
	}
	wait(leases[0], 10*time.Second)
	wantKeys(t, "the first is due", take(t, q, 2), "a")
	wait(leases[1], 30*time.Second)
	wantKeys(t, "the second is due, and was before the first", take(t, q, 2), "b")
}

// Many workers, each task once, the results in the same transactions.
func TestWorkersShareTheWork(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	q := openQueue(t, st, Options{Lanes: lanes(3, 1)})
	const n = 400
	result := func(key string) store.Key { return store.Job.K().Str(key) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				l, err := lease(ctx, q)
				if err == ErrClosed {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				err = st.Update(func(tx *store.Tx) error {
					if l.Attempt == 1 && len(l.Key)%2 == 0 {
						_, err := q.Retry(tx, l, time.Millisecond, "once more")
						return err
					}
					if _, ok, err := tx.Get(result(l.Key)); ok || err != nil {
						return fmt.Errorf("%s is done twice (%w)", l.Key, err)
					}
					tx.Set(result(l.Key), nil)
					if c, err := q.Counts(tx); err != nil || c.Done == n-1 {
						tx.OnDurable(q.Close)
					}
					return q.Done(tx, l)
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range n {
		put(t, st, q, Task{Key: fmt.Sprint(i), Lane: i % 2, Order: []string{"", "", "x"}[i%3]})
	}
	wg.Wait()
	wantCounts(t, st, q, Counts{Put: n, Done: n})
}
