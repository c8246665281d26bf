package nats

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
)

// SourceConfig is the part of a configuration file below `nats:` of a source.
type SourceConfig struct {
	// URL of one server or several, separated by commas: nats://host:4222, or tls://host:4222.
	URL string `yaml:"url"`
	// User and Password, or Token, or Credentials say who we are; all empty where the server does not
	// ask.
	User     string      `yaml:"user"`
	Password secret.Text `yaml:"password"`
	Token    secret.Text `yaml:"token"`
	// Credentials is the path of a .creds file (a JWT with its key).
	Credentials string `yaml:"credentials"`
	// Stream is a stream of JetStream, which is read from its first message on; or Subject is one of
	// core NATS (wildcards allowed), which is heard from now on.
	Stream  string `yaml:"stream"`
	Subject string `yaml:"subject"`
	// Columns, Key, Time and Extra say how a message, which is one JSON value, becomes a row.
	Columns []columns.Column `yaml:"columns"`
	Key     string           `yaml:"key"`
	Time    string           `yaml:"time"`
	Extra   string           `yaml:"extra"`
	// Rows is the most messages of one block; 10000 by default. Linger is how long a message waits
	// for others; 100ms by default.
	Rows   int           `yaml:"rows"`
	Linger time.Duration `yaml:"linger"`
	// Buffer is how many messages of a subject wait for us at most; 100000 by default. What comes
	// beyond is lost, and counted.
	Buffer int `yaml:"buffer"`
	// Timeout is how long the server may be silent where it has to answer; 30s by default.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultRows   = 10_000
	defaultLinger = 100 * time.Millisecond
	defaultBuffer = 100_000
	// mostBytes is the most that the messages of one block hold.
	mostBytes = 8 << 20
	// mostBuffered is the most that the messages of a buffer hold.
	mostBuffered = 64 << 20
)

func (c SourceConfig) withDefaults() SourceConfig {
	if c.Extra == "" {
		c.Extra = columns.ExtraDrop
	}
	if c.Rows == 0 {
		c.Rows = defaultRows
	}
	if c.Linger == 0 {
		c.Linger = defaultLinger
	}
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

func (c SourceConfig) server() server {
	return server{url: c.URL, user: c.User, password: c.Password, token: c.Token,
		credentials: c.Credentials, timeout: c.Timeout}
}

func (c SourceConfig) spec() columns.Spec {
	return columns.Spec{Columns: c.Columns, Key: c.Key, Time: c.Time, Extra: c.Extra}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c SourceConfig) Validate() []error {
	c = c.withDefaults()
	errs := c.server().validate()
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c.spec().Check(func(key, format string, args ...any) { add(key+": "+format, args...) })
	switch {
	case (c.Stream == "") == (c.Subject == ""):
		add("stream: want either stream or subject")
	case c.Stream != "" && badStream(c.Stream) != "":
		add("stream: %s", badStream(c.Stream))
	case c.Subject != "" && badSubject(c.Subject, true) != "":
		add("subject: %s", badSubject(c.Subject, true))
	}
	if c.Rows < 1 {
		add("rows: got %d, want a number from 1", c.Rows)
	}
	if c.Linger < 0 {
		add("linger: got %v, want 0s or more", c.Linger)
	}
	if c.Buffer < 1 {
		add("buffer: got %d, want a number from 1", c.Buffer)
	}
	return errs
}

// feed is what a source reads: a stream or a subject.
type feed interface {
	// fetch waits for messages behind the position and gives them to the block, with what else the
	// page has to tell.
	fetch(ctx context.Context, at position, to *block) (position, connector.Page, error)
	close()
}

// Source is a stream or a subject whose messages are rows.
type Source struct {
	cfg   SourceConfig
	table *columns.Table
	feed  feed
}

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the server nothing yet.
func Open(cfg SourceConfig) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open nats source: %w", errors.Join(errs...))
	}
	s := &Source{cfg: cfg.withDefaults()}
	var err error
	if s.table, err = columns.New(s.cfg.spec()); err != nil {
		return nil, err
	}
	if s.cfg.Stream != "" {
		s.feed = &streamFeed{cfg: s.cfg}
	} else {
		s.feed = &subjectFeed{cfg: s.cfg}
	}
	return s, nil
}

// Traits: a stream keeps what we do not ask for; a subject does not.
func (s *Source) Traits() connector.SourceTraits {
	return connector.SourceTraits{Pausable: s.cfg.Stream != ""}
}

// Schema returns the declared columns. A page may have optional ones behind them.
func (s *Source) Schema() record.Schema { return s.table.Schema() }

// position is the cursor.
type position struct {
	Version int `json:"v"`
	// Created is when the stream was made: one of the same name that is made anew counts from 1.
	Created time.Time `json:"created,omitzero"`
	// Sequence of the last message that was read.
	Sequence uint64 `json:"seq,omitempty"`
}

const cursorVersion = 1

func (p position) bytes() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is made of our own types alone
	}
	return b
}

func positionOf(cursor []byte) (position, error) {
	if len(cursor) == 0 {
		return position{Version: cursorVersion}, nil
	}
	var p position
	if err := json.Unmarshal(cursor, &p); err != nil || p.Version != cursorVersion {
		return p, fault.New(fault.Permanent, "the cursor %.100q is none of this version", cursor)
	}
	return p, nil
}

// Start returns the beginning: a sequence is not known by keys. Rows that are known are told apart by
// their keys.
func (s *Source) Start(uint64) []byte { return position{Version: cursorVersion}.bytes() }

// Fetch waits until there is a message, and takes with it what comes before the block is full or
// linger is over.
func (s *Source) Fetch(ctx context.Context, r connector.Request) (connector.Page, error) {
	at, err := positionOf(r.Cursor)
	if err != nil {
		return connector.Page{}, err
	}
	to := &block{reading: s.table.Begin(ctx), cfg: s.cfg}
	next, p, err := s.feed.fetch(ctx, at, to)
	if err == nil {
		p.Rows, err = to.reading.Batch()
	}
	if err != nil {
		s.feed.close()
		what := "read subject " + s.cfg.Subject
		if s.cfg.Stream != "" {
			what = "read stream " + s.cfg.Stream
		}
		return connector.Page{}, classify(what, err)
	}
	p.Rejected, p.Cursor, p.More = to.reading.Rejected, next.bytes(), true
	return p, nil
}

// Close ends the connection.
func (s *Source) Close() error {
	s.feed.close()
	return nil
}

// Parse reads the raw form of a rejected message again.
func (s *Source) Parse(raw []byte) connector.Page { return s.table.Parse(raw) }

// block gathers messages.
type block struct {
	reading *columns.Reading
	cfg     SourceConfig
	rows    int
	bytes   int
}

func (b *block) add(data []byte) error {
	b.rows++
	b.bytes += len(data)
	return b.reading.Add(columns.Message(data))
}

func (b *block) full() bool { return b.rows >= b.cfg.Rows || b.bytes >= mostBytes }
