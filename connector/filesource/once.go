package filesource

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Once reads each file of a directory once.
type Once struct {
	Source
	watch *watch
	seen  map[string]sighting // files that are not known to be complete
	end   bool                // it is a data set
	ended bool                // whose end was told
	exact atomic.Bool         // there was a file whose name is the pattern: it is meant
}

// sighting is when a file was first seen as it is.
type sighting struct {
	id    string
	since time.Time
}

var _ connector.Source = (*Once)(nil)

// identify names a file as it is now: one that changes is another.
func identify(info fs.FileInfo) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", info.Name(), info.Size(),
		info.ModTime().UnixNano()))
	return sum[:8]
}

func setOf(ids [][]byte) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[string(id)] = true
	}
	return set
}

// Fetch returns the next part of the file that is being read, or of the next one; it waits until there
// is one.
func (o *Once) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	at, err := readPosition(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return connector.Page{}, err
		}
		if o.end {
			return o.fetchSet(ctx, at)
		}
		if err := o.watch.ready(); err != nil {
			return connector.Page{}, err
		}
		files, err := o.files()
		if err != nil {
			return connector.Page{}, err
		}
		settles := time.Duration(0)
		if at.File == "" {
			at.File, settles = o.pick(files, at.Done)
		}
		if at.File != "" {
			return o.read(ctx, at, files)
		}
		if err := o.watch.wait(ctx, settles); err != nil {
			return connector.Page{}, err
		}
	}
}

// files are the files of the directory that match, the oldest first.
func (o *Once) files() ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(o.watch.dir)
	if o.end && errors.Is(err, fs.ErrNotExist) {
		return nil, noPattern(o.watch.dir)
	}
	if err != nil {
		return nil, unwatched(o.watch.dir, err)
	}
	match, err := o.matches()
	if err != nil {
		return nil, err
	}
	var out []fs.FileInfo
	for _, e := range entries {
		if !match(e.Name()) {
			continue
		}
		info, err := e.Info()
		if o.end && err == nil && info.Mode()&fs.ModeSymlink != 0 {
			info, err = os.Stat(filepath.Join(o.watch.dir, e.Name()))
		}
		if err == nil && info.Mode().IsRegular() {
			out = append(out, info)
		}
	}
	slices.SortStableFunc(out, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	return out, nil
}

// matches says which names are meant. That of a data set may have the signs of a pattern in it.
func (o *Once) matches() (func(name string) bool, error) {
	pattern := filepath.Base(o.cfg.Path)
	if o.end && !o.exact.Load() {
		_, err := os.Lstat(o.cfg.Path)
		o.exact.Store(err == nil)
	}
	if o.exact.Load() {
		return func(name string) bool { return name == pattern }, nil
	}
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, fault.WithHint(fault.New(fault.Permanent, "there is no file %s, and its name is no pattern: %w", o.cfg.Path, err),
			"give the path of a file, or a pattern such as %s: * and ? stand for any characters, [0-9] for one of these",
			filepath.Join(o.watch.dir, "day-*.csv"))
	}
	return func(name string) bool {
		match, _ := filepath.Match(pattern, name)
		return match && (!strings.HasPrefix(name, ".") || strings.HasPrefix(pattern, "."))
	}, nil
}

// noPattern refuses a pattern in the name of a directory that is not there.
func noPattern(dir string) error {
	if !strings.ContainsAny(dir, "*?[") {
		return nil
	}
	return fault.WithHint(fault.New(fault.Permanent, "there is no directory %s, and the name of one can't be a pattern", dir),
		"give a pattern of the names of files in one directory")
}

// pick returns the next file, or how long until the first may be complete (0: none is there).
func (o *Once) pick(files []fs.FileInfo, done [][]byte) (name string, settles time.Duration) {
	seen, read := map[string]sighting{}, setOf(done)
	for _, info := range files {
		id := identify(info)
		if read[string(id)] {
			continue
		}
		s := o.seen[info.Name()]
		if s.id != string(id) {
			s = sighting{string(id), time.Now()}
		}
		seen[info.Name()] = s
		still := max(time.Since(s.since), time.Since(info.ModTime()))
		if name == "" && (still >= o.cfg.Settle || o.watch.wasClosed(info.Name())) {
			name = info.Name()
		}
		if left := o.cfg.Settle - still; settles == 0 || left < settles {
			settles = max(left, time.Millisecond)
		}
	}
	o.seen = seen
	return name, settles
}

// read makes a page of the file that the position names. A file is done when it was read to its end; the
// cursor forgets those that have left the directory.
func (o *Once) read(ctx context.Context, at position, files []fs.FileInfo) (connector.Page, error) {
	r, notes := o.table.Begin(ctx), map[string]int64{}
	end, err := o.part(ctx, r, &at)
	if errors.Is(err, fs.ErrNotExist) {
		notes["vanished"]++
		end, err = true, nil
	}
	if err != nil {
		return connector.Page{}, err
	}
	if end {
		next, done := position{Version: cursorVersion}, setOf(at.Done)
		for _, info := range files {
			if id := identify(info); info.Name() == at.File || done[string(id)] {
				next.Done = append(next.Done, id)
			}
		}
		at = next
		notes["files"]++
	}
	return page(r, at.bytes(), notes)
}

// part reads on in a file, and reports whether that was its end.
func (o *Once) part(ctx context.Context, r *columns.Reading, at *position) (end bool, err error) {
	path := filepath.Join(o.watch.dir, at.File)
	if o.cfg.Format == formatParquet {
		return o.parquet(ctx, r, at, path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, err
	} else if err != nil {
		return false, unreadable(path, err)
	}
	defer f.Close()
	if _, err := f.Seek(at.Offset, io.SeekStart); err != nil {
		return false, fault.New(fault.Transient, "read %s: %w", path, err)
	}
	var h header
	if at.Header != "" {
		h = o.readHeader([]byte(at.Header))
	}
	sp := o.split(o.wholeOf(f, at), *at)
	_, end, err = o.fill(r, &h, sp, path)
	if err == nil && end {
		err = o.finish(r, &h, sp, path)
	}
	if err == nil && o.end && (end || h.text != "") { // the header may be all there is, without its line end
		err = o.complete(&h, path)
	}
	at.Offset, at.Line, at.Header = sp.at, sp.no, h.text
	return end, err
}

// Close stops watching.
func (o *Once) Close() error { return o.watch.Close() }
