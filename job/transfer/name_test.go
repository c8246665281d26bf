package transfer

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/base/fault"
)

// TestYearsOfFourDigits: a leap second at the end of the last year that a header can write is of a year that no directory is for.
func TestYearsOfFourDigits(t *testing.T) {
	for date, want := range map[string]string{"2023-09-19T01:02:03": "2023/09/19", "9999-12-31T23:59:59": "9999/12/31",
		"2016-12-31T23:59:60": "2017/01/01", "9999-12-31T23:59:60": ""} {
		var b strings.Builder
		for _, card := range []string{"SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0",
			"DATE-OBS= '" + date + "'", "END"} {
			fmt.Fprintf(&b, "%-80s", card)
		}
		text := fmt.Sprintf("%-2880s", b.String())
		at, err := (&Placer{Card: "DATE-OBS"}).timeIn(strings.NewReader(text), int64(len(text)))
		if want == "" {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: got %v, %v; want none", date, at, err)
			}
			continue
		}
		if got := at.Format("2006/01/02"); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", date, got, err, want)
		}
	}
}
