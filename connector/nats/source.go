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

// SourceConfig is a stream of JetStream that is read without loss, or a subject of NATS that is heard.
type SourceConfig struct {
	// URL of one server or several, separated by commas: nats://host:4222, or tls://host:4222.
	URL string `yaml:"url" jsonschema:"required"`
	// User with a password is one of three ways to say who we are, beside token and credentials. None is needed where
	// the server does not ask.
	User string `yaml:"user"`
	// Password of the user.
	Password secret.Text `yaml:"password"`
	// Token says who we are, in the place of a user.
	Token secret.Text `yaml:"token"`
	// Credentials is the path of a .creds file (a JWT with its key), in the place of a user.
	Credentials string `yaml:"credentials"`
	// Stream is a stream of JetStream, which is read from its first message on. Exactly one of stream and subject is given.
	Stream string `yaml:"stream"`
	// Subject is one of core NATS (wildcards allowed), which is heard from now on: what comes while Holdfast is away is lost.
	Subject string `yaml:"subject"`
	// Columns say how a message, which is one JSON value, becomes a row.
	Columns []columns.Column `yaml:"columns" jsonschema:"required"`
	// Key is the column that identifies a row, or several, separated by commas; default none.
	Key string `yaml:"key"`
	// Time is the column of the event time; default none.
	Time string `yaml:"time"`
	// Extra is what becomes of fields that no column is made from: drop, or keep, each as a column of its own; default drop.
	Extra string `yaml:"extra" jsonschema:"enum=drop,enum=keep"`
	// Rows is the most messages of one block, which is taken in by one commit; default 10000.
	Rows int `yaml:"rows"`
	// Linger is how long a message waits for others of its block; default 100ms.
	Linger time.Duration `yaml:"linger"`
	// Buffer is how many messages of a subject wait for us at most; default 100000. What comes
	// beyond is lost, and counted.
	Buffer int `yaml:"buffer"`
	// Timeout is how long the server may be silent where it has to answer; default 30s.
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
