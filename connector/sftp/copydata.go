package sftp

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/pkg/sftp"

	"holdfast/base/fault"
)

// Numbers of SFTP 3 (draft-ietf-secsh-filexfer-02), and of the extension copy-data
// (draft-ietf-secsh-filexfer-extensions).
const (
	fxpInit, fxpVersion, fxpOpen, fxpClose   = 1, 2, 3, 4
	fxpStatus, fxpHandle, fxpExtended        = 101, 102, 200
	fxfRead, fxfWrite, fxfCreate, fxfExclude = 1, 2, 8, 32
	fxOK, fxNoSuchFile, fxDenied, mostAnswer = 0, 2, 3, 64 << 10
	mostHandle                               = 256
)

// copyData has the SFTP server copy a file. The library does not know this request, so it is made by hand, on
// a channel of its own.
func (c *connection) copyData(from, to string) error {
	session, in, out, err := c.session()
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.RequestSubsystem("sftp"); err != nil {
		return err
	}
	x := &exchange{in: in, out: out}
	if _, err := x.ask(fxpVersion, fxpInit, number(3)); err != nil {
		return err
	}
	source, err := x.open(from, fxfRead)
	if err != nil {
		return err
	}
	target, err := x.open(to, fxfWrite|fxfCreate|fxfExclude)
	if err != nil {
		return err
	}
	all := make([]byte, 8) // from the beginning, and up to the end
	_, err = x.ask(fxpStatus, fxpExtended, x.id(), text("copy-data"), text(source), all, all, text(target), all)
	if err == nil {
		_, err = x.ask(fxpStatus, fxpClose, x.id(), text(target))
	}
	return err
}

// exchange asks one thing at a time.
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

// ask returns what an answer of the wanted kind has behind its number. Another one is an error, as is a
// status that is none of success.
func (x *exchange) ask(want, kind byte, parts ...[]byte) ([]byte, error) {
	packet := []byte{0, 0, 0, 0, kind}
	for _, p := range parts {
		packet = append(packet, p...)
	}
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	if _, err := x.in.Write(packet); err != nil {
		return nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(x.out, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 5 || n > mostAnswer {
		return nil, fault.New(fault.Permanent, "the server answers nonsense")
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(x.out, answer); err != nil {
		return nil, err
	}
	code := uint32(fxOK)
	if answer[0] == fxpStatus && n >= 9 {
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
