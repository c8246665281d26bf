package fits

import (
	"errors"
	"io"
	"sync"
)

// source gives the bytes of a file in order. At the end of the file it gives less than it is asked for, and no
// error.
type source interface {
	// block returns the next block; it is valid until the next call.
	block() ([]byte, error)
	// pass goes over n bytes, or to the end of the file for n < 0, shows each piece of them if it reads at
	// all, and returns how many there were. All pieces but the last are whole blocks.
	pass(n int64, each func(piece []byte)) (int64, error)
}

// pieceSize is how much a stream reads at a time: little enough to be summed while it is in the core's cache.
const pieceSize = 64 * BlockSize

// stream reads all of a file.
type stream struct {
	r    io.Reader
	buf  []byte
	rest []byte // of buf, read and not yet given
	done bool   // r has ended
}

// pieces are the buffers of streams that are done: small files come in thousands.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// fill reads on if nothing is left. It reads whole blocks, so that pieces begin where blocks do.
func (s *stream) fill() error {
	if len(s.rest) > 0 || s.done {
		return nil
	}
	n, err := io.ReadFull(s.r, s.buf)
	s.rest = s.buf[:n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.done, err = true, nil
	}
	return err
}

func (s *stream) take(n int64) []byte {
	n = min(n, int64(len(s.rest)))
	piece := s.rest[:n]
	s.rest = s.rest[n:]
	return piece
}

func (s *stream) block() ([]byte, error) {
	if err := s.fill(); err != nil {
		return nil, err
	}
	return s.take(BlockSize), nil
}

func (s *stream) pass(n int64, each func([]byte)) (int64, error) {
	var got int64
	for n < 0 || got < n {
		if err := s.fill(); err != nil {
			return got, err
		}
		want := int64(len(s.buf))
		if n >= 0 {
			want = n - got
		}
		piece := s.take(want)
		if len(piece) == 0 {
			break
		}
		got += int64(len(piece))
		each(piece)
	}
	return got, nil
}

// glance reads the headers of a file of size bytes and goes over its data without reading them.
type glance struct {
	r    io.ReaderAt
	at   int64
	size int64
	buf  [BlockSize]byte
}

func (g *glance) block() ([]byte, error) {
	b := g.buf[:min(BlockSize, max(0, g.size-g.at))]
	n, err := g.r.ReadAt(b, g.at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	g.at += int64(n)
	return b[:n], err
}

func (g *glance) pass(n int64, _ func([]byte)) (int64, error) {
	if left := g.size - g.at; n < 0 || n > left {
		n = left
	}
	g.at += n
	return n, nil
}
