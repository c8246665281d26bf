package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

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

func list(fs store.FS, root string) ([]Checkpoint, error) {
	names, err := fs.List(root)
	if err != nil {
		return nil, err
	}
	var all []Checkpoint
	for _, name := range names {
		path := fs.PathJoin(root, name)
		if info, err := fs.Stat(path); err != nil || !info.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
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
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, oldPrefix) {
			errs = errors.Join(errs, removeAll(fs, fs.PathJoin(root, name)))
		}
	}
	return errs
}
