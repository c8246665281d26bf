// Package redis reads streams of Redis, and hears channels.
//
//	source:
//	  redis: {url: "redis://127.0.0.1:6379", stream: spots, key: id, columns: [{name: id, type: uint64}]}
//
// An entry of a stream is one item: the JSON value in its field `field`, or, without that, its fields themselves,
// which are text and are converted to what the columns want.
//
// The promise of a stream: every entry comes once for each cursor, which is the entry's id, in the order of the
// stream. A fetch blocks in the server until there is an entry (XREAD BLOCK). Entries that were trimmed
// or deleted before they were read are Lost: whenever nothing is left to read, the server's count of all
// entries ever added (entries-added, from Redis 7 on) is compared with what was read. A stream that was
// deleted and made anew is read from its beginning, and told as the note streams_made_anew.
//
// A channel (or all whose names fit a pattern) is heard from now on, a message is one JSON value, and nobody
// keeps what we do not hear: what overflows the buffer is Lost, and the time between two connections, of one
// process or of two, is told as Missed and as the note reconnects.
//
// A cursor is the JSON of a position with its version: the id, the server's count when nothing was left
// to read, and how many entries were read since; of a channel, until when it was heard.
package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/messages"
)

// Config is the part of a configuration file below `redis:`.
type Config struct {
	// URL of the server: redis://host:6379, or rediss:// with TLS; a path is the database's number.
	URL string `yaml:"url"`
	// User and Password say who we are; a password alone is that of the user default.
	User     string      `yaml:"user"`
	Password secret.Text `yaml:"password"`
	// Stream is the key of a stream, which is read from its first entry on; or Channel is the name of a
	// channel, or Pattern one for the names of several (spots.*), which are heard from now on.
	Stream  string `yaml:"stream"`
	Channel string `yaml:"channel"`
	Pattern string `yaml:"pattern"`
	// Field of a stream's entry that holds a JSON value; default none: the fields are the item.
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
	// Buffer is how many messages of a channel wait for us at most; 100000 by default. What comes beyond
	// is lost, and counted.
	Buffer int `yaml:"buffer"`
	// Timeout is how long the server may be silent where it has to answer; 30s by default.
	Timeout time.Duration `yaml:"timeout"`
}

func (c Config) withDefaults() Config {
	if c.Extra == "" {
		c.Extra = columns.ExtraDrop
	}
	l := c.limits().WithDefaults()
	c.Rows, c.Linger, c.Buffer, c.Timeout = l.Rows, l.Linger, l.Buffer, l.Timeout
	return c
}

func (c Config) limits() messages.Limits {
	return messages.Limits{Rows: c.Rows, Linger: c.Linger, Buffer: c.Buffer, Timeout: c.Timeout}
}

func (c Config) server() server {
	return server{url: c.URL, user: c.User, password: c.Password, timeout: c.Timeout}
}

func (c Config) spec() columns.Spec {
	return columns.Spec{Columns: c.Columns, Key: c.Key, Time: c.Time, Extra: c.Extra,
		Convert: c.Stream != "" && c.Field == ""}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	c = c.withDefaults()
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c.spec().Check(func(key, format string, args ...any) { add(key+": "+format, args...) })
	errs = append(errs, c.server().validate()...)
	if n := len(c.Stream + c.Channel + c.Pattern); n == 0 || n != max(len(c.Stream), len(c.Channel),
		len(c.Pattern)) {
		add("stream: want one of stream, channel and pattern")
	}
	if c.Field != "" && c.Stream == "" {
		add("field: is for a stream alone")
	}
	c.limits().Check(add)
	return errs
}

// what is read, for a person.
func (c Config) what() string {
	switch {
	case c.Stream != "":
		return "read stream " + c.Stream
	case c.Channel != "":
		return "hear channel " + c.Channel
	}
	return "hear channels " + c.Pattern
}

// feed is what a source reads: a stream or channels.
type feed interface {
	// fetch waits for messages behind the position and gives them to the block, with what else the
	// page has to tell.
	fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page, error)
	// lost is what could not be held since it was asked last.
	lost() int64
	close()
}

// Source is a stream, or channels.
type Source struct {
	cfg   Config
	table *columns.Table
	feed  feed
}

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the server nothing yet.
func Open(cfg Config) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open redis source: %w", errors.Join(errs...))
	}
	s := &Source{cfg: cfg.withDefaults()}
	s.feed = &streamFeed{cfg: s.cfg}
	if s.cfg.Stream == "" {
		s.feed = &channelFeed{cfg: s.cfg, buffer: messages.NewBuffer(s.cfg.limits())}
	}
	var err error
	s.table, err = columns.New(s.cfg.spec())
	return s, err
}

// Traits: a stream keeps what we do not ask for; a channel does not.
func (s *Source) Traits() connector.SourceTraits {
	if s.cfg.Stream != "" {
		return connector.SourceTraits{Pausable: true}
	}
	return connector.SourceTraits{Lost: s.feed.lost}
}

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
	// Heard is until when a channel was heard.
	Heard time.Time `json:"heard,omitzero"`
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

// Fetch waits until there is an entry or a message, and takes with it what comes before the block is full or linger
// is over.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	at, err := positionOf(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	to := messages.NewBlock(s.table.Begin(ctx), s.cfg.limits())
	next, p, err := s.feed.fetch(ctx, at, to)
	if err == nil {
		err = to.Finish(&p)
	}
	if err != nil {
		s.feed.close()
		return connector.Page{}, classify(ctx, s.cfg.what(), err)
	}
	p.Lost += s.feed.lost()
	p.Cursor = next.bytes()
	return p, nil
}

// Close ends the connection.
func (s *Source) Close() error {
	s.feed.close()
	return nil
}

// Parse reads the raw form of a rejected entry again.
func (s *Source) Parse(raw []byte) connector.Page { return s.table.Parse(raw) }
