package report

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// aggregation computes one value of a report, for each group, from the rows that were added so far.
type aggregation interface {
	// add takes the rows of a batch: group has the group of each row, groups is how many there are by now.
	add(b *batch, group []int32, groups int)
	// put appends the value of a group to a column.
	put(to array.Builder, group int)
	// member returns who holds the extreme of a group; ok is false if the group has none, or the value is no extreme.
	member(group int) (who string, ok bool)
}

// begin returns the aggregation of a value over a column of a type.
func (a aggregate) begin(typ arrow.DataType) aggregation {
	if a.kind == count {
		return &counts{of: a.of}
	}
	switch typ.ID() {
	case arrow.INT64:
		return beginOf[int64](a)
	case arrow.UINT64:
		return beginOf[uint64](a)
	}
	return beginOf[float64](a)
}

func beginOf[T number](a aggregate) aggregation {
	switch a.kind {
	case mean, total:
		return &sums[T]{of: a.of, mean: a.kind == mean}
	case percentile:
		return &ranks[T]{of: a.of, p: a.p}
	}
	return &extremes[T]{of: a.of, who: a.member, high: a.kind == highest || a.kind == argmax,
		told: a.kind == argmin || a.kind == argmax}
}

// grown is s with room for n groups.
func grown[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	return append(s, make([]T, n-len(s))...)
}

// nobody is embedded in aggregations that have no members.
type nobody struct{}

func (nobody) member(int) (string, bool) { return "", false }

// counts counts values.
type counts struct {
	nobody
	of  int
	all []int64
}

func (c *counts) add(b *batch, group []int32, groups int) {
	c.all = grown(c.all, groups)
	col := b.columns[c.of]
	if col.NullN() == 0 && col.DataType().ID() != arrow.FLOAT64 {
		for _, g := range group {
			c.all[g]++
		}
		return
	}
	floats, _ := col.(*array.Float64)
	for i, g := range group {
		if col.IsValid(i) && (floats == nil || !strange(floats.Value(i))) {
			c.all[g]++
		}
	}
}

func (c *counts) put(to array.Builder, group int) { to.(*array.Int64Builder).Append(c.all[group]) }

// sum is a sum with Neumaier's compensation.
type sum struct {
	sum, rest float64 // rest is what the additions to sum have rounded away
	n         int64
}

func (s *sum) add(v float64) {
	t := s.sum + v
	if math.Abs(s.sum) >= math.Abs(v) {
		s.rest += s.sum - t + v
	} else {
		s.rest += v - t + s.sum
	}
	s.sum = t
	s.n++
}

// sums adds values up.
type sums[T number] struct {
	nobody
	of   int
	mean bool
	all  []sum
}

func (s *sums[T]) add(b *batch, group []int32, groups int) {
	s.all = grown(s.all, groups)
	col := column[T](b, s.of)
	for i, g := range group {
		if col.counts == nil || col.counts[i] {
			s.all[g].add(float64(col.values[i]))
		}
	}
}

func (s *sums[T]) put(to array.Builder, group int) {
	one := s.all[group]
	v := one.sum + one.rest
	if s.mean {
		v /= float64(one.n)
	}
	if one.n == 0 || strange(v) {
		to.AppendNull()
		return
	}
	to.(*array.Float64Builder).Append(v)
}

// extreme is the lowest or highest value of a group, and who has it.
type extreme[T number] struct {
	any   bool
	value T
	who   string
}

// extremes looks for lowest or highest values.
type extremes[T number] struct {
	of, who int  // columns; who is -1 if nobody asks
	high    bool // the highest
	told    bool // the report has who it is, not the value
	all     []extreme[T]
}

func (e *extremes[T]) add(b *batch, group []int32, groups int) {
	e.all = grown(e.all, groups)
	col := column[T](b, e.of)
	who := func(int) string { return "" }
	if e.who >= 0 {
		who = b.texts(e.who)
	}
	for i, g := range group {
		if col.counts != nil && !col.counts[i] {
			continue
		}
		x, v := &e.all[g], col.values[i]
		switch {
		case !x.any || (v < x.value) != e.high && v != x.value:
			*x = extreme[T]{true, v, strings.Clone(who(i))} // who is a part of the batch
		case v == x.value && e.who >= 0:
			if w := who(i); w < x.who {
				x.who = strings.Clone(w)
			}
		}
	}
}

func (e *extremes[T]) member(group int) (string, bool) {
	x := e.all[group]
	return x.who, x.any && e.who >= 0
}

func (e *extremes[T]) put(to array.Builder, group int) {
	switch x := e.all[group]; {
	case !x.any:
		to.AppendNull()
	case e.told:
		to.(*array.StringBuilder).Append(x.who)
	default:
		putNumber(to, x.value)
	}
}

// putNumber appends a number, and of the two zeros of a float always the one without a sign: they are equal, so
// which of them is the extreme depends on the order of the rows.
func putNumber[T number](to array.Builder, v T) {
	if v == 0 {
		v = 0
	}
	switch to := to.(type) {
	case *array.Int64Builder:
		to.Append(int64(v))
	case *array.Uint64Builder:
		to.Append(uint64(v))
	case *array.Float64Builder:
		to.Append(float64(v))
	}
}

// ranks keeps values, to find one by its rank.
type ranks[T number] struct {
	nobody
	of  int
	p   float64
	all [][]T
}

func (r *ranks[T]) add(b *batch, group []int32, groups int) {
	r.all = grown(r.all, groups)
	col := column[T](b, r.of)
	for i, g := range group {
		if col.counts == nil || col.counts[i] {
			r.all[g] = append(r.all[g], col.values[i])
		}
	}
}

func (r *ranks[T]) put(to array.Builder, group int) {
	values := r.all[group]
	if len(values) == 0 {
		to.AppendNull()
		return
	}
	slices.Sort(values)
	putNumber(to, values[rankOf(r.p, len(values))])
}

// rankOf returns the index of the percentile p in n sorted values. It computes with p as the decimal number that a
// person wrote: in floats, rank 999 could become 999.0000000001, and be rounded up to 1000.
func rankOf(p float64, n int) int {
	rank, _ := new(big.Rat).SetString(strconv.FormatFloat(p, 'f', -1, 64))
	rank.Mul(rank, big.NewRat(int64(n), 100))
	up := new(big.Int).Add(rank.Num(), rank.Denom())
	up.Sub(up, big.NewInt(1)).Quo(up, rank.Denom())
	return int(max(up.Int64()-1, 0))
}
