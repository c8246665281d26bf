package spot

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Builder gathers rows column by column. The zero Builder is ready.
type Builder struct {
	id, frequency                []uint64
	time                         []arrow.Timestamp
	band                         []int16
	rxLat, rxLon, txLat, txLon   []float32
	distance, azimuth, rxAzimuth []uint16
	power, snr, drift, code      []int8
	rxSign, rxLoc, txSign, txLoc text
	version                      text
}

// text is a column of strings: all their bytes, and where each one ends, behind a 0 for Arrow.
type text struct {
	ends []int32
	data []byte
}

// grow makes room for n rows.
func (b *Builder) grow(n int) {
	b.id, b.frequency = make([]uint64, 0, n), make([]uint64, 0, n)
	b.time, b.band = make([]arrow.Timestamp, 0, n), make([]int16, 0, n)
	for _, c := range []*[]float32{&b.rxLat, &b.rxLon, &b.txLat, &b.txLon} {
		*c = make([]float32, 0, n)
	}
	for _, c := range []*[]uint16{&b.distance, &b.azimuth, &b.rxAzimuth} {
		*c = make([]uint16, 0, n)
	}
	for _, c := range []*[]int8{&b.power, &b.snr, &b.drift, &b.code} {
		*c = make([]int8, 0, n)
	}
	for _, c := range []*text{&b.rxSign, &b.rxLoc, &b.txSign, &b.txLoc, &b.version} {
		c.ends, c.data = make([]int32, 1, n+1), make([]byte, 0, 7*n)
	}
}

// Len returns the number of rows so far.
func (b *Builder) Len() int { return len(b.id) }

// Append adds one row.
func (b *Builder) Append(s *Spot) {
	b.id = append(b.id, s.ID)
	b.time = append(b.time, arrow.Timestamp(s.Time))
	b.band = append(b.band, s.Band)
	appendText(&b.rxSign, s.RxSign)
	b.rxLat, b.rxLon = append(b.rxLat, s.RxLat), append(b.rxLon, s.RxLon)
	appendText(&b.rxLoc, s.RxLoc)
	appendText(&b.txSign, s.TxSign)
	b.txLat, b.txLon = append(b.txLat, s.TxLat), append(b.txLon, s.TxLon)
	appendText(&b.txLoc, s.TxLoc)
	b.distance = append(b.distance, s.Distance)
	b.azimuth, b.rxAzimuth = append(b.azimuth, s.Azimuth), append(b.rxAzimuth, s.RxAzimuth)
	b.frequency = append(b.frequency, s.Frequency)
	b.power, b.snr = append(b.power, s.Power), append(b.snr, s.SNR)
	b.drift, b.code = append(b.drift, s.Drift), append(b.code, s.Code)
	appendText(&b.version, s.Version)
}

func appendText[T string | []byte](c *text, s T) {
	if c.ends == nil {
		c.ends = make([]int32, 1, 64)
	}
	c.data = append(c.data, s...)
	c.ends = append(c.ends, int32(len(c.data)))
}

// Batch hands the rows over as one Arrow batch and leaves the builder empty.
func (b *Builder) Batch() arrow.RecordBatch {
	n := b.Len()
	cols := []arrow.Array{
		colID:        uint64s(b.id),
		colTime:      fixed(arrow.FixedWidthTypes.Timestamp_s, b.time, arrow.TimestampTraits.CastToBytes),
		colBand:      fixed(arrow.PrimitiveTypes.Int16, b.band, arrow.Int16Traits.CastToBytes),
		colRxSign:    b.rxSign.array(),
		colRxLat:     float32s(b.rxLat),
		colRxLon:     float32s(b.rxLon),
		colRxLoc:     b.rxLoc.array(),
		colTxSign:    b.txSign.array(),
		colTxLat:     float32s(b.txLat),
		colTxLon:     float32s(b.txLon),
		colTxLoc:     b.txLoc.array(),
		colDistance:  uint16s(b.distance),
		colAzimuth:   uint16s(b.azimuth),
		colRxAzimuth: uint16s(b.rxAzimuth),
		colFrequency: uint64s(b.frequency),
		colPower:     int8s(b.power),
		colSNR:       int8s(b.snr),
		colDrift:     int8s(b.drift),
		colVersion:   b.version.array(),
		colCode:      int8s(b.code),
	}
	*b = Builder{}
	return array.NewRecordBatch(schema.Schema, cols, int64(n))
}

// fixed makes an array of vals without copying them.
func fixed[T any](t arrow.DataType, vals []T, raw func([]T) []byte) arrow.Array {
	buf := memory.NewBufferBytes(raw(vals))
	return array.MakeFromData(array.NewData(t, len(vals), []*memory.Buffer{nil, buf}, nil, 0, 0))
}

func uint64s(v []uint64) arrow.Array {
	return fixed(arrow.PrimitiveTypes.Uint64, v, arrow.Uint64Traits.CastToBytes)
}

func float32s(v []float32) arrow.Array {
	return fixed(arrow.PrimitiveTypes.Float32, v, arrow.Float32Traits.CastToBytes)
}

func uint16s(v []uint16) arrow.Array {
	return fixed(arrow.PrimitiveTypes.Uint16, v, arrow.Uint16Traits.CastToBytes)
}

func int8s(v []int8) arrow.Array {
	return fixed(arrow.PrimitiveTypes.Int8, v, arrow.Int8Traits.CastToBytes)
}

// array makes a string array without copying.
func (c *text) array() arrow.Array {
	if c.ends == nil {
		c.ends = make([]int32, 1)
	}
	bufs := []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.ends)),
		memory.NewBufferBytes(c.data)}
	return array.MakeFromData(array.NewData(arrow.BinaryTypes.String, len(c.ends)-1, bufs, nil, 0, 0))
}

// Read calls yield for every row of a batch of this package's schema, until it returns false. The
// Spot is reused.
func Read(b arrow.RecordBatch, yield func(*Spot) bool) {
	str := func(c, i int) string { return b.Column(c).(*array.String).Value(i) }
	f32 := func(c, i int) float32 { return b.Column(c).(*array.Float32).Value(i) }
	u16 := func(c, i int) uint16 { return b.Column(c).(*array.Uint16).Value(i) }
	i8 := func(c, i int) int8 { return b.Column(c).(*array.Int8).Value(i) }
	var s Spot
	for i := range int(b.NumRows()) {
		s = Spot{
			ID:        b.Column(colID).(*array.Uint64).Value(i),
			Time:      int64(b.Column(colTime).(*array.Timestamp).Value(i)),
			Band:      b.Column(colBand).(*array.Int16).Value(i),
			RxSign:    str(colRxSign, i),
			RxLat:     f32(colRxLat, i),
			RxLon:     f32(colRxLon, i),
			RxLoc:     str(colRxLoc, i),
			TxSign:    str(colTxSign, i),
			TxLat:     f32(colTxLat, i),
			TxLon:     f32(colTxLon, i),
			TxLoc:     str(colTxLoc, i),
			Distance:  u16(colDistance, i),
			Azimuth:   u16(colAzimuth, i),
			RxAzimuth: u16(colRxAzimuth, i),
			Frequency: b.Column(colFrequency).(*array.Uint64).Value(i),
			Power:     i8(colPower, i),
			SNR:       i8(colSNR, i),
			Drift:     i8(colDrift, i),
			Version:   str(colVersion, i),
			Code:      i8(colCode, i),
		}
		if !yield(&s) {
			return
		}
	}
}
