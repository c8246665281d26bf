package sqlite

import (
	"context"
	"database/sql"
	"sync"
)

// statements keep what is asked, prepared: to understand a question of the ledger is more work than to answer it. The
// questions are few, and made by this package alone.
type statements struct {
	by interface {
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
	mu   sync.Mutex
	kept map[string]*sql.Stmt // guarded by mu
}

func (k *statements) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.kept[query]; ok {
		return s, nil
	}
	s, err := k.by.PrepareContext(ctx, query)
	if err == nil {
		k.kept[query] = s
	}
	return s, err
}

func (k *statements) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.kept {
		_ = s.Close()
	}
}

// ledgerConn is a connection whose statements are kept.
type ledgerConn struct {
	*sql.Conn
	statements
}

// ExecContext runs a statement.
func (c *ledgerConn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// QueryContext asks for rows.
func (c *ledgerConn) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext asks for one row.
func (c *ledgerConn) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := c.stmt(ctx, query)
	if err != nil {
		return c.Conn.QueryRowContext(ctx, query, args...) // which has the error
	}
	return s.QueryRowContext(ctx, args...)
}
