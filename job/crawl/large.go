package crawl

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/kernel/engine"
)

// mostLarge is how often an answer may find no room while others do, before its URL is put off. At first it may only be that
// many answers under way together took the room.
const mostLarge = 3

// mostLargeURLs is how many URLs whose answers found no room are remembered, at least.
const mostLargeURLs = 5_000

// errLarge is an answer that finds no room, where others do.
var errLarge = errors.New("the answer is larger than the room that there is for it")

// takeIn refuses an answer for which the disk of the archive has no room, given the answers that still have to be written
// before it. If that were found out only when it is written, it would end the run, and the next run would fetch the answer
// again. How small it will be when packed is not known yet. After an error the answer is closed.
func (j *Job) takeIn(x *connector.Exchange) error {
	size := x.Received.Size()
	if err := j.room.Intake(int(j.unwritten.Add(size))); err != nil {
		j.unwritten.Add(-size)
		return errors.Join(err, x.Close())
	}
	x.Received = &takenIn{Bytes: x.Received, size: size, of: &j.unwritten}
	return nil
}

// takenIn is an answer that counts as waiting to be written until it is closed.
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

// someRoom is the room that each answer is taken to have.
const someRoom = 1 << 20

// roomFor returns how many bytes one answer may have so that others still find room, and the directory that is the limit. An
// answer lies in the data directory until it is in a WARC file, so if both are on one disk it takes twice as much. A disk that
// does not say how much room it has is found out when it is written to.
func (j *Job) roomFor() (most int64, dir string) {
	most = 1<<63 - 1
	look := func(at string, room *engine.Room, taken, copies int64) {
		is, err := disk.RoomAt(at)
		if err != nil {
			return
		}
		if n := max((int64(is.Free)-int64(room.Limits().Soft)-taken)/copies, someRoom); n < most {
			most, dir = n, at
		}
	}
	if j.room == j.env.Room {
		look(j.env.Dir, j.room, j.unwritten.Load(), 2)
		return most, dir
	}
	look(j.env.Dir, j.env.Room, 0, 1)
	look(j.cfg.Archive.Dir, j.room, j.unwritten.Load(), 1)
	return most, dir
}

// fits limits a request to as many bytes as there is room for. refused is to be called with the answer: it returns an errLarge
// if that was cut by this limit.
func (j *Job) fits(r connector.FetchRequest) (_ connector.FetchRequest, refused func(x *connector.Exchange) error) {
	room, dir := j.roomFor()
	wanted, most, wants := int64(-1), cmp.Or(r.MaxBytes, j.cfg.MaxBytes), r.Wants
	if room < most {
		r.MaxBytes = room
	}
	r.Wants = func(status int, h http.Header) bool {
		if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && min(n, most) > room {
			wanted = n
			return false
		}
		return wants == nil || wants(status, h)
	}
	return r, func(x *connector.Exchange) error {
		has := "more"
		switch {
		case wanted >= 0:
			has = disk.Size(wanted)
		case most <= room || x.Truncated != warc.TruncatedLength:
			return nil
		}
		return tooLarge("it has %s, and there is room for %s in %s", has, disk.Size(room), dir)
	}
}

// tooLarge returns an errLarge.
func tooLarge(format string, args ...any) error {
	return &connector.FetchError{Status: connector.FetchRuntime, Begun: time.Now(), Err: fault.New(fault.Permanent,
		"%w: %w; make room, or set max_bytes to have it cut", errLarge, fmt.Errorf(format, args...))}
}

// noRoom says what follows from a disk error for the answer of u. If the disk has no room at all, everybody waits until it
// has. If others find room, the URL stays where it is until it is clear that this answer is too large; then the error is an
// errLarge.
func (j *Job) noRoom(u weburl.URL, err error) error {
	switch {
	case !j.hasRoom():
		j.short.full(j.disk, err)
	case j.short.tooLarge(u.String()):
		return tooLarge("%w", err)
	}
	return err
}

// tooLarge counts that the answer of a URL found no room where others do. It returns true once the URL is to be put off.
func (s *shortage) tooLarge(url string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.large.most = mostLargeURLs
	n, _ := s.large.get(url)
	s.large.put(url, n+1)
	return n+1 >= mostLarge
}

// hasRoom reports whether there is room on the disks where answers lie until they are written and where they are written to.
// The first disk is tried out, because a quota, or a disk that promises more than it has, shows only then.
func (j *Job) hasRoom() bool {
	for dir, room := range map[string]*engine.Room{j.env.Dir: j.env.Room, j.cfg.Archive.Dir: j.room} {
		is, err := disk.RoomAt(dir)
		if err != nil || is.Free < room.Limits().Soft+someRoom {
			return false
		}
	}
	f, err := os.CreateTemp(j.env.Dir, ".room.*")
	if err != nil {
		return false
	}
	gone := os.Remove(f.Name()) // before there is anything in it that a crash could leave
	_, err = f.Write(make([]byte, someRoom))
	return errors.Join(gone, err, f.Close()) == nil
}

// putOff puts off a URL whose error is an errLarge; it is tried as often as any other URL, and then fails. It returns false
// for other errors.
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
