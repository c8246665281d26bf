package sinktest

import (
	"slices"
	"strings"
	"testing"

	"holdfast/base/record"
)

func TestSpotsAreTheSameEveryTime(t *testing.T) {
	a, b := Spots(7, 1000, 5000), Spots(7, 1000, 5000)
	if !slices.Equal(a, b) || slices.Equal(a, Spots(8, 1000, 5000)) {
		t.Fatal("spots do not follow from their seed")
	}
	holes, last := 0, uint64(1000)
	for _, s := range a {
		if s.ID <= last {
			t.Fatalf("id %d follows %d", s.ID, last)
		}
		holes += int(s.ID - last - 1)
		last = s.ID
	}
	if holes < 100 {
		t.Errorf("%d holes in the ids", holes)
	}
	keys, ok := record.Keys(Schema(), Batch(a))
	if !ok || !slices.Equal(keys, keysOf(a)) || Schema().NumFields() != 20 {
		t.Error("the batch has other keys than the spots")
	}
}

func TestDifference(t *testing.T) {
	want := Spots(1, 0, 100)
	if diff := Difference(want, OverMonths(want, 1)); diff != "" {
		t.Errorf("the same rows: %s", diff)
	}
	other := slices.Clone(want)
	other[50].RxLat++
	for _, c := range []struct {
		name string
		got  []Spot
		text string
	}{
		{"lost", want[1:], "1 rows missing, 0 too many, 0 other"},
		{"lost at the end", want[:98], "2 rows missing, 0 too many, 0 other"},
		{"doubled", append(slices.Clone(want), want[99], want[3]), "0 rows missing, 2 too many, 0 other"},
		{"strange", append(slices.Clone(want), Spots(2, 9000, 1)...), "0 rows missing, 1 too many"},
		{"changed", other, "0 rows missing, 0 too many, 1 other"},
		{"nothing", nil, "100 rows missing"},
	} {
		if diff := Difference(want, c.got); !strings.HasPrefix(diff, c.text) {
			t.Errorf("%s: got %q, want %q", c.name, diff, c.text)
		}
	}
}

// TestSilentTarget: a target that neither has a hook nor says why is refused, and so is one that
// does both.
func TestSilentTarget(t *testing.T) {
	err := (&Target{Slow: Hook{Do: func() error { return nil }, Lacks: "none"}}).complete()
	for _, name := range []string{"Outage", "Restart", "Freeze", "Slow", "LostAnswer", "Cut", "Delete",
		"Child", "Double", "Pressure", "Forget", "Denied", "Unfit", "Refused", "Poison"} {
		if err == nil || !strings.Contains(err.Error(), "target: "+name+": give it") {
			t.Errorf("%s is not asked for: %v", name, err)
		}
	}
}
