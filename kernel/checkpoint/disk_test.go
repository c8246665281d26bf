package checkpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"holdfast/base/fault"
	"holdfast/kernel/checkpoint"
	"holdfast/tests/testenv"
)

// fill leaves the disk of dir with the given bytes free, and returns what gives the rest back.
func fill(t *testing.T, dir string, free int64) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 64<<10); ; {
		if _, err := f.Write(b); err != nil {
			break
		}
	}
	info, err := f.Stat()
	if err != nil || info.Size() < free {
		t.Fatalf("the disk holds %d bytes (%v)", info.Size(), err)
	}
	if err := f.Truncate(info.Size() - free); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk every verb is refused with the reason, changes nothing and leaves nothing; with
// room it works again.
func TestFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := testenv.SmallDisk(t, 64<<20)
	dir := filepath.Join(disk, "job")
	s := open(t, dir)
	put(t, s, 0, 4_000, 1)
	create(t, s, checkpoint.Options{Name: "good"})
	want := read(t, s)
	var export bytes.Buffer
	good := checkpoint.Path(dir, "good")
	if _, err := checkpoint.Export(t.Context(), good, &export, onDisk); err != nil {
		t.Fatal(err)
	}
	full := func(verb string, err error) {
		t.Helper()
		if !fault.Is(err, fault.Full) || fault.HintOf(err) == "" {
			t.Errorf("%s: got %v, want a full fault with a hint", verb, err)
		}
		if got := names(t, dir, onDisk); len(got) != 1 || got[0] != "good" {
			t.Errorf("%s: there is %v", verb, got)
		}
		clean(t, s.FS(), filepath.Join(dir, "checkpoints"), "good")
	}
	for _, free := range []int64{0, 8 << 10, 1 << 20} {
		empty := fill(t, disk, free)
		_, err := checkpoint.Create(t.Context(), s, checkpoint.Options{})
		full("create", err)
		in := bytes.NewReader(export.Bytes())
		_, err = checkpoint.Import(t.Context(), in, filepath.Join(disk, "new"), onDisk)
		full("import", err)
		_, err = checkpoint.ExportFile(t.Context(), good, filepath.Join(disk, "out"), onDisk)
		full("export", err)
		_, err = checkpoint.Restore(t.Context(), good, filepath.Join(disk, "again"), onDisk)
		full("restore", err)
		empty()
	}
	left := []string{"out", "out.part", "again", ".again.new", "new/checkpoints/good"}
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(disk, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
	put(t, s, 0, 10, 1)
	create(t, s, checkpoint.Options{Name: "better"})
	shut(t, s)
	for _, free := range []int64{0, 64 << 10, 6 << 20} {
		empty := fill(t, disk, free)
		_, _, err := checkpoint.Replace(t.Context(), dir, "good", onDisk)
		if !fault.Is(err, fault.Full) {
			t.Errorf("replace with %d bytes free: got %v, want a full fault", free, err)
		}
		empty()
		if out, err := checkpoint.Recover(dir, onDisk); err != nil {
			t.Errorf("recover: %s %v", out, err)
		}
		if got := readDir(t, dir); got != want {
			t.Errorf("replace with %d bytes free: the store changed", free)
		}
	}
	replace(t, dir, "good")
	if got := readDir(t, dir); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
