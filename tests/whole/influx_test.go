package whole

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// TestInfluxThroughOutages delivers to a real InfluxDB that is killed, and frozen, while Holdfast is killed
// too: each spot is a point once. A new data directory then asks for the highest key and goes on behind it.
func TestInfluxThroughOutages(t *testing.T) {
	t.Parallel()
	db := testenv.Influx(t, "")
	r := newRig(t, simulator.Options{Seed: 5, Backlog: 3000, PageLimit: 100})
	r.run(sinkText(fmt.Sprintf(`main: {influxdb: {url: "http://%s", database: wspr, username: admin, `+
		`password: geheim123, create: true, measurement: spots, tags: [band, rx_loc], precision: s, spread: id, `+
		`timeout: 2s}, batch: {rows: 300, every: 20ms}}`, db.Addr())))
	p := r.up()
	begun := func(s engine.Status) bool { return sinkOf(s, "main").Delivered > 0 }
	r.await(p, "a first delivery", begun)
	db.Kill()
	r.sim.Publish(1000)
	r.await(p, "rows wait for a dead database", func(s engine.Status) bool {
		return s.Balance.Accepted > 0 && sinkOf(s, "main").Pending > 0
	})
	p.Kill()
	db.Restart()
	p = r.up()
	r.drained(p)
	db.Freeze()
	r.sim.Publish(1000)
	r.await(p, "rows wait for a frozen database", func(s engine.Status) bool { return sinkOf(s, "main").Pending > 0 })
	p.Kill()
	p = r.start()
	db.Thaw()
	r.await(p, "it runs", func(s engine.Status) bool { return s.State == engine.Running })
	r.drained(p)
	r.balanced()
	r.end(p)
	if strings.Contains(p.Output(), "geheim123") {
		t.Error("the password is in the log")
	}
	compare(t, "influxdb", influxRows(t, db), r.expected())

	r.data = r.path("again")
	r.sim.Publish(500)
	p = r.up()
	r.await(p, "what is new was delivered", func(s engine.Status) bool {
		return s.Balance.Accepted == 500 && sinkOf(s, "main").Delivered == 500
	})
	r.balanced()
	r.end(p)
	compare(t, "influxdb after a new data directory", influxRows(t, db), r.expected())
}

// influxRows reads the measurement, ordered by id.
func influxRows(t *testing.T, s *testenv.InfluxServer) (rows [][]string) {
	t.Helper()
	var got struct {
		Results []struct {
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	dec := json.NewDecoder(strings.NewReader(s.Query(t, "wspr", "SELECT * FROM spots")))
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	for _, series := range got.Results[0].Series {
		for _, v := range series.Values {
			var row []string
			for _, name := range strings.Split(columns, ", ") {
				row = append(row, influxText(name, v[slices.Index(series.Columns, name)]))
			}
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b []string) int { return cmp.Compare(id(a), id(b)) })
	return rows
}

// influxText is a value of a point as text: its time is the second, a tag that is missing was empty.
func influxText(name string, v any) string {
	if v == nil {
		return ""
	}
	if name != "time" {
		return fmt.Sprint(v)
	}
	ns, _ := v.(json.Number).Int64()
	return strconv.FormatInt(ns/1e9, 10)
}
