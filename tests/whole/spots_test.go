package whole

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"holdfast/connector/wsprnet/simulator"
	"holdfast/tests/testenv"
)

// realSpots are spots that the real feed served, beside the repository.
const realSpots = "../../../shared/data/wspr/spots.json"

func loadRealSpots(t *testing.T) *simulator.File {
	t.Helper()
	f, err := simulator.LoadSpots(realSpots, false)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("LEFT OUT: there are no real spots at %s, so their way into ClickHouse stays untested; "+
			"made-up spots go the same way in the other tests", realSpots)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRealSpotsIntoClickHouse18(t *testing.T) {
	t.Parallel()
	collectRealSpots(t, testenv.ClickHouse(t), 6)
}

func TestRealSpotsIntoModernClickHouse(t *testing.T) {
	t.Parallel()
	collectRealSpots(t, testenv.ModernClickHouse(t), 3)
}

// collectRealSpots collects the real spots in small pages while holdfast and the server are killed
// again and again, and compares the table with the file.
func collectRealSpots(t *testing.T, ch *testenv.ClickHouseServer, kills int) {
	file := loadRealSpots(t)
	if testenv.Torture() {
		kills *= 10
	}
	rnd := dice(t)
	// The spots come in as many portions as there are kills, each of several pages and deliveries.
	r := newRig(t, simulator.Options{Spots: file, PageLimit: 7, Rate: trickle, Backlog: 1})
	portion := uint64(540/kills + 1)
	k := into(ch.Addr())
	k["batch_flush_rows"] = 20
	r.wsprnet(k, "--loop", "1")
	p := r.start()
	for range kills {
		pages := r.sim.Status().Pages
		r.sim.Publish(portion)
		testenv.Until(t, soon, "a page was asked for", func() bool {
			return r.sim.Status().Pages > pages || !p.Running()
		})
		moment(rnd, 150*time.Millisecond)
		switch rnd.IntN(3) {
		case 0:
			p.Kill()
			p = r.start()
		case 1:
			ch.Kill()
			ch.Restart()
		case 2:
			ch.Kill()
			p.Kill()
			p = r.start()
			ch.Restart()
		}
	}
	r.drained(p)
	r.end(p)
	rows := clickHouseRows(t, ch)
	compare(t, "clickhouse", rows, r.expected())
	sameAsFile(t, rows)
	if a := r.balanced(); len(a.Jobs) != 1 || a.Jobs[0].Sinks[0].Delivered != 519 {
		t.Errorf("audit: %+v, want 519 delivered", a.Jobs)
	}
}

// sameAsFile compares the columns that stand in the file with the file itself, as any JSON reader
// sees it.
func sameAsFile(t *testing.T, rows [][]string) {
	t.Helper()
	b, err := os.ReadFile(realSpots)
	if err != nil {
		t.Fatal(err)
	}
	var spots []map[string]string
	if err := json.Unmarshal(b, &spots); err != nil {
		t.Fatal(err)
	}
	byID := map[string]map[string]string{}
	for _, s := range spots {
		byID[s["Spotnum"]] = s
	}
	if len(rows) != len(byID) {
		t.Errorf("the table has %d rows, the file %d spots", len(rows), len(byID))
	}
	fields := map[string]int{"Date": 1, "Band": 2, "Reporter": 3, "ReporterGrid": 6, "CallSign": 7,
		"Grid": 10, "distance": 11, "azimuth": 12, "Power": 15, "dB": 16, "Drift": 17, "version": 18,
		"code": 19}
	for _, row := range rows {
		s := byID[row[0]]
		for name, c := range fields {
			if row[c] != s[name] {
				t.Fatalf("id %s: %s is %q, the file has %q", row[0], name, row[c], s[name])
			}
		}
		mhz, err := strconv.ParseFloat(s["MHz"], 64)
		if hz := strconv.FormatFloat(mhz*1e6, 'f', 0, 64); err != nil || row[14] != hz {
			t.Fatalf("id %s: frequency is %s Hz, the file has %s MHz", row[0], row[14], s["MHz"])
		}
	}
}
