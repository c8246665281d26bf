package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/shipment"
)

// utcNow is the server's clock, as times stand in our tables.
const utcNow = "(clock_timestamp() AT TIME ZONE 'UTC')"

// alive is the condition that the owner o of a lock l lives.
var alive = fmt.Sprintf("coalesce(o.epoch = l.epoch AND o.renewed_at > %s - interval '%d seconds', false)", utcNow,
	int(connector.StaleAfter.Seconds()))

// hash is the place of a parameter that is compared with the first table's key, in the type of its index.
func (at *layout) hash(n int) string {
	if at.types["sha1_hash"] == "character" {
		return fmt.Sprintf("$%d::text::bpchar", n)
	}
	return fmt.Sprintf("$%d::text", n)
}

// stamp is how a time (a timestamp with time zone) is put into a column of the first table.
func (at *layout) stamp(column, value string) string {
	if at.types[column] == "timestamp with time zone" {
		return value
	}
	return "(" + value + " AT TIME ZONE 'UTC')"
}

// read is how such a column is read: as a timestamp with time zone.
func (at *layout) read(column string) string { return at.stamp(column, "t."+column) }

// micro is an expression's microseconds since 1970.
func micro(expr string) string { return "(extract(epoch FROM " + expr + ") * 1000000)::bigint" }

// entries is a query for shipments: of files (f) and of the first table (t), that meet conditions.
func (at *layout) entries(files, main string) string {
	meta := make([]string, len(at.meta))
	for i, name := range at.meta {
		meta[i] = literal(name) + ", t." + quote(name) + "::text"
	}
	beside := ""
	if at.extra {
		beside = " AND NOT EXISTS (SELECT 1 FROM " + at.files +
			" AS f WHERE f.sha1 = t.sha1_hash AND f.source = t.source_filepath)"
	}
	text := fmt.Sprintf(`SELECT t.sha1_hash::text AS sha1, t.source_filepath AS source, %s * 1000 AS created_ns,
		NULL::bigint AS size, NULL::text AS sha256, json_build_object(%s)::text AS meta, ''::text AS destination,
		t.filepath AS path, NULL::bigint AS packed_size, NULL::text AS packed_sha256, NULL::text AS verified,
		%s AS transferred_us, false AS ours, true AS first
		FROM %s AS t WHERE t.file_transferred_at IS NOT NULL AND isfinite(t.file_transferred_at) AND (%s)%s`,
		micro(at.read("file_created_at")), strings.Join(meta, ", "), micro(at.read("file_transferred_at")),
		at.main, main, beside)
	if !at.extra {
		return text
	}
	return fmt.Sprintf(`SELECT f.sha1, f.source, f.created_ns, f.size, f.sha256, f.meta, f.destination, f.path,
		f.packed_size, f.packed_sha256, f.verified, %s AS transferred_us, true AS ours, f.first
		FROM %s AS f WHERE %s UNION ALL `,
		micro("f.transferred_at"), at.files, files) + text
}

// literal makes a text a constant in SQL.
func literal(text string) string {
	return "U&'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(text) + "'"
}

// sorted puts the rows of an entry one after the other, what the first table shows first.
const sorted = " ORDER BY source, sha1, first DESC, destination"

func hexOf(sum [20]byte) string { return fmt.Sprintf("%x", sum) }

// Lock claims a file: what is there of it is read under the lock of its hash, and what follows from that is
// written.
func (l *Ledger) Lock(ctx context.Context, o connector.Original, again bool) (connector.Claim, error) {
	at, err := l.at()
	if err == nil {
		err = shipment.Check(o)
	}
	if err != nil {
		return connector.Claim{}, err
	}
	const tries = 4
	for n := 1; ; n++ {
		var c connector.Claim
		err := l.use(ctx, "claim in", func(ctx context.Context, conn *pgx.Conn) (err error) {
			c, err = l.lock(ctx, conn, at, o, again)
			return err
		})
		e, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case n == tries:
		case errors.Is(err, errDead):
			if err = l.live(ctx, at); err == nil {
				continue
			}
		case ok && e.Code == "23505": // rawtransfer was quicker
			continue
		}
		return c, err
	}
}

// errDead says that the owner itself did not renew for too long.
var errDead = fault.New(fault.Transient, "the owner's own claims were not renewed for too long")

func (l *Ledger) lock(ctx context.Context, c *pgx.Conn, at *layout, o connector.Original,
	again bool) (connector.Claim, error) {
	ask := shipment.Ask{Original: o, Owner: l.cfg.Owner, Again: again, Extra: at.extra}
	found, made, live, err := l.look(ctx, c, at, ask)
	if err != nil {
		return connector.Claim{}, err
	}
	if at.extra && !live {
		return connector.Claim{}, errors.Join(errDead, l.ask(ctx, c, question{text: "ROLLBACK"}))
	}
	claim, step := found.Decide(ask)
	if !claim.Held {
		return claim, l.ask(ctx, c, commit)
	}
	// Before the commit, whose answer may get lost.
	created := max(time.Now().UnixMicro(), made+1)
	if !at.extra && step != shipment.Leave {
		l.setMine(o.SHA1, created)
	}
	source, sum := shipment.Text(o.Source), hexOf(o.SHA1)
	var writes []question
	if at.extra {
		if !found.Shipped(ask) {
			writes = append(writes, question{text: "DELETE FROM " + at.locks +
				" WHERE sha1 = $1 AND source <> $2", args: []any{sum, source}})
		}
		writes = append(writes, question{args: []any{sum, source, l.cfg.Owner}, text: fmt.Sprintf(
			`INSERT INTO %s (sha1, source, owner, epoch) SELECT $1, $2, $3, epoch FROM %s WHERE owner = $3
			ON CONFLICT (sha1, source) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch`,
			at.locks, at.owners)})
	}
	write, err := at.claim(step, o, time.UnixMicro(created))
	if err != nil {
		return connector.Claim{}, errors.Join(err, l.ask(ctx, c, question{text: "ROLLBACK"}))
	}
	return claim, l.ask(ctx, c, append(writes, write, commit)...)
}

// claim writes a claim into the first table, with the values of metadata: one that its column does not take is found out before
// the file is shipped, and not when it is recorded. A row that is left as it is says no less: the values are tried in front of
// its key.
func (at *layout) claim(step shipment.Step, o connector.Original, created time.Time) (q question, err error) {
	q.args = []any{hexOf(o.SHA1), shipment.Text(o.Source)}
	now := at.stamp("created_at", "clock_timestamp()")
	if !at.extra {
		now, q.args = at.stamp("created_at", "$3::timestamptz"), append(q.args, created)
	}
	columns, values, args, err := at.values(o, len(q.args)+1)
	if err != nil {
		return q, err
	}
	columns, values = append(columns, "source_filepath", "created_at"), append(values, "$2::text", now)
	q.args = append(q.args, args...)
	if step == shipment.Update {
		for i := range columns {
			columns[i] += " = " + values[i]
		}
		for _, name := range at.meta { // of who had it before
			if _, ok := o.Meta[name]; !ok {
				columns = append(columns, quote(name)+" = NULL")
			}
		}
		q.text = fmt.Sprintf(`UPDATE %s SET %s WHERE sha1_hash = %s AND file_transferred_at IS NULL`, at.main,
			strings.Join(columns, ", "), at.hash(1))
		return q, nil
	}
	q.text = fmt.Sprintf(`INSERT INTO %s (sha1_hash, %s) VALUES ($1::text, %s)`, at.main, strings.Join(columns, ", "),
		strings.Join(values, ", "))
	if step == shipment.Leave {
		q.text += " ON CONFLICT (sha1_hash) DO NOTHING"
	}
	return q, nil
}

func (l *Ledger) setMine(sum [20]byte, created int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if created == 0 {
		delete(l.mine, sum)
	} else {
		l.mine[sum] = created
	}
}

func (l *Ledger) getMine(sum [20]byte) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mine[sum]
}

// look begins a transaction in which nobody else decides about the hash, and reads what is there of a file.
// made is when the first table's row of the hash was made, live whether the owner lives.
func (l *Ledger) look(ctx context.Context, c *pgx.Conn, at *layout, a shipment.Ask) (f shipment.Found,
	made int64, live bool, err error) {
	source, sum := shipment.Text(a.Source), hexOf(a.SHA1)
	ours := "false"
	if at.extra {
		ours = "EXISTS (SELECT 1 FROM " + at.locks + " AS l WHERE l.sha1 = t.sha1_hash)"
	}
	questions := append(l.begin(), l.hashLock(a.SHA1),
		// Rawtransfer, which takes no such lock, does not change it then.
		question{text: "SELECT FROM " + at.main + " WHERE sha1_hash = " + at.hash(1) + " FOR UPDATE",
			args: []any{sum}},
		question{text: fmt.Sprintf(`SELECT t.sha1_hash = %s, coalesce(t.source_filepath, ''),
			t.file_transferred_at IS NOT NULL, %s,
			coalesce(extract(epoch FROM clock_timestamp() - %s), 1e9)::float8,
			coalesce(extract(epoch FROM clock_timestamp() - t.created_at::timestamp with time zone), 1e9)::float8,
			coalesce(%s, 0)
			FROM %s AS t
			WHERE t.sha1_hash = %[1]s OR t.source_filepath = $2::text AND t.file_transferred_at IS NULL`,
			at.hash(1), ours, at.read("created_at"), micro(at.read("created_at")), at.main),
			args: []any{sum, source},
			read: each(func(rows pgx.Rows) error {
				var r shipment.Main
				var age, local float64
				var at int64
				if err := rows.Scan(&r.Same, &r.Source, &r.Transferred, &r.Ours, &age, &local, &at); err != nil {
					return err
				}
				// The column's default is now(), which gives rawtransfer's rows the server's zone, and ours say
				// UTC: of the two the one is right that is not in the future, and sooner.
				if local >= 0 && (local < age || age < 0) {
					age = local
				}
				if r.Same {
					made, r.Mine = at, at == l.getMine(a.SHA1)
				}
				r.Source, r.Age = shipment.Path(r.Source), seconds(age)
				f.Rows = append(f.Rows, r)
				return nil
			})})
	entries := shipment.Gather{Give: func(e connector.Entry) error {
		f.Entries = append(f.Entries, e)
		return nil
	}}
	questions = append(questions, question{read: readEntries(&entries), args: []any{source, sum},
		text: "SELECT " + shipment.Fields + " FROM (" + at.entries(
			// Of the same content one other path is enough: of an empty file there may be thousands.
			"f.source = $1 OR (f.sha1, f.source) = (SELECT sha1, source FROM "+at.files+
				" WHERE sha1 = $2 AND source <> $1 LIMIT 1)",
			"t.source_filepath = $1 OR t.sha1_hash = "+at.hash(2)) + ") AS e" + sorted})
	if at.extra {
		questions = append(questions, question{text: `SELECT l.source, l.owner, ` + alive + `,
			coalesce(extract(epoch FROM o.renewed_at - ` + utcNow + `), 0)::float8
			FROM ` + at.locks + ` AS l LEFT JOIN ` + at.owners + ` AS o USING (owner) WHERE l.sha1 = $1`,
			args: []any{sum},
			read: each(func(rows pgx.Rows) error {
				var k shipment.Lock
				var left float64
				if err := rows.Scan(&k.Source, &k.Owner, &k.Alive, &left); err != nil {
					return err
				}
				k.Source, k.Left = shipment.Path(k.Source), connector.StaleAfter+seconds(left)
				f.Locks = append(f.Locks, k)
				return nil
			})}, question{text: `SELECT renewed_at > ` + utcNow + ` - interval '1 minute' FROM ` + at.owners +
			` WHERE owner = $1`,
			args: []any{l.cfg.Owner}, read: into(&live)})
	}
	err = l.ask(ctx, c, questions...)
	return f, made, live, err
}

// seconds makes a number of seconds a duration; it may be anything.
func seconds(s float64) time.Duration {
	const most = 1e9
	return time.Duration(min(max(s, -most), most) * float64(time.Second))
}

// readEntries reads rows with the fields of package shipment.
func readEntries(g *shipment.Gather) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		err := each(func(rows pgx.Rows) error {
			var r shipment.Row
			if err := rows.Scan(r.Into()...); err != nil {
				return err
			}
			return g.Add(&r)
		})(rows)
		if err == nil {
			err = g.End()
		}
		return err
	}
}

// Renew writes down that the owner lives.
func (l *Ledger) Renew(ctx context.Context) (lost bool, err error) {
	at, err := l.at()
	if err == nil {
		err = l.live(ctx, at)
	}
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, l.lost = l.lost, false
	return lost, nil
}

// live renews the owner; one that comes too late begins another epoch.
func (l *Ledger) live(ctx context.Context, at *layout) error {
	if !at.extra {
		return nil
	}
	var epoch int64
	var was *bool // late; nil if there is no row
	err := l.transact(ctx, "renew claims in", question{args: []any{l.cfg.Owner}, read: into(&epoch, &was),
		text: fmt.Sprintf(`WITH was AS
			(SELECT renewed_at <= %[1]s - interval '1 minute' AS late FROM %[2]s WHERE owner = $1)
			INSERT INTO %[2]s AS o (owner, epoch, renewed_at) VALUES ($1, 1, %[1]s)
			ON CONFLICT (owner) DO UPDATE SET renewed_at = %[1]s,
			epoch = o.epoch + CASE WHEN o.renewed_at <= %[1]s - interval '1 minute' THEN 1 ELSE 0 END
			RETURNING epoch, (SELECT late FROM was)`, utcNow, at.owners)})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if was != nil && *was || l.epoch != 0 && l.epoch != epoch {
		l.lost = true
	}
	l.epoch = epoch
	return nil
}

// show is what Record and Restore put into the first table: columns and values, from parameter n on.
func (at *layout) show(o connector.Original, d connector.Shipment, n int) (columns, values []string,
	args []any, err error) {
	add := func(column, value string, arg any) {
		columns, args = append(columns, column), append(args, arg)
		values = append(values, fmt.Sprintf(value, fmt.Sprintf("$%d", n)))
		n++
	}
	add("source_filepath", "%s::text", shipment.Text(o.Source))
	add("file_created_at", at.stamp("file_created_at", "%s::timestamptz"), o.Created)
	add("file_transferred_at", at.stamp("file_transferred_at", "%s::timestamptz"), d.At)
	add("filepath", "%s::text", shipment.Text(d.Path))
	more, given, further, err := at.values(o, n)
	return append(columns, more...), append(values, given...), append(args, further...), err
}

// values are what is put into the columns of metadata, from parameter n on.
func (at *layout) values(o connector.Original, n int) (columns, values []string, args []any, err error) {
	for _, name := range at.meta {
		value, ok := o.Meta[name]
		if !ok {
			continue
		}
		cast := fmt.Sprintf("$%d::text", n+len(args))
		if typ := at.types[name]; typ != "text" && typ != "character varying" && typ != "character" {
			cast = "CAST(" + cast + " AS " + typ + ")"
		}
		columns, values, args = append(columns, quote(name)), append(values, cast), append(args, value)
	}
	for name := range o.Meta {
		if !slices.Contains(at.meta, name) {
			return nil, nil, nil, fault.New(fault.Permanent, "metadata column %s: it was not checked", name)
		}
	}
	return columns, values, args, nil
}

// keep is the row of a shipment in our own table.
func keep(o connector.Original, d connector.Shipment, first bool) ([]any, error) {
	meta, err := shipment.Meta(o.Meta)
	size, sum := shipment.Packed(o, d)
	return []any{hexOf(o.SHA1), shipment.Text(o.Source), d.Destination, shipment.Text(d.Path), first, o.Size,
		shipment.Hash(o.SHA256[:]),
		o.Created.UnixNano(), meta, size, sum, string(d.Verified), d.At}, err
}

// kept are its columns and values, for parameters from 1 on.
const (
	keptColumns = `(sha1, source, destination, path, first, size, sha256, created_ns, meta, packed_size,
		packed_sha256, verified, transferred_at)`
	keptValues = `$1::text, $2::text, $3::text, $4::text, $5::boolean, $6::bigint, $7::text, $8::bigint,
		$9::text, $10::bigint, $11::text,
		$12::text, $13::timestamptz AT TIME ZONE 'UTC'`
	keptCount = 13
)

// Record writes a shipment into both tables, if the file is held.
func (l *Ledger) Record(ctx context.Context, o connector.Original, d connector.Shipment, first, last bool) error {
	at, err := l.at()
	if err == nil {
		err = shipment.Check(o)
	}
	if err != nil {
		return err
	}
	if !at.extra {
		if err := l.recordMain(ctx, at, o, d, first); err != nil || !last {
			return err
		}
		l.setMine(o.SHA1, 0)
		return nil
	}
	args, err := keep(o, d, first)
	if err != nil {
		return err
	}
	columns, values, more, err := at.show(o, d, keptCount+2)
	if err != nil {
		return err
	}
	args = append(append(args, l.cfg.Owner), more...)
	sets := make([]string, len(columns))
	for i, c := range columns {
		sets[i] = c + " = excluded." + c
	}
	shown := ""
	if first {
		shown = fmt.Sprintf(`,
		shown AS (INSERT INTO %s AS t (sha1_hash, created_at, %s) SELECT $1::text, %s, %s FROM held
			ON CONFLICT (sha1_hash) DO UPDATE SET %s WHERE t.file_transferred_at IS NULL)`,
			at.main, strings.Join(columns, ", "), at.stamp("created_at", "clock_timestamp()"),
			strings.Join(values, ", "), strings.Join(sets, ", "))
	} else {
		args = args[:keptCount+1]
	}
	var held, known bool
	questions := []question{l.hashLock(o.SHA1), {args: args, read: into(&held, &known),
		text: fmt.Sprintf(`WITH held AS (SELECT FROM %s WHERE sha1 = $1 AND source = $2 AND owner = $%d),
		kept AS (INSERT INTO %s %s SELECT %s FROM held ON CONFLICT (source, sha1, destination) DO NOTHING)%s
		SELECT EXISTS (SELECT FROM held),
			EXISTS (SELECT FROM %[3]s WHERE source = $2 AND sha1 = $1 AND destination = $3)`,
			at.locks, keptCount+1, at.files, keptColumns, keptValues, shown)}}
	if last {
		questions = append(questions, l.release(at, o))
	}
	err = l.transact(ctx, "record in", questions...)
	if err == nil && !held && !known {
		err = l.lostClaim(o)
	}
	return err
}

// release takes a claim away, and what it put into the first table, unless that was recorded.
func (l *Ledger) release(at *layout, o connector.Original) question {
	args := []any{hexOf(o.SHA1), shipment.Text(o.Source)}
	text := fmt.Sprintf(`DELETE FROM %s AS t WHERE t.sha1_hash = %s AND t.source_filepath = $2::text
		AND t.file_transferred_at IS NULL`, at.main, at.hash(1))
	if at.extra {
		text = fmt.Sprintf(`WITH gone AS (DELETE FROM %s WHERE sha1 = $1 AND source = $2 AND owner = $3 RETURNING 1)
			%s AND EXISTS (SELECT FROM gone)`, at.locks, text)
		return question{text: text, args: append(args, l.cfg.Owner)}
	}
	text += " AND $3::bigint IN (0, " + micro(at.read("created_at")) + ")"
	return question{text: text, args: append(args, l.getMine(o.SHA1))}
}

func (l *Ledger) lostClaim(o connector.Original) error {
	return fault.New(fault.Conflict, "record in %s: %.200q is not held", l.name, o.Source)
}

// recordMain is Record without tables of our own.
func (l *Ledger) recordMain(ctx context.Context, at *layout, o connector.Original, d connector.Shipment,
	first bool) error {
	if !first {
		return nil // there is no place for it
	}
	columns, values, more, err := at.show(o, d, 3)
	if err != nil {
		return err
	}
	for i, c := range columns {
		columns[i] = c + " = " + values[i]
	}
	var done, transferred bool
	args := append([]any{hexOf(o.SHA1), l.getMine(o.SHA1)}, more...)
	err = l.transact(ctx, "record in", l.hashLock(o.SHA1), question{args: args, read: into(&done, &transferred),
		text: fmt.Sprintf(`WITH done AS (UPDATE %s AS t SET %s WHERE t.sha1_hash = %s AND t.source_filepath = $3
			AND t.file_transferred_at IS NULL AND $2::bigint IN (0, %s) RETURNING 1)
			SELECT EXISTS (SELECT FROM done),
				EXISTS (SELECT FROM %[1]s WHERE sha1_hash = %[3]s AND file_transferred_at IS NOT NULL)`,
			at.main, strings.Join(columns, ", "), at.hash(1), micro(at.read("created_at")))})
	if err == nil && !done && !transferred {
		err = l.lostClaim(o)
	}
	return err
}

// Unlock gives a file back, and takes what the claim put into the first table away, unless it was recorded.
func (l *Ledger) Unlock(ctx context.Context, o connector.Original) error {
	at, err := l.at()
	if err != nil {
		return err
	}
	if err = l.transact(ctx, "unlock in", l.hashLock(o.SHA1), l.release(at, o)); err == nil {
		l.setMine(o.SHA1, 0)
	}
	return err
}

// Find looks sources up.
func (l *Ledger) Find(ctx context.Context, sources []string) (map[string]connector.Entry, error) {
	at, err := l.at()
	if err != nil || len(sources) == 0 {
		return nil, err
	}
	texts := make([]string, len(sources))
	for i, s := range sources {
		texts[i] = strings.ReplaceAll(shipment.Text(s), "\x00", "") // no path has one
	}
	unlocked := func(sum, source string) string {
		if !at.extra {
			return ""
		}
		return fmt.Sprintf(" AND NOT EXISTS (SELECT FROM %s AS l WHERE l.sha1 = %s AND l.source = %s)",
			at.locks, sum, source)
	}
	found := map[string]connector.Entry{}
	entries := shipment.Gather{Give: func(e connector.Entry) error { shipment.Put(found, e); return nil }}
	err = l.transact(ctx, "look up in", question{args: []any{texts}, read: readEntries(&entries),
		text: "SELECT " + shipment.Fields + " FROM (" + at.entries("f.source = ANY ($1)"+unlocked("f.sha1", "f.source"),
			"t.source_filepath = ANY ($1)"+unlocked("t.sha1_hash", "t.source_filepath")) + ") AS e" + sorted})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Each reads all entries since a time, as they come.
func (l *Ledger) Each(ctx context.Context, since time.Time, give func(connector.Entry) error) error {
	at, err := l.at()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var silent atomic.Bool
	silence := time.AfterFunc(l.cfg.Timeout, func() { silent.Store(true); cancel() })
	defer silence.Stop()
	var stopped error
	entries := shipment.Gather{Give: func(e connector.Entry) error {
		silence.Stop()
		if stopped = give(e); stopped != nil {
			cancel() // else the rest of the answer would be read
		}
		silence.Reset(l.cfg.Timeout)
		return stopped
	}}
	c, err := l.pool.take(ctx)
	if err == nil {
		defer l.pool.give(ctx, c)
		var rows pgx.Rows
		text := at.entries(`(f.source, f.sha1) IN (SELECT source, sha1 FROM `+at.files+`
			WHERE transferred_at >= $1::timestamptz AT TIME ZONE 'UTC')`,
			at.read("file_transferred_at")+` >= $1::timestamptz`)
		rows, err = c.Query(ctx, `SELECT `+shipment.Fields+` FROM (SELECT *, max(transferred_us)
			OVER (PARTITION BY source, sha1) AS newest FROM (`+text+`) AS e) AS n
			ORDER BY newest, source, sha1, first DESC, destination`, since)
		if err == nil {
			defer rows.Close()
			err = readEntries(&entries)(rows)
		}
	}
	switch {
	case stopped != nil:
		return stopped
	case err != nil && silent.Load():
		return fault.New(fault.Transient, "read %s: the server said nothing for %v", l.name, l.cfg.Timeout)
	}
	return l.classify("read", err)
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
	source, sum := shipment.Text(e.Source), hexOf(e.SHA1)
	err = l.use(ctx, "restore in", func(ctx context.Context, c *pgx.Conn) error {
		var known, same, held, shown bool
		files, locks := "false, false", "false"
		if at.extra {
			of := fmt.Sprintf("EXISTS (SELECT FROM %s WHERE source = $2", at.files)
			files = of + "), " + of + " AND sha1 = $1)"
			locks = fmt.Sprintf("EXISTS (SELECT FROM %s WHERE source = $2)", at.locks)
		}
		err := l.ask(ctx, c, append(l.begin(), l.hashLock(e.SHA1), question{args: []any{sum, source},
			read: into(&held, &known, &same, &shown),
			text: fmt.Sprintf(`SELECT %s, EXISTS (SELECT FROM %s WHERE source_filepath = $2) OR %s,
				EXISTS (SELECT FROM %[2]s WHERE sha1_hash = %[4]s)`, locks, at.main, files, at.hash(1))})...)
		switch {
		case err != nil:
			return err
		case !held && same:
			added, err = l.addTo(ctx, c, at, e)
			return err
		case held || known || shown && !at.extra:
			return l.ask(ctx, c, commit)
		}
		writes, err := l.restoring(at, e, shown)
		if err == nil {
			err = l.ask(ctx, c, append(writes, commit)...)
		}
		added = err == nil
		return err
	})
	return added, err
}

// addTo adds to an entry those shipments that it lacks.
func (l *Ledger) addTo(ctx context.Context, c *pgx.Conn, at *layout, e connector.Entry) (added bool, err error) {
	var writes []question
	for _, s := range e.Shipments {
		args, err := keep(e.Original, s, false)
		if err != nil {
			return false, err
		}
		writes = append(writes, question{args: args, text: fmt.Sprintf("INSERT INTO %s %s VALUES (%s) ON CONFLICT DO NOTHING RETURNING 1",
			at.files, keptColumns, keptValues), read: each(func(pgx.Rows) error { added = true; return nil })})
	}
	err = l.ask(ctx, c, append(writes, commit)...)
	return added && err == nil, err
}

// restoring writes down an entry; shown says that the first table shows its content already.
func (l *Ledger) restoring(at *layout, e connector.Entry, shown bool) (writes []question, err error) {
	if !shown {
		columns, values, args, err := at.show(e.Original, e.Shipments[0], 2)
		if err != nil {
			return nil, err
		}
		writes = append(writes, question{args: append([]any{hexOf(e.SHA1)}, args...), text: fmt.Sprintf(
			"INSERT INTO %s (sha1_hash, created_at, %s) VALUES ($1::text, %s, %s)", at.main,
			strings.Join(columns, ", "),
			at.stamp("created_at", "clock_timestamp()"), strings.Join(values, ", "))})
	}
	for i, s := range e.Shipments {
		args, err := keep(e.Original, s, i == 0)
		if err != nil || !at.extra {
			return writes, err
		}
		writes = append(writes, question{args: args,
			text: fmt.Sprintf("INSERT INTO %s %s VALUES (%s) ON CONFLICT DO NOTHING", at.files,
				keptColumns, keptValues)})
	}
	return writes, nil
}

// probeHash is the hash of rows that a probe writes, and takes away again.
var probeHash = strings.Repeat("0", 40)

// Probe writes rows and takes them out again in a transaction that is committed: only that shows that the
// server takes a write and its commit.
func (l *Ledger) Probe(ctx context.Context) error {
	at, err := l.at()
	if err != nil {
		return err
	}
	questions := []question{
		{text: "INSERT INTO " + at.main + " (sha1_hash, source_filepath, created_at) VALUES ($1::text, '', " +
			at.stamp("created_at", "clock_timestamp()") +
			") ON CONFLICT (sha1_hash) DO NOTHING", args: []any{probeHash}},
		{text: "DELETE FROM " + at.main + " WHERE sha1_hash = " + at.hash(1), args: []any{probeHash}},
	}
	if at.extra {
		args, err := keep(connector.Original{}, connector.Shipment{}, false)
		if err != nil {
			return err
		}
		args[0] = probeHash
		questions = append(questions,
			question{text: fmt.Sprintf("INSERT INTO %s %s VALUES (%s) ON CONFLICT DO NOTHING", at.files,
				keptColumns, keptValues), args: args},
			question{text: "DELETE FROM " + at.files + " WHERE sha1 = $1", args: []any{probeHash}},
			question{text: "INSERT INTO " + at.locks +
				" (sha1, source, owner, epoch) VALUES ($1, '', '', 0) ON CONFLICT DO NOTHING",
				args: []any{probeHash}},
			question{text: "DELETE FROM " + at.locks + " WHERE sha1 = $1", args: []any{probeHash}})
	}
	return l.transact(ctx, "probe", questions...)
}
