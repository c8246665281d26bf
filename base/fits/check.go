package fits

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Check reads r once, to its end whatever it holds, and says what was found. Its error is that of r alone:
// what is wrong with the file is in the report.
func Check(r io.Reader) (Report, error) {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	w := &walker{src: &stream{r: r, buf: piece[:]}, reads: true}
	err := w.walk()
	return w.rep, err
}

// Skim looks at the headers of a file of size bytes and says whether it has all that they ask for: Whole,
// Truncated, Bad for a structure that can't be followed, or NotFITS. It reads no data and computes no sums, and
// of what follows the last HDU it sees the first block. It can't know whether a further HDU is still to come.
func Skim(r io.ReaderAt, size int64) (Report, error) {
	w := &walker{src: &glance{r: r, size: size}}
	err := w.walk()
	return w.rep, err
}

// walker goes over the HDUs of a file.
type walker struct {
	src     source
	reads   bool              // src gives the data too
	header  func(h HDU) error // called with every HDU whose header is whole; may be nil
	collect *collector        // of the cards of its header; may be nil
	at      int64             // bytes that src gave
	rep     Report

	notFITS   bool
	truncated bool
	fault     bool
	uncovered bool // there are bytes that no checksum vouches for
}

func (w *walker) walk() error {
	for n, more := 0, true; more; n++ {
		var err error
		if more, err = w.hdu(n); err != nil {
			return err
		}
	}
	rest, err := w.src.pass(-1, func([]byte) {})
	w.at += rest
	w.rep.Size = w.at
	w.rep.Verdict = w.verdict()
	return err
}

func (w *walker) verdict() Verdict {
	switch {
	case w.notFITS:
		return NotFITS
	case w.truncated:
		return Truncated
	case w.fault:
		return Bad
	case !w.reads:
		return Whole
	case w.uncovered:
		return Absent
	}
	return Good
}

// say adds a finding about the file.
func (w *walker) say(fault bool, format string, args ...any) {
	w.fault = w.fault || fault
	w.rep.find(-1, fault, format, args...)
}

// sayOf adds a finding about an HDU.
func (w *walker) sayOf(h *HDU, fault bool, format string, args ...any) {
	w.fault = w.fault || fault
	w.rep.find(h.Index, fault, "%s: %s", h.label(), fmt.Sprintf(format, args...))
}

func (w *walker) next() ([]byte, error) {
	b, err := w.src.block()
	w.at += int64(len(b))
	return b, err
}

// hdu goes over the next HDU, and reports whether another may follow.
func (w *walker) hdu(n int) (more bool, err error) {
	at := w.at
	b, err := w.next()
	if err != nil {
		return false, err
	}
	if begins, err := w.begins(n, at, b); !begins {
		return false, err
	}
	h := HDU{Index: n, Offset: at}
	l := newLayout(&h, func(fault bool, format string, args ...any) { w.sayOf(&h, fault, format, args...) },
		w.collect)
	sums, whole, err := w.readHeader(l, b)
	if err != nil || !whole {
		return false, err
	}
	if w.header != nil {
		if err := w.header(h); err != nil {
			return false, err
		}
	}
	return w.data(l, sums)
}

// begins reports whether block b, at offset at, begins HDU n. If not, that is what was found.
func (w *walker) begins(n int, at int64, b []byte) (bool, error) {
	want := "XTENSION"
	if n == 0 {
		want = "SIMPLE  ="
	}
	short := min(len(b), len(want))
	switch like := string(b[:short]) == want[:short]; {
	case n > 0 && len(b) == 0:
		return false, nil
	case like && short == len(want):
		return true, nil
	case like:
		w.cutHeader(&HDU{Index: n, Offset: at})
		return false, nil
	case n == 0:
		w.notFITS = true
		w.say(true, "the file does not begin with SIMPLE: %s", beginning(b))
		return false, nil
	}
	return false, w.tail(at, b)
}

// beginning is what a file that is no FITS begins with.
func beginning(b []byte) string {
	for _, magic := range [][2]string{{"\x1f\x8b", "gzip"}, {"BZh", "bzip2"}, {"PK\x03\x04", "zip"},
		{"\xfd7zXZ", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\x1f\x9d", "compress"}} {
		if bytes.HasPrefix(b, []byte(magic[0])) {
			return "it was packed by " + magic[1]
		}
	}
	return strconv.Quote(masked(b[:min(len(b), 20)]))
}

// readHeader reads the header that begins with block b, and returns its sum.
func (w *walker) readHeader(l *layout, b []byte) (s sum, whole bool, err error) {
	h := l.hdu
	for {
		s = s.add(b)
		end, bad := l.block(b)
		if bad == nil && end {
			h.Header = padded(w.at - h.Offset)
			h.Data, bad = l.finish()
			if bad == nil && h.Data > math.MaxInt64-BlockSize-h.Offset-h.Header {
				bad = fmt.Errorf("its header asks for more data than a file can have")
			}
		}
		switch {
		case bad != nil:
			w.notFITS = l.notFITS
			w.sayOf(h, true, "%s", bad)
			return s, false, nil
		case end:
			w.rep.Want = h.End()
			return s, true, nil
		case len(b) < BlockSize:
			w.cutHeader(h)
			return s, false, nil
		}
		if b, err = w.next(); err != nil {
			return s, false, err
		}
	}
}

// cutHeader tells of a file that ends within a header.
func (w *walker) cutHeader(h *HDU) {
	w.truncated, w.rep.InHeader = true, true
	w.rep.Want = h.Offset + max(BlockSize, padded(w.at+1-h.Offset))
	w.sayOf(h, true, "the file ends at byte %d, in its header: %d bytes are missing at least", w.at,
		w.rep.Want-w.at)
}

// data goes over the data of an HDU whose header is read, and judges its sums.
func (w *walker) data(l *layout, header sum) (more bool, err error) {
	h := l.hdu
	var s sum
	var seen int64
	filled := true
	if w.at == h.Offset+h.Header {
		got, err := w.src.pass(padded(h.Data), func(piece []byte) {
			s = s.add(piece)
			n := int64(len(piece))
			if fill := min(n, seen+n-h.Data); fill > 0 {
				filled = filled && all(piece[n-fill:], l.fill())
			}
			seen += n
		})
		w.at += got
		if err != nil {
			return false, err
		}
	}
	if more = w.at == h.End(); !more {
		w.cutData(h)
	} else if w.reads {
		w.judge(l, header, s)
	}
	if !filled { // 3.3.2, 7.2.3
		w.sayOf(h, false, "what fills the last block of its data is not 0x%02x", l.fill())
	}
	w.keep(*h)
	return more, nil
}

// cutData tells of a file that ends behind the END of a header and before the end of the last block.
func (w *walker) cutData(h *HDU) {
	w.truncated = true
	w.rep.OnlyFill = w.at-h.Offset-h.Header >= h.Data || h.Data == 0
	where := "data"
	switch {
	case w.rep.OnlyFill:
		where = "last block, behind its data"
	case w.at < h.Offset+h.Header:
		where = "header, behind END"
	}
	w.sayOf(h, true, "the file ends at byte %d, in its %s: %d bytes are missing", w.at, where, h.End()-w.at)
}

// keep puts an HDU whose header is whole in the report.
func (w *walker) keep(h HDU) {
	w.rep.Count++
	w.rep.Packed = w.rep.Packed || h.Packed
	if len(w.rep.HDUs) < MaxHDUs {
		w.rep.HDUs = append(w.rep.HDUs, h)
	}
}

// tail looks at what follows the last HDU, from block b at offset at on.
func (w *walker) tail(at int64, b []byte) error {
	const second = "BITPIX  "
	looksLikeHeader := len(b) >= 2*recordSize && string(b[recordSize:recordSize+len(second)]) == second
	begins := strconv.Quote(masked(b[:min(len(b), 8)]))
	zero := all(b, 0)
	rest, err := w.src.pass(-1, func(piece []byte) { zero = zero && all(piece, 0) })
	w.at += rest
	n := w.at - at
	switch {
	case looksLikeHeader:
		w.say(true, "a header seems to begin at byte %d, but with %s, not XTENSION", at, begins)
	case !w.reads:
		w.say(false, "%d bytes follow the last HDU, at byte %d", n, at)
	case zero && n < BlockSize: // 3.6.1: what a physical block has left is zero and to be disregarded
		w.say(false, "%d bytes of zero follow the last HDU, at byte %d", n, at)
	case zero:
		// They may be a medium's, or all that a crash has left of further HDUs.
		w.uncovered = true
		w.say(false, "%d bytes of zero follow the last HDU, at byte %d: is an extension lost?", n, at)
	case n%BlockSize == 0: // 3.5
		w.uncovered = true
		w.say(false, "%d bytes of special records follow the last HDU, at byte %d, beginning with %s", n, at,
			begins)
	default: // 3.1: a file is whole blocks
		w.say(true, "%d bytes that are no FITS follow the last HDU, at byte %d, beginning with %s", n, at,
			begins)
	}
	return err
}

// judge compares the sums of an HDU with its cards (4.4.2.7, appendix J).
func (w *walker) judge(l *layout, header, data sum) {
	h := l.hdu
	h.Datasum = w.datasum(l, data.value())
	h.Checksum = w.checksum(l, header.plus(data).value())
	if h.Checksum != SumGood {
		w.uncovered = true
	}
}

func (w *walker) datasum(l *layout, is uint32) Answer {
	said := strings.TrimSpace(l.datasum.Value)
	if said == "" {
		return SumAbsent // no card, or blanks, which mean that it is not known
	}
	v, err := strconv.ParseUint(said, 10, 32)
	if err != nil {
		w.sayOf(l.hdu, true, "DATASUM is %q, which is no sum", said)
		return SumBad
	}
	if uint32(v) != is {
		w.sayOf(l.hdu, true, "DATASUM is %d, its data sum to %d", v, is)
		return SumBad
	}
	return SumGood
}

func (w *walker) checksum(l *layout, is uint32) Answer {
	h, said := l.hdu, strings.TrimSpace(l.checksum.Value)
	switch {
	case said == "":
		return SumAbsent
	case is == allOnes:
		return SumGood
	case strings.Trim(said, "0") == "": // what stands there while the sum is computed
		w.sayOf(h, true, "CHECKSUM is %q: it was never filled in", said)
	case h.Datasum == SumGood:
		w.sayOf(h, true, "CHECKSUM is wrong, and DATASUM is right: the header was changed, not the data")
	default:
		w.sayOf(h, true, "CHECKSUM is wrong: header and data sum to %d, not to %d", is, uint32(allOnes))
	}
	return SumBad
}
