package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"holdfast/base/fault"
)

// Numbers of SFTP 3 (draft-ietf-secsh-filexfer-02), and of the extension copy-data
// (draft-ietf-secsh-filexfer-extensions).
const (
	fxpInit, fxpVersion, fxpOpen, fxpClose   = 1, 2, 3, 4
	fxpStatus, fxpHandle                     = 101, 102
	fxpExtended, fxpExtendedReply            = 200, 201
	fxfRead, fxfWrite, fxfCreate, fxfExclude = 1, 2, 8, 32
	fxOK, fxNoSuchFile, fxDenied, mostAnswer = 0, 2, 3, 64 << 10
	mostHandle                               = 256
)

// copier is the channel for copies. It is opened with the connection and kept, since lanes take all channels that a server
// allows.
type copier struct {
	copying moment       // since when there is a copy
	bytes   atomic.Int64 // that it has

	mu      sync.Mutex // held while there is a copy; guards what follows
	session *ssh.Session
	asks    *exchange
}

// stalled reports whether a copy takes longer than reading its bytes may.
func (c *copier) stalled(stall time.Duration) bool {
	return c.copying.age() > stall+readingTakes(c.bytes.Load())
}

// copyData has the SFTP server copy a file of that size. The library does not know this request, so it is made by hand, on a
// channel of its own.
func (c *connection) copyData(from, to string, size int64) error {
	c.copier.mu.Lock()
	defer c.copier.mu.Unlock()
	c.copier.bytes.Store(size)
	c.copier.copying.set()
	defer c.copier.copying.clear()
	if err := c.openCopier(); err != nil {
		return err
	}
	err := c.copier.asks.copy(from, to)
	if err == nil || answered(err) {
		return err
	}
	_ = c.copier.session.Close() // it is out of step
	c.copier.asks = nil
	return err
}

// answered reports whether an error is an answer of the server: then the exchange is still in step.
func answered(err error) bool {
	_, status := errors.AsType[*sftp.StatusError](err)
	return status || isNotExist(err) || errors.Is(err, fs.ErrPermission)
}

// openCopier opens the channel unless it is open. The caller holds the lock.
func (c *connection) openCopier() error {
	if c.copier.asks != nil {
		return nil
	}
	session, in, out, err := c.session()
	if err != nil {
		return err
	}
	x := &exchange{in: in, out: out}
	if err = session.RequestSubsystem("sftp"); err == nil {
		_, err = x.ask(fxpVersion, fxpInit, number(3))
	}
	if err != nil {
		_ = session.Close()
		return err
	}
	c.copier.session, c.copier.asks = session, x
	return nil
}

// copy copies a file, and leaves no handle open.
func (x *exchange) copy(from, to string) (err error) {
	source, err := x.open(from, fxfRead)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close(source)) }()
	target, err := x.open(to, fxfWrite|fxfCreate|fxfExclude)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close(target)) }()
	all := make([]byte, 8) // from the beginning, and up to the end
	_, err = x.ask(fxpStatus, fxpExtended, x.id(), text("copy-data"), text(source), all, all, text(target), all)
	return err
}

func (x *exchange) close(handle string) error {
	_, err := x.ask(fxpStatus, fxpClose, x.id(), text(handle))
	return err
}

// exchange is SFTP on a channel, one request at a time.
type exchange struct {
	in   io.Writer
	out  io.Reader
	last uint32
}

func (x *exchange) id() []byte {
	x.last++
	return number(x.last)
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func text(s string) []byte   { return append(number(uint32(len(s))), s...) }

func (x *exchange) open(path string, flags uint32) (handle string, err error) {
	answer, err := x.ask(fxpHandle, fxpOpen, x.id(), text(path), number(flags), number(0))
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	if len(answer) < 4 || len(answer)-4 > mostHandle {
		return "", fault.New(fault.Permanent, "open %s: the server answers nonsense", path)
	}
	return string(answer[4:]), nil
}

// ask sends a request and returns what follows the request id in an answer of the wanted kind. Any other answer is an
// error, and so is a status other than success.
func (x *exchange) ask(want, kind byte, parts ...[]byte) ([]byte, error) {
	if err := x.send(kind, parts...); err != nil {
		return nil, err
	}
	answer, err := x.receive()
	if err != nil {
		return nil, err
	}
	code := uint32(fxOK)
	if answer[0] == fxpStatus && len(answer) >= 9 {
		code = binary.BigEndian.Uint32(answer[5:])
	}
	switch {
	case code == fxNoSuchFile:
		return nil, os.ErrNotExist
	case code == fxDenied:
		return nil, os.ErrPermission
	case code != fxOK:
		return nil, &sftp.StatusError{Code: code}
	case answer[0] != want:
		return nil, fault.New(fault.Permanent, "the server answers nonsense")
	}
	return answer[5:], nil
}

func (x *exchange) send(kind byte, parts ...[]byte) error {
	packet := []byte{0, 0, 0, 0, kind}
	for _, p := range parts {
		packet = append(packet, p...)
	}
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	_, err := x.in.Write(packet)
	return err
}

// receive returns a packet, without its length.
func (x *exchange) receive() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(x.out, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 5 || n > mostAnswer {
		return nil, fault.New(fault.Permanent, "the server answers nonsense")
	}
	answer := make([]byte, n)
	_, err := io.ReadFull(x.out, answer)
	return answer, err
}
