package fits

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Image is a file of one image of 16-bit integers, row by row from the bottom; it has no checksums. Further cards are as
// they stand in a header, of 80 columns at most.
func Image(width int, pixels []int16, cards ...string) []byte {
	var b bytes.Buffer
	b.Grow(2*len(pixels) + 2*BlockSize)
	fill := func(with string) { b.WriteString(strings.Repeat(with, (BlockSize-b.Len()%BlockSize)%BlockSize)) }
	for _, card := range append([]string{
		fmt.Sprintf("SIMPLE  = %20s", "T"),
		fmt.Sprintf("BITPIX  = %20d", 16),
		fmt.Sprintf("NAXIS   = %20d", 2),
		fmt.Sprintf("NAXIS1  = %20d", width),
		fmt.Sprintf("NAXIS2  = %20d", len(pixels)/width),
	}, append(cards, "END")...) {
		fmt.Fprintf(&b, "%-80.80s", card)
	}
	fill(" ")
	data := make([]byte, 0, 2*len(pixels))
	for _, v := range pixels {
		data = binary.BigEndian.AppendUint16(data, uint16(v))
	}
	b.Write(data)
	fill("\x00")
	return b.Bytes()
}
