package supervise

import (
	"fmt"
	"testing"
	"time"

	"holdfast/job/supervise/rule"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// What is too old is forgotten but for what a person is still asked about, however much of that there is.
func TestForget(t *testing.T) {
	st := storetest.Open(t, t.TempDir()+"/store")
	now := time.Now()
	update := func(f func(tx *store.Tx) error) {
		t.Helper()
		if err := st.Update(f); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *store.Tx) error {
		for i := range 1202 {
			rec := &Record{Call: rule.Call{ID: fmt.Sprintf("r/%d", i), Group: fmt.Sprint(i)}, State: Unknown, Queued: now.Add(time.Duration(-i) * time.Second)}
			if i%2 == 1 {
				rec.State = Done
			}
			if err := putRecord(tx, rec, ""); err != nil {
				return err
			}
		}
		return nil
	})
	times := 0
	for more := true; more; times++ {
		if times > 10 {
			t.Fatal("it never comes to an end")
		}
		update(func(tx *store.Tx) (err error) { more, err = forget(tx, now); return err })
	}
	err := st.Latest(func(r store.Reader) error {
		counts, err := Counts(r)
		all, next, bad := Actions(r, Query{Max: 10_000})
		if counts[Unknown] != 601 || counts[Done] != 0 || len(all) != 601 || !next.IsZero() || bad != nil {
			t.Errorf("left are %v, listed %d, %v", counts, len(all), bad)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Nothing of a decision is forgotten while a person is asked about a part of it: else it could not go on.
func TestForgetWholeDecisions(t *testing.T) {
	st := storetest.Open(t, t.TempDir()+"/store")
	now := time.Now()
	err := st.Update(func(tx *store.Tx) error {
		for group, states := range map[string][]State{"open": {Done, Unknown, Done}, "over": {Done, Failed}} {
			var ids []string
			for i, s := range states {
				rec := &Record{Call: rule.Call{ID: fmt.Sprintf("%s/%d", group, i), Group: group}, State: s, Queued: now.Add(-time.Hour)}
				if err := putRecord(tx, rec, ""); err != nil {
					return err
				}
				ids = append(ids, rec.Call.ID)
			}
			if err := putGroup(tx, group, ids); err != nil {
				return err
			}
		}
		more, err := forget(tx, now)
		if more {
			t.Error("there is more to forget")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Latest(func(r store.Reader) error {
		for group, want := range map[string]int{"open": 3, "over": 0} {
			all, err := readGroup(r, group)
			if err != nil || len(all) != want {
				t.Errorf("%d records of the decision that is %s are left, %v, want %d", len(all), group, err, want)
			}
		}
		counts, err := Counts(r)
		if counts[Done] != 2 || counts[Failed] != 0 || counts[Unknown] != 1 {
			t.Errorf("left are %v", counts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is shortened ends with no part of a character.
func TestHead(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"a\u20acb", 2, "a"}, {"a\u20acb", 3, "a"}, {"a\u20acb", 4, "a\u20ac"}, {"\U0001F600x", 3, ""},
		{"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80"}} {
		if got := head(c.s, c.n); got != c.want {
			t.Errorf("%q to %d: got %q, want %q", c.s, c.n, got, c.want)
		}
	}
}
