// Package spot holds one WSPR reception in its two forms: the JSON object of the feed, 15 fields
// that are mostly strings, and the row of 20 columns that tables and cache files hold.
//
// Parse reads a page of the feed as it comes over the wire. Whatever whole spots there are become
// rows, before, between and behind garbage, and up to the place where an answer was cut; a spot
// with a value that no column can hold becomes a Reject that names the field and the value. Rows
// are built by column (Builder), without a value in between: a core reads about a million a second.
package spot

import (
	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/connector/wsprnet/locator"
)

// Spot is one reception, typed as the table's columns are.
type Spot struct {
	ID        uint64
	Time      int64 // Unix seconds
	Band      int16
	RxSign    string
	RxLat     float32
	RxLon     float32
	RxLoc     string
	TxSign    string
	TxLat     float32
	TxLon     float32
	TxLoc     string
	Distance  uint16 // kilometres
	Azimuth   uint16 // degrees, transmitter to receiver
	RxAzimuth uint16 // degrees, receiver to transmitter
	Frequency uint64 // Hz
	Power     int8   // dBm
	SNR       int8   // dB
	Drift     int8   // Hz a minute
	Version   string
	Code      int8
}

// Place fills the columns that follow from the two locators, and returns how many of the two could
// not be read: those are at 0, 0.
func (s *Spot) Place() (invalid int) {
	rx, ok := locator.Parse([]byte(s.RxLoc))
	if !ok {
		invalid++
	}
	tx, ok := locator.Parse([]byte(s.TxLoc))
	if !ok {
		invalid++
	}
	s.RxLat, s.RxLon = rx.Degrees()
	s.TxLat, s.TxLon = tx.Degrees()
	s.RxAzimuth = rx.Bearing(tx)
	return invalid
}

// The columns of a row, in the order of the table and of a cache file.
const (
	colID = iota
	colTime
	colBand
	colRxSign
	colRxLat
	colRxLon
	colRxLoc
	colTxSign
	colTxLat
	colTxLon
	colTxLoc
	colDistance
	colAzimuth
	colRxAzimuth
	colFrequency
	colPower
	colSNR
	colDrift
	colVersion
	colCode
)

var schema = record.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "time", Type: arrow.FixedWidthTypes.Timestamp_s},
	{Name: "band", Type: arrow.PrimitiveTypes.Int16},
	{Name: "rx_sign", Type: arrow.BinaryTypes.String},
	{Name: "rx_lat", Type: arrow.PrimitiveTypes.Float32},
	{Name: "rx_lon", Type: arrow.PrimitiveTypes.Float32},
	{Name: "rx_loc", Type: arrow.BinaryTypes.String},
	{Name: "tx_sign", Type: arrow.BinaryTypes.String},
	{Name: "tx_lat", Type: arrow.PrimitiveTypes.Float32},
	{Name: "tx_lon", Type: arrow.PrimitiveTypes.Float32},
	{Name: "tx_loc", Type: arrow.BinaryTypes.String},
	{Name: "distance", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "azimuth", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "rx_azimuth", Type: arrow.PrimitiveTypes.Uint16},
	{Name: "frequency", Type: arrow.PrimitiveTypes.Uint64},
	{Name: "power", Type: arrow.PrimitiveTypes.Int8},
	{Name: "snr", Type: arrow.PrimitiveTypes.Int8},
	{Name: "drift", Type: arrow.PrimitiveTypes.Int8},
	{Name: "version", Type: arrow.BinaryTypes.String},
	{Name: "code", Type: arrow.PrimitiveTypes.Int8},
}, "id", "time")

// Schema returns the 20 columns; id is the key and time the event time.
func Schema() record.Schema { return schema }
