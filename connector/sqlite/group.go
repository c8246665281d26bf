package sqlite

import (
	"context"
	"slices"
	"sync"

	"holdfast/base/fault"
)

// group has callers that come at the same time share a transaction: the disk makes one commit durable after the other, and each
// takes some milliseconds.
type group struct {
	mu      sync.Mutex
	waiting []*member // guarded by mu
}

// member is what one caller wants done.
type member struct {
	ctx  context.Context
	verb string
	work func(context.Context, *ledgerConn) error
	err  error         // the caller's, once done is closed
	done chan struct{} // closed when that is known
}

func (g *group) join(m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, m)
}

// take takes out all that wait.
func (g *group) take() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.waiting
	g.waiting = nil
	return all
}

// leave takes one out; it reports whether its work has not begun.
func (g *group) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// transact runs work in a transaction, which has no effect unless work and the commit succeed. Work of other callers that
// are waiting is done in the same transaction, each behind a savepoint of its own. Work that was begun is not cancelled:
// that would undo the work of the others.
func (l *Ledger) transact(ctx context.Context, verb string, work func(context.Context, *ledgerConn) error) error {
	m := &member{ctx: ctx, verb: verb, work: work, done: make(chan struct{})}
	l.group.join(m)
	began := false
	err := l.file.alone(ctx, func() error {
		began = true
		return l.together(context.WithoutCancel(ctx), l.group.take())
	})
	if !began && l.group.leave(m) {
		return err
	}
	<-m.done
	return m.err
}

// together does the work of all, and returns an error that the session may be broken by.
func (l *Ledger) together(ctx context.Context, all []*member) (broken error) {
	defer func() {
		for _, m := range all {
			if m.err = l.file.classify(m.verb, m.err); m.err != nil && !fault.Is(m.err, fault.Conflict) {
				broken = m.err
			}
			close(m.done)
		}
	}()
	all = slices.DeleteFunc(all, func(m *member) bool {
		gone := m.ctx.Err() != nil
		if gone {
			m.err = fault.New(fault.Transient, "%s %s: %w", m.verb, l.file.path, m.ctx.Err())
			close(m.done)
		}
		return gone
	})
	if len(all) == 0 {
		return nil
	}
	fail := func(err error) {
		for _, m := range all {
			if m.err == nil {
				m.err = err
			}
		}
	}
	db, err := l.file.open(ctx)
	if err == nil {
		err = l.file.begin(ctx, db)
	}
	if err != nil {
		fail(err)
		return nil
	}
	for _, m := range all {
		if err = m.do(ctx, db, len(all) > 1); err != nil {
			break
		}
	}
	if err == nil {
		err = db.commit(ctx)
	}
	if err != nil {
		db.rollback(ctx)
		fail(err)
	}
	return nil
}

// do does the work of one. The error is that of the whole transaction, which can't go on.
func (m *member) do(ctx context.Context, db *session, besides bool) error {
	work := func() error { return fault.Catch(func() error { return m.work(ctx, db.ledger) }) }
	if !besides {
		m.err = work()
		return m.err
	}
	if _, err := db.ledger.ExecContext(ctx, "SAVEPOINT one"); err != nil {
		return err
	}
	if m.err = work(); m.err != nil {
		if _, err := db.ledger.ExecContext(ctx, "ROLLBACK TO one"); err != nil {
			return err // some errors end the whole by themselves
		}
	}
	_, err := db.ledger.ExecContext(ctx, "RELEASE one")
	return err
}
