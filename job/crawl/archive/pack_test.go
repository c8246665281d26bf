package archive

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/warc"
)

// TestPacked: what was packed ahead stands in the file as what was not; what was packed for another file is packed again.
func TestPacked(t *testing.T) {
	r := newRig(t)
	rec := resource("h text that is packed")
	if packed, err := r.a.Pack(rec); packed != nil || err != nil {
		t.Fatalf("without a file: %v, %v", packed, err)
	}
	r.add("first")
	packed, err := r.a.Pack(rec)
	if err != nil || len(packed) != 1 {
		t.Fatalf("%v, %v", packed, err)
	}
	member := func(packed []Packed) []byte {
		if _, err := rec.Content.(io.Seeker).Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		places, err := r.a.AddPacked([]*warc.Record{rec}, packed)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(r.warcs, places[0].File+OpenSuffix))
		if err != nil {
			t.Fatal(err)
		}
		return b[places[0].Offset : places[0].Offset+places[0].Length]
	}
	if ahead, now := member(packed), member(nil); !bytes.Equal(ahead, now) {
		t.Errorf("packed ahead it has %d bytes, and %d else", len(ahead), len(now))
	}
	if err := r.a.Roll(); err != nil {
		t.Fatal(err)
	}
	r.commit()
	r.add("second")
	if other := member(packed); bytes.Equal(other, packed[0].member) {
		t.Error("a record refers to the first record of a file that has ended")
	}
	r.want("first", "h text that is packed", "h text that is packed", "second", "h text that is packed")
}
