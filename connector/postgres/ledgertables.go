package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/connector/shipment"
)

// layout is what a Check found: names of tables, quoted, and types of columns.
type layout struct {
	main, files, locks, owners string
	extra                      bool
	lacks                      string
	types                      map[string]string // of the first table's columns
	meta                       []string          // those that are metadata
}

// Check looks at the tables, and makes those that are missing and allowed.
func (l *Ledger) Check(ctx context.Context, columns []string) error {
	if err := shipment.CheckMeta(columns); err != nil {
		return err
	}
	at := &layout{main: l.target(), files: quote(l.schema, l.tables.Files), locks: quote(l.schema, l.tables.Locks),
		owners: quote(l.schema, l.tables.Owners), meta: columns}
	err := l.use(ctx, "check", func(ctx context.Context, c *pgx.Conn) error {
		// Two that make tables at once would make one of them fail.
		err := l.ask(ctx, c, append(l.begin(), question{text: advisory(l.schema, l.tables.Main)})...)
		if err == nil {
			err = l.checkMain(ctx, c, at)
		}
		if err == nil {
			err = l.checkExtra(ctx, c, at)
		}
		if err == nil {
			return l.ask(ctx, c, commit)
		}
		if !c.IsClosed() { // nothing of it is to stay
			_, _ = c.Exec(ctx, "ROLLBACK")
		}
		return err
	})
	if err != nil {
		return err
	}
	l.layout.Store(at)
	return l.live(ctx, at)
}

func (l *Ledger) wrong(hint, format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Permanent, "check %s: %s", l.name, fmt.Sprintf(format, args...)),
		"%s", hint)
}

// checkMain looks at the table of rawtransfer.
func (l *Ledger) checkMain(ctx context.Context, c *pgx.Conn, at *layout) error {
	oid, kind, err := findTable(ctx, c, l.schema, l.tables.Main)
	if errors.Is(err, pgx.ErrNoRows) {
		if !l.cfg.Create {
			return l.wrong("set create: true, or make it: "+l.createMain(at.meta), "there is no such table")
		}
		if err := l.make(ctx, c, l.createMain(at.meta)); err != nil {
			return err
		}
		oid, kind, err = findTable(ctx, c, l.schema, l.tables.Main)
	}
	if err != nil {
		return err
	}
	if kind != "r" && kind != "p" {
		return l.wrong("name another one", "it is no table")
	}
	have, err := readColumns(ctx, c, oid)
	if err == nil {
		err = l.checkColumns(at, have)
	}
	if err != nil {
		return err
	}
	var rights, index bool
	key, err := unique(ctx, c, oid, []string{"sha1_hash"})
	if err == nil {
		err = c.QueryRow(ctx, `SELECT bool_and(has_table_privilege($1::oid, p)), EXISTS (SELECT 1
			FROM pg_index AS i
			JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
			WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'source_filepath')
			FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p`, oid).Scan(&rights, &index)
	}
	switch {
	case err != nil:
		return err
	case !key:
		return l.wrong(fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (sha1_hash);", at.main),
			"column sha1_hash has no unique index, so it can lock nothing")
	case !rights:
		return l.wrong(l.grant(), "no right to read, insert, update and delete rows")
	case !index:
		at.lacks = fmt.Sprintf("an index for looking files up: CREATE INDEX ON %s (source_filepath);", at.main)
	}
	return nil
}

// make runs SQL that makes tables.
func (l *Ledger) make(ctx context.Context, c *pgx.Conn, text string) error {
	err := c.PgConn().Exec(ctx, text).Close()
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42501" {
		return l.wrong(fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s; or make it: %s", quote(l.schema),
			quote(l.pool.dial.User), text), "no right to make the table")
	}
	return err
}

// createMain is the SQL of rawtransfer's table.
func (l *Ledger) createMain(meta []string) string {
	lines := []string{"sha1_hash varchar(40) primary key", "source_filepath text",
		"file_created_at timestamp without time zone", "file_transferred_at timestamp without time zone",
		"filepath text"}
	for _, name := range meta {
		typ := l.cfg.Columns[name]
		if typ == "" {
			typ = "text"
		}
		lines = append(lines, quote(name)+" "+typ)
	}
	lines = append(lines, "created_at timestamp without time zone default (now() at time zone 'UTC') not null")
	return fmt.Sprintf("CREATE TABLE %s (%s); CREATE INDEX ON %[1]s (source_filepath); CREATE INDEX ON %[1]s (file_transferred_at);",
		l.target(), strings.Join(lines, ", "))
}

// types are those that the columns of rawtransfer may have, without what stands in parentheses, and the one
// that we make.
var types = map[string][]string{
	"sha1_hash":       {"character varying", "text", "character"},
	"source_filepath": {"text", "character varying"}, "filepath": {"text", "character varying"},
	"file_created_at":     {"timestamp without time zone", "timestamp with time zone"},
	"file_transferred_at": {"timestamp without time zone", "timestamp with time zone"},
	"created_at":          {"timestamp without time zone", "timestamp with time zone"},
}

// bare is a type without what stands in parentheses.
func bare(typ string) string {
	before, rest, ok := strings.Cut(typ, "(")
	if !ok {
		return typ
	}
	_, after, _ := strings.Cut(rest, ")")
	return before + after
}

func (l *Ledger) checkColumns(at *layout, have map[string]column) error {
	at.types = map[string]string{}
	for _, name := range slices.Concat(shipment.Columns, at.meta) {
		col, ok := have[name]
		want := types[name]
		switch {
		case !ok:
			typ := l.cfg.Columns[name]
			if want != nil {
				typ = want[0]
			} else if typ == "" {
				typ = "text"
			}
			return l.wrong(fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s;", at.main, quote(name), typ),
				"it has no column %s", name)
		case col.generated:
			return l.wrong(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;", at.main,
				quote(name)), "column %s is generated", name)
		case want != nil && !slices.Contains(want, bare(col.typ)):
			return l.wrong(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %[2]s::text::%[3]s;",
				at.main, quote(name), want[0]),
				"column %s is %s, want %s", name, col.typ, want[0])
		}
		at.types[name] = bare(col.typ)
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		// A claim is a row with hash, source and created_at alone.
		if have[name].required && name != "sha1_hash" && name != "source_filepath" && name != "created_at" {
			return l.wrong(fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", at.main, quote(name)),
				"column %s must not be null, and a claim has nothing for it", name)
		}
	}
	return nil
}

// ours are our own tables: by name, their columns in SQL.
func (l *Ledger) ours() map[string]string {
	return map[string]string{
		l.tables.Files: `source text NOT NULL, sha1 text NOT NULL, destination text NOT NULL, path text
			NOT NULL, first boolean NOT NULL,
			size bigint NOT NULL, sha256 text, created_ns bigint NOT NULL, meta text, packed_size bigint,
				packed_sha256 text,
			verified text NOT NULL, transferred_at timestamp without time zone NOT NULL, PRIMARY KEY (source,
				sha1, destination)`,
		l.tables.Locks: `sha1 text NOT NULL, source text NOT NULL, owner text NOT NULL, epoch bigint
			NOT NULL, PRIMARY KEY (sha1, source)`,
		l.tables.Owners: `owner text PRIMARY KEY, epoch bigint NOT NULL,
			renewed_at timestamp without time zone NOT NULL`,
	}
}

// checkExtra looks for our own tables.
func (l *Ledger) checkExtra(ctx context.Context, c *pgx.Conn, at *layout) error {
	var create, usable bool
	var there int
	names := []string{at.files, at.locks, at.owners}
	err := c.QueryRow(ctx, `SELECT has_schema_privilege($1::text, 'CREATE'), count(to_regclass(name)),
		coalesce(bool_and(has_table_privilege(to_regclass(name), p)), true)
		FROM unnest($2::text[]) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p`,
		l.schema, names).
		Scan(&create, &there, &usable)
	there /= 4 // one for each right
	allowed := *l.cfg.Extra
	switch {
	case err != nil:
		return err
	case there == 0 && !allowed:
		at.lacks = also(at.lacks, "tables of our own, which extra: false forbids")
		return nil
	case there == 0 && !create:
		at.lacks = also(at.lacks, fmt.Sprintf("tables of our own: GRANT CREATE ON SCHEMA %s TO %s;",
			quote(l.schema), quote(l.pool.dial.User)))
		return nil
	case there < len(names):
		if err := l.makeExtra(ctx, c, at); err != nil {
			return err
		}
	case !usable:
		return l.wrong(fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;", strings.Join(names,
			", "), quote(l.pool.dial.User)),
			"no right to use %s", strings.Join(names, ", "))
	}
	at.extra = true
	for _, text := range []string{`SELECT source, sha1, destination, path, first, size, sha256, created_ns,
		meta, packed_size,
		packed_sha256, verified, transferred_at FROM ` + at.files, `SELECT sha1, source, owner, epoch FROM ` +
		at.locks,
		`SELECT owner, epoch, renewed_at FROM ` + at.owners} {
		_, err := c.Exec(ctx, text+" LIMIT 0")
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42703" { // no such column
			return l.wrong("name another table", "a table beside it is not one of ours: %v", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) makeExtra(ctx context.Context, c *pgx.Conn, at *layout) error {
	var b strings.Builder
	for name, columns := range l.ours() {
		fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (%s);\n", quote(l.schema, name), columns)
	}
	var there bool
	if err := c.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, at.files).Scan(&there); err != nil {
		return err
	}
	if !there {
		fmt.Fprintf(&b, "CREATE INDEX ON %s (sha1); CREATE INDEX ON %[1]s (transferred_at);", at.files)
	}
	return l.make(ctx, c, b.String())
}

func also(lacks, more string) string {
	if lacks == "" {
		return more
	}
	return lacks + " And " + more
}
