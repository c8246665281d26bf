package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector/shipment"
)

// Check looks at the tables, and makes those that are missing and allowed.
func (l *Ledger) Check(ctx context.Context, columns []string) error {
	if err := shipment.CheckMeta(columns); err != nil {
		return err
	}
	at := &ledgerLayout{meta: columns, decls: map[string]string{}}
	err := l.transact(ctx, "check", func(ctx context.Context, c *ledgerConn) error {
		err := l.checkMain(ctx, c, at)
		if err == nil {
			err = l.checkOurs(ctx, c)
		}
		if codeOf(err) == codeError { // a mistake in a name or a type does not go away by itself
			err = fault.New(fault.Permanent, "check ledger %s: %w", l.file.path, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	l.layout.Store(at)
	return l.live(ctx)
}

// textTime are columns that hold a time as text.
var textTime = []string{"file_created_at", "file_transferred_at", "created_at"}

func (l *Ledger) wrong(hint, format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Permanent, "check table %s of %s: %s", l.cfg.Table, l.file.path,
		fmt.Sprintf(format, args...)), "%s", hint)
}

func (l *Ledger) checkMain(ctx context.Context, c *ledgerConn, at *ledgerLayout) error {
	have, strict, err := l.file.readTable(ctx, c.Conn)
	if errors.Is(err, sql.ErrNoRows) {
		create := l.createMain(at.meta)
		if !*l.file.cfg.Create {
			return l.wrong("set create: true, or make it: "+create, "there is no such table")
		}
		if _, err := c.Conn.ExecContext(ctx, create); err != nil {
			return err
		}
		have, strict, err = l.file.readTable(ctx, c.Conn)
	}
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(shipment.Columns, at.meta) {
		col, ok := have[strings.ToLower(name)]
		affinity := affinity(col.decl)
		switch {
		case !ok:
			return l.wrong(fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s;", l.tables.Main, quote(name),
				l.typeOf(name)), "it has no column %s", name)
		case col.generated:
			return l.wrong("name another table", "column %s is generated", name)
		case slices.Contains(shipment.Columns, name) && strict && affinity != "TEXT" && col.decl != "ANY",
			slices.Contains(shipment.Columns, name) && !slices.Contains(textTime, name) &&
				affinity != "TEXT" && affinity != "BLOB":
			return l.wrong("name another table; one that is missing is made",
				"column %s is declared %q, want text", name, col.decl)
		}
		at.decls[name] = col.decl
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		// A claim is a row with hash, source and created_at alone.
		if have[name].required && name != "sha1_hash" && name != "source_filepath" && name != "created_at" {
			return l.wrong("make the table anew without that",
				"column %s must not be null, and a claim has nothing for it", name)
		}
	}
	if err := l.file.fitKey(ctx, c.Conn, []string{"sha1_hash"}); err != nil {
		return err
	}
	var index bool
	err = c.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pragma_index_list(?) AS i,
		pragma_index_info(i.name) AS c
		WHERE c.seqno = 0 AND c.name = 'source_filepath' AND NOT i.partial)`, l.cfg.Table).Scan(&index)
	if err == nil && !index {
		at.lacks = fmt.Sprintf("an index for looking files up: CREATE INDEX %s ON %s (source_filepath);",
			quote(l.cfg.Table+"_source_filepath_idx"), l.tables.Main)
	}
	return err
}

func (l *Ledger) typeOf(name string) string {
	if typ, ok := l.cfg.Columns[name]; ok {
		return typ
	}
	if slices.Contains(textTime, name) {
		return "timestamp"
	}
	return "text"
}

// createMain is the SQL of rawtransfer's table.
func (l *Ledger) createMain(meta []string) string {
	lines := []string{"sha1_hash varchar(40) PRIMARY KEY", "source_filepath text", "file_created_at timestamp",
		"file_transferred_at timestamp", "filepath text"}
	for _, name := range meta {
		lines = append(lines, quote(name)+" "+l.typeOf(name))
	}
	lines = append(lines, "created_at timestamp DEFAULT CURRENT_TIMESTAMP NOT NULL")
	text := fmt.Sprintf("CREATE TABLE %s (%s);", l.tables.Main, strings.Join(lines, ", "))
	for _, column := range []string{"source_filepath", "file_transferred_at"} {
		text += fmt.Sprintf(" CREATE INDEX %s ON %s (%s);", quote(l.cfg.Table+"_"+column+"_idx"),
			l.tables.Main, column)
	}
	return text
}

// checkOurs makes our own tables, and refuses those of another shape.
func (l *Ledger) checkOurs(ctx context.Context, c *ledgerConn) error {
	for _, text := range []string{
		`CREATE TABLE IF NOT EXISTS ` + l.tables.Files + ` (source TEXT NOT NULL, sha1 TEXT NOT NULL,
			destination TEXT NOT NULL, path TEXT NOT NULL, first INTEGER BOOLEAN NOT NULL, size INTEGER NOT NULL,
			sha256 TEXT, created_ns INTEGER NANOSECONDS NOT NULL, meta TEXT, packed_size INTEGER,
			packed_sha256 TEXT, verified TEXT NOT NULL, transferred_at INTEGER MICROSECONDS NOT NULL,
			PRIMARY KEY (source, sha1, destination)) WITHOUT ROWID`,
		`CREATE INDEX IF NOT EXISTS ` + quote(shipment.Of(l.cfg.Table).Files+"_sha1_idx") + ` ON ` +
			l.tables.Files + ` (sha1)`,
		`CREATE INDEX IF NOT EXISTS ` + quote(shipment.Of(l.cfg.Table).Files+"_transferred_at_idx") + ` ON ` +
			l.tables.Files + ` (transferred_at)`,
		`CREATE TABLE IF NOT EXISTS ` + l.tables.Locks + ` (sha1 TEXT NOT NULL, source TEXT NOT NULL,
			owner TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (sha1, source)) WITHOUT ROWID`,
		`CREATE TABLE IF NOT EXISTS ` + l.tables.Owners + ` (owner TEXT PRIMARY KEY, epoch INTEGER NOT NULL,
			renewed_at INTEGER MICROSECONDS NOT NULL) WITHOUT ROWID`,
	} {
		if _, err := c.Conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	for table, columns := range map[string]string{
		l.tables.Files: `source, sha1, destination, path, first, size, sha256, created_ns, meta, packed_size,
			packed_sha256, verified, transferred_at`,
		l.tables.Locks: "sha1, source, owner, epoch", l.tables.Owners: "owner, epoch, renewed_at",
	} {
		if _, err := c.Conn.ExecContext(ctx, "SELECT "+columns+" FROM "+table+" LIMIT 0"); err != nil {
			return err
		}
	}
	return nil
}

// declaredLength is that of a varchar.
var declaredLength = regexp.MustCompile(`\((\d+)\)`)

// misfit says why a column declared so does not take a value, though SQLite itself takes any.
func misfit(decl, value string) string {
	upper := strings.ToUpper(decl)
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return fmt.Sprintf("%.100q is no text", value)
	}
	switch affinity(decl) {
	case "INTEGER":
		bits := 64
		if strings.Contains(upper, "SMALLINT") || strings.Contains(upper, "INT2") {
			bits = 16
		}
		if _, err := strconv.ParseInt(value, 10, bits); err != nil {
			return fmt.Sprintf("%.100q is no %s", value, decl)
		}
	case "REAL":
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			return fmt.Sprintf("%.100q is no %s", value, decl)
		}
	case "TEXT":
		if m := declaredLength.FindStringSubmatch(decl); m != nil {
			if most, err := strconv.Atoi(m[1]); err == nil && utf8.RuneCountInString(value) > most {
				return fmt.Sprintf("%.100q is longer than %d", value, most)
			}
		}
	}
	return ""
}
