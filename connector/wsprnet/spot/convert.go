package spot

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/connector/wsprnet/locator"
)

// The fields of the feed's object, in its order.
const (
	fSpotnum = iota
	fDate
	fReporter
	fReporterGrid
	fDB
	fMHz
	fCallSign
	fGrid
	fPower
	fDrift
	fDistance
	fAzimuth
	fBand
	fVersion
	fCode
	fields
)

var fieldNames = [fields]string{"Spotnum", "Date", "Reporter", "ReporterGrid", "dB", "MHz",
	"CallSign", "Grid", "Power", "Drift", "distance", "azimuth", "Band", "version", "code"}

// required are the fields without which there is no row.
const required = 1<<fields - 1 - (1<<fReporterGrid | 1<<fGrid | 1<<fVersion)

// The range of ids and times. A key must fit a signed integer of SQLite, a time a DateTime.
const (
	maxID   = 1<<63 - 1
	maxTime = 1<<32 - 1
)

// object is one spot as it was read: the text of its fields, which ones there are, and the first
// one that is neither a string nor a number.
type object struct {
	val     [fields][]byte
	have    uint32
	bad     string // what is wrong with it, found while it was read
	unknown int    // fields that we do not know
}

// key returns the text of the id if it is a number.
func (o *object) key() string {
	if o.have&(1<<fSpotnum) == 0 {
		return ""
	}
	if v, ok := parseInt(o.val[fSpotnum]); ok && v > 0 {
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// number checks one whole number against its column's range; the first fault found stays.
func (o *object) number(f int, lo, hi int64, fault *string) int64 {
	v, ok := parseInt(o.val[f])
	if (!ok || v < lo || v > hi) && *fault == "" {
		*fault = o.explain(f, lo, hi)
	}
	return v
}

// explain says for a person why the field has no place in its column.
func (o *object) explain(f int, lo, hi int64) string {
	if o.have&(1<<f) == 0 {
		return fieldNames[f] + " is missing"
	}
	shown := o.val[f]
	if len(shown) > 40 {
		shown = append(shown[:40:40], "..."...)
	}
	d, ok := parseDecimal(o.val[f])
	if !ok {
		return fmt.Sprintf("%s is %q, not a number that a column can hold", fieldNames[f], shown)
	}
	if v, exact, ok := d.times(0); ok && !exact && v >= lo && v <= hi {
		return fmt.Sprintf("%s is %q, not a whole number", fieldNames[f], shown)
	}
	return fmt.Sprintf("%s is %q, out of its range %d to %d", fieldNames[f], shown, lo, hi)
}

// add makes a row of the object. A fault other than "" says why it could not be made.
func (b *Builder) add(o *object, notes *counts) (fault string) {
	if o.bad != "" {
		return o.bad
	}
	if miss := ^o.have & required; miss != 0 {
		for f := range fields {
			if miss&(1<<f) != 0 {
				return fieldNames[f] + " is missing"
			}
		}
	}
	id := o.number(fSpotnum, 1, maxID, &fault)
	at := o.number(fDate, 1, maxTime, &fault)
	snr := o.number(fDB, -128, 127, &fault)
	power := o.number(fPower, -128, 127, &fault)
	drift := o.number(fDrift, -128, 127, &fault)
	km := o.number(fDistance, 0, 65535, &fault)
	az := o.number(fAzimuth, 0, 65535, &fault)
	band := o.number(fBand, -32768, 32767, &fault)
	code := o.number(fCode, -128, 127, &fault)
	hz, ok := parseMHz(o.val[fMHz])
	if !ok && fault == "" {
		fault = o.explain(fMHz, 0, 1e12)
	}
	if fault != "" {
		return fault
	}
	rx, ok := locator.Parse(o.val[fReporterGrid])
	if !ok {
		notes.locatorInvalid++
	}
	tx, ok := locator.Parse(o.val[fGrid])
	if !ok {
		notes.locatorInvalid++
	}
	notes.unknownField += int64(o.unknown)
	b.id = append(b.id, uint64(id))
	b.time = append(b.time, arrow.Timestamp(at))
	b.band = append(b.band, int16(band))
	b.distance, b.azimuth = append(b.distance, uint16(km)), append(b.azimuth, uint16(az))
	b.frequency = append(b.frequency, hz)
	b.power, b.snr = append(b.power, int8(power)), append(b.snr, int8(snr))
	b.drift, b.code = append(b.drift, int8(drift)), append(b.code, int8(code))
	appendText(&b.rxSign, o.val[fReporter])
	appendText(&b.rxLoc, o.val[fReporterGrid])
	appendText(&b.txSign, o.val[fCallSign])
	appendText(&b.txLoc, o.val[fGrid])
	appendText(&b.version, o.val[fVersion])
	b.place(rx, tx)
	return ""
}

// place adds the columns that follow from the locators.
func (b *Builder) place(rx, tx locator.Point) {
	lat, lon := rx.Degrees()
	b.rxLat, b.rxLon = append(b.rxLat, lat), append(b.rxLon, lon)
	lat, lon = tx.Degrees()
	b.txLat, b.txLon = append(b.txLat, lat), append(b.txLon, lon)
	b.rxAzimuth = append(b.rxAzimuth, rx.Bearing(tx))
}
