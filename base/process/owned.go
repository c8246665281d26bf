package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"holdfast/base/fault"
)

// mostLinks is how many links may lead to a file; the kernel follows as many.
const mostLinks = 40

// Owned returns nil if nobody but root and we ourselves can change what stands at an absolute path: the file, each link that
// leads to it, and every directory on the way belong to root or us, and nobody else may write to them, not even their group.
// sshd asks the same of its files (StrictModes), for the same reason. Only directories may be writable by others if they are
// sticky, as /tmp is: nobody can replace another's file there.
func Owned(name string) error {
	if !filepath.IsAbs(name) {
		return fault.New(fault.Permanent, "%q is no absolute path", name)
	}
	links := 0
	// at is what was looked at, and rest what stands behind it.
	for at, rest := "/", strings.Split(name, "/"); ; {
		target, err := owned(at, name)
		if err != nil {
			return err
		}
		if target != "" {
			if links++; links > mostLinks {
				return fault.New(fault.Permanent, "%s is not used: too many links lead to it", name)
			}
			rest = append(strings.Split(target, "/"), rest...)
			at = filepath.Dir(at)
			if filepath.IsAbs(target) {
				at = "/"
			}
			continue
		}
		for len(rest) > 0 && (rest[0] == "" || rest[0] == "." || rest[0] == "..") {
			if rest[0] == ".." { // at leads over no link any more
				at = filepath.Dir(at)
			}
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return nil
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:]
	}
}

// owned returns nil if nobody else can change a file, or what is in a directory. target is where a link leads to, "" if it
// is none.
func owned(p, name string) (target string, err error) {
	info, err := os.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fault.New(fault.NotFound, "%s: there is no such file", name)
	case err != nil:
		return "", fault.New(fault.Permanent, "%w", err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		err := fault.New(fault.Permanent, "%s is not used: %s belongs to user %d, who could put something else there", name, p, st.Uid)
		return "", fault.WithHint(err, "have root own it, or the user that Holdfast runs as (chown)")
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err = os.Readlink(p)
		return target, err
	}
	if info.Mode()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0) {
		return "", fault.WithHint(fault.New(fault.Permanent, "%s is not used: others may write %s", name, p), "chmod go-w %s", p)
	}
	return "", nil
}
