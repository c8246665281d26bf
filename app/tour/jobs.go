package tour

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/secret"
	"holdfast/connector/wsprnet/simulator"
)

// The databases of the tour, in the data directory.
const (
	spotsDB     = "spots.sqlite"
	weatherDB   = "weather.sqlite"
	transfersDB = "transfers.sqlite"
)

// Open makes the plan of the tour in a data directory: a job that collects from the feed into SQLite, a weather station
// over a broker in which trouble can be switched on, a job that brings the frames of a camera into an archive, a crawl of a site,
// and one that watches over the others. The caller closes it once the jobs have ended.
func Open(f *Feed, t *Trouble, site *Site, dataDir, listen string, log *slog.Logger) (*Tour, error) {
	place, err := datadir.Locate(dataDir, "")
	if err != nil {
		return nil, err
	}
	if err := writeWeather(place.Dir); err != nil {
		return nil, err
	}
	if err := remount(filepath.Join(place.Dir, archiveDir), filepath.Join(place.Dir, archiveDir+awaySuffix)); err != nil {
		return nil, fmt.Errorf("bring the archive of the tour back: %w", err)
	}
	for _, dir := range []string{cameraDir, archiveDir} {
		if err := disk.MkdirAll(filepath.Join(place.Dir, dir), 0o755); err != nil {
			return nil, fmt.Errorf("make a directory of the tour: %w", err)
		}
	}
	if err := writeRules(place.Dir, f.URL()); err != nil {
		return nil, err
	}
	reports := freeAddress("127.0.0.1:5000")
	type m = map[string]any
	role := func(name string, own m) m {
		return m{"stream": m{"database": m{"sqlite": m{"path": weatherDB}}, name: own}}
	}
	jobs := m{
		"spots": m{"collect": m{
			"source": m{"wsprnet": m{
				"url":      "http://" + f.ln.Addr().String() + simulator.SpotsPath,
				"username": "demo", "password": "demo", "every": "5s", "max_bytes_per_second": -1}},
			"sinks": m{"local": m{
				"sqlite": m{"path": spotsDB, "table": "spots", "busy": "1s"},
				"batch":  m{"every": "1s"}}}}},
		"frames":            framesJob(place.Dir),
		"pages":             site.job(),
		"watch":             m{"supervise": m{"rules": Rules}},
		"weather-streamer":  role("streamer", m{"input": weatherData, "interval": "10s", "loop": true}),
		"weather-ingester":  role("ingester", m{}),
		"weather-processor": role("processor", m{}),
		"weather-api":       role("api", m{"listen": reports}),
	}
	text, err := yaml.Marshal(m{"jobs": jobs})
	if err != nil {
		return nil, fmt.Errorf("write the configuration of the tour: %w", err)
	}
	c, err := app.Parse("demo", text, func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	p, err := c.PlanAt(place, listen, log)
	if err != nil {
		return nil, err
	}
	tour := &Tour{Plan: p, feed: f, trouble: t, site: site, reports: reports, dir: place.Dir, since: map[string]time.Time{}}
	p.Outages = tour
	p.TakesBegun = true // crawls go on behind a crash, like all else
	p.Public = true
	p.Token, err = tokenOf(place.Dir) // so that the console can give orders
	return tour, err
}

// tokenFile has the token of the tour: a page that has it goes on behind a crash.
const tokenFile = "tour.token"

func tokenOf(dir string) (secret.Text, error) {
	file := filepath.Join(dir, tokenFile)
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

// Reports is where the reports of the stream are served.
func (t *Tour) Reports() string { return "http://" + t.reports }

// Spots is the database of spots.
func (t *Tour) Spots() string { return filepath.Join(t.dir, spotsDB) }
