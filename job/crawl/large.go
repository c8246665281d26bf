package crawl

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/kernel/engine"
)

// mostLarge is how often an answer finds no room, where others do, before its URL is put off: many under way together may be what took
// the room.
const mostLarge = 3

// mostLargeURLs is how many URLs are known whose answers found no room.
const mostLargeURLs = 10_000

// errLarge is an answer that finds no room, where others do.
var errLarge = errors.New("the answer is larger than the room that there is for it")

// takeIn refuses an answer for which the disk of the archive has no room, together with those that are to be written before it: found
// out when it is written, it would end the run, and the next one would fetch it again. How small it gets when it is packed is not
// known yet. After an error the answer is closed.
func (j *Job) takeIn(x *connector.Exchange) error {
	size := x.Received.Size()
	if err := j.room.Intake(int(j.unwritten.Add(size))); err != nil {
		j.unwritten.Add(-size)
		return errors.Join(err, x.Close())
	}
	x.Received = &takenIn{Bytes: x.Received, size: size, of: &j.unwritten}
	return nil
}

// takenIn is an answer that counts among those that are to be written, until it is closed.
type takenIn struct {
	connector.Bytes
	size   int64
	of     *atomic.Int64
	closed sync.Once
}

func (t *takenIn) Close() error {
	t.closed.Do(func() { t.of.Add(-t.size) })
	return t.Bytes.Close()
}

// noRoom is what it means that the answer of u found no room: err, if that is a matter of the disk, and all wait; an errLarge, if it is
// one of the answer, and others need not wait.
func (j *Job) noRoom(u weburl.URL, err error) error {
	if !j.hasRoom() || !j.short.tooLarge(u.String()) {
		j.short.full(j.disk, err)
		return err
	}
	return &connector.FetchError{Status: connector.FetchRuntime, Begun: time.Now(),
		Err: fault.New(fault.Permanent, "%w (%v): make room, or set max_bytes to have it cut", errLarge, err)}
}

// tooLarge counts that an answer found no room where others do. It returns true from the time on that it is put off.
func (s *shortage) tooLarge(url string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.large == nil || len(s.large) >= mostLargeURLs {
		s.large = map[string]int{}
	}
	s.large[url]++
	return s.large[url] >= mostLarge
}

// hasRoom reports whether the disks take something, where answers lie until they are written down and where they are written to. The
// first is tried out: a quota, or a disk that gives more than it has, says nothing of that before.
func (j *Job) hasRoom() bool {
	const some = 1 << 20
	for dir, room := range map[string]*engine.Room{j.env.Dir: j.env.Room, j.cfg.Archive.Dir: j.room} {
		is, err := disk.RoomAt(dir)
		if err != nil || is.Free < room.Limits().Soft+some {
			return false
		}
	}
	f, err := os.CreateTemp(j.env.Dir, ".room.*")
	if err != nil {
		return false
	}
	gone := os.Remove(f.Name()) // before there is anything in it that a crash could leave
	_, err = f.Write(make([]byte, some))
	return errors.Join(gone, err, f.Close()) == nil
}

// putOff has a URL that gives an errLarge be tried later, as often as any other, and then fail. It returns false for other errors.
func (j *Job) putOff(v *visit, err error, set settings) bool {
	if !errors.Is(err, errLarge) {
		return false
	}
	j.env.Log.Warn(fmt.Sprintf("%s: %v", v.lease.URL, err))
	j.failed(v, err, set)
	if v.retry.IsZero() {
		v.bad = append(v.bad, badLink{v.lease.URL, err.Error()})
	}
	j.frontier.Release(v.lease, v.outcome.Due)
	return true
}
