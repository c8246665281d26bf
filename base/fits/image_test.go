package fits

import (
	"bytes"
	"math"
	"testing"
)

func TestImage(t *testing.T) {
	pixels := make([]int16, 30*20)
	pixels[0], pixels[599] = math.MinInt16, math.MaxInt16
	file := Image(30, pixels, "DATE-OBS= '2026-06-01T01:02:03.5'")
	report, err := Check(bytes.NewReader(file))
	if err != nil || report.Verdict != Absent || len(report.HDUs) != 1 || report.HDUs[0].Data != 1200 {
		t.Fatalf("got %+v, %v", report, err)
	}
	data := file[report.HDUs[0].Offset+report.HDUs[0].Header:]
	if data[0] != 0x80 || data[1] != 0 || data[1198] != 0x7f || data[1199] != 0xff || len(file)%BlockSize != 0 {
		t.Errorf("the data are % x ... % x", data[:2], data[1198:1200])
	}
}
