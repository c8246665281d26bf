package influxdb

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"holdfast/base/secret"
	"holdfast/connector"
)

// Config is a database of InfluxDB 1.x, or a bucket of 2.x or 3.x.
type Config struct {
	// URL of the server; default http://127.0.0.1:8086. It is shown; user, password and token have their
	// own keys.
	URL string `yaml:"url"`
	// Database makes it a server of 1.x. Exactly one of database and bucket is given.
	Database string `yaml:"database"`
	// RetentionPolicy of the database; default the database's own default.
	RetentionPolicy string `yaml:"retention_policy"`
	// Username of a server of 1.x that wants one. The user needs to read and to write.
	Username string `yaml:"username"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Create makes the database, and the retention policy, if they are missing; default false. What is there is never
	// changed.
	Create bool `yaml:"create"`
	// Retention is how long a retention policy that is made keeps points, 1h at least; default for ever.
	Retention time.Duration `yaml:"retention"`
	// Bucket makes it a server of 2.x or 3.x, written to by /api/v2/write.
	Bucket string `yaml:"bucket"`
	// Org is the organisation of the bucket; 3.x needs none.
	Org string `yaml:"org"`
	// Token of a server of 2.x or 3.x.
	Token secret.Text `yaml:"token"`
	// Measurement is what all points belong to. Exactly one of measurement and measurement_from is given.
	Measurement string `yaml:"measurement"`
	// MeasurementFrom is the column that names the measurement of a point; it is
	// no field then, and the database should be this sink's alone.
	MeasurementFrom string `yaml:"measurement_from"`
	// Tags are the columns that become tags; all others become fields.
	Tags []string `yaml:"tags"`
	// Time is the column with the time of a point; default the event time of the rows.
	Time string `yaml:"time"`
	// Precision is what the times of the rows are whole in; default ns. A row whose time is
	// finer is refused.
	Precision string `yaml:"precision" jsonschema:"enum=ns,enum=us,enum=ms,enum=s"`
	// Unique says that tags and time tell all rows apart; default false. We can't prove it.
	Unique bool `yaml:"unique"`
	// Spread is an integer column, most often the key, that tells rows apart: the digits of the time below
	// the precision (s or ms) hold it modulo as many nanoseconds.
	Spread string `yaml:"spread"`
	// Replace is an integer column, the revision: of each time only the points of the measurement with the
	// highest revision stand.
	Replace string `yaml:"replace"`
	// Compression of a request; default none for a server on this machine, where it only costs, and gzip
	// for another.
	Compression string `yaml:"compression" jsonschema:"enum=gzip,enum=none"`
	// Request is how many rows one request has at most; default 2000. A server of 1.x that is loaded answers
	// larger ones late, and is no faster with them.
	Request int `yaml:"request"`
	// Timeout is how long a request of rows may take, and how long the server may be silent in an answer;
	// default 30s.
	Timeout time.Duration `yaml:"timeout"`
	// ScanTimeout is how long a question about all rows may take; default 10m.
	ScanTimeout time.Duration `yaml:"scan_timeout"`
}

const (
	packGzip = "gzip"
	packNone = "none"
)

// precisions are the units of times, with what /write of 1.x calls them.
var precisions = map[string]struct {
	unit lineprotocol.Precision
	old  string
}{"ns": {lineprotocol.Nanosecond, "n"}, "us": {lineprotocol.Microsecond, "u"},
	"ms": {lineprotocol.Millisecond, "ms"}, "s": {lineprotocol.Second, "s"}}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	wait := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.URL, "http://127.0.0.1:8086")
	def(&c.Precision, "ns")
	if nearby(c.URL) {
		def(&c.Compression, packNone)
	}
	def(&c.Compression, packGzip)
	wait(&c.Timeout, 30*time.Second)
	wait(&c.ScanTimeout, 10*time.Minute)
	if c.Request == 0 {
		c.Request = 2_000
	}
	return c
}

// nearby reports whether an address is on this machine.
func nearby(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// check is a configuration and what is wrong with it.
type check struct {
	Config
	connector.Faults
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	k := &check{Config: c.WithDefaults()}
	if why := badURL(k.URL); why != "" {
		k.Bad("url", "%s", why)
	}
	k.OneOf("precision", k.Precision, "ns", "us", "ms", "s")
	k.OneOf("compression", k.Compression, packGzip, packNone)
	k.place()
	k.points()
	k.replaces()
	if k.Request < 0 {
		k.Bad("request", "is %d, want a number of rows from 1", k.Request)
	}
	for name, d := range map[string]time.Duration{"timeout": k.Timeout, "scan_timeout": k.ScanTimeout} {
		if d < 0 {
			k.Bad(name, "is %v, want a time above 0", d)
		}
	}
	return k.Sorted()
}

// place checks what says where points go, and as whom.
func (k *check) place() {
	switch {
	case k.Database == "" && k.Bucket == "":
		k.Bad("database", "is missing; it makes a server of 1.x, bucket one of 2.x or 3.x")
	case k.Database != "" && k.Bucket != "":
		k.Bad("bucket", "stands beside database; want one of them")
	case k.Bucket != "":
		for name, set := range map[string]bool{"retention_policy": k.RetentionPolicy != "",
			"username": k.Username != "", "password": k.Password != "", "create": k.Create} {
			if set {
				k.Bad(name, "is for database, and there is bucket")
			}
		}
	default:
		for name, set := range map[string]bool{"org": k.Org != "", "token": k.Token != ""} {
			if set {
				k.Bad(name, "is for bucket, and there is database")
			}
		}
	}
	if k.Username == "" && k.Password != "" {
		k.Bad("username", "is missing, and there is a password")
	}
	switch {
	case k.Retention != 0 && (!k.Create || k.RetentionPolicy == ""):
		k.Bad("retention", "wants create: true and retention_policy; what is there is not changed")
	case k.Retention != 0 && k.Retention < time.Hour:
		k.Bad("retention", "is %v, want 1h or more, which is the least that InfluxDB takes", k.Retention)
	}
}

// points checks what says how rows become points.
func (k *check) points() {
	switch {
	case k.Measurement == "" && k.MeasurementFrom == "":
		k.Bad("measurement", "is missing, and there is no measurement_from")
	case k.Measurement != "" && k.MeasurementFrom != "":
		k.Bad("measurement_from", "stands beside measurement; want one of them")
	case k.Measurement != "":
		if why := badName(k.Measurement); why != "" {
			k.Bad("measurement", "%s", why)
		}
	}
	seen := map[string]bool{}
	for i, tag := range k.Tags {
		key := fmt.Sprintf("tags[%d]", i)
		if seen[tag] {
			k.Bad(key, "%q is there twice", tag)
		}
		seen[tag] = true
		if why := badColumn(tag); why != "" {
			k.Bad(key, "%s", why)
		}
		if tag != "" && tag == k.Time {
			k.Bad(key, "%q is the time", tag)
		}
	}
	if k.Spread != "" && k.Precision != "s" && k.Precision != "ms" {
		k.Bad("spread", "wants precision s or ms: below %s is no room for a number", k.Precision)
	}
	if k.Spread != "" && k.Unique {
		k.Bad("unique", "stands beside spread; want one of them")
	}
}

// replaces checks what says which points stand.
func (k *check) replaces() {
	switch {
	case k.Replace == "":
	case k.Bucket != "":
		k.Bad("replace", "is for database, and there is bucket: servers of 2.x and 3.x delete in other ways, and "+
			"none was tried")
	case k.MeasurementFrom != "":
		k.Bad("replace", "stands beside measurement_from, and wants measurement")
	case k.Spread != "":
		k.Bad("replace", "stands beside spread, which gives each row a time of its own")
	case slices.Contains(k.Tags, k.Replace) || k.Replace == k.Time:
		k.Bad("replace", "%q is a tag or the time, and a field is wanted", k.Replace)
	}
}

// badName says what is wrong with the name of a measurement, "" if nothing is.
func badName(name string) string {
	if strings.HasPrefix(name, "#") {
		return fmt.Sprintf("%q begins with #, which makes a line a remark", name)
	}
	return badColumn(name)
}

// badColumn says what is wrong with the name of a tag or a field, "" if nothing is.
func badColumn(name string) string {
	var e lineprotocol.Encoder
	e.StartLine(name)
	switch {
	case name == "time":
		return `"time" is what InfluxDB calls the time of a point`
	case e.Err() != nil || ambiguous(name):
		return fmt.Sprintf("%q is no name: want text without control characters, and no \\ at its end or before "+
			"a comma, a space, = or \"", name)
	}
	return ""
}

// badURL says what is wrong with an address, without the address itself, which may hold a password.
func badURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "want http://host:port or https://host:port"
	case u.User != nil:
		return "put user and password into username and password"
	case u.RawQuery != "" || u.Fragment != "":
		return "want no ? and no # in it"
	}
	return ""
}
