package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/shipment"
)

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
	question, err := db.questions.stmt(ctx, query)
	var rows *sql.Rows
	if err == nil {
		rows, err = question.QueryContext(ctx, arg)
	}
	if err != nil && ctx.Err() == nil { // it was closed meanwhile, or has its say by itself
		return l.read(ctx, query, arg, give)
	}
	return l.file.classify("read", readEntries(rows, err, give))
}

// read asks for entries with the file opened for itself, read-only: it waits for no writer and no writer for it, so give
// may write through the ledger.
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
