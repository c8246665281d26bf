package clickhouse

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// broken is a server behind a proxy that breaks connections and one that loses answers.
type broken struct {
	t     *testing.T
	ch    *testenv.ClickHouseServer
	proxy *testenv.FaultyProxy
	lossy *lossy
}

func behindProxies(t *testing.T, ch *testenv.ClickHouseServer) *broken {
	b := &broken{t: t, ch: ch, proxy: testenv.Proxy(t, ch.Addr())}
	b.lossy = newLossy(t, b.proxy.Addr())
	return b
}

func (b *broken) url() string { return "http://" + b.lossy.addr }

func (b *broken) config() Config {
	return Config{URL: b.url(), Database: "wsprnet", Table: "spots", Create: true, Username: "writer",
		Password: "secret",
		Timeout:  2 * time.Second, Grace: 100 * time.Millisecond}
}

func (b *broken) sink(change ...func(*Config)) (connector.Sink, error) {
	cfg := b.config()
	for _, c := range change {
		c(&cfg)
	}
	return Open(cfg)
}

// rows reads the table without the sink.
func (b *broken) rows() ([]sinktest.Spot, error) {
	if b.ch.Query(b.t, "EXISTS TABLE wsprnet.spots") == "0" {
		return nil, nil
	}
	text := b.ch.Query(b.t, "SELECT id, toUInt32(time), band, rx_sign, rx_lat, rx_lon, rx_loc, tx_sign, "+
		"tx_lat, tx_lon, tx_loc, distance, azimuth, rx_azimuth, frequency, power, snr, drift, version, "+
		"code FROM wsprnet.spots FORMAT TabSeparated")
	rows, err := answer{body: text + strings.Repeat("\n", min(1, len(text)))}.rows(20)
	if err != nil {
		return nil, err
	}
	out := make([]sinktest.Spot, len(rows))
	for i, f := range rows {
		number := func(k int) int64 {
			n, perr := strconv.ParseInt(f[k], 10, 64)
			err = errors.Join(err, perr)
			return n
		}
		degrees := func(k int) float32 {
			x, perr := strconv.ParseFloat(f[k], 32)
			err = errors.Join(err, perr)
			return float32(x)
		}
		out[i] = sinktest.Spot{
			ID: uint64(number(0)), Time: number(1), Band: int16(number(2)),
			RxSign: f[3], RxLat: degrees(4), RxLon: degrees(5), RxLoc: f[6],
			TxSign: f[7], TxLat: degrees(8), TxLon: degrees(9), TxLoc: f[10],
			Distance: uint16(number(11)), Azimuth: uint16(number(12)), RxAzimuth: uint16(number(13)),
			Frequency: uint64(number(14)), Power: int8(number(15)), SNR: int8(number(16)),
			Drift: int8(number(17)), Version: f[18], Code: int8(number(19)),
		}
	}
	return out, err
}

func (b *broken) toxic(name, kind, stream string, attrs map[string]any) sinktest.Hook {
	return sinktest.Hook{
		Do:   func() error { b.proxy.Toxic(b.t, name, kind, stream, attrs); return nil },
		Undo: func() error { b.proxy.Remove(b.t, name); return nil },
	}
}

func (b *broken) target() *sinktest.Target {
	return &sinktest.Target{
		New:       func() (connector.Sink, error) { return b.sink() },
		Rows:      b.rows,
		Timeout:   2 * time.Second,
		Histories: testenv.Count(b.t, 30),
		Outage: sinktest.Hook{
			Do:   func() error { b.proxy.Down(); return nil },
			Undo: func() error { b.proxy.Up(); return nil },
		},
		Restart: sinktest.Hook{
			Do:   func() error { b.ch.Kill(); return nil },
			Undo: func() error { b.ch.Restart(); return nil },
		},
		Freeze: sinktest.Hook{
			Do:   func() error { b.ch.Freeze(); return nil },
			Undo: func() error { b.ch.Thaw(); return nil },
		},
		Slow:       b.toxic("slow", "latency", "downstream", map[string]any{"latency": 30}),
		LostAnswer: sinktest.Hook{Do: func() error { b.lossy.lose.Store(true); return nil }},
		Cut: func(bytes int64) sinktest.Hook {
			return b.toxic("cut", "limit_data", "upstream", map[string]any{"bytes": bytes})
		},
		Delete: sinktest.Deletion{Do: b.remove},
		Denied: sinktest.Variant{New: func() (connector.Sink, error) {
			return b.sink(func(c *Config) { c.Username, c.Password = "nobody", "wrong" })
		}},
		Unfit: sinktest.Variant{Column: "frequency", New: func() (connector.Sink, error) {
			ddl := b.ch.Query(b.t, "SELECT create_table_query FROM system.tables WHERE name = 'spots' "+
				"FORMAT TSVRaw")
			ddl = strings.Replace(ddl, "wsprnet.spots", "wsprnet.narrow", 1)
			b.ch.Query(b.t, frequencyType.ReplaceAllString(ddl, "$1 String"))
			return b.sink(func(c *Config) { c.Table, c.Create = "narrow", false })
		}},
		Refused: sinktest.Rows{Spots: beforeEpoch()},
		Poison:  sinktest.Rows{Lacks: "see TestServerRefusesRows"},
	}
}

// remove takes rows away as a server without fsync does: they are in no part any more.
func (b *broken) remove(ids []uint64) error {
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
	b.ch.Query(b.t, "CREATE TABLE wsprnet.kept AS wsprnet.spots ENGINE = Memory")
	b.ch.Query(b.t, "INSERT INTO wsprnet.kept SELECT * FROM wsprnet.spots WHERE id NOT IN ("+list+")")
	b.ch.Query(b.t, "ALTER TABLE wsprnet.spots DROP PARTITION 202305")
	b.ch.Query(b.t, "INSERT INTO wsprnet.spots SELECT * FROM wsprnet.kept")
	b.ch.Query(b.t, "DROP TABLE wsprnet.kept")
	return nil
}

// beforeEpoch are spots whose times DateTime can't hold.
func beforeEpoch() []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 3)
	spots[0].Time = -1
	spots[1].Time = 1 << 32
	spots[2].Time = 1 << 40
	return spots
}

var frequencyType = regexp.MustCompile("(`?frequency`?) UInt64")

func TestContract(t *testing.T) {
	users := testenv.ClickHouseOptions{Users: []testenv.ClickHouseUser{{Name: "writer",
		Password: "secret"}}}
	enginesWith(t, users, func(t *testing.T, ch *testenv.ClickHouseServer) {
		sinktest.Run(t, func(t *testing.T) *sinktest.Target {
			if !ch.Process().Running() {
				ch.Restart()
			}
			ch.Query(t, "DROP DATABASE IF EXISTS wsprnet")
			return behindProxies(t, ch).target()
		})
	})
}
