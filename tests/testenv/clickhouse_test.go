package testenv

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, ProxyLeaks()...) }

// servers are the two engines; what is asked of one is asked of the other.
var servers = map[string]func(testing.TB, ClickHouseOptions) *ClickHouseServer{
	"18.16":  ClickHouseWith,
	"modern": ModernClickHouseWith,
}

func eachServer(t *testing.T,
	test func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer)) {
	t.Helper()
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			test(t, func(o ClickHouseOptions) *ClickHouseServer { return start(t, o) })
		})
	}
}

func TestClickHouseRestarts(t *testing.T) {
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{})
		t.Logf("first start %v", s.Startup())
		s.Query(t, "create table t (n UInt32) engine = MergeTree order by n")
		s.Query(t, "insert into t select number from numbers(1000)")
		addr, pid := s.Addr(), s.Process().PID()

		s.Kill()
		if err := s.Ping(); err == nil {
			t.Error("a killed server answers")
		}
		s.Restart()
		t.Logf("start after kill %v", s.Startup())
		if s.Addr() != addr || s.Process().PID() == pid {
			t.Errorf("restart: address %s, was %s; pid %d, was %d",
				s.Addr(), addr, s.Process().PID(), pid)
		}
		if got := s.Query(t, "select count(), sum(n) from t"); got != "1000\t499500" {
			t.Errorf("after kill: got %q", got)
		}

		s.Stop()
		if s.Process().Running() || s.Ping() == nil {
			t.Error("a stopped server runs")
		}
		s.Restart()
		if got := s.Query(t, "select count() from t"); got != "1000" {
			t.Errorf("after stop: got %q", got)
		}
	})
}

func TestClickHouseFreezes(t *testing.T) {
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{})
		s.Freeze()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := s.Try(ctx, "select 1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("query of a frozen server: got %v, want a time-out", err)
		}
		answer := make(chan error, 1)
		go func() {
			_, err := s.Try(t.Context(), "select 2")
			answer <- err
		}()
		select {
		case err := <-answer:
			t.Fatalf("a frozen server answered: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		s.Thaw()
		select {
		case err := <-answer:
			if err != nil {
				t.Errorf("query after thaw: %v", err)
			}
		case <-time.After(startWithin):
			t.Error("a thawed server does not answer")
		}
		s.Freeze()
		s.Stop() // a frozen one is thawed first
	})
}

func TestClickHouseUsers(t *testing.T) {
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		s := start(ClickHouseOptions{Users: []ClickHouseUser{{Name: "alice", Password: "<s3&cret"}}})
		got, err := s.TryAs(t.Context(), "alice", "<s3&cret", "select 1")
		if err != nil || got != "1" {
			t.Errorf("as alice: %q, %v", got, err)
		}
		for user, password := range map[string]string{"alice": "wrong", "mallory": ""} {
			if _, err := s.TryAs(t.Context(), user, password, "select 1"); err == nil {
				t.Errorf("%s with %q got in", user, password)
			}
		}
		if got := s.Query(t, "select 1"); got != "1" { // as one who may
			t.Errorf("query: got %q", got)
		}
	})
}

func TestClickHouseReadOnlyUser(t *testing.T) {
	s := ClickHouseWith(t, ClickHouseOptions{
		Users:    []ClickHouseUser{{Name: "reader", Password: "r", ReadOnly: true}},
		Settings: map[string]string{"max_rows_to_read": "123456"},
		Config:   "<max_table_size_to_drop>777</max_table_size_to_drop>",
	})
	s.Query(t, "create table t (n UInt32) engine = Memory")
	if _, err := s.TryAs(t.Context(), "reader", "r", "select * from t"); err != nil {
		t.Errorf("select: %v", err)
	}
	_, err := s.TryAs(t.Context(), "reader", "r", "insert into t values (1)")
	if err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("insert: got %v, want a refusal", err)
	}
	got := s.Query(t, "select value from system.settings where name = 'max_rows_to_read'")
	if got != "123456" {
		t.Errorf("setting: got %q", got)
	}
}

func TestClickHouseDiskFull(t *testing.T) {
	eachServer(t, func(t *testing.T, start func(ClickHouseOptions) *ClickHouseServer) {
		dir := filepath.Join(SmallDisk(t, 24<<20), "data")
		s := start(ClickHouseOptions{DataDir: dir})
		s.Query(t, "create table t (n UInt64) engine = MergeTree order by n")
		s.Query(t, "insert into t select number from numbers(1000)")
		_, err := s.Try(t.Context(), "insert into t select rand64() from numbers(8000000)")
		if err == nil {
			t.Error("64 MB went into a disk of 24 MB")
		}
		if got := s.Query(t, "select count() from t"); got == "0" {
			t.Errorf("after a full disk: count %s", got)
		}
	})
}
