package sftp

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
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"

	"holdfast/base/fault"
	"holdfast/connector"
)

// withLane runs f with a lane, detached from the caller.
func withLane[T any](ctx context.Context, d *Destination, what string,
	f func(ctx context.Context, c *connection, l *lane) (T, error)) (T, error) {
	v, err := detached(ctx, d, func(ctx context.Context) (v T, err error) {
		c, err := d.connect(ctx)
		if err != nil {
			return v, err
		}
		l, err := c.lane(lightly)
		if err != nil {
			return v, err
		}
		defer c.leave(l, lightly)
		v, err = f(ctx, c, l)
		return v, c.classify(what, err)
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", d.cfg.Host, err)
	}
	return v, err
}

// atOnce is how many files are asked about at a time.
const atOnce = 64

// Sums has the server hash the files, or reads them.
func (d *Destination) Sums(ctx context.Context, names []string) (map[string][sha256.Size]byte, connector.Verified,
	error) {
	for _, name := range names {
		if err := connector.CheckName(name); err != nil {
			return nil, "", err
		}
	}
	type answer struct {
		sums map[string][sha256.Size]byte
		how  connector.Verified
	}
	got, err := withLane(ctx, d, "hash files", func(ctx context.Context, c *connection, l *lane) (answer, error) {
		a := answer{make(map[string][sha256.Size]byte, len(names)), c.strongest()}
		if a.how == connector.BySize { // a size is no sum; this is asked for seldom, and by a person
			a.how = connector.ByReadBack
		}
		var mu sync.Mutex // guards a.sums
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, name := range names {
			group.Go(func() error {
				sum, err := c.sum(ctx, l, name, a.how)
				if isNotExist(err) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				a.sums[name] = sum
				return err
			})
		}
		return a, group.Wait()
	})
	return got.sums, got.how, err
}

// sum hashes one file, whose size is not known.
func (c *connection) sum(ctx context.Context, l *lane, name string, how connector.Verified) (sum [sha256.Size]byte,
	err error) {
	if err := ctx.Err(); err != nil {
		return sum, err
	}
	info, err := l.client.Lstat(c.absolute(name))
	switch {
	case err != nil:
		return sum, err
	case !info.Mode().IsRegular():
		return sum, fault.New(fault.Conflict, "%s is no file, but a %v", name, info.Mode().Type())
	case how == connector.ByRemoteHash:
		defer c.count(info.Size())()
		return c.remoteHash(c.absolute(name), info.Size())
	}
	return readBack(ctx, l, c.absolute(name))
}

// Read reads a file.
func (d *Destination) Read(ctx context.Context, name string, to io.Writer) error {
	if err := connector.CheckName(name); err != nil {
		return err
	}
	only := &whileAsked{to: to}
	defer only.end()
	_, err := withLane(ctx, d, "read "+name, func(ctx context.Context, c *connection, l *lane) (struct{}, error) {
		f, err := l.client.Open(c.absolute(name))
		if isNotExist(err) {
			return struct{}{}, fault.New(fault.NotFound, "it is not there")
		}
		if err != nil {
			return struct{}{}, err
		}
		_, err = f.WriteTo(&writer{ctx, only})
		return struct{}{}, errors.Join(err, f.Close())
	})
	return err
}

// whileAsked passes writes on until its end: the caller may have returned while the server still answers.
type whileAsked struct {
	mu sync.Mutex // guards to, which is nil from the end on
	to io.Writer
}

func (w *whileAsked) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to == nil {
		return 0, context.Canceled
	}
	return w.to.Write(p)
}

func (w *whileAsked) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = nil
}

// List walks the directory.
func (d *Destination) List(ctx context.Context, dir string, each func(connector.Found) error) error {
	if dir != "" {
		if err := connector.CheckName(dir); err != nil {
			return err
		}
	}
	return d.walk(ctx, dir, true, func(name string, info fs.FileInfo) error {
		if connector.UnderWay(name) {
			return nil
		}
		return each(connector.Found{Name: name, Size: info.Size(), ModTime: info.ModTime()})
	})
}

// walk calls each, in the caller's goroutine, for all regular files in a directory; if deep is set, also for those below it.
func (d *Destination) walk(ctx context.Context, dir string, deep bool, each func(name string, info fs.FileInfo) error) error {
	for left := []string{dir}; len(left) > 0; {
		dir := left[len(left)-1]
		left = left[:len(left)-1]
		entries, err := withLane(ctx, d, "list "+dir, func(ctx context.Context, c *connection, l *lane) ([]os.FileInfo, error) {
			entries, err := l.client.ReadDirContext(ctx, c.absolute(dir))
			if isNotExist(err) {
				return nil, c.checkRoot(l)
			}
			return entries, err
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() == "." || e.Name() == ".." || strings.ContainsAny(e.Name(), "/\x00") || e.Name() == "" {
				continue
			}
			name := path.Join(dir, e.Name())
			switch {
			case e.IsDir() && deep:
				left = append(left, name)
			case e.Mode().IsRegular():
				if err := each(name, e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Sweep removes parts that were not written to for so long, by the server's clock, and that this process is not writing.
func (d *Destination) Sweep(ctx context.Context, older time.Duration) (removed []string, err error) {
	now, err := d.clock(ctx)
	if err != nil {
		return nil, err
	}
	each := func(name string, info fs.FileInfo) error {
		if !connector.UnderWay(name) {
			return nil
		}
		if now.Sub(touched(info)) < older || d.underWay()[name] {
			d.left.Maybe(name)
			return nil
		}
		_, err := withLane(ctx, d, "remove "+name, func(_ context.Context, c *connection, l *lane) (struct{}, error) {
			err := l.client.Remove(c.absolute(name))
			if isNotExist(err) {
				err = nil
			}
			return struct{}{}, err
		})
		if err == nil {
			removed = append(removed, name)
		}
		return err
	}
	err = d.left.Sweep(func(dir string, deep bool) error { return d.walk(ctx, dir, deep, each) })
	return removed, err
}

// touched is when a part was last written to or given its times. A part that is whole has the modification time of its
// original, which may be old; its access time is then set to the present.
func touched(info fs.FileInfo) time.Time {
	at := info.ModTime()
	if s, ok := info.Sys().(*sftp.FileStat); ok && int64(s.Atime) > at.Unix() {
		return time.Unix(int64(s.Atime), 0)
	}
	return at
}

// probe is the name of the file that a canary makes. It is always the same, so that the next canary removes one that a crash
// left. Two Holdfasts may remove each other's, which hurts neither.
const probe = ".holdfast-probe" + connector.PartSuffix

// mostProbes is how often the creation is tried again while another Holdfast's file is there.
const mostProbes = 3

// Probe makes a file and removes it.
func (d *Destination) Probe(ctx context.Context) error {
	_, err := d.clock(ctx)
	return err
}

// clock makes a file and removes it, and returns the time that the server gave it.
func (d *Destination) clock(ctx context.Context) (time.Time, error) {
	return withLane(ctx, d, "probe", func(_ context.Context, c *connection, l *lane) (now time.Time, err error) {
		name := c.absolute(probe)
		create := func() (*sftp.File, error) { return l.client.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL) }
		f, err := create()
		if isNotExist(err) {
			return now, errors.Join(c.checkRoot(l), err)
		}
		for range mostProbes {
			if err == nil || l.client.Remove(name) != nil {
				break
			}
			f, err = create()
		}
		if err != nil {
			return now, c.wrote(l, "make a file", err)
		}
		_, err = f.Write(make([]byte, 4096)) // a full disk still takes an empty file
		err = c.filled(l, "write a file", err)
		info, e := f.Stat()
		if e == nil {
			now = info.ModTime()
		}
		gone := l.client.Remove(name)
		if isNotExist(gone) { // another Holdfast made one
			gone = nil
		}
		return now, errors.Join(err, e, f.Close(), gone)
	})
}
