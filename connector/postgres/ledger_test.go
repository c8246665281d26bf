package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/ledgertest"
	"holdfast/tests/testenv"
)

// ledgerRig is a server whose times are not UTC.
type ledgerRig struct {
	*broken
	table string
}

func newLedgerRig(t *testing.T, pg *testenv.PostgresServer) *ledgerRig {
	t.Helper()
	b := fresh(t, pg)
	pg.Query(t, "ALTER DATABASE postgres SET timezone = 'Pacific/Auckland'; ALTER DATABASE postgres RESET synchronous_commit; "+
		"DROP TABLE IF EXISTS transfers, transfers_holdfast_files, transfers_holdfast_locks, transfers_holdfast_owners")
	return &ledgerRig{b, "wspr.goto"}
}

func (r *ledgerRig) config(owner string) LedgerConfig {
	// As one who needs no password: with the race detector a log-in with one takes longer than a test.
	return LedgerConfig{DSN: secret.Text(r.pg.DSN(r.lossy.Addr, "postgres", "")), Table: r.table, Create: true,
		Columns: ledgertest.Types, Owner: owner, Timeout: 5 * time.Second}
}

// asWriter makes it a ledger of a user who has no more rights than are given.
func (r *ledgerRig) asWriter(c *LedgerConfig) { c.DSN = r.dsn("geheim123") }

func without(c *LedgerConfig) {
	no := false
	c.Extra = &no
}

func (r *ledgerRig) target() *ledgertest.Target {
	run := func(format string, args ...any) error {
		_, err := r.pg.Try(context.Background(), fmt.Sprintf(format, args...))
		return err
	}
	return &ledgertest.Target{
		New:   func(owner string) (connector.Ledger, error) { return OpenLedger(r.config(owner)) },
		Table: r.table,
		Query: r.query,
		AgeOwner: func(owner string, by time.Duration) error {
			return run(`UPDATE %s_holdfast_owners SET renewed_at = renewed_at - interval '%f seconds'
				WHERE owner = '%s'`, r.table, by.Seconds(), owner)
		},
		AgeRow: func(source string, by time.Duration) error {
			return run(`UPDATE %s SET created_at = created_at - interval '%f seconds'
				WHERE source_filepath = '%s'`, r.table, by.Seconds(), source)
		},
	}
}

func (r *ledgerRig) query(sql string) (out [][]string, err error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, r.pg.DSN(r.pg.Addr(), "postgres", "")+"&timezone=UTC")
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	for _, result := range results {
		for _, row := range result.Rows {
			fields := make([]string, len(row))
			for i, f := range row {
				if fields[i] = string(f); f == nil {
					fields[i] = "NULL"
				}
			}
			out = append(out, fields)
		}
	}
	return out, err
}

// TestLedger runs all tests of the ledger that need a server, on one.
func TestLedger(t *testing.T) {
	pg := testenv.Postgres(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, pg *testenv.PostgresServer)
	}{
		{"contract", ledgerContract},
		{"contract without extra", ledgerWithoutExtra},
		{"rights", ledgerWithoutRights},
		{"password", ledgerPassword},
		{"errors", ledgerErrors},
		{"tables", ledgerTables},
		{"schema", ledgerDefaultSchema},
		{"west", ledgerWest},
		{"meanwhile", ledgerMeanwhile},
		{"lost answers", ledgerLostAnswers},
		{"round trips", ledgerRoundTrips},
		{"killed", ledgerKilled},
		{"hangs", ledgerHangs},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, pg) })
	}
}

func ledgerContract(t *testing.T, pg *testenv.PostgresServer) {
	ledgertest.Run(t, true, func(t *testing.T) *ledgertest.Target { return newLedgerRig(t, pg).target() })
}

// documented makes the table as rawtransfer's document says.
func (r *ledgerRig) documented(t *testing.T) {
	t.Helper()
	r.pg.Query(t, `CREATE TABLE wspr.goto (sha1_hash varchar(40) primary key, source_filepath text,
		file_created_at timestamp without time zone, file_transferred_at timestamp without time zone,
			filepath text,
		tel smallint, run int, note varchar(10), created_at timestamp without time zone default now() not null)`)
}

func ledgerWithoutExtra(t *testing.T, pg *testenv.PostgresServer) {
	ledgertest.Run(t, false, func(t *testing.T) *ledgertest.Target {
		r := newLedgerRig(t, pg)
		r.documented(t)
		target := r.target()
		target.New = func(owner string) (connector.Ledger, error) {
			cfg := r.config(owner)
			without(&cfg)
			return OpenLedger(cfg)
		}
		return target
	})
}

// ledgerWithoutRights: who may make no tables has a ledger that says what it lacks.
func ledgerWithoutRights(t *testing.T, pg *testenv.PostgresServer) {
	r := newLedgerRig(t, pg)
	r.documented(t)
	r.pg.Query(t, `ALTER SCHEMA wspr OWNER TO postgres; GRANT USAGE ON SCHEMA wspr TO writer;
		GRANT SELECT, INSERT, UPDATE, DELETE ON wspr.goto TO writer`)
	traits := r.ledger(t, "one", r.asWriter).Traits()
	if traits.Extra || !strings.Contains(traits.Lacks, `GRANT CREATE ON SCHEMA "wspr" TO "writer"`) ||
		!strings.Contains(traits.Lacks, `CREATE INDEX ON "wspr"."goto" (source_filepath)`) {
		t.Errorf("traits %+v", traits)
	}
}

func (r *ledgerRig) ledger(t *testing.T, owner string, change ...func(*LedgerConfig)) *Ledger {
	t.Helper()
	cfg := r.config(owner)
	for _, c := range change {
		c(&cfg)
	}
	l, err := OpenLedger(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := l.Check(t.Context(), ledgertest.Columns); err != nil {
		t.Fatal(err)
	}
	return l
}
