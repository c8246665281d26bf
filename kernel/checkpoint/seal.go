package checkpoint

import (
	"context"
	"fmt"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Seal takes the checksums of those tables of a checkpoint that had none when it was made, and
// keeps them beside its manifest and for the checkpoints to come. Until then Verify can only
// compare such a table with the checksums that its own blocks carry. Work.Rate keeps the reading
// from being felt. It may be called at any time and again; a checkpoint that is sealed is left as
// it is.
func Seal(ctx context.Context, st *store.Store, name string, w Work) error {
	w.FS = st.FS()
	if err := sealTables(ctx, st, Path(st.Dir(), name), w); err != nil {
		return told(fmt.Errorf("seal checkpoint %s of %s: %w", name, st.Dir(), err))
	}
	return nil
}

func sealTables(ctx context.Context, st *store.Store, path string, w Work) error {
	fs := w.FS
	data, err := readFile(fs, fs.PathJoin(path, manifestName))
	if err != nil {
		return err
	}
	m, sealed, err := load(fs, path)
	if err != nil {
		return err
	}
	if sealed {
		return st.TableSums().Save()
	}
	var total int64
	for _, f := range m.Files {
		if f.Sum == "" {
			total += f.Size
		}
	}
	t, sums := w.track(total), st.TableSums()
	l := late{Format: manifestFormat, Manifest: sumOf(data), Sums: map[string]string{}}
	for _, f := range m.Files {
		if f.Sum != "" {
			continue
		}
		full := fs.PathJoin(path, f.Path)
		if l.Sums[f.Path] = sums.Get(fs, full); l.Sums[f.Path] != "" {
			continue
		}
		if l.Sums[f.Path], err = sealTable(ctx, fs, full, f, t); err != nil {
			return err
		}
		sums.Put(fs, full, l.Sums[f.Path])
	}
	if err := replaceFile(fs, fs.PathJoin(path, sumsName), l.encode()); err != nil {
		return err
	}
	t.end()
	return sums.Save()
}

// sealTable takes a table's checksum. Its blocks are compared with their own checksums first: a
// checksum that is taken of damage would bless it.
func sealTable(ctx context.Context, fs store.FS, full string, f File, t *tracker) (string, error) {
	if err := store.CheckTable(fs, full); err != nil {
		return "", err
	}
	sum, n, err := sumFile(ctx, fs, full, t)
	if err == nil && n != f.Size {
		err = fault.New(fault.Corrupt, "%s has %d bytes, want %d", f.Path, n, f.Size)
	}
	return sum, err
}
