package wsprnet

import (
	"fmt"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
)

// open returns a source for a server's address, fast and impatient.
func open(t testing.TB, base string, change func(*Config)) *Source {
	t.Helper()
	c := Config{URL: base + simulator.SpotsPath, MaxBytesPerSecond: -1, RequestTimeout: 5 * time.Second}
	if change != nil {
		change(&c)
	}
	s, err := Open(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serve runs a feed for the test.
func serve(t testing.TB, o simulator.Options) (*simulator.Simulator, string) {
	t.Helper()
	sim := simulator.New(o)
	srv := httptest.NewServer(sim)
	t.Cleanup(func() {
		sim.SetFaults(func(f *simulator.Faults) { *f = simulator.Faults{} }) // lets go who hangs
		srv.Close()
	})
	return sim, srv.URL
}

func rowsOf(p connector.Page) (out []spot.Spot) {
	spot.Read(p.Rows, func(s *spot.Spot) bool { out = append(out, *s); return true })
	return out
}

// collect fetches until nothing more is there.
func collect(t testing.TB, s *Source, cursor []byte) (rows []spot.Spot, rejected []connector.Reject, last []byte) {
	t.Helper()
	for range 10_000 {
		p, err := s.Fetch(t.Context(), connector.Request{Cursor: cursor})
		if err != nil {
			t.Fatalf("fetch after %s: %v", cursor, err)
		}
		rows, rejected, cursor = append(rows, rowsOf(p)...), append(rejected, p.Rejected...), p.Cursor
		if !p.More {
			return rows, rejected, cursor
		}
	}
	t.Fatal("the source never says that there is no more")
	return nil, nil, nil
}

func TestCollectsEverythingOnce(t *testing.T) {
	for _, gzip := range []bool{false, true} {
		sim, url := serve(t, simulator.Options{Seed: 5, Backlog: 6_000, Rate: -1, Holes: 0.01, Garbage: 0.002,
			PageLimit: 2500, Username: "u", Password: "p", Gzip: gzip})
		s := open(t, url, func(c *Config) { c.Username, c.Password = "u", "p" })
		rows, rejected, cursor := collect(t, s, nil)
		want := slices.Collect(sim.Expected(0, 1<<62))
		if !reflect.DeepEqual(rows, want) {
			t.Fatalf("got %d rows, want %d", len(rows), len(want))
		}
		if faulty := slices.Collect(sim.Faulty(0, 1<<62)); len(rejected) != len(faulty) || len(faulty) == 0 {
			t.Errorf("got %d rejected, want %d", len(rejected), len(faulty))
		}
		if string(cursor) != fmt.Sprint(sim.Newest()) {
			t.Errorf("cursor is %s, want %d", cursor, sim.Newest())
		}
	}
}

// Real spots, from a local server that speaks the feed's protocol, through every spoiled page.
func TestRealSpots(t *testing.T) {
	const path = "../../../shared/data/wspr/spots.json"
	if _, err := os.Stat(path); os.IsNotExist(err) {
		t.Log("left out: ../shared/data/wspr/spots.json is not there")
		return
	}
	for _, moved := range []bool{false, true} {
		file, err := simulator.LoadSpots(path, moved)
		if err != nil {
			t.Fatal(err)
		}
		sim, url := serve(t, simulator.Options{Spots: file, Rate: -1, PageLimit: 200})
		rows, rejected, _ := collect(t, open(t, url, nil), nil)
		want := slices.Collect(sim.Expected(0, 1<<62))
		if len(want) != 519 || !reflect.DeepEqual(rows, want) || len(rejected) != 0 {
			t.Errorf("moved %v: got %d rows, %d rejected, want %d", moved, len(rows), len(rejected), len(want))
		}
	}
}
