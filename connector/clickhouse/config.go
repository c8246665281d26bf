package clickhouse

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/web"
)

// Config is a table of a ClickHouse server, of any version since 18.16, that takes the rows exactly once.
type Config struct {
	// URL is the server's HTTP interface; default http://127.0.0.1:8123. User and password
	// have their own keys: an address is shown, they are not.
	URL string `yaml:"url"`
	// Database holds the table; default "default".
	Database string `yaml:"database"`
	// Table is what takes the rows.
	Table string `yaml:"table" jsonschema:"required"`
	// Username is empty for the server's own default user.
	Username string `yaml:"username"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Create makes the database and the table when they are missing; default false. A table that is there is
	// never changed.
	Create bool `yaml:"create"`
	// PartitionBy is the partition expression of a table that is made; default toYYYYMM of the event time, and
	// none for rows without one.
	PartitionBy string `yaml:"partition_by"`
	// OrderBy are the sorting columns of a table that is made; default the event time, the column "band"
	// where there is one, and the key.
	OrderBy []string `yaml:"order_by"`
	// Aliases are ALIAS columns of a table that is made: the name and its expression.
	Aliases map[string]string `yaml:"aliases"`
	// Compression of what is sent; default lz4.
	Compression string `yaml:"compression" jsonschema:"enum=lz4,enum=zstd,enum=none"`
	// ConnectTimeout is how long a connection may take to stand; default 5s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Timeout is the longest silence of the server while a query runs or rows are taken; default 30s.
	// A longer one makes a frozen server noticed later, a shorter one takes a slow insert for a lost one.
	Timeout time.Duration `yaml:"timeout"`
	// ScanTimeout is how long a question about all rows may be computed; default 10m.
	ScanTimeout time.Duration `yaml:"scan_timeout"`
	// Grace is how long it is waited, after the server answers again and shows no trace of an
	// insert whose outcome is unknown, before the table is compared; default 500ms.
	Grace time.Duration `yaml:"grace"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	fill := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	wait := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&c.URL, "http://127.0.0.1:8123")
	fill(&c.Database, "default")
	fill(&c.Compression, "lz4")
	wait(&c.ConnectTimeout, 5*time.Second)
	wait(&c.Timeout, 30*time.Second)
	wait(&c.ScanTimeout, 10*time.Minute)
	wait(&c.Grace, 500*time.Millisecond)
	return c
}

// Validate returns all that is wrong with the configuration, as one Permanent fault.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var all []error
	add := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if why := badURL(c.URL); why != "" {
		add("url: %s", why)
	}
	if c.Table == "" {
		add("table: missing")
	}
	if c.Username == "" && c.Password != "" {
		add("username: missing, and there is a password")
	}
	if !slices.Contains([]string{"lz4", "zstd", "none"}, c.Compression) {
		add("compression: got %q, want lz4, zstd or none", c.Compression)
	}
	for name, d := range map[string]time.Duration{"connect_timeout": c.ConnectTimeout,
		"timeout": c.Timeout, "scan_timeout": c.ScanTimeout, "grace": c.Grace} {
		if d < 0 {
			add("%s: got %v, want more than 0", name, d)
		}
	}
	if !c.Create && (c.PartitionBy != "" || len(c.OrderBy) > 0 || len(c.Aliases) > 0) {
		add("partition_by, order_by and aliases: want create: true, a table that is there is not changed")
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return fault.New(fault.Permanent, "clickhouse: %w", errors.Join(all...))
}

// badURL says what is wrong with the address of an HTTP interface, "" if nothing is; without the address
// itself, which may hold a password.
func badURL(raw string) string {
	switch u, err := url.Parse(raw); {
	case err != nil:
		return err.(*url.Error).Err.Error()
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "want http://host:port or https://host:port"
	case u.User != nil:
		return "put user and password into username and password"
	case u.RawQuery != "" || u.Fragment != "":
		return "want no ? and no # in it"
	default:
		return web.BadPort(u)
	}
}
