package clickhouse

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/base/fault"
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

func (b *broken) target() *sinktest.Target {
	return &sinktest.Target{
		New:        func() (connector.Sink, error) { return b.sink() },
		Rows:       b.rows,
		Timeout:    2 * time.Second,
		Histories:  testenv.Count(b.t, 30),
		Outage:     sinktest.HookOf(b.proxy.Down, b.proxy.Up),
		Restart:    sinktest.HookOf(b.ch.Kill, b.ch.Restart),
		Freeze:     sinktest.HookOf(b.ch.Freeze, b.ch.Thaw),
		Slow:       sinktest.Slowly(b.t, b.proxy),
		LostAnswer: sinktest.Hook{Do: func() error { b.lossy.lose.Store(true); return nil }},
		Cut:        sinktest.CutBy(b.t, b.proxy),
		Child:      sinktest.Child{Args: []string{b.url()}},
		// What a balancer says whose servers have too much to do.
		Pressure: sinktest.Pressure{Kinds: []fault.Kind{fault.Throttled}, Wait: 7 * time.Second,
			Hook: sinktest.HookOf(func() { b.lossy.busy.Store(true) }, func() { b.lossy.busy.Store(false) })},
		Forget: sinktest.Hook{Lacks: "rows with a key are compared by it, whatever the server remembers"},
		Double: sinktest.Deletion{Do: b.double},
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

// double inserts rows once more, as an abandoned insert does that outlives the fence.
func (b *broken) double(ids []uint64) error {
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
	b.ch.Query(b.t, "INSERT INTO wsprnet.spots SELECT * FROM wsprnet.spots WHERE id IN ("+list+")")
	return nil
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

// TestMain lets the test binary be a child: another process that writes to a table.
func TestMain(m *testing.M) {
	sinktest.Main(m, func(args []string) (connector.Sink, error) {
		return Open((&broken{lossy: &lossy{addr: strings.TrimPrefix(args[0], "http://")}}).config())
	})
}

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
