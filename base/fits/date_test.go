package fits

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-29":                          "2026-11-29T00:00:00Z",
		"2026-11-29T15:04:05":                 "2026-11-29T15:04:05Z",
		"2026-11-29T15:04:05.25":              "2026-11-29T15:04:05.25Z",
		"2026-11-29T15:04:05Z":                "2026-11-29T15:04:05Z",
		" 2026-11-29T15:04:05.1234567899999 ": "2026-11-29T15:04:05.123456789Z",
		"2024-02-29":                          "2024-02-29T00:00:00Z",
		"2016-12-31T23:59:60":                 "2017-01-01T00:00:00Z",
		"2016-12-31T23:59:60.5":               "2017-01-01T00:00:00.5Z",
		"0000-01-01":                          "0000-01-01T00:00:00Z",
		"+02026-11-29":                        "2026-11-29T00:00:00Z",
		"-04713-11-24T12:00:00":               "-4713-11-24T12:00:00Z",
		"+12345-01-02":                        "12345-01-02T00:00:00Z",
		"31/12/99":                            "1999-12-31T00:00:00Z",
		"01/02/03":                            "1903-02-01T00:00:00Z",
	} {
		got, err := ParseTime(in)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%q: got %v, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "now", "2026", "2026-11", "2026-1-29", "2026-02-30", "2025-02-29", "2026-00-10",
		"2026-13-01", "2026-11-29T", "2026-11-29T15", "2026-11-29T15:04", "2026-11-29T24:00:00", "2026-11-29T15:60:00",
		"2026-11-29T15:04:60", "2026-11-29T15:04:61", "2026-11-29T15:04:05.", "2026-11-29T15:04:05.x",
		"2026-11-29T15:04:05+01:00", "2026-11-29 15:04:05", "12026-11-29", "-2026-11-29", "31/02/99", "1/2/99",
		"31-12-99", "2026-11-2x", "--026-11-29", "T", "+", "-", "//", "xx/xx/xx"} {
		if got, err := ParseTime(in); !fault.Is(err, fault.Invalid) || !got.IsZero() {
			t.Errorf("%q: got %v, %v, want it refused", in, got, err)
		}
	}
}

func TestTimesThatAreWrittenAreRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62167219200, 253402300799).Draw(rt, "seconds"),
			rapid.Int64Range(0, 999999999).Draw(rt, "ns")).UTC()
		got, err := ParseTime(at.Format("2006-01-02T15:04:05.999999999"))
		if err != nil || !got.Equal(at) {
			rt.Fatalf("got %v, %v, want %v", got, err, at)
		}
	})
}

// TestTimeScale: whoever reads a time is told the clock that it was taken with.
func TestTimeScale(t *testing.T) {
	date := card("DATE-OBS", "'2026-11-29T15:04:05'", "")
	for system, want := range map[string]string{"": UTC, "'UTC'": UTC, "'utc     '": UTC, "'UTC(NIST)'": UTC,
		"'TAI'": "TAI", "'tt(TAI)'": "TT", "'LOCAL'": "LOCAL", "'  '": UTC} {
		records := []string{date, card("DATE", "'2026-11-30'", "")}
		if system != "" {
			records = append(records, card("TIMESYS", system, ""))
		}
		h := read(t, records...)
		at, scale, err := h.Time("date-obs")
		if err != nil || scale != want || at.Format(time.DateTime) != "2026-11-29 15:04:05" {
			t.Errorf("%s: got %v %s, %v, want %s", system, at, scale, err, want)
		}
		if _, scale, err := h.Time("DATE"); err != nil || scale != UTC {
			t.Errorf("%s: DATE is %s, %v, want UTC", system, scale, err)
		}
	}
	h := read(t, card("DATE-OBS", "'yesterday'", ""), card("DATE-END", "5", ""))
	for keyword, say := range map[string]string{"DATE-OBS": `HDU 0, card 4: DATE-OBS: "yesterday" is no FITS date`,
		"DATE-END": "DATE-END is an integer", "DATE-BEG": `no card "DATE-BEG"`} {
		if _, _, err := h.Time(keyword); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: got %v, want %q", keyword, err, say)
		}
	}
}
