package forensic_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/kernel/store/forensic"
	"holdfast/tests/testenv"
)

// TestMend turns one bit in each kind of file: afterwards the directory is sound, the file is byte
// for byte what it was, and the damaged one is in the quarantine.
func TestMend(t *testing.T) {
	trials := testenv.Count(t, 30)
	for _, img := range images(t) {
		r := inspect(t, img.fs)
		names, err := img.fs.List(dbDir)
		must(t, err)
		for _, kind := range kinds[:5] {
			files := kind.files(&r, names)
			for n := range trials * min(len(files), 1) {
				rng := rand.New(rand.NewPCG(uint64(n), uint64(len(img.name)*1000+len(kind.name))))
				fs := img.copyOf(t)
				name := files[rng.IntN(len(files))]
				path := fs.PathJoin(dbDir, name)
				whole := read(t, fs, path)
				damaged := slices.Clone(whole)
				bit := rng.IntN(len(whole) * 8)
				damaged[bit/8] ^= 1 << (bit % 8)
				write(t, fs, path, damaged)
				what := fmt.Sprintf("%s: bit %d of byte %d of %s", img.name, bit%8, bit/8, name)
				checkMended(t, img, fs, name, what, whole, damaged)
			}
		}
	}
}

func checkMended(t *testing.T, img image, fs *vfs.MemFS, name, what string, whole, damaged []byte) {
	t.Helper()
	found := verdict(t, fs)
	if forensic.Sound(found) {
		return
	}
	mended, err := forensic.Mend(fs, dbDir, found, "quarantine")
	must(t, err)
	if again := verdict(t, fs); !forensic.Sound(again) {
		t.Fatalf("%s: mended %v, but %v", what, mended, again)
	}
	if !slices.Equal(mended, []string{name}) {
		t.Errorf("%s: mended %v", what, mended)
	}
	if got := read(t, fs, "quarantine/"+name); !slices.Equal(got, damaged) {
		t.Errorf("%s: the quarantine does not hold the original", what)
	}
	path := fs.PathJoin(dbDir, name)
	if _, err := fs.Stat(path); err == nil && !slices.Equal(read(t, fs, path), whole) {
		t.Errorf("%s: the file is not what it was", what)
	}
	if got, err := served(fs); err != nil || !maps.Equal(got, img.want) {
		t.Errorf("%s: mended, but Pebble serves %d keys of %d (%v)", what, len(got), len(img.want), err)
	}
}

// TestMendLeavesTheRest: what no flipped bit explains is not touched.
func TestMendLeavesTheRest(t *testing.T) {
	img := images(t)[0]
	r := inspect(t, img.fs)
	fs := img.copyOf(t)
	garble(t, fs, dbDir+"/"+r.Manifest.File, 40, 30, rand.New(rand.NewPCG(1, 1)))
	before, err := fs.List(dbDir)
	must(t, err)
	mended, err := forensic.Mend(fs, dbDir, verdict(t, fs), "quarantine")
	must(t, err)
	after, err := fs.List(dbDir)
	must(t, err)
	slices.Sort(before)
	slices.Sort(after)
	if len(mended) > 0 || !slices.Equal(before, after) {
		t.Errorf("mended %v", mended)
	}
}
