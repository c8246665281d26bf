package extract

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/zlib"
)

// The bounds of what is read of a PDF file, in bytes.
const (
	maxUnpackedPDF = 64 << 20 // of its object streams together
	maxStringPDF   = 64 << 10 // of a string; one that is longer has lost its end
	maxWordPDF     = 127      // of a name or keyword
	bufferPDF      = 32 << 10
)

// pdf reads the links of annotations of a PDF file (ISO 32000-1, 12.6.4.7), that is each string behind a name /URI, where
// it stands plainly or in an object stream (7.5.7). It goes over the file once, without its table of objects, and so reads
// files that are damaged too, objects that were replaced, and none that is encrypted.
type pdf struct {
	f    *finder
	left int64  // of maxUnpackedPDF
	name []byte // the last name or keyword
}

// pdf gives the links of a PDF file. As in Heritrix they are navigation.
func (f *finder) pdf(r io.Reader) error {
	p := &pdf{f: f, left: maxUnpackedPDF}
	return p.scan(bufio.NewReaderSize(r, bufferPDF), false)
}

// object is what was seen of one before its stream.
type object struct{ objects, flate, other bool }

// note takes a name of its dictionary.
func (o *object) note(name []byte) {
	switch string(name) {
	case "ObjStm":
		o.objects = true
	case "FlateDecode", "Fl":
		o.flate = true
	case "Predictor", "Crypt", "ASCII85Decode", "A85", "ASCIIHexDecode", "AHx", "LZWDecode", "LZW", "RunLengthDecode", "RL":
		o.other = true
	}
}

// scan goes over objects, those of a stream if they are unpacked. The error is that of reading, or of giving a link.
func (p *pdf) scan(r *bufio.Reader, unpacked bool) error {
	var seen object
	uri := false // a string that comes now is an address
	for {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case isSpacePDF(c):
			continue
		case c == '%':
			err = skipComment(r)
		case c == '/':
			err = p.word(r)
			seen.note(p.name)
			uri = string(p.name) == "URI"
			if err == nil {
				continue
			}
		case c == '(' || c == '<' && !nextIs(r, '<'):
			var text []byte
			if text, err = stringPDF(r, c); err == nil && uri {
				err = p.link(text)
			}
		case !isDelimiterPDF(c):
			err = p.word(r, c)
			switch key := string(p.name); {
			case err != nil:
			case key == "stream" && !unpacked:
				err = p.stream(r, seen)
				seen = object{}
			case key == "obj" || key == "endobj":
				seen = object{}
			}
		}
		if uri = false; err != nil && err != io.EOF {
			return err
		}
	}
}

// link gives an address, if it is whole: a relative one has a base that is rare, and what is encrypted looks like anything.
func (p *pdf) link(text []byte) error {
	s := string(text)
	if scheme, _, ok := strings.Cut(s, "://"); !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return nil
	}
	return p.f.link(s, Navigation, "=NAVLINK_MISC")
}

// stream goes over the content of a stream, and reads it if it has objects.
func (p *pdf) stream(r *bufio.Reader, o object) error {
	in := &streamPDF{r: r}
	if c, err := r.Peek(2); err == nil && c[0] == '\r' && c[1] == '\n' {
		_, _ = r.Discard(2)
	} else if err == nil && (c[0] == '\n' || c[0] == '\r') {
		_, _ = r.Discard(1)
	}
	if o.objects && !o.other {
		if err := p.objects(in, o.flate); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// objects reads those of a stream. Damage ends them where it is.
func (p *pdf) objects(in *streamPDF, packed bool) error {
	content := io.Reader(in)
	if packed {
		z, err := zlib.NewReader(in)
		if err != nil {
			return in.err
		}
		defer z.Close()
		content = z
	}
	if p.left <= 0 {
		p.f.sum.Truncated = true
		return nil
	}
	limited := &io.LimitedReader{R: &damaged{r: content, of: in}, N: p.left}
	err := p.scan(bufio.NewReaderSize(limited, 4<<10), true)
	p.left = limited.N
	return err
}

// damaged has what can't be unpacked be the end, and not what can't be read.
type damaged struct {
	r  io.Reader
	of *streamPDF
}

// Read reads.
func (d *damaged) Read(b []byte) (int, error) {
	n, err := d.r.Read(b)
	if err != nil && d.of.err == nil {
		err = io.EOF
	}
	return n, err
}

// streamPDF is the content of a stream, up to the word behind it.
type streamPDF struct {
	r   *bufio.Reader
	err error // of the file
}

var endStream = []byte("endstream")

// Read reads up to the end of the stream, or of the file.
func (s *streamPDF) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if len(b) == 0 {
		return 0, nil
	}
	ahead, err := s.r.Peek(len(endStream))
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
		return 0, err
	}
	if err == nil {
		ahead, _ = s.r.Peek(s.r.Buffered())
		if i := bytes.Index(ahead, endStream); i >= 0 {
			ahead = ahead[:i]
		} else {
			ahead = ahead[:len(ahead)-len(endStream)+1]
		}
	}
	if len(ahead) == 0 {
		return 0, io.EOF
	}
	n := copy(b, ahead)
	_, _ = s.r.Discard(n)
	return n, nil
}

func isSpacePDF(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' && c != '\v' || c == 0 }

func isDelimiterPDF(c byte) bool {
	switch c {
	case '(', ')', '<', '>', '[', ']', '{', '}', '/', '%':
		return true
	}
	return false
}

// nextIs reports whether the next byte is c, and takes it then.
func nextIs(r *bufio.Reader, c byte) bool {
	b, err := r.Peek(1)
	if err != nil || b[0] != c {
		return false
	}
	_, _ = r.Discard(1)
	return true
}

func skipComment(r *bufio.Reader) error {
	for {
		if c, err := r.ReadByte(); err != nil || c == '\n' || c == '\r' {
			return err
		}
	}
}

// word reads the rest of a name or keyword, of which some was read already. Of a long one the beginning is kept.
func (p *pdf) word(r *bufio.Reader, begin ...byte) error {
	p.name = append(p.name[:0], begin...)
	for {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case isSpacePDF(c) || isDelimiterPDF(c):
			return r.UnreadByte()
		case len(p.name) < maxWordPDF:
			p.name = append(p.name, c)
		}
	}
}

// stringPDF reads a string behind its first sign (7.3.4). One that is too long for an address is cut, and then no address.
func stringPDF(r *bufio.Reader, first byte) (text []byte, err error) {
	s := literal{depth: 1, hex: first == '<'}
	for n := 0; n < maxStringPDF && s.depth > 0; n++ {
		c, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		if s.take(c); len(s.text) > maxAddress {
			s.text, s.long = s.text[:1], true // what comes may belong to the byte before it
		}
	}
	if s.long || s.depth > 0 {
		return nil, nil
	}
	return s.text, nil
}

// literal is a string that is being read.
type literal struct {
	text   []byte
	hex    bool
	half   bool // the last byte has one digit
	depth  int  // of parentheses; 0: it is whole
	escape int  // 1 behind a backslash, then how many octal digits came and 1
	long   bool
}

func (s *literal) take(c byte) {
	switch {
	case s.hex:
		s.digit(c)
	case s.escape == 1:
		s.escaped(c)
	case s.escape > 1 && c >= '0' && c <= '7':
		last := &s.text[len(s.text)-1]
		*last = *last<<3 | (c - '0')
		if s.escape++; s.escape == 4 {
			s.escape = 0
		}
	default:
		s.escape = 0
		s.plain(c)
	}
}

func (s *literal) plain(c byte) {
	switch c {
	case '\\':
		s.escape = 1
		return
	case '(':
		s.depth++
	case ')':
		if s.depth--; s.depth == 0 {
			return
		}
	}
	s.text = append(s.text, c)
}

// escaped takes the character behind a backslash. A line end there is left out of the text.
func (s *literal) escaped(c byte) {
	s.escape = 0
	switch {
	case c >= '0' && c <= '7':
		s.text, s.escape = append(s.text, c-'0'), 2
	case c == '\n' || c == '\r':
	default:
		if i := strings.IndexByte("nrtbf", c); i >= 0 {
			c = "\n\r\t\b\f"[i]
		}
		s.text = append(s.text, c)
	}
}

func (s *literal) digit(c byte) {
	v := strings.IndexByte("0123456789abcdef", c|0x20)
	switch {
	case c == '>':
		s.depth = 0
	case v < 0:
	case s.half:
		s.text[len(s.text)-1] |= byte(v)
		s.half = false
	default:
		s.text, s.half = append(s.text, byte(v)<<4), true
	}
}
