package engine

import (
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	var m meter
	begin := time.Now()
	for i := range 100 { // 8 minutes at 10 rows/s, of which the sink got half
		n := int64(i * 50)
		m.add(reading{begin.Add(time.Duration(i) * meterEvery), n, map[string]int64{"main": n / 2}})
		if got := m.rates(); i == 0 && got != nil {
			t.Errorf("rates of one reading: %+v", got)
		} else if i > 0 && (got.Read != 10 || got.Delivered["main"] != 5) {
			t.Errorf("reading %d: %+v, want 10 and 5", i, got)
		}
	}
	if n := len(m.seen); n != int(meterSpan/meterEvery)+1 {
		t.Errorf("%d readings are kept", n)
	}
	for i := range 13 { // nothing came for a minute
		m.add(reading{begin.Add(time.Duration(100+i) * meterEvery), 4950, map[string]int64{"main": 2475}})
	}
	if got := m.rates(); got.Read != 0 || got.Delivered["main"] != 0 {
		t.Errorf("rates of a quiet minute: %+v", got)
	}
}
