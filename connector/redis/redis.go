// Package redis reads streams of Redis.
//
//	source:
//	  redis: {url: "redis://127.0.0.1:6379", stream: spots, key: id, columns: [{name: id, type: uint64}]}
//
// An entry is one item: the JSON value in its field `field`, or, without that, its fields themselves,
// which are text and are converted to what the columns want.
//
// The promise: every entry comes once for each cursor, which is the entry's id, in the order of the
// stream. A fetch blocks in the server until there is an entry (XREAD BLOCK). Entries that were trimmed
// or deleted before they were read are Lost: whenever nothing is left to read, the server's count of all
// entries ever added (entries-added, from Redis 7 on) is compared with what was read. A stream that was
// deleted and made anew is read from its beginning, and told as the note streams_made_anew.
//
// A cursor is the JSON of a position with its version: the id, the server's count when nothing was left
// to read, and how many entries were read since.
package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/rueidis"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/columns"
)

// Config is the part of a configuration file below `redis:`.
type Config struct {
	// URL of the server: redis://host:6379, or rediss:// with TLS; a path is the database's number.
	URL string `yaml:"url"`
	// User and Password say who we are; a password alone is that of the user default.
	User     string      `yaml:"user"`
	Password secret.Text `yaml:"password"`
	// Stream is the key of the stream.
	Stream string `yaml:"stream"`
	// Field of an entry that holds a JSON value; default none: the fields are the item.
	Field string `yaml:"field"`
	// Columns, Key, Time and Extra say how an item becomes a row.
	Columns []columns.Column `yaml:"columns"`
	Key     string           `yaml:"key"`
	Time    string           `yaml:"time"`
	Extra   string           `yaml:"extra"`
	// Rows is the most entries of one block; 10000 by default. Linger is how long an entry waits for
	// others; 100ms by default.
	Rows   int           `yaml:"rows"`
	Linger time.Duration `yaml:"linger"`
	// Timeout is how long the server may be silent where it has to answer; 30s by default.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultRows    = 10_000
	defaultLinger  = 100 * time.Millisecond
	defaultTimeout = 30 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Extra == "" {
		c.Extra = columns.ExtraDrop
	}
	if c.Rows == 0 {
		c.Rows = defaultRows
	}
	if c.Linger == 0 {
		c.Linger = defaultLinger
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

func (c Config) spec() columns.Spec {
	return columns.Spec{Columns: c.Columns, Key: c.Key, Time: c.Time, Extra: c.Extra,
		Convert: c.Field == ""}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	c = c.withDefaults()
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c.spec().Check(func(key, format string, args ...any) { add(key+": "+format, args...) })
	if u, err := url.Parse(c.URL); err == nil && u.User != nil {
		add("url: holds a user name; put it into user and password")
	} else if _, err := rueidis.ParseURL(c.URL); err != nil || c.URL == "" {
		add("url: want redis://host:6379 or rediss://host:6379")
	}
	if c.Stream == "" {
		add("stream: missing")
	}
	if c.User != "" && c.Password == "" {
		add("password: is missing, and there is a user")
	}
	if c.Rows < 1 {
		add("rows: got %d, want a number from 1", c.Rows)
	}
	if c.Linger < 0 {
		add("linger: got %v, want 0s or more", c.Linger)
	}
	if c.Timeout < time.Millisecond {
		add("timeout: got %v, want 1ms or more", c.Timeout)
	}
	return errs
}

// Source is a stream.
type Source struct {
	cfg   Config
	table *columns.Table
	conn  *connection // nil while there is none
}

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the server nothing yet.
func Open(cfg Config) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open redis source: %w", errors.Join(errs...))
	}
	s := &Source{cfg: cfg.withDefaults()}
	var err error
	s.table, err = columns.New(s.cfg.spec())
	return s, err
}

// Traits: a stream keeps what we do not ask for.
func (s *Source) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }

// Schema returns the declared columns. A page may have optional ones behind them.
func (s *Source) Schema() record.Schema { return s.table.Schema() }

// position is the cursor.
type position struct {
	Version int `json:"v"`
	// ID of the last entry that was read, "" before the first.
	ID string `json:"id,omitempty"`
	// Added is how many entries the stream had ever had when nothing was left to read, -1 while that
	// is not known; Read is how many were read since.
	Added int64 `json:"added"`
	Read  int64 `json:"read"`
}

const cursorVersion = 1

func beginning() position { return position{Version: cursorVersion, Added: -1} }

func (p position) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	return b
}

func positionOf(cursor []byte) (position, error) {
	if len(cursor) == 0 {
		return beginning(), nil
	}
	var p position
	if err := json.Unmarshal(cursor, &p); err != nil || p.Version != cursorVersion {
		return p, fault.New(fault.Permanent, "the cursor %.100q is none of this version", cursor)
	}
	return p, nil
}

// Start returns the beginning: an id is not known by keys. Rows that are known are told apart by their
// keys.
func (s *Source) Start(uint64) []byte { return beginning().bytes() }

// Fetch waits until there is an entry, and takes with it what comes before the block is full or linger
// is over.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	at, err := positionOf(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	b := &block{reading: s.table.Begin(ctx), cfg: s.cfg, at: at}
	p := connector.Page{More: true}
	if err = s.connect(ctx); err == nil {
		stop := context.AfterFunc(ctx, s.conn.cut) // the library would wait for the server's answer
		err = s.conn.read(ctx, b, &p)
		stop()
	}
	if err == nil {
		p.Rows, err = b.reading.Batch()
	}
	if err != nil {
		s.hangUp()
		return connector.Page{}, s.classify(ctx, err)
	}
	p.Rejected, p.Cursor = b.reading.Rejected, b.at.bytes()
	return p, nil
}

// connect makes sure that there is a connection.
func (s *Source) connect(ctx context.Context) (err error) {
	if s.conn == nil {
		s.conn, err = dial(ctx, s.cfg)
	}
	return err
}

func (s *Source) hangUp() {
	if s.conn != nil {
		s.conn.close()
	}
	s.conn = nil
}

// Close ends the connection.
func (s *Source) Close() error {
	s.hangUp()
	return nil
}

// Parse reads the raw form of a rejected entry again.
func (s *Source) Parse(raw []byte) connector.Page { return s.table.Parse(raw) }
