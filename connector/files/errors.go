package files

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
	"holdfast/base/fault"
)

// globless makes a path mean itself in a glob.
var globless = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// classify gives err its kind; verb says what was tried with the directory. A fault stays one.
func (s *Sink) classify(verb string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	kind, hint := kindOf(err)
	out := error(fault.New(kind, "%s directory %s: %w", verb, s.dir, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

// kindOf is what an error of the file system means for us. What is not here is worth another attempt,
// after a Prepare that names what is wrong for good.
func kindOf(err error) (fault.Kind, string) {
	switch {
	case disk.NoRoom(err):
		return fault.Full, ""
	case errors.Is(err, fs.ErrPermission):
		return fault.Permanent, "the sink needs to create files in the directory; change its owner or mode"
	case errors.Is(err, unix.EROFS):
		return fault.Permanent, "the file system is mounted read-only"
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP):
		return fault.Permanent, "give a path at which a directory can be created"
	}
	return fault.Transient, ""
}

// damaged is the error for a file that is not what was written.
func (s *Sink) damaged(text string, err error) error {
	return fault.WithHint(fault.New(fault.Corrupt, "read file %s of %s: %w", text, s.dir, err),
		"move the file out of the directory; what it held is then missing and can be replayed")
}
