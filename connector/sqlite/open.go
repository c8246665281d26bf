package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	driverpkg "modernc.org/sqlite"

	"holdfast/base/fault"
	"holdfast/base/record"
)

const (
	// lockWait is how long SQLite itself waits for a lock. It is short, because that wait does not
	// end with a context; the rest of Config.Busy is waited for in lockedFor.
	lockWait = 50 * time.Millisecond
	// lockPause lies between two attempts.
	lockPause = 20 * time.Millisecond
)

// session is an open database with its writing connection and the statements prepared on it.
type session struct {
	db     *sql.DB
	w      *sql.Conn
	ledger *ledgerConn            // w, for the questions of a ledger
	info   os.FileInfo            // of the file that is open
	table  *table                 // nil until prepared; changed under Sink.turn and Sink.mu
	tidied map[record.Lineage]int // deliveries since the delivered set was last looked through

	questions statements // to those connections that read
}

func (db *session) close() {
	db.questions.close()
	if db.table != nil {
		db.table.close()
	}
	if db.w != nil {
		db.ledger.close()
		_ = db.w.Close()
	}
	// An error here says that the last checkpoint failed; the WAL keeps what was committed.
	_ = db.db.Close()
}

// open returns the open database, after a look whether it is still the file at path.
func (s *Sink) open(ctx context.Context) (*session, error) {
	s.mu.Lock()
	db := s.session
	s.mu.Unlock()
	if db != nil {
		return db, s.unmoved(db)
	}
	created, err := s.makeRoom()
	if err != nil {
		return nil, err
	}
	if db, err = s.dial(ctx); err != nil {
		return nil, err
	}
	if created {
		// A power cut must not take the name of a database whose commits were acknowledged.
		if err := syncDir(filepath.Dir(s.path)); err != nil {
			db.close()
			return nil, fault.New(fault.Transient, "sync directory of %s: %w", s.path, err)
		}
	}
	s.mu.Lock()
	s.session = db
	s.mu.Unlock()
	return db, nil
}

// unmoved returns an error if the file at path is not the one that is open: SQLite would go on
// writing into a file that nobody can find.
func (s *Sink) unmoved(db *session) error {
	info, err := os.Stat(s.path)
	switch {
	case err == nil && os.SameFile(info, db.info):
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return s.classify("look at", err)
	}
	return fault.WithHint(
		fault.New(fault.Transient, "write to %s: the file was deleted or replaced while open", s.path),
		"%s", s.moved)
}

// makeRoom creates the directories above the database and says whether the file is still missing.
func (s *Sink) makeRoom() (missing bool, err error) {
	info, err := os.Stat(s.path)
	switch {
	case err == nil && info.IsDir():
		return false, fault.New(fault.Permanent, "open database %s: it is a directory", s.path)
	case err == nil:
		return false, nil
	case !errors.Is(err, os.ErrNotExist):
		return false, s.classify("open", err)
	case !*s.cfg.Create:
		return false, fault.WithHint(
			fault.New(fault.Permanent, "open database %s: there is none, and create is false", s.path),
			"create it, or set create: true")
	}
	if err := makeDirs(filepath.Dir(s.path)); err != nil {
		return false, s.classify("create directory of", err)
	}
	return true, nil
}

// makeDirs is os.MkdirAll whose new names survive a power cut.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// ofdLocks makes SQLite lock open files, not processes: else whatever in this process opens and
// closes a database file, to hash or to copy it, takes our locks on it away, and the next visitor
// that leaves removes the WAL under us. It has to come before the first database of the process;
// where it comes too late or the system has no such locks, nothing can be done.
var ofdLocks = sync.OnceFunc(func() { _, _ = driverpkg.OFDLocking(true) })

// dial opens the file and takes the connection that writes.
func (s *Sink) dial(ctx context.Context) (*session, error) {
	ofdLocks()
	pool, err := sql.Open("sqlite", dsn(s.path))
	if err != nil {
		return nil, s.classify("open", err)
	}
	pool.SetMaxOpenConns(4) // one writes, the others read
	pool.SetMaxIdleConns(2)
	db := &session{db: pool, tidied: map[record.Lineage]int{}, questions: statements{by: pool, kept: map[string]*sql.Stmt{}}}
	err = s.lockedFor(ctx, func() error {
		if db.w, err = pool.Conn(ctx); err != nil {
			return err
		}
		db.ledger = &ledgerConn{db.w, statements{by: db.w, kept: map[string]*sql.Stmt{}}}
		return s.inWAL(ctx, db.w)
	})
	if err == nil {
		db.info, err = os.Stat(s.path)
	}
	if err != nil {
		db.close()
		return nil, s.classify("open", err)
	}
	return db, nil
}

// inWAL turns the database to WAL mode, which stays with the file.
func (s *Sink) inWAL(ctx context.Context, c *sql.Conn) error {
	var mode string
	if err := c.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode); err != nil {
		_ = c.Close()
		return err
	}
	if mode != "wal" {
		_ = c.Close()
		return fault.WithHint(
			fault.New(fault.Permanent, "open database %s: its journal mode stays %s", s.path, mode),
			"SQLite's WAL needs a local file system; give a path on one")
	}
	return nil
}

// dsn is the name under which the driver opens path, with the settings of every connection.
// A WAL of 16 MiB is written back at once, and cut to 64 MiB after a larger transaction.
func dsn(path string) string {
	return address(path, url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()),
		"synchronous(FULL)",
		"wal_autocheckpoint(4096)",
		fmt.Sprintf("journal_size_limit(%d)", 64<<20),
		fmt.Sprintf("cache_size(-%d)", 8<<10),
	}})
}

func address(path string, settings url.Values) string {
	return "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + settings.Encode()
}

// lockedFor repeats f while somebody else holds a lock, up to Config.Busy.
func (s *Sink) lockedFor(ctx context.Context, f func() error) error {
	return lockedFor(ctx, s.cfg.Busy, f)
}

func lockedFor(ctx context.Context, busy time.Duration, f func() error) error {
	deadline := time.Now().Add(busy)
	for {
		err := f()
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return err
		}
		pause := time.NewTimer(lockPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func isBusy(err error) bool {
	e, ok := errors.AsType[*driverpkg.Error](err)
	return ok && (e.Code()&0xff == codeBusy || e.Code()&0xff == codeLocked)
}

// begin starts a writing transaction.
func (s *Sink) begin(ctx context.Context, db *session) error {
	return s.lockedFor(ctx, func() error {
		_, err := db.w.ExecContext(ctx, "BEGIN IMMEDIATE")
		return err
	})
}

// rollback ends a transaction whose outcome does not matter any more. If even that fails, the
// connection is closed by alone, which ends it too.
func (db *session) rollback(ctx context.Context) {
	_, _ = db.w.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
}

// commit is not cancelled: an interrupted commit would leave open what became of it.
func (db *session) commit(ctx context.Context) error {
	_, err := db.w.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	return err
}

// prepareRaw prepares a statement on the driver's own connection: through database/sql each of the
// twenty values of a row would be copied and checked twice, which halves the speed.
func (db *session) prepareRaw(query string) (st driver.Stmt, err error) {
	err = db.w.Raw(func(c any) error {
		st, err = c.(driver.Conn).Prepare(query)
		return err
	})
	return st, err
}
