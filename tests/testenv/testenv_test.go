package testenv

import (
	"errors"
	"strings"
	"testing"
)

func TestCountAndSeed(t *testing.T) {
	for _, c := range []struct {
		torture    string
		full, want int
	}{{"", 10000, 500}, {"", 200, 10}, {"", 60, 6}, {"", 5, 1}, {"0", 200, 10}, {"1", 200, 200}} {
		t.Setenv("HOLDFAST_TORTURE", c.torture)
		if got := Count(t, c.full); got != c.want {
			t.Errorf("HOLDFAST_TORTURE=%q: count of %d: got %d, want %d",
				c.torture, c.full, got, c.want)
		}
	}
	t.Setenv("HOLDFAST_SEED", "42")
	if got := Seed(t); got != 42 {
		t.Errorf("seed: got %d, want 42", got)
	}
	t.Setenv("HOLDFAST_SEED", "")
	if a, b := Seed(t), Seed(t); a == b {
		t.Errorf("two fresh seeds are both %d", a)
	}
	t.Setenv("HOLDFAST_SEED", "x")
	if said := refusal(t, func(t testing.TB) { Seed(t) }); !strings.Contains(said, "HOLDFAST_SEED") {
		t.Errorf("bad seed: said %q", said)
	}
}

// A missing server fails in CI and skips, saying so, elsewhere.
func TestMissing(t *testing.T) {
	for ci, want := range map[string]string{
		"true": "missing a thing: none (run make deps)",
		"":     "skip: MISSING a thing, so this stays untested: none (run make deps)",
	} {
		t.Setenv("CI", ci)
		got := refusal(t, func(t testing.TB) { Missing(t, "a thing", errors.New("none")) })
		if got != want {
			t.Errorf("CI=%q: got %q, want %q", ci, got, want)
		}
	}
}
