package filesource

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"holdfast/connector/columns"
)

// parquet reads on in a Parquet file; the offset counts rows. What can't be read of a file is
// one reject.
func (o *Once) parquet(ctx context.Context, r *columns.Reading, at *position, path string) (end bool,
	err error) {
	var spoilt error
	end, spoilt = o.parquetRows(ctx, r, at, path)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if spoilt == nil || errors.Is(spoilt, fs.ErrNotExist) {
		return end, spoilt
	}
	if _, is := errors.AsType[*fs.PathError](spoilt); is {
		return false, unreadable(path, spoilt)
	}
	return o.refuse(r, at, path, spoilt)
}

func (o *Once) parquetRows(ctx context.Context, r *columns.Reading, at *position, path string) (end bool,
	err error) {
	defer func() { // the library panics at some bytes that are not Parquet
		if p := recover(); p != nil {
			err = fmt.Errorf("it is no whole Parquet file: %v", p)
		}
	}()
	pf, err := file.OpenParquetFile(path, false)
	if err != nil {
		return false, err
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: pageItems},
		memory.DefaultAllocator)
	if err != nil || pf.NumRows() <= at.Offset {
		return true, err
	}
	rr, err := fr.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return false, err
	}
	defer rr.Release()
	if err := rr.SeekToRow(at.Offset); err != nil {
		return false, err
	}
	if !rr.Next() {
		return false, fmt.Errorf("it has less rows than it says: %w", rr.Err())
	}
	if err := o.addRows(r, rr.RecordBatch(), at, path); err != nil {
		return false, err
	}
	return at.Offset >= pf.NumRows(), nil
}

// addRows makes items of rows.
func (o *Once) addRows(r *columns.Reading, rows arrow.RecordBatch, at *position, path string) error {
	fields := make([]getter, rows.NumCols())
	for i, col := range rows.Columns() {
		fields[i] = getterOf(col)
	}
	for row := range int(rows.NumRows()) {
		at.Offset++
		r.Place = at.Offset
		item, before := make(map[string]any, len(fields)), len(r.Rejected)
		for i, read := range fields {
			item[rows.ColumnName(i)] = valueOf(rows.Column(i), read, row)
		}
		if err := r.Add(columns.Item{Value: item}); err != nil {
			return err
		}
		for i := before; i < len(r.Rejected); i++ {
			rej := &r.Rejected[i]
			rej.Reason = fmt.Sprintf("row %d of %s: %s", at.Offset, path, rej.Reason)
			text := rowText(rows, fields, row)
			rej.Raw = text[:min(len(text), columns.RawLimit)]
		}
	}
	return nil
}

// getter makes a value of an item of one of a column that is not null.
type getter func(row int) any

func valueOf(col arrow.Array, read getter, row int) any {
	if col.IsNull(row) {
		return nil
	}
	return read(row)
}

// getterOf returns the getter of a column. What it does not know is read by way of JSON.
func getterOf(col arrow.Array) getter {
	switch c := col.(type) {
	case *array.Boolean:
		return func(i int) any { return c.Value(i) }
	case *array.Int8:
		return integers(c.Value)
	case *array.Int16:
		return integers(c.Value)
	case *array.Int32:
		return integers(c.Value)
	case *array.Int64:
		return integers(c.Value)
	case *array.Uint8:
		return naturals(c.Value)
	case *array.Uint16:
		return naturals(c.Value)
	case *array.Uint32:
		return naturals(c.Value)
	case *array.Uint64:
		return naturals(c.Value)
	case *array.Float32:
		return func(i int) any { return floatValue(float64(c.Value(i)), 32) }
	case *array.Float64:
		return func(i int) any { return floatValue(c.Value(i), 64) }
	case *array.String:
		return func(i int) any { return c.Value(i) }
	case *array.LargeString:
		return func(i int) any { return c.Value(i) }
	case *array.Binary:
		return func(i int) any { return bytesValue(c.Value(i)) }
	case *array.LargeBinary:
		return func(i int) any { return bytesValue(c.Value(i)) }
	case *array.FixedSizeBinary:
		return func(i int) any { return bytesValue(c.Value(i)) }
	case *array.Decimal32:
		return decimals(c.DataType(), c.Value)
	case *array.Decimal64:
		return decimals(c.DataType(), c.Value)
	case *array.Decimal128:
		return decimals(c.DataType(), c.Value)
	case *array.Decimal256:
		return decimals(c.DataType(), c.Value)
	case *array.Timestamp:
		return timestamps(c)
	case *array.Date32:
		return func(i int) any { return dateValue(int64(c.Value(i))) }
	case *array.Date64:
		return func(i int) any { return dateValue(int64(c.Value(i)) / (24 * time.Hour).Milliseconds()) }
	case *array.Dictionary:
		words := getterOf(c.Dictionary())
		return func(i int) any { return valueOf(c.Dictionary(), words, c.GetValueIndex(i)) }
	}
	return func(i int) any { return jsonValue(col.GetOneForMarshal(i)) }
}

func integers[T ~int8 | ~int16 | ~int32 | ~int64](get func(i int) T) getter {
	return func(i int) any { return json.Number(strconv.FormatInt(int64(get(i)), 10)) }
}

func naturals[T ~uint8 | ~uint16 | ~uint32 | ~uint64](get func(i int) T) getter {
	return func(i int) any { return json.Number(strconv.FormatUint(uint64(get(i)), 10)) }
}

// jsonValue is a value as JSON has it.
func jsonValue(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return columns.Odd{What: fmt.Sprintf("what JSON does not have (%v)", err)}
	}
	it, err := columns.ReadItem(text)
	if err != nil {
		return columns.Odd{What: fmt.Sprintf("what JSON does not have (%v)", err)}
	}
	return it.Value
}

// floatValue is a number in the digits that tell it from others of its size.
func floatValue(f float64, bits int) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return f
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, bits))
}

// bytesValue is a text: many who write Parquet don't mark it as one.
func bytesValue(b []byte) any {
	if !utf8.Valid(b) {
		return columns.Odd{What: "binary that is no UTF-8"}
	}
	return string(b)
}

func decimals[T interface{ ToString(scale int32) string }](typ arrow.DataType, get func(i int) T) getter {
	scale := typ.(arrow.DecimalType).GetScale()
	return func(i int) any {
		text := get(i).ToString(scale)
		if !json.Valid([]byte(text)) {
			return columns.Odd{What: fmt.Sprintf("%v that is no number (%s)", typ, text)}
		}
		return json.Number(text)
	}
}

// The Unix seconds of the years 1 to 9999.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
	dayLength   = 24 * 60 * 60
)

var noTime = columns.Odd{What: "a time that is not in the years 1 to 9999"}

// timestamps are moments, or what a clock shows if nothing says where.
func timestamps(c *array.Timestamp) getter {
	typ := c.DataType().(*arrow.TimestampType)
	per := int64(time.Second / typ.Unit.Multiplier())
	return func(i int) any {
		v := c.Value(i)
		if s := int64(v) / per; s < firstSecond || s > lastSecond {
			return noTime
		}
		t := v.ToTime(typ.Unit).UTC()
		if typ.TimeZone == "" {
			return columns.Clock(t)
		}
		return t
	}
}

// dateValue is the midnight that begins a day since 1970.
func dateValue(day int64) any {
	if day < firstSecond/dayLength || day > lastSecond/dayLength {
		return noTime
	}
	return columns.Clock(time.Unix(day*dayLength, 0).UTC())
}

// rowText is a row as JSON, for a person.
func rowText(rows arrow.RecordBatch, fields []getter, row int) []byte {
	out := []byte("{")
	for i, read := range fields {
		if i > 0 {
			out = append(out, ',')
		}
		name, _ := json.Marshal(rows.ColumnName(i))
		out = append(append(out, name...), ':')
		v := valueOf(rows.Column(i), read, row)
		switch typed := v.(type) {
		case float64: // one that is not finite
			v = strconv.FormatFloat(typed, 'g', -1, 64)
		case columns.Clock:
			v = time.Time(typed).Format("2006-01-02T15:04:05.999999999")
		case columns.Odd:
			v = rows.Column(i).GetOneForMarshal(row)
			if b, ok := v.([]byte); ok {
				v = base64.StdEncoding.EncodeToString(b)
			}
		}
		text, err := json.Marshal(v)
		if err != nil {
			text, _ = json.Marshal(fmt.Sprint(v))
		}
		out = append(out, text...)
	}
	return append(out, '}')
}
