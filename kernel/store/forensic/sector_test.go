package forensic

import "testing"

// TestSectorLost: a chunk at 4094 whose checksum begins in the lost sector and whose length and type came
// with the next one, as a power cut left it.
func TestSectorLost(t *testing.T) {
	for _, c := range []struct {
		at, resume int64
		headed     bool
		want       bool
	}{
		{at: 4094, resume: 4535, headed: true, want: true},
		{at: 4000, resume: 4535, headed: true, want: false},
		{at: 4000, resume: 4608, headed: true, want: true},
		{at: 4000, resume: 4096, headed: false, want: true},
		{at: 4000, resume: 4095, headed: false, want: false},
	} {
		if got := sectorLost(flaw{at: c.at, resume: c.resume, headed: c.headed}); got != c.want {
			t.Errorf("at %d, sound again at %d, header %v: got %v", c.at, c.resume, c.headed, got)
		}
	}
}
