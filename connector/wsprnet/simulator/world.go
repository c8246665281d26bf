package simulator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"holdfast/connector/wsprnet/locator"
	"holdfast/connector/wsprnet/spot"
)

// A world has this many stations that listen and that send, and they upload so many spots at once.
const (
	listeners = 250
	senders   = 500
	upload    = 24
)

// region is where call signs with a prefix live, in subsquares, and how many of a hundred do.
type region struct {
	prefix              string
	share               int
	west, south, dx, dy int
}

// regions are boxes of degrees turned into subsquares: 12 to a degree of longitude, 24 of latitude.
var regions = []region{
	{"K", 9, -120, 32, 45, 14}, {"W", 9, -105, 30, 30, 15}, {"N", 5, -118, 34, 40, 12},
	{"KA", 4, -95, 33, 22, 10}, {"VE", 5, -123, 44, 60, 8}, {"G", 9, -4, 50, 5, 5},
	{"DL", 10, 7, 47, 7, 7}, {"F", 5, -1, 43, 7, 6}, {"PA", 4, 4, 51, 3, 2}, {"ON", 2, 3, 50, 3, 1},
	{"SM", 3, 12, 56, 6, 8}, {"OH", 3, 22, 60, 7, 6}, {"LA", 2, 6, 59, 6, 5}, {"OE", 2, 10, 47, 6, 1},
	{"HB9", 2, 6, 46, 4, 1}, {"I", 3, 8, 40, 8, 6}, {"EA", 3, -8, 37, 9, 6}, {"SP", 2, 15, 50, 8, 4},
	{"OK", 1, 13, 49, 5, 1}, {"UA", 2, 32, 50, 25, 9}, {"JA", 4, 131, 32, 11, 11},
	{"VK", 4, 138, -38, 14, 12}, {"ZL", 2, 168, -46, 9, 10}, {"PY", 2, -54, -28, 12, 15},
	{"LU", 1, -64, -38, 6, 10}, {"ZS", 1, 19, -33, 10, 8}, {"DP0", 1, -9, -71, 1, 1},
	{"EA8", 1, -17, 28, 3, 1}, {"KH6", 1, -158, 20, 3, 2},
}

// band is one by its number in the feed, its lowest WSPR frequency, and its share of a thousand.
type band struct {
	number int16
	hz     uint64
	share  int
}

var bands = []band{{-1, 137_400, 2}, {0, 475_600, 18}, {1, 1_838_000, 30}, {3, 3_570_000, 90},
	{5, 5_288_600, 20}, {7, 7_040_000, 220}, {10, 10_140_100, 160}, {14, 14_097_000, 240},
	{18, 18_106_000, 60}, {21, 21_096_000, 60}, {24, 24_926_000, 30}, {28, 28_126_000, 50},
	{50, 50_294_400, 14}, {144, 144_490_400, 6}}

var versions = []string{"WD_3.2.3", "WSJT-X_2.6.1", "2.6.1", "1.4A Kiwi", "WD_3.1.4", "4.0 r4889", "",
	"rtlsdr-065"}

var powers = []int8{7, 10, 17, 20, 23, 23, 23, 27, 30, 33, 37, 37, 40}

// station sends or listens. Its parts of a page are written once.
type station struct {
	call    string
	at      locator.Point
	loc     string
	power   int8
	offset  uint16 // Hz within the band
	version string
	head    []byte // of a listener: from Reporter to dB; of a sender: from CallSign to Drift
	tail    []byte // of a listener: from version to code
}

// path is the way from a sender to a listener.
type path struct{ km, azimuth uint16 }

// world is made-up content. It never changes once it is made.
type world struct {
	seed           uint64
	clock          clock
	holes, garbage uint32 // of 1<<32
	listen         []station
	send           []station
	paths          []path // listener times senders + sender
	bandOf         [1000]uint8
}

var _ content = (*world)(nil)

func newWorld(o Options, c clock) *world {
	rng := rand.New(rand.NewPCG(o.Seed, 0x77737072))
	w := &world{seed: o.Seed, clock: c,
		holes: share(o.Holes), garbage: share(o.Garbage)}
	taken := map[string]bool{}
	for range listeners {
		st := newStation(rng, taken)
		st.version = versions[rng.IntN(len(versions))]
		st.head = fmt.Appendf(nil, `","Reporter":"%s","ReporterGrid":"%s","dB":"`,
			escaped(st.call), st.loc)
		st.tail = fmt.Appendf(nil, `","version":"%s","code":"`, st.version)
		w.listen = append(w.listen, st)
	}
	for range senders {
		st := newStation(rng, taken)
		st.power, st.offset = powers[rng.IntN(len(powers))], uint16(rng.IntN(200))
		if rng.IntN(3) == 0 { // a plain transmission carries four characters
			st.loc = st.loc[:4]
			st.at, _ = locator.Parse([]byte(st.loc))
		}
		st.head = fmt.Appendf(nil, `","CallSign":"%s","Grid":"%s","Power":"%d","Drift":"`,
			escaped(st.call), st.loc, st.power)
		w.send = append(w.send, st)
	}
	w.paths = make([]path, listeners*senders)
	for i := range w.paths {
		rx, tx := w.listen[i/senders].at, w.send[i%senders].at
		w.paths[i] = path{tx.Distance(rx), tx.Bearing(rx)}
	}
	n := 0
	for i, b := range bands {
		for range b.share {
			w.bandOf[n] = uint8(i)
			n++
		}
	}
	return w
}

func share(f float64) uint32 { return uint32(min(max(f, 0), 1) * (1<<32 - 1)) }

// escaped writes a slash as the feed's PHP does.
func escaped(s string) string { return strings.ReplaceAll(s, "/", `\/`) }

// newStation makes a call sign that is not taken, somewhere in its country.
func newStation(rng *rand.Rand, taken map[string]bool) station {
	for {
		n := rng.IntN(100)
		r := regions[len(regions)-1]
		for _, x := range regions {
			if n -= x.share; n < 0 {
				r = x
				break
			}
		}
		call := r.prefix
		if c := call[len(call)-1]; c < '0' || c > '9' {
			call += strconv.Itoa(rng.IntN(10))
		}
		for range 2 + rng.IntN(2) {
			call += string(rune('A' + rng.IntN(26)))
		}
		switch rng.IntN(60) {
		case 0:
			call = "PJ4/" + call
		case 1:
			call += "/P"
		}
		if taken[call] {
			continue
		}
		taken[call] = true
		at := locator.At((r.west+180)*12+rng.IntN(r.dx*12), (r.south+90)*24+rng.IntN(r.dy*24))
		return station{call: call, at: at, loc: string(at.AppendText(nil))}
	}
}

// mix is a number that depends on every bit of seed, id and purpose (splitmix64).
func (w *world) mix(id, purpose uint64) uint64 {
	z := (id+w.seed*0x9e3779b97f4a7c15)*0xbf58476d1ce4e5b9 + purpose*0x94d049bb133111eb
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// What a number is drawn for.
const (
	forHole = iota + 1
	forRun
	forGarbage
	forUpload
	forSpot
	forFault
)

// exists is false for a few ids alone and for whole runs of them.
func (w *world) exists(id uint64) bool {
	if w.holes == 0 {
		return true
	}
	if uint32(w.mix(id, forHole)) < w.holes/2 {
		return false
	}
	run := w.mix(id/64, forRun)
	return uint32(run) >= w.holes || id%64 > run>>40%32
}

// reception is what an id stands for, in numbers.
type reception struct {
	rx, tx int
	band   band
	date   int64
	snr    int
	drift  int
	hz     uint64
	code   int
	path   path
}

func (w *world) reception(id uint64) (r reception) {
	group := id / upload
	u, h := w.mix(group, forUpload), w.mix(id, forSpot)
	r.rx = int(u % listeners)
	r.band = bands[w.bandOf[u>>16%1000]]
	// One listener hears a sender once in two minutes: the senders of an upload are different.
	r.tx = int((u>>32 + id%upload*31) % senders)
	r.path = w.paths[r.rx*senders+r.tx]
	tx := &w.send[r.tx]
	r.snr = min(20, int(tx.power)/2-8-int(r.path.km)/900+int(h%17)-8)
	r.snr = max(r.snr, -33)
	if h>>8%12 == 0 {
		r.drift = int(h>>12%7) - 3
	}
	r.hz = r.band.hz + uint64(tx.offset) + h>>20%3
	if r.code = 1; h>>28%100 == 0 {
		r.code = int(h >> 36 % 5)
	}
	r.date = w.date(group)
	return r
}

// date is the beginning of the two minutes that an upload was heard in.
func (w *world) date(group uint64) int64 {
	heard := w.clock.at(group * upload).Add(-110 * time.Second).Unix()
	return heard - heard%120
}

// bad returns which of the faults below the id's spot has, -1 for none.
func (w *world) bad(id uint64) int {
	if w.garbage == 0 {
		return -1
	}
	h := w.mix(id, forGarbage)
	if uint32(h) >= w.garbage {
		return -1
	}
	return int(h >> 40 % badKinds)
}

// badKinds is the number of ways in which a spot can be wrong: see render.
const badKinds = 5

// render appends the spot as the feed writes it.
func (w *world) render(dst []byte, id uint64) []byte {
	r := w.reception(id)
	rx, tx := &w.listen[r.rx], &w.send[r.tx]
	snr, km, drift, code := int64(r.snr), int64(r.path.km), int64(r.drift), int64(r.code)
	broken := false
	switch w.bad(id) {
	case 0:
		snr = 999
	case 1:
		km = 70_000
	case 2:
		drift = -200
	case 3:
		code = 4711
	case 4:
		broken = true
	}
	dst = append(dst, `{"Spotnum":"`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `","Date":"`...)
	dst = strconv.AppendInt(dst, r.date, 10)
	dst = append(dst, rx.head...)
	dst = strconv.AppendInt(dst, snr, 10)
	dst = append(dst, `","MHz":"`...)
	if broken {
		dst = append(dst, `n/a`...)
	} else {
		dst = appendMHz(dst, r.hz)
	}
	dst = append(dst, tx.head...)
	dst = strconv.AppendInt(dst, drift, 10)
	dst = append(dst, `","distance":"`...)
	dst = strconv.AppendInt(dst, km, 10)
	dst = append(dst, `","azimuth":"`...)
	dst = strconv.AppendInt(dst, int64(r.path.azimuth), 10)
	dst = append(dst, `","Band":"`...)
	dst = strconv.AppendInt(dst, int64(r.band.number), 10)
	dst = append(dst, rx.tail...)
	dst = strconv.AppendInt(dst, code, 10)
	return append(dst, `"}`...)
}

// appendMHz appends hertz as megahertz with six decimals.
func appendMHz(dst []byte, hz uint64) []byte {
	dst = strconv.AppendUint(dst, hz/1e6, 10)
	frac := strconv.AppendUint(nil, 1e6+hz%1e6, 10)
	frac[0] = '.'
	return append(dst, frac...)
}

// spot returns the row.
func (w *world) spot(id uint64) (spot.Spot, bool) {
	if w.bad(id) >= 0 {
		return spot.Spot{}, false
	}
	r := w.reception(id)
	rx, tx := &w.listen[r.rx], &w.send[r.tx]
	s := spot.Spot{ID: id, Time: r.date, Band: r.band.number, RxSign: rx.call, RxLoc: rx.loc,
		TxSign: tx.call, TxLoc: tx.loc, Distance: r.path.km, Azimuth: r.path.azimuth, Frequency: r.hz,
		Power: tx.power, SNR: int8(r.snr), Drift: int8(r.drift), Version: rx.version,
		Code: int8(r.code)}
	s.Place()
	return s, true
}
