package spot

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/connector"
)

// Limits bound what one Parse takes into memory. What is beyond is as if it had been cut off.
type Limits struct {
	Bytes    int64 // of the body; default 64 MiB
	Rejected int   // items; default 10,000
	Expect   int   // rows, to make room for; default none
	Broken   int   // places with garbage; default 300: each may cost 50 KB of scanning
	// Arrays of 20 columns are rows too, as in the cache files of the old scraper.
	Arrays bool
}

const (
	bufferSize = 256 << 10 // also the longest element
	rawSize    = 64 << 10  // what a Reject keeps
	headSize   = 4 << 10
)

// Result is what was read from a page, a part of one, or something else.
type Result struct {
	Rows     arrow.RecordBatch
	Rejected []connector.Reject
	Notes    map[string]int64
	// IsArray tells whether the body began like a page at all; Head is how it began.
	IsArray bool
	Head    []byte
	// Whole: the page's closing bracket was seen. Limited: a limit ended it. ReadErr is what ended
	// the body if that was not its end. Tail is the beginning of an item that was cut, Trailing of
	// what follows the closing bracket.
	Whole    bool
	Limited  bool
	ReadErr  error
	Tail     []byte
	Trailing []byte
	Bytes    int64 // of the body, read
	// Ids of all items that have one, rejected ones too, and their order of appearance.
	Min, Max              uint64
	Ascending, Descending bool
}

// Parse reads a page. It returns an empty result rather than an error: what there is counts.
func Parse(body io.Reader, lim Limits) *Result {
	p := newParser(body, lim)
	p.page()
	return p.finish()
}

// finish hands over what was gathered.
func (p *parser) finish() *Result {
	r := &p.out
	p.flushGarbage()
	r.Rows = p.rows.Batch()
	r.Notes = p.notes.named()
	r.Ascending, r.Descending = p.items > 1 && p.asc, p.items > 1 && p.desc
	return r
}

// counts are the Notes while they are gathered.
type counts struct{ locatorInvalid, unknownField, trailing int64 }

func (c counts) named() map[string]int64 {
	out := map[string]int64{}
	for name, n := range map[string]int64{"locator_invalid": c.locatorInvalid,
		"unknown_field": c.unknownField, "trailing_bytes": c.trailing} {
		if n > 0 {
			out[name] = n
		}
	}
	return out
}

// parser works through a window onto the body: buf[pos:end]. pos only moves past whole elements, so
// that an element which the window cuts is looked at again when there is more.
type parser struct {
	body     io.Reader
	lim      Limits
	buf      []byte
	pos, end int
	eof      bool

	rows    Builder
	notes   counts
	garbage []byte // bytes between elements that are no JSON, at most rawSize
	dirty   bool   // there is garbage, if perhaps none kept

	broken    int // elements that were no JSON
	items     int
	lastID    uint64
	asc, desc bool
	out       Result
}

func newParser(body io.Reader, lim Limits) *parser {
	if lim.Bytes <= 0 {
		lim.Bytes = 64 << 20
	}
	if lim.Rejected <= 0 {
		lim.Rejected = 10_000
	}
	if lim.Broken <= 0 {
		lim.Broken = 300
	}
	p := &parser{body: body, lim: lim, buf: make([]byte, bufferSize), asc: true, desc: true}
	p.rows.grow(lim.Expect)
	return p
}

// fill reads more of the body behind what is still unread; false means that nothing more comes.
func (p *parser) fill() bool {
	if p.eof {
		return false
	}
	if p.pos > 0 {
		p.end = copy(p.buf, p.buf[p.pos:p.end])
		p.pos = 0
	}
	room := int64(len(p.buf) - p.end)
	if left := p.lim.Bytes - p.out.Bytes; left < room {
		room = left
	}
	if room == 0 {
		p.out.Limited = p.out.Limited || p.out.Bytes >= p.lim.Bytes
		p.eof = p.out.Limited
		return false
	}
	for range 100 {
		n, err := p.body.Read(p.buf[p.end : p.end+int(room)])
		if keep := headSize - len(p.out.Head); keep > 0 {
			p.out.Head = append(p.out.Head, p.buf[p.end:p.end+min(keep, n)]...)
		}
		p.end += n
		p.out.Bytes += int64(n)
		if err != nil {
			p.eof = true
			if !errors.Is(err, io.EOF) {
				p.out.ReadErr = err
			}
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	p.eof, p.out.ReadErr = true, io.ErrNoProgress
	return false
}

// next skips blanks and commas and returns the byte at which an element begins.
func (p *parser) next() (c byte, ok bool) {
	for {
		for p.pos < p.end {
			switch c := p.buf[p.pos]; c {
			case ' ', '\n', '\r', '\t', ',':
				p.pos++
			default:
				return c, true
			}
		}
		if !p.fill() {
			return 0, false
		}
	}
}

// page reads `[`, the elements and `]`.
func (p *parser) page() {
	for range 3 { // a byte order mark, if there is one
		if p.end < 3 && !p.fill() {
			break
		}
	}
	if bytes.HasPrefix(p.buf[:p.end], []byte("\xef\xbb\xbf")) {
		p.pos = 3
	}
	if c, ok := p.next(); !ok || c != '[' {
		return
	}
	p.pos++
	p.out.IsArray = true
	p.elements()
	if p.out.Whole {
		p.trailing()
	}
}

// elements reads up to and with the closing bracket of the array of spots.
func (p *parser) elements() {
	var obj object // here and not in the parser: on the stack its fields are written without barriers
	for len(p.out.Rejected) < p.lim.Rejected && p.broken < p.lim.Broken {
		c, ok := p.next()
		switch {
		case !ok:
			return
		case c == ']':
			p.pos++
			p.out.Whole = true
			return
		case c == '{':
			n, st := obj.quick(p.buf[p.pos:p.end])
			if st == whole {
				p.take(&obj, n)
				continue
			}
			if st == short && p.fill() {
				continue
			}
		}
		if !p.unusual(&obj) {
			return
		}
	}
	p.out.Limited = true
}

// unusual deals with an element that the quick scanner did not take: false ends the page.
func (p *parser) unusual(obj *object) bool {
	b := p.buf[p.pos:p.end]
	n, st := element(b, p.eof)
	switch {
	case st == whole && b[0] == '{':
		if obj.thorough(b[:n]) != whole {
			p.skip(1)
			return true
		}
		p.take(obj, n)
	case st == whole && b[0] == '[' && p.lim.Arrays:
		p.takeArray(n)
	case st == whole:
		p.flushGarbage()
		p.reject(b[:n], "", "not a spot: it is no JSON object")
		p.pos += n
	case st == short && p.fill():
	case st == short && p.eof:
		p.out.Tail = bytes.Clone(b[:min(len(b), rawSize)])
		p.pos = p.end
		return false
	default: // no JSON, or an element longer than the buffer
		p.skip(1)
	}
	return true
}

// take makes a row, or a Reject, of the object that is n bytes long.
func (p *parser) take(obj *object, n int) {
	if p.dirty {
		p.flushGarbage()
	}
	if fault := p.rows.add(obj, &p.notes); fault != "" {
		p.reject(p.buf[p.pos:p.pos+n], obj.key(), fault)
	} else {
		p.seen(p.rows.id[len(p.rows.id)-1])
	}
	p.pos += n
}

// seen keeps track of the ids and their order.
func (p *parser) seen(id uint64) {
	if p.items == 0 || id < p.out.Min {
		p.out.Min = id
	}
	p.out.Max = max(p.out.Max, id)
	if p.items > 0 {
		p.asc = p.asc && id > p.lastID
		p.desc = p.desc && id < p.lastID
	}
	p.items++
	p.lastID = id
}

func (p *parser) reject(raw []byte, key, reason string) {
	if id, err := strconv.ParseUint(key, 10, 63); err == nil {
		p.seen(id)
	}
	raw = bytes.Clone(raw[:min(len(raw), rawSize)])
	p.out.Rejected = append(p.out.Rejected, connector.Reject{Raw: raw, Key: key, Reason: reason})
}

// skip takes n bytes and what follows them, up to where an object may begin, for garbage.
func (p *parser) skip(n int) {
	p.dirty = true
	p.broken++
	p.keepGarbage(n)
	// Behind garbage the closing bracket is one only if nothing but blanks follows it.
	closed := false
	for {
		b := p.buf[p.pos:p.end]
		i := bytes.IndexByte(b, '{')
		if p.lim.Arrays {
			i = bytes.IndexAny(b, "{[")
		}
		if i >= 0 {
			p.keepGarbage(i)
			return
		}
		if b = bytes.TrimRight(b, " \r\n\t"); len(b) > 0 {
			closed = b[len(b)-1] == ']'
		}
		p.keepGarbage(p.end - p.pos)
		if !p.fill() {
			p.out.Whole = p.out.Whole || closed
			return
		}
	}
}

func (p *parser) keepGarbage(n int) {
	if keep := min(n, rawSize-len(p.garbage)); keep > 0 {
		p.garbage = append(p.garbage, p.buf[p.pos:p.pos+keep]...)
	}
	p.pos += n
}

// flushGarbage makes one Reject of all the garbage since the last element.
func (p *parser) flushGarbage() {
	if !p.dirty {
		return
	}
	p.reject(p.garbage, garbageKey(p.garbage), "no JSON")
	p.garbage, p.dirty = p.garbage[:0], false
}

// garbageKey finds the id in what is left of a spot.
func garbageKey(b []byte) string {
	_, rest, ok := bytes.Cut(b, []byte(`"Spotnum"`))
	if !ok {
		return ""
	}
	rest = bytes.TrimLeft(rest, "\": \r\n\t")
	n := 0
	for n < len(rest) && rest[n]-'0' < 10 {
		n++
	}
	if v, ok := parseInt(rest[:n]); ok && v > 0 && n < len(rest) {
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// trailing counts what follows the page's closing bracket, blanks left out, and keeps how it begins.
func (p *parser) trailing() {
	for p.pos < p.end || p.fill() {
		b := p.buf[p.pos:p.end]
		p.pos = p.end
		for _, c := range b {
			if c > ' ' {
				p.notes.trailing++
			}
		}
		if keep := headSize - len(p.out.Trailing); keep > 0 {
			p.out.Trailing = append(p.out.Trailing, b[:min(keep, len(b))]...)
		}
	}
}
