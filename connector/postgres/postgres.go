// Package postgres is the sink that writes rows into a table of a PostgreSQL database, version 11
// or later.
//
// The shortest configuration:
//
//	sinks:
//	  main: {postgres: {dsn: "postgres://writer:${PGPASS}@db/wspr", table: spots, create: true}}
//
// Promise: exactly once. The rows of a delivery and its token are committed in one transaction, so
// a repeat of the token has no effect, whatever happened to the first attempt: a commit whose
// answer was lost is found in the delivered set. A transaction that was abandoned holds a lock that
// the next attempt waits for, and the server ends it after `timeout`. synchronous_commit is never
// off for us. A row whose key the table already holds is left as it stands: with the same content
// it counts as present, with other content the new row is a RowFault that names the columns.
//
// Rows that no single column tells apart have a `key` of several, and rows that are computed again
// have a revision that says which of them stand:
//
//	reports: {postgres: {dsn: "...", table: reports, create: true, key: [state, time], replace: revision}}
//
// Of each event time only the rows with the highest revision stand. What comes with a higher one takes
// the place of all that the table had of that time, in the same transaction; what comes with a lower one
// is present already. So it does not matter in which order deliveries come, nor how often, in how many
// parts, or from how many sinks at once. Rows of one key and one revision are told apart as ever, and a
// row that is refused replaces nothing. The event time has to be in the key, and the user may DELETE.
//
// What it does not do: it never changes a table that it finds, never updates a row, and deletes none
// without `replace`.
// Whether what was acknowledged survives the server's own crash is the server's promise: an
// UNLOGGED table or fsync=off breaks it. A row that only the server refuses (a check, a trigger)
// makes the delivery Invalid, with none of its rows in the table; the caller halves it.
//
// The bytes. A created table has smallint, integer or bigint for integers, whichever holds the type;
// bigint for uint64 too, because a numeric key is twice as large and slow, and keys such as WSPR's fit:
// a value above 2^63-1 is that row's RowFault. A table that is there may have numeric(20) instead.
// Floats are real or double precision, timestamps timestamptz (an existing `timestamp` gets UTC),
// strings text, bytes bytea, booleans boolean. The key is the PRIMARY KEY, with the event time before
// its other columns: so it is the index of the time too. A text can't hold a NUL byte, a timestamp no
// nanoseconds: such rows are RowFaults. Beside the rows, in the same schema, stands the delivered set:
//
//	holdfast_delivered(job, lineage, target, first, last, row_from, row_to,
//	                   hash, rows, present, rejected, at)
//
// One row is one delivery into the table named target: blocks first to last of a lineage, rows
// row_from to row_to of them (0, 0: all), its content hash, how many rows it had, how many of them
// the table held already, the refused ones as JSON, and when (Unix seconds). The newest ten
// thousand or so of a job stay as they are. Older ones without refused rows are merged with their
// neighbours into ranges whose hash is NULL: such a range still stops a repeat, but can't tell a
// conflict any more.
//
// Tables reads tables back by time. Ledger is a ledger of transfers, in the table of rawtransfer; see package
// shipment.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/delivered"
	"holdfast/connector/rowkey"
)

// Config is a table of a PostgreSQL server, of version 11 or newer, that takes the rows exactly once.
type Config struct {
	// DSN says which database and as whom: postgres://user:password@host:port/database, or
	// "host=... user=... dbname=...". It is never shown.
	DSN secret.Text `yaml:"dsn" jsonschema:"required"`
	// Schema holds the table and the delivered set; default public. It must be there.
	Schema string `yaml:"schema"`
	// Table is the table of the rows.
	Table string `yaml:"table" jsonschema:"required"`
	// Create makes the table when it is missing; default false. A table that is there is never changed.
	Create bool `yaml:"create"`
	// Timeout is how long one delivery or one question may take before it counts as an outage, and
	// after which the server ends what we abandoned; default 1m.
	Timeout time.Duration `yaml:"timeout"`
	// Key are the columns that tell rows apart together, where their schema has no key column.
	Key []string `yaml:"key"`
	// Replace is the column of an integer, the revision: of each event time only the rows with the highest
	// stand. It wants key, with the event time in it.
	Replace string `yaml:"replace"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Schema == "" {
		c.Schema = "public"
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	return c
}

// longestName is what PostgreSQL keeps of a name; it would cut the rest off in silence.
const longestName = 63

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	c = c.WithDefaults()
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DSN == "" {
		add("dsn: missing; give postgres://user:password@host:port/database")
	} else if _, err := pgx.ParseConfig(c.DSN.Reveal()); err != nil {
		// The cause quotes parts of the address, and with a mistake in it any part may be the password.
		add("dsn: it can't be read; want postgres://user:password@host:port/database (%%-escape what " +
			"has a meaning in an address) or host=... user=... dbname=...")
	}
	switch {
	case c.Table == "":
		add("table: missing")
	case c.Table == delivered.Table:
		add("table: %s is where the delivered set stands", c.Table)
	}
	for _, name := range [][2]string{{"table", c.Table}, {"schema", c.Schema}} {
		if len(name[1]) > longestName || strings.ContainsRune(name[1], 0) {
			add("%s: want a name of at most %d bytes, without a NUL byte", name[0], longestName)
		}
	}
	if c.Timeout < time.Millisecond {
		add("timeout: got %v, want 1ms or more", c.Timeout)
	}
	return append(errs, c.rows().Validate()...)
}

// rows is what tells rows apart.
func (c Config) rows() rowkey.Spec { return rowkey.Spec{Key: c.Key, Replace: c.Replace} }

// Sink writes into one table of one database.
type Sink struct {
	cfg    Config
	dial   *pgx.ConnConfig
	target string // quoted schema and table
	keep   int    // delivered entries that keep their hash

	turn    *connector.Turn
	session *session // nil while there is no connection; guarded by turn

	mu    sync.Mutex // guards table; held for a moment only
	table *table     // what the reader asks; nil until prepared
}

// session is a connection with what was found out on it.
type session struct {
	conn   *pgx.Conn
	table  *table                 // nil until prepared
	tidied map[record.Lineage]int // deliveries since the delivered set was last looked through
}

var _ connector.Sink = (*Sink)(nil)

// New returns a sink. It touches nothing before Prepare or Probe.
func New(cfg Config) (*Sink, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "postgres: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	dial, err := cfg.dial()
	if err != nil {
		return nil, err
	}
	target := quote(cfg.Schema, cfg.Table)
	return &Sink{cfg: cfg, dial: dial, target: target, keep: delivered.Keep, turn: connector.NewTurn("table " + target)}, nil
}

// dial is how to connect.
func (c Config) dial() (*pgx.ConnConfig, error) {
	dial, err := pgx.ParseConfig(c.DSN.Reveal())
	if err != nil {
		return nil, fault.New(fault.Permanent, "postgres: dsn: it can't be read")
	}
	// Statements are not kept on the server: behind a pooler the next transaction may run on another
	// connection, and the staging table is a new one each time.
	dial.DefaultQueryExecMode = pgx.QueryExecModeExec
	dial.RuntimeParams["client_encoding"] = "UTF8"
	if dial.RuntimeParams["application_name"] == "" {
		dial.RuntimeParams["application_name"] = "holdfast"
	}
	return dial, nil
}

// quote makes any texts a name in SQL.
func quote(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// Traits says that repeats have no effect, and that a delivery may have any size.
func (s *Sink) Traits() connector.SinkTraits {
	return connector.SinkTraits{Exactness: connector.ExactlyOnce}
}

// Prepare connects and checks or creates the table.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	return s.alone(ctx, func(ctx context.Context) error { return s.prepare(ctx, schema) })
}

// alone runs f while nobody else uses the connection, for no longer than the time-out. An error
// that may have left the connection in a bad state closes it; the next call opens a new one.
func (s *Sink) alone(ctx context.Context, f func(ctx context.Context) error) error {
	if err := s.turn.Take(ctx); err != nil {
		return err
	}
	defer s.turn.Give()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	err := s.connect(ctx)
	if err == nil {
		err = f(ctx)
	}
	if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Invalid) {
		s.drop(ctx)
	}
	return err
}

// connect makes sure that there is a connection.
func (s *Sink) connect(ctx context.Context) error {
	if s.session != nil && !s.session.conn.IsClosed() {
		return nil
	}
	s.session = nil
	conn, err := pgx.ConnectConfig(ctx, s.dial)
	if err != nil {
		return s.classify("connect to write", err)
	}
	s.session = &session{conn: conn, tidied: map[record.Lineage]int{}}
	return nil
}

// drop closes the connection, if it is open.
func (s *Sink) drop(ctx context.Context) {
	if s.session != nil {
		hangUp(ctx, s.session.conn)
	}
	s.session = nil
}

// hangUp closes a connection, politely where the server listens.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	const polite = time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), polite)
	defer cancel()
	_ = conn.Close(ctx)
}

// Close waits for a write that is under way and closes the connection.
func (s *Sink) Close() error {
	s.turn.Close(func() { s.drop(context.Background()) })
	return nil
}
