package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
)

// ReadRow reads a JSON object as the one row of a batch of schema s: every column, no other, each of its type
// and within its range. Columns in set replace those of the object, and are text; null is none. All that is wrong is told
// at once, by column; the fault is Invalid.
func ReadRow(s Schema, object []byte, set map[string]string) (arrow.RecordBatch, error) {
	values := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	if err := dec.Decode(&values); err != nil {
		return nil, fault.New(fault.Invalid, "the row is no JSON object: %w", err)
	}
	for name, text := range set {
		values[name] = given(text)
	}
	var wrong []string
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Schema)
	for i, f := range s.Fields() {
		v, ok := values[f.Name]
		delete(values, f.Name)
		why := "is missing"
		if ok || f.Nullable {
			why = put(b.Field(i), f, v)
		}
		if why != "" {
			wrong = append(wrong, fmt.Sprintf("column %s %s", f.Name, why))
			b.Field(i).AppendNull()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		wrong = append(wrong, fmt.Sprintf("there is no column %s", name))
	}
	if len(wrong) > 0 {
		return nil, fault.New(fault.Invalid, "%s", joined(wrong))
	}
	return b.NewRecordBatch(), nil
}

func joined(all []string) string {
	const most = 10
	out := ""
	for i, one := range all {
		if i == most {
			return fmt.Sprintf("%s; and %d more", out, len(all)-most)
		}
		if i > 0 {
			out += "; "
		}
		out += one
	}
	return out
}

// given is a value that a person wrote without its type.
type given string

// put appends a value to the column of a row, or says what is wrong with it.
func put(b array.Builder, f arrow.Field, v any) string {
	text, isText := v.(string)
	if g, ok := v.(given); ok {
		text, isText = string(g), true
		if text == "null" { // none, in a column of texts too: whoever means the word writes it as JSON
			v = nil
		}
	}
	if v == nil {
		if !f.Nullable {
			return mandatory(b)
		}
		b.AppendNull()
		return ""
	}
	if n, ok := v.(json.Number); ok {
		text = n.String()
	}
	_, isNumber := v.(json.Number)
	switch b := b.(type) {
	case array.StringLikeBuilder:
		if !isText || !utf8.ValidString(text) {
			return fmt.Sprintf("is %s, want text", shown(v))
		}
		b.Append(text)
	case *array.BooleanBuilder:
		is, ok := v.(bool)
		if !ok {
			var err error
			if is, err = strconv.ParseBool(text); err != nil || !isText {
				return fmt.Sprintf("is %s, want true or false", shown(v))
			}
		}
		b.Append(is)
	case *array.TimestampBuilder:
		return putTime(b, f, text, v)
	case *array.BinaryBuilder:
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !isText {
			return fmt.Sprintf("is %s, want base64", shown(v))
		}
		b.Append(raw)
	default:
		if !isNumber && !isText {
			return fmt.Sprintf("is %s, want a number", shown(v))
		}
		return putNumber(b, text)
	}
	return ""
}

// mandatory says why a column can't be none.
func mandatory(b array.Builder) string {
	if _, words := b.(array.StringLikeBuilder); words {
		return "may not be null: every row has a text there; the word itself can be given in a row that is " +
			"whole, as \"null\" in its JSON"
	}
	return "may not be null: every row has a value there"
}

func shown(v any) string {
	if g, ok := v.(given); ok {
		v = string(g)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%.60s", b)
}

func putTime(b *array.TimestampBuilder, f arrow.Field, text string, v any) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Sprintf("is %s, want a time like 2026-01-31T12:00:00Z", shown(v))
	}
	unit := f.Type.(*arrow.TimestampType).Unit
	at, err := arrow.TimestampFromTime(t, unit)
	if err != nil || !at.ToTime(unit).Equal(t) {
		return fmt.Sprintf("is %s, which %s can't hold", shown(v), f.Type)
	}
	b.Append(at)
	return ""
}

// putNumber appends a number, of which nothing may be lost: 3.5 is no whole number, 300 no int8.
func putNumber(b array.Builder, text string) string {
	signed := func(bits int) (n int64, why string) {
		n, err := strconv.ParseInt(text, 10, bits)
		return n, badNumber(err, text, fmt.Sprintf("a whole number of %d bits", bits))
	}
	unsigned := func(bits int) (n uint64, why string) {
		n, err := strconv.ParseUint(text, 10, bits)
		return n, badNumber(err, text, fmt.Sprintf("a whole number from 0 of %d bits", bits))
	}
	float := func(bits int) (n float64, why string) {
		n, err := strconv.ParseFloat(text, bits)
		if err == nil && (math.IsNaN(n) || math.IsInf(n, 0)) {
			return n, "is not a finite number"
		}
		return n, badNumber(err, text, "a number")
	}
	switch b := b.(type) {
	case *array.Int8Builder:
		return appended(b.Append, signed, 8)
	case *array.Int16Builder:
		return appended(b.Append, signed, 16)
	case *array.Int32Builder:
		return appended(b.Append, signed, 32)
	case *array.Int64Builder:
		return appended(b.Append, signed, 64)
	case *array.Uint8Builder:
		return appended(b.Append, unsigned, 8)
	case *array.Uint16Builder:
		return appended(b.Append, unsigned, 16)
	case *array.Uint32Builder:
		return appended(b.Append, unsigned, 32)
	case *array.Uint64Builder:
		return appended(b.Append, unsigned, 64)
	case *array.Float32Builder:
		return appended(b.Append, float, 32)
	case *array.Float64Builder:
		return appended(b.Append, float, 64)
	}
	return fmt.Sprintf("is %s, which can't be edited", b.Type())
}

type number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

func appended[T, P number](add func(T), parse func(bits int) (P, string), bits int) string {
	n, why := parse(bits)
	if why == "" {
		add(T(n))
	}
	return why
}

func badNumber(err error, text, want string) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("is %.60s, want %s", text, want)
}
