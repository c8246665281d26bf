package index

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"

	"holdfast/base/cdxj"
	"holdfast/base/weburl"
	"holdfast/kernel/store"
)

// mend makes one run for all known WARC files: from all lines that lie in the directory, of this time line or another, from
// index.cdxj, and, if lines are missing, from the WARC files themselves. Everything is sorted anew, so it does not matter in
// which state it was.
func (x *Index) mend(ctx context.Context, s state) error {
	var all map[string]known
	if err := x.st.View(ctx, func(r store.Reader) (err error) { all, err = readKnown(r, knownPart); return err }); err != nil {
		return err
	}
	run, err := x.gather(ctx, all)
	if err != nil {
		return err
	}
	has, err := x.count(ctx, run, all)
	if err != nil {
		return err
	}
	lacking := map[string]known{}
	for name, n := range all {
		if has[name] != n.Captures {
			lacking[name] = n
		}
	}
	if len(lacking) > 0 {
		was := run
		if run, err = x.indexAgain(ctx, was, all, lacking); err != nil {
			return err
		}
		s.runs = append(s.runs, was)
	}
	x.log.Info("the index was made again", "files", len(all), "of the WARC files", len(lacking))
	if err := x.exchange(run, s, true); err != nil {
		return err
	}
	return x.sweep()
}

// readKnown returns how far each WARC file counts that has ended, in this time line; or, with another part, those that this
// part of the store has.
func readKnown(r store.Reader, part byte) (map[string]known, error) {
	all := map[string]known{}
	prefix := key(part)
	entries, failed := r.Scan(prefix, prefix.End())
	for k, v := range entries {
		var n known
		if err := get(k, v, &n); err != nil {
			return nil, err
		}
		all[string(k[len(prefix):])] = n
	}
	return all, failed()
}

// levelOf returns the level of a run of so many WARC files.
func levelOf(n int) (level int) {
	for ; n >= fanout; n /= fanout {
		level++
	}
	return level
}

// gather makes a run of all lines in the directory that count.
func (x *Index) gather(ctx context.Context, all map[string]known) (piece, error) {
	from, err := x.lying()
	if err != nil {
		return piece{}, err
	}
	s := cdxj.NewSorter(x.dir.path, sortMemory)
	defer s.Close()
	for _, path := range from {
		if err := x.each(ctx, path, all, func(_ string, line []byte) error { return s.Add(line) }); err != nil {
			return piece{}, err
		}
	}
	return x.run(ctx, levelOf(len(all)), s.Write)
}

// each gives the lines of a file that are whole and count.
func (x *Index) each(ctx context.Context, path string, all map[string]known, do func(warc string, line []byte) error) error {
	return x.parse(ctx, path, func(l cdxj.Line, text []byte) error {
		if n, ok := all[l.Filename]; !ok || l.Offset+l.Length > n.Bytes {
			return nil
		}
		return do(l.Filename, text)
	})
}

// parse gives the lines of a file that are whole. What can't be read is passed over, and is found to be missing later. The
// file may be gone.
func (x *Index) parse(ctx context.Context, path string, do func(l cdxj.Line, text []byte) error) error {
	var stopped error
	err := eachLine(path, math.MaxInt64, func(line []byte) error {
		l, err := cdxj.Parse(line)
		if err != nil {
			return nil
		}
		stopped = errors.Join(ctx.Err(), do(l, line))
		return stopped
	})
	switch {
	case stopped != nil:
		return stopped
	case err == nil, errors.Is(err, os.ErrNotExist), errors.Is(err, io.ErrUnexpectedEOF): // of a last line that was not committed
	default:
		x.log.Warn("a part of the index can't be read", "err", err)
	}
	return nil
}

// count counts the captures of each WARC file in a run.
func (x *Index) count(ctx context.Context, run piece, all map[string]known) (map[string]int64, error) {
	has := map[string]int64{}
	return has, x.each(ctx, x.dir.join(run.File), all, func(warc string, _ []byte) error { has[warc]++; return nil })
}

// indexAgain makes a run of another one: its lines are kept for WARC files that lack none, and made again from the WARC files
// that do.
func (x *Index) indexAgain(ctx context.Context, run piece, all, lacking map[string]known) (piece, error) {
	s := cdxj.NewSorter(x.dir.path, sortMemory)
	defer s.Close()
	for name, n := range lacking {
		whole, err := x.indexWARC(ctx, s, name, n)
		if err != nil {
			return piece{}, err
		}
		if whole {
			delete(all, name) // and no line of the run, of which one may be wrong
		}
	}
	if err := x.each(ctx, x.dir.join(run.File), all, func(_ string, line []byte) error { return s.Add(line) }); err != nil {
		return piece{}, err
	}
	return x.run(ctx, run.Level, s.Write)
}

// indexWARC gives a Sorter the lines of a WARC file, as far as it counts, and reports whether it is there and whole.
func (x *Index) indexWARC(ctx context.Context, s *cdxj.Sorter, name string, n known) (bool, error) {
	f, err := openWARC(x.warcs, name)
	if err != nil {
		x.log.Warn("the index lacks captures of a WARC file that is not there", "captures", n.Captures, "err", err)
		return false, nil
	}
	defer f.Close()
	var failed error
	var line []byte
	_, err = cdxj.Index(io.LimitReader(f, n.Bytes), name, weburl.IndexKeyOf, func(l cdxj.Line) error {
		failed = addLine(ctx, s, l, &line)
		return failed
	})
	if failed != nil {
		return false, failed
	}
	if err != nil {
		x.log.Warn("the index may lack captures of a WARC file that is damaged", "file", f.Name(), "err", err)
	}
	return err == nil, nil
}

// openWARC opens a WARC file that has ended, or that is written to still.
func openWARC(dir, name string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return os.Open(filepath.Join(dir, name+openSuffix))
	}
	return f, err
}
