// Package locator turns Maidenhead grid locators into degrees, bearings and distances, the way the
// WSPRNET tables hold them: a 6-character locator is the centre of its subsquare, a 4-character one
// is taken at the centre of subsquare "ll".
//
// A Point is a pair of indexes into tables of the 4,320 subsquare columns and rows of the earth, so
// that a bearing costs one arc tangent: the source computes one for every spot that it reads.
package locator

import "math"

const (
	columns = 18 * 10 * 24 // subsquares around the earth, and from pole to pole
	radius  = 6371.0       // kilometres, of a sphere of the earth's volume
)

// Point is the centre of a subsquare. The zero Point is not on the map: it stands for a locator
// that could not be read.
type Point struct{ x, y uint16 } // indexes counted from 1

// angles are sine and cosine by index.
type angles struct{ sin, cos float64 }

// tables hold what is looked up, degrees and angles by index; delta by the difference of two columns.
type tables struct {
	lon, lat [columns + 1]float32
	row      [columns + 1]angles
	delta    [columns + 1]angles
}

var table = makeTables()

func makeTables() *tables {
	t := new(tables)
	for i := 1; i <= columns; i++ {
		t.lon[i] = float32(sixDecimals(-180 + (float64(i)-0.5)/12))
		t.lat[i] = float32(sixDecimals(-90 + (float64(i)-0.5)/24))
		s, c := math.Sincos((-90 + (float64(i)-0.5)/24) * math.Pi / 180)
		t.row[i] = angles{s, c}
	}
	for d := range t.delta {
		s, c := math.Sincos(float64(d) / 12 * math.Pi / 180)
		t.delta[d] = angles{s, c}
	}
	return t
}

// sixDecimals rounds as the tables have always been rounded.
func sixDecimals(deg float64) float64 { return math.Round(deg*1e6) / 1e6 }

// Parse reads a locator of 4, 6, 8 or 10 characters in any case; what is finer than a subsquare is
// checked and left out. ok is false, and the Point zero, if it is not a locator.
func Parse(s []byte) (p Point, ok bool) {
	n := len(s)
	if n < 4 || n > 10 || n%2 != 0 {
		return Point{}, false
	}
	fx, fy := letter(s[0]), letter(s[1])
	sx, sy := s[2]-'0', s[3]-'0'
	if fx >= 18 || fy >= 18 || sx >= 10 || sy >= 10 {
		return Point{}, false
	}
	ux, uy := byte(11), byte(11)
	if n >= 6 {
		ux, uy = letter(s[4]), letter(s[5])
	}
	if ux >= 24 || uy >= 24 {
		return Point{}, false
	}
	for i := 6; i < n; i++ {
		if finer := s[i]; i < 8 && finer-'0' >= 10 || i >= 8 && letter(finer) >= 24 {
			return Point{}, false
		}
	}
	return At(int(fx)*240+int(sx)*24+int(ux), int(fy)*240+int(sy)*24+int(uy)), true
}

// letter returns 0 for A or a and so on; what is no letter gives 26 or more.
func letter(c byte) byte {
	if l := c | 0x20; l >= 'a' && l <= 'z' {
		return l - 'a'
	}
	return 255
}

// At returns the Point of a subsquare by its column from the west and its row from the south, both
// from 0 to 4,319.
func At(column, row int) Point { return Point{uint16(column + 1), uint16(row + 1)} }

// AppendText appends the 6-character locator of p, nothing for the zero Point.
func (p Point) AppendText(dst []byte) []byte {
	if p == (Point{}) {
		return dst
	}
	x, y := int(p.x)-1, int(p.y)-1
	return append(dst, 'A'+byte(x/240), 'A'+byte(y/240), '0'+byte(x/24%10), '0'+byte(y/24%10),
		'a'+byte(x%24), 'a'+byte(y%24))
}

// Degrees returns latitude and longitude, 0, 0 for the zero Point.
func (p Point) Degrees() (lat, lon float32) { return table.lat[p.y], table.lon[p.x] }

// Bearing returns the initial great-circle bearing from p to q in whole degrees, 0 to 359; 0 if
// either is the zero Point or they are the same.
func (p Point) Bearing(q Point) uint16 {
	if p == (Point{}) || q == (Point{}) || p == q {
		return 0
	}
	d := delta(p, q)
	a, b := table.row[p.y], table.row[q.y]
	deg := math.Atan2(d.sin*b.cos, a.cos*b.sin-a.sin*b.cos*d.cos) * (180 / math.Pi)
	if deg < 0 {
		deg += 360
	}
	return uint16(deg+0.5) % 360
}

// Distance returns the great-circle distance from p to q in whole kilometres.
func (p Point) Distance(q Point) uint16 {
	if p == (Point{}) || q == (Point{}) {
		return 0
	}
	a, b := table.row[p.y], table.row[q.y]
	c := a.sin*b.sin + a.cos*b.cos*delta(p, q).cos
	return uint16(math.Acos(max(-1, min(1, c)))*radius + 0.5)
}

// delta returns the trigonometry of the way east from p to q.
func delta(p, q Point) angles {
	d := int(q.x) - int(p.x)
	if d < 0 {
		d += columns
	}
	return table.delta[d]
}
