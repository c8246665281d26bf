package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/base/fault"
)

// trusted is how long a connection that waits is taken for one that works; after that it is tried first.
const trusted = time.Second

// pool is connections that several goroutines use.
type pool struct {
	dial  *pgx.ConnConfig
	spare int    // how many connections wait for the next question. Any number are in use at once.
	what  string // for, with a verb

	mu     sync.Mutex // guards what stands below; held for a moment only
	idle   []kept
	closed bool
}

// kept is a connection that waits.
type kept struct {
	*pgx.Conn
	since time.Time
}

// close closes the connections that wait; those in use are closed when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		hangUp(context.Background(), c.Conn)
	}
}

// take returns a connection that nobody else uses.
func (p *pool) take(ctx context.Context) (*pgx.Conn, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, fault.New(fault.Permanent, "%s: it is closed", p.what)
		}
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return pgx.ConnectConfig(ctx, p.dial)
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if time.Since(c.since) < trusted || c.Ping(ctx) == nil {
			return c.Conn, nil
		}
		hangUp(ctx, c.Conn)
	}
}

// give lets a connection wait for the next question, if it is good for one.
func (p *pool) give(ctx context.Context, c *pgx.Conn) {
	const outside = 'I' // of a transaction
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < p.spare && !c.IsClosed() && c.PgConn().TxStatus() == outside
	if keep {
		p.idle = append(p.idle, kept{c, time.Now()})
	}
	p.mu.Unlock()
	if !keep {
		hangUp(ctx, c)
	}
}
