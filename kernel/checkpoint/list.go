package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// List returns the checkpoints of the store directory dir, oldest first. One that can't be used is
// among the first and says why; it is not removed. What a killed Create or Remove left is swept,
// unless one is under way.
func List(dir string, w Work) ([]Checkpoint, error) {
	fs := w.fs()
	root := fs.PathJoin(dir, dirName)
	if _, err := fs.Stat(root); notExist(err) {
		return nil, nil
	}
	if lock, err := acquire(fs, fs.PathJoin(root, lockName)); err == nil {
		defer lock.Close()
		// Listing is for looking: that something can't be removed must not hinder it.
		_ = sweep(fs, root)
	}
	all, err := list(fs, root)
	if err != nil {
		return nil, fmt.Errorf("list checkpoints of %s: %w", dir, err)
	}
	return all, nil
}

// Read returns the checkpoint in the directory at path, wherever that is. It is not verified.
func Read(path string) (Checkpoint, error) {
	c := Checkpoint{Path: path}
	if c.Manifest, c.Sealed, c.Err = load(store.Disk, path); c.Err != nil {
		err := told(fmt.Errorf("read checkpoint %s: %w", path, c.Err))
		if notExist(c.Err) {
			err = fault.New(fault.NotFound, "%s is no checkpoint: it has no %s", path, manifestName)
		}
		return c, err
	}
	return c, nil
}

// Names returns the names of the checkpoints that stand in the store directory dir, whole or not: nothing in them is read.
func Names(dir string) ([]string, error) {
	all, err := names(store.Disk, store.Disk.PathJoin(dir, dirName))
	if notExist(err) {
		return nil, nil
	}
	return all, err
}

func names(fs store.FS, root string) (all []string, err error) {
	found, err := fs.List(root)
	for _, name := range found {
		if info, err := fs.Stat(fs.PathJoin(root, name)); err == nil && info.IsDir() && !strings.HasPrefix(name, ".") {
			all = append(all, name)
		}
	}
	return all, err
}

func list(fs store.FS, root string) ([]Checkpoint, error) {
	found, err := names(fs, root)
	if err != nil {
		return nil, err
	}
	var all []Checkpoint
	for _, name := range found {
		path := fs.PathJoin(root, name)
		c := Checkpoint{Path: path}
		c.Manifest, c.Sealed, c.Err = load(fs, path)
		if c.Err == nil && c.Name != name {
			c.Err = fault.New(fault.Corrupt, "it was made under the name %s", c.Name)
		}
		if notExist(c.Err) {
			c.Err = fault.New(fault.Corrupt, "it has no manifest: %w", c.Err)
		}
		c.Name = name
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Serial, b.Serial), a.Created.Compare(b.Created),
			cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// sweep removes what a killed Create, Import or Remove left. The caller holds the lock, so nobody
// is at work on them.
func sweep(fs store.FS, root string) error {
	names, err := fs.List(root)
	if err != nil {
		return err
	}
	var errs error
	for _, name := range names {
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, oldPrefix) || name == serialName+tmpSuffix {
			errs = errors.Join(errs, removeAll(fs, fs.PathJoin(root, name)))
		}
	}
	return errs
}

// Remove removes the checkpoint with the name from the store directory dir, pinned or not.
func Remove(dir, name string, w Work) error {
	fs := w.fs()
	root := fs.PathJoin(dir, dirName)
	if err := CheckName(name); err != nil {
		return err
	}
	lock, err := acquire(fs, fs.PathJoin(root, lockName))
	if notExist(err) {
		err = fault.New(fault.NotFound, "there is none")
	}
	if err != nil {
		return fmt.Errorf("remove checkpoint %s of %s: %w", name, dir, err)
	}
	defer lock.Close()
	if err := remove(fs, root, name); err != nil {
		return fmt.Errorf("remove checkpoint %s of %s: %w", name, dir, err)
	}
	return nil
}

// remove takes the name away first: a crash within leaves a leftover, never half a checkpoint.
func remove(fs store.FS, root, name string) error {
	path, old := fs.PathJoin(root, name), fs.PathJoin(root, oldPrefix+name)
	if _, err := fs.Stat(path); notExist(err) {
		return fault.New(fault.NotFound, "there is none")
	}
	if err := removeAll(fs, old); err != nil {
		return err
	}
	if err := publish(fs, path, old); err != nil {
		return err
	}
	return removeAll(fs, old)
}

// Policy says which checkpoints retention keeps. The zero value keeps all.
type Policy struct {
	Keep int           // how many of the newest; 0 is no bound
	Age  time.Duration // none older than this; 0 is no bound. A caller whose clock jumped sets 0.
}

// Retain removes the checkpoints that the policy does not keep, and returns their names. It passes
// over pinned ones, which do not count, and damaged ones, which are for a person to look at.
// Nothing is removed unless the newest that counts is whole: its manifest durable, every file there
// in its size, logs and MANIFEST with their checksums; and that one is never removed.
func Retain(ctx context.Context, dir string, p Policy, w Work) ([]string, error) {
	fs := w.fs()
	root := fs.PathJoin(dir, dirName)
	lock, err := acquire(fs, fs.PathJoin(root, lockName))
	if notExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("retain checkpoints of %s: %w", dir, err)
	}
	defer lock.Close()
	removed, err := retain(ctx, fs, root, p)
	if err != nil {
		return removed, fmt.Errorf("retain checkpoints of %s: %w", dir, err)
	}
	return removed, nil
}

func retain(ctx context.Context, fs store.FS, root string, p Policy) (removed []string, err error) {
	all, err := list(fs, root)
	if err != nil {
		return nil, err
	}
	kept := 0
	for _, c := range slices.Backward(all) {
		if c.Pinned || c.Err != nil {
			continue
		}
		old := p.Keep > 0 && kept >= p.Keep || p.Age > 0 && time.Since(c.Created) > p.Age
		if kept == 0 || !old {
			whole, err := whole(ctx, fs, c.Path, kept == 0)
			if err != nil {
				return removed, err
			}
			if whole {
				kept++
			}
			continue
		}
		if err := remove(fs, root, c.Name); err != nil {
			return removed, err
		}
		removed = append(removed, c.Name)
	}
	return removed, sweep(fs, root)
}

// whole looks at names and sizes of a checkpoint's files, and if asked for at all bytes but those
// of its tables.
func whole(ctx context.Context, fs store.FS, path string, bytes bool) (bool, error) {
	var r Report
	files, err := r.survey(fs, path)
	for _, f := range files {
		if err == nil && bytes && !f.table() {
			err = r.file(ctx, fs, path, f, nil)
		}
	}
	return len(r.Findings) == 0, err
}
