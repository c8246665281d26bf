package index

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"holdfast/base/cdxj"
	"holdfast/kernel/store"
)

// GiveUp has the index of a store, that nobody has open, know no captures of a WARC file behind so many bytes: captures are how many
// it has in front of that. One that was written to has ended. Runs are made again.
func GiveUp(tx *store.Tx, warc string, bytes, captures int64) error {
	s, err := readState(tx)
	if err != nil {
		return err
	}
	if s.open.WARC == warc {
		if err := set(tx, key(openPart), open{Lineage: s.open.Lineage}); err != nil {
			return err
		}
	}
	tx.Set(key(mendPart), nil)
	k := key(knownPart).Str(warc)
	if captures == 0 {
		tx.Delete(k)
		return nil
	}
	return set(tx, k, known{bytes, captures})
}

// Captures is how many captures a store knows of a WARC file.
func Captures(r store.Reader, warc string) (n int64, err error) {
	s, err := readState(r)
	if err != nil || s.open.WARC == warc {
		return s.open.Captures, err
	}
	var is known
	k := key(knownPart).Str(warc)
	_, err = r.Look(k, func(v []byte) error { return get(k, v, &is) })
	return is.Captures, err
}

// Lines gives the lines that lie in the directory of WARC files, of whatever time line: some twice, in no order. The index may not be
// open.
func Lines(ctx context.Context, dir string, each func(cdxj.Line) error) error {
	paths := []string{filepath.Join(dir, File)}
	entries, err := os.ReadDir(filepath.Join(dir, below))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if partName.MatchString(e.Name()) {
			paths = append(paths, filepath.Join(dir, below, e.Name()))
		}
	}
	for _, path := range paths {
		if err := linesOf(ctx, path, each); err != nil {
			return err
		}
	}
	return nil
}

// linesOf gives the whole lines of a file, which may be gone.
func linesOf(ctx context.Context, path string, each func(cdxj.Line) error) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, cdxj.MaxLine)
	in.Split(wholeLines)
	for in.Scan() {
		l, err := cdxj.Parse(in.Bytes())
		if err != nil { // damaged
			continue
		}
		if err := errors.Join(ctx.Err(), each(l)); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // the last line was not committed
		return err
	}
	return nil
}
