package logfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
)

// entry is a file of a rotation as its directory has it.
type entry struct {
	identity
	path string
	mod  time.Time
}

// rotation finds the files of a log.
type rotation struct {
	path    string
	pattern string // of the others; "" for the default
	order   *order // nil if nothing is remembered
}

// list returns the files of the log, the oldest first and the one at its path last. The directory is read until two readings
// are the same, because files are renamed while it is read.
func (r rotation) list() ([]entry, error) {
	last, err := r.read()
	for range 20 {
		if err != nil {
			return nil, err
		}
		var again []entry
		again, err = r.read()
		if slices.EqualFunc(last, again, func(a, b entry) bool { return a.identity == b.identity && a.path == b.path }) {
			break
		}
		last = again
	}
	return last, err
}

func (r rotation) read() ([]entry, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, name := range append(names, r.path) {
		info, err := stat(unix.AT_FDCWD, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, unreadable(name, err)
		case info.regular || name == r.path:
			all = append(all, entry{info.identity, name, info.mod})
		}
	}
	return r.sort(all), nil
}

// names returns the names of rotated files. While one is being packed it is there twice, and the one that is not packed is
// whole.
func (r rotation) names() ([]string, error) {
	dir := r.dir()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unreadable(dir, err)
	}
	there := map[string]bool{}
	for _, e := range entries {
		if name := filepath.Join(dir, e.Name()); r.gives(e.Name()) && name != r.path {
			there[name] = true
		}
	}
	var all []string
	for name := range there {
		plain, packed := strings.CutSuffix(name, ".gz")
		if other := slices.ContainsFunc([]string{".xz", ".bz2", ".zst", ".swp", ".tmp"}, func(s string) bool { return strings.HasSuffix(name, s) }); !other &&
			!(packed && there[plain]) {
			all = append(all, name)
		}
	}
	return all, nil
}

// dir is where rotated files are.
func (r rotation) dir() string {
	if dir, _ := filepath.Split(r.pattern); dir != "" {
		return filepath.Clean(dir)
	}
	return filepath.Dir(r.path)
}

// gives reports whether a name is one that rotation gives.
func (r rotation) gives(name string) bool {
	if r.pattern != "" {
		is, _ := filepath.Match(filepath.Base(r.pattern), name)
		return is
	}
	rest, ours := strings.CutPrefix(name, filepath.Base(r.path))
	return ours && rest != "" && (rest[0] == '.' || rest[0] == '-')
}

// errMoved: a file is not any more where it was listed.
var errMoved = errors.New("it was renamed just now")

// steady repeats something that works on a list of files as long as they are being renamed.
func steady[T any](do func() (T, error)) (v T, err error) {
	for range 100 {
		if v, err = do(); !errors.Is(err, errMoved) {
			return v, err
		}
	}
	return v, fault.New(fault.Transient, "watch a log: its files are renamed faster than they can be looked at")
}

// find opens the file of a place. It returns nil if there is none, or if the file with its inode is not the one that was read.
func (r rotation) find(p *place) (*source, error) {
	return steady(func() (*source, error) { return r.findOnce(p) })
}

func (r rotation) findOnce(p *place) (*source, error) {
	all, err := r.list()
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.identity == p.identity {
			if s, err := r.openIf(e, p.known); s != nil || err != nil {
				return s, err
			}
		}
	}
	return r.copied(all, p)
}

// same opens a file that was read, if it is still there, or was packed.
func (r rotation) same(k known) (*source, error) {
	return steady(func() (*source, error) {
		all, err := r.list()
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if e.identity != k.identity && !strings.HasSuffix(e.path, ".gz") {
				continue
			}
			if s, err := r.openIf(e, k); s != nil || err != nil {
				return s, err
			}
		}
		return nil, nil
	})
}

// copied opens a copy of what was read up to a place: the oldest one that is not older than the place, because later files may
// begin alike. A copy that ends before the place has nothing new, and counts as left.
func (r rotation) copied(all []entry, p *place) (*source, error) {
	if p.Offset == 0 {
		return nil, nil
	}
	for _, e := range all {
		if e.path == r.path || e.identity == p.identity {
			continue
		}
		if unread, err := r.unread(p, e); err != nil {
			return nil, err
		} else if !unread {
			continue
		}
		s, err := r.openIf(e, p.known)
		if s != nil {
			s.final = true
		}
		if s != nil || err != nil {
			return s, err
		}
		if err := r.shorter(e, p); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// shorter notes a copy that ends before a place, which is recognised by its beginning alone.
func (r rotation) shorter(e entry, p *place) error {
	s, err := r.open(e)
	if s == nil || err != nil {
		return err
	}
	defer s.f.Close()
	if s.packed || s.size == 0 || s.size >= p.Offset {
		return nil
	}
	head, err := s.at(0, int(min(s.size, headBytes)))
	if err == nil && bytes.HasPrefix(p.Begin, head) {
		p.Left = append(p.Left, left{known: known{s.identity, print{Offset: s.size, Head: hash(head)}}})
	}
	return err
}

// open opens a file that was listed. It returns nil if the file is packed and damaged; what is missing then is a gap.
func (r rotation) open(e entry) (*source, error) {
	s, err := open(e.path)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, errMoved
	case fault.Is(err, fault.Corrupt):
		return nil, nil
	case err == nil && s.identity != e.identity:
		s.f.Close()
		return nil, errMoved
	}
	return s, err
}

// openIf opens a file if it is the one that was read, and goes to where reading had come.
func (r rotation) openIf(e entry, k known) (*source, error) {
	s, err := r.open(e)
	if s == nil || err != nil {
		return nil, err
	}
	is, err := k.matches(s)
	if is && err == nil {
		err = s.skip(k.Offset)
	}
	if err == nil && is {
		return s, nil
	}
	s.f.Close()
	if fault.Is(err, fault.Corrupt) {
		err = nil
	}
	return nil, err
}

// left reports whether a file was read to its end already, also if it was packed since.
func (r rotation) left(p *place, e entry) (bool, error) {
	for _, k := range p.Left {
		if k.identity != e.identity && (!strings.HasSuffix(e.path, ".gz") || k.Offset == 0) {
			continue
		}
		s, err := r.openIf(e, k.known)
		if err != nil {
			return false, err
		}
		if s != nil {
			s.f.Close()
			// A file that was empty is recognised by nothing: what is in its place now is another file.
			if k.Offset > 0 || s.empty() {
				return true, nil
			}
		}
	}
	return false, nil
}

// unread reports whether a rotated file was not read yet, and is not older than the place.
func (r rotation) unread(p *place, e entry) (bool, error) {
	if !p.mayFollow(e.mod) {
		return false, nil
	}
	left, err := r.left(p, e)
	return !left, err
}

// moved opens a copy of a file that is in no directory any more: it was packed, or copied.
func (r rotation) moved(p *place) (*source, error) {
	return steady(func() (*source, error) {
		all, err := r.list()
		if err != nil || indexOf(all, p) >= 0 {
			return nil, err
		}
		return r.copied(all, p)
	})
}

// copyOf opens a copy of what was read to a place, if there is one.
func (r rotation) copyOf(p *place) (*source, error) {
	return steady(func() (*source, error) {
		all, err := r.list()
		if err != nil {
			return nil, err
		}
		return r.copied(all, p)
	})
}

func indexOf(all []entry, p *place) int {
	return slices.IndexFunc(all, func(e entry) bool { return p.Ino != 0 && e.identity == p.identity })
}
