package journald

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// span is what one file of a journal holds: entries of one numbering, from head to tail.
type span struct {
	chain       string // its name, and that of those that it was rotated to
	id          string // of the numbering
	head, tail  uint64
	from, until int64 // the times of head and tail, in microseconds since 1970
}

// files are the files of a journal as its directories have them. Where a file is removed that journalctl has not read to
// its end, it reads on in the next without a word.
type files struct {
	roots []string
	dirs  map[string]time.Time // when they changed; nil before the first look
	there map[string]span      // by the file's ID
	gone  []span               // removed; may hold what was not read
}

// lately is longer than a tick of the clock that directories get their times from.
const lately = 20 * time.Millisecond

// distrustRecent replaces the times of directories that changed shortly before they were read, which began at a time, by
// ones that they don't have: another change within the same tick would leave the time as it is, so these directories are
// looked at again.
func distrustRecent(dirs map[string]time.Time, began time.Time) {
	for dir, mod := range dirs {
		if began.Sub(mod).Abs() < lately {
			dirs[dir] = mod.Add(-1)
		}
	}
}

func (c Config) files() *files {
	if c.Directory != "" {
		return &files{roots: []string{c.Directory}}
	}
	id, _ := os.ReadFile("/etc/machine-id")
	name := strings.TrimSpace(string(id))
	if c.Namespace != "" {
		name += "." + c.Namespace
	}
	return &files{roots: []string{filepath.Join("/run/log/journal", name), filepath.Join("/var/log/journal", name)}}
}

// look notes which files are gone since the last look. It costs next to nothing while the directories do not change. What
// can't be read here, journalctl can't read either: it counts as not there.
func (f *files) look() {
	if f.dirs != nil && !f.changed() {
		return
	}
	f.dirs = map[string]time.Time{}
	began := time.Now()
	for _, root := range f.roots {
		f.dirs[root] = modified(root)
		for _, e := range list(root) {
			if dir := filepath.Join(root, e.Name()); e.IsDir() {
				f.dirs[dir] = modified(dir)
			}
		}
	}
	distrustRecent(f.dirs, began)
	was := f.there
	f.there = f.read()
	for id, s := range was {
		if _, is := f.there[id]; !is {
			f.gone = append(f.gone, f.reach(s))
		}
	}
}

func (f *files) changed() bool {
	for dir, mod := range f.dirs {
		if !modified(dir).Equal(mod) {
			return true
		}
	}
	return false
}

// modified is when a directory changed; the zero time if it is not there.
func modified(dir string) time.Time {
	if info, err := os.Stat(dir); err == nil {
		return info.ModTime()
	}
	return time.Time{}
}

func list(dir string) []os.DirEntry {
	all, _ := os.ReadDir(dir)
	return all
}

func (f *files) read() map[string]span {
	all := map[string]span{}
	for dir := range f.dirs {
		for _, e := range list(dir) {
			name, is := strings.CutSuffix(strings.TrimSuffix(e.Name(), "~"), ".journal")
			if !is {
				continue
			}
			if id, s, ok := header(filepath.Join(dir, e.Name())); ok && s.tail > 0 {
				name, _, _ = strings.Cut(name, "@")
				s.chain = filepath.Join(dir, name)
				all[id] = s
			}
		}
	}
	return all
}

// header reads the beginning of a journal file (systemd.io/JOURNAL_FILE_FORMAT). A file keeps its ID when it is renamed.
func header(path string) (id string, s span, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", s, false
	}
	defer f.Close()
	var b [200]byte
	if _, err := io.ReadFull(f, b[:]); err != nil || string(b[:8]) != "LPKSHHRH" {
		return "", s, false
	}
	number := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return string(b[24:40]), span{id: hex.EncodeToString(b[72:88]), tail: number(160), head: number(168), from: int64(number(184)),
		until: int64(number(192))}, true
}

// reach is a file that is gone, up to where the next begins that is there: it may have been written to since it was looked
// at, and others may have come and gone.
func (f *files) reach(s span) span {
	next := span{}
	for _, t := range f.there {
		if t.chain == s.chain && t.id == s.id && t.head > s.tail && (next.head == 0 || t.head < next.head) {
			next = t
		}
	}
	if next.head > 0 {
		s.tail, s.until = next.head-1, next.from
	}
	return s
}

// newer reports whether anything was written behind a place.
func (f *files) newer(p place) bool {
	f.look()
	for id, s := range f.read() {
		f.there[id] = s
	}
	for _, s := range f.there {
		if p.compare(s) < 0 {
			return true
		}
	}
	return false
}

// state is another one whenever something was written.
func (f *files) state() string {
	var all []string
	for id, s := range f.there {
		all = append(all, fmt.Sprintf("%x:%d", id, s.tail))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// rotated reports whether the entry of a place is not in a file that is written to.
func (f *files) rotated(p place) bool {
	id, n, _ := numberOf(p.Cursor)
	known := false
	for _, s := range f.there {
		if s.id == id && s.head > n {
			return true
		}
		known = known || s.id == id
	}
	return !known
}

// passed takes the files that are gone whose ends lie between two places, and returns the last of them.
func (f *files) passed(p, next place) (last span, is bool) {
	f.gone = slices.DeleteFunc(f.gone, func(s span) bool {
		before, behind := p.compare(s) < 0, next.compare(s)
		if before && behind > 0 && s.until >= last.until {
			last, is = s, true
		}
		return !before || behind >= 0
	})
	return last, is
}

// compare is below 0 for a place before the last entry of a file, and above for one behind it.
func (p place) compare(s span) int {
	if id, n, ok := numberOf(p.Cursor); ok && id == s.id {
		return cmp.Compare(n, s.tail)
	}
	return cmp.Compare(p.Micro, s.until)
}

// numberOf is the number of an entry and the ID of its numbering, as a cursor has them.
func numberOf(cursor string) (id string, n uint64, ok bool) {
	var err error
	for part := range strings.SplitSeq(cursor, ";") {
		if v, is := strings.CutPrefix(part, "s="); is {
			id = v
		} else if v, is := strings.CutPrefix(part, "i="); is {
			n, err = strconv.ParseUint(v, 16, 64)
		}
	}
	return id, n, err == nil && id != "" && n > 0
}
