// Package forensic finds damage in a Pebble directory that Pebble itself does not refuse, keeps
// Pebble from deleting the evidence, and reads what can still be read.
//
// It belongs to kernel/store, which calls it around pebble.Open:
//
//  1. Inspect walks markers, MANIFEST, OPTIONS and logs strictly and says what is wrong.
//  2. HighWater.Check compares the report with a small mark outside the directory, which knows how
//     far the store had been durable.
//  3. ArchiveFS keeps, while Pebble opens and until the store is verified, every file that Pebble
//     would delete.
//  4. When something is wrong, SalvageDir streams every operation that any file still holds.
//
// Inspect costs as much as reading the MANIFEST and the logs; tables are read by VerifyTables only.
//
// The promise: no file is changed or deleted by anything here but Archive.Release, and no input
// makes it panic. What one flipped bit hid in a log is found and turned back, because a checksum
// that one bit explains is no torn write.
package forensic

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Inspect walks a Pebble directory strictly, before Pebble opens it. It reads the markers, the
// MANIFEST, the newest OPTIONS and the logs that would be replayed, and looks for the tables that
// the MANIFEST refers to without reading them; it writes nothing. What is wrong is in the report;
// the error is for a directory that can't be listed. A directory that is not there, or in which
// nothing was ever finished, gives a report with Exists false and no findings.
func Inspect(fsys vfs.FS, dir string) (Report, error) {
	r := Report{Dir: dir}
	l, err := list(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	name, ok := r.currentManifest(fsys, l)
	if !ok {
		return r, nil
	}
	_, num := classify(name)
	m, found, err := readManifest(fsys, dir, name, num)
	if err != nil {
		r.add(Finding{File: name, Kind: Missing, Why: err.Error()})
		return r, nil
	}
	r.Manifest, r.LastSeq = m, m.LastSeq
	r.Findings = append(r.Findings, found...)
	r.otherManifests(fsys, l)
	r.Findings = append(r.Findings, checkOptions(fsys, dir, l)...)
	r.tables(fsys, l)
	r.wals(fsys, l)
	return r, nil
}

// otherManifests looks at MANIFESTs that are newer than the current one. A new one is written with
// a snapshot and one edit before the marker moves to it, so a crash leaves at most that; one that
// lived on shows that the marker was set back.
func (r *Report) otherManifests(fsys vfs.FS, l listing) {
	for _, num := range l.nums(classManifest) {
		if num <= r.Manifest.Num {
			continue
		}
		name := l.files[classManifest][num]
		m, _, err := readManifest(fsys, r.Dir, name, num)
		if err == nil && m.Edits <= 2 {
			continue
		}
		r.add(Finding{File: name, Kind: Rollback,
			Why: fmt.Sprintf("it was in use, but the marker points to the older %s", r.Manifest.File)})
	}
}

// tables checks that each table of the MANIFEST is there with its size.
func (r *Report) tables(fsys vfs.FS, l listing) {
	seen := map[uint64]bool{}
	for _, t := range r.Manifest.Tables {
		if seen[t.File] {
			continue
		}
		seen[t.File] = true
		r.sized(fsys, l.files[classTable][t.File], fmt.Sprintf("%06d.sst", t.File), t.Size)
	}
	for num, size := range r.Manifest.Blobs {
		r.sized(fsys, l.files[classBlob][num], fmt.Sprintf("%06d.blob", num), size)
	}
}

func (r *Report) sized(fsys vfs.FS, name, want string, size int64) {
	if name == "" {
		r.add(Finding{File: want, Kind: Missing, Why: "the MANIFEST refers to it"})
		return
	}
	info, err := fsys.Stat(fsys.PathJoin(r.Dir, name))
	switch {
	case err != nil:
		r.add(Finding{File: name, Kind: Missing, Why: err.Error()})
	case info.Size() != size:
		r.add(Finding{File: name, Kind: Damage, Offset: min(size, info.Size()), End: max(size, info.Size()),
			Why: fmt.Sprintf("it has %d bytes, the MANIFEST says %d", info.Size(), size)})
	}
}
