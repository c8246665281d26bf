package collect_test

import (
	"bytes"
	"testing"

	"holdfast/connector"
	"holdfast/job/collect"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// TestAFileIsKnownWhenItComesAgain: what has no key is known by the file that it came with, in this life
// of the store and in a later one, in which the rows are taken in once more.
func TestAFileIsKnownWhenItComesAgain(t *testing.T) {
	st := emptyStore(t)
	in := intake(t, st)
	file := collect.File{Name: "spots_1.json", Size: 100, Hash: [32]byte{7}}
	page := parse([]byte(object(21)))
	page.Rejected = []connector.Reject{{Raw: []byte(`[22, 17`), Reason: "cut"},
		{Raw: []byte(object(23)), Key: "23", Reason: "out of range"}}
	want := balance.Intake{Read: 3, Accepted: 1, Rejected: 2}
	if _, ok, err := in.Imported(t.Context(), file); ok || err != nil {
		t.Fatalf("a new file is known (%v)", err)
	}
	if got, err := in.ImportFile(t.Context(), file, page); err != nil || got.Intake != want {
		t.Fatalf("got %+v, %v; want %+v", got.Intake, err, want)
	}
	known := balance.Intake{Read: 3, Duplicate: 3}
	if got, ok, err := in.Imported(t.Context(), file); !ok || err != nil || got.Intake != known {
		t.Errorf("the file is not known: got %+v, %v, %v", got.Intake, ok, err)
	}
	for _, other := range []collect.File{{Name: "spots_2.json", Size: 100, Hash: file.Hash},
		{Name: file.Name, Size: 101, Hash: file.Hash}, {Name: file.Name, Size: 100}} {
		if _, ok, err := in.Imported(t.Context(), other); ok || err != nil {
			t.Errorf("%s of %d bytes is known (%v)", other.Name, other.Size, err)
		}
	}
	laterLife(t, st)
	if _, ok, err := in.Imported(t.Context(), file); ok || err != nil {
		t.Errorf("a file of an earlier life is passed over (%v)", err)
	}
	if got, err := in.ImportFile(t.Context(), file, page); err != nil || got.Intake != known {
		t.Errorf("once more: got %+v, %v; want %+v", got.Intake, err, known)
	}
	if got := readBooks(t, st).Intake; got != (balance.Intake{Read: 6, Accepted: 1, Duplicate: 3, Rejected: 2}) {
		t.Errorf("books: %+v", got)
	}
}

// laterLife makes the marks of files those of another lineage, as a restore does.
func laterLife(t *testing.T, st *store.Store) {
	t.Helper()
	err := st.Update(func(tx *store.Tx) error {
		from := store.Job.K().Str("file/")
		seq, fail := tx.Scan(from, from.End())
		marks := map[string][]byte{}
		for k, v := range seq {
			marks[string(k)] = bytes.Clone(v)
		}
		for k, v := range marks {
			v[1] ^= 1
			tx.Set(store.Key(k), v)
		}
		return fail()
	})
	if err != nil {
		t.Fatal(err)
	}
}
