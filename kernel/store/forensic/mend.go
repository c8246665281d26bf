package forensic

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Mend repairs what can be repaired exactly: in each file in which flipped bits explain everything
// that was found, the bits are turned back (the checksums vouch for the result), and an OPTIONS
// file that Pebble would refuse is taken away (nothing in it is needed to read the data). Findings
// are those of Inspect and VerifyTables. The originals are kept in the quarantine directory, which
// must be on the same file system.
//
// It returns the files that were mended. Whether the directory is sound then, another Inspect says;
// what is still wrong needs a salvage. A crash within leaves every file as it was or mended.
func Mend(fsys vfs.FS, dir string, findings []Finding, quarantine string) ([]string, error) {
	bits, options := mendable(findings)
	if len(bits) == 0 && len(options) == 0 {
		return nil, nil
	}
	if err := fsys.MkdirAll(quarantine, 0o755); err != nil {
		return nil, fmt.Errorf("make quarantine: %w", err)
	}
	var mended []string
	for _, name := range slices.Sorted(maps.Keys(bits)) {
		if err := turnBack(fsys, dir, name, bits[name], quarantine); err != nil {
			return mended, err
		}
		mended = append(mended, name)
	}
	for _, name := range options {
		to, err := unique(fsys, quarantine, name)
		if err != nil {
			return mended, err
		}
		if err := fsys.Rename(fsys.PathJoin(dir, name), to); err != nil {
			return mended, fmt.Errorf("set %s aside: %w", name, err)
		}
		mended = append(mended, name)
	}
	return mended, errors.Join(syncDir(fsys, quarantine), syncDir(fsys, dir))
}

// mendable sorts out the files whose findings are flipped bits and nothing else, and the OPTIONS
// files that are in the way. What only follows from a flaw elsewhere (a table that the readable
// part of a MANIFEST still refers to) names another file and does not count against it.
func mendable(findings []Finding) (bits map[string][]int64, options []string) {
	bits = map[string][]int64{}
	hopeless := map[string]bool{}
	for _, f := range findings {
		switch {
		case f.FlippedBit && f.File != "":
			bits[f.File] = append(bits[f.File], f.Bit)
		case f.Harmless || f.Kind == TornTail || f.Kind == Missing:
		case strings.HasPrefix(f.File, "OPTIONS-") && f.Kind == Damage:
			options = append(options, f.File)
		case f.Kind == Damage:
			hopeless[f.File] = true
		}
	}
	for name := range hopeless {
		delete(bits, name)
	}
	return bits, options
}

// turnBack writes a mended copy aside, keeps the original by a second link, and puts the copy in
// its place.
func turnBack(fsys vfs.FS, dir, name string, bits []int64, quarantine string) error {
	path := fsys.PathJoin(dir, name)
	data, bad, err := readFile(fsys, path)
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("mend %s: the disk can't read %d bytes of it", name, bad)
	}
	for _, bit := range bits {
		if bit/8 >= int64(len(data)) {
			return fmt.Errorf("mend %s: it has no bit %d", name, bit)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	original, err := unique(fsys, quarantine, name)
	if err != nil {
		return err
	}
	tmp := original + ".mended"
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("mend %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("mend %s: %w", name, err)
	}
	if err := fsys.Link(path, original); err != nil {
		return fmt.Errorf("keep the original of %s: %w", name, err)
	}
	if err := syncDir(fsys, quarantine); err != nil { // before the name in dir changes its file
		return err
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return fmt.Errorf("mend %s: %w", name, err)
	}
	return nil
}
