package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/ledgertest"
	"holdfast/tests/testenv"
)

// ledgerFile is a file without the ledger.
type ledgerFile struct {
	t    *testing.T
	path string
}

func (f ledgerFile) query(text string) (out [][]string, err error) {
	db, err := sql.Open("sqlite", address(f.path, nil)+"_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query(text)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		fields, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range fields {
			into[i] = &fields[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i, field := range fields {
			if row[i] = field.String; !field.Valid {
				row[i] = "NULL"
			}
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

func (f ledgerFile) exec(format string, args ...any) error {
	_, err := f.query(fmt.Sprintf(format, args...))
	return err
}

func (f ledgerFile) ledger(owner string) (*Ledger, error) {
	return OpenLedger(LedgerConfig{Path: f.path, Table: "goto", Columns: ledgertest.Types, Owner: owner})
}

func (f ledgerFile) target() *ledgertest.Target {
	return &ledgertest.Target{
		New:   func(owner string) (connector.Ledger, error) { return f.ledger(owner) },
		Table: "goto",
		Query: f.query,
		AgeOwner: func(owner string, by time.Duration) error {
			return f.exec(`UPDATE goto_holdfast_owners SET renewed_at = renewed_at - %d WHERE owner = '%s'`,
				by.Microseconds(), owner)
		},
		AgeRow: func(source string, by time.Duration) error {
			return f.exec(`UPDATE goto SET created_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', created_at,
				'-%f seconds') WHERE source_filepath = '%s'`, by.Seconds(), source)
		},
	}
}

func TestLedger(t *testing.T) {
	ledgertest.Run(t, true, func(t *testing.T) *ledgertest.Target {
		return ledgerFile{t, filepath.Join(t.TempDir(), "ledger.sqlite")}.target()
	})
}

func TestLedgerValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  LedgerConfig
		want string
	}{
		{LedgerConfig{Path: "x", Owner: "one"}, ""},
		{LedgerConfig{Owner: "one"}, "path: missing"},
		{LedgerConfig{Path: "x"}, "owner: missing"},
		{LedgerConfig{Path: "x", Owner: "one", Table: "sqlite_x"}, "table: "},
		{LedgerConfig{Path: "x", Owner: "one", Table: "a\x00"}, "table: got"},
		{LedgerConfig{Path: "x", Owner: "one", Columns: map[string]string{"tel": "int); --"}},
			"columns: tel: got"},
	} {
		errs := c.cfg.Validate()
		if c.want == "" && len(errs) > 0 || c.want != "" && (len(errs) != 1 ||
			!strings.HasPrefix(errs[0].Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c.cfg, errs, c.want)
		}
	}
}

func (f ledgerFile) open(change ...func(*LedgerConfig)) *Ledger {
	f.t.Helper()
	cfg := LedgerConfig{Path: f.path, Table: "goto", Columns: ledgertest.Types, Owner: "one",
		Busy: 100 * time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	l, err := OpenLedger(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestLedgerTables: a table that is there is used as it is, or refused with the SQL that helps.
func TestLedgerTables(t *testing.T) {
	const document = `CREATE TABLE goto (sha1_hash %s, source_filepath text, file_created_at timestamp,
		file_transferred_at timestamp,
		filepath text, tel smallint, run int, note varchar(10),
			created_at timestamp default current_timestamp not null)`
	key := fmt.Sprintf(document, "varchar(40) primary key")
	for _, c := range []struct{ name, sql, want, hint string }{
		{"as its document says", key, "", ""},
		{"char", fmt.Sprintf(document, "char(40) primary key"), "", ""},
		{"unique", fmt.Sprintf(document, "text") + "; CREATE UNIQUE INDEX x ON goto (sha1_hash)", "", ""},
		{"strict", strings.NewReplacer("varchar(40)", "text", "timestamp", "text", "smallint", "integer",
			"varchar(10)", "text", "current_timestamp", "current_timestamp").
			Replace(key) + " STRICT", "", ""},
		{"more columns", key +
			"; ALTER TABLE goto ADD more text; ALTER TABLE goto ADD obs text NOT NULL DEFAULT 'GOTO'", "", ""},
		{"no key", fmt.Sprintf(document, "text"), "no unique index", "CREATE UNIQUE INDEX"},
		{"no metadata", key + "; ALTER TABLE goto DROP run", "it has no column run",
			`ALTER TABLE "goto" ADD COLUMN "run" int;`},
		{"one needed more", strings.Replace(key, "tel smallint", "tel smallint not null", 1),
			"column tel must not be null", "anew"},
		{"another type", strings.Replace(key, "filepath text", "filepath integer", 1), "is declared",
			"name another"},
		{"foreign files", key + "; CREATE TABLE goto_holdfast_files (x)", "no such column", ""},
		{"none", "", "there is no such table", "CREATE TABLE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ledgerFile{t, filepath.Join(t.TempDir(), "ledger.sqlite")}
			for _, text := range append(strings.Split(c.sql, ";"), "PRAGMA user_version = 7") {
				if err := f.exec("%s", text); err != nil {
					t.Fatalf("%s: %v", text, err)
				}
			}
			l := f.open(func(cfg *LedgerConfig) { no := false; cfg.Create = &no })
			err := l.Check(t.Context(), ledgertest.Columns)
			if c.want != "" {
				if hint := fault.HintOf(err); !fault.Is(err, fault.Permanent) ||
					!strings.Contains(err.Error(), c.want) || !strings.Contains(hint, c.hint) {
					t.Errorf("got %v (%v), hint %q; want %s", err, fault.KindOf(err), hint, c.want)
				}
				return
			}
			if err != nil || !strings.Contains(l.Traits().Lacks, "CREATE INDEX") {
				t.Fatalf("check: %v, lacks %q", err, l.Traits().Lacks)
			}
			o := ledgertest.File("/a", "a")
			f.transfer(l, o)
			if found, err := l.Find(t.Context(), []string{"/a"}); err != nil || len(found) != 1 {
				t.Errorf("found %v %v", found, err)
			}
		})
	}
}

func (f ledgerFile) transfer(l *Ledger, o connector.Original) {
	f.t.Helper()
	c, err := l.Lock(f.t.Context(), o, false)
	if err == nil && c.Held {
		err = l.Record(f.t.Context(), o, ledgertest.To(o, "here", "/raw/a"), true, false)
	}
	if err == nil {
		err = l.Unlock(f.t.Context(), o)
	}
	if err != nil {
		f.t.Fatalf("transfer: %+v %v (%v)", c, err, fault.KindOf(err))
	}
}

// TestLedgerErrors: each has its kind, and when what was wrong is well again the ledger goes on.
func TestLedgerErrors(t *testing.T) {
	f := ledgerFile{t, filepath.Join(testenv.SmallDisk(t, 4<<20), "ledger.sqlite")}
	l := f.open()
	if _, err := l.Find(t.Context(), []string{"/a"}); !fault.Is(err, fault.Transient) {
		t.Errorf("before a check: got %v", err)
	}
	if err := l.Check(t.Context(), ledgertest.Columns); err != nil {
		t.Fatal(err)
	}
	f.transfer(l, ledgertest.File("/first", "first"))
	fill := filepath.Join(filepath.Dir(f.path), "fill")
	if err := os.WriteFile(fill, make([]byte, 8<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ { // a page that is there already has room
		o := ledgertest.File(fmt.Sprint("/a", n), fmt.Sprint(n))
		if _, err = l.Lock(t.Context(), o, false); err == nil {
			err = l.Record(t.Context(), o, ledgertest.To(o, "here", strings.Repeat("/raw", 100)), true, false)
		}
	}
	if !fault.Is(err, fault.Full) {
		t.Errorf("full disk: got %v (%v) after %d files", err, fault.KindOf(err), n)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := l.Probe(t.Context()); err != nil {
		t.Errorf("probe with room: %v", err)
	}
	f.transfer(l, ledgertest.File("/second", "second"))
	if rows, err := f.query("SELECT count(*) FROM goto, pragma_integrity_check WHERE integrity_check = 'ok'"); err != nil || len(rows) != 1 {
		t.Errorf("got %v %v", rows, err)
	}
	// Somebody else writes, and takes his time.
	db, err := sql.Open("sqlite", address(f.path, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lock(t.Context(), ledgertest.File("/third", "third"), false); !fault.Is(err, fault.Transient) {
		t.Errorf("a file that another writes: got %v (%v)", err, fault.KindOf(err))
	}
	if found, err := l.Find(t.Context(), []string{"/first"}); err != nil || len(found) != 1 {
		t.Errorf("reading waits for a writer: %v %v", found, err)
	}
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	f.transfer(l, ledgertest.File("/third", "third"))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Check(t.Context(), nil); !fault.Is(err, fault.Permanent) {
		t.Errorf("after Close: got %v", err)
	}
	garbage := ledgerFile{t, filepath.Join(t.TempDir(), "ledger.sqlite")}
	if err := os.WriteFile(garbage.path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := garbage.open().Check(t.Context(), nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("garbage: got %v (%v)", err, fault.KindOf(err))
	}
}
