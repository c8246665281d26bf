package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// TestSecondSink is what a second sink that is down costs the first: the same feed into the same server, by
// turns with and without it.
func TestSecondSink(t *testing.T) {
	n := rows(t, 10_000_000) / 10
	ch, away := testenv.ClickHouse(t), testenv.ClickHouse(t)
	away.Stop()
	url := feed(t, n)
	read(t, url) // so that its pages are rendered
	testenv.PlainBinary(t)
	second := fmt.Sprintf("        away: {clickhouse: {url: %q, database: bench, table: t, create: true}}\n", away.URL())
	rate := func(table string, more ...string) float64 {
		begin := time.Now()
		p := holdfast(t, t.TempDir(), url, ch, table, more...)
		filled(t, ch, table, n)
		took := time.Since(begin)
		p.Kill()
		return float64(n) / took.Seconds()
	}
	var ratios []float64
	for i := range 7 {
		var alone, both float64
		run := []func(){
			func() { alone = rate(fmt.Sprintf("alone%d", i)) },
			func() { both = rate(fmt.Sprintf("both%d", i), second) }}
		run[i%2]()
		run[1-i%2]()
		ratios = append(ratios, both/alone)
	}
	slices.Sort(ratios)
	t.Logf("E: with a second sink that is down, the first gets %.3f (median of %.2f) of its rows/s", ratios[3], ratios)
	if ratios[3] < 0.95 {
		t.Errorf("ratio %.3f, want at least 0.95", ratios[3])
	}
}
