package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/visible"
)

// root is the directory that stands at the root's path.
type root struct {
	dev, ino uint64
	mount    bool // a file system of its own
}

// lookRoot opens the root too: one that can't be read is not there.
func lookRoot(dir string) (root, error) {
	var st, up unix.Stat_t
	fd, err := openAt(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err == nil {
		defer unix.Close(fd)
		err = retried(func() error { return unix.Fstat(fd, &st) })
	}
	if err == nil {
		err = retried(func() error { return unix.Fstatat(fd, "..", &up, 0) })
	}
	if err != nil {
		return root{}, rootFault(dir, err)
	}
	return root{dev: uint64(st.Dev), ino: st.Ino, mount: st.Dev != up.Dev}, nil
}

func rootFault(dir string, err error) error {
	f := func(k fault.Kind, hint string) error {
		return fault.WithHint(fault.New(k, "watch %s: %w", dir, err), "%s", hint)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f(fault.Transient, "create the directory, or mount it")
	case errors.Is(err, fs.ErrPermission):
		return f(fault.Permanent, "give the user that runs this read and search permission for the directory")
	case errors.Is(err, unix.ENOTDIR):
		return f(fault.Permanent, "name a directory")
	}
	return fault.New(fault.Transient, "watch %s: %w", dir, err)
}

// rootError is an error of the root, as against one of a directory in the tree.
type rootError struct{ error }

func (e rootError) Unwrap() error { return e.error }

// openBelow opens a directory of the tree. It goes down one name at a time, and no name may be a symbolic
// link: not even one that was put there a moment ago leads out of the tree. A path may be longer than the
// kernel takes in one.
func openBelow(dir string, r root, below string, flags int) (int, error) {
	const way = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	elems := strings.Split(below, "/")
	if below == "" {
		elems = nil
	}
	how := func(i int) int {
		if i == len(elems) {
			return flags | unix.O_DIRECTORY | unix.O_CLOEXEC
		}
		return way
	}
	fd, err := openAt(unix.AT_FDCWD, dir, how(0))
	if err != nil {
		return -1, rootError{rootFault(dir, err)}
	}
	if err := r.check(dir, fd); err != nil {
		_ = unix.Close(fd)
		return -1, rootError{err}
	}
	for i, e := range elems {
		next, err := openAt(fd, e, how(i+1)|unix.O_NOFOLLOW)
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// check refuses another directory than the one that is watched: a file that is missing there is not gone.
func (r root) check(dir string, fd int) error {
	var st unix.Stat_t
	if err := retried(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return rootFault(dir, err)
	}
	if uint64(st.Dev) != r.dev || st.Ino != r.ino {
		return fault.New(fault.Transient, "watch %s: another directory stands there now", dir)
	}
	return nil
}

func openAt(fd int, name string, flags int) (got int, err error) {
	err = retried(func() error {
		got, err = unix.Openat(fd, name, flags, 0)
		return err
	})
	return got, err
}

// retried does again what a signal interrupted, as network file systems let it.
func retried(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// vanished reports whether an error says that a path leads nowhere any more, or through a symbolic link.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func unreadable(path string, err error) error {
	hint := "it is tried again every minute"
	if errors.Is(err, fs.ErrPermission) {
		hint = "give the user that runs this read and search permission for the directory, or add it to ignore"
	}
	return fault.WithHint(fault.New(fault.Permanent, "read directory %s: %w", visible.Line(path), err),
		"%s", hint)
}

// silent are the file systems that other hosts, or other programs than this kernel, change: by their numbers
// in statfs.
var silent = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x65735546: "FUSE", 0x01021997: "9p",
	0x00c36400: "Ceph", 0x5346414f: "AFS", 0x6b414653: "AFS", 0x73757245: "Coda", 0x564c: "NCP",
	0x0bd00bd0: "Lustre", 0x47504653: "GPFS", 0x7461636f: "OCFS2", 0x01161970: "GFS2", 0x19830326: "BeeGFS", 0x786f4256: "vboxsf",
	0xaad7aaea: "PanFS", 0x7c7c6673: "PRL_FS", 0xbacbacbc: "VMware HGFS",
}

func silentKind(kind int64) string { return silent[uint32(kind)] }

// silentAt names the file system of a directory if it tells no events.
func (t *Tree) silentAt(fd int) (string, error) {
	var st unix.Statfs_t
	if err := retried(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return "", fmt.Errorf("ask for the kind of the file system: %w", err)
	}
	if t.own.silent != nil {
		return t.own.silent(st.Type), nil
	}
	return silentKind(st.Type), nil
}

// silentRoot is silentAt of the root.
func (t *Tree) silentRoot(r root) (string, error) {
	fd, err := openBelow(t.cfg.Root, r, "", unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	kind, err := t.silentAt(fd)
	if err != nil {
		return "", rootError{rootFault(t.cfg.Root, err)}
	}
	return kind, nil
}
