package clickhouse

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

func TestProbe(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		s := open(t, ch.URL(), func(c *Config) { c.Timeout = time.Second })
		if err := s.Probe(soon(t)); err != nil {
			t.Errorf("probe before prepare: %v", err)
		}
		prepare(t, s)
		write(t, s, delivery(t, 1, spotBatch(1, noon, 10)))
		s = open(t, ch.URL(), func(c *Config) { c.Timeout, c.Create = time.Second, false })
		prepare(t, s)
		check := func(what string, kind fault.Kind) {
			t.Helper()
			if err := s.Probe(soon(t)); !fault.Is(err, kind) {
				t.Errorf("probe %s: got %v (kind %v), want %v", what, err, fault.KindOf(err), kind)
			}
		}
		ch.Freeze()
		check("of a frozen server", fault.Transient)
		ch.Thaw()
		if err := s.Probe(soon(t)); err != nil {
			t.Errorf("probe of a thawed server: %v", err)
		}
		ch.Query(t, "RENAME TABLE wsprnet.spots TO wsprnet.away")
		check("without the table", fault.Permanent)
		ch.Query(t, "CREATE TABLE wsprnet.spots (id UInt64, time DateTime) ENGINE = MergeTree "+
			"PARTITION BY toYYYYMM(time) ORDER BY id")
		check("without a column", fault.Permanent)
		ch.Query(t, "DROP TABLE wsprnet.spots")
		ch.Query(t, "RENAME TABLE wsprnet.away TO wsprnet.spots")
		ch.Kill()
		check("of a dead server", fault.Transient)
		ch.Restart()
		if err := s.Probe(soon(t)); err != nil {
			t.Errorf("probe of a restarted server: %v", err)
		}
		if n := ch.Query(t, "SELECT count() FROM wsprnet.spots"); n != "10" {
			t.Errorf("rows after all probes: got %s, want 10", n)
		}
	})
}

// A user that may only read is an outage: an administrator's read-only mode passes.
func TestReadOnlyUser(t *testing.T) {
	ch := testenv.ClickHouseWith(t, testenv.ClickHouseOptions{
		Users: []testenv.ClickHouseUser{{Name: "reader", Password: "secret", ReadOnly: true}}})
	prepare(t, open(t, ch.URL()))
	s := open(t, ch.URL(), func(c *Config) { c.Username, c.Password, c.Create = "reader", "secret", false })
	err := s.Prepare(soon(t), spots)
	if !fault.Is(err, fault.Transient) || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("prepare: got %v (kind %v), want an outage that says readonly", err, fault.KindOf(err))
	}
}

func TestFullDisk(t *testing.T) {
	const size = 64 << 20
	t.Run("18.16", func(t *testing.T) {
		dir := testenv.SmallDisk(t, size)
		fullDisk(t, dir, testenv.ClickHouseWith(t, testenv.ClickHouseOptions{DataDir: dir}))
	})
	t.Run("modern", func(t *testing.T) {
		dir := testenv.SmallDisk(t, size)
		fullDisk(t, dir, testenv.ModernClickHouseWith(t, testenv.ClickHouseOptions{DataDir: dir}))
	})
}

func fullDisk(t *testing.T, dir string, ch *testenv.ClickHouseServer) {
	s := open(t, ch.URL())
	prepare(t, s)
	write(t, s, delivery(t, 1, spotBatch(1, noon, 1000)))
	fill := filepath.Join(dir, "fill")
	fillDisk(t, fill)
	d := delivery(t, 2, spotBatch(1_000_000, noon, 100_000))
	for range 3 {
		if _, err := s.Write(soon(t), d); !fault.Is(err, fault.Transient) {
			t.Fatalf("write to a full disk: got %v (kind %v), want an outage", err, fault.KindOf(err))
		}
		d.Unknown = true
		if err := s.Probe(soon(t)); !fault.Is(err, fault.Transient) {
			t.Errorf("probe of a full disk: got %v (kind %v), want an outage", err, fault.KindOf(err))
		}
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	testenv.Until(t, 10*time.Second, "probe after room returned", func() bool {
		return s.Probe(context.Background()) == nil
	})
	if v := write(t, s, d); v.Present != 0 {
		t.Errorf("verdict: got %+v, want none present", v)
	}
	if n := ch.Query(t, "SELECT count(), uniqExact(id) FROM wsprnet.spots"); n != "101000\t101000" {
		t.Errorf("rows and keys: got %s, want 101000 of each", n)
	}
}

// fillDisk writes a file until there is no room left.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for chunk := make([]byte, 1<<20); ; {
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}
