package crawl

import (
	"fmt"
	"testing"
)

// TestRecent: what was put or asked for last is there, whatever came before; there is never more than twice of what is to be
// held.
func TestRecent(t *testing.T) {
	const most = 10
	r := recent[int]{most: most}
	name := func(n int) string { return fmt.Sprint("k", n) }
	for n := range 10 * most {
		r.put(name(n), n)
		for back := range min(n+1, most) {
			if v, ok := r.get(name(n - back)); !ok || v != n-back {
				t.Fatalf("%d behind %d is %d %v", n-back, n, v, ok)
			}
		}
		if has := len(r.young) + len(r.old); has > 2*most {
			t.Fatalf("it holds %d", has)
		}
	}
	if _, ok := r.get(name(0)); ok {
		t.Error("the oldest is there still")
	}
	r.put("pinned", 1)
	for n := range 10 * most {
		r.put(name(n), n)
		if _, ok := r.get("pinned"); !ok {
			t.Fatal("what is asked for again and again is gone")
		}
	}
	r.drop("pinned")
	if _, ok := r.get("pinned"); ok {
		t.Error("what was dropped is there")
	}
}
