package influxdb

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// keysAtOnce is how many keys are held to be sorted: the server gives them in the order of their times.
const keysAtOnce = 1 << 20

// lacking marks the rows that the server does not have, by key and within their times, and counts the
// others; nil is all of them. Rows that can't be asked for all go again, which changes nothing.
func (s *Sink) lacking(ctx context.Context, m *mapping, schema record.Schema, d connector.Delivery,
	rows arrow.RecordBatch) (lacks []bool, present int64, err error) {
	keys, ok := record.Keys(schema, rows)
	if !ok || !d.ByKey || s.cfg.Bucket != "" {
		return nil, 0, nil
	}
	at := s.cfg.timesOf(m, rows)
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range keys {
		if t, reason := at(i); reason == "" {
			from, to = min(from, t), max(to, t)
		}
	}
	there := make(map[uint64]bool, len(keys))
	span := connector.KeyRange{From: slices.Min(keys), To: slices.Max(keys)}
	err = s.scan(ctx, schema, span, &[2]int64{from, to}, func(key uint64) error {
		there[key] = true
		return nil
	})
	lacks = make([]bool, len(keys))
	for i, key := range keys {
		lacks[i] = !there[key]
		if there[key] {
			present++
		}
	}
	return lacks, present, err
}

// from is what is asked for rows.
func (s *Sink) from() string {
	if s.cfg.MeasurementFrom != "" {
		return "/.*/"
	}
	return identifier(s.cfg.Measurement)
}

// within is the condition for a range of keys, false if no field holds one of them.
func within(key string, r connector.KeyRange) (string, map[string]any, bool) {
	if r.From > math.MaxInt64 {
		return "", nil, false
	}
	return fmt.Sprintf(" WHERE %s >= $from AND %[1]s <= $to", key),
		map[string]any{"from": int64(r.From), "to": int64(min(r.To, math.MaxInt64))}, true
}

// scan calls yield for the key of every row in a range, in the order of their times.
func (s *Sink) scan(ctx context.Context, schema record.Schema, r connector.KeyRange, span *[2]int64,
	yield func(key uint64) error) error {
	name := schema.Field(schema.Key).Name
	where, params, ok := within(identifier(name), r)
	if !ok {
		return nil
	}
	if span != nil {
		where += " AND time >= $first AND time <= $last"
		params["first"], params["last"] = time.Unix(0, span[0]), time.Unix(0, span[1])
	}
	return s.Query(ctx, "SELECT "+identifier(name)+" FROM "+s.from()+where, params, func(row Row) error {
		key, err := whole(row.Value(name))
		if err != nil {
			return s.classify("read", err)
		}
		return yield(uint64(key))
	})
}

// whole reads an integer of an answer.
func whole(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fault.New(fault.Permanent, "the key is %v, want an integer", v)
	}
	key, err := n.Int64()
	if err != nil || key < 0 {
		return 0, fault.New(fault.Permanent, "the key is %v, want an integer from 0", v)
	}
	return key, nil
}

// reader asks the server about rows by key.
type reader struct{ s *Sink }

// Reader returns the sink's reader, nil for 2.x and 3.x.
func (s *Sink) Reader() connector.SinkReader {
	if s.cfg.Bucket != "" {
		return nil
	}
	return reader{s}
}

// countable refuses to ask for keys that are no integers.
func (r reader) countable() (record.Schema, error) {
	r.s.mu.Lock()
	schema := r.s.schema
	r.s.mu.Unlock()
	switch {
	case schema == nil:
		return record.Schema{}, fault.New(fault.Transient, "read %s: it is not prepared", r.s.name())
	case !schema.IntegerKeyed():
		return record.Schema{}, fault.New(fault.Permanent, "read %s: its rows have no integer key", r.s.name())
	}
	return *schema, nil
}

// none makes nothing of a database that is not there.
func none(err error) error {
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// Holds reports whether there is any point.
func (r reader) Holds(ctx context.Context) (bool, error) {
	holds := false
	err := r.s.Query(ctx, "SELECT * FROM "+r.s.from()+" LIMIT 1", nil, func(Row) error {
		holds = true
		return nil
	})
	return holds, none(err)
}

// Highest is the highest key.
func (r reader) Highest(ctx context.Context) (highest uint64, ok bool, err error) {
	schema, err := r.countable()
	if err != nil {
		return 0, false, err
	}
	name := identifier(schema.Field(schema.Key).Name)
	err = r.s.Query(ctx, "SELECT max("+name+") FROM "+r.s.from(), nil, func(row Row) error {
		key, err := whole(row.Value("max"))
		highest, ok = max(highest, uint64(key)), true
		return err
	})
	return highest, ok, none(err)
}

// Tally sums up the keys of a range.
func (r reader) Tally(ctx context.Context, kr connector.KeyRange) (connector.Tally, error) {
	return connector.TallyOf(func(yield func(key, rows uint64) error) error { return r.Keys(ctx, kr, yield) })
}

// Keys yields the keys of a range. The server gives them in the order of their times, so a range with more
// of them than are held at once is cut in two.
func (r reader) Keys(ctx context.Context, kr connector.KeyRange, yield func(key, rows uint64) error) error {
	schema, err := r.countable()
	if err != nil {
		return err
	}
	return none(r.keys(ctx, schema, kr, yield))
}

func (r reader) keys(ctx context.Context, schema record.Schema, kr connector.KeyRange,
	yield func(key, rows uint64) error) error {
	kr.To = min(kr.To, math.MaxInt64)
	n, err := r.count(ctx, schema, kr)
	if err != nil || n == 0 {
		return err
	}
	if n > keysAtOnce && kr.From < kr.To {
		mid := kr.From + (kr.To-kr.From)/2
		if err := r.keys(ctx, schema, connector.KeyRange{From: kr.From, To: mid}, yield); err != nil {
			return err
		}
		return r.keys(ctx, schema, connector.KeyRange{From: mid + 1, To: kr.To}, yield)
	}
	keys := make([]uint64, 0, n)
	err = r.s.scan(ctx, schema, kr, nil, func(key uint64) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		return err
	}
	return connector.YieldKeys(keys, yield)
}

// count is how many rows have a key in the range.
func (r reader) count(ctx context.Context, schema record.Schema, kr connector.KeyRange) (n int64, err error) {
	name := identifier(schema.Field(schema.Key).Name)
	where, params, ok := within(name, kr)
	if !ok {
		return 0, nil
	}
	err = r.s.Query(ctx, "SELECT count("+name+") FROM "+r.s.from()+where, params, func(row Row) error {
		one, err := whole(row.Value("count"))
		n += one
		return err
	})
	return n, err
}
