// Package frames makes FITS frames as telescopes write them, and what is no frame. Called by tests only.
package frames

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"holdfast/base/fits"
)

// New is an image of side times side whole numbers, taken at a time as the header has it: 2023-09-19T23:10:00.5, or the day alone.
func New(rnd *rand.Rand, at string, side int) []byte {
	pixels := make([]int16, side*side)
	for i, v := range Noise(rnd, side*side) {
		const sky, noise = 1000, 50
		pixels[i] = sky + int16(v)*noise/256
	}
	return fits.Image(side, pixels, fmt.Sprintf("DATE-OBS= '%s'", at))
}

// Noise is content that no packer makes smaller.
func Noise(rnd *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rnd.Uint64())
	}
	return b[:size]
}
