package sinktest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
)

// Spot is one row: a WSPR reception, with the columns and types that the wsprnet source gives.
type Spot struct {
	ID           uint64
	Time         int64 // Unix seconds
	Band         int16
	RxSign       string
	RxLat, RxLon float32
	RxLoc        string
	TxSign       string
	TxLat, TxLon float32
	TxLoc        string
	Distance     uint16
	Azimuth      uint16
	RxAzimuth    uint16
	Frequency    uint64
	Power        int8
	SNR          int8
	Drift        int8
	Version      string
	Code         int8
}

// columns are the 20 columns, each with the way of its value into an Arrow array.
var columns = []struct {
	name string
	typ  arrow.DataType
	add  func(b array.Builder, s *Spot)
}{
	{"id", arrow.PrimitiveTypes.Uint64, u64(func(s *Spot) uint64 { return s.ID })},
	{"time", arrow.FixedWidthTypes.Timestamp_s, func(b array.Builder, s *Spot) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(s.Time))
	}},
	{"band", arrow.PrimitiveTypes.Int16, func(b array.Builder, s *Spot) {
		b.(*array.Int16Builder).Append(s.Band)
	}},
	{"rx_sign", arrow.BinaryTypes.String, str(func(s *Spot) string { return s.RxSign })},
	{"rx_lat", arrow.PrimitiveTypes.Float32, f32(func(s *Spot) float32 { return s.RxLat })},
	{"rx_lon", arrow.PrimitiveTypes.Float32, f32(func(s *Spot) float32 { return s.RxLon })},
	{"rx_loc", arrow.BinaryTypes.String, str(func(s *Spot) string { return s.RxLoc })},
	{"tx_sign", arrow.BinaryTypes.String, str(func(s *Spot) string { return s.TxSign })},
	{"tx_lat", arrow.PrimitiveTypes.Float32, f32(func(s *Spot) float32 { return s.TxLat })},
	{"tx_lon", arrow.PrimitiveTypes.Float32, f32(func(s *Spot) float32 { return s.TxLon })},
	{"tx_loc", arrow.BinaryTypes.String, str(func(s *Spot) string { return s.TxLoc })},
	{"distance", arrow.PrimitiveTypes.Uint16, u16(func(s *Spot) uint16 { return s.Distance })},
	{"azimuth", arrow.PrimitiveTypes.Uint16, u16(func(s *Spot) uint16 { return s.Azimuth })},
	{"rx_azimuth", arrow.PrimitiveTypes.Uint16, u16(func(s *Spot) uint16 { return s.RxAzimuth })},
	{"frequency", arrow.PrimitiveTypes.Uint64, u64(func(s *Spot) uint64 { return s.Frequency })},
	{"power", arrow.PrimitiveTypes.Int8, i8(func(s *Spot) int8 { return s.Power })},
	{"snr", arrow.PrimitiveTypes.Int8, i8(func(s *Spot) int8 { return s.SNR })},
	{"drift", arrow.PrimitiveTypes.Int8, i8(func(s *Spot) int8 { return s.Drift })},
	{"version", arrow.BinaryTypes.String, str(func(s *Spot) string { return s.Version })},
	{"code", arrow.PrimitiveTypes.Int8, i8(func(s *Spot) int8 { return s.Code })},
}

func u64(get func(*Spot) uint64) func(array.Builder, *Spot) {
	return func(b array.Builder, s *Spot) { b.(*array.Uint64Builder).Append(get(s)) }
}

func u16(get func(*Spot) uint16) func(array.Builder, *Spot) {
	return func(b array.Builder, s *Spot) { b.(*array.Uint16Builder).Append(get(s)) }
}

func i8(get func(*Spot) int8) func(array.Builder, *Spot) {
	return func(b array.Builder, s *Spot) { b.(*array.Int8Builder).Append(get(s)) }
}

func f32(get func(*Spot) float32) func(array.Builder, *Spot) {
	return func(b array.Builder, s *Spot) { b.(*array.Float32Builder).Append(get(s)) }
}

func str(get func(*Spot) string) func(array.Builder, *Spot) {
	return func(b array.Builder, s *Spot) { b.(*array.StringBuilder).Append(get(s)) }
}

// Schema is the schema of the rows: key id, event time time.
func Schema() record.Schema {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.name, Type: c.typ}
	}
	return record.NewSchema(fields, "id", "time")
}

// Batch returns the spots as a batch of rows.
func Batch(spots []Spot) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, Schema().Schema)
	for i, c := range columns {
		col := b.Field(i)
		col.Reserve(len(spots))
		for k := range spots {
			c.add(col, &spots[k])
		}
	}
	return b.NewRecordBatch()
}

// firstTime is 2023-05-24 02:00 UTC.
const firstTime = 1684893600

var bands = []struct {
	number int16
	hz     uint64
}{{-1, 137400}, {0, 475600}, {1, 1838000}, {3, 3570000}, {7, 7040000}, {10, 10140100},
	{14, 14097000}, {18, 18106000}, {21, 21096000}, {28, 28126000}, {50, 50294400},
	{144, 144490500}, {432, 432301500}, {1296, 1296501500}, {10368, 10368200000}}

// Spots returns n spots with ascending ids above after, with holes. The same arguments give the
// same spots. Their times cover a few hours.
func Spots(seed, after uint64, n int) []Spot {
	r := rand.New(rand.NewPCG(seed, after))
	out := make([]Spot, n)
	id := after
	for i := range out {
		id += 1 + uint64(r.IntN(8))/7 // every eighth id is missing
		band := bands[r.IntN(len(bands))]
		rx, tx := place(r), place(r)
		out[i] = Spot{
			ID: id, Time: firstTime + int64(i/700)*120, Band: band.number,
			RxSign: callSign(r), RxLat: rx.lat, RxLon: rx.lon, RxLoc: rx.locator,
			TxSign: callSign(r), TxLat: tx.lat, TxLon: tx.lon, TxLoc: tx.locator,
			Distance: uint16(r.IntN(20000)), Azimuth: uint16(r.IntN(360)),
			RxAzimuth: uint16(r.IntN(360)), Frequency: band.hz + uint64(r.IntN(200)),
			Power: int8(r.IntN(61)), SNR: int8(r.IntN(60) - 40), Drift: int8(r.IntN(9) - 4),
			Version: []string{"", "2.6.1", "WD_3.0.9", "4.0 r4889"}[r.IntN(4)],
			Code:    []int8{1, 1, 1, 2, 4, 8}[r.IntN(6)],
		}
	}
	return out
}

type position struct {
	locator  string
	lat, lon float32
}

// place draws a six-character locator with the centre of its subsquare.
func place(r *rand.Rand) position {
	a, b, c, d, e, f := r.IntN(18), r.IntN(18), r.IntN(10), r.IntN(10), r.IntN(24), r.IntN(24)
	lon := -180 + 20*float64(a) + 2*float64(c) + (float64(e)+0.5)/12
	lat := -90 + 10*float64(b) + float64(d) + (float64(f)+0.5)/24
	return position{fmt.Sprintf("%c%c%d%d%c%c", 'A'+a, 'A'+b, c, d, 'a'+e, 'a'+f),
		float32(lat), float32(lon)}
}

func callSign(r *rand.Rand) string {
	letter := func() rune { return rune('A' + r.IntN(26)) }
	sign := fmt.Sprintf("%c%c%d%c%c", letter(), letter(), r.IntN(10), letter(), letter())
	if r.IntN(20) == 0 {
		sign += "/P"
	}
	return sign
}

// OverMonths moves the spots so that they cover so many months, in turn.
func OverMonths(spots []Spot, months int) []Spot {
	out := slices.Clone(spots)
	for i := range out {
		out[i].Time += int64(i%months) * 31 * 86400
	}
	return out
}

// byID sorts a copy of the spots.
func byID(spots []Spot) []Spot {
	return slices.SortedFunc(slices.Values(spots),
		func(a, b Spot) int { return cmp.Compare(a.ID, b.ID) })
}

// Difference describes the first differences between the rows that a target should hold and those
// that it holds, row by row in any order; it is "" if there are none.
func Difference(want, got []Spot) string {
	want, got = byID(want), byID(got)
	var lost, extra, other int
	first := ""
	note := func(n *int, format string, args ...any) {
		*n++
		if first == "" {
			first = fmt.Sprintf(format, args...)
		}
	}
	i, k := 0, 0
	for i < len(want) || k < len(got) {
		switch {
		case k == len(got) || i < len(want) && want[i].ID < got[k].ID:
			note(&lost, "row %d is missing", want[i].ID)
			i++
		case i == len(want) || got[k].ID < want[i].ID:
			note(&extra, "row %d is there and should not be, or is there again", got[k].ID)
			k++
		default:
			if want[i] != got[k] {
				note(&other, "row %d:\n got %+v\nwant %+v", want[i].ID, got[k], want[i])
			}
			i, k = i+1, k+1
		}
	}
	if first == "" {
		return ""
	}
	return fmt.Sprintf("%d rows missing, %d too many, %d other than they should be (of %d); first: %s",
		lost, extra, other, len(want), first)
}
