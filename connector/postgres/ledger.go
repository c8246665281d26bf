package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/shipment"
)

// LedgerConfig says where a ledger is: by DSN, or by the fields that rawtransfer's --db-* flags have. What neither says is
// looked for in the PG* variables, and a password in ~/.pgpass.
type LedgerConfig struct {
	// DSN says which database and as whom: postgres://user:password@host:port/database. It is never shown. In its place
	// may stand host, port, user and name; what is missing is that of the variables PGHOST, PGPASSWORD and so on.
	DSN secret.Text `yaml:"dsn"`
	// Host of the server; default that of PGHOST.
	Host string `yaml:"host"`
	// Port of the server; default that of PGPORT.
	Port int `yaml:"port"`
	// User of the database; default that of PGUSER. The password is that of PGPASSWORD or ~/.pgpass.
	User string `yaml:"user"`
	// Name of the database; default that of PGDATABASE.
	Name string `yaml:"name"`
	// Table is the table of rawtransfer; default transfers; in schema public, or with its schema and a dot
	// before it.
	Table string `yaml:"table"`
	// Create makes the table when it is missing; default false. A table that is there is never changed.
	Create bool `yaml:"create"`
	// Extra makes tables beside it, if the user may; default true. Those that are there are used.
	Extra *bool `yaml:"extra"`
	// Columns are the types of metadata columns of a table that is made; text for those that are not in it.
	Columns map[string]string `yaml:"columns"`
	// Timeout is how long one question may take before it counts as an outage; default 20s.
	Timeout time.Duration `yaml:"timeout"`
	// Owner is who claims files: a name that no other process has at the same time, and that stays through
	// restarts.
	Owner string `yaml:"-"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c LedgerConfig) WithDefaults() LedgerConfig {
	if c.Table == "" {
		c.Table = shipment.DefaultTable
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Extra == nil {
		yes := true
		c.Extra = &yes
	}
	return c
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c LedgerConfig) Validate() []error {
	c = c.WithDefaults()
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch _, err := pgx.ParseConfig(c.address()); {
	case c.DSN != "" && (c.Host != "" || c.Port != 0 || c.User != "" || c.Name != ""):
		add("dsn: stands beside host, port, user or name; give one or the other")
	case c.Port < 0 || c.Port > 65535:
		add("port: got %d, want 1 to 65535", c.Port)
	case err != nil:
		// The cause quotes parts of the address, and with a mistake in it any part may be the password.
		add("dsn: it can't be read; want postgres://user:password@host:port/database (%%-escape what " +
			"has a meaning in an address) or host=... user=... dbname=..., and the same of PG* variables")
	}
	schema, table := c.place()
	for _, name := range []struct {
		key, text string
		most      int
	}{{"table", table, shipment.LongestTable(longestName)}, {"table: schema", schema, longestName}} {
		if name.text == "" || len(name.text) > name.most || !holdable(name.text) {
			add("%s: got %q, want a name of at most %d bytes", name.key, name.text, name.most)
		}
	}
	errs = append(errs, shipment.CheckTypes(c.Columns)...)
	if c.Timeout < time.Millisecond {
		add("timeout: got %v, want 1ms or more", c.Timeout)
	}
	if c.Owner == "" || !holdable(c.Owner) {
		add("owner: missing")
	}
	return errs
}

// place is the schema and the name of the table.
func (c LedgerConfig) place() (schema, table string) {
	if schema, table, ok := strings.Cut(c.Table, "."); ok {
		return schema, table
	}
	return "public", c.Table
}

// address is the DSN that the fields stand for.
func (c LedgerConfig) address() string {
	if c.DSN != "" {
		return c.DSN.Reveal()
	}
	quoting := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var parts []string
	for _, p := range [][2]string{{"host", c.Host}, {"user", c.User}, {"dbname", c.Name}} {
		if p[1] != "" {
			parts = append(parts, p[0]+"='"+quoting.Replace(p[1])+"'")
		}
	}
	if c.Port != 0 {
		parts = append(parts, "port="+strconv.Itoa(c.Port))
	}
	return strings.Join(parts, " ")
}

// atOnce is how many connections a ledger has at most, so that many workers leave some to others.
const atOnce = 8

// Ledger is a ledger in a database that rawtransfer may use too; see package shipment for its tables. A claim
// is decided under a lock of the server's by hash, so that one of any number gets it; each method takes one
// question and its answer on the wire, Lock two.
type Ledger struct {
	cfg    LedgerConfig
	name   string
	schema string
	tables shipment.Tables
	pool   pool
	turns  chan struct{}
	layout atomic.Pointer[layout] // nil before the first Check that ended well

	mu    sync.Mutex // guards what stands below
	epoch int64      // of the owner; 0 before it is known
	lost  bool       // and nobody was told yet
	// mine is when the rows of our claims were made, in microseconds: without tables of ours there is nothing
	// else that tells them from those of others.
	mine map[[20]byte]int64
}

var _ connector.Ledger = (*Ledger)(nil)

// OpenLedger returns a ledger. It touches nothing before Check.
func OpenLedger(cfg LedgerConfig) (*Ledger, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "postgres: %w", errors.Join(errs...))
	}
	cfg = cfg.WithDefaults()
	dial, err := Config{DSN: secret.Text(cfg.address())}.dial()
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, turns: make(chan struct{}, atOnce), mine: map[[20]byte]int64{}}
	var table string
	l.schema, table = cfg.place()
	l.tables = shipment.Of(table)
	l.name = fmt.Sprintf("postgres://%s@%s:%d/%s table %s", dial.User, dial.Host, dial.Port, dial.Database,
		cfg.Table)
	l.pool = pool{dial: dial, spare: atOnce, what: "use " + l.name}
	return l, nil
}

// Traits says what was found out by the last Check.
func (l *Ledger) Traits() connector.LedgerTraits {
	t := connector.LedgerTraits{Name: l.name}
	if at := l.layout.Load(); at != nil {
		t.Extra, t.Lacks = at.extra, at.lacks
	}
	return t
}

// Close closes the connections.
func (l *Ledger) Close() error {
	l.pool.close()
	return nil
}

// target is the quoted name of the first table.
func (l *Ledger) target() string { return quote(l.schema, l.tables.Main) }

// use calls f with a connection, for no longer than the time-out. What f left undone on it is rolled back.
func (l *Ledger) use(ctx context.Context, verb string, f func(ctx context.Context, c *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	select {
	case l.turns <- struct{}{}:
	case <-ctx.Done():
		return fault.New(fault.Transient, "%s %s: wait for a connection: %w", verb, l.name, ctx.Err())
	}
	defer func() { <-l.turns }()
	c, err := l.pool.take(ctx)
	if err == nil {
		defer l.pool.give(ctx, c)
		if err = f(ctx, c); err != nil {
			l.rollback(ctx, c)
		}
	}
	return l.classify(verb, err)
}

func (l *Ledger) rollback(ctx context.Context, c *pgx.Conn) {
	const failed, polite = 'E', time.Second
	if c.IsClosed() || c.PgConn().TxStatus() != failed {
		return // closed by give if a transaction is open
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), polite)
	defer cancel()
	_, _ = c.Exec(ctx, "ROLLBACK")
}

// question is a statement, and what reads its rows.
type question struct {
	text string
	args []any
	read func(rows pgx.Rows) error // may be nil
}

// ask sends questions all at once, and reads their answers.
func (l *Ledger) ask(ctx context.Context, c *pgx.Conn, questions ...question) error {
	var b pgx.Batch
	for _, q := range questions {
		queued := b.Queue(q.text, q.args...)
		if q.read != nil {
			queued.Query(q.read)
		}
	}
	return c.SendBatch(ctx, &b).Close()
}

// each calls f at each row.
func each(f func(rows pgx.Rows) error) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			if err := f(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// into reads the one row of an answer.
func into(to ...any) func(pgx.Rows) error {
	return each(func(rows pgx.Rows) error { return rows.Scan(to...) })
}

// begin begins a transaction that can't outlive us for long: if we fall silent, the server ends it and its
// locks. The settings are its own, so that a pooler may stand between.
func (l *Ledger) begin() []question {
	ms := strconv.FormatInt(l.cfg.Timeout.Milliseconds(), 10)
	return []question{{text: "BEGIN ISOLATION LEVEL READ COMMITTED"}, {
		text: `SELECT set_config('statement_timeout', $1, true),
			set_config('idle_in_transaction_session_timeout', $1, true),
			CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit',
				'on', true) END`,
		args: []any{ms}}}
}

// commit ends it.
var commit = question{text: "COMMIT"}

// hashLock lets nobody else decide about files with a hash until the transaction ends.
func (l *Ledger) hashLock(sum [20]byte) question {
	return question{text: advisory(l.schema, l.tables.Main, string(sum[:]))}
}

// transact asks questions in a transaction of their own, in one go.
func (l *Ledger) transact(ctx context.Context, verb string, questions ...question) error {
	return l.use(ctx, verb, func(ctx context.Context, c *pgx.Conn) error {
		return l.ask(ctx, c, append(append(l.begin(), questions...), commit)...)
	})
}

// classify gives err its kind, and says what would put it right.
func (l *Ledger) classify(verb string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	kind, hint := kindOf(err)
	e, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case e == nil:
	case kind == fault.Credentials:
		hint = "give the password in ~/.pgpass (host:port:database:user:password, readable by its owner alone), PGPASSWORD or the dsn"
	case e.Code == "42501":
		hint = l.grant()
	case e.Code == "42P01" || e.Code == "42703":
		hint = "a table or column went away since it was looked at; " + l.createMain(nil)
	case e.Code == "23505": // somebody was quicker
		kind = fault.Transient
	case e.Code == "XX001" || e.Code == "XX002" || e.Code == "25006" || e.Code[:2] == "3D" || e.Code[:2] == "3F":
	default:
		hint = ""
	}
	out := error(fault.New(kind, "%s %s: %w", verb, l.name, err))
	if hint != "" {
		out = fault.WithHint(out, "%s", hint)
	}
	return out
}

// grant is the SQL that gives the user all rights that we need.
func (l *Ledger) grant() string {
	names := []string{l.target()}
	if at := l.layout.Load(); at != nil && at.extra {
		names = append(names, at.files, at.locks, at.owners)
	}
	user := quote(l.pool.dial.User)
	return fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %[2]s;",
		quote(l.schema), user, strings.Join(names, ", "))
}

// at returns what is known of the tables.
func (l *Ledger) at() (*layout, error) {
	if at := l.layout.Load(); at != nil {
		return at, nil
	}
	return nil, fault.New(fault.Transient, "use %s: its tables were not looked at yet", l.name)
}
