package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/shipment"
)

// LedgerConfig says where a ledger is.
type LedgerConfig struct {
	// Path is the database file; missing directories are created.
	Path string `yaml:"path"`
	// Table is the table of rawtransfer, by default "transfers".
	Table string `yaml:"table"`
	// Create: false refuses to create the file and that table; by default they are created.
	Create *bool `yaml:"create"`
	// Columns are the types of metadata columns of a table that is made; text for those that are not in it.
	Columns map[string]string `yaml:"columns"`
	// Busy is how long a call waits for another writer of the same file, by default 5s.
	Busy time.Duration `yaml:"busy"`
	// Owner is who claims files: a name that no other process has at the same time, and that stays through
	// restarts.
	Owner string `yaml:"-"`
}

func (c LedgerConfig) withDefaults() LedgerConfig {
	if c.Table == "" {
		c.Table = shipment.DefaultTable
	}
	return c
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c LedgerConfig) Validate() []error {
	c = c.withDefaults()
	errs := c.file().Validate()
	if !utf8.ValidString(c.Table) || strings.ContainsRune(c.Table, 0) {
		errs = append(errs, fmt.Errorf("table: got %q, want a name", c.Table))
	}
	errs = append(errs, shipment.CheckTypes(c.Columns)...)
	if c.Owner == "" {
		errs = append(errs, errors.New("owner: missing"))
	}
	return errs
}

func (c LedgerConfig) file() Config {
	return Config{Path: c.Path, Table: c.Table, Create: c.Create, Busy: c.Busy}
}

// Ledger is a ledger in a file; see package shipment for its tables. Times of the first table are UTC, as text;
// those of ours are microseconds since 1970. The clock of locks is that of this machine. It has always tables
// beside the first.
type Ledger struct {
	cfg    LedgerConfig
	file   *Sink // opens the file, and lets one write at a time
	tables shipment.Tables
	layout atomic.Pointer[ledgerLayout] // nil before the first Check that ended well
	group  group

	mu    sync.Mutex // guards what stands below
	epoch int64      // of the owner; 0 before it is known
	lost  bool       // and nobody was told yet
}

// ledgerLayout is what a Check found.
type ledgerLayout struct {
	meta  []string          // metadata columns
	decls map[string]string // how they are declared
	lacks string
}

var _ connector.Ledger = (*Ledger)(nil)

// OpenLedger returns a ledger. It touches nothing before Check.
func OpenLedger(cfg LedgerConfig) (*Ledger, error) {
	if errs := cfg.Validate(); len(errs) > 0 {
		return nil, fault.New(fault.Permanent, "sqlite: %w", errors.Join(errs...))
	}
	cfg = cfg.withDefaults()
	file, err := New(cfg.file())
	if err != nil {
		return nil, err
	}
	file.moved = "it is opened again, empty; what it knew is found again at the destinations: `holdfast transfer rebuild`"
	t := shipment.Of(cfg.Table)
	return &Ledger{cfg: cfg, file: file, tables: shipment.Tables{Main: quote(t.Main), Files: quote(t.Files),
		Locks:  quote(t.Locks),
		Owners: quote(t.Owners)}}, nil
}

// Traits says where it is.
func (l *Ledger) Traits() connector.LedgerTraits {
	t := connector.LedgerTraits{Name: l.file.path + " table " + l.cfg.Table}
	if at := l.layout.Load(); at != nil {
		t.Extra, t.Lacks = true, at.lacks
	}
	return t
}

// Close waits for a call that is under way and closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

// at returns what is known of the tables.
func (l *Ledger) at() (*ledgerLayout, error) {
	if at := l.layout.Load(); at != nil {
		return at, nil
	}
	return nil, fault.New(fault.Transient, "use ledger %s: its tables were not looked at yet", l.file.path)
}

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

// micro is an expression's microseconds since 1970, where it is a time as text.
func micro(expr string) string {
	return "(unixepoch(" + expr + ") * 1000000 + CAST(substr(coalesce(nullif(substr(" + expr +
		", 20), ''), '.') || '000000', 2, 6) AS INTEGER))"
}

// stamp is how a time stands in the first table.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") }

// entries is a query for shipments: of files (f) and of the first table (t), that meet conditions.
func (l *Ledger) entries(at *ledgerLayout, files, main string) string {
	meta := make([]string, len(at.meta))
	for i, name := range at.meta {
		meta[i] = "'" + strings.ReplaceAll(name, "'", "''") + "', CAST(t." + quote(name) + " AS TEXT)"
	}
	return fmt.Sprintf(`SELECT f.sha1, f.source, +f.created_ns AS created_ns, f.size, f.sha256, f.meta,
		f.destination, f.path, f.packed_size, f.packed_sha256, f.verified, +f.transferred_at AS transferred_us,
		1 AS ours, +f.first AS first
		FROM %s AS f WHERE %s UNION ALL
		SELECT t.sha1_hash, t.source_filepath, %s * 1000, NULL, NULL, json_object(%s),
		'', t.filepath, NULL, NULL, NULL, coalesce(%s, 0),
		0, 1
		FROM %s AS t WHERE t.file_transferred_at IS NOT NULL AND (%s)
		AND NOT EXISTS (SELECT 1 FROM %[1]s AS f WHERE f.sha1 = t.sha1_hash AND f.source = t.source_filepath)`,
		l.tables.Files, files, micro("t.file_created_at"), strings.Join(meta, ", "),
		micro("t.file_transferred_at"), l.tables.Main, main)
}

// readEntries reads the answer to such a query.
func readEntries(rows *sql.Rows, err error, give func(connector.Entry) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	entries := shipment.Gather{Give: give}
	for rows.Next() {
		var r shipment.Row
		if err := rows.Scan(r.Into()...); err != nil {
			return err
		}
		if err := entries.Add(&r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return entries.End()
}

// sorted puts the rows of an entry one after the other, what the first table shows first.
const sorted = " ORDER BY source, sha1, first DESC, destination"

func hexOf(sum [20]byte) string { return fmt.Sprintf("%x", sum) }

// Lock claims a file.
func (l *Ledger) Lock(ctx context.Context, o connector.Original, again bool) (claim connector.Claim, err error) {
	at, err := l.at()
	if err == nil {
		err = shipment.Check(o)
	}
	if err != nil {
		return claim, err
	}
	ask := shipment.Ask{Original: o, Owner: l.cfg.Owner, Again: again, Extra: true}
	err = l.transact(ctx, "claim in", func(ctx context.Context, c *ledgerConn) error {
		epoch, err := l.renew(ctx, c, false)
		if err != nil {
			return err
		}
		found, err := l.look(ctx, c, at, ask)
		if err != nil {
			return err
		}
		var step shipment.Step
		if claim, step = found.Decide(ask); !claim.Held {
			return nil
		}
		return l.claim(ctx, c, at, ask, found.Shipped(ask), epoch, step)
	})
	if err != nil {
		return connector.Claim{}, err
	}
	return claim, nil
}

// claim writes down that a file is held, with the values of metadata: one that its column does not take is found out before the file
// is shipped, and not when it is recorded. They are tried, too, where the first table's row of the hash is left as it is.
func (l *Ledger) claim(ctx context.Context, c *ledgerConn, at *ledgerLayout, a shipment.Ask, shipped bool, epoch int64,
	step shipment.Step) error {
	source, sum := shipment.Text(a.Source), hexOf(a.SHA1)
	columns, values, err := l.values(at, a.Original)
	if err != nil {
		return err
	}
	if !shipped {
		if _, err := c.ExecContext(ctx, "DELETE FROM "+l.tables.Locks+" WHERE sha1 = ? AND source <> ?", sum,
			source); err != nil {
			return err
		}
	}
	_, err = c.ExecContext(ctx,
		"INSERT OR REPLACE INTO "+l.tables.Locks+" (sha1, source, owner, epoch) VALUES (?, ?, ?, ?)",
		sum, source, l.cfg.Owner, epoch)
	if err != nil {
		return err
	}
	columns, values = append(columns, "source_filepath", "created_at"), append(values, source, stamp(time.Now()))
	var text string
	if step == shipment.Update {
		for i := range columns {
			columns[i] += " = ?"
		}
		for _, name := range at.meta { // of who had it before
			if _, ok := a.Meta[name]; !ok {
				columns = append(columns, quote(name)+" = NULL")
			}
		}
		text = "UPDATE " + l.tables.Main + " SET " + strings.Join(columns, ", ") + " WHERE sha1_hash = ?"
	} else {
		text = fmt.Sprintf("INSERT INTO %s (%s, sha1_hash) VALUES (%s?)", l.tables.Main, strings.Join(columns, ", "),
			strings.Repeat("?, ", len(columns)))
		if step == shipment.Leave {
			text += " ON CONFLICT (sha1_hash) DO NOTHING"
		}
	}
	_, err = c.ExecContext(ctx, text, append(values, sum)...)
	if ofOneRow(err) {
		return fault.New(fault.Invalid, "claim in %s: %w", l.file.path, err)
	}
	return err
}

// values are what is put into the columns of metadata.
func (l *Ledger) values(at *ledgerLayout, o connector.Original) (columns []string, values []any, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.Meta)) {
		if !slices.Contains(at.meta, name) {
			return nil, nil, fault.New(fault.Permanent, "metadata column %s: it was not checked", name)
		}
		if why := misfit(at.decls[name], o.Meta[name]); why != "" {
			return nil, nil, fault.New(fault.Invalid, "put into %s: column %s: %s", l.file.path, name, why)
		}
		columns, values = append(columns, quote(name)), append(values, o.Meta[name])
	}
	return columns, values, nil
}

// look reads what is there of a file.
func (l *Ledger) look(ctx context.Context, c *ledgerConn, at *ledgerLayout, a shipment.Ask) (f shipment.Found,
	err error) {
	source, sum, now := shipment.Text(a.Source), hexOf(a.SHA1), time.Now()
	rows, err := c.QueryContext(ctx, fmt.Sprintf(`SELECT t.sha1_hash = ?1, coalesce(t.source_filepath, ''),
		t.file_transferred_at IS NOT NULL, EXISTS (SELECT 1 FROM %s AS l WHERE l.sha1 = t.sha1_hash),
		coalesce(%s, 0) FROM %s AS t
		WHERE t.sha1_hash = ?1 OR t.source_filepath = ?2 AND t.file_transferred_at IS NULL`,
		l.tables.Locks, micro("t.created_at"), l.tables.Main), sum, source)
	err = eachRow(rows, err, func() error {
		var r shipment.Main
		var made int64
		err := rows.Scan(&r.Same, &r.Source, &r.Transferred, &r.Ours, &made)
		r.Source, r.Age = shipment.Path(r.Source), now.Sub(time.UnixMicro(made))
		f.Rows = append(f.Rows, r)
		return err
	})
	if err != nil {
		return f, err
	}
	rows, err = c.QueryContext(ctx, fmt.Sprintf(`SELECT l.source, l.owner, coalesce(o.epoch = l.epoch, 0),
		coalesce(+o.renewed_at, 0)
		FROM %s AS l LEFT JOIN %s AS o ON o.owner = l.owner WHERE l.sha1 = ?`, l.tables.Locks,
		l.tables.Owners), sum)
	err = eachRow(rows, err, func() error {
		var k shipment.Lock
		var renewed int64
		err := rows.Scan(&k.Source, &k.Owner, &k.Alive, &renewed)
		k.Source, k.Left = shipment.Path(k.Source), connector.StaleAfter-now.Sub(time.UnixMicro(renewed))
		k.Alive = k.Alive && k.Left > 0
		f.Locks = append(f.Locks, k)
		return err
	})
	if err != nil {
		return f, err
	}
	rows, err = c.QueryContext(ctx, "SELECT "+shipment.Fields+" FROM ("+l.entries(at,
		// Of the same content one other path is enough: of an empty file there may be thousands.
		"f.source = ?1 OR (f.sha1, f.source) = (SELECT sha1, source FROM "+l.tables.Files+" WHERE sha1 = ?2 AND source <> ?1 LIMIT 1)",
		"t.source_filepath = ?1 OR t.sha1_hash = ?2")+")"+sorted, source, sum)
	return f, readEntries(rows, err, func(e connector.Entry) error {
		f.Entries = append(f.Entries,
			e)
		return nil
	})
}

// eachRow calls f at each row of an answer.
func eachRow(rows *sql.Rows, err error, f func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Renew writes down that the owner lives.
func (l *Ledger) Renew(ctx context.Context) (lost bool, err error) {
	if _, err := l.at(); err != nil {
		return false, err
	}
	if err := l.live(ctx); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, l.lost = l.lost, false
	return lost, nil
}

func (l *Ledger) live(ctx context.Context) error {
	return l.transact(ctx, "renew claims in", func(ctx context.Context, c *ledgerConn) error {
		_, err := l.renew(ctx, c, true)
		return err
	})
}

// renew renews the owner, always or only if it is late, and returns its epoch: one that comes too late begins
// another.
func (l *Ledger) renew(ctx context.Context, c *ledgerConn, always bool) (epoch int64, err error) {
	var renewed int64
	now := time.Now()
	err = c.QueryRowContext(ctx, "SELECT epoch, +renewed_at FROM "+l.tables.Owners+" WHERE owner = ?",
		l.cfg.Owner).Scan(&epoch, &renewed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	is := err == nil
	late := is && now.Sub(time.UnixMicro(renewed)) >= connector.StaleAfter
	if !is || late {
		epoch++
	}
	if !is || late || always {
		_, err = c.ExecContext(ctx,
			"INSERT OR REPLACE INTO "+l.tables.Owners+" (owner, epoch, renewed_at) VALUES (?, ?, ?)",
			l.cfg.Owner, epoch, now.UnixMicro())
		if err != nil {
			return 0, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// If the commit fails it is told too often, which does no harm.
	l.lost = l.lost || late || l.epoch != 0 && l.epoch != epoch
	l.epoch = epoch
	return epoch, nil
}

// Record writes a shipment into both tables, if the file is held.
func (l *Ledger) Record(ctx context.Context, o connector.Original, d connector.Shipment, first bool) error {
	at, err := l.at()
	if err == nil {
		err = shipment.Check(o)
	}
	if err != nil {
		return err
	}
	source, sum := shipment.Text(o.Source), hexOf(o.SHA1)
	return l.transact(ctx, "record in", func(ctx context.Context, c *ledgerConn) error {
		var held, known bool
		err := c.QueryRowContext(ctx, fmt.Sprintf(`SELECT EXISTS (SELECT 1 FROM %s WHERE sha1 = ?1
			AND source = ?2 AND owner = ?3),
			EXISTS (SELECT 1 FROM %s WHERE sha1 = ?1 AND source = ?2 AND destination = ?4)`, l.tables.Locks,
			l.tables.Files),
			sum, source, l.cfg.Owner, d.Destination).Scan(&held, &known)
		switch {
		case err != nil || known && !held:
			return err
		case !held:
			return fault.New(fault.Conflict, "record in %s: %.200q is not held", l.file.path, o.Source)
		}
		_, err = l.write(ctx, c, at, o, d, first)
		return err
	})
}

// write puts a shipment into our table, if it is not there, and into the first one too if it is to be shown there and nothing is yet.
func (l *Ledger) write(ctx context.Context, c *ledgerConn, at *ledgerLayout, o connector.Original,
	d connector.Shipment, first bool) (added int64, err error) {
	meta, err := shipment.Meta(o.Meta)
	if err != nil {
		return 0, err
	}
	size, sum := shipment.Packed(o, d)
	put, err := c.ExecContext(ctx, "INSERT INTO "+l.tables.Files+` (sha1, source, destination, path, first, size,
		sha256, created_ns, meta,
		packed_size, packed_sha256, verified, transferred_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (source, sha1, destination) DO NOTHING`, hexOf(o.SHA1), shipment.Text(o.Source),
		d.Destination, shipment.Text(d.Path),
		first, o.Size, shipment.Hash(o.SHA256[:]), o.Created.UnixNano(), meta, size, sum, string(d.Verified),
		d.At.UnixMicro())
	if err == nil {
		added, err = put.RowsAffected()
	}
	if err != nil || !first {
		return added, err
	}
	columns := []string{"source_filepath", "file_created_at", "file_transferred_at", "filepath"}
	args := []any{hexOf(o.SHA1), stamp(time.Now()), shipment.Text(o.Source), stamp(o.Created), stamp(d.At),
		shipment.Text(d.Path)}
	more, values, err := l.values(at, o)
	if err != nil {
		return 0, err
	}
	columns, args = append(columns, more...), append(args, values...)
	sets := make([]string, len(columns))
	for i, name := range columns {
		sets[i] = name + " = excluded." + name
	}
	_, err = c.ExecContext(ctx, fmt.Sprintf(`INSERT INTO %s AS t (sha1_hash, created_at, %s) VALUES (?, ?%s)
		ON CONFLICT (sha1_hash)
		DO UPDATE SET %s WHERE t.file_transferred_at IS NULL`, l.tables.Main, strings.Join(columns, ", "),
		strings.Repeat(", ?", len(columns)), strings.Join(sets, ", ")), args...)
	if ofOneRow(err) {
		err = fault.New(fault.Invalid, "record in %s: %w", l.file.path, err)
	}
	return added, err
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

// Unlock gives a file back, and takes what the claim put into the first table away, unless it was recorded.
func (l *Ledger) Unlock(ctx context.Context, o connector.Original) error {
	if _, err := l.at(); err != nil {
		return err
	}
	source, sum := shipment.Text(o.Source), hexOf(o.SHA1)
	return l.transact(ctx, "unlock in", func(ctx context.Context, c *ledgerConn) error {
		done, err := c.ExecContext(ctx,
			"DELETE FROM "+l.tables.Locks+" WHERE sha1 = ? AND source = ? AND owner = ?", sum, source, l.cfg.Owner)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		_, err = c.ExecContext(ctx,
			"DELETE FROM "+l.tables.Main+" WHERE sha1_hash = ? AND source_filepath = ? AND file_transferred_at IS NULL",
			sum, source)
		return err
	})
}

// Find looks sources up.
func (l *Ledger) Find(ctx context.Context, sources []string) (map[string]connector.Entry, error) {
	at, err := l.at()
	if err != nil || len(sources) == 0 {
		return nil, err
	}
	texts := make([]string, len(sources))
	for i, s := range sources {
		texts[i] = shipment.Text(s)
	}
	list, err := json.Marshal(texts)
	if err != nil {
		return nil, fault.New(fault.Invalid, "look up in %s: %w", l.file.path, err)
	}
	unlocked := func(sum, source string) string {
		return fmt.Sprintf(" IN (SELECT value FROM json_each(?1)) AND NOT EXISTS (SELECT 1 FROM %s AS l WHERE l.sha1 = %s AND l.source = %s)",
			l.tables.Locks, sum, source)
	}
	found := map[string]connector.Entry{}
	err = l.lookUp(ctx, "SELECT "+shipment.Fields+" FROM ("+l.entries(at, "f.source"+unlocked("f.sha1", "f.source"),
		"t.source_filepath"+unlocked("t.sha1_hash", "t.source_filepath"))+")"+sorted, string(list),
		func(e connector.Entry) error { shipment.Put(found, e); return nil })
	if err != nil {
		return nil, err
	}
	return found, nil
}

// lookUp is read for a short question that comes for each file: in the file that is open, by a connection that does not write,
// which nobody holds up.
func (l *Ledger) lookUp(ctx context.Context, query string, arg any, give func(connector.Entry) error) error {
	l.file.mu.Lock()
	db := l.file.session
	l.file.mu.Unlock()
	if db == nil || l.file.unmoved(db) != nil {
		return l.read(ctx, query, arg, give)
	}
	question, err := db.question(ctx, query)
	var rows *sql.Rows
	if err == nil {
		rows, err = question.QueryContext(ctx, arg)
	}
	if err != nil && ctx.Err() == nil { // it was closed meanwhile, or has its say by itself
		return l.read(ctx, query, arg, give)
	}
	return l.file.classify("read", readEntries(rows, err, give))
}

// read asks for entries with the file opened for itself, read-only: nobody waits for anybody, and who is given
// them may write through the ledger.
func (l *Ledger) read(ctx context.Context, query string, arg any, give func(connector.Entry) error) error {
	ofdLocks()
	db, err := sql.Open("sqlite", address(l.file.path, url.Values{"mode": {"ro"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()), "query_only(1)"}}))
	if err != nil {
		return l.file.classify("read", err)
	}
	defer db.Close()
	var rows *sql.Rows
	err = l.file.lockedFor(ctx, func() (err error) {
		rows, err = db.QueryContext(ctx, query, arg)
		return err
	})
	return l.file.classify("read", readEntries(rows, err, give))
}

// Each reads all entries since a time, as they come.
func (l *Ledger) Each(ctx context.Context, since time.Time, give func(connector.Entry) error) error {
	at, err := l.at()
	if err != nil {
		return err
	}
	var stopped error
	err = l.read(ctx, "SELECT "+shipment.Fields+" FROM (SELECT *, max(transferred_us) OVER (PARTITION BY source, sha1) AS newest FROM ("+
		l.entries(at, "(f.source, f.sha1) IN (SELECT source, sha1 FROM "+l.tables.Files+" WHERE transferred_at >= ?1)",
			micro("t.file_transferred_at")+" >= ?1")+")) ORDER BY newest, source, sha1, first DESC, destination", ceilMicro(since),
		func(e connector.Entry) error { stopped = give(e); return stopped })
	if stopped != nil {
		return stopped
	}
	return err
}

// ceilMicro is the first microsecond that is not before a time.
func ceilMicro(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	return us
}

// Restore writes down an entry that was found at its destination.
func (l *Ledger) Restore(ctx context.Context, e connector.Entry) (added bool, err error) {
	at, err := l.at()
	if err == nil {
		err = shipment.Check(e.Original)
	}
	if err != nil || len(e.Shipments) == 0 {
		return false, err
	}
	err = l.transact(ctx, "restore in", func(ctx context.Context, c *ledgerConn) error {
		var held, known, same bool
		err := c.QueryRowContext(ctx, fmt.Sprintf(`SELECT EXISTS (SELECT 1 FROM %s WHERE source = ?1),
			EXISTS (SELECT 1 FROM %s WHERE source_filepath = ?1) OR EXISTS (SELECT 1 FROM %s WHERE source = ?1),
			EXISTS (SELECT 1 FROM %[3]s WHERE source = ?1 AND sha1 = ?2)`,
			l.tables.Locks, l.tables.Main, l.tables.Files), shipment.Text(e.Source), hexOf(e.SHA1)).Scan(&held, &known, &same)
		if err != nil || held || known && !same {
			return err
		}
		for i, s := range e.Shipments {
			n, err := l.write(ctx, c, at, e.Original, s, i == 0 && !same)
			if err != nil {
				return err
			}
			added = added || n > 0
		}
		return nil
	})
	return added && err == nil, err
}

// Probe writes rows and takes them out again in a transaction that is committed: only that shows that the disk
// takes a write and its fsync.
func (l *Ledger) Probe(ctx context.Context) error {
	if _, err := l.at(); err != nil {
		return err
	}
	return l.transact(ctx, "probe", func(ctx context.Context, c *ledgerConn) error {
		for _, text := range []string{
			"INSERT OR REPLACE INTO " + l.tables.Main +
				" (sha1_hash, source_filepath, created_at) VALUES ('', '', '')",
			"DELETE FROM " + l.tables.Main + " WHERE sha1_hash = ''",
			"INSERT OR REPLACE INTO " + l.tables.Locks + " (sha1, source, owner, epoch) VALUES ('', '', '', 0)",
			"DELETE FROM " + l.tables.Locks + " WHERE sha1 = ''",
		} {
			if _, err := c.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		return nil
	})
}
