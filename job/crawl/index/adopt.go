package index

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"holdfast/base/cdxj"
	"holdfast/kernel/store"
)

// adopt makes a new store know the captures of the WARC files of its crawl that lie in the directory, and whose store is gone.
// It takes them from the lines that there are; the WARC files themselves are not read.
func (x *Index) adopt(ctx context.Context) (state, error) {
	s := state{open: open{Lineage: x.lineage}}
	sorter := cdxj.NewSorter(x.dir.path, sortMemory)
	defer sorter.Close()
	parts, err := x.lying()
	if err != nil {
		return s, err
	}
	sizes, some := map[string]int64{}, false
	for _, path := range parts {
		if m := partName.FindStringSubmatch(filepath.Base(path)); m != nil && m[2] == x.mark { // what a crash left of its own
			continue
		}
		err := x.parse(ctx, path, func(l cdxj.Line, text []byte) error {
			if !x.ours(l.Filename) || !x.reaches(sizes, l) {
				return nil
			}
			some = true
			return sorter.Add(text)
		})
		if err != nil {
			return s, err
		}
	}
	if !some {
		return s, nil
	}
	run, err := x.run(ctx, 0, sorter.Write)
	if err != nil {
		return s, err
	}
	all := map[string]known{}
	err = x.parse(ctx, x.dir.join(run.File), func(l cdxj.Line, _ []byte) error {
		is := all[l.Filename]
		all[l.Filename] = known{Bytes: max(is.Bytes, l.Offset+l.Length), Captures: is.Captures + 1}
		return nil
	})
	if err != nil {
		return s, err
	}
	run.Level = levelOf(len(all))
	s.runs = []piece{run}
	x.log.Info("the index has the captures of WARC files that were there before", "files", len(all))
	return s, x.st.Update(func(tx *store.Tx) error {
		err := errors.Join(set(tx, key(openPart), s.open), set(tx, key(runPart).U64(run.Serial), run))
		for name, is := range all {
			err = errors.Join(err, set(tx, key(knownPart).Str(name), is))
		}
		return err
	})
}

// reaches reports whether a WARC file that is there is long enough to have the capture of a line: lines that were written and
// not committed may tell of captures that never came to be.
func (x *Index) reaches(sizes map[string]int64, l cdxj.Line) bool {
	size, looked := sizes[l.Filename]
	if !looked {
		warcs := files{path: x.warcs}
		if size = warcs.size(l.Filename); size < 0 {
			size = warcs.size(l.Filename + openSuffix)
		}
		sizes[l.Filename] = size
	}
	return size < 0 || l.Offset+l.Length <= size
}

// foreign gives the lines of index.cdxj that belong to other crawls.
func (x *Index) foreign(ctx context.Context, all map[string]known, each func(text []byte) error) error {
	return x.parse(ctx, filepath.Join(x.warcs, File), func(l cdxj.Line, text []byte) error {
		if _, known := all[l.Filename]; known || x.ours(l.Filename) {
			return nil
		}
		return each(text)
	})
}

// lying returns the files that hold lines, of any time line.
func (x *Index) lying() (paths []string, err error) {
	entries, err := os.ReadDir(x.dir.path)
	if err != nil {
		return nil, err
	}
	paths = []string{filepath.Join(x.warcs, File)}
	for _, e := range entries {
		if partName.MatchString(e.Name()) {
			paths = append(paths, x.dir.join(e.Name()))
		}
	}
	return paths, nil
}
