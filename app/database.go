package app

import (
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"holdfast/base/secret"
	"holdfast/base/strictyaml"
	"holdfast/connector"
	"holdfast/connector/influxdb"
	"holdfast/connector/postgres"
	"holdfast/connector/sqlite"
)

// database is where a stream keeps its rows and its reports: the one key below `database:` is its kind.
type database struct {
	kind     string
	influx   influxPlace
	sqlite   sqlitePlace
	postgres postgresPlace
}

// influxPlace is a database of InfluxDB 1.x.
type influxPlace struct {
	// URL of the server; default http://127.0.0.1:8086. It is shown; user and password have their own keys.
	URL string `yaml:"url"`
	// Database is its name.
	Database string `yaml:"database" jsonschema:"required"`
	// RetentionPolicy of the database; default the database's own default.
	RetentionPolicy string `yaml:"retention_policy"`
	// Username of a server that wants one. The user needs to read and to write.
	Username string `yaml:"username"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Create makes what is missing; default true.
	Create *bool `yaml:"create"`
	// Retention is how long a retention policy that is made keeps points, 1h at least; default for ever.
	Retention time.Duration `yaml:"retention"`
	// Compression of a request; default none for a server on this machine, and gzip for another.
	Compression string `yaml:"compression" jsonschema:"enum=gzip,enum=none"`
	// Timeout is how long one request or question may take before it counts as an outage; default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// sqlitePlace is a SQLite database, a file.
type sqlitePlace struct {
	// Path is the database file; below the data directory if it is relative. Missing directories are made.
	Path string `yaml:"path" jsonschema:"required"`
}

// postgresPlace is a schema of a PostgreSQL database.
type postgresPlace struct {
	// DSN says which database and as whom: postgres://user:password@host:port/database. It is never shown.
	DSN secret.Text `yaml:"dsn" jsonschema:"required"`
	// Schema holds the tables; default public. It must be there.
	Schema string `yaml:"schema"`
	// Create makes what is missing; default true.
	Create *bool `yaml:"create"`
	// Timeout is how long one request or question may take before it counts as an outage; default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

// tableOf is a table of the database, and what tells its rows apart.
type tableOf struct {
	name    string
	tags    []string // beside the time
	time    string
	replace string // column of the revision, "" for rows that are never replaced
}

var databaseKinds = []string{"influxdb", "postgres", "sqlite"}

// databaseTimeout is how long a database may be silent in a request; the next try comes a second later.
const databaseTimeout = 10 * time.Second

func (db *database) decode(d *decoder, n ast.Node, path string) {
	kind, _, ok := d.one(entry{At: n, Value: n}, path, "kind of database", databaseKinds, nil)
	if !ok {
		return
	}
	db.kind, path = kind.Key, strictyaml.Join(path, kind.Key)
	before := len(d.Mistakes)
	var into any
	switch kind.Key {
	case "influxdb":
		into = &db.influx
	case "postgres":
		into = &db.postgres
	default:
		into = &db.sqlite
	}
	if d.Decode(kind.Value, reflect.ValueOf(into).Elem(), path); len(d.Mistakes) > before {
		return
	}
	some := tableOf{name: "rows", tags: []string{"tag"}, time: "time"}
	switch kind.Key {
	case "influxdb":
		d.complainAll(kind, path, db.influxConfig(some).Validate())
	case "postgres":
		d.complainAll(kind, path, db.postgresConfig(some).Validate())
	default:
		d.complainAll(kind, path, db.sqliteConfig(opening{}, some).Validate())
	}
}

func (db *database) influxConfig(t tableOf) influxdb.Config {
	c := db.influx
	return influxdb.Config{URL: c.URL, Database: c.Database, RetentionPolicy: c.RetentionPolicy, Username: c.Username,
		Password: c.Password, Create: c.Create == nil || *c.Create, Retention: c.Retention, Compression: c.Compression,
		Timeout: orElse(c.Timeout, databaseTimeout), Measurement: t.name, Tags: t.tags, Time: t.time, Unique: true,
		Replace: t.replace}
}

func (db *database) postgresConfig(t tableOf) postgres.Config {
	c := db.postgres
	return postgres.Config{DSN: c.DSN, Schema: c.Schema, Table: t.name, Create: c.Create == nil || *c.Create,
		Timeout: orElse(c.Timeout, databaseTimeout), Key: t.key(), Replace: t.replace}
}

func (db *database) sqliteConfig(o opening, t tableOf) sqlite.Config {
	return sqlite.Config{Path: below(o.dataDir, db.sqlite.Path), Table: t.name, Key: t.key(), Replace: t.replace}
}

// key tells the rows of a table apart.
func (t tableOf) key() []string { return append(append([]string(nil), t.tags...), t.time) }

// sink opens a table to write to.
func (db *database) sink(o opening, t tableOf) (connector.Sink, error) {
	switch db.kind {
	case "influxdb":
		return influxdb.New(db.influxConfig(t))
	case "postgres":
		return postgres.New(db.postgresConfig(t))
	}
	return sqlite.New(db.sqliteConfig(o, t))
}

// tables opens the database to read from. always are columns that every row has a value in.
func (db *database) tables(o opening, always []string) (connector.Tables, error) {
	some := tableOf{name: "rows", tags: []string{"tag"}, time: "time"}
	switch db.kind {
	case "influxdb":
		return influxdb.OpenTables(db.influxConfig(some), always...)
	case "postgres":
		return postgres.OpenTables(db.postgresConfig(some))
	}
	return sqlite.OpenTables(db.sqliteConfig(o, some))
}

// place is the database as two configurations of it can be compared.
func (db *database) place() string {
	switch db.kind {
	case "influxdb":
		return strings.Join([]string{"influxdb", strings.TrimSuffix(orElse(db.influx.URL, "http://127.0.0.1:8086"), "/"),
			db.influx.Database, db.influx.RetentionPolicy}, "\x00")
	case "postgres":
		return strings.Join([]string{"postgres", db.postgres.DSN.Reveal(), orElse(db.postgres.Schema, "public")}, "\x00")
	}
	return "sqlite\x00" + db.sqlite.Path
}
