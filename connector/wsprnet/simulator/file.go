package simulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"holdfast/connector/wsprnet/spot"
)

// File is content read from a JSON array of spots in the feed's own form.
type File struct {
	items []item
	index map[uint64]int
}

type item struct {
	id   uint64
	raw  []byte
	spot spot.Spot
	ok   bool
}

var _ content = (*File)(nil)

// LoadSpots reads a file of spots. Ids are kept. With moved, dates are shifted by whole days'
// worth of two-minute slots so that the newest spot is heard just before now.
func LoadSpots(path string, moved bool) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load spots: %w", err)
	}
	f := &File{}
	if f.items, err = readItems(data, moved); err != nil {
		return nil, fmt.Errorf("load spots from %s: %w", path, err)
	}
	f.sort()
	return f, nil
}

// readItems returns the spots of a JSON array, at least one.
func readItems(data []byte, moved bool) ([]item, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(data, &raws); err != nil {
		return nil, fmt.Errorf("want a JSON array of spots: %w", err)
	}
	if len(raws) == 0 {
		return nil, errors.New("it holds none")
	}
	objs := make([]map[string]any, len(raws))
	newest := int64(0)
	for i, raw := range raws {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&objs[i]); err != nil {
			return nil, fmt.Errorf("spot %d: %w", i, err)
		}
		newest = max(newest, integer(objs[i]["Date"]))
	}
	shift := int64(0)
	if moved {
		shift = (time.Now().Unix() - newest - 120) / 120 * 120
	}
	items := make([]item, len(raws))
	for i, o := range objs {
		var err error
		if items[i], err = newItem(raws[i], o, shift); err != nil {
			return nil, fmt.Errorf("spot %d: %w", i, err)
		}
	}
	return items, nil
}

// newItem makes an item of a spot, its text and what it says, heard later by shift seconds.
func newItem(raw []byte, o map[string]any, shift int64) (item, error) {
	id := integer(o["Spotnum"])
	if id <= 0 {
		return item{}, errors.New("it has no Spotnum")
	}
	var buf bytes.Buffer
	if err := json.Compact(&buf, raw); err != nil {
		return item{}, err
	}
	it := item{id: uint64(id), raw: buf.Bytes()}
	if shift != 0 {
		then, now := integer(o["Date"]), integer(o["Date"])+shift
		o["Date"] = strconv.FormatInt(now, 10)
		it.raw = bytes.Replace(it.raw, fmt.Appendf(nil, `"Date":"%d"`, then),
			fmt.Appendf(nil, `"Date":"%d"`, now), 1)
	}
	it.spot, it.ok = typed(o)
	return it, nil
}

// sort puts the items in the order of their ids, each id once, and makes the index.
func (f *File) sort() {
	slices.SortStableFunc(f.items, func(a, b item) int { return cmp.Compare(a.id, b.id) })
	f.items = slices.CompactFunc(f.items, func(a, b item) bool { return a.id == b.id })
	f.index = map[uint64]int{}
	for i, it := range f.items {
		f.index[it.id] = i
	}
}

// integer reads a field by the standard library, so that the source's own reading is checked
// against something else; 0 if it can't.
func integer(v any) int64 {
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil {
		return math.MinInt64
	}
	return n
}

// typed makes the row; ok is false if a value does not fit its column.
func typed(o map[string]any) (s spot.Spot, ok bool) {
	ok = true
	num := func(name string, lo, hi int64) int64 {
		n := integer(o[name])
		ok = ok && n >= lo && n <= hi
		return n
	}
	text := func(name string) string {
		t, _ := o[name].(string)
		return t
	}
	mhz, err := strconv.ParseFloat(fmt.Sprint(o["MHz"]), 64)
	s = spot.Spot{ID: uint64(num("Spotnum", 1, math.MaxInt64)), Time: num("Date", 1, math.MaxUint32),
		Band: int16(num("Band", math.MinInt16, math.MaxInt16)), RxSign: text("Reporter"),
		RxLoc: text("ReporterGrid"), TxSign: text("CallSign"), TxLoc: text("Grid"),
		Distance: uint16(num("distance", 0, math.MaxUint16)),
		Azimuth:  uint16(num("azimuth", 0, math.MaxUint16)), Frequency: uint64(math.Round(mhz * 1e6)),
		Power: int8(num("Power", math.MinInt8, math.MaxInt8)),
		SNR:   int8(num("dB", math.MinInt8, math.MaxInt8)),
		Drift: int8(num("Drift", math.MinInt8, math.MaxInt8)), Version: text("version"),
		Code: int8(num("code", math.MinInt8, math.MaxInt8))}
	s.Place()
	return s, ok && err == nil && mhz >= 0
}

// fileClock spreads the file's ids like made-up ones, or has them all at once without a rate.
func fileClock(o Options) clock {
	f := o.Spots
	o.Start = f.items[0].id
	span := f.items[len(f.items)-1].id - o.Start + 1
	if o.Rate <= 0 || o.Backlog > span {
		o.Backlog = span
	}
	c := newClock(o)
	c.end = o.Start + span - 1
	return c
}

func (f *File) exists(id uint64) bool {
	_, ok := f.index[id]
	return ok
}

func (f *File) render(dst []byte, id uint64) []byte { return append(dst, f.items[f.index[id]].raw...) }

func (f *File) spot(id uint64) (spot.Spot, bool) {
	i, ok := f.index[id]
	if !ok {
		return spot.Spot{}, false
	}
	return f.items[i].spot, f.items[i].ok
}
