package clickhouse

import (
	"testing"

	"holdfast/tests/testenv"
)

func TestWriteAndRead(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL())
		prepare(t, s)
		if _, ok, err := s.Highest(soon(t)); ok || err != nil {
			t.Fatalf("highest of an empty table: got %v %v", ok, err)
		}
		v := write(t, s, delivery(t, 1, spotBatch(1000, noon, 10_000)))
		if v.Present != 0 || len(v.Rejected) != 0 {
			t.Errorf("verdict: got %+v, want nothing present or rejected", v)
		}
		if k, ok, err := s.Highest(soon(t)); k != 10_999 || !ok || err != nil {
			t.Errorf("highest: got %d %v %v, want 10999", k, ok, err)
		}
		t.Log(ch.Query(t, "SELECT * FROM wsprnet.spots WHERE id = 1234 FORMAT Vertical"))
		t.Log(ch.Query(t, "SHOW CREATE TABLE wsprnet.spots"))
	})
}
