// Package nats delivers rows to a JetStream stream, and reads streams and subjects of NATS.
//
//	sinks:
//	  bus: {nats: {url: "nats://127.0.0.1:4222", stream: SPOTS, subject: spots, create: true}}
//
// # The sink
//
// One row is one message, a JSON object with a member for each column: that is what a consumer wants
// to get, and only so is a row that comes again in other company (after a restore) known by itself. Its
// Nats-Msg-Id is the subject and the key, or, without a key, the subject and the row's place in its
// delivery's token:
//
//	spots:6040000001            an integer key
//	spots:EA8%2FBFK             a text key, escaped as in a URL; one above 100 bytes is
//	spots::<its hash>           hashed
//	spots:job/lineage/1/17      row 17 of the blocks from 1 on, of rows without a key
//	spots:6040000001#4711       as the first, again, after message 4711 that had this id was deleted
//
// The promise: while a stream's duplicate window covers the first attempt, the server itself drops a repeat. Beyond it,
// after a restart of ours, and whenever rows must be compared by key, the ids that the stream holds are read first
// (headers alone, from where the stream was at the first attempt, or all of them after a restart and for a comparison by
// key), and only what it lacks is sent. Nothing follows from a time that was written down, nor from the server's clock. So
// a row is there once, as long as the stream still holds it: what the stream's own limits let go of is not known any more.
// A stream that forgets what was consumed (retention workqueue or interest) and one that does not acknowledge are
// therefore refused. Two rows with one key and other content are told as one: the ids alone are compared.
//
// Integers and floats are JSON numbers in full, times RFC 3339 in UTC, bytes base64, nulls null. A text
// that is not UTF-8, a float that is not finite, a time beyond the year 9999 and a row that is larger
// than server or stream take are RowFaults. A stream that is full and discards new messages is Full. An
// acknowledgement means that the stream's leader, and a majority of its replicas, have stored the row;
// they sync it to disk by their own rules (sync_interval).
//
// # The source
//
//	source:
//	  nats: {url: "nats://127.0.0.1:4222", stream: SPOTS, key: id, columns: [{name: id, type: uint64}]}
//
// A message is one JSON value. With `stream`, every message comes once for each cursor, which is the
// stream's sequence, and a gap in the sequence is what the stream dropped before it was read: Lost. With
// `subject`, messages come while we listen; what a bounded buffer or the client library could not hold is
// Lost, and a new connection is told as the note reconnects: what came before it nobody counts.
package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
)

// SinkConfig is a stream of JetStream that each row is published to, exactly once.
type SinkConfig struct {
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
	// Stream is what takes the rows.
	Stream string `yaml:"stream" jsonschema:"required"`
	// Subject is what the rows are published to.
	Subject string `yaml:"subject" jsonschema:"required"`
	// Create makes the stream when it is missing, with the subject alone, on disk; default false. A stream that is there
	// is never changed.
	Create bool `yaml:"create"`
	// Replicas of a stream that is made; default 1.
	Replicas int `yaml:"replicas"`
	// DuplicateWindow of a stream that is made; default 2m. The server holds every id of so
	// long in memory.
	DuplicateWindow time.Duration `yaml:"duplicate_window"`
	// Timeout is how long the server may be silent before that counts as an outage; default 30s.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultWindow  = 2 * time.Minute
	defaultTimeout = 30 * time.Second
)

// WithDefaults returns c with everything filled in that has a default.
func (c SinkConfig) WithDefaults() SinkConfig {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.DuplicateWindow == 0 {
		c.DuplicateWindow = defaultWindow
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

func (c SinkConfig) server() server {
	return server{url: c.URL, user: c.User, password: c.Password, token: c.Token,
		credentials: c.Credentials, timeout: c.Timeout}
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c SinkConfig) Validate() []error {
	c = c.WithDefaults()
	errs := c.server().validate()
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if why := badStream(c.Stream); why != "" {
		add("stream: %s", why)
	}
	if why := badSubject(c.Subject, false); why != "" {
		add("subject: %s", why)
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		add("replicas: got %d, want 1 to 5", c.Replicas)
	}
	if c.DuplicateWindow < time.Second {
		add("duplicate_window: got %v, want 1s or more", c.DuplicateWindow)
	}
	return errs
}

func badStream(name string) string {
	switch {
	case name == "":
		return "missing"
	case strings.ContainsAny(name, " \t\r\n.*>/\\") || len(name) > 255:
		return fmt.Sprintf("got %q, want a name without spaces, dots, slashes, * and >", name)
	}
	return ""
}

// badSubject says what is wrong with a subject; only one that is listened to may have wildcards.
func badSubject(s string, wild bool) string {
	if s == "" {
		return "missing"
	}
	parts := strings.Split(s, ".")
	for i, part := range parts {
		whole := part == "*" || part == ">" && i == len(parts)-1
		switch {
		case part == "" || strings.ContainsAny(part, " \t\r\n"):
			return fmt.Sprintf("got %q, want words with dots between them", s)
		case strings.ContainsAny(part, "*>") && (!wild || !whole):
			return fmt.Sprintf("got %q, whose wildcard can't stand there", s)
		}
	}
	return ""
}

// Sink publishes to one subject of one stream.
type Sink struct {
	cfg SinkConfig

	turn    *connector.Turn
	session *session // nil while there is no connection; guarded by turn
	target  *target  // of the session, nil until prepared; guarded by turn
	tried   attempt  // the delivery that this process tried last; guarded by turn

	mu     sync.Mutex // guards the below; held for a moment only
	schema *record.Schema
}

// target is the prepared stream.
type target struct {
	stream jetstream.Stream
	schema record.Schema
	window time.Duration // of duplicates
	most   int           // bytes of a message with its header
	made   time.Time     // by the server's clock; another time is another stream
	last   uint64        // the highest sequence that we know of
}

// attempt is the first attempt at a delivery, by a process that still runs.
type attempt struct {
	token  record.Token
	begun  time.Time     // with its monotonic reading
	stream time.Time     // target.made
	window time.Duration // the shortest that the stream was seen to have since
	after  uint64        // its messages have higher sequences
}

var _ connector.Sink = (*Sink)(nil)

// New returns a sink. It touches nothing before Prepare or Probe.
func New(cfg SinkConfig) (*Sink, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "nats: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	return &Sink{cfg: cfg, turn: connector.NewTurn("stream " + cfg.Stream)}, nil
}

// Traits says that repeats have no effect, and that a delivery may have any size.
func (s *Sink) Traits() connector.SinkTraits {
	return connector.SinkTraits{Exactness: connector.ExactlyOnce}
}

// Prepare connects, finds or makes the stream, and checks that it can be relied on.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	return s.alone(ctx, func(ctx context.Context) error { return s.prepare(ctx, schema) })
}

// alone runs f while nobody else uses the connection. After an error the connection is closed: what
// it still had to say must not come later than what the next attempt finds out.
func (s *Sink) alone(ctx context.Context, f func(ctx context.Context) error) error {
	if err := s.turn.Take(ctx); err != nil {
		return err
	}
	defer s.turn.Give()
	err := s.connect(ctx)
	if err == nil {
		err = f(ctx)
	}
	if err != nil {
		s.drop()
	}
	return err
}

// connect makes sure that there is a connection.
func (s *Sink) connect(ctx context.Context) error {
	if s.session != nil && s.session.alive() {
		return nil
	}
	s.drop()
	var err error
	s.session, err = s.cfg.server().connect(ctx)
	return s.classify("connect for", err)
}

func (s *Sink) drop() {
	if s.session != nil {
		s.session.close()
	}
	s.session, s.target = nil, nil
}

// Close waits for a write that is under way and closes the connection.
func (s *Sink) Close() error {
	s.turn.Close(s.drop)
	return nil
}
