package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/connector/wsprnet/simulator"
)

// firstID is about what the real feed gave on firstDay.
const firstID = 6_040_000_001

var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Feed is the simulated feed of the demonstration.
type Feed struct {
	sim *simulator.Simulator
	ln  net.Listener
}

// OpenFeed returns the simulated feed, or one that serves the spots of a file, listening on addr.
func OpenFeed(addr, spots string) (*Feed, error) {
	o := simulator.Realistic()
	// Ids follow the clock, so that the tour goes on where an earlier one ended.
	o.Start = firstID + uint64(time.Since(firstDay).Seconds()*o.Rate)
	if spots != "" {
		f, err := simulator.LoadSpots(spots, true)
		if err != nil {
			return nil, usage("give a JSON file of spots as the feed serves them", "%w", err)
		}
		o.Spots = f
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated feed: %w", err)
	}
	return &Feed{sim: simulator.New(o), ln: ln}, nil
}

// URL is the status page of the feed, where its outages are switched on and off.
func (f *Feed) URL() string { return "http://" + f.ln.Addr().String() + "/" }

// Run serves the feed until ctx ends.
func (f *Feed) Run(ctx context.Context) error { return f.sim.Run(ctx, f.ln) }

// Close gives the address up; Run does so too.
func (f *Feed) Close() error { return f.ln.Close() }

// DemoFile is where the demonstration keeps the spots, in the data directory.
const DemoFile = "spots.sqlite"

// Demo makes the plan of the demonstration: a job that collects from the feed into SQLite.
func Demo(f *Feed, dataDir, listen string, log *slog.Logger) (*Plan, error) {
	text, err := yaml.Marshal(map[string]any{"jobs": map[string]any{"spots": map[string]any{
		"collect": map[string]any{
			"source": map[string]any{"wsprnet": map[string]any{
				"url":      "http://" + f.ln.Addr().String() + simulator.SpotsPath,
				"username": "demo", "password": "demo", "every": "5s", "max_bytes_per_second": -1}},
			"sinks": map[string]any{"local": map[string]any{
				"sqlite": map[string]any{"path": DemoFile, "table": "spots"},
				"batch":  map[string]any{"every": "1s"}}}}}}})
	if err != nil {
		return nil, fmt.Errorf("write the demonstration's configuration: %w", err)
	}
	c, err := Parse("demo", text, func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	return c.Plan(dataDir, listen, log)
}

// DemoPath is the database of the demonstration.
func DemoPath(p *Plan) string { return below(p.Place.Dir, DemoFile) }
