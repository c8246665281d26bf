package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/secret"
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

// feedAt is the feed of the tour that begins at a time. Ids follow the clock to the nanosecond: a feed that begins later goes on with the
// ids of an earlier one, and has the same spots under those that both have.
func feedAt(now time.Time) simulator.Options {
	o := simulator.Realistic()
	ids := uint64(now.Sub(firstDay).Seconds() * o.Rate)
	o.Start = firstID + ids
	o.Epoch = firstDay.Add(time.Duration(ids) * time.Duration(float64(time.Second)/o.Rate))
	return o
}

// OpenFeed returns the simulated feed, or one that serves the spots of a file, listening on addr.
func OpenFeed(addr, spots string) (*Feed, error) {
	o := feedAt(time.Now())
	if spots != "" {
		f, err := simulator.LoadSpots(spots, true)
		if err != nil {
			return nil, fault.NewUsage("give a JSON file of spots as the feed serves them", "%w", err)
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

// demoFile is where the demonstration keeps the spots, in the data directory.
const demoFile = "spots.sqlite"

// Demo makes the plan of the demonstration: a job that collects from the feed into SQLite, a weather station
// over a broker in which trouble can be switched on, a job that brings the frames of a camera into an archive, a crawl of a site,
// and one that watches over the others.
func Demo(f *Feed, t *Trouble, site *Site, dataDir, listen string, log *slog.Logger) (*Plan, error) {
	place, err := datadir.Locate(dataDir, "")
	if err != nil {
		return nil, err
	}
	if err := writeDemoWeather(place.Dir); err != nil {
		return nil, err
	}
	if err := remount(below(place.Dir, demoArchiveDir), below(place.Dir, demoArchiveDir+awaySuffix)); err != nil {
		return nil, fmt.Errorf("bring the archive of the tour back: %w", err)
	}
	for _, dir := range []string{demoCameraDir, demoArchiveDir} {
		if err := disk.MkdirAll(below(place.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make a directory of the tour: %w", err)
		}
	}
	if err := writeDemoRules(place.Dir, f.URL()); err != nil {
		return nil, err
	}
	type m = map[string]any
	role := func(name string, own m) m {
		return m{"stream": m{"database": m{"sqlite": m{"path": weatherFile}}, name: own}}
	}
	jobs := m{
		"spots": m{"collect": m{
			"source": m{"wsprnet": m{
				"url":      "http://" + f.ln.Addr().String() + simulator.SpotsPath,
				"username": "demo", "password": "demo", "every": "5s", "max_bytes_per_second": -1}},
			"sinks": m{"local": m{
				"sqlite": m{"path": demoFile, "table": "spots", "busy": "1s"},
				"batch":  m{"every": "1s"}}}}},
		"frames":            demoFrames(place.Dir),
		"pages":             site.job(),
		"watch":             m{superviseKind: m{"rules": DemoRules}},
		"weather-streamer":  role("streamer", m{"input": demoWeatherFile, "interval": "10s", "loop": true}),
		"weather-ingester":  role("ingester", m{}),
		"weather-processor": role("processor", m{}),
		"weather-api":       role("api", m{"listen": freeAddress(defaultAPIListen)}),
	}
	text, err := yaml.Marshal(m{"jobs": jobs})
	if err != nil {
		return nil, fmt.Errorf("write the demonstration's configuration: %w", err)
	}
	c, err := Parse("demo", text, func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	p, err := c.planAt(place, orElse(listen, c.Listen), log)
	if err != nil {
		return nil, err
	}
	p.takesBegun = true // crawls go on behind a crash, like all else
	p.tour = &Tour{feed: f, trouble: t, site: site, dir: place.Dir, since: map[string]time.Time{}}
	p.Public = true
	p.Token, err = tourToken(place.Dir) // so that the console can give orders
	return p, err
}

// tokenFile has the token of the tour: a page that has it goes on behind a crash.
const tokenFile = "tour.token"

func tourToken(dir string) (secret.Text, error) {
	file := below(dir, tokenFile)
	was, err := os.ReadFile(file)
	if err == nil && len(was) > 20 {
		return secret.Text(was), nil
	}
	token := rand.Text()
	if err := disk.WriteFile(file, []byte(token), 0o600); err != nil {
		return "", fmt.Errorf("write the token of the tour: %w", err)
	}
	return secret.Text(token), nil
}

// DemoTour are the switches of the demonstration.
func DemoTour(p *Plan) *Tour { return p.tour }

// freeAddress is an address on loopback that nobody listens on just now: the one that is wanted, if it is free.
func freeAddress(want string) string {
	ln, err := net.Listen("tcp", want)
	if err != nil {
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return want // the job tells
		}
	}
	defer ln.Close()
	return ln.Addr().String()
}

// DemoReports is where the reports of the demonstration are served.
func DemoReports(p *Plan) string {
	for _, j := range p.Jobs {
		if w, ok := j.work.(*streamConfig); ok && w.API != nil {
			return "http://" + w.API.Listen
		}
	}
	return ""
}

// DemoPath is the database of the demonstration.
func DemoPath(p *Plan) string { return below(p.Place.Dir, demoFile) }
