package checkpoint

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/zeebo/xxh3"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// chunk is how much is read or written between two looks at the context.
const chunk = 1 << 20

// tmpSuffix marks a file that is to replace the one without it.
const tmpSuffix = ".tmp"

func notExist(err error) bool { return errors.Is(err, iofs.ErrNotExist) }

// told makes an error that a full disk caused a Full fault, with the way on.
func told(err error) error {
	if !disk.NoRoom(err) {
		return err
	}
	return fault.WithHint(fault.As(fault.Full, err), "nothing was changed; make room and try again")
}

// roomFor returns a Full fault if there are fewer than the bytes free where path is. A file system
// that can't be asked has room until it says otherwise.
func roomFor(fs store.FS, path string, bytes int64) error {
	usage, err := fs.GetDiskUsage(path)
	if err != nil || usage.AvailBytes >= uint64(bytes) {
		return nil
	}
	return fault.WithHint(fault.New(fault.Full, "it needs %d bytes, there are %d", bytes,
		usage.AvailBytes), "nothing was changed; make room and try again")
}

// hasher is the one checksum of the package: XXH3 of 128 bits, which keeps up with any disk. It is
// for accidents; who wants to keep others from forging an export signs it.
type hasher struct{ h *xxh3.Hasher }

func newHasher() hasher { return hasher{xxh3.New()} }

func (h hasher) Write(p []byte) (int, error) { return h.h.Write(p) }

func (h hasher) String() string {
	s := h.h.Sum128().Bytes()
	return "xxh3:" + hex.EncodeToString(s[:])
}

func sumOf(b []byte) string {
	h := newHasher()
	h.Write(b)
	return h.String()
}

// acquire takes the lock file at path, or returns a Busy fault.
func acquire(fs store.FS, path string) (io.Closer, error) {
	if fs == store.Disk {
		l, err := disk.Acquire(path)
		if err != nil {
			return nil, err
		}
		return closer(l.Release), nil
	}
	l, err := fs.Lock(path)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fault.As(fault.Busy, fmt.Errorf("lock %s: %w", path, err))
	}
	return l, err
}

type closer func() error

func (c closer) Close() error { return c() }

// syncDir makes what was created, renamed or removed in dir survive a power cut.
func syncDir(fs store.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory to sync: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// makeDir creates dir and what is missing above it, and makes the new entries durable.
func makeDir(fs store.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := fs.PathDir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	if parent == dir {
		return nil
	}
	return syncDir(fs, parent)
}

// writeFile writes a new file and syncs it. Its entry is not durable before the directory is
// synced.
func writeFile(fs store.FS, path string, data []byte) error {
	f, err := fs.Create(path, "unspecified")
	if err != nil {
		return fmt.Errorf("create %s: %w", fs.PathBase(path), err)
	}
	_, err = f.Write(append([]byte(nil), data...))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", fs.PathBase(path), err)
	}
	return nil
}

// named is a small file that is to be written.
type named struct {
	name string
	data []byte
}

// writeAll writes new files into dir and syncs them and dir, all at once: to the file system that
// is one step instead of many.
func writeAll(fs store.FS, dir string, files []named) error {
	errs := make([]error, len(files)+1)
	var wg sync.WaitGroup
	for i, f := range files {
		out, err := fs.Create(fs.PathJoin(dir, f.name), "unspecified")
		if err != nil {
			errs[i] = fmt.Errorf("create %s: %w", f.name, err)
			break
		}
		_, failed := out.Write(append([]byte(nil), f.data...))
		wg.Go(func() {
			if failed == nil {
				failed = out.Sync()
			}
			errs[i] = errors.Join(failed, out.Close())
		})
	}
	wg.Go(func() { errs[len(files)] = syncDir(fs, dir) })
	wg.Wait()
	return errors.Join(errs...)
}

// replaceFile puts a whole new file in the place of an old one or none, durably.
func replaceFile(fs store.FS, path string, data []byte) error {
	tmp := path + tmpSuffix
	if err := writeFile(fs, tmp, data); err != nil {
		return undo(fs, tmp, err)
	}
	if err := fs.Rename(tmp, path); err != nil {
		return undo(fs, tmp, fmt.Errorf("replace %s: %w", fs.PathBase(path), err))
	}
	return syncDir(fs, fs.PathDir(path))
}

func readFile(fs store.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", fs.PathBase(path), err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", fs.PathBase(path), err)
	}
	return b, nil
}

// publish gives what is whole and synced at tmp its final name, which nothing has. When that can't
// be made durable the name is taken back: what failed must not be found.
func publish(fs store.FS, tmp, path string) error {
	if err := fs.Rename(tmp, path); err != nil {
		return fmt.Errorf("rename to %s: %w", fs.PathBase(path), err)
	}
	if err := syncDir(fs, fs.PathDir(path)); err != nil {
		return errors.Join(err, fs.Rename(path, tmp))
	}
	return nil
}

// removeAll removes path and all below it; that it is not there is fine.
func removeAll(fs store.FS, path string) error {
	if err := fs.RemoveAll(path); err != nil && !notExist(err) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// undo removes what a failed step left and returns its error.
func undo(fs store.FS, path string, err error) error {
	return errors.Join(err, removeAll(fs, path))
}

// sumFile reads a file whole and returns its checksum and size.
func sumFile(ctx context.Context, fs store.FS, path string, t *tracker) (string, int64, error) {
	h := newHasher()
	n, err := stream(ctx, fs, path, h, t)
	return h.String(), n, err
}

// stream reads a file into w, and looks at the context on the way.
func stream(ctx context.Context, fs store.FS, path string, w io.Writer, t *tracker) (n int64,
	err error) {
	f, err := fs.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", fs.PathBase(path), err)
	}
	defer f.Close()
	buf := make([]byte, chunk)
	for {
		k, err := f.Read(buf)
		if _, err := w.Write(buf[:k]); err != nil {
			return n, err
		}
		n += int64(k)
		if err := t.add(ctx, int64(k)); err != nil {
			return n, err
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("read %s: %w", fs.PathBase(path), err)
		}
	}
}

// copyFile copies a file into a new one and syncs it. What is copied must have the checksum and
// size of f: a file that was sound a moment ago may be damaged now.
func copyFile(ctx context.Context, fs store.FS, from, to string, f File) error {
	out, err := fs.Create(to, "unspecified")
	if err != nil {
		return fmt.Errorf("create %s: %w", f.Path, err)
	}
	h := newHasher()
	n, err := stream(ctx, fs, from, io.MultiWriter(h, out), nil)
	if err == nil && (n != f.Size || f.Sum != "" && h.String() != f.Sum) {
		err = fault.New(fault.Corrupt, "copy %s: it changed while it was read", f.Path)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", f.Path, err)
	}
	return nil
}

// tree lists the files below dir by their paths with slashes, sorted as the file system lists them.
func tree(fs store.FS, dir, below string) ([]string, error) {
	names, err := fs.List(fs.PathJoin(dir, below))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var all []string
	for _, name := range names {
		path := strings.TrimPrefix(below+"/"+name, "/")
		info, err := fs.Stat(fs.PathJoin(dir, path))
		if err == nil && info.IsDir() {
			more, err := tree(fs, dir, path)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
			continue
		}
		// What can't be asked (a dangling link) is a file all the same: an extra one.
		all = append(all, path)
	}
	return all, nil
}
