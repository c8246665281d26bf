package ingester

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/job/stream/wire"
	"holdfast/kernel/store"
)

// stores makes windows of one batch, which come and are stored: one an hour, from a number to another.
func (n *network) stores(from, to uint64) {
	n.t.Helper()
	if _, err := n.book.beacon(wire.Beacon{Epoch: "e", Oldest: 1, Newest: to}, n.now); err != nil {
		n.t.Fatal(err)
	}
	for number := from; number <= to; number++ {
		n.comes(number)
		n.now = n.now.Add(time.Second)
	}
}

// manifestOf is a window of one batch, of its own hour.
func manifestOf(number uint64) wire.Manifest {
	at := hour0.Add(time.Duration(number) * time.Hour)
	return wire.Manifest{Epoch: "e", Number: number, Window: fmt.Sprint(number % 24), From: at, To: at.Add(time.Hour),
		Batches: []wire.Batch{{Rows: 1, Hash: wire.Hash(fmt.Append(nil, number))}}}
}

// comes makes a window come, and be stored.
func (n *network) comes(number uint64) {
	n.t.Helper()
	m := manifestOf(number)
	if err := n.book.manifest(m, n.now); err != nil {
		n.t.Fatal(err)
	}
	x, missing, _ := n.book.find(m.Batches[0].Hash, n.now)
	if !missing {
		n.t.Fatalf("window %d is not missing", number)
	}
	n.page = append(n.page, x)
	n.block++
	n.settled[n.block] = true
	n.block--
	n.commit()
}

// read are the windows that a query gets.
func (n *network) read(q Query) (out []string) {
	n.t.Helper()
	err := n.st.View(n.t.Context(), func(r store.Reader) error {
		all, err := readWindows(r, q)
		for _, v := range all {
			out = append(out, fmt.Sprintf("%d %s", v.Number, v.State))
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// TestPast: windows that are done leave memory when there are many, the oldest first, and people can still look at them.
// They are told also there.
func TestPast(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.stores(1, nearest+20)
	if len(n.book.near) != nearest || n.book.log.Past != 20 {
		t.Fatalf("%d are in memory, %d are past", len(n.book.near), n.book.log.Past)
	}
	if got := len(n.book.hashes); got != nearest {
		t.Errorf("%d batches are known, want those in memory", got)
	}
	if all := n.read(Query{}); len(all) != nearest+20 || all[0] != fmt.Sprint(nearest+20, " stored") ||
		all[nearest+19] != "1 stored" || !slices.IsSortedFunc(all, func(a, b string) int { return number(b) - number(a) }) {
		t.Errorf("got %v", all)
	}
	want(t, "the newest", n.read(Query{Limit: 2}), "320 stored", "319 stored")
	at := func(number int) time.Time { return hour0.Add(time.Duration(number) * time.Hour) }
	want(t, "of a time", n.read(Query{From: at(19), To: at(23)}), "22 stored", "21 stored", "20 stored", "19 stored")
	want(t, "of a time, some", n.read(Query{From: at(10), To: at(21), Limit: 2}), "20 stored", "19 stored")
	want(t, "of a state", n.read(Query{State: Open}))

	// By pages each window comes once, whether it is in memory or past, and however many have the same time.
	for _, limit := range []int{1, 7, 200, 320} {
		var all []string
		for q := (Query{Limit: limit}); ; {
			var page []View
			err := n.st.View(t.Context(), func(r store.Reader) (err error) {
				page, q.After, err = ReadPage(r, q)
				return err
			})
			if err != nil || len(page) > limit || len(page) == 0 || len(all) > nearest+20 {
				t.Fatalf("%d windows, %v", len(page), err)
			}
			for _, v := range page {
				all = append(all, fmt.Sprintf("%d %s", v.Number, v.State))
			}
			if q.After == "" {
				break
			}
			if err := CheckPlace(q.After); err != nil {
				t.Fatal(err)
			}
		}
		if want := n.read(Query{}); !slices.Equal(all, want) {
			t.Fatalf("by pages of %d: got %d windows, want %d: %v", limit, len(all), len(want), all)
		}
	}
	for _, bad := range []string{"x", "00", strings.Repeat("0", 50)} {
		if CheckPlace(bad) == nil {
			t.Errorf("%q is taken for a place", bad)
		}
	}
	if ours, err := n.book.follow(wire.Follow{Epoch: n.book.log.Epoch, Next: 23}, n.now); !ours || err != nil {
		t.Fatal(ours, err)
	}
	want(t, "of a time", n.read(Query{From: at(20), To: at(25)}), "24 stored", "23 stored", "22 told", "21 told", "20 told")
	if got := len(n.read(Query{State: Told})); got != 22 {
		t.Errorf("%d are told, want 22", got)
	}
	want(t, "told ones", n.read(Query{State: Told, Limit: 1, To: at(21)}), "20 told")

	// A late window of a past time knows of it, and one that is sent again is not taken for a new one.
	if err := n.book.manifest(manifestOf(3), n.now); err != nil || n.book.near[windowID{"e", 3}] != nil {
		t.Errorf("a past window came back: %v", err)
	}
	late := manifestOf(nearest + 21)
	late.From, late.To, late.Batches = at(3), at(4), nil
	if err := n.book.manifest(late, n.now); err != nil {
		t.Fatal(err)
	}
	n.commit()
	list, err := n.book.notices(t.Context(), nearest+21, 1)
	if err != nil || len(list) != 1 || !list[0].Shared || list[0].Again != 1 {
		t.Errorf("the notice is %+v, %v", list, err)
	}

	// In another life of the store, what was not told is told anew, past ones too.
	n.renew()
	n.commit()
	told := n.book.has(false)
	list, err = n.book.notices(t.Context(), 0, 1000)
	if err != nil || len(list) != nearest+21-22 || told.Oldest != list[0].Number || told.Newest != list[len(list)-1].Number {
		t.Fatalf("%d notices, %+v, %v", len(list), told, err)
	}
	from := map[time.Time]int{}
	for _, s := range list {
		from[s.From]++
	}
	for number := 23; number <= nearest+20; number++ {
		if from[at(number)] != 1 {
			t.Errorf("there are %d notices of window %d", from[at(number)], number)
		}
	}
}

func number(text string) (n int) {
	_, _ = fmt.Sscan(text, &n)
	return n
}

// TestPastIsBounded: the oldest past windows go when there are too many.
func TestPastIsBounded(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	err := n.book.update(func(tx *store.Tx) error {
		n.book.log.Past = MostPast - 5 // as if
		return n.book.putLog(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	n.stores(1, nearest+20)
	if n.book.log.Past != MostPast {
		t.Errorf("%d are past", n.book.log.Past)
	}
	if all := n.read(Query{}); len(all) != nearest+5 || all[len(all)-1] != "16 stored" {
		t.Errorf("%d are left, the oldest is %s", len(all), all[len(all)-1])
	}
}

// TestBusyStays: a window that a late batch is on its way to is not moved away under it.
func TestBusyStays(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	m := manifestOf(1)
	m.Batches = append(m.Batches, wire.Batch{Rows: 1, Hash: wire.Hash([]byte("late"))})
	n.met()
	if err := n.book.manifest(m, n.now); err != nil {
		t.Fatal(err)
	}
	if _, err := n.book.gone(wire.Gone{Epoch: "e", Number: 1}, n.now); err != nil {
		t.Fatal(err)
	}
	n.commit() // it is stored without them
	x, missing, _ := n.book.find(m.Batches[1].Hash, n.now)
	if !missing {
		t.Fatal("it is not missing")
	}
	n.stores(2, nearest+20)
	n.page = []batch{x}
	n.block++
	n.settled[n.block+1] = true
	n.commit()
	w := n.book.near[windowID{"e", 1}]
	if w == nil || !w.Parts[1].Have || w.State != Stored {
		t.Fatalf("the window is %+v", w)
	}
	n.stores(nearest+21, nearest+22)
	if n.book.near[windowID{"e", 1}] != nil {
		t.Error("it stays for ever")
	}
	// What is on its way to a window that is not there is in the spool, and no more.
	n.page = []batch{{place: place{windowID{"e", 1}, 0}}, {place: place{windowID{"x", 1}, 0}}}
	n.commit()
}

// TestMended: windows that a salvage did not find are asked for, as far as others tell that they were there.
func TestMended(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.stores(1, nearest+20)
	for _, number := range []uint64{3, 30, 31} {
		err := n.st.Update(func(tx *store.Tx) error {
			tx.Delete(keyWindow(windowID{"e", number}))
			tx.Delete(keyPast(manifestOf(number).From, windowID{"e", number}))
			e := epoch{Epoch: "e", First: 1, Known: 20} // an older one
			text := fmt.Appendf(nil, `{"epoch":%q,"first":1,"known":%d}`, e.Epoch, e.Known)
			tx.Set(keyEpoch("e"), text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n.renew()
	want(t, "open", n.read(Query{State: Open}), "31 open", "30 open", "3 open")
	if e := n.book.epochs["e"]; e.Known != nearest+20 {
		t.Errorf("%d are known", e.Known)
	}
	if c := n.book.confirmed("e"); c.UpTo != 2 {
		t.Errorf("confirmed: %+v", c)
	}
}

// TestWindowsOfAnUnknownTime come first: they are what a person has to look at.
func TestWindowsOfAnUnknownTime(t *testing.T) {
	n := newNetwork(t, 1)
	n.bad = false
	n.stores(1, 2)
	if _, err := n.book.beacon(wire.Beacon{Epoch: "e", Oldest: 1, Newest: 4}, n.now); err != nil {
		t.Fatal(err)
	}
	want(t, "windows", n.read(Query{}), "4 open", "3 open", "2 stored", "1 stored")
	want(t, "windows of a time", n.read(Query{From: hour0}), "2 stored", "1 stored")
}
