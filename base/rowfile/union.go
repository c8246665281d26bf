package rowfile

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/fault"
)

// Union returns the schema that has every column of all: in their order, each where it came first. A column
// that one of them lacks may be null. It is Conflict if a column has different types.
func Union(all []*arrow.Schema) (*arrow.Schema, error) {
	if len(all) == 1 {
		return all[0], nil
	}
	var fields []arrow.Field
	at, times := map[string]int{}, map[string]int{}
	for _, s := range all {
		for _, f := range s.Fields() {
			times[f.Name]++
			i, ok := at[f.Name]
			if !ok {
				at[f.Name] = len(fields)
				fields = append(fields, f)
				continue
			}
			if !arrow.TypeEqual(fields[i].Type, f.Type) {
				return nil, fault.WithHint(fault.New(fault.Conflict, "column %s is %s in some rows and %s in others",
					f.Name, fields[i].Type, f.Type), "choose a narrower range, or a format of text: jsonl")
			}
			fields[i].Nullable = fields[i].Nullable || f.Nullable
		}
	}
	for i := range fields {
		fields[i].Nullable = fields[i].Nullable || times[fields[i].Name] < len(all)
	}
	md := all[len(all)-1].Metadata()
	return arrow.NewSchema(fields, &md), nil
}

// Fit returns the rows with the columns of s, null where they have none; s is a Union that theirs is part of.
func Fit(rows arrow.RecordBatch, s *arrow.Schema) arrow.RecordBatch {
	if rows.Schema() == s {
		return rows
	}
	cols := make([]arrow.Array, s.NumFields())
	for i, f := range s.Fields() {
		if at := rows.Schema().FieldIndices(f.Name); len(at) > 0 {
			cols[i] = rows.Column(at[0])
			continue
		}
		cols[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, int(rows.NumRows()))
	}
	return array.NewRecordBatch(s, cols, rows.NumRows())
}
