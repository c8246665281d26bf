package process

import (
	"errors"
	"os"
	"os/user"
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

// credential returns nil for the user that we are already: to change to it would need rights that we may not have.
func (u *User) credential() *syscall.Credential {
	if int(u.uid) == os.Geteuid() && int(u.gid) == os.Getegid() {
		return nil
	}
	return &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: u.groups}
}

// Safe returns nil if a path is a program, and nobody but root and we ourselves can change it, as Owned has it.
func Safe(name string) error {
	if err := Owned(name); err != nil {
		return err
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return fault.New(fault.Permanent, "%w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fault.New(fault.Permanent, "%s is no program: make it executable (chmod +x)", name)
	}
	return nil
}
