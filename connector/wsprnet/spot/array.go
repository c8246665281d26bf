package spot

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// takeArray makes a row, or a Reject, of the 20 columns in the JSON array that is n bytes long.
func (p *parser) takeArray(n int) {
	if p.dirty {
		p.flushGarbage()
	}
	raw := p.buf[p.pos : p.pos+n]
	c := cells{dec: jsontext.NewDecoder(bytes.NewBuffer(raw), lenient...)}
	s := c.spot()
	switch {
	case c.fault != "" && c.col > colID && s.ID > 0:
		p.reject(raw, strconv.FormatUint(s.ID, 10), c.fault)
	case c.fault != "":
		p.reject(raw, "", c.fault)
	default:
		p.rows.Append(&s)
		p.seen(s.ID)
	}
	p.pos += n
}

// cells reads the columns of an array one by one; the first fault stays.
type cells struct {
	dec   *jsontext.Decoder
	col   int
	fault string
}

func (c *cells) spot() (s Spot) {
	if _, err := c.dec.ReadToken(); err != nil {
		c.fault = "no JSON"
		return s
	}
	s.ID = uint64(c.integer(1, maxID))
	s.Time = c.time()
	s.Band = int16(c.integer(math.MinInt16, math.MaxInt16))
	s.RxSign = c.text()
	s.RxLat, s.RxLon = c.degrees(90), c.degrees(180)
	s.RxLoc = c.text()
	s.TxSign = c.text()
	s.TxLat, s.TxLon = c.degrees(90), c.degrees(180)
	s.TxLoc = c.text()
	s.Distance = uint16(c.integer(0, math.MaxUint16))
	s.Azimuth = uint16(c.integer(0, math.MaxUint16))
	s.RxAzimuth = uint16(c.integer(0, math.MaxUint16))
	s.Frequency = uint64(c.integer(0, math.MaxInt64))
	s.Power = int8(c.integer(math.MinInt8, math.MaxInt8))
	s.SNR = int8(c.integer(math.MinInt8, math.MaxInt8))
	s.Drift = int8(c.integer(math.MinInt8, math.MaxInt8))
	s.Version = c.text()
	s.Code = int8(c.integer(math.MinInt8, math.MaxInt8))
	if c.fault == "" && c.dec.PeekKind() != ']' {
		c.fault = "it has more than 20 columns"
	}
	return s
}

// next returns the text of the next cell, without quotes, and its kind.
func (c *cells) next() (text []byte, kind jsontext.Kind) {
	if c.fault != "" {
		return nil, 'n'
	}
	if c.dec.PeekKind() == ']' {
		c.fault = fmt.Sprintf("it has %d columns, not 20", c.col)
		return nil, 'n'
	}
	v, err := c.dec.ReadValue()
	if err != nil {
		c.fault = "no JSON"
		return nil, 'n'
	}
	c.col++
	if kind = v.Kind(); kind == '"' {
		text, err = jsontext.AppendUnquote(nil, v)
		if err != nil {
			text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
		}
		return text, kind
	}
	return v, kind
}

// wrong notes what is wrong with the cell that was read last.
func (c *cells) wrong(text []byte, want string) {
	if c.fault == "" {
		if len(text) > 40 {
			text = append(text[:40:40], "..."...)
		}
		c.fault = fmt.Sprintf("%s is %q, %s", schema.Field(c.col-1).Name, text, want)
	}
}

func (c *cells) integer(lo, hi int64) int64 {
	text, _ := c.next()
	v, ok := parseInt(text)
	if !ok {
		c.wrong(text, "not a whole number")
		return 0
	}
	if v < lo || v > hi {
		c.wrong(text, fmt.Sprintf("out of its range %d to %d", lo, hi))
		return 0
	}
	return v
}

func (c *cells) text() string {
	text, kind := c.next()
	switch kind {
	case '"', '0':
		return string(text)
	case 'n':
		return ""
	}
	c.wrong(text, "not a text")
	return ""
}

func (c *cells) degrees(most float64) float32 {
	text, _ := c.next()
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > most {
		c.wrong(text, fmt.Sprintf("not degrees from %g to %g", -most, most))
		return 0
	}
	return float32(v)
}

// timeLayouts are the ways in which versions of the scraper wrote a time, all UTC.
var timeLayouts = []string{time.DateTime, "2006-01-02T15:04:05", time.RFC3339}

// time reads Unix seconds or a text.
func (c *cells) time() int64 {
	text, kind := c.next()
	v, ok := parseInt(text)
	if !ok && kind == '"' {
		for _, layout := range timeLayouts {
			if t, err := time.Parse(layout, string(text)); err == nil {
				v, ok = t.Unix(), true
				break
			}
		}
	}
	if !ok || v < 1 || v > maxTime {
		c.wrong(text, "not a time from 1970 to 2106")
	}
	return v
}

// AppendArray appends the row as the 20 columns of a cache file.
func (s *Spot) AppendArray(dst []byte) []byte {
	num := func(v int64) { dst = append(strconv.AppendInt(dst, v, 10), ',') }
	deg := func(v float32) { dst = append(strconv.AppendFloat(dst, float64(v), 'f', -1, 32), ',') }
	str := func(v string) { dst = append(quote(dst, v), ',') }
	dst = append(strconv.AppendUint(append(dst, '['), s.ID, 10), ',')
	num(s.Time)
	num(int64(s.Band))
	str(s.RxSign)
	deg(s.RxLat)
	deg(s.RxLon)
	str(s.RxLoc)
	str(s.TxSign)
	deg(s.TxLat)
	deg(s.TxLon)
	str(s.TxLoc)
	num(int64(s.Distance))
	num(int64(s.Azimuth))
	num(int64(s.RxAzimuth))
	num(int64(s.Frequency))
	num(int64(s.Power))
	num(int64(s.SNR))
	num(int64(s.Drift))
	str(s.Version)
	return append(strconv.AppendInt(dst, int64(s.Code), 10), ']')
}

// AppendObject appends the spot as the feed writes it.
func (s *Spot) AppendObject(dst []byte) []byte {
	str := func(f int, v string) {
		dst = append(append(append(dst, '"'), fieldNames[f]...), '"', ':')
		dst = append(quote(dst, v), ',')
	}
	num := func(f int, v int64) { str(f, strconv.FormatInt(v, 10)) }
	dst = append(dst, '{')
	str(fSpotnum, strconv.FormatUint(s.ID, 10))
	num(fDate, s.Time)
	str(fReporter, s.RxSign)
	str(fReporterGrid, s.RxLoc)
	num(fDB, int64(s.SNR))
	str(fMHz, fmt.Sprintf("%d.%06d", s.Frequency/1e6, s.Frequency%1e6))
	str(fCallSign, s.TxSign)
	str(fGrid, s.TxLoc)
	num(fPower, int64(s.Power))
	num(fDrift, int64(s.Drift))
	num(fDistance, int64(s.Distance))
	num(fAzimuth, int64(s.Azimuth))
	num(fBand, int64(s.Band))
	str(fVersion, s.Version)
	num(fCode, int64(s.Code))
	dst[len(dst)-1] = '}'
	return dst
}

// quote appends v as a JSON string; what is no UTF-8 is replaced.
func quote(dst []byte, v string) []byte {
	out, err := jsontext.AppendQuote(dst, v)
	if err != nil {
		out, _ = jsontext.AppendQuote(dst, string(bytes.ToValidUTF8([]byte(v), []byte("\uFFFD"))))
	}
	return out
}
