package forensic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/record"
)

// Mark is a lower bound of what a store had durable at some moment.
type Mark struct {
	Lineage record.Lineage
	Commit  uint64 // the store's own number of an acknowledged commit
	// The MANIFEST in use and how much of it was synced; the newest log and how much of it was
	// synced (Watch knows all four). Zero numbers say nothing.
	ManifestNum  uint64
	ManifestSize int64
	WALNum       uint64
	WALOffset    int64
	Seq          uint64 // the last sequence number of an acknowledged batch
}

// The file has two slots in blocks of their own, so that one torn or rotten block never takes both:
//
//	0   magic "HOLDMARK"
//	8   format, 4 bytes (1)
//	12  generation, 8 bytes: the slot with the higher one counts
//	20  lineage, 16 bytes
//	36  commit, manifest number, manifest size, WAL number, WAL offset, sequence number: 8 bytes each
//	84  CRC-32C of bytes 0 to 83, 4 bytes
//
// Numbers are little-endian, the rest of a slot's 4,096 bytes is zero.
const (
	markMagic  = "HOLDMARK"
	markFormat = 1
	markLen    = 88
	slotSize   = 4096
)

// HighWater is the file that holds a store's mark. It stands outside the Pebble directory. It is
// raised lazily, always after the fsync of what it describes, and nothing depends on it but the
// detection of damage: a file that is missing or damaged is a finding, not a failure.
type HighWater struct {
	fs   vfs.FS
	path string

	mu   sync.Mutex // guards what follows, and the file
	file vfs.File
	gen  uint64
	mark Mark
}

// OpenHighWater opens the file, making it if it is not there, and reads its mark. The findings tell
// what was wrong with it: Missing for a file that had to be made (as it is for a new store), Damage
// for a slot that can't be read. All are harmless in themselves; a lost mark proves nothing.
func OpenHighWater(fsys vfs.FS, path string) (*HighWater, []Finding, error) {
	h := &HighWater{fs: fsys, path: path}
	var found []Finding
	data, bad, err := readFile(fsys, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found = append(found, Finding{File: fsys.PathBase(path), Kind: Missing, Harmless: true,
			Why: "there is no high-water mark"})
	case err != nil:
		return nil, nil, err
	default:
		h.mark, h.gen, found = parseMark(data)
		if bad > 0 {
			f := unreadable("", bad)
			f.Harmless = true
			found = append(found, f)
		}
		for i := range found {
			found[i].File = fsys.PathBase(path)
		}
	}
	if len(data) != 2*slotSize {
		if err := h.create(); err != nil {
			return nil, found, err
		}
	}
	if h.file, err = fsys.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
		return nil, found, fmt.Errorf("open high-water file: %w", err)
	}
	return h, found, nil
}

// create puts a whole file in the place of none or of a cut one: written and synced aside, then
// renamed, so that a crash leaves the old or the new.
func (h *HighWater) create() error {
	data := make([]byte, 2*slotSize)
	if h.gen > 0 {
		copy(data[(h.gen%2)*slotSize:], encodeMark(h.mark, h.gen))
	}
	tmp := h.path + ".new"
	f, err := h.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("make high-water file: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write high-water file: %w", err)
	}
	if err := h.fs.Rename(tmp, h.path); err != nil {
		return fmt.Errorf("rename high-water file: %w", err)
	}
	return syncDir(h.fs, h.fs.PathDir(h.path))
}

// Mark returns the mark as it was read or last raised; the zero Mark claims nothing.
func (h *HighWater) Mark() Mark {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mark
}

// Raise writes a mark into the slot that does not hold the current one and syncs it, so that a
// crash within leaves the current one. Call it only after the fsync of what the mark describes. A
// mark of the same lineage that is not higher in its commit is passed over.
func (h *HighWater) Raise(m Mark) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gen > 0 && m.Lineage == h.mark.Lineage && m.Commit <= h.mark.Commit {
		return nil
	}
	gen := h.gen + 1
	if _, err := h.file.WriteAt(encodeMark(m, gen), int64(gen%2)*slotSize); err != nil {
		return fmt.Errorf("write high-water mark: %w", err)
	}
	if err := h.file.Sync(); err != nil {
		return fmt.Errorf("sync high-water mark: %w", err)
	}
	h.gen, h.mark = gen, m
	return nil
}

// Close closes the file; it does not raise the mark.
func (h *HighWater) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.file.Close()
}

func encodeMark(m Mark, gen uint64) []byte {
	b := append(make([]byte, 0, markLen), markMagic...)
	b = binary.LittleEndian.AppendUint32(b, markFormat)
	b = binary.LittleEndian.AppendUint64(b, gen)
	b = append(b, m.Lineage[:]...)
	for _, v := range []uint64{m.Commit, m.ManifestNum, uint64(m.ManifestSize), m.WALNum,
		uint64(m.WALOffset), m.Seq} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeMark reads one slot. empty is true for one that was never written.
func decodeMark(slot []byte) (m Mark, gen uint64, empty, ok bool) {
	if len(slot) < markLen {
		return m, 0, false, false
	}
	if allZero(slot) {
		return m, 0, true, false
	}
	body := slot[:markLen-4]
	if string(body[:8]) != markMagic || binary.LittleEndian.Uint32(body[8:]) != markFormat ||
		crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(slot[markLen-4:]) {
		return m, 0, false, false
	}
	m.Lineage = record.Lineage(body[20:36])
	var v [6]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(body[36+8*i:])
	}
	m.Commit, m.ManifestNum, m.ManifestSize = v[0], v[1], int64(v[2])
	m.WALNum, m.WALOffset, m.Seq = v[3], int64(v[4]), v[5]
	return m, binary.LittleEndian.Uint64(body[12:]), false, true
}

// parseMark takes the higher of the sound slots.
func parseMark(data []byte) (best Mark, gen uint64, found []Finding) {
	if len(data) != 2*slotSize {
		found = append(found, Finding{Kind: Damage, Harmless: true, End: int64(len(data)),
			Why: fmt.Sprintf("it has %d bytes instead of %d", len(data), 2*slotSize)})
	}
	for i := range 2 {
		slot := data[min(i*slotSize, len(data)):min((i+1)*slotSize, len(data))]
		m, g, empty, ok := decodeMark(slot)
		switch {
		case ok && g > gen:
			best, gen = m, g
		case !ok && !empty && len(slot) > 0:
			found = append(found, Finding{Kind: Damage, Harmless: true, Offset: int64(i * slotSize),
				End: int64(i*slotSize + len(slot)), Why: "a slot can't be read"})
		}
	}
	return best, gen, found
}

// Check compares what Pebble would serve from a directory with the mark, before Pebble opens it.
// Every finding it returns means that something durable would be gone.
func (m Mark) Check(r *Report) []Finding {
	if m == (Mark{}) {
		return nil
	}
	var found []Finding
	back := func(file, why string, a ...any) {
		found = append(found, Finding{File: file, Kind: Rollback, Why: fmt.Sprintf(why, a...)})
	}
	if !r.Exists {
		back("", "commit %d was durable, but there is no database", m.Commit)
		return found
	}
	now := r.Manifest
	switch {
	case now.Num < m.ManifestNum:
		back(now.File, "MANIFEST-%06d was in use", m.ManifestNum)
	case now.Num == m.ManifestNum && !reaches(now.Intact, m.ManifestSize):
		back(now.File, "%d bytes were durable, %d can be read", m.ManifestSize, now.Intact)
	}
	if m.WALNum >= now.MinWAL {
		found = append(found, m.checkWAL(r)...)
	}
	if r.LastSeq < m.Seq {
		back("", "sequence number %d was durable, %d is the last", m.Seq, r.LastSeq)
		found[len(found)-1].Lost = Seqs{r.LastSeq + 1, m.Seq}
	}
	return found
}

func (m Mark) checkWAL(r *Report) []Finding {
	if m.WALNum == 0 {
		return nil
	}
	for _, w := range r.WALs {
		if w.Num != m.WALNum {
			continue
		}
		if reaches(w.Intact, m.WALOffset) {
			return nil
		}
		return []Finding{{File: w.File, Kind: Rollback, Offset: w.Intact, End: m.WALOffset,
			Why: fmt.Sprintf("%d bytes were durable, %d can be read", m.WALOffset, w.Intact)}}
	}
	return []Finding{{File: fmt.Sprintf("%06d.log", m.WALNum), Kind: Rollback,
		Why: "the log was in use and is gone"}}
}

// reaches reports whether chunks up to intact are all that was synced up to offset: a block's unused
// end is written and synced with it, and holds no chunk.
func reaches(intact, offset int64) bool { return intact >= offset || adjoin(intact, offset) }

// CheckOpened compares what the opened store says of itself with the mark: the last net.
func (m Mark) CheckOpened(lineage record.Lineage, commit uint64) []Finding {
	switch {
	case m == (Mark{}) || lineage == m.Lineage && commit >= m.Commit:
		return nil
	case lineage != m.Lineage:
		return []Finding{{Kind: Rollback,
			Why: fmt.Sprintf("the mark is of lineage %s, the store of %s", m.Lineage, lineage)}}
	}
	return []Finding{{Kind: Rollback,
		Why: fmt.Sprintf("commit %d was durable, %d is the last", m.Commit, commit)}}
}
