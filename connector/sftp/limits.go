package sftp

import (
	"bytes"
	"encoding/binary"
	"io"
)

const (
	smallPacket   = 32 << 10  // what every server takes
	largestPacket = 255 << 10 // what OpenSSH takes
	// inFlight is how many bytes of one file are in flight: somewhat more than the window of a channel, so that it is
	// never idle.
	inFlight     = 3 << 20
	mostRequests = 128
)

// requests is how many requests of one file are in flight.
func (c *connection) requests() int { return min(max(inFlight/c.packet, 1), mostRequests) }

// greet sends the SFTP greeting in the library's stead and asks how long a packet may be (limits@openssh.com, since
// OpenSSH 8.5): the library has to be told that before it greets. Its own greeting is then swallowed, and the server's
// answer is replayed to it.
func greet(f *flow) (packet int, err error) {
	x := &exchange{in: f, out: f}
	if err := x.send(fxpInit, number(3)); err != nil {
		return 0, err
	}
	hello, err := x.receive()
	if err != nil {
		return 0, err
	}
	packet = smallPacket
	if offers(hello, "limits@openssh.com") {
		answer, err := x.ask(fxpExtendedReply, fxpExtended, x.id(), text("limits@openssh.com"))
		switch {
		case err == nil:
			packet = longest(answer)
		case !answered(err):
			return 0, err
		}
	}
	f.greeted = greeting // the library's own is not sent
	f.Reader = io.MultiReader(bytes.NewReader(append(number(uint32(len(hello))), hello...)), f.Reader)
	return packet, nil
}

// greeting is how many bytes the greeting of a client has.
const greeting = 9

// offers reports whether a server's greeting names an extension.
func offers(hello []byte, name string) bool {
	if len(hello) < 5 || hello[0] != fxpVersion {
		return false
	}
	for rest := hello[5:]; ; {
		key, more, ok := cutText(rest)
		if !ok {
			return false
		}
		if string(key) == name {
			return true
		}
		if _, rest, ok = cutText(more); !ok {
			return false
		}
	}
}

// cutText reads a text of SFTP.
func cutText(b []byte) (word, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// longest is how many bytes of a file may be in one packet, by the limits that a server gives for packets, reads and
// writes; 0 means that it gives none.
func longest(limits []byte) int {
	if len(limits) < 24 {
		return smallPacket
	}
	packet, read, write := binary.BigEndian.Uint64(limits), binary.BigEndian.Uint64(limits[8:]), binary.BigEndian.Uint64(limits[16:])
	if write == 0 {
		return smallPacket
	}
	n := min(write, largestPacket)
	if read > 0 {
		n = min(n, read)
	}
	const head = 1 << 10 // for what else is in a packet
	if packet > head {
		n = min(n, packet-head)
	}
	return int(n)
}
