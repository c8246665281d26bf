package clickhouse

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
)

const cursorVersion = 1

// position is what the bytes of a source's cursor hold, as JSON. Values are as kept writes them.
type position struct {
	Version int `json:"v"`
	// Of names the columns of cursor and key, with the cursor's unit: values of others mean nothing.
	Of string `json:"of"`
	// High is the highest cursor that was read.
	High string `json:"high,omitempty"`
	// At and Key are those of the last row, while rows are read on behind it; empty where the next poll
	// begins below High.
	At  string `json:"at,omitempty"`
	Key string `json:"key,omitempty"`
}

func (p position) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of text alone
	}
	return b
}

func (s *Source) beginning() position {
	return position{Version: cursorVersion, Of: s.cfg.Cursor + s.unit + "," + s.cfg.Key}
}

func (s *Source) positionOf(cursor []byte) (position, error) {
	if len(cursor) == 0 {
		return s.beginning(), nil
	}
	var p position
	if err := json.Unmarshal(cursor, &p); err != nil || p.Version != cursorVersion {
		return p, fault.New(fault.Permanent, "the cursor %.100q is none of this version", cursor)
	}
	if want := s.beginning().Of; p.Of != want {
		return p, fault.WithHint(fault.New(fault.Permanent, "the cursor is of columns %s, and the "+
			"configuration names %s", p.Of, want), "let a job of another name start anew")
	}
	return p, nil
}

// kept is a value as a position holds it: text in quotes, for JSON would change bytes that are not UTF-8.
func (c *sourceColumn) kept(field []byte) string {
	if c.kind == asText || c.kind == asFixed {
		return strconv.QuoteToASCII(unescape(string(field)))
	}
	return string(field)
}

// value undoes kept.
func (c *sourceColumn) value(kept string) string {
	if s, err := strconv.Unquote(kept); err == nil {
		return s
	}
	return kept
}

// compare orders two values as ClickHouse does.
func (c *sourceColumn) compare(a, b string) int {
	if c.kind == asText || c.kind == asFixed || c.kind == asDate {
		return cmp.Compare(a, b)
	}
	return bigInt(a).Cmp(bigInt(b))
}

func bigInt(s string) *big.Int {
	n, _ := new(big.Int).SetString(s, 10)
	if n == nil {
		n = new(big.Int)
	}
	return n
}

// overlap is how far below the highest cursor a poll begins, in the units of the column's count.
func (c *sourceColumn) overlap(text string) (int64, error) {
	switch {
	case text == "":
		return 0, nil
	case c.kind == asInt || c.kind == asUint:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("overlap: got %q, want a number from 0, like column %s", text, c.Name)
		}
		return n, nil
	case c.timed():
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("overlap: got %q, want a time such as 10m, like column %s", text, c.Name)
		}
		return int64(math.Ceil(d.Seconds() * float64(c.perSecond()))), nil
	}
	return 0, fmt.Errorf("overlap: column %s is text, from which nothing can be taken away", c.Name)
}

// below is a value less an overlap; it stays within the column's type.
func (c *sourceColumn) below(value string, overlap int64) string {
	if overlap == 0 {
		return value
	}
	if c.kind == asDate {
		t, err := time.Parse(time.DateOnly, value)
		if err != nil {
			return value
		}
		return t.Add(-time.Duration(overlap) * time.Second).Format(time.DateOnly)
	}
	low := new(big.Int)
	if c.kind == asInt || c.of.family == dateTime64 {
		low.SetInt64(math.MinInt64)
		if c.kind == asInt {
			lo, _ := c.of.bounds()
			low.SetInt64(lo)
		}
	}
	n := new(big.Int).Sub(bigInt(value), big.NewInt(overlap))
	if n.Cmp(low) < 0 {
		n = low
	}
	return n.String()
}

// first makes a value of what the configuration says of from.
func (c *sourceColumn) first(text string) (string, error) {
	var err error
	switch c.kind {
	case asInt:
		_, err = strconv.ParseInt(text, 10, 8*c.of.bytes)
	case asUint:
		_, err = strconv.ParseUint(text, 10, 8*c.of.bytes)
	case asTime, asDate:
		t, terr := time.Parse(time.RFC3339, text)
		if terr != nil {
			t, terr = time.Parse(time.DateOnly, text)
		}
		if terr != nil {
			err = terr
		} else if c.kind == asDate {
			return t.UTC().Format(time.DateOnly), nil
		} else {
			return strconv.FormatInt(t.Unix()*c.perSecond(), 10), nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("from: got %q, want a value of column %s (%s); a time as 2026-01-31 or "+
			"2026-01-31T12:00:00Z", text, c.Name, c.Type)
	}
	return text, nil
}

// selection is the SELECT of the page behind a position.
func (s *Source) selection(d *description, at position) string {
	c, k := d.cursor, d.key
	var cols, where []string
	for i := range d.columns {
		cols = append(cols, d.columns[i].expression())
	}
	low := func(value string) { where = append(where, name(c.Name)+" >= "+c.literal(value)) }
	if d.from != "" {
		low(d.from)
	}
	switch {
	case at.At != "" && c.Name == k.Name:
		where = append(where, name(c.Name)+" > "+c.literal(c.value(at.At)))
	case at.At != "":
		low(c.value(at.At)) // for the index: a comparison of tuples alone would not use it
		where = append(where, fmt.Sprintf("(%s, %s) > (%s, %s)", name(c.Name), name(k.Name),
			c.literal(c.value(at.At)), k.literal(k.value(at.Key))))
	case at.High != "":
		low(c.below(c.value(at.High), d.overlap))
	}
	if bound := fmt.Sprintf("now() - %d", int64(s.cfg.Settle.Seconds()+0.5)); c.kind == asTime {
		where = append(where, name(c.Name)+" <= "+bound)
	} else if c.kind == asDate {
		where = append(where, name(c.Name)+" <= toDate("+bound+")")
	}
	sql := "SELECT " + literal(rowBegin) + ", " + strings.Join(cols, ", ") + ", " + literal(rowEnd) +
		" FROM " + s.cfg.from()
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	sql += " ORDER BY " + name(c.Name)
	if c.Name != k.Name {
		sql += ", " + name(k.Name)
	}
	return fmt.Sprintf("%s LIMIT %d FORMAT TabSeparated", sql, s.cfg.Page)
}

// after is the position behind a page whose last row has these values, nil if it had none.
func (d *description) after(at position, last *lastRow, more bool) position {
	if last != nil {
		at.At, at.Key = d.cursor.kept(last.cursor), ""
		if d.cursor.Name != d.key.Name {
			at.Key = d.key.kept(last.key)
		}
		if at.High == "" || d.cursor.compare(d.cursor.value(at.At), d.cursor.value(at.High)) > 0 {
			at.High = at.At
		}
	}
	if !more && d.overlap > 0 {
		at.At, at.Key = "", ""
	}
	return at
}
