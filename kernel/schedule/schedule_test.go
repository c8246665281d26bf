package schedule

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
)

// clock is the wall clock of a machine, which somebody may set.
type clock struct{ by atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.by.Load())) }

func (c *clock) set(by time.Duration) { c.by.Add(int64(by)) }

// machine is a disk and a clock on which processes run one after the other.
type machine struct {
	t     *testing.T
	disk  *storetest.CrashFS
	clock clock
	jumps []time.Duration
}

// on runs a test in virtual time on a new machine.
func on(t *testing.T, f func(m *machine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(&machine{t: t, disk: storetest.NewCrashFS()}) })
}

// process opens the store and its schedule "poll", runs f, and ends with a power cut.
func (m *machine) process(o Options, f func(c *Schedule, s *store.Store)) {
	m.t.Helper()
	opts := storetest.Options(m.t, m.disk.FS())
	s, err := store.Open("job", opts)
	if err != nil {
		m.t.Fatal(err)
	}
	f(m.open(s, o), s)
	after := m.disk.After(0)
	if err := s.Close(); err != nil {
		m.t.Error(err)
	}
	m.disk = after
}

// open is Open with the machine's clock.
func (m *machine) open(s *store.Store, o Options) *Schedule {
	m.t.Helper()
	o.OnJump = func(j Jump) { m.jumps = append(m.jumps, j.By) }
	c := &Schedule{store: s, key: store.Due.K().Str("poll"), opts: o, kick: make(chan struct{}, 1),
		wall: m.clock.now}
	if err := c.load(); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// waits waits for the schedule and wants it to take so long.
func (m *machine) waits(c *Schedule, want time.Duration) {
	m.t.Helper()
	begun := time.Now()
	if err := c.Wait(m.t.Context()); err != nil {
		m.t.Fatalf("wait: %v", err)
	}
	// The store keeps milliseconds.
	if took := time.Since(begun); (took - want).Abs() > time.Millisecond {
		m.t.Errorf("waited %v, want %v", took, want)
	}
}

func (m *machine) jumped(want ...time.Duration) {
	m.t.Helper()
	if !slices.EqualFunc(m.jumps, want, func(a, b time.Duration) bool {
		return (a - b).Abs() <= time.Millisecond
	}) {
		m.t.Errorf("told of jumps %v, want %v", m.jumps, want)
	}
}

var twoMinutes = Options{Every: 2 * time.Minute}

func TestIntervals(t *testing.T) {
	on(t, func(m *machine) {
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
			m.waits(c, 0)
			m.waits(c, 2*time.Minute)
			time.Sleep(30 * time.Second) // work takes time; the interval lies between beginnings
			m.waits(c, 90*time.Second)
			time.Sleep(10 * time.Minute) // turns that were missed are not made up for
			m.waits(c, 0)
			m.waits(c, 2*time.Minute)
		})
		m.jumped()
	})
}

// TestRestart: neither a crash loop nor a long stop changes when the work is due.
func TestRestart(t *testing.T) {
	on(t, func(m *machine) {
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) { m.waits(c, 0) })
		for range 5 {
			m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
				ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
				defer cancel()
				if err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
					m.t.Errorf("wait: got %v", err)
				}
			})
		}
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) { m.waits(c, 70*time.Second) })
		time.Sleep(time.Hour)
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
			m.waits(c, 0)
			m.waits(c, 2*time.Minute)
		})
		m.jumped()
	})
}

// TestDueIsDurableBeforeTheWork: the power fails in the moment that Wait returns.
func TestDueIsDurableBeforeTheWork(t *testing.T) {
	on(t, func(m *machine) {
		for range 3 {
			m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
				if err := c.Wait(m.t.Context()); err != nil {
					m.t.Fatal(err)
				}
			})
		}
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) { m.waits(c, 2*time.Minute) })
	})
}

// TestClockJumpsWhileWaiting: the wait stays as long as it was, and the jump is told once.
func TestClockJumpsWhileWaiting(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * 365 * time.Hour, 6 * time.Second,
		-6 * time.Second, time.Second, -time.Second} {
		on(t, func(m *machine) {
			m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
				m.waits(c, 0)
				go func() {
					time.Sleep(50 * time.Second)
					m.clock.set(by)
				}()
				if by.Abs() < tolerance { // not a jump: the clock counts as it is
					m.waits(c, 2*time.Minute-by)
					m.jumped()
					return
				}
				m.waits(c, 2*time.Minute)
				m.waits(c, 2*time.Minute)
				m.jumped(by)
			})
		})
	}
}

// TestClockJumpsAndCrash: what a jump changed is durable.
func TestClockJumpsAndCrash(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		on(t, func(m *machine) {
			m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
				m.waits(c, 0)
				m.clock.set(by)
				ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
				defer cancel()
				_ = c.Wait(ctx)
			})
			m.process(twoMinutes, func(c *Schedule, _ *store.Store) { m.waits(c, 90*time.Second) })
			m.jumped(by)
		})
	}
}

// TestClockWentBackOverRestart: work that began in the future is due within an interval.
func TestClockWentBackOverRestart(t *testing.T) {
	on(t, func(m *machine) {
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) { m.waits(c, 0) })
		m.clock.set(-24 * time.Hour)
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
			m.waits(c, 2*time.Minute)
			m.waits(c, 2*time.Minute)
		})
		m.jumped(-24 * time.Hour)
	})
}

func TestShorterInterval(t *testing.T) {
	on(t, func(m *machine) {
		m.process(Options{Every: 24 * time.Hour}, func(c *Schedule, _ *store.Store) { m.waits(c, 0) })
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) { m.waits(c, 2*time.Minute) })
		m.jumped()
	})
}

func TestKick(t *testing.T) {
	on(t, func(m *machine) {
		m.process(twoMinutes, func(c *Schedule, _ *store.Store) {
			m.waits(c, 0)
			go func() {
				time.Sleep(20 * time.Second)
				c.Kick()
				c.Kick()
			}()
			m.waits(c, 20*time.Second)
			m.waits(c, 2*time.Minute) // from the kick on
			c.Kick()
			m.waits(c, 0)
			m.waits(c, 2*time.Minute)
			time.Sleep(2 * time.Minute)
			c.Kick() // and due at the same time: one turn
			m.waits(c, 0)
			m.waits(c, 2*time.Minute)
		})
	})
}

// TestJitter: later by a random part, never earlier, and Due says when.
func TestJitter(t *testing.T) {
	on(t, func(m *machine) {
		o := Options{Every: time.Minute, Jitter: 30 * time.Second}
		seen := map[time.Duration]bool{}
		m.process(o, func(c *Schedule, _ *store.Store) {
			m.waits(c, 0)
			for range 100 {
				left := time.Until(c.Due())
				if left < time.Minute || left >= 90*time.Second {
					m.t.Errorf("due in %v, want 1m to 1m30s", left)
				}
				seen[left] = true
				m.waits(c, left)
			}
		})
		if len(seen) < 90 {
			m.t.Errorf("%d different times of 100", len(seen))
		}
	})
}

// TestNext: a rule of the caller's, here away from even minutes, counts also after a jump.
func TestNext(t *testing.T) {
	odd := func(last time.Time) time.Time {
		next := last.Add(2 * time.Minute).Truncate(time.Minute)
		if next.Minute()%2 == 0 {
			next = next.Add(time.Minute)
		}
		return next
	}
	on(t, func(m *machine) {
		m.process(Options{Next: odd}, func(c *Schedule, _ *store.Store) {
			m.waits(c, 0)
			for i := range 10 {
				if i == 5 {
					m.clock.set(61 * time.Second)
				}
				if err := c.Wait(m.t.Context()); err != nil {
					m.t.Fatal(err)
				}
				if now := m.clock.now(); now.Minute()%2 == 0 {
					m.t.Errorf("begins at %v, in an even minute", now)
				}
			}
		})
		m.jumped(61 * time.Second)
	})
}

func TestOpenFaults(t *testing.T) {
	on(t, func(m *machine) {
		m.process(twoMinutes, func(c *Schedule, s *store.Store) {
			m.waits(c, 0)
			if _, err := Open(s, "other", Options{}); !fault.Is(err, fault.Permanent) {
				m.t.Errorf("without an interval: got %v", err)
			}
			other, err := Open(s, "other", twoMinutes)
			if err != nil || time.Until(other.Due()) > 0 {
				m.t.Errorf("another name: got %v, due %v", err, other.Due())
			}
			var value []byte
			err = s.Latest(func(r store.Reader) (err error) {
				value, _, err = r.Get(c.key)
				return err
			})
			if err != nil {
				m.t.Fatal(err)
			}
			put := func(v []byte) error {
				err := s.Update(func(tx *store.Tx) error { tx.Set(c.key, v); return nil })
				if err != nil {
					m.t.Fatal(err)
				}
				_, err = Open(s, "poll", twoMinutes)
				return err
			}
			for i := range value {
				bad := slices.Clone(value)
				bad[i] ^= 4
				if err := put(bad); !fault.Is(err, fault.Corrupt) {
					m.t.Errorf("byte %d flipped: got %v, want corrupt", i, err)
				}
				if err := put(value[:i]); !fault.Is(err, fault.Corrupt) {
					m.t.Errorf("cut at %d: got %v, want corrupt", i, err)
				}
			}
			newer := append([]byte{2}, value[1:valueBytes-4]...)
			newer = append(newer, 0, 0, 0, 0)
			crc := sum(c.key, newer[:valueBytes-4])
			for i := range 4 {
				newer[valueBytes-4+i] = byte(crc >> (24 - 8*i))
			}
			if err := put(newer); !fault.Is(err, fault.Permanent) {
				m.t.Errorf("a newer version: got %v, want permanent", err)
			}
			if err := put(value); err != nil {
				m.t.Errorf("as it was: %v", err)
			}
		})
	})
}
