package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"holdfast/app/datadir"
	"holdfast/base/fault"
	"holdfast/connector/filesource"
)

// weatherRoles are the parts of a weather station that a process can be.
var weatherRoles = []string{"streamer", "ingester", "processor", "api", allRoles}

const allRoles = "all"

// WeatherFlags are the flags of `holdfast weather`. What is empty has a default.
type WeatherFlags struct {
	Role string

	Input, Format, Timezone string
	Interval                time.Duration
	Speedup                 string
	Loop, Once              bool
	Batch                   int
	Window                  time.Duration

	Broker                                  string // a URL, "" or embedded
	BrokerUser, BrokerPassword, BrokerToken string
	BrokerStreams                           bool
	BrokerListen                            string
	Channels                                string

	Database                       string // a URL, or sqlite:FILE
	DatabaseUser, DatabasePassword string

	LostAfter time.Duration
	Day       string
	APIListen string
	APIToken  string
	// IngesterDir is the data directory of the ingester whose windows the API shows.
	IngesterDir string

	DataDir, Listen string
}

// weatherFile is the default database, in the data directory.
const weatherFile = "weather.sqlite"

// The variables that stand for secrets of the command line, so that no copy of the configuration holds them.
const (
	brokerSecret   = "HOLDFAST_BROKER_PASSWORD"
	brokerToken    = "HOLDFAST_BROKER_TOKEN"
	apiToken       = "HOLDFAST_API_TOKEN"
	databaseSecret = "HOLDFAST_DATABASE_PASSWORD"
	databaseURL    = "HOLDFAST_DATABASE_URL"
)

// Weather makes a plan of the command line: each role is a job as a configuration file would have it.
func Weather(f WeatherFlags, env func(string) (string, bool), log *slog.Logger) (*Plan, error) {
	command := "weather-" + f.Role
	if f.Role == allRoles {
		command = "weather"
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := filesource.NoFile(f.Input); f.Input != "" && err != nil {
		return nil, fault.NewUsage(fault.HintOf(err), "--input: %w", err)
	}
	place, err := datadir.Locate(f.DataDir, command)
	if err != nil {
		return nil, err
	}
	jobs, err := f.jobs(place)
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(yaml.MapSlice{{Key: "jobs", Value: jobs}})
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	c, err := Parse("command line", text, f.secrets(env))
	if err != nil {
		return nil, byFlags(err)
	}
	p, err := c.PlanAt(place, orElse(f.Listen, NoListen), log)
	if err != nil {
		return nil, err
	}
	p.config, p.Once = nil, f.Once
	for _, j := range p.Jobs {
		if f.Once {
			j.EndWhenDone()
		}
		if w := j.work.(*streamConfig); w.Streamer != nil {
			if err := w.tryInput(place, log); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// check refuses what makes no sense together.
func (f WeatherFlags) check() error {
	streams := f.Role == "streamer" || f.Role == allRoles
	switch {
	case streams && f.Input == "":
		return fault.NewUsage("give the data set with --input FILE: CSV, JSON lines or Parquet", "there is no data set")
	case f.Interval > 0 && f.Speedup != "":
		return fault.NewUsage("--interval fixes the wall time of a window, --speedup divides event time",
			"--interval and --speedup: want one of them")
	case f.Loop && f.Once:
		return fault.NewUsage("", "--loop and --once: a loop has no end")
	case f.Once && f.Role == "api":
		return fault.NewUsage("", "--once: the API has nothing to finish")
	case f.BrokerListen != "" && f.Broker != "" && f.Broker != embeddedBroker:
		return fault.NewUsage("", "--broker and --broker-listen: one is a broker that runs elsewhere, the other runs here")
	case f.Role != allRoles && f.Role != "api" && f.BrokerListen == "" && (f.Broker == "" || f.Broker == embeddedBroker):
		return fault.NewUsage("name one with --broker redis://HOST:6379 or nats://HOST:4222, or have one role host it with "+
			"--broker-listen HOST:4222", "a role of its own needs a broker that the others reach")
	}
	return nil
}

// secrets are the values of the variables that stand for what the command line has.
func (f WeatherFlags) secrets(env func(string) (string, bool)) func(string) (string, bool) {
	given := map[string]string{brokerSecret: f.BrokerPassword, brokerToken: f.BrokerToken, apiToken: f.APIToken,
		databaseSecret: f.DatabasePassword, databaseURL: f.Database}
	return func(name string) (string, bool) {
		if v := given[name]; v != "" {
			return v, true
		}
		return env(name)
	}
}

// weatherFlag are the flags that the keys of a role stand for.
var weatherFlag = map[string]string{
	"streamer.input": "--input", "streamer.format": "--format", "streamer.batch": "--batch",
	"streamer.interval": "--interval", "streamer.speedup": "--speedup", "streamer.loop": "--loop",
	"ingester.lost_after": "--lost-after", "processor.day": "--day", "api.listen": "--api-listen",
	"api.ingester_dir": "--ingester-dir", "window": "--window", "channels": "--channels", "rows.timezone": "--timezone",
	"broker.embedded.listen": "--broker-listen", "broker.embedded.streams": "--broker-streams",
	"broker.embedded.token": "--broker-token", "broker.redis.url": "--broker", "broker.redis.user": "--broker-user",
	"broker.redis.password": "--broker-password", "broker.redis.streams": "--broker-streams", "broker.nats.url": "--broker",
	"broker.nats.user": "--broker-user", "broker.nats.password": "--broker-password", "broker.nats.token": "--broker-token",
	"broker.nats.streams": "--broker-streams", "database.influxdb.url": "--database",
	"database.influxdb.database": "--database", "database.influxdb.username": "--database-user",
	"database.influxdb.password": "--database-password", "database.postgres.dsn": "--database",
	"database.sqlite.path": "--database",
}

// byFlags is a complaint about flags, which have names of their own and no lines; what all roles share is told once.
func byFlags(err error) error {
	all, ok := errors.AsType[Mistakes](err)
	if !ok {
		return err
	}
	var out Mistakes
	for _, m := range all {
		m.Line, m.Column = 0, 0
		if _, key, ok := strings.Cut(m.Path, ".stream."); ok && weatherFlag[key] != "" {
			m.Path = weatherFlag[key]
		}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

type tree = yaml.MapSlice

func (f WeatherFlags) jobs(place datadir.Place) (jobs tree, err error) {
	shared, err := f.shared(place)
	if err != nil {
		return nil, err
	}
	roles := map[string]tree{
		"streamer": some("input", absolute(f.Input), "format", f.Format, "batch", f.Batch, "interval", f.Interval,
			"speedup", f.Speedup, "loop", f.Loop),
		"ingester":  some("lost_after", f.LostAfter),
		"processor": some("day", f.Day),
		"api":       append(some("listen", f.APIListen), secretItem("token", apiToken, f.APIToken)...),
	}
	for _, role := range weatherRoles {
		if role != f.Role && f.Role != allRoles || role == allRoles || role == "api" && f.Once {
			continue
		}
		own := roles[role]
		if role == "api" && f.Role == role {
			own = append(own, yaml.MapItem{Key: "ingester_dir", Value: orElse(absolute(f.IngesterDir),
				filepath.Join(filepath.Dir(place.Dir), "weather-ingester"))})
		}
		if len(own) == 0 {
			own = nil
		}
		jobs = append(jobs, yaml.MapItem{Key: role, Value: tree{{Key: "stream", Value: append(append(tree{}, shared...),
			yaml.MapItem{Key: role, Value: own})}}})
	}
	return jobs, nil
}

// shared is what every role has to know.
func (f WeatherFlags) shared(place datadir.Place) (tree, error) {
	out := some("channels", f.Channels, "window", f.Window)
	if f.Timezone != "" {
		out = append(out, yaml.MapItem{Key: "rows", Value: some("timezone", f.Timezone)})
	}
	b, err := f.broker()
	if err != nil {
		return nil, err
	}
	db, err := f.database(place)
	if err != nil {
		return nil, err
	}
	return append(out, yaml.MapItem{Key: "broker", Value: b}, yaml.MapItem{Key: "database", Value: db}), nil
}

func (f WeatherFlags) broker() (tree, error) {
	if f.Broker == "" || f.Broker == embeddedBroker {
		return tree{{Key: embeddedBroker, Value: append(some("listen", f.BrokerListen, "streams", f.BrokerStreams),
			secretItem("token", brokerToken, f.BrokerToken)...)}}, nil
	}
	u, err := url.Parse(f.Broker)
	if err != nil || u.Host == "" {
		return nil, fault.NewUsage("want redis://HOST:6379 or nats://HOST:4222", "--broker: this is no URL of a broker")
	}
	own := append(some("url", f.Broker, "user", f.BrokerUser, "streams", f.BrokerStreams),
		secretItem("password", brokerSecret, f.BrokerPassword)...)
	switch u.Scheme {
	case "redis", "rediss":
		return tree{{Key: "redis", Value: own}}, nil
	case "nats", "tls":
		return tree{{Key: "nats", Value: append(own, secretItem("token", brokerToken, f.BrokerToken)...)}}, nil
	}
	return nil, fault.NewUsage("want redis://HOST:6379 or nats://HOST:4222", "--broker: there is no broker of kind %q", u.Scheme)
}

func (f WeatherFlags) database(place datadir.Place) (tree, error) {
	const want = "want http://HOST:8086/NAME for InfluxDB, postgres://USER@HOST/NAME, or sqlite:FILE"
	if file, ok := strings.CutPrefix(f.Database, "sqlite:"); ok || f.Database == "" {
		if file = absolute(file); file == "" {
			file = weatherFile
			if f.Role != allRoles { // which the roles share
				file = filepath.Join(filepath.Dir(place.Dir), weatherFile)
			}
		}
		return tree{{Key: "sqlite", Value: some("path", file)}}, nil
	}
	u, err := url.Parse(f.Database)
	if err != nil {
		return nil, fault.NewUsage(want, "--database: this is no URL") // err would show it, password and all
	}
	switch name := strings.Trim(u.Path, "/"); {
	case u.Scheme == "postgres" || u.Scheme == "postgresql":
		return tree{{Key: "postgres", Value: some("dsn", "${"+databaseURL+"}")}}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && name != "" && u.User == nil:
		u.Path = ""
		return tree{{Key: "influxdb", Value: append(some("url", u.String(), "database", name, "username", f.DatabaseUser),
			secretItem("password", databaseSecret, f.DatabasePassword)...)}}, nil
	case u.User != nil:
		return nil, fault.NewUsage("give --database-user, and the password in $"+databaseSecret, "--database: holds a user")
	}
	return nil, fault.NewUsage(want, "--database: this names no database")
}

// secretItem is an entry whose value is a variable, if there is one.
func secretItem(key, variable, given string) tree {
	if given == "" {
		return nil
	}
	return tree{{Key: key, Value: "${" + variable + "}"}}
}

// some are the entries whose values are not zero.
func some(pairs ...any) (out tree) {
	out = tree{}
	for i := 0; i < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case string:
			if v != "" {
				out = append(out, yaml.MapItem{Key: pairs[i].(string), Value: v})
			}
		case int:
			if v != 0 {
				out = append(out, yaml.MapItem{Key: pairs[i].(string), Value: v})
			}
		case bool:
			if v {
				out = append(out, yaml.MapItem{Key: pairs[i].(string), Value: v})
			}
		case time.Duration:
			if v != 0 {
				out = append(out, yaml.MapItem{Key: pairs[i].(string), Value: v.String()})
			}
		}
	}
	return out
}

func absolute(path string) string {
	if path == "" {
		return ""
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

// tryInput looks at the beginning of each file of the data set: what is wrong with it is told at once, and not by a
// gate.
func (c *streamConfig) tryInput(place datadir.Place, log *slog.Logger) error {
	src, err := c.openInput(place.Dir)
	if err != nil {
		return err
	}
	defer src.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	empty, err := src.Try(ctx)
	if err != nil {
		return fault.NewUsage(orElse(fault.HintOf(err), "give a file that can be read"), "read the data set: %w", err)
	}
	for _, path := range empty {
		log.Warn(path + " has no rows")
	}
	return nil
}
