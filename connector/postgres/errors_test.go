package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

func TestKinds(t *testing.T) {
	for codes, want := range map[string]fault.Kind{
		"08006 08P01 40001 40P01 53200 53300 55P03 57014 57P01 57P03 25006 58030 25P03": fault.Transient,
		"53100":             fault.Full,
		"28000 28P01":       fault.Credentials,
		"3D000 3F000 42501": fault.Permanent,
		"42P01 42703 0A000": fault.Permanent,
		"22003 22021 23514": fault.Invalid,
		"23505 P0001 54000": fault.Invalid,
		"XX001":             fault.Corrupt,
	} {
		for _, code := range strings.Fields(codes) {
			got, _ := kindOf(fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}))
			if got != want {
				t.Errorf("%s: got %v, want %v", code, got, want)
			}
		}
	}
	if got, _ := kindOf(errors.New("connection reset")); got != fault.Transient {
		t.Errorf("no server's error: got %v, want an outage", got)
	}
}

// TestErrorsKeepThePassword: neither a refusal nor a server that is gone tells it.
func TestErrorsKeepThePassword(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	for what, dsn := range map[string]string{
		"wrong":    b.pg.DSN(b.pg.Addr(), "writer", "falsch456"),
		"database": strings.Replace(b.pg.DSN(b.pg.Addr(), "writer", "geheim123"), "/postgres", "/none", 1),
		"nobody":   b.pg.DSN("127.0.0.1:1", "writer", "geheim123"),
	} {
		s := b.open(t, func(c *Config) { c.DSN = secret.Text(dsn) })
		err := s.Prepare(t.Context(), sinktest.Schema())
		told := fmt.Sprintf("%v %+v %s %+v", err, err, fault.HintOf(err), s.cfg)
		if err == nil || strings.Contains(told, "falsch456") || strings.Contains(told, "geheim123") {
			t.Errorf("%s: got %s", what, told)
		}
	}
}

// TestAbandonedAttempt: one that sits in its transaction is waited for, and ended by the server.
func TestAbandonedAttempt(t *testing.T) {
	b := fresh(t, testenv.Postgres(t))
	first, second := b.open(t), b.open(t)
	for _, s := range []*Sink{first, second} {
		if err := s.Prepare(t.Context(), sinktest.Schema()); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	if err := first.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.lock(t.Context(), "spots", "spots", lineageText); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d := spotsDelivery(sinktest.Spots(5, 0, 100))
	_, err := second.Write(ctx, d)
	for fault.Is(err, fault.Transient) && ctx.Err() == nil {
		_, err = second.Write(ctx, d)
	}
	if took := time.Since(begun); err != nil || took < first.cfg.Timeout/2 {
		t.Errorf("got %v after %v, want success after about %v", err, took, first.cfg.Timeout)
	}
}
