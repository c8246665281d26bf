package frontier

import (
	"fmt"
	"testing"
)

// TestFilter: no key that went in is absent, and of the others few are not, while it grows.
func TestFilter(t *testing.T) {
	f := newFilter(0)
	f.complete = true
	const keys = 500_000
	for n := range keys {
		f.put(sumOf(fmt.Sprint("in", n)))
	}
	wrong := 0
	for n := range keys {
		if f.absent(sumOf(fmt.Sprint("in", n))) {
			t.Fatalf("key %d is absent", n)
		}
		if !f.absent(sumOf(fmt.Sprint("out", n))) {
			wrong++
		}
	}
	if share := float64(wrong) / keys; share > 0.03 {
		t.Errorf("%.2f %% of the keys that are absent are not known to be", 100*share)
	}
}

// TestFilterLearns: after a start nothing is taken for absent before all that is known went in.
func TestFilterLearns(t *testing.T) {
	r := newRig(t, Options{})
	var items []Item
	for n := range 2*keysOfStep + 100 {
		items = append(items, item(n%7, n))
	}
	r.add(items...)
	r.again()
	steps := 0
	for ; !r.f.filter.complete; steps++ {
		for n := 0; n < len(items); n += 500 {
			if r.f.filter.absent(sumOf(items[n].Key)) {
				t.Fatalf("URL %d is absent after %d steps", n, steps)
			}
		}
		r.add(item(8, steps))
		if err := r.f.filter.learn(r.st); err != nil {
			t.Fatal(err)
		}
	}
	items = append(items, item(8, 0), item(8, 1))
	for n := range items {
		if r.f.filter.absent(sumOf(items[n].Key)) {
			t.Fatalf("URL %d is absent", n)
		}
	}
	if steps < 3 || !r.f.filter.absent(sumOf("another")) {
		t.Errorf("complete after %d steps, and another one is absent: %v", steps, r.f.filter.absent(sumOf("another")))
	}
	if n := r.add(items...); n != 0 {
		t.Errorf("%d are new", n)
	}
}
