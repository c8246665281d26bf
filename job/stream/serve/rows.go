package serve

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// appendObject appends an object in JSON with the values in the order of their names.
func appendObject(dst []byte, names []string, values []any) []byte {
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendText(dst, name), ':')
		dst = appendValue(dst, values[i], "null", appendText)
	}
	return append(dst, '}')
}

// appendRecord appends a line of CSV (RFC 4180).
func appendRecord(dst []byte, values []any) []byte {
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, v, "", appendCell)
	}
	return append(dst, '\n')
}

// appendText appends a text in JSON; what is not UTF-8 is replaced.
func appendText(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error is about what was replaced
	return dst
}

// appendCell appends a text in CSV, always in quotes: so nothing at all is a null, 00501 no number, and what
// begins like a formula a text.
func appendCell(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), `"`, `""`)...)
	return append(dst, '"')
}

// appendValue appends a value as a reader of tables gives it. A number that is not finite has no text, and
// counts as null.
func appendValue(dst []byte, v any, null string, text func([]byte, string) []byte) []byte {
	switch v := v.(type) {
	case string:
		return text(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return appendFloat(dst, v)
		}
	case time.Time:
		dst = append(dst, '"')
		return append(v.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
	}
	return append(dst, null...)
}

// appendFloat appends a number without an exponent where that is not long.
func appendFloat(dst []byte, v float64) []byte {
	if abs := math.Abs(v); v != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}
