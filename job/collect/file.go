package collect

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/kernel/store"
)

// File is how an import recognises a file.
type File struct {
	Name string // without its directory
	Size int64
	Hash [sha256.Size]byte // of its content
}

// fileMark is what is remembered of a file that was taken in.
type fileMark struct {
	lineage record.Lineage // the life of the store in which it was
	read    int64          // what it held
}

const fileMarkLen = 1 + 16 + 8

func (in *Intake) fileKey(f File) store.Key {
	return store.Job.K().Str("file/").U32(in.id).Raw(f.Hash[:]).U64(uint64(f.Size)).Str(f.Name)
}

// Imported reports whether a file was taken in, durably, in this life of the store: then everything in it would be a
// duplicate. In a later life some of it may be lost, so it has to be taken in again.
func (in *Intake) Imported(ctx context.Context, f File) (t Taken, ok bool, err error) {
	err = in.st.View(ctx, func(r store.Reader) error {
		m, had, err := in.fileMark(r, f)
		ok = had && m.lineage == in.st.Lineage()
		t.Read, t.Duplicate = m.read, m.read
		return err
	})
	return t, ok, err
}

// ImportFile takes a file in, whole or not at all, and remembers it in the same commit. Rows and most
// rejects are known by their keys when the file comes again; rejects without one are known by the file.
func (in *Intake) ImportFile(ctx context.Context, f File, p connector.Page) (Taken, error) {
	return in.takeFile(ctx, f, p, nil)
}

// Imported is Intake.Imported.
func (j *Job) Imported(ctx context.Context, f File) (Taken, bool, error) {
	return j.intake.Imported(ctx, f)
}

// ImportFile is Intake.ImportFile. Rows that every sink has already count as duplicates. A sink that is away, or can't tell in
// time, does not hold the import up: then the rows count as accepted, and those that the sink has are found by key when they
// are delivered.
func (j *Job) ImportFile(ctx context.Context, f File, p connector.Page) (Taken, error) {
	held, err := j.heldOrSuspect(ctx, p)
	if err != nil {
		return Taken{}, err
	}
	return j.intake.takeFile(ctx, f, p, held)
}

func (in *Intake) takeFile(ctx context.Context, f File, p connector.Page, held map[uint64]bool) (Taken,
	error) {
	w := &work{page: p, mode: Import, held: held}
	err := in.take(ctx, w, func(tx *store.Tx, w *work) error {
		if _, had, err := in.fileMark(tx, f); err != nil {
			return err
		} else if had {
			w.again()
		}
		in.markFile(tx, f, w.taken.Read)
		return in.write(tx, w)
	})
	if err != nil {
		return Taken{}, fmt.Errorf("take file %s in: %w", f.Name, err)
	}
	return w.taken, nil
}

// again leaves out what an import of the file in an earlier life of the store has made dead letters.
func (w *work) again() {
	n := len(w.rejects)
	w.rejects = slices.DeleteFunc(w.rejects, func(r connector.Reject) bool {
		_, err := strconv.ParseUint(r.Key, 10, 64)
		return err != nil
	})
	gone := int64(n - len(w.rejects))
	w.taken.Rejected, w.taken.Duplicate = w.taken.Rejected-gone, w.taken.Duplicate+gone
}

func (in *Intake) markFile(tx *store.Tx, f File, read int64) {
	l := tx.Lineage()
	v := append([]byte{1}, l[:]...)
	tx.Set(in.fileKey(f), binary.BigEndian.AppendUint64(v, uint64(read)))
}

func (in *Intake) fileMark(r store.Reader, f File) (m fileMark, ok bool, err error) {
	v, ok, err := r.Get(in.fileKey(f))
	if err != nil || !ok {
		return m, false, err
	}
	if len(v) != fileMarkLen || v[0] != 1 {
		return m, false, fault.New(fault.Corrupt, "read mark of file %s: it has %d bytes", f.Name, len(v))
	}
	copy(m.lineage[:], v[1:])
	m.read = int64(binary.BigEndian.Uint64(v[17:]))
	return m, true, nil
}
