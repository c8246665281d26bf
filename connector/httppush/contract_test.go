package httppush

import (
	"math"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

func (s *service) sink(format, compression string, change ...func(*Config)) (*Sink, error) {
	cfg := configFor("http://"+s.lossy.Addr, format, compression)
	for _, c := range change {
		c(&cfg)
	}
	return New(cfg)
}

func (s *service) target(format, compression string) *sinktest.Target {
	ids := func(statement string) sinktest.Deletion { return sinktest.Deletion{Do: s.each(statement)} }
	return &sinktest.Target{
		New:        func() (connector.Sink, error) { return s.sink(format, compression) },
		Rows:       s.rows,
		Timeout:    2 * time.Second,
		Large:      10_000,
		Histories:  testenv.Count(s.t, 30),
		Child:      sinktest.Child{Args: []string{s.lossy.Addr, format, compression}},
		Whole:      true,
		Kills:      4,
		Outage:     sinktest.HookOf(s.proxy.Down, s.proxy.Up),
		Restart:    sinktest.HookOf(s.kill, s.start),
		Freeze:     sinktest.HookOf(s.freeze, s.thaw),
		Slow:       sinktest.Slowly(s.t, s.proxy),
		LostAnswer: sinktest.Losing(s.lossy),
		Cut:        sinktest.CutBy(s.t, s.proxy),
		Pressure: sinktest.Pressure{Kinds: []fault.Kind{fault.Throttled}, Wait: 7 * time.Second,
			Hook: sinktest.HookOf(func() { s.control("pressure=429") }, func() { s.control("") })},
		Forget: sinktest.Hook{Lacks: "the receiver knows a key as long as its rows"},
		Double: ids("INSERT INTO rows SELECT * FROM rows WHERE id = ?"),
		Delete: ids("DELETE FROM rows WHERE id = ?"),
		Denied: sinktest.Variant{New: func() (connector.Sink, error) {
			return s.sink(format, compression, func(c *Config) { c.Auth.Basic.Password = "wrong" })
		}},
		Unfit:   sinktest.Variant{Lacks: "a text has room for every column"},
		Refused: sinktest.Rows{Spots: refused()},
		Poison:  sinktest.Rows{Spots: poison()},
	}

}

// refused are spots that no text holds, and one that the receiver alone refuses.
func refused() []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 4)
	spots[0].TxSign = "\xff"
	spots[1].TxLat = float32(math.NaN())
	spots[2].Time = 1 << 40
	spots[3].RxSign = "ODD"
	return spots
}

func poison() []sinktest.Spot {
	spots := sinktest.Spots(98, 500, 1)
	spots[0].RxSign = "POISON"
	return spots
}

func TestContract(t *testing.T) {
	for _, c := range testenv.Some(t, 2, [][2]string{{formatCSV, packGzip}, {formatJSONL, packZstd}, {formatJSON, packNone}}) {
		run := sinktest.RunEncoding
		if c[0] == formatCSV {
			run = sinktest.Run
		}
		t.Run(strings.Join(c[:], " "), func(t *testing.T) {
			run(t, func(t *testing.T) *sinktest.Target { return newService(t).target(c[0], c[1]) })
		})
	}
}
