package filesource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// stamp is a file of a data set as it was when it was begun. The cursor holds that of every file that was read, so
// that one that is another by now can be told.
type stamp struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	At   int64  `json:"at"`            // of its last change, in ns
	Cut  bool   `json:"cut,omitempty"` // it was another before it was read to its end
	Line int64  `json:"line,omitempty"`
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{Name: info.Name(), Size: info.Size(), At: info.ModTime().UnixNano()}
}

func (s stamp) is(info fs.FileInfo) bool {
	return s.Size == info.Size() && s.At == info.ModTime().UnixNano()
}

// OpenSet opens a data set: files that are whole when they are given.
func OpenSet(c Config) (*Once, error) {
	c.Mode = modeOnce
	f, err := Open(c, Options{End: true})
	if err != nil {
		return nil, err
	}
	return f.(*Once), nil
}

// fetchSet reads on in a data set. Who asks again behind the end gets what was added since, if anything.
func (o *Once) fetchSet(ctx context.Context, at position) (connector.Page, error) {
	files, err := o.files()
	if err != nil {
		return connector.Page{}, err
	}
	if len(at.Files) == 0 { // nothing was begun
		at = position{Version: cursorVersion}
	}
	if at.File == "" {
		info := o.following(files, at)
		if info == nil {
			o.ended = true
			return o.endOf(at, files)
		}
		at.File, at.Files = info.Name(), append(at.Files, stampOf(info))
	}
	name, now := at.File, &at.Files[len(at.Files)-1]
	r, notes := o.table.Begin(ctx), map[string]int64{}
	end := false
	if o.still(*now) {
		end, err = o.part(ctx, r, &at)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it went just now
	}
	if err != nil {
		return connector.Page{}, err
	}
	if !end && !o.still(*now) {
		now.Cut, now.Line, end = true, at.Line, true
	}
	if end {
		at = position{Version: cursorVersion, Files: remembered(at.Files, files)}
		notes["files"]++
	}
	p, err := page(r, at.bytes(), notes)
	p.Where = o.where(r, filepath.Join(o.watch.dir, name))
	return p, err
}

// where says where the rows of a page stand.
func (o *Once) where(r *columns.Reading, path string) func(row int) string {
	places, what := r.Places(), "line"
	if o.cfg.Format == formatParquet {
		what = "row"
	}
	return func(row int) string { return fmt.Sprintf("%s %d of %s", what, places[row], path) }
}

// still reports whether a file is what it was.
func (o *Once) still(s stamp) bool {
	info, err := os.Stat(filepath.Join(o.watch.dir, s.Name))
	return err == nil && s.is(info)
}

// following returns the first file by name whose name is new, nil for none. One that is empty is passed over until it has
// content. One that came while the source is open may be half of one: it is left until nothing changed it for a while.
func (o *Once) following(files []fs.FileInfo, at position) (next fs.FileInfo) {
	known := at.known()
	files = slices.DeleteFunc(slices.Clone(files), func(info fs.FileInfo) bool {
		return info.Size() == 0 || known[info.Name()]
	})
	if o.ended {
		name, _ := o.pick(files, nil)
		files = slices.DeleteFunc(files, func(info fs.FileInfo) bool { return info.Name() != name })
	}
	for _, info := range files {
		if next == nil || info.Name() < next.Name() {
			next = info
		}
	}
	return next
}

// known are the names of the files of a data set that were begun.
func (p position) known() map[string]bool {
	names := make(map[string]bool, len(p.Files))
	for _, s := range p.Files {
		names[s.Name] = true
	}
	return names
}

// Empty are the files that are passed over because they are empty, but for those that were made just now.
func (o *Once) Empty(cursor []byte) (paths []string) {
	at, err := readPosition(cursor)
	if err != nil {
		return nil // which Fetch tells
	}
	files, err := o.files()
	if err != nil {
		return nil // likewise
	}
	known := at.known()
	for _, info := range files {
		if info.Size() == 0 && !known[info.Name()] && time.Since(info.ModTime()) >= o.cfg.Settle {
			paths = append(paths, filepath.Join(o.watch.dir, info.Name()))
		}
	}
	slices.Sort(paths)
	return paths
}

// nothing is what is wrong with a data set whose every file is empty, nil if that is no mistake.
func (o *Once) nothing(files []fs.FileInfo) error {
	path := filepath.Join(o.watch.dir, files[0].Name())
	switch o.cfg.Format {
	case formatCSV:
		return o.complete(&header{}, path)
	case formatParquet:
		return noParquet(path, errors.New("it is empty"))
	}
	return nil
}

// remembered are the stamps of files that are there, and of those that are to be told of.
func remembered(stamps []stamp, files []fs.FileInfo) []stamp {
	there := make(map[string]bool, len(files))
	for _, info := range files {
		there[info.Name()] = true
	}
	return slices.DeleteFunc(slices.Clone(stamps), func(s stamp) bool { return !s.Cut && !there[s.Name] })
}

// endOf is the page behind the last file of a data set.
func (o *Once) endOf(at position, files []fs.FileInfo) (connector.Page, error) {
	if len(files) == 0 && len(at.Files) == 0 {
		if err := NoFile(o.cfg.Path); err != nil {
			return connector.Page{}, err
		}
		return connector.Page{}, fault.WithHint(fault.New(fault.Permanent, "there is no file %s", o.cfg.Path),
			"give the path of the data set, or a pattern such as /data/day-*.csv")
	}
	if len(at.Files) == 0 && !slices.ContainsFunc(files, func(info fs.FileInfo) bool { return info.Size() > 0 }) {
		if err := o.nothing(files); err != nil {
			return connector.Page{}, err
		}
	}
	return connector.Page{Cursor: at.bytes(), End: true}, nil
}

// NoFile says what stands at a path that is no file; nil if it is one, or if there is nothing.
func NoFile(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() {
		return nil
	}
	what, hint := "device", "a data set is read again when it has to be: write it into a file"
	switch mode := info.Mode(); {
	case mode.IsDir():
		what, hint = "directory", fmt.Sprintf("give its files, by a pattern such as %s", filepath.Join(path, "*.csv"))
	case mode&fs.ModeNamedPipe != 0:
		what = "pipe"
	case mode&fs.ModeSocket != 0:
		what = "socket"
	}
	return fault.WithHint(fault.New(fault.Permanent, "%s is a %s, and a data set is files", path, what), "%s", hint)
}

// Changed says of each file that was read up to a cursor, by name, that it is another one now.
func (o *Once) Changed(cursor []byte) map[string]string {
	at, err := readPosition(cursor)
	if err != nil {
		return nil // which Fetch tells
	}
	out := map[string]string{}
	for _, s := range at.Files {
		path := filepath.Join(o.watch.dir, s.Name)
		info, err := os.Stat(path)
		unread := ""
		if s.Cut {
			unread = ", and what stood behind line " + fmt.Sprint(s.Line) + " was not"
			if o.cfg.Format == formatParquet {
				unread = ", and not all of it was"
			}
		}
		switch {
		case err == nil && (s.Cut || !s.is(info)):
			out[path] = fmt.Sprintf("%s has changed since it was read (%d bytes then, %d now)%s: a data set does not "+
				"change; give it another name, or start with another --data-dir", path, s.Size, info.Size(), unread)
		case errors.Is(err, fs.ErrNotExist) && s.Cut:
			out[path] = fmt.Sprintf("%s has gone while it was read%s: give it again under another name, or start with "+
				"another --data-dir", path, unread)
		}
	}
	return out
}

// Try looks at the beginning of each file before anything is read: one that no row can come of is an error, and those
// that have none are returned.
func (o *Once) Try(ctx context.Context) (empty []string, err error) {
	files, err := o.files()
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		_, err := o.endOf(position{}, nil)
		return nil, err
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	for _, info := range files {
		path := filepath.Join(o.watch.dir, info.Name())
		if info.Size() == 0 {
			empty = append(empty, path)
			continue
		}
		some, err := o.try(ctx, path)
		if err != nil {
			return nil, err
		}
		if !some {
			empty = append(empty, path)
		}
	}
	if !slices.ContainsFunc(files, func(info fs.FileInfo) bool { return info.Size() > 0 }) {
		return empty, o.nothing(files)
	}
	return empty, nil
}

// try reports whether a file has anything that may be a row.
func (o *Once) try(ctx context.Context, path string) (some bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, unreadable(path, err)
	}
	defer f.Close()
	magic := make([]byte, 2)
	if _, err := io.ReadFull(f, magic); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return false, fault.WithHint(fault.New(fault.Permanent, "%s is packed by gzip", path), "unpack it first")
	}
	if o.cfg.Format == formatParquet {
		return o.tryParquet(path)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, fault.New(fault.Transient, "read %s: %w", path, err)
	}
	r, sp := o.table.Begin(ctx), o.split(f, position{})
	var h header
	for r.Items == 0 {
		ln, ok, err := sp.next()
		if err != nil {
			return false, fault.New(fault.Transient, "read %s: %w", path, err)
		}
		if !ok {
			ln, ok = sp.rest()
		}
		if !ok {
			break
		}
		if err := o.add(r, &h, ln, path); err != nil {
			return false, err
		}
	}
	return r.Items > 0, o.complete(&h, path)
}

func (o *Once) tryParquet(path string) (some bool, err error) {
	defer func() { // the library panics at some bytes that are not Parquet
		if p := recover(); p != nil {
			err = noParquet(path, fmt.Errorf("%v", p))
		}
	}()
	pf, err := file.OpenParquetFile(path, false)
	if err != nil {
		return false, noParquet(path, err)
	}
	defer pf.Close()
	var names []string
	root := pf.MetaData().Schema.Root()
	for i := range root.NumFields() {
		names = append(names, root.Field(i).Name())
	}
	return pf.NumRows() > 0, o.lacks(names, path+": the file")
}

func noParquet(path string, why error) error {
	return fault.WithHint(fault.New(fault.Permanent, "%s is no Parquet file that can be read: %w", path, why),
		"give it whole, or say what it is: csv or jsonl")
}

// complete refuses a csv of a data set whose header lacks a column that every row needs: else each of its lines would
// be a dead letter.
func (o *Once) complete(h *header, path string) error {
	switch {
	case o.cfg.Format != formatCSV:
		return nil
	case h.text == "":
		return fault.WithHint(fault.New(fault.Permanent, "%s is empty: it lacks the header", path), "a header has: %s",
			strings.Join(o.needed(), ", "))
	case h.bad != "":
		return fault.New(fault.Permanent, "line 1 of %s: %s", path, h.bad)
	}
	return o.lacks(h.names, "line 1 of "+path+": the header")
}

// lacks refuses what has not the columns that every row needs.
func (o *Once) lacks(names []string, what string) error {
	missing := slices.DeleteFunc(o.needed(), func(name string) bool { return slices.Contains(names, name) })
	if len(missing) == 0 {
		return nil
	}
	return fault.WithHint(fault.New(fault.Permanent, "%s lacks %s", what, strings.Join(missing, ", ")), "it has: %s",
		strings.Join(names, ", "))
}

// needed are the columns that every row needs.
func (o *Once) needed() (names []string) {
	for _, c := range o.cfg.Columns {
		if !c.Optional && c.From == "" {
			names = append(names, c.Name)
		}
	}
	return names
}

// wholeOf is as much of a file as there was when it was begun.
func (o *Once) wholeOf(f io.Reader, at *position) io.Reader {
	if !o.end {
		return f
	}
	return io.LimitReader(f, at.Files[len(at.Files)-1].Size-at.Offset)
}

// refuse makes a file that is no Parquet one reject, or an error if it is of a data set.
func (o *Once) refuse(r *columns.Reading, at *position, path string, why error) (end bool, err error) {
	if o.end && at.Offset == 0 {
		return false, noParquet(path, why)
	}
	return true, r.Add(columns.Item{Raw: []byte(path),
		Err: fmt.Errorf("%s can't be read behind row %d: %w", path, at.Offset, why)})
}
