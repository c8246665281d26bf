package sftp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"

	"holdfast/base/fault"
)

// hashing is a small file that the server hashes together with others.
type hashing struct {
	path  string
	size  int64
	sum   [sha256.Size]byte
	err   error
	alone bool // something is wrong with one of them: each is hashed by a request of its own
}

// share is how many of the small files in flight a batch waits for.
func (c *connection) share() int { return int(c.small.Load() / 4) }

// count counts a small file as under way until the function that it returns is called.
func (c *connection) count(size int64) (done func()) {
	if size >= bigFile {
		return func() {}
	}
	c.small.Add(1)
	return func() { c.small.Add(-1) }
}

// remoteHash has the server hash a regular file. The error is fs.ErrNotExist if there is none, and fs.ErrPermission if it
// may not be read. Starting a program costs the server more than hashing a small file, so one with a plain name is hashed
// together with others.
func (c *connection) remoteHash(path string, size int64) ([sha256.Size]byte, error) {
	if size < bigFile && plain(path) {
		h := &hashing{path: path, size: size}
		c.hashings.join(struct{}{}, h, len(path), c.share())
		if !h.alone {
			return h.sum, h.err
		}
	}
	return c.hashAlone(path, size)
}

// hashTogether has several files hashed by one request.
func (c *connection) hashTogether(_ struct{}, all []*hashing) {
	if len(all) == 1 {
		all[0].alone = true
		return
	}
	line, bytes := "m", int64(0)
	for _, h := range all {
		line += " " + h.path
		bytes += h.size
	}
	answer, err := c.ask(line+"\n", bytes)
	if err == nil && understood(all, answer) {
		return
	}
	for _, h := range all {
		h.err, h.alone = err, err == nil
	}
}

// understood reads an answer of hashes, each followed by its path, and reports whether it was one.
func understood(all []*hashing, answer string) bool {
	text, good := strings.CutPrefix(answer, "+ ")
	words := strings.Fields(text)
	if !good || len(words) != 2*len(all) {
		return false
	}
	for i, h := range all {
		sum, err := hex.DecodeString(words[2*i])
		if err != nil || len(sum) != sha256.Size || strings.TrimPrefix(words[2*i+1], "*") != h.path {
			return false
		}
		h.sum = [sha256.Size]byte(sum)
	}
	return true
}

// hashAlone has one file hashed.
func (c *connection) hashAlone(path string, size int64) (sum [sha256.Size]byte, err error) {
	op := "s"
	if size >= bigFile {
		op = "b"
	}
	answer, err := c.ask(op+" "+spell(path)+"\n", size)
	if err != nil {
		return sum, err
	}
	switch text, good := strings.CutPrefix(answer, "+ "); {
	case good && len(text) >= 2*sha256.Size:
		if b, err := hex.DecodeString(text[:2*sha256.Size]); err == nil {
			return [sha256.Size]byte(b), nil
		}
	case answer == "- absent":
		return sum, fs.ErrNotExist
	case answer == "- denied":
		return sum, fs.ErrPermission
	case answer == "- link":
		return sum, fault.New(fault.Conflict, "it is no file, but a link")
	}
	return sum, fault.New(fault.Transient, "the server could not hash it: it said %.100q", answer)
}

// usual reports whether a byte has no meaning to any shell or to printf.
func usual(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/._-", c) >= 0
}

// plain reports whether a path can be sent as it is: it is one word, and can't be taken for an option.
func plain(path string) bool {
	for _, c := range []byte(path) {
		if !usual(c) {
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

// spell writes a path as one word of a line: a plain one with = in front, any other in octal numbers that printf %b decodes.
func spell(path string) string {
	if plain(path) {
		return "=" + path
	}
	var b strings.Builder
	for _, c := range []byte(path) {
		if usual(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\0%03o`, c)
		}
	}
	return b.String()
}
