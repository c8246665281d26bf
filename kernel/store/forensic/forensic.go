// Package forensic finds damage in a Pebble directory that Pebble itself does not refuse, keeps
// Pebble from deleting the evidence and from ending the process, and reads what can still be read.
//
// It belongs to kernel/store, which calls it around pebble.Open:
//
//  1. Inspect walks markers, MANIFEST, OPTIONS and logs strictly and says what is wrong; Mark.Check
//     compares the report with a small file outside the directory, HighWater, which knows how far
//     the store had been durable.
//  2. Mend restores exactly what one flipped bit explains. Inspect again.
//  3. ArchiveFS keeps, while Pebble opens and until the store is verified (Mark.CheckOpened), every
//     file that Pebble would delete. Above it WatchFS notes what is durable, for the next mark, and
//     GuardFS stops the store, not the process, at the first write that fails.
//  4. When something is wrong, SalvageDir hands out every operation that any file still holds.
//
// Inspect costs as much as reading the MANIFEST and the logs (16 ms for 8 MB); tables are read by
// VerifyTable only. Damage in a table is met when Pebble reads it, as an error.
//
// # What tells damage from a torn tail
//
// A crash may cut the last log and the MANIFEST short, and a power cut may keep a later sector and
// lose an earlier one, of writes that were not acknowledged. Everything else is damage: a flaw in
// a log that is not the last or has no closing mark; a flaw that one turned bit explains (a torn
// write is never a bit away from its checksum); one in front of bytes that a chunk calls synced or
// a batch calls acknowledged (Promise); one too small for a lost sector; a jump in the sequence
// numbers; an edit that does not fit the edits before it.
//
// What remains: a last log or MANIFEST that is cut, or overwritten up to its end, looks torn from
// inside. Only the mark tells, so what was acknowledged after the mark was last raised is not
// covered against that (flipped bits are). A new store's first log has no sync offsets, because
// Pebble raises the format after it made the log; promises do not depend on that.
//
// # What Pebble v2.1.7 does without a word
//
// Each has a test that shows it. A flipped bit or a cut in the MANIFEST rolls the store back, and
// Open deletes the tables it then does not know. In the last log it drops all that follows. A bit
// that adds one to a chunk's log number ends any log as if it were closed, and so does a cut between
// two records, in older logs too. Without its manifest marker the store is made anew in place of the
// old one. A bit in the format of a footer without a checksum (formats before TableFormatPebblev6)
// makes a table empty: use a FormatMajorVersion of FormatTableFormatV6 at least. Its check of
// a table leaves value blocks out. Guard lists its ways out of the process.
//
// The promise: no file is changed or deleted by anything here but by Mend and Archive.Release, no
// input makes it panic, and nothing here ends the process.
package forensic

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/fault"
)

// Inspect walks a Pebble directory strictly, before Pebble opens it. It reads the markers, the
// MANIFEST, the newest OPTIONS and the logs that would be replayed, and looks for the tables that
// the MANIFEST refers to without reading them; it writes nothing. What is wrong is in the report;
// the error is for a directory that can't be listed, and for a file that we may not read, which says nothing
// of whether it is whole. A directory that is not there, or in which
// nothing was ever finished, gives a report with Exists false and no findings.
func Inspect(fsys vfs.FS, dir string) (Report, error) {
	r := Report{Dir: dir}
	l, err := list(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = permitted(fsys, dir, l)
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

// permitted returns an error if there is a file that we may not read: another user made it.
func permitted(fsys vfs.FS, dir string, l listing) error {
	for _, c := range []class{classWAL, classTable, classBlob, classManifest, classOptions} { // not LOCK: to close it would drop the lock
		for _, num := range l.nums(c) {
			name := l.files[c][num]
			f, err := fsys.Open(fsys.PathJoin(dir, name))
			if err == nil {
				err = f.Close()
			}
			if errors.Is(err, fs.ErrPermission) {
				return fault.WithHint(fmt.Errorf("open %s: %w", fsys.PathJoin(dir, name), fs.ErrPermission),
					"its owner is another user than we: give him the directory of the job (chown -R)")
			}
		}
	}
	return nil
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
