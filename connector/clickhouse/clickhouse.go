// Package clickhouse is the sink for a ClickHouse table, its reader, and the source of the rows of a table
// or a query: from 18.16 to today's.
//
// The sink speaks ClickHouse's HTTP interface and sends Native blocks. Each row is in the table once,
// however often a delivery is repeated:
//
//   - An insert is one Native block of one partition, with the settings that could split it pinned.
//     The server takes it as one part: whole, or not at all.
//   - Where the server knows insert_deduplication_token, and the table's window of remembered
//     tokens covers the delivery's first attempt, a repeat needs no fence: the rows whose keys are not
//     in the table go under the token of exactly these bytes, which the server takes once.
//   - Else a repeat first waits behind the fence: the connection of the earlier attempt is closed,
//     its query (whose id is computed from the token) is gone from system.processes, the server
//     answers, and the grace time is over. Then the keys in the table are compared with those of
//     the delivery, and only the missing rows are sent.
//   - The end of every insert is held back until the server has taken the request up (it says "100
//     Continue") and answers on another connection that the table's columns are still those that the
//     block was made for. So a server that stands still never gets a whole insert, to execute it
//     when it moves again and nobody expects it; and one whose table was changed never gets a block
//     of other types, which 18.16 does not survive.
//
// What the fence can't see: bytes that something between us and the server (a proxy, a frozen
// machine's receive buffer) holds longer than the time-out plus the grace time and delivers then.
// Without tokens such an insert doubles its rows. A table that is not of the MergeTree family
// (Buffer, Distributed, Null, a view) gives no such promise at all: Traits says at least once.
//
// The rows need an integer key for the comparison; without one there are the tokens alone. It reads
// the key column for the delivery's times, two days more for ByKey: the primary index finds them when
// the event time comes first among the sorting columns. Without an event time, and for Highest and the
// limits of Tally and Keys, the server reads the key column of the whole table.
//
// Replicated tables are written and compared (after SYSTEM SYNC REPLICA, for which the user needs the
// right), but no test of ours has one.
//
// The shortest configuration:
//
//	clickhouse: {url: "http://127.0.0.1:8123", database: wsprnet, table: spots}
//
// The source asks for pages in the order of (cursor, key), each behind the last row of the one before: so
// rows with the same cursor are neither lost nor doubled at a page's edge, and a page may end anywhere.
// A page is TabSeparated text whose every row stands between two marks, read as a stream: an error that
// ClickHouse writes behind the rows of an answer that began well is no row, and the page is asked for
// again. Rows that arrive with a cursor that was passed already are found by overlap or settle alone.
//
//	clickhouse: {url: "https://db1.wspr.live", database: wspr, table: rx, key: id, cursor: time,
//	  time: time, from: "2026-01-31", overlap: 10m}
//
// A source's cursor is the JSON of a position, with its version: the names of the two columns, the highest
// cursor value so far and those of the last row. It keeps the table's columns in a file of its own, so that
// a job can start while the server is away.
package clickhouse

import (
	"context"
	"fmt"
	"net/url"
	"sync"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/connector"
)

// maxRows bounds one Write: a block of more is split by the server itself.
const maxRows = 1 << 20

// Sink is one table. Write is called by one goroutine at a time; the rest by any.
type Sink struct {
	cfg    Config
	client *client

	mu     sync.Mutex
	server *server  // nil until Prepare; guarded by mu
	table  *table   // nil until Prepare; guarded by mu
	schema *mapping // what Prepare was asked for; nil until then; guarded by mu
	stale  bool     // the table may have changed since; guarded by mu
	full   bool     // the last Write was refused for want of room; guarded by mu

	encoders sync.Pool

	mapped *mapping // of the schema that was written last; Write alone
	tried  recent   // Write alone
	narrow bool     // the table can't be given columns; Write alone
}

var (
	_ connector.Sink       = (*Sink)(nil)
	_ connector.SinkReader = (*Sink)(nil)
)

// Open checks the configuration; it does not connect.
func Open(cfg Config) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("parse url: %w", err)
	}
	s := &Sink{cfg: cfg, client: newClient(cfg, base)}
	s.encoders.New = func() any { return newEncoder(cfg.Compression) }
	return s, nil
}

// Traits says exactly once, unless Prepare has found a table or rows for which it can't be.
func (s *Sink) Traits() connector.SinkTraits {
	t := connector.SinkTraits{Exactness: connector.ExactlyOnce, MaxRows: maxRows}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.table != nil && !s.table.exact(s.server, s.schema) {
		t.Exactness = connector.AtLeastOnce
	}
	return t
}

// Prepare implements connector.Sink.
func (s *Sink) Prepare(ctx context.Context, schema record.Schema) error {
	return s.prepare(ctx, schema, s.cfg.Create)
}

func (s *Sink) prepare(ctx context.Context, schema record.Schema, create bool) error {
	s.client.closeIdle()
	srv, err := s.readServer(ctx)
	if err != nil {
		return err
	}
	if create {
		ddl, err := s.cfg.ddl(srv, schema)
		if err != nil {
			return err
		}
		if err := s.create(ctx, ddl); err != nil {
			return err
		}
	}
	tab, err := s.readTable(ctx, srv)
	if err != nil {
		return err
	}
	m, err := tab.fit(schema)
	if err != nil {
		return err
	}
	if err := s.rehearse(ctx, srv, m); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.table, s.schema, s.stale = srv, tab, m, false
	return nil
}

// prepared returns what Prepare has learnt, and prepares first if nobody has since the table changed.
func (s *Sink) prepared(ctx context.Context, schema record.Schema) (*server, *table, error) {
	for range 2 {
		s.mu.Lock()
		srv, tab, stale := s.server, s.table, s.stale
		s.mu.Unlock()
		if tab != nil && !stale {
			return srv, tab, nil
		}
		if err := s.Prepare(ctx, schema); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fault.New(fault.Transient, "clickhouse: the table changes all the time")
}

// forget makes the next Write prepare again.
func (s *Sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
}

// Reader implements connector.Sink.
func (s *Sink) Reader() connector.SinkReader { return s }

// Close closes the idle connections.
func (s *Sink) Close() error {
	s.client.closeIdle()
	return nil
}
