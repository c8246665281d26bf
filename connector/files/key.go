package files

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"holdfast/connector"
)

// keyKind is what keys are; its text is what stands for it in names.
type keyKind string

const (
	noKeys   keyKind = ""
	intKeys  keyKind = "k"
	textKeys keyKind = "t"
)

func kindOfKeys(t arrow.DataType) keyKind {
	switch t.ID() {
	case arrow.INT64, arrow.UINT64:
		return intKeys
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY:
		return textKeys
	}
	return noKeys
}

// key is one key: a number, or a text.
type key struct {
	n uint64
	s string
}

// keyColumn is a column of keys.
type keyColumn struct {
	kind keyKind
	rows int
	at   func(row int) key
}

// keysIn reads a column as keys.
func keysIn(col arrow.Array) keyColumn {
	k := keyColumn{kind: kindOfKeys(col.DataType()), rows: col.Len()}
	switch c := col.(type) {
	case *array.Uint64:
		k.at = func(i int) key { return key{n: c.Value(i)} }
	case *array.Int64:
		k.at = func(i int) key { return key{n: uint64(c.Value(i))} }
	case *array.String:
		k.at = func(i int) key { return key{s: c.Value(i)} }
	case *array.LargeString:
		k.at = func(i int) key { return key{s: c.Value(i)} }
	case *array.Binary:
		k.at = func(i int) key { return key{s: string(c.Value(i))} }
	}
	return k
}

// keysOf is the key column of a delivery, of kind noKeys if it has none.
func keysOf(d connector.Delivery) keyColumn {
	if d.Schema.Key < 0 {
		return keyColumn{}
	}
	return keysIn(d.Rows.Column(d.Schema.Key))
}

// rank maps a key to a number that rises with it, or stays: for texts, their first eight bytes.
func (k key) rank(kind keyKind) uint64 {
	if kind == intKeys {
		return k.n
	}
	var b [8]byte
	copy(b[:], k.s)
	return binary.BigEndian.Uint64(b[:])
}

// span is the range of the ranks of all keys.
func (k keyColumn) span() connector.KeyRange {
	var r connector.KeyRange
	for i := range k.rows {
		n := k.at(i).rank(k.kind)
		if i == 0 {
			r = connector.KeyRange{From: n, To: n}
		}
		r.From, r.To = min(r.From, n), max(r.To, n)
	}
	return r
}

func overlap(a, b connector.KeyRange) bool { return a.From <= b.To && b.From <= a.To }
