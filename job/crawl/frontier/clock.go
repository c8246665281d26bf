package frontier

import (
	"encoding/binary"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// clock is the time that a frontier goes by. It never goes back and never jumps. While the frontier is open it follows the
// monotonic clock, whatever the wall clock is set to. If the wall clock is behind the time of the last commit at the start,
// the clock begins at that time. So no host is asked too soon, or left alone for a day, because a clock was put right.
type clock struct {
	began time.Time // by the clock of the process
	at    time.Time // what it was then
}

// clockKey has the time of the last commit, in milliseconds.
var clockKey = key('m')

func openClock(r store.Reader) (clock, error) {
	now := time.Now()
	c := clock{began: now, at: now.Round(0)}
	_, err := r.Look(clockKey, func(v []byte) error {
		if len(v) != 8 {
			return fault.New(fault.Corrupt, "the time of the last commit is %x", v)
		}
		if last := time.UnixMilli(int64(binary.BigEndian.Uint64(v))); last.After(c.at) {
			c.at = last
		}
		return nil
	})
	return c, err
}

// Stamp returns a time as the store has it, in milliseconds.
func (f *Frontier) Stamp(t time.Time) int64 { return f.clock.at.Add(t.Sub(f.clock.began)).UnixMilli() }

// Time returns a stamp as a time of this process. It is for comparison with other times of it, and not to be shown.
func (f *Frontier) Time(stamp int64) time.Time {
	return f.clock.began.Add(time.UnixMilli(stamp).Sub(f.clock.at))
}

// TimeOf returns a stamp of a store as a time of the wall clock, for people: the clock of the crawl is ahead of that if it was
// set back.
func TimeOf(r store.Reader, stamp int64) (time.Time, error) {
	c, err := openClock(r)
	return c.wall(stamp), err
}

func (c clock) wall(stamp int64) time.Time {
	return c.began.Add(time.UnixMilli(stamp).Sub(c.at)).Round(0)
}

// later returns the stamp of a time, at most Longest from now.
func (f *Frontier) later(t time.Time) int64 { return min(f.Stamp(t), f.Stamp(time.Now().Add(Longest))) }

// isDue reports whether the time of a stamp has come. A stamp that is further away than later would make it is from a damaged
// clock, and counts as due. The caller may have read the clock a moment before the stamp was made.
func (f *Frontier) isDue(stamp int64, now time.Time) bool {
	const moment = time.Minute
	at := f.Stamp(now)
	return stamp <= at || stamp > at+(Longest+moment).Milliseconds()
}

// until returns how long it is until a stamp, at most Longest (see isDue).
func (f *Frontier) until(due int64, now time.Time) time.Duration {
	return min(time.Duration(due-f.Stamp(now))*time.Millisecond, Longest)
}
