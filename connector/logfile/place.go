package logfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"holdfast/base/fault"
)

// placeVersion stands in every position. A position of another version is refused.
const placeVersion = 1

// By how many bytes a file is recognised: at its beginning, and before an offset.
const (
	headBytes = 512
	tailBytes = 256
)

// identity is how the kernel identifies a file. When a file is gone its inode may be given to another one, which was born
// later.
type identity struct {
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
	Born int64  `json:"born,omitempty"` // in nanoseconds; 0 where the file system does not say
}

// print is the fingerprint of a file: hashes of its beginning, and of what stands before an offset. Of a file that is packed,
// or that changed just then, the second is not known.
type print struct {
	Offset int64  `json:"offset"`
	Head   string `json:"head,omitempty"`
	Tail   string `json:"tail,omitempty"`
}

// known is a file that has been read.
type known struct {
	identity
	print
}

// left is a file that was read to its end.
type left struct {
	known
	Life string `json:"life,omitempty"`
}

// place is where the next line stands. As JSON it is a position.
type place struct {
	Version int `json:"v"`
	known       // of the file; without an inode there was none yet
	// Life names the content of a file from its beginning on: a truncated file begins another life, a copy goes on with it.
	Life  string `json:"life,omitempty"`
	Lives int    `json:"lives"` // so far
	// Mod is when what was read was written, in nanoseconds. What is not read yet is not older.
	Mod int64 `json:"mod"`
	// Begin are the first bytes of the file, so far as they were read.
	Begin []byte `json:"begin,omitempty"`
	// Any: it is not known which file comes before the next one, or it was told already that some may be missing there.
	Any bool `json:"any,omitempty"`
	// Counts is the direction in which the numbers of rotated files count, as in order.
	Counts int `json:"counts,omitempty"`
	// Left are the last few files that were read to their ends.
	Left []left `json:"left,omitempty"`
}

// leftMost is how many files are kept in Left. They serve only to tell apart files of the same age.
const leftMost = 4

func readPlace(b []byte) (*place, error) {
	if len(b) == 0 {
		return nil, nil
	}
	p := &place{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fault.New(fault.Corrupt, "read position %.200q: %w", b, err)
	}
	if p.Version != placeVersion || p.Offset < 0 {
		return nil, fault.New(fault.Corrupt, "read position %.200q: want version %d and an offset", b, placeVersion)
	}
	return p, nil
}

func (p *place) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of text and numbers alone
	}
	return b
}

// id is the ID of what begins at an offset of this life.
func (p *place) id(offset int64) string { return id(p.Life, offset) }

func id(life string, offset int64) string { return fmt.Sprintf("%s:%d", life, offset) }

// begin moves the place to the beginning of a file. Nothing of it is read, so Mod stays: an older file may come before it.
func (p *place) begin(s *source) {
	p.Lives++
	p.Any = false
	p.known, p.Begin = known{identity: s.identity}, nil
	p.Life = life(s.identity, p.Lives)
}

func life(i identity, n int) string { return fmt.Sprintf("%x-%d", i.Ino, n) }

// leave moves the place to the end of a file, when the next one is not known.
func (p *place) leave() {
	if p.Ino != 0 {
		p.Left = append(p.Left, left{p.known, p.Life})
		p.Left = p.Left[max(0, len(p.Left)-leftMost):]
	}
	p.forget()
}

// forget makes the place one before a file that is not known.
func (p *place) forget() { p.known, p.Begin, p.Life = known{}, nil, "" }

// mark is the part of what was read of a file by which it is recognised.
type mark struct {
	head, tail []byte
	offset     int64
}

func (m *mark) push(b []byte) {
	m.head = append(m.head, b[:min(len(b), headBytes-len(m.head))]...)
	m.offset += int64(len(b))
	m.tail = append(m.tail, b[max(0, len(b)-tailBytes):]...)
	m.tail = append(m.tail[:0], m.tail[max(0, len(m.tail)-tailBytes):]...)
}

// still reports whether a file still holds what was read of it.
func (m *mark) still(s *source) (bool, error) {
	head, err := s.at(0, len(m.head))
	if err != nil || !bytes.Equal(head, m.head) {
		return false, err
	}
	tail, err := s.at(m.offset-int64(len(m.tail)), len(m.tail))
	return bytes.Equal(tail, m.tail), err
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// matches reports whether a file is the one that was read up to a place. If nothing was read, every file is.
func (k known) matches(s *source) (bool, error) {
	if s.size < k.Offset && !s.packed {
		return false, nil
	}
	head, err := s.at(0, int(min(k.Offset, headBytes)))
	if err != nil || k.Offset > 0 && hash(head) != k.Head {
		return false, err
	}
	if k.Tail == "" || s.packed {
		return true, nil
	}
	n := min(k.Offset, tailBytes)
	tail, err := s.at(k.Offset-n, int(n))
	return hash(tail) == k.Tail, err
}

// mayFollow reports whether a file may be younger than the place, by when it was written to last. Programs that pack files may
// keep only the second of that time.
func (p *place) mayFollow(mod time.Time) bool {
	if mod.Nanosecond() == 0 {
		mod = mod.Add(time.Second - 1)
	}
	return mod.UnixNano() >= p.Mod
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
