package postgres

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// broken is a server behind a proxy that breaks connections and one that loses answers.
type broken struct {
	t     testing.TB
	pg    *testenv.PostgresServer
	proxy *testenv.FaultyProxy
	lossy *testenv.Lossy
}

// fresh empties the server and puts the proxies before it.
func fresh(t testing.TB, pg *testenv.PostgresServer) *broken {
	t.Helper()
	if !pg.Running() {
		pg.Restart()
	}
	pg.Query(t, `DROP SCHEMA IF EXISTS wspr CASCADE; DROP ROLE IF EXISTS writer;
		CREATE ROLE writer LOGIN PASSWORD 'geheim123'; CREATE SCHEMA wspr AUTHORIZATION writer`)
	b := &broken{t: t, pg: pg, proxy: testenv.Proxy(t, pg.Addr())}
	b.lossy = testenv.NewLossy(t, b.proxy.Addr(), committed)
	return b
}

func (b *broken) sink(change ...func(*Config)) (*Sink, error) {
	cfg := Config{DSN: b.dsn("geheim123"), Schema: "wspr", Table: "spots", Create: true,
		Timeout: 2 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	return New(cfg)
}

func (b *broken) dsn(password string) secret.Text {
	return secret.Text(b.pg.DSN(b.lossy.Addr, "writer", password))
}

const spotColumns = `id, extract(epoch FROM time)::bigint, band, rx_sign, rx_lat, rx_lon, rx_loc,
	tx_sign, tx_lat, tx_lon, tx_loc, distance, azimuth, rx_azimuth, frequency, power, snr, drift,
	version, code`

// rows reads the table without the sink.
func (b *broken) rows() ([]sinktest.Spot, error) {
	if b.pg.Query(b.t, "SELECT to_regclass('wspr.spots') IS NULL") == "t" {
		return nil, nil
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, b.pg.DSN(b.pg.Addr(), "postgres", ""))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT "+spotColumns+" FROM wspr.spots")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []sinktest.Spot
	for rows.Next() {
		var s sinktest.Spot
		if err := rows.Scan(&s.ID, &s.Time, &s.Band, &s.RxSign, &s.RxLat, &s.RxLon, &s.RxLoc, &s.TxSign,
			&s.TxLat, &s.TxLon, &s.TxLoc, &s.Distance, &s.Azimuth, &s.RxAzimuth, &s.Frequency, &s.Power,
			&s.SNR, &s.Drift, &s.Version, &s.Code); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func (b *broken) toxic(name, kind, stream string, attrs map[string]any) sinktest.Hook {
	return sinktest.Hook{
		Do:   func() error { b.proxy.Toxic(b.t, name, kind, stream, attrs); return nil },
		Undo: func() error { b.proxy.Remove(b.t, name); return nil },
	}
}

func hook(do, undo func()) sinktest.Hook {
	return sinktest.Hook{Do: func() error { do(); return nil }, Undo: func() error { undo(); return nil }}
}

func (b *broken) target() *sinktest.Target {
	return &sinktest.Target{
		New:       func() (connector.Sink, error) { return b.sink() },
		Rows:      b.rows,
		Timeout:   2 * time.Second,
		Large:     20_000,
		Histories: testenv.Count(b.t, 30),
		LacksNUL:  "a text of PostgreSQL holds every character but that",
		Outage:    hook(b.proxy.Down, b.proxy.Up),
		Restart:   hook(b.pg.Kill, b.pg.Restart),
		Freeze:    hook(b.pg.Freeze, b.pg.Thaw),
		Slow:      b.toxic("slow", "latency", "downstream", map[string]any{"latency": 30}),
		LostAnswer: sinktest.Hook{Do: func() error {
			b.lossy.Lose.Store(true)
			return nil
		}},
		Cut: func(bytes int64) sinktest.Hook {
			return b.toxic("cut", "limit_data", "upstream", map[string]any{"bytes": bytes})
		},
		Delete: sinktest.Deletion{Do: b.remove},
		Denied: sinktest.Variant{New: func() (connector.Sink, error) {
			return b.sink(func(c *Config) { c.DSN = b.dsn("wrong") })
		}},
		Unfit: sinktest.Variant{Column: "frequency", New: func() (connector.Sink, error) {
			b.pg.Query(b.t, `CREATE TABLE wspr.narrow (LIKE wspr.spots INCLUDING ALL);
				ALTER TABLE wspr.narrow ALTER frequency TYPE integer, OWNER TO writer`)
			return b.sink(func(c *Config) { c.Table = "narrow" })
		}},
		Refused: sinktest.Rows{Spots: outOfRange()},
		Poison:  sinktest.Rows{Spots: b.poison()},
	}
}

func (b *broken) remove(ids []uint64) error {
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
	b.pg.Query(b.t, "DELETE FROM wspr.spots WHERE id IN ("+list+")")
	return nil
}

// outOfRange are spots that the table can't hold.
func outOfRange() []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 4)
	spots[0].ID = math.MaxInt64 + 1
	spots[1].Frequency = math.MaxUint64
	spots[2].TxSign = "nul\x00"
	spots[3].Time = math.MaxInt64 / 1000
	return spots
}

// poison is a spot whose callsign a trigger raises an exception at: the server alone knows it.
func (b *broken) poison() []sinktest.Spot {
	b.pg.Query(b.t, `CREATE FUNCTION wspr.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN IF new.rx_sign = 'POISON' THEN RAISE EXCEPTION 'poison'; END IF; RETURN new; END $$;
		CREATE FUNCTION wspr.guard() RETURNS event_trigger LANGUAGE plpgsql AS $$
		BEGIN IF to_regclass('wspr.spots') IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_trigger
			WHERE tgrelid = to_regclass('wspr.spots')) THEN
			CREATE TRIGGER refuse BEFORE INSERT ON wspr.spots FOR EACH ROW EXECUTE FUNCTION wspr.refuse();
		END IF; END $$;
		CREATE EVENT TRIGGER guard ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
		EXECUTE FUNCTION wspr.guard()`)
	spots := sinktest.Spots(98, 500, 1)
	spots[0].RxSign = "POISON"
	return spots
}

func TestContract(t *testing.T) {
	pg := testenv.Postgres(t)
	sinktest.Run(t, func(t *testing.T) *sinktest.Target { return fresh(t, pg).target() })
}

// committed reports whether an answer says that the server has committed.
func committed(answer []byte) bool {
	return bytes.Contains(answer, []byte("COMMIT\x00"))
}
