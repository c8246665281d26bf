package clickhouse

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/secret"
)

// SourceConfig is a table of a ClickHouse server, or a query, that is asked again and again for rows that are new.
type SourceConfig struct {
	// URL is the server's HTTP interface; default http://127.0.0.1:8123.
	URL string `yaml:"url"`
	// Database holds the table, or those of the query; default "default".
	Database string `yaml:"database"`
	// Table is what is read. Exactly one of table and query is given.
	Table string `yaml:"table"`
	// Query is a SELECT that is read in the place of a table.
	Query string `yaml:"query"`
	// Username is empty for the server's own default user.
	Username string `yaml:"username"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Columns are the names of those that are read; default all but aliases and materialized ones.
	Columns []string `yaml:"columns"`
	// Key is the column that identifies a row.
	Key string `yaml:"key" jsonschema:"required"`
	// Cursor is the column by which the rows are followed; default the key. Rows that have the same
	// value are told apart by the key.
	Cursor string `yaml:"cursor"`
	// Time is the column of the event time; default none.
	Time string `yaml:"time"`
	// From is the lowest value of the cursor that is wanted: a number, or a time as 2026-01-31 or
	// 2026-01-31T12:00:00Z; default all.
	From string `yaml:"from"`
	// Overlap is how far below the highest cursor every poll begins, for rows that arrive late: a time
	// such as 10m, or a number; default none. The key sorts out what came before. A cursor of times needs this or
	// settle; any other is followed without, and a warning says so.
	Overlap string `yaml:"overlap"`
	// Settle is how old a row must be by its cursor, a time, before it is read; default 0s.
	Settle time.Duration `yaml:"settle"`
	// Every is the time from one poll to the next; default 1m.
	Every time.Duration `yaml:"every"`
	// Page is the most rows of one question; default 50000.
	Page int `yaml:"page"`
	// MaxBytesPerSecond is what is read in a second at most; default -1, which is no limit.
	MaxBytesPerSecond int `yaml:"max_bytes_per_second"`
	// ConnectTimeout is how long a connection may take to stand; default 5s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Timeout is the longest silence of the server, the time to find a page's first row included; default 1m.
	Timeout time.Duration `yaml:"timeout"`
	// PageTimeout is how long a page may take in all; default 10m.
	PageTimeout time.Duration `yaml:"page_timeout"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c SourceConfig) WithDefaults() SourceConfig {
	c.URL = cmp.Or(c.URL, "http://127.0.0.1:8123")
	c.Database = cmp.Or(c.Database, "default")
	c.Cursor = cmp.Or(c.Cursor, c.Key)
	c.Every = cmp.Or(c.Every, time.Minute)
	c.Page = cmp.Or(c.Page, 50_000)
	c.MaxBytesPerSecond = cmp.Or(c.MaxBytesPerSecond, -1)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 5*time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.PageTimeout = cmp.Or(c.PageTimeout, 10*time.Minute)
	return c
}

// Validate returns all faults of the configuration, each beginning with the name of its key. What only
// the table's own columns can tell, OpenSource and Fetch say.
func (c SourceConfig) Validate() []error {
	c = c.WithDefaults()
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if why := badURL(c.URL); why != "" {
		add("url: %s", why)
	}
	if (c.Table == "") == (c.Query == "") {
		add("table: want either table or query")
	} else if c.Query != "" {
		if why := badQuery(c.query()); why != "" {
			add("query: %s", why)
		}
	}
	if c.Username == "" && c.Password != "" {
		add("username: is missing, and there is a password")
	}
	c.checkColumns(add)
	n, notNumber := strconv.ParseInt(c.Overlap, 10, 64)
	d, notTime := time.ParseDuration(c.Overlap)
	if c.Overlap != "" && (notNumber != nil && notTime != nil || n < 0 || d < 0) {
		add("overlap: got %q, want a time such as 10m, or a number, from 0", c.Overlap)
	}
	if c.Page < 1 {
		add("page: got %d, want a number from 1", c.Page)
	}
	if c.MaxBytesPerSecond < -1 {
		add("max_bytes_per_second: got %d, want a number from 1, or -1 for no limit", c.MaxBytesPerSecond)
	}
	for name, d := range map[string]time.Duration{"every": c.Every, "settle": c.Settle, "timeout": c.Timeout,
		"connect_timeout": c.ConnectTimeout, "page_timeout": c.PageTimeout} {
		if d < 0 {
			add("%s: got %v, want more than 0", name, d)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// Warnings are what a person should know of a configuration that is no fault, each beginning with the name
// of the key that would change it.
func (c SourceConfig) Warnings() []error {
	if c.Overlap != "" || c.Settle > 0 {
		return nil
	}
	return []error{fmt.Errorf("overlap: is not set: a row that comes in with a smaller %s than one that was "+
		"read is never seen, and nothing can tell of it; say how far below the highest such rows may still "+
		"come, or 0 if none do", c.WithDefaults().Cursor)}
}

func (c SourceConfig) checkColumns(add func(format string, args ...any)) {
	if c.Key == "" {
		add("key: is missing: rows with the same value of the cursor could not be told apart")
	}
	seen := map[string]bool{}
	for i, n := range c.Columns {
		switch {
		case n == "":
			add("columns[%d]: is empty", i)
		case seen[n]:
			add("columns[%d]: %q is there twice", i, n)
		}
		seen[n] = true
	}
	for what, n := range map[string]string{"key": c.Key, "cursor": c.Cursor, "time": c.Time} {
		if n != "" && len(seen) > 0 && !seen[n] {
			add("%s: %q is not among the columns", what, n)
		}
	}
}

// query is the query without what may end it.
func (c SourceConfig) query() string { return strings.TrimRight(c.Query, "; \t\r\n") }

// from is what a SELECT reads from.
func (c SourceConfig) from() string {
	if c.Query != "" {
		return "(" + c.query() + ")"
	}
	return name(c.Database) + "." + name(c.Table)
}

// what is read, for a person.
func (c SourceConfig) what() string {
	if c.Query != "" {
		return "read the query"
	}
	return "read table " + c.Database + "." + c.Table
}

func (c SourceConfig) client() (*client, error) {
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("parse url: %w", err)
	}
	return newClient(Config{Username: c.Username, Password: c.Password, Timeout: c.Timeout,
		ConnectTimeout: c.ConnectTimeout}, base), nil
}
