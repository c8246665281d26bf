package whole

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// rowsFile is a cache file of the old scraper's 2.1.0, as Python's json module writes it.
func rowsFile(spots []spot.Spot) string {
	rows := make([][]any, len(spots))
	for i, s := range spots {
		rows[i] = []any{s.ID, s.Time, s.Band, s.RxSign, s.RxLat, s.RxLon, s.RxLoc, s.TxSign, s.TxLat,
			s.TxLon, s.TxLoc, s.Distance, s.Azimuth, s.RxAzimuth, s.Frequency, s.Power, s.SNR, s.Drift,
			s.Version, s.Code}
	}
	return document(map[string]any{"timestamp": "20251110_142345_123456", "spot_count": len(spots),
		"spots": rows})
}

// objectsFile is one of the later versions: the spots as the feed gave them.
func objectsFile(spots []spot.Spot) string {
	raw := make([]map[string]string, len(spots))
	for i, s := range spots {
		raw[i] = map[string]string{"Spotnum": fmt.Sprint(s.ID), "Date": fmt.Sprint(s.Time),
			"Reporter": s.RxSign, "ReporterGrid": s.RxLoc, "dB": fmt.Sprint(s.SNR),
			"MHz": strconv.FormatFloat(float64(s.Frequency)/1e6, 'f', 6, 64), "CallSign": s.TxSign,
			"Grid": s.TxLoc, "Power": fmt.Sprint(s.Power), "Drift": fmt.Sprint(s.Drift),
			"distance": fmt.Sprint(s.Distance), "azimuth": fmt.Sprint(s.Azimuth),
			"Band": fmt.Sprint(s.Band), "version": s.Version, "code": fmt.Sprint(s.Code)}
	}
	return document(map[string]any{"timestamp": "20251110_142345_123456",
		"download_time": "2025-11-10T14:23:45", "first_spotnum": spots[0].ID,
		"last_spotnum": spots[len(spots)-1].ID, "spot_count": len(spots), "spots": raw})
}

func document(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// older are spots that the feed does not have any more.
func older(seed uint64, n int) (all []spot.Spot) {
	sim := simulator.New(simulator.Options{Seed: seed, Start: 6_030_000_001, Backlog: uint64(n),
		Rate: -1, Epoch: time.Now().Add(-48 * time.Hour)})
	for s := range sim.Expected(0, sim.Newest()) {
		all = append(all, s)
	}
	return all
}

// TestOldCacheFiles starts in the place of the old scraper, over what it has left behind, and is
// killed while it takes that over: whole spots of whole and of half-written files come into the
// table once, and a file is deleted only when they are safe.
func TestOldCacheFiles(t *testing.T) {
	t.Parallel()
	rnd := dice(t)
	ch := testenv.ClickHouse(t)
	r := newRig(t, simulator.Options{Seed: 6, Backlog: 200, PageLimit: 50})
	r.wsprnet(into(ch.Addr()), "--loop", "1")
	left := older(6, 400)
	rows := rowsFile(left[200:300])
	cutAt := strings.LastIndex(rows, ",[") + 40 // within the last row
	r.write("cache/spots_20251110_142345_000001.json", rowsFile(left[:100]))
	r.write("cache/spots_20251110_142345_000002.json", objectsFile(left[90:200])) // ten again
	r.write("cache/spots_20251110_142345_000003.json", rows[:cutAt])              // half-written
	r.write("cache/spots_20251110_142345_000004.json", rowsFile(left[300:]))
	r.write("cache/spots_20251110_142345_000005.json", `{"it": "holds no spots"}`)
	r.write("cache/spots_20251110_142345_000006.json", "\x00\x00\x00\x00")
	want := append(append(slices.Clone(left[:299]), left[300:]...), r.expected()...)

	for range testenv.Count(t, 50) {
		p := r.start()
		moment(rnd, 400*time.Millisecond)
		p.Kill()
	}
	p := r.up()
	s := r.await(p, "old and new spots were delivered", func(s engine.Status) bool {
		return s.Balance.Accepted >= int64(len(want)) && s.Backlog.Rows == 0
	})
	if s.Balance.Accepted != int64(len(want)) || s.Balance.Rejected != 1 {
		t.Errorf("the books say %+v, want %d accepted, and the spot that was cut rejected",
			s.Balance.Intake, len(want))
	}
	status := r.must("status")
	status = strings.Join(strings.Fields(status), " ")
	for i, stays := range []bool{false, false, false, false, true, true} {
		name := fmt.Sprintf("spots_20251110_142345_%06d.json", i+1)
		if _, err := os.Stat(r.path("cache/" + name)); (err == nil) != stays {
			t.Errorf("%s: it is there: %v, want %v", name, err == nil, stays)
		}
		if strings.Contains(status, name) != stays {
			t.Errorf("status names %s: %v, want %v:\n%s", name, !stays, stays, status)
		}
	}
	r.end(p)
	compare(t, "clickhouse", clickHouseRows(t, ch), want)
	r.balanced()
	exported(t, r, want)
}

// exported writes the spool as cache files, and reads them as people do: jq '.spot_count'.
func exported(t *testing.T, r *rig, want []spot.Spot) {
	t.Helper()
	r.must("spool", "export", r.path("out"))
	files, err := filepath.Glob(r.path("out/spots_*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("spool export wrote %d files: %v", len(files), err)
	}
	count, rows := 0, [][]string{}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Timestamp string              `json:"timestamp"`
			Count     int                 `json:"spot_count"`
			Spots     [][]json.RawMessage `json:"spots"`
		}
		if err := json.Unmarshal(b, &f); err != nil || f.Timestamp == "" || f.Count != len(f.Spots) {
			t.Fatalf("%s: spot_count %d for %d spots: %v", name, f.Count, len(f.Spots), err)
		}
		count += f.Count
		for _, s := range f.Spots {
			rows = append(rows, plain(t, s))
		}
	}
	if count != len(want) {
		t.Errorf("spool export wrote %d spots, want %d", count, len(want))
	}
	slices.SortFunc(rows, func(a, b []string) int { return int(int64(id(a)) - int64(id(b))) })
	compare(t, "export", rows, want)
}

// plain are the values of a JSON array as text.
func plain(t *testing.T, values []json.RawMessage) (row []string) {
	t.Helper()
	for _, v := range values {
		text := string(v)
		if strings.HasPrefix(text, `"`) {
			if err := json.Unmarshal(v, &text); err != nil {
				t.Fatal(err)
			}
		}
		row = append(row, text)
	}
	return row
}

// TestImportKnowsWhatTheSinkHas starts with a new data directory against a table that has half of
// the spots of a cache file: they count as duplicates.
func TestImportKnowsWhatTheSinkHas(t *testing.T) {
	t.Parallel()
	ch := testenv.ClickHouse(t)
	r := newRig(t, simulator.Options{Seed: 6, Backlog: 100, PageLimit: 50})
	r.wsprnet(into(ch.Addr()), "--loop", "1")
	left := older(6, 100)
	r.write("cache/spots_20251110_142345_000001.json", rowsFile(left[:50]))
	p := r.up()
	r.await(p, "all was delivered", func(s engine.Status) bool {
		return s.Balance.Accepted == 150 && s.Backlog.Rows == 0
	})
	r.end(p)

	r.data = r.path("new")
	r.write("cache/spots_20251110_142345_000002.json", objectsFile(left))
	r.sim.Publish(100)
	p = r.up()
	s := r.await(p, "all was delivered", func(s engine.Status) bool {
		return s.Balance.Read >= 200 && s.Backlog.Rows == 0
	})
	if b := s.Balance; b.Read != 200 || b.Duplicate != 50 || b.Accepted != 150 {
		t.Errorf("the books say %+v, want 100 new and 100 imported ones, 50 of them duplicates",
			b.Intake)
	}
	r.end(p)
	compare(t, "clickhouse", clickHouseRows(t, ch), append(left, r.expected()...))
	// What the old data directory got lies between the imported and the new: it is another's.
	c := deepOf(t, r.audit(true), "clickhouse")
	if c.Missing != 0 || c.Doubled != 0 || c.Foreign != 100 {
		t.Errorf("audit --deep: %+v", c)
	}
}
