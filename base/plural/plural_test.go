package plural

import "testing"

func TestPlural(t *testing.T) {
	for _, c := range []struct {
		n          int
		noun, want string
	}{{1, "day", "1 day"}, {2, "day", "2 days"}, {0, "row", "0 rows"}, {3, "entry", "3 entries"}, {2, "batch", "2 batches"},
		{2, "process", "2 processes"}, {1, "process", "1 process"}, {2, "key", "2 keys"}, {-1, "row", "-1 rows"}} {
		if got := Of(c.n, c.noun); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", -1000: "-1,000", 1234567: "1,234,567"} {
		if got := Number(n); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if Are(1) != "is" || Are(uint64(2)) != "are" || Are(0) != "are" {
		t.Error("the verb does not fit")
	}
}
