package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/base/fault"
	"holdfast/base/record"
	"holdfast/kernel/store/forensic"
)

// Reader reads keys: a transaction over the latest state, a view over a durable one.
type Reader interface {
	// Get returns a copy of the value; ok is false if there is none.
	Get(key Key) (value []byte, ok bool, err error)
	// Look is Get without the copy: value is valid only in fn, whose error is returned as it is.
	Look(key Key, fn func(value []byte) error) (ok bool, err error)
	// Scan yields the entries with from <= key < to in ascending order. Keys and values are valid
	// only until the next one; an error ends it and is returned by the second function.
	Scan(from, to Key) (iter.Seq2[[]byte, []byte], func() error)
	// ScanBack is Scan in descending order.
	ScanBack(from, to Key) (iter.Seq2[[]byte, []byte], func() error)
}

type reader struct{ r pebble.Reader }

func (r reader) Get(key Key) (value []byte, ok bool, err error) {
	ok, err = r.Look(key, func(v []byte) error {
		value = append([]byte(nil), v...)
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return value, ok, nil
}

func (r reader) Look(key Key, fn func(value []byte) error) (ok bool, err error) {
	v, closer, err := r.r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, corrupt(key, err)
	}
	defer func() { // also when fn panics
		// A value that was read from a damaged block may show it only here.
		if bad := closer.Close(); bad != nil {
			ok, err = false, corrupt(key, bad)
		}
	}()
	return true, fn(v)
}

func (r reader) Scan(from, to Key) (iter.Seq2[[]byte, []byte], func() error) {
	return r.scan(from, to, (*pebble.Iterator).First, (*pebble.Iterator).Next)
}

func (r reader) ScanBack(from, to Key) (iter.Seq2[[]byte, []byte], func() error) {
	return r.scan(from, to, (*pebble.Iterator).Last, (*pebble.Iterator).Prev)
}

func (r reader) scan(from, to Key, first, next func(*pebble.Iterator) bool) (iter.Seq2[[]byte, []byte],
	func() error) {
	var failed error
	seq := func(yield func(k, v []byte) bool) {
		it, err := r.r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
		if err != nil {
			failed = corrupt(from, err)
			return
		}
		defer func() {
			if err := it.Close(); err != nil && failed == nil {
				failed = corrupt(from, err)
			}
		}()
		for ok := first(it); ok; ok = next(it) {
			v, err := it.ValueAndErr()
			if err != nil {
				failed = corrupt(it.Key(), err)
				return
			}
			if !yield(it.Key(), v) {
				return
			}
		}
	}
	return seq, func() error { return failed }
}

// Tx is a transaction: it reads the latest state, its own writes included. It must not outlive the
// function it was given to.
type Tx struct {
	reader
	s       *Store
	b       *pebble.Batch
	err     error
	seq     uint64 // Pebble's, of the last operation, once it is in the log
	names   bool   // a name was given or forgotten
	durable []func()
}

// Set, Delete and DeleteRange write. They fail only when the batch can't grow; the commit says so.
func (tx *Tx) Set(key Key, value []byte) { tx.keep(tx.b.Set(key, value, nil)) }

// Delete removes a key, whether it is there or not.
func (tx *Tx) Delete(key Key) { tx.keep(tx.b.Delete(key, nil)) }

// DeleteRange removes all keys with from <= key < to.
func (tx *Tx) DeleteRange(from, to Key) { tx.keep(tx.b.DeleteRange(from, to, nil)) }

func (tx *Tx) keep(err error) {
	if err != nil && tx.err == nil {
		tx.err = err
	}
}

// OnDurable has f called once the transaction is durable (at once, for a lazy one), from the goroutine
// that called Update. f must not block.
func (tx *Tx) OnDurable(f func()) { tx.durable = append(tx.durable, f) }

// Lineage is the store's.
func (tx *Tx) Lineage() record.Lineage { return tx.s.lineage }

// Update runs fn and commits what it wrote, durably, all or nothing. An error of fn is returned as it
// is and nothing is written. A Full fault means that there is no room; nothing was written then.
func (s *Store) Update(fn func(tx *Tx) error) error { return s.commit(fn, true) }

// UpdateLazy is Update without the wait for the disk: after a crash the commit may be missing, and
// with it every later lazy one, though never a durable one behind it. It is for what can be done
// again without a trace; nothing that the outside has seen may depend on it.
func (s *Store) UpdateLazy(fn func(tx *Tx) error) error { return s.commit(fn, false) }

func (s *Store) commit(fn func(tx *Tx) error, sync bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.Done()
	tx, n, err := s.apply(fn, sync)
	if err != nil || tx == nil {
		return err
	}
	if sync {
		if err := s.do(tx.b.SyncWait); err != nil {
			return fmt.Errorf("sync log: %w", err)
		}
		s.publish(n, tx.seq)
	}
	if tx.names {
		s.saveNames()
	}
	for _, f := range tx.durable {
		f()
	}
	return tx.b.Close()
}

// enter counts a user of the database; Close waits for all of them.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.users.Add(1)
	return nil
}

// apply runs fn and puts its batch into the log. A transaction that wrote nothing yields nil.
func (s *Store) apply(fn func(tx *Tx) error, sync bool) (*Tx, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A commit that was given up half-way may stand in the log and not in memory: fn must not decide by
	// a state without it.
	if err := s.guard.Err(); err != nil {
		return nil, 0, err
	}
	b := s.db.NewIndexedBatch()
	tx := &Tx{reader: reader{b}, s: s, b: b}
	err := fn(tx)
	if err == nil {
		err = tx.err
	}
	if err == nil && b.Empty() {
		return nil, 0, b.Close()
	}
	if err == nil {
		err = s.opts.Admit(b.Len())
	}
	if lost := s.lost(); lost != nil {
		b.Close()
		s.opts.Fatal(lost)
		return nil, 0, lost
	}
	if err != nil {
		b.Close()
		return nil, 0, err
	}
	n := s.applied + 1
	if err := b.Set(keyCommit, binary.BigEndian.AppendUint64(nil, n), nil); err != nil {
		b.Close()
		return nil, 0, err
	}
	// What is acknowledged by now must be there if this batch is there: else it is damage.
	if err := b.LogData(forensic.Promise(s.ackedSeq.Load()), nil); err != nil {
		b.Close()
		return nil, 0, err
	}
	err = s.do(func() error {
		if sync {
			return s.db.ApplyNoSyncWait(b, pebble.Sync)
		}
		return s.db.Apply(b, pebble.NoSync)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("write log: %w", err)
	}
	tx.seq = uint64(b.SeqNum()) + uint64(b.Count()) - 1
	s.applied, s.lastSeq = n, tx.seq
	if !sync {
		s.lazy = true
		select {
		case s.lazyKick <- struct{}{}:
		default:
		}
	}
	return tx, n, nil
}

// lookEvery is how long a store may be written to whose directory is gone.
const lookEvery = time.Second

// lost is an error if the directory is not there any more: what is committed would have no name, and be gone with the process.
// The caller holds mu.
func (s *Store) lost() error {
	if s.lock == nil || time.Since(s.looked) < lookEvery {
		return nil
	}
	s.looked = time.Now()
	if err := s.lock.Lost(); err != nil {
		return fault.WithHint(err, "put it back, or let this process begin anew: nothing more can be kept in it")
	}
	return nil
}

// View runs fn over a state that is durable as a whole; fn may take its time, nobody waits for it.
func (s *Store) View(ctx context.Context, fn func(r Reader) error) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.Done()
	s.mu.Lock()
	snap := s.db.NewSnapshot()
	n, lazy := s.applied, s.lazy
	// A commit that was given up half-way, because a write failed, may be in the snapshot uncounted.
	err = s.guard.Err()
	s.mu.Unlock()
	defer s.release(snap) // also when fn panics
	if err == nil {
		err = s.awaitDurable(ctx, n, lazy)
	}
	if err == nil {
		err = fn(reader{snap})
	}
	return err
}

// Latest runs fn over the latest state, durable or not: for figures that people look at, never for
// what leads to an outside effect.
func (s *Store) Latest(fn func(r Reader) error) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.Done()
	snap := s.db.NewSnapshot()
	defer s.release(snap)
	return fn(reader{snap})
}

// release hands a snapshot to closeSnapshots. After a failed write it stays open.
func (s *Store) release(snap *pebble.Snapshot) {
	select {
	case s.released <- snap:
	case <-s.guard.Failed():
	}
}

// closeSnapshots closes the snapshots that are released. Their readers don't do it themselves: closing one makes Pebble
// look for compactions, for which it waits until the MANIFEST is not being written, which is for ever if the disk failed
// during that.
func (s *Store) closeSnapshots() {
	defer close(s.snapshotsClosed)
	for snap := range s.released {
		_ = snap.Close() // is always nil
	}
}

// corrupt classifies an error of Pebble's for the entry at key.
func corrupt(key []byte, err error) error {
	if pebble.IsCorruptionError(err) {
		return fault.New(fault.Corrupt, "read key %x: %w", key, plain{err})
	}
	return fmt.Errorf("read key %x: %w", key, unreadable(err))
}

// unreadable marks what the disk said to a read of a store.
func unreadable(err error) error {
	if errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return err
}

// plain is an error of Pebble's in one line, without what carries details for programs.
type plain struct{ error }

func (p plain) Unwrap() error { return p.error }

func (p plain) Error() string {
	lines := strings.Split(p.error.Error(), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" || strings.HasPrefix(l, "<corruption detail") })
	return strings.Join(lines, "; ")
}
