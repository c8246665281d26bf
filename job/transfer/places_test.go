package transfer

import (
	"strings"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// A store keeps to where its files come from and go to: else what is done there would count as done here.
func TestPlaces(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	waits, err := queue.Open(st, shipPrefix+"b", queue.Options{Lanes: lanes})
	if err != nil {
		t.Fatal(err)
	}
	was := places{"/data", map[string]string{"a": "/mnt/a", "b": "/mnt/b"}, map[string]bool{"b": true}}
	allow := func(now places) error {
		return st.Latest(func(r store.Reader) error { return was.allow(r, now, "frames") })
	}
	put := func(key string) {
		t.Helper()
		err := st.Update(func(tx *store.Tx) error {
			_, err := waits.Put(tx, queue.Task{Key: key})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	both := was.To
	for _, x := range []struct {
		what string
		now  places
		want string
	}{
		{"the same", places{"/data", both, map[string]bool{"b": true}}, ""},
		{"one more", places{"/data", map[string]string{"a": "/mnt/a", "b": "/mnt/b", "c": "/mnt/c"}, map[string]bool{"b": true}}, ""},
		{"one fewer, for which nothing waits", places{"/data", map[string]string{"a": "/mnt/a"}, nil}, ""},
		{"another source", places{"/other", both, nil}, "transfers the files of /data, and can't go on with /other"},
		{"another place", places{"/data", map[string]string{"a": "/mnt/b", "b": "/mnt/a"}, nil}, "can't go on with"},
	} {
		err := allow(x.now)
		if x.want == "" && err != nil || x.want != "" && (!fault.Is(err, fault.Permanent) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: got %v", x.what, err)
		}
	}
	if err := allow(places{"/data", both, nil}); !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "nothing is mounted at /mnt/b") {
		t.Errorf("a disk that is not mounted: got %v", err)
	}
	put("1")
	if err := allow(places{"/data", map[string]string{"a": "/mnt/a"}, nil}); err == nil || !strings.Contains(err.Error(), "there is 1 file waiting for it") {
		t.Errorf("one fewer, for which a file waits: got %v", err)
	}
}
