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
// are those of Inspect and VerifyTable. The originals are kept in the quarantine directory, which
// must be on the same file system.
//
// It returns the files that were mended. Whether the directory is sound then, another Inspect says;
// what is still wrong needs a salvage. With an error every file is as it was, and the quarantine has
// nothing new; if even that can't be had, the error says so. A crash within leaves every file as it
// was or mended, and the original of a mended one in the quarantine.
func Mend(fsys vfs.FS, dir string, findings []Finding, quarantine string) ([]string, error) {
	bits, options := mendable(findings)
	if len(bits) == 0 && len(options) == 0 {
		return nil, nil
	}
	m := mend{fs: fsys, dir: dir, place: quarantine}
	err := mkdirSynced(fsys, quarantine)
	for _, name := range slices.Sorted(maps.Keys(bits)) {
		if err == nil {
			err = m.turnBack(name, bits[name])
		}
	}
	for _, name := range options {
		if err == nil {
			err = m.setAside(name)
		}
	}
	if err == nil {
		err = m.exchange()
	}
	if err != nil {
		return nil, errors.Join(err, m.undo())
	}
	var mended []string
	for _, f := range m.files {
		mended = append(mended, f.name)
	}
	return mended, nil
}

// mend is a Mend under way: first whatever may need room, beside the files, then the steps that put
// it in their place.
type mend struct {
	fs         vfs.FS
	dir, place string
	files      []mending
}

// mending is one file that is mended.
type mending struct {
	name, path string
	original   string // where the original is kept, by a second link
	copy       string // the mended copy before it takes its place; "" for a file that is taken away
	done       bool
}

// mkdirSynced makes dir and what is missing above it, and makes the entries durable: an original must
// not go in a power cut with the directory that it is kept in.
func mkdirSynced(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil {
		return nil
	}
	parent := fsys.PathDir(dir)
	if parent != dir {
		if err := mkdirSynced(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make quarantine %s: %w", dir, err)
	}
	return syncDir(fsys, parent)
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
			if !slices.Contains(options, f.File) {
				options = append(options, f.File)
			}
		case f.Kind == Damage:
			hopeless[f.File] = true
		}
	}
	for name := range hopeless {
		delete(bits, name)
	}
	return bits, options
}

// keep links the original of a file into the quarantine.
func (m *mend) keep(name string) (*mending, error) {
	original, err := unique(m.fs, m.place, name)
	if err != nil {
		return nil, err
	}
	f := mending{name: name, path: m.fs.PathJoin(m.dir, name), original: original}
	if err := m.fs.Link(f.path, original); err != nil {
		return nil, fmt.Errorf("keep the original of %s: %w", name, err)
	}
	m.files = append(m.files, f)
	return &m.files[len(m.files)-1], nil
}

func (m *mend) setAside(name string) error {
	_, err := m.keep(name)
	return err
}

// turnBack keeps the original and writes a mended copy beside it.
func (m *mend) turnBack(name string, bits []int64) error {
	data, bad, err := readFile(m.fs, m.fs.PathJoin(m.dir, name))
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
	f, err := m.keep(name)
	if err != nil {
		return err
	}
	f.copy = f.original + ".mended"
	out, err := m.fs.Create(f.copy, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("mend %s: %w", name, err)
	}
	_, err = out.Write(data)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("mend %s: %w", name, err)
	}
	return nil
}

// exchange puts the copies in the place of the files.
func (m *mend) exchange() error {
	if err := syncDir(m.fs, m.place); err != nil { // before a name in dir changes its file
		return err
	}
	for i := range m.files {
		f := &m.files[i]
		step := func() error { return m.fs.Rename(f.copy, f.path) }
		if f.copy == "" {
			step = func() error { return m.fs.Remove(f.path) }
		}
		if err := step(); err != nil {
			return fmt.Errorf("mend %s: %w", f.name, err)
		}
		f.done = true
	}
	return errors.Join(syncDir(m.fs, m.place), syncDir(m.fs, m.dir))
}

// undo gives every file its original back and removes what was made. An original is removed only
// while its file is there.
func (m *mend) undo() error {
	var errs []error
	changed := false
	for _, f := range m.files {
		if f.done {
			changed = true
			if err := m.fs.Rename(f.original, f.path); err != nil {
				errs = append(errs, fmt.Errorf("%s stays mended, its original is %s: %w", f.name, f.original, err))
			}
			continue
		}
		errs = append(errs, m.drop(f.original))
		if f.copy != "" {
			errs = append(errs, m.drop(f.copy))
		}
	}
	if changed {
		errs = append(errs, syncDir(m.fs, m.dir))
	}
	_ = m.fs.Remove(m.place) // it goes if it is empty
	return errors.Join(errs...)
}

// drop removes a file of ours, if it is there.
func (m *mend) drop(path string) error {
	if _, err := m.fs.Stat(path); err != nil {
		return nil
	}
	return m.fs.Remove(path)
}
