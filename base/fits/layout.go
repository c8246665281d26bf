package fits

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// layout reads the records of a header as far as the size of the data and the sums depend on them (4.4.1).
type layout struct {
	hdu     *HDU
	say     func(fault bool, format string, args ...any)
	collect *collector // nil if nobody wants the cards

	records   int
	odd       int // records that break a rule
	bitpix    int64
	naxis     int
	axes      []int64
	pcount    int64
	gcount    int64
	given     [2]bool // PCOUNT, GCOUNT
	groups    bool
	checksum  Card // its Keyword is "" if there is none
	datasum   Card
	notFITS   bool
	extension bool
}

// maxOdd is how many cards of one header are named that break a rule; the others are counted.
const maxOdd = 5

func newLayout(h *HDU, say func(bool, string, ...any), collect *collector) *layout {
	return &layout{hdu: h, say: say, collect: collect, gcount: 1, extension: h.Index > 0}
}

// block reads the whole records of a block. It reports the end of the header, or an error after which nothing
// more can be known of the file.
func (l *layout) block(b []byte) (end bool, err error) {
	for len(b) >= recordSize && !end {
		rec := b[:recordSize]
		b = b[recordSize:]
		if end, err = l.record(rec); err != nil {
			return false, err
		}
		l.records++
	}
	if end && !all(b, ' ') { // 3.3.1
		l.say(false, "what follows END in its block is not blank")
	}
	return end, nil
}

func (l *layout) record(rec []byte) (end bool, err error) {
	number := l.records + 1
	want := l.mandatory()
	if string(rec[:8]) == "END     " {
		if want != "" {
			return false, fmt.Errorf("its header ends before %s", want)
		}
		if !all(rec[8:], ' ') { // 4.4.1.1
			l.say(false, "its END card is not blank behind column 8")
		}
		return true, nil
	}
	if i := indexOdd(rec[:8]); i >= 0 {
		return false, fmt.Errorf("no END comes before card %d, which is no text: byte 0x%02x in column %d",
			number, rec[i], i+1)
	}
	c, bad := parse(rec)
	c.HDU, c.Number = l.hdu.Index, number
	if err := l.keep(c, bad, rec); err != nil {
		return false, err
	}
	if want != "" {
		return false, l.take(want, c, bad, rec)
	}
	if bad != nil && !bad.harmless {
		return false, l.unreadable(rec, bad)
	}
	return false, l.other(c, rec)
}

// keep hands the card to whoever collects cards, and tells what is odd of it.
func (l *layout) keep(c Card, bad *broken, rec []byte) error {
	var p *Problem
	if bad != nil {
		at := bad.problem(rec, c.HDU, c.Number)
		p = &at
		if l.odd++; l.odd <= maxOdd {
			l.say(false, "card %d (%s), column %d: %s", c.Number, p.Keyword, p.Column, p.Text)
		}
	}
	if l.collect == nil {
		return nil
	}
	return l.collect.add(c, p, bad != nil && bad.harmless)
}

// mandatory is the keyword that the next record must have, "" if it may have any (4.4.1, tables 7 and 9).
func (l *layout) mandatory() string {
	switch {
	case l.records == 0 && l.extension:
		return "XTENSION"
	case l.records == 0:
		return "SIMPLE"
	case l.records == 1:
		return "BITPIX"
	case l.records == 2:
		return "NAXIS"
	case l.records < 3+l.naxis:
		return fmt.Sprintf("NAXIS%d", l.records-2)
	}
	return ""
}

// take reads a mandatory card.
func (l *layout) take(want string, c Card, bad *broken, rec []byte) error {
	if want == "SIMPLE" {
		if v, err := c.Bool(); bad != nil && !bad.harmless || err != nil || !v {
			l.notFITS = true
			return fmt.Errorf("SIMPLE is not T: the file says itself that it does not conform to FITS")
		}
	}
	if c.Keyword != want {
		return fmt.Errorf("card %d is %s, want %s", c.Number, shown(rec[:8]), want)
	}
	if bad != nil && !bad.harmless {
		return fmt.Errorf("%s can't be read: column %d: %s", want, bad.column, bad.why)
	}
	if !fixed(c, rec) {
		l.say(false, "%s is not in fixed format", want)
	}
	switch want {
	case "SIMPLE":
		l.hdu.Kind = Primary
		return nil
	case "XTENSION":
		l.hdu.Kind = strings.TrimSpace(c.Value)
		if c.Kind != Text || l.hdu.Kind == "" {
			return fmt.Errorf("XTENSION names no kind of extension")
		}
		return nil
	}
	return l.number(want, c)
}

// number reads a mandatory number.
func (l *layout) number(want string, c Card) error {
	v, err := c.Int()
	if err != nil {
		return fmt.Errorf("%s is %.30q, want an integer", want, c.Value)
	}
	switch want {
	case "BITPIX":
		if l.bitpix = v; !slices.Contains([]int64{8, 16, 32, 64, -32, -64}, v) {
			return fmt.Errorf("BITPIX is %d, want 8, 16, 32, 64, -32 or -64", v)
		}
	case "NAXIS":
		if v < 0 || v > 999 {
			return fmt.Errorf("NAXIS is %d, want 0 to 999", v)
		}
		l.naxis = int(v)
	default:
		if v < 0 {
			return fmt.Errorf("%s is %d, want no negative number", want, v)
		}
		l.axes = append(l.axes, v)
	}
	return nil
}

// fixed reports whether a mandatory card is in fixed format, as it shall be (4.2, 4.4.1).
func fixed(c Card, rec []byte) bool {
	switch c.Kind {
	case Text:
		return rec[10] == '\''
	case Integer, Logical:
		at := 30 - len(c.Value)
		return at >= 10 && string(rec[at:30]) == c.Value && all(rec[10:at], ' ')
	}
	return true
}

// unreadable tells of a card that can't be read, which is a fault if a sum is in it.
func (l *layout) unreadable(rec []byte, bad *broken) error {
	keyword := shown(rec[:8])
	switch {
	case keyword == "CHECKSUM" || keyword == "DATASUM":
		l.say(true, "%s can't be read: column %d: %s", keyword, bad.column, bad.why)
	case flipped(rec):
		l.sayFlipped(rec)
	case keyword == "PCOUNT" || keyword == "GCOUNT":
		return fmt.Errorf("%s can't be read: column %d: %s", keyword, bad.column, bad.why)
	}
	return nil
}

// other reads a card that may stand anywhere.
func (l *layout) other(c Card, rec []byte) error {
	switch c.Keyword {
	case "PCOUNT":
		return l.count(0, &l.pcount, c)
	case "GCOUNT":
		return l.count(1, &l.gcount, c)
	case "GROUPS":
		l.groups = c.Kind == Logical && c.Value == "T"
	case "EXTNAME":
		if l.hdu.Name == "" && c.Kind == Text {
			l.hdu.Name = strings.TrimSpace(c.Value)
		}
	case "ZIMAGE", "ZTABLE":
		l.hdu.Packed = l.hdu.Packed || c.Kind == Logical && c.Value == "T" && l.hdu.Kind == "BINTABLE"
	case "CHECKSUM":
		l.sum(&l.checksum, c)
	case "DATASUM":
		l.sum(&l.datasum, c)
	default:
		if flipped(rec) {
			l.sayFlipped(rec)
		}
	}
	return nil
}

// count reads PCOUNT or GCOUNT, which follow the last NAXISn of an extension (4.4.1.2).
func (l *layout) count(which int, into *int64, c Card) error {
	v, err := c.Int()
	if err != nil || v < 0 {
		return fmt.Errorf("%s is %.30q, want an integer that is not negative", c.Keyword, c.Value)
	}
	if l.extension && l.records != 3+l.naxis+which {
		l.say(false, "%s is card %d, want it to be card %d", c.Keyword, c.Number, 4+l.naxis+which)
	}
	if !l.given[which] {
		*into, l.given[which] = v, true
	}
	return nil
}

// sum takes CHECKSUM or DATASUM. One whose value is not known is a string of blanks, never no value at all.
func (l *layout) sum(into *Card, c Card) {
	switch {
	case into.Keyword != "":
		l.say(false, "%s stands there twice: the first counts", c.Keyword)
	case c.Kind == Undefined || c.Kind == Commentary:
		l.say(true, "%s has no value", c.Keyword)
	default:
		*into = c
	}
}

// flipped reports whether a keyword is CHECKSUM but for one bit. Such a card is the one place where a flipped
// bit would make a sum absent instead of wrong.
func flipped(rec []byte) bool {
	n := 0
	for i, b := range []byte("CHECKSUM") {
		n += bits.OnesCount8(b ^ rec[i])
	}
	return n == 1
}

func (l *layout) sayFlipped(rec []byte) {
	l.say(true, "card %d is %q: CHECKSUM with one bit flipped", l.records+1, shown(rec[:8]))
}

// finish says how many bytes of data the header asks for (4.4.1.1, 4.4.1.2, 6.1.1; equations 1, 2 and 4).
func (l *layout) finish() (int64, error) {
	if l.odd > maxOdd {
		l.say(false, "%d cards more break a rule", l.odd-maxOdd)
	}
	axes := l.axes
	if !l.extension && l.groups && l.naxis > 0 && axes[0] == 0 {
		l.hdu.Kind, axes = Groups, axes[1:]
	}
	l.remark()
	if l.naxis == 0 {
		return 0, nil
	}
	n, over := uint64(1), false
	for _, v := range axes {
		if v == 0 { // no matter how large the others are
			n, over = 0, false
			break
		}
		n, over = times(n, uint64(v), over)
	}
	n, carry := bits.Add64(n, uint64(l.pcount), 0)
	over = over || carry != 0
	n, over = times(n, uint64(l.gcount), over && l.gcount > 0)
	n, over = times(n, uint64(max(l.bitpix, -l.bitpix)/8), over)
	if over || n > math.MaxInt64-BlockSize {
		return 0, fmt.Errorf("its header asks for more data than a file can have")
	}
	return int64(n), nil
}

// times multiplies; over is set if that was too much, or was set.
func times(a, b uint64, over bool) (uint64, bool) {
	high, low := bits.Mul64(a, b)
	return low, over || high != 0
}

// remark tells of mandatory cards that break a rule which no reader depends on (6, 7).
func (l *layout) remark() {
	if l.extension && (!l.given[0] || !l.given[1]) {
		l.say(false, "PCOUNT or GCOUNT is missing")
	}
	switch l.hdu.Kind {
	case Primary:
		if l.pcount != 0 || l.gcount != 1 {
			l.say(false, "PCOUNT is %d and GCOUNT %d: readers may differ in where the data end", l.pcount,
				l.gcount)
		}
	case "IMAGE":
		if l.pcount != 0 || l.gcount != 1 {
			l.say(false, "PCOUNT is %d and GCOUNT %d, want 0 and 1", l.pcount, l.gcount)
		}
	case "TABLE", "BINTABLE":
		if l.bitpix != 8 || l.naxis != 2 || l.gcount != 1 {
			l.say(false, "BITPIX is %d, NAXIS %d and GCOUNT %d, want 8, 2 and 1", l.bitpix, l.naxis, l.gcount)
		}
	}
}

// fill is the byte that data are filled up with to a whole block (3.3.2, 7.2.3).
func (l *layout) fill() byte {
	if l.hdu.Kind == "TABLE" {
		return ' '
	}
	return 0
}

// all reports whether all bytes are c.
func all(b []byte, c byte) bool { return bytes.Count(b, []byte{c}) == len(b) }
