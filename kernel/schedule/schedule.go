// Package schedule is for work that is due again and again: polls, checkpoints, reports. When it is
// due next stands in the store, so a restart neither repeats what began a moment ago nor forgets
// what is overdue.
//
// The promise: what Wait let go is not let go again before its time, whatever happens to the
// process, because the next due time is durable before Wait returns. So work that a crash cuts off
// is not repeated at once; what it left undone must follow from its own state.
//
// A clock that jumps is noticed and told. While the process runs, the monotonic clock counts: the
// wait stays as long as it was. Over a restart only a jump backwards can be seen, as work that
// began in the future; it is then due within one interval from now.
//
// The bytes: key 't' name; value version 1 (one byte), when the work last began and when it is due
// (Unix milliseconds, 8 bytes each, big-endian), CRC-32C of key and value (4 bytes).
package schedule

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

const (
	// tolerance is the difference of the clocks that is not a jump yet but the clock being set right.
	tolerance = 5 * time.Second
	// look is how often a wait compares the clocks.
	look = 10 * time.Second
)

// Options tune a schedule. Every or Next is needed.
type Options struct {
	// Every lies between two beginnings of the work.
	Every time.Duration
	// Next, if set, counts in place of Every: it returns when work that began at last is due again.
	Next func(last time.Time) time.Time
	// Jitter: each time is later by a random part of it, so that many don't come at once.
	Jitter time.Duration
	// OnJump is told when the clock has jumped. It is called by Open and Wait.
	OnJump func(Jump)
}

// Jump is a clock that was set.
type Jump struct {
	By  time.Duration // forwards, or backwards if negative; over a restart at least so much
	Due time.Time     // when the work is due now
}

// Schedule is the due time of one piece of work. Wait is called by one goroutine at a time, the
// other methods from any.
type Schedule struct {
	store *store.Store
	key   store.Key
	opts  Options
	kick  chan struct{}    // holds one
	wall  func() time.Time // the clock that may jump; tests set it

	mu     sync.Mutex // guards last, due and jitter
	last   time.Time  // when the work began; zero: never
	due    time.Time
	jitter time.Duration // of the current due time

	seen, at time.Time // both clocks at the last look; of Wait's goroutine
}

// Open reads the schedule of a name. Work without one is due now.
func Open(s *store.Store, name string, o Options) (*Schedule, error) {
	c := &Schedule{store: s, key: store.Due.K().Str(name), opts: o, kick: make(chan struct{}, 1),
		wall: func() time.Time { return time.Now().Round(0) }}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("open schedule %s: %w", name, err)
	}
	return c, nil
}

func (c *Schedule) load() error {
	if c.opts.OnJump == nil {
		c.opts.OnJump = func(Jump) {}
	}
	if c.opts.Next == nil {
		if c.opts.Every <= 0 {
			return fault.New(fault.Permanent, "an interval of %v", c.opts.Every)
		}
		c.opts.Next = func(last time.Time) time.Time { return last.Add(c.opts.Every) }
	}
	var value []byte
	var found bool
	err := c.store.Latest(func(r store.Reader) (err error) {
		value, found, err = r.Get(c.key)
		return err
	})
	if err != nil {
		return err
	}
	now := c.wall()
	c.due, c.seen, c.at = now, now, time.Now()
	if !found {
		return nil
	}
	if c.last, c.due, err = decode(c.key, value); err != nil {
		return err
	}
	c.believe(now)
	return nil
}

// believe holds what the store says against the clock.
func (c *Schedule) believe(now time.Time) {
	back := c.last.Sub(now)
	latest := c.opts.Next(now).Add(c.opts.Jitter)
	if c.due.After(latest) { // the interval is shorter now, or the clock went back
		c.due = latest
	}
	if back > tolerance {
		c.last = now
		c.opts.OnJump(Jump{By: -back, Due: c.due})
	}
}

// Due is when the work is due next.
func (c *Schedule) Due() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.due
}

// Kick makes the work due now.
func (c *Schedule) Kick() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Wait returns nil when the work is due or Kick was called, once the next due time is durable. It
// returns the error of ctx if that ends first, and that of the store.
func (c *Schedule) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now, err := c.now()
		if err != nil {
			return err
		}
		left := c.Due().Sub(now)
		if left <= 0 {
			return c.begin(now)
		}
		timer := time.NewTimer(min(left, look))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-c.kick:
			timer.Stop()
			return c.begin(c.wall())
		}
		timer.Stop()
	}
}

// now reads the clock, and moves the due time along if the clock has jumped.
func (c *Schedule) now() (time.Time, error) {
	now, at := c.wall(), time.Now()
	by := now.Sub(c.seen) - at.Sub(c.at)
	c.seen, c.at = now, at
	if by.Abs() < tolerance {
		return now, nil
	}
	c.mu.Lock()
	c.due = c.due.Add(by)
	if !c.last.IsZero() {
		c.last = c.last.Add(by)
		c.due = c.opts.Next(c.last).Add(c.jitter)
	}
	last, due := c.last, c.due
	c.mu.Unlock()
	c.opts.OnJump(Jump{By: by, Due: due})
	return now, c.save(last, due)
}

// begin says that the work begins.
func (c *Schedule) begin(now time.Time) error {
	select {
	case <-c.kick: // this is what it asked for
	default:
	}
	c.mu.Lock()
	c.jitter = 0
	if c.opts.Jitter > 0 {
		c.jitter = rand.N(c.opts.Jitter)
	}
	c.last = now
	c.due = c.opts.Next(now).Add(c.jitter)
	last, due := c.last, c.due
	c.mu.Unlock()
	return c.save(last, due)
}

func (c *Schedule) save(last, due time.Time) error {
	err := c.store.Update(func(tx *store.Tx) error {
		tx.Set(c.key, encode(c.key, last, due))
		return nil
	})
	if err != nil {
		return fmt.Errorf("save due time: %w", err)
	}
	return nil
}

const (
	version    = 1
	valueBytes = 1 + 8 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(key store.Key, last, due time.Time) []byte {
	b := make([]byte, 0, valueBytes)
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(last.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(due.UnixMilli()))
	return binary.BigEndian.AppendUint32(b, sum(key, b))
}

func decode(key store.Key, b []byte) (last, due time.Time, err error) {
	if len(b) < valueBytes || binary.BigEndian.Uint32(b[len(b)-4:]) != sum(key, b[:len(b)-4]) {
		return last, due, fault.New(fault.Corrupt, "due time: wrong checksum over %d bytes", len(b))
	}
	if b[0] != version {
		return last, due, fault.New(fault.Permanent, "due time has version %d, this program knows %d",
			b[0], version)
	}
	last = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	due = time.UnixMilli(int64(binary.BigEndian.Uint64(b[9:])))
	return last, due, nil
}

func sum(key store.Key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, b)
}
