package cdxj

import (
	"bufio"
	"bytes"
	"container/heap"
	"errors"
	"io"

	"holdfast/base/fault"
)

// lines reads a text line by line.
type lines struct {
	r    *bufio.Reader
	long []byte
	n    int64 // lines read
	last []byte
}

// next returns the next line with its end, which is added if the text lacks it; it is valid until the next call.
// At the end it returns io.EOF, and Corrupt for a line longer than MaxLine.
func (l *lines) next() ([]byte, error) {
	l.long = l.long[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil && len(l.long) == 0 {
			l.n++
			return part, nil
		}
		l.long = append(l.long, part...)
		if errors.Is(err, io.EOF) && len(l.long) > 0 {
			l.long, err = append(l.long, '\n'), nil
		}
		switch {
		case len(l.long) > MaxLine:
			return nil, fault.New(fault.Corrupt, "line %d of an index has more than %d bytes", l.n+1, MaxLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, err
		}
		l.n++
		return l.long, nil
	}
}

const sortHint = "sort it: LC_ALL=C sort -u"

// advance makes last the next line, which may not be before the one that it was.
func (l *lines) advance() error {
	line, err := l.next()
	if err != nil {
		return err
	}
	if len(l.last) > 0 && compare(line, l.last) < 0 {
		return fault.WithHint(fault.New(fault.Corrupt, "line %d of an index is not in order: %.80q", l.n, line),
			sortHint)
	}
	l.last = append(l.last[:0], line...)
	return nil
}

// byLast is a heap of texts by their next lines.
type byLast []*lines

func (h byLast) Len() int           { return len(h) }
func (h byLast) Less(i, j int) bool { return compare(h[i].last, h[j].last) < 0 }
func (h byLast) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byLast) Push(x any)        { *h = append(*h, x.(*lines)) }
func (h *byLast) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// Merge writes the lines of sorted indexes in order, those that are the same once. It needs some 40 KB for each, and
// more only for long lines. An index that is not sorted is Corrupt; what was written until then is to be thrown
// away.
func Merge(w io.Writer, in ...io.Reader) error {
	var h byLast
	for _, r := range in {
		l := &lines{r: bufio.NewReaderSize(r, 32<<10)}
		switch err := l.advance(); {
		case err == nil:
			h = append(h, l)
		case !errors.Is(err, io.EOF):
			return err
		}
	}
	heap.Init(&h)
	out := bufio.NewWriterSize(w, 64<<10)
	var written []byte
	for len(h) > 0 {
		if line := h[0].last; !bytes.Equal(line, written) {
			if _, err := out.Write(line); err != nil {
				return err
			}
			written = append(written[:0], line...)
		}
		switch err := h[0].advance(); {
		case err == nil:
			heap.Fix(&h, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&h)
		default:
			return err
		}
	}
	return out.Flush()
}
