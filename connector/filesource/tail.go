package filesource

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// cursorVersion stands in every cursor. Another one is not guessed at.
const cursorVersion = 1

// printBytes is the most of a file's beginning that it is known by.
const printBytes = 1024

// position is what the bytes of a cursor hold, as JSON.
type position struct {
	Version int    `json:"v"`
	Dev     uint64 `json:"dev,omitempty"`
	Ino     uint64 `json:"ino,omitempty"`
	Printed int64  `json:"printed,omitempty"` // how many of the first bytes Print is the hash of
	Print   string `json:"print,omitempty"`
	Offset  int64  `json:"offset"`
	Line    int64  `json:"line"`
	Header  string `json:"header,omitempty"`

	File string   `json:"file,omitempty"` // mode once: what is being read
	Done [][]byte `json:"done,omitempty"` // mode once: what was read

	Files []stamp `json:"files,omitempty"` // a data set: what was read, and behind it what is being read
}

func readPosition(b []byte) (position, error) {
	p := position{Version: cursorVersion}
	if len(b) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fault.New(fault.Corrupt, "read cursor %q: %w", b, err)
	}
	if p.Version != cursorVersion {
		return p, fault.New(fault.Corrupt, "read cursor %q: its version is %d, want %d", b, p.Version,
			cursorVersion)
	}
	return p, nil
}

func (p position) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of text and numbers alone
	}
	return b
}

// Tail follows one file.
type Tail struct {
	Source
	watch *watch

	f      *os.File // nil while there is none
	sp     *splitter
	h      header
	at     position  // behind what was read of f
	given  []byte    // the cursor of the last page; another one means to go back
	grown  time.Time // when f was last seen to grow, or opened
	notes  map[string]int64
	behind bool   // a rotation left f under another name
	torn   []line // what files that were rotated away had without an end
}

var _ connector.Source = (*Tail)(nil)

// Fetch returns the lines that are there, and waits for the first.
func (t *Tail) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	if err := t.watch.ready(); err != nil {
		return connector.Page{}, err
	}
	if t.given == nil || !bytes.Equal(t.given, r.Cursor) {
		if err := t.locate(r.Cursor); err != nil {
			return connector.Page{}, err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return connector.Page{}, err
		}
		p, some, err := t.read(ctx)
		if err != nil {
			t.given = nil // what was taken out of the splitter is read again
			return connector.Page{}, err
		}
		if some {
			t.given = p.Cursor
			return p, nil
		}
		moved, err := t.follow()
		if err == nil && !moved {
			err = t.watch.wait(ctx, t.patience())
		}
		if err == nil {
			err = t.watch.ready()
		}
		if err != nil {
			return connector.Page{}, err
		}
	}
}

// patience is how long to wait without news: of a file that was rotated away, its settling.
func (t *Tail) patience() time.Duration {
	if t.behind {
		return max(time.Until(t.grown.Add(t.cfg.Settle)), time.Millisecond)
	}
	return 0
}

// read makes a page of the lines that have their ends.
func (t *Tail) read(ctx context.Context) (connector.Page, bool, error) {
	if t.f == nil {
		return connector.Page{}, false, nil
	}
	r := t.table.Begin(ctx)
	for _, ln := range t.torn {
		if err := t.add(r, &t.h, ln, "the file before "+t.cfg.Path); err != nil {
			return connector.Page{}, false, err
		}
	}
	taken := t.at
	taken.Offset = t.sp.taken()
	if same, err := t.same(t.f, taken); err != nil {
		return connector.Page{}, false, err
	} else if !same {
		if err := t.cutShort(r); err != nil {
			return connector.Page{}, false, err
		}
	}
	before := len(t.sp.buf)
	n, _, err := t.fill(r, &t.h, t.sp, t.cfg.Path)
	if err != nil {
		return connector.Page{}, false, err
	}
	if n > 0 || len(t.sp.buf) > before {
		t.grown = time.Now()
	}
	if n == 0 && r.Items == 0 {
		return connector.Page{}, false, nil
	}
	p, err := t.page(r)
	return p, true, err
}

func (t *Tail) page(r *columns.Reading) (connector.Page, error) {
	t.at.Offset, t.at.Line, t.at.Header = t.sp.at, t.sp.no, t.h.text
	if err := t.print(); err != nil {
		return connector.Page{}, err
	}
	notes := t.notes
	t.notes, t.torn = nil, nil
	return page(r, t.at.bytes(), notes)
}

// print takes the hash of the file's first bytes, up to the offset.
func (t *Tail) print() (err error) {
	if n := min(t.at.Offset, printBytes); n != t.at.Printed {
		t.at.Printed = n
		t.at.Print, err = printOf(t.f, n)
	}
	return err
}

func printOf(f *os.File, n int64) (string, error) {
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", fault.New(fault.Transient, "read %s: %w", f.Name(), err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), nil
}

// same reports whether a file still is what it was known as, up to the offset.
func (t *Tail) same(f *os.File, at position) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, fault.New(fault.Transient, "look at %s: %w", f.Name(), err)
	}
	if info.Size() < at.Offset {
		return false, nil
	}
	print, err := printOf(f, at.Printed)
	return at.Printed == 0 || print == at.Print, err
}

// cutShort begins the file anew, after it lost what was read of it. The rest of a line whose end never
// came is a reject.
func (t *Tail) cutShort(r *columns.Reading) error {
	if err := t.giveUp(r, "the file was cut short before the line ended"); err != nil {
		return err
	}
	t.note("truncated")
	if _, err := t.f.Seek(0, io.SeekStart); err != nil {
		return fault.New(fault.Transient, "read %s: %w", t.cfg.Path, err)
	}
	t.begin(t.f, position{Version: cursorVersion, Dev: t.at.Dev, Ino: t.at.Ino})
	return nil
}

// giveUp makes a reject of what has no end and will not get one.
func (t *Tail) giveUp(r *columns.Reading, why string) error {
	for {
		ln, ok := t.sp.rest()
		if !ok {
			return nil
		}
		ln.bad = why
		if err := t.add(r, &t.h, ln, t.cfg.Path); err != nil {
			return err
		}
	}
}

func (t *Tail) note(name string) {
	if t.notes == nil {
		t.notes = map[string]int64{}
	}
	t.notes[name]++
}

// begin goes on with f behind a position.
func (t *Tail) begin(f *os.File, at position) {
	if t.f != nil && t.f != f {
		_ = t.f.Close()
	}
	t.f, t.at, t.sp, t.grown, t.behind = f, at, t.split(f, at), time.Now(), false
	t.h = header{}
	if at.Header != "" {
		t.h = t.readHeader([]byte(at.Header))
	}
}

// locate finds the file of a cursor: at its path, or renamed beside it.
func (t *Tail) locate(cursor []byte) error {
	at, err := readPosition(cursor)
	if err != nil {
		return err
	}
	t.close()
	if at.Ino == 0 {
		return t.enter(t.cfg.Path)
	}
	entries, err := os.ReadDir(t.watch.dir)
	if err != nil {
		return unwatched(t.watch.dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(t.watch.dir, e.Name())
		info, err := e.Info()
		if dev, ino := identity(info, err); dev != at.Dev || ino != at.Ino {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return unreadable(path, err)
		}
		if same, err := t.same(f, at); err == nil && same {
			if _, err = f.Seek(at.Offset, io.SeekStart); err == nil {
				t.begin(f, at)
				return nil
			}
		}
		f.Close()
		if path == t.cfg.Path {
			t.note("truncated")
			return t.enter(path)
		}
	}
	t.note("rotated_away")
	return t.enter(t.cfg.Path)
}

// identity is the device and inode of a file; 0 if it can't be told.
func identity(info fs.FileInfo, err error) (dev, ino uint64) {
	if err != nil {
		return 0, 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return 0, 0
	}
	return uint64(st.Dev), st.Ino
}

// enter begins a file at its beginning; one that is missing will come.
func (t *Tail) enter(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unreadable(path, err)
	}
	info, err := f.Stat()
	dev, ino := identity(info, err)
	if ino == 0 {
		f.Close()
		return fault.New(fault.Permanent, "read %s: it is no file", path)
	}
	t.begin(f, position{Version: cursorVersion, Dev: dev, Ino: ino})
	return nil
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.WithHint(fault.New(fault.Permanent, "read %w", err),
			"the source needs to read the file; change its owner or mode")
	}
	return fault.New(fault.Transient, "read %s: %w", path, err)
}

// follow goes over to the next file when the one that was read has been renamed or removed and is at its
// end. moved says that there may be something to read.
func (t *Tail) follow() (moved bool, err error) {
	if t.f == nil {
		err := t.enter(t.cfg.Path)
		return t.f != nil, err
	}
	info, err := os.Stat(t.cfg.Path)
	dev, ino := identity(info, err)
	switch {
	case dev == t.at.Dev && ino == t.at.Ino:
		t.behind = false
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		if next, err := t.next(); err != nil || next == t.cfg.Path {
			return false, err // it is not there yet, and the last may still grow
		}
	case err != nil:
		return false, unreadable(t.cfg.Path, err)
	}
	if !t.behind {
		t.behind = true
		t.grown = time.Now()
	}
	if time.Since(t.grown) < t.cfg.Settle {
		return false, nil // its writer may not know of the rotation yet
	}
	return true, t.leave()
}

// leave goes over to the file that was begun after this one. What has no end here gets none any more.
func (t *Tail) leave() error {
	next, err := t.next()
	if err != nil {
		return err
	}
	for ln, ok := t.sp.rest(); ok; ln, ok = t.sp.rest() {
		ln.raw, ln.first = bytes.Clone(ln.raw), false
		ln.bad = "the file was rotated away before the line ended"
		t.torn = append(t.torn, ln)
	}
	t.at.Offset = t.sp.at
	return t.enter(next)
}

// next is the oldest file of the rotation that is younger than the one being read; its path, if there is
// none.
func (t *Tail) next() (string, error) {
	last, err := t.f.Stat()
	if err != nil {
		return "", fault.New(fault.Transient, "look at %s: %w", t.f.Name(), err)
	}
	rotated := regexp.MustCompile(`^` + regexp.QuoteMeta(filepath.Base(t.cfg.Path)) + `[.-][0-9-]+$`)
	entries, err := os.ReadDir(t.watch.dir)
	if err != nil {
		return "", unwatched(t.watch.dir, err)
	}
	var younger []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && rotated.MatchString(e.Name()) && info.ModTime().After(last.ModTime()) &&
			!os.SameFile(info, last) {
			younger = append(younger, info)
		}
	}
	if len(younger) == 0 {
		return t.cfg.Path, nil
	}
	first := slices.MinFunc(younger, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	return filepath.Join(t.watch.dir, first.Name()), nil
}

func (t *Tail) close() {
	if t.f != nil {
		_ = t.f.Close()
	}
	t.f, t.sp, t.given, t.notes, t.torn = nil, nil, nil, nil, nil
}

// Close closes the file.
func (t *Tail) Close() error {
	t.close()
	return t.watch.Close()
}
