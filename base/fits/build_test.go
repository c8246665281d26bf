package fits

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// card is a record in fixed format (4.2): value right up to column 30, or a string from column 11 on.
func card(keyword, value, comment string) string {
	s := fmt.Sprintf("%-8s= %20s", keyword, value)
	if strings.HasPrefix(value, "'") {
		s = fmt.Sprintf("%-8s= %-20s", keyword, value)
	}
	if comment != "" {
		s += " / " + comment
	}
	return record(s)
}

// record is s as one record.
func record(s string) string {
	if len(s) > recordSize {
		panic("too long for a record: " + s)
	}
	return s + strings.Repeat(" ", recordSize-len(s))
}

// text is s as a string value.
func text(s string) string { return fmt.Sprintf("'%-8s'", strings.ReplaceAll(s, "'", "''")) }

// long is a string of any length in as many records as it needs (4.2.1.2), its comment with the last.
func long(keyword, s, comment string) string {
	const room = 60
	var out strings.Builder
	head := fmt.Sprintf("%-8s= ", keyword)
	quoted := strings.ReplaceAll(s, "'", "''")
	for len(quoted) > room {
		n := room
		for quoted[n-1] == '\'' { // a pair stays in one record
			n--
		}
		out.WriteString(record(head + "'" + quoted[:n] + "&'"))
		head, quoted = "CONTINUE  ", quoted[n:]
	}
	last := head + "'" + quoted + "'"
	if comment != "" {
		last += " / " + comment
	}
	out.WriteString(record(last[:min(len(last), recordSize)]))
	return out.String()
}

// unit is an HDU to be written.
type unit struct {
	kind  string // "" for the primary HDU, else the value of XTENSION
	bits  int
	axes  []int
	cards []string // behind the mandatory ones
	data  []byte
	sums  bool
}

// header is the header's text with END and fill.
func (u unit) header(cards ...string) string {
	var b strings.Builder
	if u.kind == "" {
		b.WriteString(card("SIMPLE", "T", "conforms"))
	} else {
		b.WriteString(card("XTENSION", text(u.kind), ""))
	}
	b.WriteString(card("BITPIX", strconv.Itoa(u.bits), ""))
	b.WriteString(card("NAXIS", strconv.Itoa(len(u.axes)), ""))
	for i, n := range u.axes {
		b.WriteString(card(fmt.Sprintf("NAXIS%d", i+1), strconv.Itoa(n), ""))
	}
	if u.kind != "" {
		b.WriteString(card("PCOUNT", "0", "") + card("GCOUNT", "1", ""))
	}
	for _, c := range append(u.cards, cards...) {
		b.WriteString(c)
	}
	b.WriteString(record("END"))
	return filled(b.String(), " ")
}

// filled is s filled up to whole blocks.
func filled(s, fill string) string {
	return s + strings.Repeat(fill, int(padded(int64(len(s))))-len(s))
}

// bytes is the HDU as it is in a file.
func (u unit) bytes() []byte {
	fill := "\x00"
	if u.kind == "TABLE" {
		fill = " "
	}
	data := filled(string(u.data), fill)
	if !u.sums {
		return []byte(u.header() + data)
	}
	datasum := card("DATASUM", text(strconv.FormatUint(uint64(plainSum([]byte(data))), 10)), "")
	blank := u.header(card("CHECKSUM", text(strings.Repeat("0", 16)), ""), datasum) + data
	checksum := encoded(^plainSum([]byte(blank)))
	return []byte(u.header(card("CHECKSUM", text(checksum), ""), datasum) + data)
}

// file is HDUs one after the other.
func file(units ...unit) []byte {
	var out []byte
	for _, u := range units {
		out = append(out, u.bytes()...)
	}
	return out
}

// plainSum is the sum word by word, as 4.4.2.7 says it.
func plainSum(b []byte) uint32 {
	s := uint64(0)
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
		s = s&0xffffffff + s>>32
	}
	return uint32(s)
}

// encoded is a sum as 16 letters and digits that add up to it (appendix J).
func encoded(v uint32) string {
	var out [16]byte
	for i := range 4 {
		b := byte(v >> (24 - 8*i))
		q := b/4 + '0'
		part := [4]byte{q + b%4, q, q, q}
		for j := 0; j < 4; j += 2 {
			for excluded(part[j]) || excluded(part[j+1]) {
				part[j]++
				part[j+1]--
			}
		}
		for j := range 4 {
			out[4*j+i] = part[j]
		}
	}
	return string(out[15:]) + string(out[:15])
}

func excluded(c byte) bool { return c >= ':' && c <= '@' || c >= '[' && c <= '`' }

// pattern is n bytes that differ.
func pattern(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i*31 + i>>8)
	}
	return out
}

// plain is the HDU without sums.
func (u unit) plain() unit {
	u.sums = false
	return u
}

// primary and image are small HDUs with sums.
func primary() unit {
	return unit{bits: 16, axes: []int{50, 40}, data: pattern(4000), sums: true,
		cards: []string{card("DATE-OBS", text("2026-11-29T15:04:05.25"), "start of exposure")}}
}

func image(name string) unit {
	return unit{kind: "IMAGE", bits: -32, axes: []int{9, 3}, data: pattern(108), sums: true,
		cards: []string{card("EXTNAME", text(name), "")}}
}

// randomGroups is seven groups of two parameters and 15 values (6).
func randomGroups() unit {
	return unit{bits: 16, axes: []int{0, 5, 3}, data: pattern(2 * 7 * (2 + 15)), sums: true, cards: []string{
		card("GROUPS", "T", ""), card("PCOUNT", "2", ""), card("GCOUNT", "7", "")}}
}
