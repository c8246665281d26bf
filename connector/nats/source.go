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
	"holdfast/connector/messages"
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

func (c SourceConfig) withDefaults() SourceConfig {
	if c.Extra == "" {
		c.Extra = columns.ExtraDrop
	}
	l := c.limits().WithDefaults()
	c.Rows, c.Linger, c.Buffer, c.Timeout = l.Rows, l.Linger, l.Buffer, l.Timeout
	return c
}

func (c SourceConfig) limits() messages.Limits {
	return messages.Limits{Rows: c.Rows, Linger: c.Linger, Buffer: c.Buffer, Timeout: c.Timeout}
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
	c.limits().Check(add)
	return errs
}

// feed is what a source reads: a stream or a subject.
type feed interface {
	// fetch waits for messages behind the position and gives them to the block, with what else the
	// page has to tell.
	fetch(ctx context.Context, at position, to *messages.Block) (position, connector.Page, error)
	// lost is what could not be held since it was asked last.
	lost() int64
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
		s.feed = &subjectFeed{cfg: s.cfg, buffer: messages.NewBuffer(s.cfg.limits())}
	}
	return s, nil
}

// Traits: a stream keeps what we do not ask for; a subject does not.
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
	// Created is when the stream was made: one of the same name that is made anew counts from 1.
	Created time.Time `json:"created,omitzero"`
	// Sequence of the last message that was read.
	Sequence uint64 `json:"seq,omitempty"`
	// Heard is until when a subject was heard.
	Heard time.Time `json:"heard,omitzero"`
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
	to := messages.NewBlock(s.table.Begin(ctx), s.cfg.limits())
	next, p, err := s.feed.fetch(ctx, at, to)
	if err == nil {
		err = to.Finish(&p)
	}
	if err != nil {
		s.feed.close()
		what := "read subject " + s.cfg.Subject
		if s.cfg.Stream != "" {
			what = "read stream " + s.cfg.Stream
		}
		return connector.Page{}, classify(what, err)
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

// Parse reads the raw form of a rejected message again.
func (s *Source) Parse(raw []byte) connector.Page { return s.table.Parse(raw) }
