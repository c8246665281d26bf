package queue

import (
	"bytes"
	"reflect"
	"testing"

	"holdfast/base/fault"
)

// Whatever the bytes, reading a value is a Corrupt fault, a newer version, or what writes the same
// bytes again.
func FuzzDecode(f *testing.F) {
	f.Add((&task{id: 7, state: behind, lane: 1, attempts: 2, put: 1, since: 2, due: 3, at: 4, key: "k", order: "o",
		reason: "r"}).encode())
	f.Add((&meta{seq: 3, put: 2, done: 1, lists: []list{{1, 2}, {}}}).encode())
	f.Add(known{kind: keyLive, id: 9}.encode())
	f.Add(known{kind: keyDone, day: 9}.encode())
	f.Add(numbers(1, 2, 3))
	f.Fuzz(func(t *testing.T, v []byte) {
		check := func(what string, again func() []byte, err error) {
			switch {
			case err == nil && !bytes.Equal(again(), v):
				t.Fatalf("%s: read %x, written again %x", what, v, again())
			case err != nil && !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Permanent):
				t.Fatalf("%s: got %v, want a Corrupt fault", what, err)
			}
		}
		x, err := decodeTask(7, v)
		check("task", func() []byte { return x.encode() }, err)
		m, err := decodeMeta(v)
		check("meta", m.encode, err)
		k, err := decodeKnown(v)
		check("key", k.encode, err)
		n, err := readNumbers(nil, v, 3)
		check("numbers", func() []byte { return numbers(n...) }, err)
	})
}

func TestTaskSurvivesItsBytes(t *testing.T) {
	want := &task{id: 7, state: again, lane: 3, attempts: 2, put: 1, since: 2, due: 3, at: 4, key: "key", order: "o",
		reason: "r"}
	got, err := decodeTask(7, want.encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v, want %+v", got, err, want)
	}
}
