package sqlite

import (
	"context"
	"database/sql"
)

// ledgerConn is a connection that keeps what it was asked, prepared: to understand a question of the ledger is more work
// than to answer it. The questions are few, and made by this package alone.
type ledgerConn struct {
	*sql.Conn
	kept map[string]*sql.Stmt
}

func (c *ledgerConn) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := c.kept[query]; ok {
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err == nil {
		c.kept[query] = s
	}
	return s, err
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

func (c *ledgerConn) close() {
	for _, s := range c.kept {
		_ = s.Close()
	}
}
