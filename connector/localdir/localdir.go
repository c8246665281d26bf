// Package localdir is the destination that is a directory of this machine, or one that is mounted on it.
package localdir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/visible"
	"holdfast/connector"
)

// Config is a directory of this machine, most often of another disk or a network's file system.
type Config struct {
	// Path of the directory. It has to be there: one that is not is a disk that is not mounted.
	Path string `yaml:"path" jsonschema:"required"`
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() (errs []error) {
	if !path.IsAbs(c.Path) {
		errs = append(errs, fmt.Errorf("path: want an absolute path, got %q", c.Path))
	}
	return errs
}

// Directory is the destination.
type Directory struct {
	cfg    Config
	fsync  func(*os.File) error // makes a file or a directory durable
	left   connector.Left
	device atomic.Uint64 // that it was on when it was opened first; 0 before
}

var _ connector.Destination = (*Directory)(nil)

// New returns the destination. It looks at nothing yet.
func New(cfg Config) (*Directory, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open directory: %w", errors.Join(errs...))
	}
	return &Directory{cfg: cfg, fsync: (*os.File).Sync}, nil
}

// Traits: a copy that was cut off goes on where it was.
func (d *Directory) Traits() connector.DestinationTraits {
	return connector.DestinationTraits{Root: d.cfg.Path, Path: path.Clean(d.cfg.Path), Resumes: true, Streams: 2,
		Mounted: mounted(d.cfg.Path)}
}

// mounted reports whether a directory is there and is on another file system than the root of this machine.
func mounted(dir string) bool {
	var here, root unix.Stat_t
	return unix.Stat(dir, &here) == nil && unix.Stat("/", &root) == nil && here.Dev != root.Dev
}

// sameDisk is nil if the root is on the device that it was on. While its disk is not mounted, the mount point may take
// files, which are hidden once the disk is back.
func (d *Directory) sameDisk(root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || d.device.CompareAndSwap(0, st.Dev) || d.device.Load() == st.Dev {
		return nil
	}
	return fault.WithHint(fault.New(fault.Transient, "%s is on another disk than it was", d.cfg.Path),
		"mount its disk again; if it is meant to be on this one, start Holdfast again")
}

// open opens the root, which no name leads out of.
func (d *Directory) open() (*os.Root, error) {
	root, err := os.OpenRoot(d.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.WithHint(fault.New(fault.Transient, "open directory %s: %w", d.cfg.Path, err),
			"mount its disk, or create the directory")
	}
	return root, classify("open directory "+d.cfg.Path, err)
}

// within runs f in the root; what says of an error what was tried.
func (d *Directory) within(what string, f func(root *os.Root) error) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := d.sameDisk(root); err != nil {
		return classify(what, err)
	}
	return classify(what, f(root))
}

// Place copies the content below another name, reads it back from the disk, and links it to its own.
func (d *Directory) Place(ctx context.Context, name string, c connector.Content, progress func(int64)) (p connector.Placed,
	err error) {
	if err := connector.CheckName(name); err != nil {
		return p, err
	}
	err = d.within("place "+name, func(root *os.Root) error {
		p, err = (&placing{ctx: ctx, root: root, name: name, part: connector.PartName(name), content: c, progress: progress,
			fsync: d.fsync}).place()
		p.Path = path.Join(d.cfg.Path, name)
		return err
	})
	if err != nil {
		d.left.Maybe(name)
		return connector.Placed{}, err
	}
	return p, nil
}

// Copy is Place from a file that is here.
func (d *Directory) Copy(ctx context.Context, from, name string, c connector.Content) (p connector.Placed, err error) {
	if err := errors.Join(connector.CheckName(from), connector.CheckName(name)); err != nil {
		return p, err
	}
	err = d.within("copy "+from+" to "+name, func(root *os.Root) error {
		f, err := openFile(root, from)
		if errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.NotFound, "there is no %s", line(from))
		}
		if err != nil {
			return err
		}
		defer f.Close()
		if sum, size, err := sumOf(ctx, f); err != nil {
			return err
		} else if sum != c.SHA256 || size != c.Size {
			return fault.New(fault.NotFound, "%s holds something else", line(from))
		}
		p, err = d.Place(ctx, name, connector.Content{ReaderAt: f, Size: c.Size, ModTime: c.ModTime, SHA256: c.SHA256}, nil)
		p.Sent = 0
		return err
	})
	return p, err
}

// Sums reads the files.
func (d *Directory) Sums(ctx context.Context, names []string) (sums map[string][sha256.Size]byte, how connector.Verified,
	err error) {
	sums = make(map[string][sha256.Size]byte, len(names))
	err = d.within("hash files", func(root *os.Root) error {
		for _, name := range names {
			if err := connector.CheckName(name); err != nil {
				return err
			}
			f, err := openFile(root, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			sum, _, err := sumOf(ctx, f)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			sums[name] = sum
		}
		return nil
	})
	return sums, connector.ByReadBack, err
}

// Read reads a file.
func (d *Directory) Read(ctx context.Context, name string, to io.Writer) error {
	if err := connector.CheckName(name); err != nil {
		return err
	}
	return d.within("read "+name, func(root *os.Root) error {
		f, err := openFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.NotFound, "there is no %s", line(name))
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(to, &reader{ctx, f})
		return errors.Join(err, f.Close())
	})
}

// List walks the directory.
func (d *Directory) List(ctx context.Context, dir string, each func(connector.Found) error) error {
	return d.walk(ctx, dir, true, func(_ *os.Root, name string, info fs.FileInfo) error {
		if connector.UnderWay(name) {
			return nil
		}
		return each(connector.Found{Name: name, Size: info.Size(), ModTime: info.ModTime()})
	})
}

// Sweep removes files under way that were not touched for so long and are not locked by a writer.
func (d *Directory) Sweep(ctx context.Context, older time.Duration) (removed []string, err error) {
	each := func(root *os.Root, name string, info fs.FileInfo) error {
		if !connector.UnderWay(name) {
			return nil
		}
		if time.Since(touched(info)) < older {
			d.left.Maybe(name)
			return nil
		}
		gone, err := removeLeft(root, name)
		if gone {
			removed = append(removed, name)
		} else {
			d.left.Maybe(name)
		}
		return err
	}
	err = d.left.Sweep(func(dir string, deep bool) error { return d.walk(ctx, dir, deep, each) })
	return removed, err
}

// walk gives all regular files in a directory, and if it is deep below it.
func (d *Directory) walk(ctx context.Context, dir string, deep bool,
	each func(root *os.Root, name string, info fs.FileInfo) error) error {
	if dir != "" && dir != "." {
		if err := connector.CheckName(dir); err != nil {
			return err
		}
	}
	return d.within("list "+path.Join(d.cfg.Path, dir), func(root *os.Root) error {
		return fs.WalkDir(root.FS(), path.Join(".", dir), func(name string, e fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, fs.ErrNotExist): // it went while it was listed
				return nil
			case err != nil:
				return err
			case e.IsDir() && !deep && name != path.Join(".", dir):
				return fs.SkipDir
			case !e.Type().IsRegular():
				return nil
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			return each(root, name, info)
		})
	})
}

// probe is the name under which a canary writes.
const probe = ".holdfast-probe" + connector.PartSuffix

// Probe makes a file and removes it.
func (d *Directory) Probe(context.Context) error {
	return d.within("probe directory "+d.cfg.Path, func(root *os.Root) error {
		f, err := root.OpenFile(probe, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, 4096)) // a disk without room takes an empty file
		gone := root.Remove(probe)
		if errors.Is(gone, fs.ErrNotExist) { // another Holdfast has the same place
			gone = nil
		}
		return errors.Join(err, f.Close(), gone)
	})
}

// Close releases nothing.
func (d *Directory) Close() error { return nil }

// openFile opens a regular file, and no other: opening a pipe without a writer would block.
func openFile(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.Conflict, "%s is no file, but %s", line(name), kindOf(info.Mode()))
	}
	return root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// sumOf hashes what the disk holds of a file, not what is left of it in memory.
func sumOf(ctx context.Context, f *os.File) (sum [sha256.Size]byte, size int64, err error) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return sum, 0, err
	}
	h := sha256.New()
	size, err = io.Copy(h, &reader{ctx, f})
	return [sha256.Size]byte(h.Sum(nil)), size, err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// line is a name as it stands in a message: one may have line ends in it.
func line(name string) string { return visible.Text(strings.ToValidUTF8(name, "?"), "") }

// classify gives err its kind.
func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	what = line(what)
	if _, ok := errors.AsType[*fault.Error](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	kind, hint := fault.Transient, ""
	switch {
	case disk.NoRoom(err):
		kind = fault.Full
	case errors.Is(err, unix.ENAMETOOLONG):
		kind = fault.Invalid
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR):
		kind = fault.Conflict
	case errors.Is(err, unix.EROFS):
		kind, hint = fault.Permanent, "the file system is mounted read-only"
	case errors.Is(err, fs.ErrPermission):
		kind, hint = fault.Permanent, "files have to be made in the directory; change its owner or mode"
	}
	out := error(fault.New(kind, "%s: %w", what, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}
