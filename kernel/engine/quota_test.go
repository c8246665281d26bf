package engine

import "testing"

// TestGaugeDoesNotFlap: a level ends an eighth below the mark that began it.
func TestGaugeDoesNotFlap(t *testing.T) {
	g := NewGauge(Quota{Marks: Marks{Hard: 800}})
	for i, c := range []struct {
		used int64
		want Level
	}{{600, Fine}, {601, Soft}, {599, Soft}, {526, Soft}, {525, Fine}, {600, Fine}, {801, Hard}, {800, Hard},
		{701, Hard}, {700, Soft}, {790, Soft}, {900, Hard}, {0, Fine}} {
		if got, _ := g.At(c.used); got != c.want {
			t.Errorf("step %d, %d bytes: got %s, want %s", i, c.used, got, c.want)
		}
	}
	only := NewGauge(Quota{Marks: Marks{Soft: 10}})
	if got, _ := only.At(1 << 40); got != Soft {
		t.Errorf("without a hard mark: got %s, want soft", got)
	}
}
