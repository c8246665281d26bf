package clickhouse

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func FuzzAnswers(f *testing.F) {
	f.Add("a\tb\nc\\td\t\\N\n", "DateTime64(3, 'UTC')")
	f.Add("12\t34\n", "LowCardinality(Nullable(FixedString(6)))")
	f.Add("Code: 241. DB::Exception: x", "Nullable(")
	f.Add("18446744073709551616\t0", "Int128")
	f.Fuzz(func(t *testing.T, body, kind string) {
		if rows, err := (answer{body: body}).rows(2); err == nil && len(rows) != strings.Count(body, "\n") {
			t.Errorf("%d rows of %q", len(rows), body)
		}
		_ = judge(&http.Response{StatusCode: 200, Header: http.Header{}}, body)
		if a, b, ok := twoNumbers([]byte(body)); ok {
			back := strconv.FormatUint(a, 10) + "\t" + strconv.FormatUint(b, 10)
			x, y, again := twoNumbers([]byte(back))
			if !again || x != a || y != b {
				t.Errorf("%q is %d and %d, and then %d and %d", body, a, b, x, y)
			}
		}
		k := parseType(kind)
		if k.family == signedInt || k.family == unsignedInt {
			if lo, hi := k.bounds(); lo > 0 || hi == 0 {
				t.Errorf("%q: bounds %d to %d", kind, lo, hi)
			}
		}
		if d := k.asDictionary(); d.dict != k.low {
			t.Errorf("%q: sent as a dictionary: %v", kind, d.dict)
		}
	})
}
