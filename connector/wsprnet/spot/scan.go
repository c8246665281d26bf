package spot

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// status is what came of looking at the bytes at hand.
type status uint8

const (
	whole   status = iota // a whole element, or object
	short                 // the bytes end within it
	unusual               // not for the quick scanner: the thorough one must look
	broken                // no JSON
)

// plain marks the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// heads are the fields as a compact feed writes them, up to and with the value's opening quote.
var heads = func() (h [fields][]byte) {
	for f, name := range fieldNames {
		h[f] = []byte(`"` + name + `":"`)
	}
	return h
}()

// quick reads the spot that begins at b[0] == '{' without looking twice at a byte: fields in the
// feed's order, values that are strings of plain bytes or numbers. It returns the length of the
// object when it is whole. Everything it does not know it leaves to the thorough scanner.
func (o *object) quick(b []byte) (n int, st status) {
	o.have, o.bad, o.unknown = 0, "", 0
	i, next := 1, 0
	for {
		f := next
		if next < fields && bytes.HasPrefix(b[i:], heads[next]) {
			i += len(heads[next])
		} else {
			if i, f, st = o.name(b, i, next); st != whole {
				return 0, st
			}
			if b[i] != '"' {
				if i, st = o.bare(b, i, f); st != whole {
					return 0, st
				}
				goto end
			}
			i++
		}
		{
			j := i
			for j < len(b) && plain[b[j]] {
				j++
			}
			if j == len(b) {
				return 0, short
			}
			if b[j] != '"' {
				if o.val[f], j, st = o.slashes(b, i, j); st != whole {
					return 0, st
				}
			} else {
				o.val[f] = b[i:j]
			}
			o.have |= 1 << f
			i = j + 1
		}
	end:
		if i = blanks(b, i); i == len(b) {
			return 0, short
		}
		switch b[i] {
		case '}':
			if o.have != 1<<fields-1 {
				o.forget()
			}
			return i + 1, whole
		case ',':
			i = blanks(b, i+1)
		default:
			return 0, unusual
		}
		next = f + 1
	}
}

// slashes reads on, from j, a string that began at i and has an escaped slash: the feed's PHP
// writes one into every portable call sign. The text is copied; other escapes are unusual.
func (o *object) slashes(b []byte, i, j int) (text []byte, end int, st status) {
	text = append(make([]byte, 0, 32), b[i:j]...)
	for ; j < len(b); j++ {
		switch c := b[j]; {
		case c == '"':
			return text, j, whole
		case plain[c]:
			text = append(text, c)
		case c == '\\' && j+1 < len(b) && b[j+1] == '/':
			text = append(text, '/')
			j++
		case c == '\\' && j+1 == len(b):
			return nil, j, short
		default:
			return nil, j, unusual
		}
	}
	return nil, j, short
}

// forget empties the fields that this object does not have: an earlier one's are still there.
func (o *object) forget() {
	for f := range fields {
		if o.have&(1<<f) == 0 {
			o.val[f] = nil
		}
	}
}

// name reads blanks, a known field's name, the colon and blanks; i is then at the value.
func (o *object) name(b []byte, i, next int) (at, field int, st status) {
	if i = blanks(b, i); i == len(b) {
		return i, 0, short
	}
	if b[i] != '"' {
		return i, 0, unusual // also the empty object
	}
	i++
	end := bytes.IndexByte(b[i:], '"')
	if end < 0 {
		return i, 0, short
	}
	field = fieldOf(b[i:i+end], next)
	if field < 0 {
		return i, 0, unusual
	}
	i = blanks(b, i+end+1)
	if i < len(b) && b[i] != ':' {
		return i, 0, unusual
	}
	if i = blanks(b, i+1); i >= len(b) {
		return i, 0, short
	}
	return i, field, whole
}

// bare reads a value that is a JSON number.
func (o *object) bare(b []byte, i, f int) (at int, st status) {
	j := i
	for j < len(b) && (b[j]-'0' < 10 || b[j] == '-' || b[j] == '.') {
		j++
	}
	if j == len(b) {
		return i, short
	}
	if j == i || b[j] != ',' && b[j] != '}' && b[j] > ' ' {
		return i, unusual
	}
	o.val[f] = b[i:j]
	o.have |= 1 << f
	return j, whole
}

// fieldOf returns the field's number, -1 if it is none of ours; the one expected is tried first.
func fieldOf(name []byte, next int) int {
	if next < fields && string(name) == fieldNames[next] {
		return next
	}
	for f := range fieldNames {
		if string(name) == fieldNames[f] {
			return f
		}
	}
	return -1
}

// blanks returns the index of the first byte from i on that is no white space, len(b) if none.
func blanks(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return min(i, len(b))
}

// lenient reads JSON as feeds write it: a name that comes twice and text in another encoding are
// no reason to lose a spot.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// element returns the length of the JSON value that begins at b[0], checked against the grammar
// byte by byte: so garbage is told from a cut, and is found where it begins.
func element(b []byte, last bool) (n int, st status) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b), lenient...)
	v, err := dec.ReadValue()
	switch {
	case err == nil:
		end := int(dec.InputOffset())
		if end == len(b) && !last && v.Kind() == '0' {
			return 0, short // the rest of a number may follow
		}
		return end, whole
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return 0, short
	}
	return 0, broken
}

// thorough reads a spot from one whole JSON object, whatever its shape.
func (o *object) thorough(b []byte) (st status) {
	*o = object{}
	dec := jsontext.NewDecoder(bytes.NewBuffer(b), lenient...)
	if _, err := dec.ReadToken(); err != nil {
		return broken
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return broken
		}
		f := fieldOf([]byte(name.String()), fields)
		val, err := dec.ReadValue()
		if err != nil {
			return broken
		}
		if f < 0 {
			o.unknown++
			continue
		}
		o.set(f, val)
	}
	return whole
}

// set keeps one field's value; null is as if the field were not there.
func (o *object) set(f int, val jsontext.Value) {
	o.have &^= 1 << f
	o.val[f] = nil
	switch val.Kind() {
	case 'n':
		return
	case '"':
		text, err := jsontext.AppendUnquote(nil, val)
		if err != nil { // only its encoding can be wrong here: what is no UTF-8 was replaced
			text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
		}
		o.val[f] = text
	case '0':
		o.val[f] = bytes.Clone(val)
	default:
		o.bad = fieldNames[f] + " is neither a string nor a number"
		return
	}
	o.have |= 1 << f
}
