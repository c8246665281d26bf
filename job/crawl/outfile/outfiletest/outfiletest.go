// Package outfiletest gives tests a disk for files beside a store, whose power can be cut.
package outfiletest

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"holdfast/job/crawl/outfile"
)

// ErrCut is what each change fails with once the power is cut.
var ErrCut = errors.New("the power is cut")

// Change is a step that is about to be done.
type Change struct {
	Kind string // create, open, write, truncate, sync, rename, remove, mkdir or sync directory
	Path string // of a rename the new one
}

// Disk makes changes on the real disk, and remembers which of them are durable: the bytes of a file by a sync of it, its name by
// one of its directory. What was there before is.
type Disk struct {
	// Before is called ahead of each change, from whatever goroutine makes it. An error of it is the change's, which is then not
	// made.
	Before func(Change) error

	mu    sync.Mutex // guards what follows
	dead  bool
	files map[string]*file // by the name it has now; nil if there is none
	names []naming         // not durable, in their order
}

var _ outfile.Disk = (*Disk)(nil)

// file is a file that was written to.
type file struct {
	durable []byte // bytes that have been cut off since the last sync, behind low
	low     int64  // how many of the bytes that stand there now are durable
	gone    []byte // what it had, once it has no name
}

// naming is a change of names.
type naming struct {
	from, to string // of one that came to be, from is ""; of one that went, to is
	file     *file
	over     *file // what had the name to before
}

// change makes a change, unless the power is cut.
func (d *Disk) change(kind, path string, do func() error) error {
	if d.Before != nil {
		if err := d.Before(Change{kind, path}); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return ErrCut
	}
	return do()
}

// Cut cuts the power: from now on nothing changes. also, if it is not nil, cuts that of others at the same moment. It reports
// false if the power is cut already.
func (d *Disk) Cut(also func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return false
	}
	d.dead = true
	if also != nil {
		also()
	}
	return true
}

// Create is outfile.Disk's.
func (d *Disk) Create(path string) (h outfile.Handle, err error) {
	err = d.change("create", path, func() error {
		under, err := outfile.OS.Create(path)
		if err != nil {
			return err
		}
		f := &file{}
		d.name(naming{to: path, file: f})
		h = &handle{under, d, f}
		return nil
	})
	return h, err
}

// Open is outfile.Disk's.
func (d *Disk) Open(path string) (h outfile.Handle, err error) {
	err = d.change("open", path, func() error {
		under, err := outfile.OS.Open(path)
		if err != nil {
			return err
		}
		f, err := d.known(path)
		h = &handle{under, d, f}
		return err
	})
	return h, err
}

// known is the file of a name.
func (d *Disk) known(path string) (*file, error) {
	if f := d.files[path]; f != nil {
		return f, nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	f := &file{low: info.Size()}
	d.put(path, f)
	return f, nil
}

func (d *Disk) put(path string, f *file) {
	if d.files == nil {
		d.files = map[string]*file{}
	}
	d.files[path] = f
}

// name notes a change of names that has been made.
func (d *Disk) name(n naming) {
	if n.from != "" {
		d.put(n.from, nil)
	}
	if n.to != "" {
		d.put(n.to, n.file)
	}
	d.names = append(d.names, n)
}

// Rename is outfile.Disk's.
func (d *Disk) Rename(from, to string) error {
	return d.change("rename", to, func() error {
		f, err := d.known(from)
		if err != nil {
			return err
		}
		over, err := d.lets(to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
		d.name(naming{from, to, f, over})
		return nil
	})
}

// Remove is outfile.Disk's.
func (d *Disk) Remove(path string) error {
	return d.change("remove", path, func() error {
		if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
			return os.Remove(path)
		}
		f, err := d.lets(path)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		d.name(naming{from: path, file: f})
		return nil
	})
}

// lets keeps what a file has that is about to lose its name.
func (d *Disk) lets(path string) (*file, error) {
	f, err := d.known(path)
	if err == nil {
		f.gone, err = os.ReadFile(path)
	}
	return f, err
}

// MkdirAll is outfile.Disk's.
func (d *Disk) MkdirAll(dir string) error {
	return d.change("mkdir", dir, func() error { return outfile.OS.MkdirAll(dir) })
}

// SyncDir is outfile.Disk's.
func (d *Disk) SyncDir(dir string) error {
	return d.change("sync directory", dir, func() error {
		d.names = slices.DeleteFunc(d.names, func(n naming) bool {
			return n.to != "" && filepath.Dir(n.to) == dir || n.to == "" && filepath.Dir(n.from) == dir
		})
		return nil
	})
}

// handle is an open file.
type handle struct {
	outfile.Handle
	d *Disk
	f *file
}

func (h *handle) Write(b []byte) (n int, err error) {
	err = h.d.change("write", h.Name(), func() error { n, err = h.Handle.Write(b); return err })
	return n, err
}

// Sync has no need of the real disk's.
func (h *handle) Sync() error {
	return h.d.change("sync", h.Name(), func() error {
		info, err := h.Stat()
		if err == nil {
			h.f.low, h.f.durable = info.Size(), nil
		}
		return err
	})
}

func (h *handle) Truncate(size int64) error {
	return h.d.change("truncate", h.Name(), func() error {
		if size < h.f.low {
			was, err := os.ReadFile(h.Name())
			if err != nil {
				return err
			}
			h.f.durable = append(was[size:h.f.low:h.f.low], h.f.durable...)
			h.f.low = size
		}
		return h.Handle.Truncate(size)
	})
}

// Percent is how much of what was not synced may be there after a power cut: nothing, all, or a part.
func Percent(rnd *rand.Rand) int { return []int{0, 50, 100}[rnd.IntN(3)] }

// Lose leaves what a power cut may have left: all that was durable, and of the rest each piece with a probability in percent.
// Nobody may have a file open any more. Then there is power again.
func (d *Disk) Lose(rnd *rand.Rand, percent int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	has := map[*file][]byte{}
	for _, path := range slices.Sorted(maps.Keys(d.files)) {
		if f := d.files[path]; f != nil {
			now, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			has[f] = f.left(now, rnd, percent)
		}
	}
	for _, n := range slices.Backward(d.names) {
		for _, f := range []*file{n.over, n.file} {
			if f != nil && f.gone != nil && has[f] == nil {
				has[f] = f.left(f.gone, rnd, percent)
			}
		}
		if rnd.IntN(100) >= percent {
			d.undo(n)
		}
	}
	for path, f := range d.files {
		err := os.Remove(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if f != nil {
			if err := os.WriteFile(path, has[f], 0o644); err != nil {
				return err
			}
		}
	}
	d.files, d.names, d.dead = nil, nil, false
	return nil
}

// undo has a change of names not have been, if what came behind it was not either.
func (d *Disk) undo(n naming) {
	if n.to != "" && d.files[n.to] != n.file || n.from != "" && d.files[n.from] != nil {
		return
	}
	if n.to != "" {
		d.files[n.to] = n.over
	}
	if n.from != "" {
		d.files[n.from] = n.file
	}
}

// left is what a power cut leaves of a file that has some bytes now: with 0 percent what was durable, with 100 all.
func (f *file) left(now []byte, rnd *rand.Rand, percent int) []byte {
	switch {
	case percent == 100:
		return now
	case percent == 0, rnd.IntN(3) == 0:
		return append(now[:f.low:f.low], f.durable...)
	}
	size := f.low + rnd.Int64N(int64(len(now))-f.low+1)
	if rnd.IntN(2) == 0 {
		return now[:size]
	}
	return append(now[:size:size], bytes.Repeat([]byte{0}, len(now)-int(size))...) // its length was written, its bytes not
}
