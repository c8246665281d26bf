package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"holdfast/base/fault"
)

// isNotExist reports whether the server says that something does not exist.
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// failed reports whether the server says no more than that it failed: SFTP 3 has no other word for a full disk, a name that is
// taken, a read-only file system and more.
func failed(err error) bool {
	e, ok := errors.AsType[*sftp.StatusError](err)
	return ok && e.FxCode() == sftp.ErrSSHFxFailure
}

// unsupported reports whether a server does not know a request.
func unsupported(err error) bool {
	e, ok := errors.AsType[*sftp.StatusError](err)
	return ok && e.FxCode() == sftp.ErrSSHFxOpUnsupported
}

// refused reports whether the server refused to open a channel.
func refused(err error) bool {
	_, ok := errors.AsType[*ssh.OpenChannelError](err)
	return ok
}

// lost reports whether no answer came because the channel or the connection broke.
func lost(err error) bool {
	for _, e := range []error{sftp.ErrSSHFxConnectionLost, sftp.ErrSSHFxNoConnection, io.EOF, io.ErrUnexpectedEOF,
		io.ErrClosedPipe, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	_, network := errors.AsType[net.Error](err)
	_, exit := errors.AsType[*ssh.ExitMissingError](err)
	return network || exit
}

// classify gives err its kind.
func (c *connection) classify(what string, err error) error {
	if err == nil {
		return nil
	}
	what = strings.ToValidUTF8(what, "?")
	_, known := errors.AsType[*fault.Error](err)
	if known || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !c.alive() {
		return fmt.Errorf("%s: %w", what, c.cause)
	}
	code := sftp.ErrSSHFxOk
	if e, ok := errors.AsType[*sftp.StatusError](err); ok {
		code = e.FxCode()
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.WithHint(fault.New(fault.Permanent, "%s: %w", what, err),
			"the user of %s has to be allowed to make files there; change the owner or the mode", c.cfg.Host)
	case code == sftp.ErrSSHFxOpUnsupported:
		return fault.New(fault.Permanent, "%s: the server can't: %w", what, err)
	case code == sftp.ErrSSHFxBadMessage: // what OpenSSH makes of ENAMETOOLONG and EINVAL
		return fault.New(fault.Invalid, "%s: the name or the request is not allowed there: %w", what, err)
	}
	return fault.New(fault.Transient, "%s: %w", what, err)
}

// readOnly is the flag of a read-only file system in the answer to statvfs@openssh.com.
const readOnly = 1

// littleRoom is how many free bytes count as none: the last ones may be reserved for root.
const littleRoom = 64 << 10

// wrote gives its kind to an error of a request that takes room on the disk. SFTP has no word for a full disk, so the file
// system is asked how much room there is.
func (c *connection) wrote(l *lane, what string, err error) error {
	if !failed(err) {
		return c.classify(what, err)
	}
	room, e := l.client.StatVFS(c.root)
	switch {
	case e != nil:
		return c.classify(what, err)
	case room.Flag&readOnly != 0:
		return fault.WithHint(fault.New(fault.Permanent, "%s: %w", what, err),
			"the file system of %s is mounted read-only", c.root)
	case room.Bavail*room.Frsize < littleRoom || room.Files > 0 && room.Ffree == 0:
		return fault.New(fault.Full, "%s: there is no room on %s: %w", what, c.cfg.Host, err)
	}
	return c.classify(what, err)
}

// filled is wrote for the bytes of a file: if the disk has room, a quota or a limit of the file system refused them, which is
// Full too.
func (c *connection) filled(l *lane, what string, err error) error {
	out := c.wrote(l, what, err)
	if failed(err) && fault.Is(out, fault.Transient) && c.alive() {
		return fault.WithHint(fault.New(fault.Full, "%s: the server takes no more, and does not say why: %w", what, err),
			"its disk has room; look at the quota of the user, and at how long a file may be there")
	}
	return out
}
