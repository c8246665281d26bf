package storetest

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"holdfast/kernel/store"
)

// Change is a step of a file system that is about to be done and changes something on the disk, or
// makes it durable.
type Change struct {
	Kind string // one of the values of changes
	Path string // of a step with two paths the one that was there before
}

// changes names the kinds of changes. Reading is not among them.
var changes = map[errorfs.OpKind]string{
	errorfs.OpCreate: "create", errorfs.OpLink: "link", errorfs.OpRemove: "remove",
	errorfs.OpRemoveAll: "remove all", errorfs.OpRename: "rename", errorfs.OpReuseForWrite: "reuse",
	errorfs.OpMkdirAll: "mkdir", errorfs.OpLock: "lock", errorfs.OpFilePreallocate: "preallocate",
	errorfs.OpFileWrite: "write", errorfs.OpFileWriteAt: "write at", errorfs.OpFileSync: "sync",
	errorfs.OpFileSyncData: "sync data", errorfs.OpFileSyncTo: "sync to",
}

// FaultFS is a CrashFS of which every change can be made to fail, or be the moment of a power
// cut.
type FaultFS struct {
	*errorfs.FS
	inner vfs.FS
	inj   errorfs.Injector
	crash *CrashFS
	// linking keeps Link and After apart: Pebble's MemFS takes its read lock twice in Link, which
	// never ends when a clone waits in between.
	linking *sync.RWMutex
}

// Faulty returns the file system with before called ahead of each change, from whatever
// goroutine makes it. An error of before is the change's, which is then not made. before may call After.
func (c *CrashFS) Faulty(before func(Change) error) *FaultFS {
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if kind, ok := changes[op.Kind]; ok {
			return before(Change{Kind: kind, Path: op.Path})
		}
		return nil
	})
	return &FaultFS{FS: errorfs.Wrap(c.mem, inj), inner: c.mem, inj: inj, crash: c,
		linking: new(sync.RWMutex)}
}

var _ store.FS = (*FaultFS)(nil)

// After is CrashFS.After for a disk that is in use.
func (f *FaultFS) After(percent int, seed ...uint64) *CrashFS {
	f.linking.Lock()
	defer f.linking.Unlock()
	return f.crash.After(percent, seed...)
}

// Link is a change like all others.
func (f *FaultFS) Link(oldname, newname string) error {
	if err := f.inj.MaybeError(errorfs.Op{Kind: errorfs.OpLink, Path: oldname}); err != nil {
		return err
	}
	f.linking.RLock()
	defer f.linking.RUnlock()
	return f.inner.Link(oldname, newname)
}

// ReuseForWrite returns a file whose changes can fail too: errorfs forgets that.
func (f *FaultFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	err := f.inj.MaybeError(errorfs.Op{Kind: errorfs.OpReuseForWrite, Path: oldname})
	if err != nil {
		return nil, err
	}
	file, err := f.inner.ReuseForWrite(oldname, newname, c)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(file, pathOf{f.inj, newname}), nil
}

// pathOf gives changes the path that errorfs.WrapFile does not know.
type pathOf struct {
	errorfs.Injector
	path string
}

func (p pathOf) MaybeError(op errorfs.Op) error {
	op.Path = p.path
	return p.Injector.MaybeError(op)
}
