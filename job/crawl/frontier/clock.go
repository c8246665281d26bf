package frontier

import (
	"encoding/binary"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// clock is the time that a frontier goes by, which never goes back and never jumps: while it is open only what passes counts,
// whatever the wall clock is set to; and where that is behind what the last commit had, it begins there. So nobody is asked too
// soon, or not for a day, because a clock was put right.
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

// Stamp is a time as the store has it, in milliseconds.
func (f *Frontier) Stamp(t time.Time) int64 { return f.clock.at.Add(t.Sub(f.clock.began)).UnixMilli() }

// Time is what a stamp is by the clock of this process. It is to be compared with others of it, and not shown.
func (f *Frontier) Time(stamp int64) time.Time {
	return f.clock.began.Add(time.UnixMilli(stamp).Sub(f.clock.at))
}

// TimeOf is when a stamp of a store is by the clock on the wall, for people: that of the crawl is ahead where the wall's was
// set back.
func TimeOf(r store.Reader, stamp int64) (time.Time, error) {
	c, err := openClock(r)
	return c.wall(stamp), err
}

func (c clock) wall(stamp int64) time.Time {
	return c.began.Add(time.UnixMilli(stamp).Sub(c.at)).Round(0)
}

// later is the stamp of a time, no further away than Longest.
func (f *Frontier) later(t time.Time) int64 { return min(f.Stamp(t), f.Stamp(time.Now().Add(Longest))) }

// isDue reports whether the time of a stamp has come. One that is further away than later ever says is that of a damaged clock:
// now. Whoever asks may have looked at the clock a moment before the stamp was made.
func (f *Frontier) isDue(stamp int64, now time.Time) bool {
	const moment = time.Minute
	at := f.Stamp(now)
	return stamp <= at || stamp > at+(Longest+moment).Milliseconds()
}

// until is how long it is until a stamp, of which one that a damaged clock made is no more than Longest.
func (f *Frontier) until(due int64, now time.Time) time.Duration {
	return min(time.Duration(due-f.Stamp(now))*time.Millisecond, Longest)
}
