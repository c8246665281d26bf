package index

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/job/crawl/outfile"
)

// Temporary files: what is left of them after a crash means nothing.
const (
	newFile    = File + ".new" // index.cdxj before it has its name
	sortedFile = "sorted"      // lines, for as long as it takes to open it
)

// files are the files of a directory.
type files struct {
	path string
	disk outfile.Disk
}

func (d files) join(name string) string { return filepath.Join(d.path, name) }

// size of a file, -1 if there is none.
func (d files) size(name string) int64 {
	info, err := os.Lstat(d.join(name))
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	return info.Size()
}

// cut cuts a file back.
func (d files) cut(name string, size int64) error {
	if d.size(name) == size {
		return nil
	}
	f, err := d.disk.Open(d.join(name))
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// remove removes a file, which may be gone already. That it is gone need not be durable: it is removed again.
func (d files) remove(name string) error {
	if err := d.disk.Remove(d.join(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// written is the size of a file, and how many lines it has.
type written struct{ size, lines int64 }

// write makes a file with what fill writes, whose bytes are durable when it returns, because a transaction that refers to it
// must not be durable before they are. The name is not made durable. After an error there is no file.
func (d files) write(ctx context.Context, name string, fill func(w io.Writer) error) (done written, err error) {
	path := d.join(name)
	defer func() {
		if disk.NoRoom(err) {
			err = fault.As(fault.Full, err)
		}
	}()
	f, err := d.create(name)
	if err != nil {
		return done, fmt.Errorf("make a part of the index: %w", err)
	}
	w := bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		done.size += int64(len(b))
		done.lines += int64(bytes.Count(b, []byte("\n")))
		return f.Write(b)
	}), 256<<10)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return written{}, errors.Join(fmt.Errorf("write %s: %w", path, err), d.remove(name))
	}
	return done, nil
}

// create makes a file anew.
func (d files) create(name string) (outfile.Handle, error) {
	if d.size(name) >= 0 {
		if err := d.remove(name); err != nil {
			return nil, err
		}
	}
	return d.disk.Create(d.join(name))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// sync makes names durable.
func (d files) sync() error { return d.disk.SyncDir(d.path) }

// replace makes index.cdxj anew with what fill writes: after a crash it is the old file or the new one.
func (d files) replace(ctx context.Context, fill func(w io.Writer) error) (written, error) {
	done, err := d.write(ctx, newFile, fill)
	if err != nil {
		return done, err
	}
	to := filepath.Join(filepath.Dir(d.path), File)
	if err := d.disk.Rename(d.join(newFile), to); err != nil {
		return done, fmt.Errorf("replace the index: %w", err)
	}
	return done, d.disk.SyncDir(filepath.Dir(to))
}
