package process

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"holdfast/base/fault"
)

// User is who a program runs as.
type User struct {
	name     string
	home     string
	uid, gid uint32
	groups   []uint32
}

// FindUser looks a user up by name, with all groups.
func FindUser(name string) (*User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no user %q on this machine", name)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fault.New(fault.Transient, "the groups of user %s: %w", name, err)
	}
	found := &User{name: name, home: u.HomeDir}
	var bad error
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		bad = errors.Join(bad, err)
		return uint32(n)
	}
	found.uid, found.gid = number(u.Uid), number(u.Gid)
	for _, id := range ids {
		found.groups = append(found.groups, number(id))
	}
	return found, bad
}

// credential is nil for the user that we are already, which needs no right to become somebody.
func (u *User) credential() *syscall.Credential {
	if int(u.uid) == os.Geteuid() && int(u.gid) == os.Getegid() {
		return nil
	}
	return &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: u.groups}
}

// Safe is nil if nobody but root and we ourselves can change what a path runs: the file, the links that lead to it, and every
// directory above are theirs, and writable by none else. It is what sshd asks of its files (StrictModes), for the same reason.
func Safe(name string) error {
	if !filepath.IsAbs(name) {
		return fault.New(fault.Permanent, "%q is no absolute path", name)
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "%s: there is no such program", name)
	case err != nil:
		return fault.New(fault.Permanent, "%w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fault.New(fault.Permanent, "%s is no program: make it executable (chmod +x)", name)
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return fault.New(fault.Permanent, "%w", err)
	}
	for _, p := range []string{name, real} {
		for p = filepath.Clean(p); ; p = filepath.Dir(p) {
			if err := ours(p, name); err != nil {
				return err
			}
			if p == "/" {
				break
			}
		}
	}
	return nil
}

// ours is nil if nobody else can change a file, or what is in a directory.
func ours(p, name string) error {
	info, err := os.Lstat(p)
	if err != nil {
		return fault.New(fault.Permanent, "%w", err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fault.New(fault.Permanent, "%s is not run: %s belongs to user %d, who could put another program there", name, p, st.Uid)
	}
	// A sticky directory, as /tmp is, lets nobody replace what is another's.
	if info.Mode()&fs.ModeSymlink == 0 && info.Mode()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0) {
		return fault.New(fault.Permanent, "%s is not run: others may write %s (chmod go-w)", name, p)
	}
	return nil
}
