package influxdb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// spotsAt is the configuration of the contract suite's sink.
func spotsAt(addr string) Config {
	return Config{URL: "http://" + addr, Database: "wspr", Measurement: "spots", Username: "admin",
		Password: "geheim123", Create: true, Tags: []string{"band", "rx_loc", "tx_loc"}, Precision: "s",
		Spread: "id", Timeout: 2 * time.Second, Compression: packGzip}
}

// server is an influxd behind proxies that break connections and lose answers.
type server struct {
	*testenv.InfluxServer
	t     testing.TB
	proxy *testenv.FaultyProxy
	lossy *testenv.Lossy
}

func newServer(t testing.TB, dir string) *server {
	t.Helper()
	s := &server{InfluxServer: testenv.Influx(t, dir), t: t}
	s.proxy = testenv.Proxy(t, s.Addr())
	s.lossy = testenv.NewLossy(t, s.proxy.Addr(), func(answer []byte) bool {
		return bytes.HasPrefix(answer, []byte("HTTP/1.1 204"))
	})
	return s
}

// rows reads all points as spots without the sink.
func (s *server) rows() (out []sinktest.Spot, err error) {
	var got struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	s.Query(s.t, "", `CREATE DATABASE "wspr"`)
	dec := json.NewDecoder(strings.NewReader(s.Query(s.t, "wspr", "SELECT * FROM spots")))
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil {
		return nil, err
	}
	for _, series := range got.Results[0].Series {
		for _, v := range series.Values {
			o := map[string]any{}
			for i, name := range series.Columns {
				o[name] = v[i]
			}
			spot, err := spotOf(o)
			if err != nil {
				return nil, err
			}
			out = append(out, spot)
		}
	}
	return out, nil
}

// spotOf reads a point back: its time is the second, and a tag that is missing was empty.
func spotOf(o map[string]any) (sinktest.Spot, error) {
	ns, err := o["time"].(json.Number).Int64()
	if err != nil {
		return sinktest.Spot{}, err
	}
	o["time"] = time.Unix(0, ns).UTC().Truncate(time.Second)
	o["band"] = json.Number(o["band"].(string))
	delete(o, "twice")
	text, err := json.Marshal(o)
	if err != nil {
		return sinktest.Spot{}, err
	}
	return sinktest.ReadObject(text)
}

// times are the times of the points with these ids.
func (s *server) each(ids []uint64, do func(ns json.Number)) error {
	for _, id := range ids {
		var got struct {
			Results []struct {
				Series []struct{ Values [][]json.Number }
			}
		}
		err := json.Unmarshal([]byte(s.Query(s.t, "wspr", fmt.Sprintf("SELECT id FROM spots WHERE id = %d", id))), &got)
		if err != nil {
			return err
		}
		do(got.Results[0].Series[0].Values[0][0])
	}
	return nil
}

func (s *server) target() *sinktest.Target {
	return &sinktest.Target{
		New:        func() (connector.Sink, error) { return New(spotsAt(s.lossy.Addr)) },
		Rows:       s.rows,
		Timeout:    2 * time.Second,
		Large:      10_000,
		Histories:  testenv.Count(s.t, 30),
		Child:      sinktest.Child{Args: []string{s.lossy.Addr}},
		Kills:      2,
		Outage:     sinktest.HookOf(s.proxy.Down, s.proxy.Up),
		Restart:    sinktest.HookOf(s.Kill, s.Restart),
		Freeze:     sinktest.HookOf(s.Freeze, s.Thaw),
		Slow:       sinktest.Slowly(s.t, s.proxy),
		LostAnswer: sinktest.Losing(s.lossy),
		Cut:        sinktest.CutBy(s.t, s.proxy),
		Pressure:   sinktest.Pressure{Hook: sinktest.Hook{Lacks: "tried on a small disk alone"}},
		Forget:     sinktest.Hook{Lacks: "the server knows no tokens"},
		Double: sinktest.Deletion{Do: func(ids []uint64) error {
			i := 0
			return s.each(ids, func(ns json.Number) {
				s.Write(s.t, "wspr", fmt.Sprintf("spots,twice=yes id=%di %s", ids[i], ns))
				i++
			})
		}},
		Delete: sinktest.Deletion{Do: func(ids []uint64) error {
			return s.each(ids, func(ns json.Number) {
				s.Query(s.t, "wspr", "DELETE FROM spots WHERE time = "+ns.String())
			})
		}},
		Denied: sinktest.Variant{New: func() (connector.Sink, error) {
			c := spotsAt(s.lossy.Addr)
			c.Password = "wrong"
			return New(c)
		}},
		Unfit: sinktest.Variant{Column: "frequency", New: func() (connector.Sink, error) {
			s.Query(s.t, "", `CREATE DATABASE "wspr"`)
			s.Write(s.t, "wspr", `other frequency="14 MHz" 1`)
			c := spotsAt(s.lossy.Addr)
			c.Measurement = "other"
			return New(c)
		}},
		Refused: sinktest.Rows{Spots: refused()},
		Poison:  sinktest.Rows{Lacks: "a delivery is never refused as a whole"},
	}
}

// refused are spots that no point holds, and one that the server alone refuses.
func refused() []sinktest.Spot {
	spots := sinktest.Spots(99, 1000, 7)
	spots[0].TxSign = "\xff"
	spots[1].TxLat = float32(math.NaN())
	spots[2].Time = 1 << 40
	spots[3].RxLoc = "two\nlines"
	spots[4].TxLoc = `C:\`
	spots[5].Frequency = math.MaxUint64
	spots[6].RxLoc = strings.Repeat("long", 20_000)
	return spots
}

// batchOf makes a batch of JSON objects.
func batchOf(t testing.TB, s record.Schema, objects ...string) arrow.RecordBatch {
	t.Helper()
	b, _, err := array.RecordFromJSON(memory.DefaultAllocator, s.Schema,
		strings.NewReader("["+strings.Join(objects, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// delivery wraps a batch.
func delivery(s record.Schema, b arrow.RecordBatch) connector.Delivery {
	return connector.Delivery{Schema: s, Rows: b, FirstAttempt: time.Now(),
		Token: record.Token{Job: "j", First: 1, Last: 1}}
}
