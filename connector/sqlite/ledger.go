package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/shipment"
)

// LedgerConfig is a ledger of transferred files in a SQLite database.
type LedgerConfig struct {
	// Path is the database file; below the data directory if it is relative. Missing directories are made.
	Path string `yaml:"path" jsonschema:"required"`
	// Table is the table of rawtransfer; default transfers.
	Table string `yaml:"table"`
	// Create makes a file and a table that are missing; default true. With false that is an error.
	Create *bool `yaml:"create"`
	// Columns are the types of metadata columns of a table that is made; text for those that are not in it.
	Columns map[string]string `yaml:"columns"`
	// Busy is how long a call waits for another writer of the same file; default 5s.
	Busy time.Duration `yaml:"busy"`
	// Owner is who claims files: a name that no other process has at the same time, and that stays through
	// restarts.
	Owner string `yaml:"-"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c LedgerConfig) WithDefaults() LedgerConfig {
	if c.Table == "" {
		c.Table = shipment.DefaultTable
	}
	d := c.file().WithDefaults()
	c.Create, c.Busy = d.Create, d.Busy
	return c
}

// Validate returns all faults of the configuration, each beginning with the name of its key.
func (c LedgerConfig) Validate() []error {
	c = c.WithDefaults()
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
	cfg = cfg.WithDefaults()
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

// claim writes down that a file is held, with the values of metadata: one that its column does not take is found out
// before the file is shipped, and not when it is recorded. They are tried, too, where the first table's row of the hash is
// left as it is.
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
func (l *Ledger) Record(ctx context.Context, o connector.Original, d connector.Shipment, first, last bool) error {
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
		if _, err = l.write(ctx, c, at, o, d, first); err == nil && last {
			err = l.release(ctx, c, source, sum)
		}
		return err
	})
}

// release takes the claim of this owner away, and what it put into the first table, unless that was recorded.
func (l *Ledger) release(ctx context.Context, c *ledgerConn, source, sum string) error {
	gone, err := c.ExecContext(ctx,
		"DELETE FROM "+l.tables.Locks+" WHERE sha1 = ? AND source = ? AND owner = ?", sum, source, l.cfg.Owner)
	if err != nil {
		return err
	}
	if n, err := gone.RowsAffected(); err != nil || n == 0 {
		return err
	}
	_, err = c.ExecContext(ctx,
		"DELETE FROM "+l.tables.Main+" WHERE sha1_hash = ? AND source_filepath = ? AND file_transferred_at IS NULL",
		sum, source)
	return err
}

// write puts a shipment into our table, if it is not there, and into the first one too if it is to be shown there and
// nothing is yet.
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

// Unlock gives a file back, and takes what the claim put into the first table away, unless it was recorded.
func (l *Ledger) Unlock(ctx context.Context, o connector.Original) error {
	if _, err := l.at(); err != nil {
		return err
	}
	source, sum := shipment.Text(o.Source), hexOf(o.SHA1)
	return l.transact(ctx, "unlock in", func(ctx context.Context, c *ledgerConn) error {
		return l.release(ctx, c, source, sum)
	})
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
