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

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/connector/tabletest"
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

func (b *broken) target() *sinktest.Target {
	return &sinktest.Target{
		New:        func() (connector.Sink, error) { return b.sink() },
		Rows:       b.rows,
		Timeout:    2 * time.Second,
		Large:      20_000,
		Histories:  testenv.Count(b.t, 30),
		LacksNUL:   "a text of PostgreSQL holds every character but that",
		Outage:     sinktest.HookOf(b.proxy.Down, b.proxy.Up),
		Restart:    sinktest.HookOf(b.pg.Kill, b.pg.Restart),
		Freeze:     sinktest.HookOf(b.pg.Freeze, b.pg.Thaw),
		Slow:       sinktest.Slowly(b.t, b.proxy),
		LostAnswer: sinktest.Losing(b.lossy),
		Cut:        sinktest.CutBy(b.t, b.proxy),
		Child:      sinktest.Child{Args: []string{b.dsn("geheim123").Reveal()}},
		Whole:      true,
		// What a server with too many clients says.
		Pressure: sinktest.Pressure{Kinds: []fault.Kind{fault.Transient}, Hook: sinktest.HookOf(
			func() {
				b.pg.Query(b.t, `ALTER ROLE writer CONNECTION LIMIT 0;
					SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'`)
			},
			func() { b.pg.Query(b.t, "ALTER ROLE writer CONNECTION LIMIT -1") })},
		Forget: sinktest.Hook{Lacks: "the delivered set stands beside the rows"},
		Double: sinktest.Deletion{Lacks: "the key is unique"},
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

// TestMain lets the test binary be a child: another process that writes to a table.
func TestMain(m *testing.M) {
	tabletest.Child(func(args, key []string, replace string) (connector.Sink, error) {
		return New(Config{DSN: secret.Text(args[0]), Schema: "wspr", Table: "weather", Create: true, Key: key,
			Replace: replace, Timeout: 2 * time.Second})
	})
	sinktest.Main(m, func(args []string) (connector.Sink, error) {
		return New(Config{DSN: secret.Text(args[0]), Schema: "wspr", Table: "spots", Create: true,
			Timeout: 2 * time.Second})
	})
}

func TestContract(t *testing.T) {
	pg := testenv.Postgres(t)
	sinktest.Run(t, func(t *testing.T) *sinktest.Target { return fresh(t, pg).target() })
}

// committed reports whether an answer says that the server has committed.
func committed(answer []byte) bool {
	return bytes.Contains(answer, []byte("COMMIT\x00"))
}
