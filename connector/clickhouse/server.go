package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/fault"
)

// server is what is known of a server since Prepare.
type server struct {
	version  string
	zone     *time.Location    // of its DateTime without a zone; nil if unknown here
	signed   bool              // its answers carry ClickHouse's own headers
	expects  bool              // it says "100 Continue"
	settings map[string]string // those of pinned and asked that it knows, with their values
	tables   map[string]string // MergeTree settings by which tokens are remembered
}

// pinned are the settings that could split or delay an insert, with the values that don't.
var pinned = map[string]string{
	"max_insert_block_size":           "1048576",
	"max_insert_block_size_bytes":     "0",
	"min_insert_block_size_rows":      "1048576",
	"min_insert_block_size_bytes":     "1073741824",
	"max_insert_threads":              "1",
	"max_partitions_per_insert_block": "0",
	"async_insert":                    "0",
	"insert_deduplicate":              "1",
	"deduplicate_insert":              "enable",
	"input_format_parallel_parsing":   "0",
	"replace_running_query":           "0",
}

const (
	tokenSetting  = "insert_deduplication_token"
	lowCardinal   = "allow_experimental_low_cardinality_type"
	plainWindow   = "non_replicated_deduplication_window"
	replicaWindow = "replicated_deduplication_window"
	replicaSecs   = "replicated_deduplication_window_seconds"
)

// readServer asks a server who it is and what it can do.
func (s *Sink) readServer(ctx context.Context) (*server, error) {
	a, err := s.client.ask(ctx, "SELECT version(), timezone()")
	if err != nil {
		return nil, err
	}
	rows, err := a.rows(2)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || !strings.Contains(rows[0][0], ".") {
		return nil, garbage("asked for its version, got %s", excerpt(a.body))
	}
	srv := &server{version: rows[0][0], signed: a.signed}
	srv.zone, _ = time.LoadLocation(rows[0][1])
	asked := []string{literal(tokenSetting), literal(lowCardinal)}
	for k := range pinned {
		asked = append(asked, literal(k))
	}
	slices.Sort(asked)
	srv.settings, err = s.pairs(ctx, "SELECT name, value FROM system.settings WHERE name IN ("+
		strings.Join(asked, ", ")+")")
	if err != nil {
		return nil, err
	}
	srv.tables, err = s.pairs(ctx, "SELECT name, value FROM system.merge_tree_settings WHERE name IN ("+
		literal(plainWindow)+", "+literal(replicaWindow)+", "+literal(replicaSecs)+")")
	return srv, err
}

func (s *Sink) pairs(ctx context.Context, sql string) (map[string]string, error) {
	a, err := s.client.ask(ctx, sql)
	if err != nil {
		return nil, err
	}
	rows, err := a.rows(2)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(rows))
	for _, r := range rows {
		out[r[0]] = r[1]
	}
	return out, nil
}

// major is the first part of the version: the year since 18, 1 before; 0 if it is no number.
func (v *server) major() int {
	n, _, _ := strings.Cut(v.version, ".")
	major, _ := strconv.Atoi(n)
	return major
}

func (v *server) knows(setting string) bool {
	_, ok := v.settings[setting]
	return ok
}

// pins returns those of the pinned settings that the server knows and has set to something else.
func (v *server) pins() map[string]string {
	out := map[string]string{}
	for k, want := range pinned {
		if have, ok := v.settings[k]; ok && have != want {
			out[k] = want
		}
	}
	return out
}

// table is what is known of the table since Prepare.
type table struct {
	name    string // database and table, quoted
	engine  string
	columns []tableColumn
	parts   partitioning
	zone    *time.Location // the server's
	dicts   bool           // LowCardinality must be sent as such

	window  int           // tokens remembered; 0: none
	seconds time.Duration // how long they are remembered; 0: for any time
}

type tableColumn struct{ name, kind, defaultKind string }

// replicated tables keep their tokens in Keeper, and may show less than another replica has.
func (t *table) replicated() bool {
	return strings.HasPrefix(t.engine, "Replicated") || strings.HasPrefix(t.engine, "Shared")
}

func (t *table) mergeTree() bool { return strings.HasSuffix(t.engine, "MergeTree") }

// tokens reports whether the server drops a repeated insert by its token.
func (t *table) tokens(srv *server) bool {
	return srv.knows(tokenSetting) && t.mergeTree() && t.window > 0
}

// exact reports whether m's rows can be written exactly once.
func (t *table) exact(srv *server, m *mapping) bool {
	return t.mergeTree() && (m.keyed() || t.tokens(srv))
}

// readTable asks for the table's columns, partitions and window.
func (s *Sink) readTable(ctx context.Context, srv *server) (*table, error) {
	where := " WHERE database = " + literal(s.cfg.Database) + " AND "
	a, err := s.client.ask(ctx, "SELECT engine, partition_key, engine_full FROM system.tables"+where+
		"name = "+literal(s.cfg.Table))
	if err != nil {
		return nil, err
	}
	rows, err := a.rows(3)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, s.missing(ctx)
	}
	t := &table{name: s.target(), engine: rows[0][0], zone: srv.zone, dicts: srv.major() < 20}
	if t.columns, err = s.readColumns(ctx); err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return nil, garbage("%s has no columns", t.name)
	}
	t.parts = partitioning{expr: rows[0][1]}
	t.readWindow(srv, rows[0][2])
	return t, nil
}

func (s *Sink) readColumns(ctx context.Context) ([]tableColumn, error) {
	a, err := s.client.ask(ctx, "SELECT name, type, default_kind FROM system.columns WHERE database = "+
		literal(s.cfg.Database)+" AND table = "+literal(s.cfg.Table))
	if err != nil {
		return nil, err
	}
	rows, err := a.rows(3)
	if err != nil {
		return nil, err
	}
	out := make([]tableColumn, len(rows))
	for i, r := range rows {
		out[i] = tableColumn{r[0], r[1], r[2]}
	}
	return out, nil
}

var errChanged = errors.New("the columns were changed")

// still asks, on a connection of its own, whether the server answers and the table's columns are
// those that a block was made for. Old servers do not compare them with a Native block's, and crash
// when they differ; later ones convert, and cut what does not fit without a word.
func (s *Sink) still(ctx context.Context, t *table) error {
	now, err := s.readColumns(ctx)
	if err == nil && !slices.Equal(now, t.columns) {
		s.forget()
		err = fault.New(fault.Transient, "clickhouse: table %s: %w", t.name, errChanged)
	}
	return err
}

func (s *Sink) target() string { return name(s.cfg.Database) + "." + name(s.cfg.Table) }

// missing says why there is no such table: it is not there, or we may not see it.
func (s *Sink) missing(ctx context.Context) error {
	_, err := s.client.ask(ctx, "DESCRIBE TABLE "+s.target())
	if err == nil {
		err = fault.New(fault.Transient, "clickhouse: table %s.%s came or went just now",
			s.cfg.Database, s.cfg.Table)
	}
	if fault.Is(err, fault.Permanent) {
		err = fault.WithHint(err, "create the table, or set create: true")
	}
	return err
}

var settingText = regexp.MustCompile(`\b(\w*deduplication_window\w*) = '?(\d+)`)

// readWindow learns how many tokens are remembered and how long: from the table's own settings,
// else from the server's.
func (t *table) readWindow(srv *server, engineFull string) {
	have := map[string]string{}
	for k, v := range srv.tables {
		have[k] = v
	}
	if _, own, ok := strings.Cut(engineFull, " SETTINGS "); ok {
		for _, m := range settingText.FindAllStringSubmatch(own, -1) {
			have[m[1]] = m[2]
		}
	}
	number := func(k string) int {
		n, err := strconv.Atoi(have[k])
		if err != nil {
			return 0
		}
		return n
	}
	t.window = number(plainWindow)
	if t.replicated() {
		t.window = number(replicaWindow)
		t.seconds = time.Duration(number(replicaSecs)) * time.Second
		if t.seconds == 0 {
			t.window = 0
		}
	}
}

// widen gives the table the columns of optional fields. Without the right to do so they stay out: refused
// says so.
func (s *Sink) widen(ctx context.Context, srv *server, fields []arrow.Field) (refused bool, err error) {
	for _, f := range fields {
		kind, _ := typeFor(f.Type, true, srv.settings[lowCardinal] != "0")
		_, err := s.client.ask(ctx, "ALTER TABLE "+s.target()+" ADD COLUMN IF NOT EXISTS "+name(f.Name)+" "+kind)
		if k := fault.KindOf(err); k == fault.Permanent || k == fault.Credentials {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("add column %s: %w", f.Name, err)
		}
	}
	s.forget()
	return false, nil
}

// create makes the database and the table when they are missing.
func (s *Sink) create(ctx context.Context, ddl string) error {
	a, err := s.client.ask(ctx, fmt.Sprintf("SELECT count() FROM system.tables WHERE database = %s AND "+
		"name = %s", literal(s.cfg.Database), literal(s.cfg.Table)))
	if err != nil || strings.TrimSpace(a.body) == "1" {
		return err
	}
	if _, err := s.client.ask(ctx, "CREATE DATABASE IF NOT EXISTS "+name(s.cfg.Database)); err != nil {
		return fmt.Errorf("create database %s: %w", s.cfg.Database, err)
	}
	if _, err := s.client.ask(ctx, ddl); err != nil {
		err = fmt.Errorf("create table %s: %w", s.cfg.Table, err)
		if strings.Contains(err.Error(), "DateTime64") && strings.Contains(err.Error(), "Unknown data type") {
			return fault.WithHint(err, "this server knows no times finer than a second: create the table "+
				"yourself with DateTime columns, which leave fractions of a second out")
		}
		return err
	}
	return nil
}
