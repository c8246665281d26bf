// Package frames makes FITS frames as telescopes write them, and what is no frame. Called by tests only.
package frames

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// block is what the parts of a FITS file are a multiple of.
const block = 2880

// New is an image of side times side whole numbers, taken at a time as the header has it: 2023-09-19T23:10:00.5, or the day alone.
func New(rnd *rand.Rand, at string, side int) []byte {
	var b bytes.Buffer
	b.Grow(2*side*side + 2*block)
	card := func(format string, args ...any) { fmt.Fprintf(&b, "%-80s", fmt.Sprintf(format, args...)) }
	card("SIMPLE  = %20s", "T")
	card("BITPIX  = %20d", 16)
	card("NAXIS   = %20d", 2)
	card("NAXIS1  = %20d", side)
	card("NAXIS2  = %20d", side)
	card("DATE-OBS= '%s'", at)
	card("END")
	fill := func(with string) { b.WriteString(strings.Repeat(with, (block-b.Len()%block)%block)) }
	fill(" ")
	pixels := make([]byte, 0, 2*side*side)
	for _, v := range Noise(rnd, side*side) {
		const sky, noise = 1000, 50
		pixels = binary.BigEndian.AppendUint16(pixels, sky+uint16(v)*noise/256)
	}
	b.Write(pixels)
	fill("\x00")
	return b.Bytes()
}

// Noise is content that no packer makes smaller.
func Noise(rnd *rand.Rand, size int) []byte {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rnd.Uint64())
	}
	return b[:size]
}
