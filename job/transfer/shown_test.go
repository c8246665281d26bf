package transfer

import (
	"fmt"
	"testing"
)

func TestNamesAreSeenInMessages(t *testing.T) {
	for name, want := range map[Name]string{"2023/a b.fits": "2023/a b.fits", "ü": "ü", "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`,
		"\xff": `"\xff"`, "a\u202eb": `"a\u202eb"`} {
		if got := fmt.Sprintf("%s %v", name, name); got != want+" "+want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
