package lapse

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 s", time.Second - 1: "0 s", 59 * time.Second: "59 s", 90 * time.Second: "1 min",
		47 * time.Hour: "47 h", 48 * time.Hour: "2 days", 2000 * 24 * time.Hour: "2000 days"} {
		if got := Words(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
