// Package sqlite is the sink that writes rows into a table of an SQLite database file: the default
// sink, which needs no server.
//
// The shortest configuration:
//
//	sinks:
//	  local: {sqlite: {path: spots.sqlite, table: spots}}
//
// Promise: exactly once. The rows of a delivery and its token are committed in one transaction, so
// a repeat of the token has no effect, whatever happened to the first attempt. The database is in
// WAL mode with synchronous=FULL: what Write acknowledged survives a power cut, and others read
// the file while we write. A row whose key the table already holds is left as it stands: with the
// same content it counts as present, with other content the new row is a RowFault that names the
// columns. Several sinks, jobs and processes may share one file; only one writes at a time, and the
// others wait up to `busy`.
//
// Rows that no single column tells apart have a `key` of several, and rows that are computed again
// have a revision that says which of them stand:
//
//	reports: {sqlite: {path: weather.sqlite, table: reports, key: [state, time], replace: revision}}
//
// Of each event time only the rows with the highest revision stand. What comes with a higher one takes
// the place of all that the table had of that time, in the same transaction; what comes with a lower one
// is present already. So it does not matter in which order deliveries come, nor how often or in how many
// parts. Rows of one key and one revision are told apart as ever, and a row that is refused replaces
// nothing. The event time has to be in the key.
//
// What it does not do: it never changes a table that it finds, never repairs or deletes a database that
// is damaged, and never updates a row, nor deletes one without `replace`. A database that is deleted or
// replaced while we hold it open is noticed before the next write; what had been delivered into the
// lost file is lost with it: `holdfast audit --deep` counts it, but nothing sends it again.
//
// The bytes. Integers, booleans and timestamps are INTEGER, floats REAL, strings TEXT, bytes BLOB. A
// second word in the declaration of a created column says what its integers are: BOOLEAN, or SECONDS
// (as those of spots), MILLISECONDS, MICROSECONDS, NANOSECONDS since 1970. The key is the PRIMARY KEY,
// with the event time before its other columns: so it is the index of the time too, and rows that come
// together lie together. Beside the rows stands the delivered set:
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
// Ledger is a ledger of transfers in a file; see package shipment.
//
// Tables reads tables back by time. Integers of a time whose column does not say its unit are seconds.
package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
	"holdfast/connector/delivered"
	"holdfast/connector/rowkey"
)

// Spots is the table of WSPR spots.
const Spots = "spots"

// Config is a table of a SQLite database, a file that other programs may read meanwhile.
type Config struct {
	// Path is the database file; below the data directory if it is relative. Missing directories are made.
	Path string `yaml:"path" jsonschema:"required"`
	// Table is the table of the rows; default spots. A collect job of any other source than wsprnet must name it.
	Table string `yaml:"table"`
	// Create makes a file and a table that are missing; default true. With false that is an error.
	Create *bool `yaml:"create"`
	// Busy is how long a write waits for another writer of the same file; default 5s.
	Busy time.Duration `yaml:"busy"`
	// Key are the columns that tell rows apart together, where their schema has no key column.
	Key []string `yaml:"key"`
	// Replace is the column of an integer, the revision: of each event time only the rows with the highest
	// stand. It wants key, with the event time in it.
	Replace string `yaml:"replace"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Table == "" {
		c.Table = Spots
	}
	if c.Create == nil {
		yes := true
		c.Create = &yes
	}
	if c.Busy == 0 {
		c.Busy = 5 * time.Second
	}
	return c
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c Config) Validate() []error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, fmt.Errorf("path: missing; give the database file"))
	}
	switch {
	case len(c.Table) >= 7 && c.Table[:7] == "sqlite_":
		errs = append(errs, fmt.Errorf("table: names that begin with sqlite_ belong to SQLite"))
	case c.Table == delivered.Table:
		errs = append(errs, fmt.Errorf("table: %s is where the delivered set stands", c.Table))
	}
	if c.Busy < 0 {
		errs = append(errs, fmt.Errorf("busy: %v is negative", c.Busy))
	}
	return append(errs, c.rows().Validate()...)
}

// rows is what tells rows apart.
func (c Config) rows() rowkey.Spec { return rowkey.Spec{Key: c.Key, Replace: c.Replace} }

// Sink writes into one table of one database file.
type Sink struct {
	cfg  Config
	path string // absolute
	keep int    // delivered entries that keep their hash
	// moved tells a person what follows from it that the open file is not the one at path any more.
	moved string

	turn *connector.Turn // who has it may write and may change session
	// need is how much free space the file system must have before a probe may say that it is well
	// again after it was full. Guarded by turn.
	need uint64

	mu      sync.Mutex // guards session; held for a moment only
	session *session   // nil while there is no open database

	// broken, if not nil, is asked at each stage of a write and may fail it. Tests only.
	broken func(stage) error
}

// stage is a place in a write at which a test can break it.
type stage uint8

const (
	midRows     stage = iota // after some rows, before the rest
	afterCommit              // the answer is lost
)

var _ connector.Sink = (*Sink)(nil)

// New returns a sink. It touches nothing before Prepare or Probe.
func New(cfg Config) (*Sink, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.As(fault.Permanent, errs[0])
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fault.New(fault.Permanent, "find database %s: %w", cfg.Path, err)
	}
	return &Sink{cfg: cfg.WithDefaults(), path: path, keep: delivered.Keep, turn: connector.NewTurn("database " + path),
		moved: "it is opened again; what had been delivered into the old file is not sent again; " +
			"`holdfast audit --deep` counts it"}, nil
}

// Traits says that repeats have no effect, and that a delivery may have any size.
func (s *Sink) Traits() connector.SinkTraits {
	return connector.SinkTraits{Exactness: connector.ExactlyOnce}
}

// Prepare opens the database and checks or creates the table.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	return s.alone(ctx, func() error {
		db, err := s.open(ctx)
		if err != nil {
			return err
		}
		return s.prepare(ctx, db, schema)
	})
}

// alone runs f while nobody else of this process writes through this sink. An error that may have
// left the connection in a bad state closes it; the next call opens a new one.
func (s *Sink) alone(ctx context.Context, f func() error) error {
	if err := s.turn.Take(ctx); err != nil {
		return err
	}
	defer s.turn.Give()
	err := f()
	if err != nil && !fault.Is(err, fault.Conflict) {
		s.drop()
	}
	return err
}

// drop closes the database, if it is open.
func (s *Sink) drop() {
	s.mu.Lock()
	db := s.session
	s.session = nil
	s.mu.Unlock()
	if db != nil {
		db.close()
	}
}

// Close waits for a write that is under way and closes the database.
func (s *Sink) Close() error {
	s.turn.Close(s.drop)
	return nil
}
