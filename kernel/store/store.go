// Package store is the one place where a job's state lives: an embedded key-value store with
// transactions that are atomic and durable, and readers that never see what is not durable yet.
//
// Update runs a function over the latest state and commits what it wrote in one fsynced batch: when
// it returns nil, the writes survive kill -9 and a power cut, all of them or, if it never returned,
// perhaps none. Transactions run one after the other, their fsyncs together (group commit), and
// their order in the log is their order in memory, so a later one may rely on an earlier one that
// is not durable yet. View shows a state that is durable as a whole: Pebble shows a synced batch
// before its fsync returned, so a View waits for the fsyncs of all it can see.
//
// One process owns a store. Its lock, formats and high-water file stand beside Pebble's directory:
//
//	DIR/LOCK         an OFD lock with the owner's pid
//	DIR/FORMAT       the format of everything in DIR, as text
//	DIR/HIGHWATER    a lower bound of what is durable, see forensic
//	DIR/NAMES        a copy of the names and their ids, for a salvage
//	DIR/db/          Pebble's directory
//	DIR/quarantine/  what a salvage set aside
//
// Before Pebble opens the directory it is walked by forensic, because Pebble does not refuse all
// damage; Open of a damaged store is a Corrupt fault that carries the report, and Salvage is the way
// on. This is the only package that imports Pebble.
package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store/forensic"
)

// Format is the number of the formats in docs/formats.md. A store with a higher one is refused.
const Format = 1

// pebbleFormat is the FormatMajorVersion of new stores. WALSyncChunks is needed to tell a damaged log from
// a torn one; TableFormatV6 puts a checksum over a table's footer, without which one flipped bit in it
// makes Pebble read the table as empty.
const pebbleFormat = pebble.FormatTableFormatV6

// ExitStorageFailed is the exit code after a failed write of a store's log (EX_TEMPFAIL): systemd,
// or the process that started us, starts us again, and the start waits until there is room.
const ExitStorageFailed = 75

// FS is the file system under a store.
type FS = vfs.FS

// Cache is a block cache that several stores share.
type Cache struct{ c *pebble.Cache }

// NewCache returns a cache of the given bytes; Close it after the last store.
func NewCache(bytes int64) *Cache { return &Cache{pebble.NewCache(bytes)} }

// Close gives the cache's memory back once all stores that use it are closed.
func (c *Cache) Close() { c.c.Unref() }

// Options tune a store. The zero value is what a job uses, but for the shared cache.
type Options struct {
	// FS holds Pebble's files; nil is the disk. Lock, format and high-water files are always on the
	// disk unless FS is set.
	FS FS
	// Cache is shared by all stores of a process; nil is a small one of the store's own.
	Cache *Cache
	// Log gets what Pebble has to say; nil is slog.Default.
	Log *slog.Logger
	// Admit is asked before each commit with the bytes to be written; an error (a Full fault)
	// refuses the commit before the log can fail.
	Admit func(bytes int) error
	// Fatal is called once when the log or the MANIFEST can't be written: what is in memory is then
	// ahead of what is durable, and the store is frozen. nil ends the process with
	// ExitStorageFailed; a function of the caller's does the same, unless Survive is set.
	Fatal func(err error)
	// Survive makes every call come back with an error once the store is frozen, where it would else
	// wait for the end of the process. It costs a goroutine a call.
	Survive bool
	// Damaged is called, from any goroutine, when damage is met in a table while running.
	Damaged func(err error)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			fmt.Fprintf(os.Stderr, "holdfast: the store can't be written: %v\n"+
				"holdfast: ending with exit code %d; nothing acknowledged is lost\n",
				err, ExitStorageFailed)
			os.Exit(ExitStorageFailed)
		}
	}
	if o.Admit == nil {
		o.Admit = func(int) error { return nil }
	}
	if o.Damaged == nil {
		o.Damaged = func(error) {}
	}
	return o
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	dir     string
	opts    Options
	db      *pebble.DB
	guard   *forensic.Guard // freezes the store at the first failed write
	watch   *forensic.Watch
	high    *forensic.HighWater
	lock    *disk.Lock
	cache   *Cache // ours to close, nil if shared
	lineage record.Lineage

	// mu orders transactions: it is held while a transaction's function runs and while its batch
	// enters the log, never over an fsync.
	mu      sync.Mutex
	applied uint64    // number of the last commit in the log; guarded by mu
	lastSeq uint64    // Pebble's sequence number of it; guarded by mu
	lazy    bool      // commits since the last sync that asked for none; guarded by mu
	closed  bool      // guarded by mu
	looked  time.Time // for the directory, the last time; guarded by mu

	durable  atomic.Uint64 // number of the last durable commit
	ackedSeq atomic.Uint64 // Pebble's sequence number of the last acknowledged batch

	waitMu sync.Mutex // guards moved; never held together with mu
	moved  chan struct{}

	// naming is held from reading the names until their copy is written: the copy of an older state must not replace
	// that of a newer one. Nobody holds mu while waiting for it.
	naming sync.Mutex

	lazyKick chan struct{}
	stop     chan struct{}
	wg       sync.WaitGroup
	users    sync.WaitGroup // transactions and views under way; Close waits for them

	released        chan *pebble.Snapshot // those that nobody reads any more
	snapshotsClosed chan struct{}         // closed once all of them are
}

// Errors that callers decide by.
var (
	ErrClosed = errors.New("store is closed")
	// ErrUnreadable is in the error of a read that the disk refused. It speaks of the disk: what stands
	// there may be whole, and come at another try.
	ErrUnreadable = errors.New("the disk can't be read")
)

// Open opens the store in dir, creating it if dir holds none. It takes the store's lock, refuses
// newer formats and returns a Corrupt fault (a *Damage) when the files are not what was written.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{dir: dir, opts: o, moved: make(chan struct{}),
		lazyKick: make(chan struct{}, 1), stop: make(chan struct{}),
		released: make(chan *pebble.Snapshot, 64), snapshotsClosed: make(chan struct{})}
	if err := s.open(); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.guard.Do(s.db.Close))
		}
		if s.high != nil {
			err = errors.Join(err, s.high.Close())
		}
		if s.cache != nil {
			s.cache.Close()
		}
		if s.lock != nil {
			s.lock.Release()
		}
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.wg.Go(s.syncLazily)
	s.wg.Go(s.raiseMark)
	go s.closeSnapshots() // ends with Close, or never, where a write has failed
	return s, nil
}

func (s *Store) open() error {
	if s.opts.FS == nil {
		if err := disk.MkdirAll(s.dir, 0o755); err != nil {
			return err
		}
		lock, err := disk.Acquire(filepath.Join(s.dir, "LOCK"))
		if err != nil {
			return err
		}
		s.lock = lock
		if err := checkFormat(filepath.Join(s.dir, "FORMAT")); err != nil {
			return err
		}
	}
	if s.opts.Cache == nil {
		s.cache = NewCache(8 << 20)
		s.opts.Cache = s.cache
	}
	return s.openPebble()
}

// FormatText is what FORMAT says of format n: with a checksum, because a flipped bit makes one number of
// another, and a format that is not known stops the job.
func FormatText(n int) string {
	text := fmt.Sprintf("holdfast store %d", n)
	return fmt.Sprintf("%s crc32c:%08x\n", text, crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

// checkFormat refuses a directory of a newer format and stamps a new one.
func checkFormat(path string) error {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var n int
	if _, scan := fmt.Sscanf(string(b), "holdfast store %d ", &n); scan != nil || FormatText(n) != string(b) {
		// The file says nothing that the tables do not say as well; its damage must not stop a job.
		return disk.WriteFile(path, []byte(FormatText(Format)), 0o644)
	}
	if n > Format {
		return fault.WithHint(fault.New(fault.Permanent, "store has format %d, this program knows up to %d",
			n, Format), "run the version of holdfast that wrote it, or a newer one")
	}
	return nil
}

func (s *Store) pebbleDir() string { return filepath.Join(s.dir, "db") }

// Keys of the Meta space.
var (
	keyLineage = Meta.K().Str("lineage")
	keyCommit  = Meta.K().Str("commit") // number of the commit that wrote it, in every batch
)

func (s *Store) loadMeta() error {
	r := reader{s.db}
	l, ok, err := r.Get(keyLineage)
	if err != nil {
		return fmt.Errorf("read lineage: %w", err)
	}
	c, _, err := r.Get(keyCommit)
	if err != nil {
		return fmt.Errorf("read commit number: %w", err)
	}
	if len(c) == 8 {
		s.applied = binary.BigEndian.Uint64(c)
		s.durable.Store(s.applied)
	}
	if !ok {
		return s.NewLineage()
	}
	if len(l) != len(s.lineage) {
		return fault.New(fault.Corrupt, "lineage has %d bytes, want %d", len(l), len(s.lineage))
	}
	s.lineage = record.Lineage(l)
	return nil
}

// NewLineage begins a new life: after create, restore and salvage.
func (s *Store) NewLineage() error {
	var l record.Lineage
	rand.Read(l[:])
	err := s.Update(func(tx *Tx) error {
		tx.Set(keyLineage, l[:])
		return nil
	})
	if err != nil {
		return fmt.Errorf("write lineage: %w", err)
	}
	s.lineage = l
	return nil
}

// Lineage names the store's life.
func (s *Store) Lineage() record.Lineage { return s.lineage }

// Dir is the directory the store was opened in.
func (s *Store) Dir() string { return s.dir }

// Durable is the number of the last durable commit.
func (s *Store) Durable() uint64 { return s.durable.Load() }

// Close makes lazy commits durable and gives the directory up.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.wg.Wait()
	s.users.Wait()
	err := s.sync()
	if err == nil {
		err = errors.Join(s.mark(), s.TableSums().Save())
	}
	close(s.released)
	closeAll := func() error {
		<-s.snapshotsClosed
		return s.db.Close()
	}
	err = errors.Join(err, s.guard.Do(closeAll), s.high.Close())
	if s.cache != nil {
		s.cache.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Release())
	}
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// lazyAge is how old a lazy commit may get before it is made durable.
const lazyAge = 500 * time.Millisecond

// syncLazily makes lazy commits durable within lazyAge of the first of them.
func (s *Store) syncLazily() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.lazyKick:
		}
		select {
		case <-s.stop:
			return
		case <-time.After(lazyAge):
		}
		if err := s.sync(); err != nil {
			return // the store is frozen, and who uses it is told
		}
	}
}

// sync makes all commits that are in the log now durable.
func (s *Store) sync() error {
	s.mu.Lock()
	n, seq := s.applied, s.lastSeq
	s.lazy = false
	s.mu.Unlock()
	if s.durable.Load() >= n {
		return nil
	}
	err := s.do(func() error {
		// Log data is what Pebble can sync without a change. It must not be empty: that is no batch.
		return s.db.LogData(forensic.Promise(s.ackedSeq.Load()), pebble.Sync)
	})
	if err != nil {
		return fmt.Errorf("sync log: %w", err)
	}
	s.publish(n, seq)
	return nil
}

// publish says that all commits up to n are durable. The log is synced in order, so a durable commit
// makes all earlier ones durable.
func (s *Store) publish(n, seq uint64) {
	raise(&s.ackedSeq, seq)
	if !raise(&s.durable, n) {
		return
	}
	s.waitMu.Lock()
	close(s.moved)
	s.moved = make(chan struct{})
	s.waitMu.Unlock()
}

// do runs a call into Pebble that may write. Such a call never comes back once a write has failed.
func (s *Store) do(f func() error) error {
	if s.opts.Survive {
		return s.guard.Do(f)
	}
	return f()
}

// raise sets v to n if that is higher, and reports whether it was.
func raise(v *atomic.Uint64, n uint64) bool {
	for {
		old := v.Load()
		if old >= n {
			return false
		}
		if v.CompareAndSwap(old, n) {
			return true
		}
	}
}

// awaitDurable returns when commit n is durable.
func (s *Store) awaitDurable(ctx context.Context, n uint64, lazy bool) error {
	if s.durable.Load() >= n {
		return nil
	}
	if lazy {
		if err := s.sync(); err != nil {
			return err
		}
	}
	for {
		s.waitMu.Lock()
		moved := s.moved
		s.waitMu.Unlock()
		if s.durable.Load() >= n {
			return nil
		}
		select {
		case <-moved:
		case <-s.guard.Failed():
			return s.guard.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
