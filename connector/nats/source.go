package nats

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

// WithDefaults returns c with everything filled in that has a default.
func (c SourceConfig) WithDefaults() SourceConfig {
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
	c = c.WithDefaults()
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

// what is read, for a person.
func (c SourceConfig) what() string {
	if c.Stream != "" {
		return "read stream " + c.Stream
	}
	return "read subject " + c.Subject
}

// Source is a stream or a subject whose messages are rows.
type Source = messages.Source[position]

var _ connector.Source = (*Source)(nil)

// Open returns the source. It asks the server nothing yet.
func Open(cfg SourceConfig) (*Source, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "open nats source: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	table, err := columns.New(cfg.spec())
	if err != nil {
		return nil, err
	}
	s := &Source{Table: table, Limits: cfg.limits(), Keeps: cfg.Stream != "", Beginning: position{Version: messages.CursorVersion},
		Classify: func(_ context.Context, err error) error { return classify(cfg.what(), err) }}
	if s.Keeps {
		s.Feed = &streamFeed{cfg: cfg}
	} else {
		s.Feed = &subjectFeed{cfg: cfg, buffer: messages.NewBuffer(cfg.limits())}
	}
	return s, nil
}

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
