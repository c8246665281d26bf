package clickhouse

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
)

// An answer about keys counts only when its totals prove that it is whole.
func TestKeysProveThemselves(t *testing.T) {
	var body string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body)
	}))
	defer web.Close()
	s := open(t, web.URL)
	for _, c := range []struct {
		body string
		want []uint64
		bad  string // words of the error
	}{
		{"5\t1\n9\t2\n\n0\t3\n", []uint64{5, 9}, ""},
		{"\n0\t0\n", nil, ""},
		{"", nil, "EOF"},
		{"5\t1\n", nil, "EOF"},
		{"5\t1\n\n", nil, "EOF"},
		{"5\t1\n9\t2\n\n0\t4\n", nil, "total"},
		{"9\t2\n\n0\t3\n", nil, "total"},
		{"5\t1\nCode: 241. DB::Exception: Memory limit exceeded\n", nil, "Memory limit"},
		{"5\t-1\n\n0\t-1\n", nil, "asked for keys"},
		{"<html>\n", nil, "asked for keys"},
		{strings.Repeat("x", 100_000) + "\n", nil, "read keys"},
	} {
		body = c.body
		var got []uint64
		err := s.keys(soon(t), time.Second, "", func(k, _ uint64) error { got = append(got, k); return nil })
		if c.bad == "" {
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q: got %v %v, want %v", c.body, got, err, c.want)
			}
			continue
		}
		wantFault(t, fmt.Sprintf("%.40q", c.body), err, fault.Transient, c.bad)
	}
}

func TestRangesOf(t *testing.T) {
	keys := []uint64{1, 2, 1500, 1501, 1 << 40, 1<<64 - 1}
	rows := []int32{0, 1, 2, 3, 4, 5}
	got := rangesOf("k", keys, rows)
	want := "(k BETWEEN 1 AND 2 OR k BETWEEN 1500 AND 1501 OR k BETWEEN 1099511627776 AND " +
		"1099511627776 OR k BETWEEN 18446744073709551615 AND 18446744073709551615)"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	keys, rows = nil, nil
	for i := range 5000 {
		keys, rows = append(keys, uint64(i)*uint64(i)*2000), append(rows, int32(i))
	}
	got = rangesOf("k", keys, rows)
	if n := strings.Count(got, "BETWEEN"); n != keyRanges {
		t.Errorf("got %d ranges, want %d", n, keyRanges)
	}
	if !strings.HasPrefix(got, "(k BETWEEN 0 AND ") || !strings.HasSuffix(got, fmt.Sprintf("AND %d)", keys[4999])) {
		t.Errorf("the ranges do not hold all keys: %s", got)
	}
}

// The last second that a DateTime can hold has none behind it to compare with.
func TestBetweenAtTheEndOfTime(t *testing.T) {
	c := column{name: "time"}
	c.kind.family = dateTime
	for hi, want := range map[int64]string{
		100:         "`time` >= toDateTime(7) AND `time` < toDateTime(101)",
		1<<32 - 2:   "`time` >= toDateTime(7) AND `time` < toDateTime(4294967295)",
		1<<32 - 1:   "`time` >= toDateTime(7)",
		1<<32 + 1e5: "`time` >= toDateTime(7)",
	} {
		if got := c.between(7, hi); got != want {
			t.Errorf("up to %d: got %s, want %s", hi, got, want)
		}
	}
}
