package cdxj

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"holdfast/base/fault"
)

// File finds lines in a sorted index, of which it reads some kilobytes at a time. It may be used by several
// goroutines at once, as long as the index does not change.
type File struct {
	r    io.ReaderAt
	size int64
}

// NewFile returns a File of an index of size bytes.
func NewFile(r io.ReaderAt, size int64) *File { return &File{r, size} }

// Find gives the lines that begin with prefix, in order. A whole key ends with the space behind it:
// "com,example)/a "; with a part of the time behind that, captures of a year or a day are found. An error ends it:
// Invalid for a line that can't be parsed, Corrupt for one longer than MaxLine, or if lines were met that are not in order:
// of an index that is not sorted, lines may also be missed.
func (f *File) Find(prefix string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		at, err := f.first([]byte(prefix))
		if err != nil {
			yield(Line{}, err)
			return
		}
		in := f.from(at)
		for {
			b, err := in.next()
			if errors.Is(err, io.EOF) || err == nil && !bytes.HasPrefix(b, []byte(prefix)) {
				return
			}
			var l Line
			if err == nil {
				l, err = Parse(b)
			}
			if err != nil {
				err = fmt.Errorf("in the index, line %d behind offset %d: %w", in.n, at, err)
			}
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// from reads lines, the first from offset at.
func (f *File) from(at int64) *lines {
	l := &lines{r: bufio.NewReaderSize(nil, 4<<10)}
	f.move(l, at)
	return l
}

// move has lines be read from another offset.
func (f *File) move(l *lines, at int64) {
	l.r.Reset(io.NewSectionReader(f.r, at, f.size-at))
	l.n = 0
}

// first is the offset of the first line that is not before prefix. Every line that begins before low is before it,
// and none that begins at high or later is.
func (f *File) first(prefix []byte) (int64, error) {
	low, high := int64(0), f.size
	in := f.from(0)
	var before, behind []byte // lines that were met, at either end of what is left
	for low < high {
		middle := low + (high-low)/2
		begin, line, err := f.lineAt(in, middle)
		switch {
		case err != nil:
			return 0, err
		case begin >= high:
			high = middle
			continue
		case before != nil && compare(line, before) < 0 || behind != nil && compare(line, behind) > 0:
			return 0, fault.WithHint(fault.New(fault.Corrupt, "the index is not in order at offset %d: %.80q", begin, line), sortHint)
		case bytes.Compare(line[:min(len(line)-1, len(prefix))], prefix) >= 0:
			high, behind = middle, append(behind[:0], line...)
		default:
			low, before = min(begin+int64(len(line)), f.size), append(before[:0], line...)
		}
	}
	return low, nil
}

// lineAt returns the first line that begins at offset at or behind it, with its end, valid until in is used again; at the
// end of the file there is none.
func (f *File) lineAt(in *lines, at int64) (begin int64, line []byte, err error) {
	begin = at
	f.move(in, max(0, at-1))
	if at > 0 {
		// The line that holds the byte before.
		before, err := in.next()
		if err != nil {
			return 0, nil, f.failure(at, err)
		}
		begin = at - 1 + int64(len(before))
	}
	if begin >= f.size {
		return f.size, nil, nil
	}
	line, err = in.next()
	return begin, line, f.failure(at, err)
}

func (f *File) failure(at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return fault.New(fault.Corrupt, "the index ends before offset %d: it was cut while it was read", at)
	}
	if err != nil {
		return fmt.Errorf("search the index at offset %d: %w", at, err)
	}
	return nil
}
