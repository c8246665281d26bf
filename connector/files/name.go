package files

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"holdfast/base/record"
	"holdfast/connector"
)

// What names of files end in.
const (
	extParquet = "parquet"
	extJSONL   = "jsonl"
	extGzip    = "jsonl.gz"
	extZstd    = "jsonl.zst"
)

// bounds are a token without its hash: the same bounds with another hash are a conflict.
type bounds struct {
	job, lineage   string
	first, last    uint64
	rowFrom, rowTo uint32
}

func boundsOf(t record.Token) bounds {
	return bounds{t.Job, t.Lineage.String(), t.First, t.Last, t.RowFrom, t.RowTo}
}

// name is the name of a file, taken apart.
type name struct {
	text   string // whole
	bounds bounds
	hash   string
	part   int // 0, or the number behind p
	ext    string
	keys   keyKind
	span   connector.KeyRange // of the keys' ranks
}

var namePattern = regexp.MustCompile(`^(?:\d{4}-\d\d-\d\d\.)?` + // day
	`([A-Za-z0-9][A-Za-z0-9_-]*)\.([0-9a-z]{26})\.` + // job, lineage
	`(\d+)-(\d+)(?:\.r(\d+)-(\d+))?` + // blocks, rows
	`(?:\.([kt])(\d+)-(\d+))?` + // keys
	`\.([0-9a-f]{16})(?:\.p(\d+))?` + // hash, part
	`\.(parquet|jsonl|jsonl\.gz|jsonl\.zst)$`)

// parseName takes a name apart; ok is false for files of other making.
func parseName(text string) (n name, ok bool) {
	m := namePattern.FindStringSubmatch(text)
	if m == nil {
		return name{}, false
	}
	ok = true
	number := func(s string, bits int) uint64 {
		if s == "" {
			return 0
		}
		v, err := strconv.ParseUint(s, 10, bits)
		ok = ok && err == nil
		return v
	}
	n = name{text: text, hash: m[10], part: int(number(m[11], 31)), ext: m[12],
		bounds: bounds{m[1], m[2], number(m[3], 64), number(m[4], 64), uint32(number(m[5], 32)),
			uint32(number(m[6], 32))},
		keys: keyKind(m[7]), span: connector.KeyRange{From: number(m[8], 64), To: number(m[9], 64)}}
	return n, ok
}

// hashText is the part of a token's hash that stands in names.
func hashText(t record.Token) string { return fmt.Sprintf("%x", t.Hash[:8]) }

// stem is a delivery's name without part and extension. It follows from the delivery alone, so that a
// repeat has it again.
func stem(d connector.Delivery, k keyColumn) string {
	var b strings.Builder
	if lo, _, ok := record.TimeRange(d.Schema, d.Rows); ok {
		if day := time.Unix(lo, 0).UTC(); day.Year() >= 1 && day.Year() <= 9999 {
			b.WriteString(day.Format(time.DateOnly) + ".")
		}
	}
	t := d.Token
	fmt.Fprintf(&b, "%s.%s.%d-%d", t.Job, t.Lineage, t.First, t.Last)
	if t.RowTo != 0 {
		fmt.Fprintf(&b, ".r%d-%d", t.RowFrom, t.RowTo)
	}
	if k.kind != noKeys {
		span := k.span()
		fmt.Fprintf(&b, ".%s%d-%d", k.kind, span.From, span.To)
	}
	b.WriteString("." + hashText(t))
	return b.String()
}
