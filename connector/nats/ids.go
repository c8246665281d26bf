package nats

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"holdfast/base/record"
	"holdfast/connector"
)

// longestKey is how many bytes of a key stand in an id as they are. The server holds every id of its
// duplicate window in memory.
const longestKey = 100

// again stands between an id and the sequence of a deleted message that had it. No escaped key has one.
const again = "#"

// ids returns the message id of each row of a delivery; a reason that is not empty says why the row
// has none.
func (s *Sink) ids(d connector.Delivery) func(row int) (id, reason string) {
	prefix := s.cfg.Subject + ":"
	if d.Schema.Key < 0 {
		prefix += fmt.Sprintf("%s/%s/%d/", url.QueryEscape(d.Token.Job), d.Token.Lineage, d.Token.First)
		return func(row int) (string, string) {
			return prefix + strconv.Itoa(int(d.Token.RowFrom)+row), ""
		}
	}
	col := d.Rows.Column(d.Schema.Key)
	key := func(row int) string { return "=" + col.ValueStr(row) }
	switch c := col.(type) {
	case *array.Uint64:
		key = func(row int) string { return strconv.FormatUint(c.Value(row), 10) }
	case *array.Int64:
		key = func(row int) string { return strconv.FormatInt(c.Value(row), 10) }
	}
	if text, ok := record.TextKeys(d.Schema, d.Rows); ok {
		key = func(row int) string { return textKey(text(row)) }
	}
	name := d.Schema.Field(d.Schema.Key).Name
	return func(row int) (string, string) {
		if col.IsNull(row) {
			return "", name + " is missing, and it is the key"
		}
		return prefix + key(row), ""
	}
}

func textKey(key []byte) string {
	if len(key) > longestKey {
		sum := xxh3.Hash128(key).Bytes()
		return ":" + hex.EncodeToString(sum[:])
	}
	return url.QueryEscape(string(key))
}

// first is an id without what was put behind it after a deletion.
func first(id string) string {
	id, _, _ = strings.Cut(id, again)
	return id
}

// integerKey is the key in an id of this sink's, if it is an integer from 0 to 2^64-1.
func (s *Sink) integerKey(id string) (key uint64, ok bool) {
	text, ok := strings.CutPrefix(first(id), s.cfg.Subject+":")
	if !ok {
		return 0, false
	}
	key, err := strconv.ParseUint(text, 10, 64)
	return key, err == nil
}
