package engine

import (
	"testing"
	"time"

	"holdfast/kernel/balance"
)

func booksAt(read, delivered int64, oldest time.Time) Books {
	return Books{Job: "one", Intake: balance.Intake{Read: read}, Sinks: []SinkBooks{{Sink: "s",
		Flow: balance.Flow{Delivered: delivered, Pending: read - delivered, PendingBytes: 7}, Oldest: oldest}}}
}

// A series has rates between samples, is bounded, and never tells of negative rates when a store went back.
func TestSeries(t *testing.T) {
	var s recent
	begin := time.Unix(1_000_000, 0)
	for i := range maxSamples + 3 { // the first one only begins it
		n := int64(i) * 100
		now := begin.Add(time.Duration(i) * SampleEvery)
		s.add(booksAt(n, n/2, now.Add(-3*time.Second)), now)
	}
	all := s.since(time.Time{})
	if len(all) != maxSamples || all[0].At != begin.Unix()+30 {
		t.Fatalf("got %d samples from %d, want %d from %d", len(all), all[0].At, maxSamples, begin.Unix()+30)
	}
	for i, p := range all {
		if i > 0 && p.At != all[i-1].At+10 {
			t.Fatalf("sample %d is of %d, behind %d", i, p.At, all[i-1].At)
		}
		if k := p.Sinks[0]; p.Read != 10 || k.Delivered != 5 || k.Lag != 3 || k.Bytes != 7 {
			t.Fatalf("got %+v", p)
		}
	}
	last := all[len(all)-1]
	if got := s.since(time.Unix(last.At-10, 0)); len(got) != 1 || got[0].At != last.At {
		t.Errorf("since a sample: got %+v, want the one behind it", got)
	}
	back := time.Unix(last.At+10, 0)
	s.add(booksAt(0, 0, time.Time{}), back)
	if got := s.since(time.Unix(last.At, 0)); len(got) != 1 || got[0].Read != 0 || got[0].Sinks[0].Lag != 0 {
		t.Errorf("behind a restore: got %+v, want zeros", got)
	}
}
