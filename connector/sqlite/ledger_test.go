package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"holdfast/connector"
	"holdfast/connector/ledgertest"
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
			return f.exec(`UPDATE goto_holdfast_owners SET renewed_at = renewed_at - %d WHERE owner = '%s'`, by.Microseconds(), owner)
		},
		AgeRow: func(source string, by time.Duration) error {
			return f.exec(`UPDATE goto SET created_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', created_at, '-%f seconds') WHERE source_filepath = '%s'`, by.Seconds(), source)
		},
	}
}

func TestLedger(t *testing.T) {
	ledgertest.Run(t, true, func(t *testing.T) *ledgertest.Target {
		return ledgerFile{t, filepath.Join(t.TempDir(), "ledger.sqlite")}.target()
	})
}
