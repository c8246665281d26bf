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
	"errors"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/columns"
	"holdfast/connector/messages"
)

// Config is a stream of Redis that is read without loss, or channels that are heard.
type Config struct {
	// URL of the server: redis://host:6379, or rediss:// with TLS; a path is the database's number.
	URL string `yaml:"url" jsonschema:"required"`
	// User of the server; without one a password is that of the user "default".
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Stream is the key of a stream, which is read from its first entry on. Exactly one of stream, channel and pattern is
	// given.
	Stream string `yaml:"stream"`
	// Channel is the name of a channel, which is heard from now on: what comes while Holdfast is away is lost.
	Channel string `yaml:"channel"`
	// Pattern is one for the names of several channels (spots.*).
	Pattern string `yaml:"pattern"`
	// Field of a stream's entry that holds a JSON value; default none: the fields are the item.
	Field string `yaml:"field"`
	// Columns say how an item becomes a row.
	Columns []columns.Column `yaml:"columns" jsonschema:"required"`
	// Key is the column that identifies a row, or several, separated by commas; default none.
	Key string `yaml:"key"`
	// Time is the column of the event time; default none.
	Time string `yaml:"time"`
	// Extra is what becomes of fields that no column is made from: drop, or keep, each as a column of its own; default drop.
	Extra string `yaml:"extra" jsonschema:"enum=drop,enum=keep"`
	// Rows is the most entries of one block, which is taken in by one commit; default 10000.
	Rows int `yaml:"rows"`
	// Linger is how long an entry waits for others of its block; default 100ms.
	Linger time.Duration `yaml:"linger"`
	// Buffer is how many messages of a channel wait for us at most; default 100000. What comes beyond
	// is lost, and counted.
	Buffer int `yaml:"buffer"`
	// Timeout is how long the server may be silent where it has to answer; default 30s.
	Timeout time.Duration `yaml:"timeout"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
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
	c = c.WithDefaults()
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

// Source is a stream, or channels.
type Source = messages.Source[position]

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the server nothing yet.
func Open(cfg Config) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open redis source: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	table, err := columns.New(cfg.spec())
	if err != nil {
		return nil, err
	}
	s := &Source{Table: table, Limits: cfg.limits(), Keeps: cfg.Stream != "",
		Beginning: position{Version: messages.CursorVersion, Added: -1},
		Classify:  func(ctx context.Context, err error) error { return classify(ctx, cfg.what(), err) }}
	if s.Keeps {
		s.Feed = &streamFeed{cfg: cfg}
	} else {
		s.Feed = &channelFeed{cfg: cfg, buffer: messages.NewBuffer(cfg.limits())}
	}
	return s, nil
}

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
