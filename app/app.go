// Package app turns a configuration into jobs: a file, or the flags of a command, becomes a Plan, and a Plan becomes
// engine.Specs.
//
// It is the only room that names every job and every connector, in the plain lists below. It
//
//   - decodes configurations (strictly: an unknown key is a mistake with its line, and all mistakes
//     are told at once), and says what they have by default (Schema, keytext.json);
//   - makes a configuration of the flags of a command that runs one job alone (Wsprnet, Weather,
//     Transfer, Crawl, Supervise);
//   - knows of each job what only its kind knows, for those who ask and order it (the methods of Job and Plan);
//   - reads, checks, tests and tries rule files (LoadRules, CheckRules, TestRules, Try).
//
// What people ask of jobs is app/desk, which stands above; what rules ask of the desk is the interface Desk. Where data
// directories are is app/datadir, and what `holdfast demo` shows is app/tour. The commands of the face call all of them.
//
// A configuration's ${NAME} is the environment variable NAME. What may be secret is a secret.Text
// and never printed; the text of a job that goes into checkpoints has its variables unexpanded and
// literal secrets hidden.
package app

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/clickhouse"
	"holdfast/connector/files"
	"holdfast/connector/filesource"
	"holdfast/connector/httppoll"
	"holdfast/connector/httppush"
	"holdfast/connector/influxdb"
	"holdfast/connector/nats"
	"holdfast/connector/postgres"
	"holdfast/connector/redis"
	"holdfast/connector/sqlite"
	"holdfast/connector/wsprnet"
	"holdfast/connector/wsprnet/cachefile"
)

// jobs are all kinds of jobs.
var jobs = []struct {
	name   string
	config func() jobConfig
}{
	{"collect", func() jobConfig { return new(collectConfig) }},
	{CrawlKind, func() jobConfig { return new(crawlConfig) }},
	{"stream", func() jobConfig { return new(streamConfig) }},
	{SuperviseKind, func() jobConfig { return new(superviseConfig) }},
	{TransferKind, func() jobConfig { return new(transferConfig) }},
}

// sources are all kinds of feeds that a collect job can read.
var sources = []kind[opened]{
	kindOf("clickhouse", clickhouse.SourceConfig{}, clickhouse.SourceConfig.Validate, nil, openTable),
	kindOf("file", filesource.Config{}, filesource.Config.Validate, nil, openFile),
	kindOf("http", httppoll.Config{}, httppoll.Config.Validate, nil, openHTTP),
	kindOf("nats", nats.SourceConfig{}, nats.SourceConfig.Validate, nil,
		func(c nats.SourceConfig, _ opening) (opened, error) { return openStream(nats.Open(c)) }),
	kindOf("redis", redis.Config{}, redis.Config.Validate, nil,
		func(c redis.Config, _ opening) (opened, error) { return openStream(redis.Open(c)) }),
	kindOf("stdin", filesource.StdinConfig{}, filesource.StdinConfig.Validate, nil, openStdin),
	kindOf(wsprnetKind, wsprnet.Config{}, wsprnet.Config.Validate, wsprnetKeys, openWsprnet),
}

// sinks are all kinds of sinks that a collect job can deliver to.
var sinks = []kind[connector.Sink]{
	kindOf("clickhouse", clickhouse.Config{}, func(c clickhouse.Config) []error {
		if err := c.Validate(); err != nil {
			return flat(err)
		}
		return nil
	}, nil, func(c clickhouse.Config, _ opening) (connector.Sink,
		error) {
		return clickhouse.Open(c)
	}),
	kindOf("files", files.Config{}, files.Config.Validate, nil,
		func(c files.Config, o opening) (connector.Sink, error) {
			c.Path = below(o.dataDir, c.Path)
			return files.New(c)
		}),
	kindOf("http", httppush.Config{}, httppush.Config.Validate, nil,
		func(c httppush.Config, _ opening) (connector.Sink, error) { return httppush.New(c) }),
	kindOf("influxdb", influxdb.Config{}, influxdb.Config.Validate, nil,
		func(c influxdb.Config, _ opening) (connector.Sink, error) { return influxdb.New(c) }),
	kindOf("nats", nats.SinkConfig{}, nats.SinkConfig.Validate, nil,
		func(c nats.SinkConfig, _ opening) (connector.Sink, error) { return nats.New(c) }),
	kindOf("postgres", postgres.Config{}, postgres.Config.Validate, nil,
		func(c postgres.Config, _ opening) (connector.Sink, error) { return postgres.New(c) }),
	kindOf("sqlite", sqlite.Config{}, sqlite.Config.Validate, nil,
		func(c sqlite.Config, o opening) (connector.Sink, error) {
			c.Path = below(o.dataDir, c.Path)
			return sqlite.New(c)
		}),
}

// opening is what a connector is opened with beside its configuration.
type opening struct {
	dataDir string // relative paths of data lie below it
	jobDir  string // files of the connector's own lie below it
	log     *slog.Logger
}

// opened is a source with what the job must know of its kind.
type opened struct {
	connector.Source
	next   func(last time.Time) time.Time
	parse  func(raw []byte) connector.Page
	mended func()
	noun   string
}

// kind is one kind of connector; T is what opening it gives.
type kind[T any] struct {
	name   string
	config any // its zero configuration, for the schema
	// decode reads the configuration below an entry.
	decode func(d *decoder, e entry, path string) (config any)
	// with returns how to open a configuration of the kind's own type.
	with func(config any) func(opening) (T, error)
}

// kindOf makes a kind of a connector's own Config; extra looks at what Validate can't see.
func kindOf[C, T any](name string, zero C, validate func(C) []error, extra func(C) []error,
	open func(C, opening) (T, error)) kind[T] {
	return kind[T]{name: name, config: zero,
		with: func(c any) func(opening) (T, error) {
			return func(o opening) (T, error) { return open(c.(C), o) }
		},
		decode: func(d *decoder, e entry, path string) any {
			var c C
			before := len(d.Mistakes)
			d.Decode(e.Value, reflect.ValueOf(&c).Elem(), path)
			if len(d.Mistakes) == before { // half a configuration would be blamed for its holes
				errs := validate(c)
				if extra != nil {
					errs = append(errs, extra(c)...)
				}
				for _, err := range errs {
					d.complain(e, path, err)
				}
			}
			return c
		}}
}

// table is where a sink of the configuration writes to.
func table(c any) string {
	switch c := c.(type) {
	case clickhouse.Config:
		return strings.Join([]string{"clickhouse", strings.TrimSuffix(c.URL, "/"), c.Database,
			c.Table}, "\x00")
	case files.Config:
		return strings.Join([]string{"files", filepath.Clean(c.Path)}, "\x00")
	case httppush.Config:
		return strings.Join([]string{"http", c.URL}, "\x00")
	case influxdb.Config:
		return strings.Join([]string{"influxdb", strings.TrimSuffix(orElse(c.URL, "http://127.0.0.1:8086"), "/"),
			c.Org, c.Bucket, c.Database, c.RetentionPolicy, c.Measurement, c.MeasurementFrom}, "\x00")
	case nats.SinkConfig:
		return strings.Join([]string{"nats", c.URL, c.Stream, c.Subject}, "\x00")
	case postgres.Config:
		return strings.Join([]string{"postgres", c.DSN.Reveal(), orElse(c.Schema, "public"), c.Table}, "\x00")
	case sqlite.Config:
		return strings.Join([]string{"sqlite", filepath.Clean(c.Path), orElse(c.Table, sqlite.Spots)}, "\x00")
	}
	return ""
}

// wsprnetKind is the source of spots.
const wsprnetKind = "wsprnet"

// namesNoTable reports whether rows go to a table that the configuration does not name.
func namesNoTable(c any) bool {
	s, ok := c.(sqlite.Config)
	return ok && s.Table == ""
}

// warnings are what a connector has to say of a configuration that is good.
func warnings(c any) []error {
	if c, ok := c.(clickhouse.SourceConfig); ok {
		return c.Warnings()
	}
	return nil
}

// listIndex is what a complaint's key has of a list; its place is that of the whole list.
var listIndex = regexp.MustCompile(`\[\d+\].*`)

// complain keeps a connector's complaint.
func (d *decoder) complain(e entry, path string, err error) {
	d.Mistakes = append(d.Mistakes, d.complaint(e, path, err))
}

// complaint is what a connector says, at the line of the key that it speaks of.
func (d *decoder) complaint(e entry, path string, err error) Mistake {
	key, text := keyed(err)
	at := ast.Node(e.At)
	if !strictyaml.Empty(e.Value) {
		at = e.Value
	}
	if key != "" {
		path = strictyaml.Join(path, key)
		at = d.at(at, strings.Split(listIndex.ReplaceAllString(key, ""), ".")...)
	}
	return d.MistakeAt(at, path, "%s", text)
}

// opener returns how to open the configuration c of the kind with that name.
func opener[T any](kinds []kind[T], name string, c any) func(opening) (T, error) {
	return kinds[slices.Index(kindNames(kinds), name)].with(c)
}

func kindNames[T any](kinds []kind[T]) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// wsprnetKeys refuses what would be too impolite for the feed itself.
func wsprnetKeys(c wsprnet.Config) []error {
	if c.Username == "" && c.Password != "" {
		return []error{wsprnet.Problem{Key: "username", Text: "is missing, and there is a password"}}
	}
	return nil
}

// sessionFile is where a source keeps its session, in the directory of its job.
const sessionFile = "session.json"

func openWsprnet(c wsprnet.Config, o opening) (opened, error) {
	if c.SessionFile == "" && c.Username != "" {
		c.SessionFile = sessionFile
	}
	c.SessionFile = below(o.jobDir, c.SessionFile)
	s, err := wsprnet.Open(c, wsprnet.Options{UserAgent: "holdfast/" + Version, Log: o.log})
	if err != nil {
		return opened{}, err
	}
	return opened{Source: s, next: s.NextPoll, parse: parseSpot, mended: s.RetryLogin,
		noun: "spots"}, nil
}

// columnsFile is where a source keeps the columns of its table, in the directory of its job.
const columnsFile = "columns.json"

func openTable(c clickhouse.SourceConfig, o opening) (opened, error) {
	s, err := clickhouse.OpenSource(c, clickhouse.SourceOptions{Memory: below(o.jobDir, columnsFile)})
	if err != nil {
		return opened{}, err
	}
	return opened{Source: s, next: s.NextPoll, parse: s.Parse, noun: "rows"}, nil
}

func openHTTP(c httppoll.Config, _ opening) (opened, error) {
	s, err := httppoll.Open(c, httppoll.Options{UserAgent: "holdfast/" + Version})
	if err != nil {
		return opened{}, err
	}
	return opened{Source: s, next: s.NextPoll, parse: s.Parse, noun: "rows"}, nil
}

func openFile(c filesource.Config, o opening) (opened, error) {
	c.Path = below(o.dataDir, c.Path)
	s, err := filesource.Open(c, filesource.Options{})
	if err != nil {
		return opened{}, err
	}
	return opened{Source: s, next: s.NextPoll, parse: s.Parse, noun: "rows"}, nil
}

func openStdin(c filesource.StdinConfig, _ opening) (opened, error) {
	s, err := filesource.OpenStdin(c, os.Stdin)
	if err != nil {
		return opened{}, err
	}
	return opened{Source: s, next: s.NextPoll, parse: s.Parse, noun: "rows"}, nil
}

// stream is a source whose Fetch waits until there is something.
type stream interface {
	connector.Source
	Parse(raw []byte) connector.Page
}

func openStream(s stream, err error) (opened, error) {
	if err != nil {
		return opened{}, err
	}
	return opened{Source: s, next: atOnce, parse: s.Parse, noun: "rows"}, nil
}

// parseSpot reads a rejected spot again, whether the feed or a cache file had it.
func parseSpot(raw []byte) connector.Page {
	res, err := cachefile.Read(bytes.NewReader(bytes.Join([][]byte{{'['}, raw, {']'}}, nil)))
	if err != nil {
		return connector.Page{Rejected: []connector.Reject{{Raw: raw, Reason: "it is no whole spot"}}}
	}
	return connector.Page{Rows: res.Rows, Rejected: res.Rejected, Notes: res.Notes}
}

// Version is the program's; the build may set another.
var Version = "0.1.0-dev"
