package app

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Bytes is a size: a plain number, or one with a unit as in 20GiB, 500MB or 64KiB.
type Bytes int64

var byteUnits = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"B", 1},
}

// String is the size in the largest unit that it is whole in.
func (b Bytes) String() string {
	for _, u := range slices.Backward(byteUnits[:5]) {
		if n := int64(u.size); b != 0 && int64(b)%n == 0 {
			return strconv.FormatInt(int64(b)/n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// parseBytes reads a size.
func parseBytes(s string) (Bytes, error) {
	num, size := strings.TrimSpace(s), 1.0
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(num, u.name); ok {
			num, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || math.IsNaN(f) {
		return 0, fmt.Errorf("want a size such as 20GiB, 500MB or 4096, got %q", s)
	}
	if f < 0 || f*size > 1<<62 {
		return 0, fmt.Errorf("want a size from 0 to 4096PiB, got %q", s)
	}
	return Bytes(f * size), nil
}
