package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
	"holdfast/base/fault"
)

// RoomLimits are the watermarks of a disk. Zero fields take their defaults, which follow the size of
// the file system.
type RoomLimits struct {
	// Soft: with less free than this, sources that can wait are paused and people are told.
	Soft uint64
	// Hard: with less free than this, nothing is taken in any more.
	Hard uint64
	// Ballast is the size of a preallocated file that is given up when a start needs room.
	Ballast uint64
}

func (l RoomLimits) withDefaults(total uint64) RoomLimits {
	if l.Soft == 0 {
		l.Soft = min(1<<30, total/10)
	}
	if l.Hard == 0 {
		l.Hard = min(256<<20, l.Soft/2)
	}
	if l.Ballast == 0 {
		l.Ballast = min(64<<20, l.Hard/2)
	}
	return l
}

// Room watches the disk that holds the stores. Free space has no event to wait for, so it is asked
// for: before each intake, and once a second while there is too little.
type Room struct {
	dir    string
	limits RoomLimits
	log    *slog.Logger
	full   func() bool // of Options; nil for never

	mu    sync.Mutex
	short bool      // below the soft mark; guarded by mu
	since time.Time // of short; guarded by mu
	later string    // why no store is opened yet; guarded by mu
}

// NewRoom watches the file system of dir.
func NewRoom(dir string, l RoomLimits, log *slog.Logger) (*Room, error) {
	room, err := disk.RoomAt(dir)
	if err != nil {
		return nil, err
	}
	return &Room{dir: dir, limits: l.withDefaults(room.Total), log: log}, nil
}

// Limits returns the watermarks in force.
func (r *Room) Limits() RoomLimits { return r.limits }

// Look is what room there is.
func (r *Room) Look() (disk.Room, error) {
	room, err := disk.RoomAt(r.dir)
	if r.full != nil && r.full() {
		room.Free = min(room.Free, r.limits.Hard/2)
	}
	return room, err
}

// Intake returns a Full fault if n more bytes must not be taken in.
func (r *Room) Intake(n int) error { return r.above(r.limits.Hard, n, "nothing more is taken in") }

// Admit returns a Full fault if a commit of n bytes could fail for want of room. What makes room
// (a delivery that is done, a trim) may use more of the disk than intake may.
func (r *Room) Admit(n int) error {
	return r.above(r.limits.Hard/4, n, "not even deliveries can be recorded")
}

func (r *Room) above(mark uint64, n int, what string) error {
	room, err := r.Look()
	if err != nil || room.Free >= mark+uint64(n) {
		return nil // a file system that does not answer says so at the write
	}
	return fault.WithHint(fault.New(fault.Full, "%s has %s left of %s: %s", r.dir, disk.Size(room.Free),
		disk.Size(room.Total), what), "make room on that file system; work goes on by itself")
}

// Wait blocks a job while there is less room than the soft mark, and then until there is an eighth more: else sources
// would go and stop by turns around the mark. The job's history has when that begins and ends.
func (r *Room) Wait(ctx context.Context, h *History) error {
	for waits := false; ; {
		room, err := r.Look()
		mark := r.limits.Soft
		if short, _ := r.Short(); short {
			mark += mark / 8
		}
		short := err == nil && room.Free < mark
		r.mark(short)
		switch {
		case short && !waits:
			h.shortOfRoom(r.dir, room.Free, r.limits.Soft+r.limits.Soft/8)
			waits = true
		case !short && waits:
			h.roomAgain(r.dir, room.Free)
			return nil
		case !short:
			return nil
		}
		select {
		case <-ctx.Done():
			h.gone()
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (r *Room) mark(short bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.short != short {
		r.short, r.since = short, time.Now()
	}
}

// Short reports whether intake is held for want of room, and since when.
func (r *Room) Short() (bool, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.short, r.since
}

func (r *Room) ballast() string { return filepath.Join(r.dir, "BALLAST") }

// Start makes sure that stores can be opened: with too little room it gives the ballast up, and waits
// if that was not enough. With room to spare it lays the ballast down.
func (r *Room) Start(ctx context.Context) error {
	need := r.limits.Hard / 2
	defer r.waits("")
	for told := false; ; {
		room, err := disk.RoomAt(r.dir)
		if err != nil {
			return err
		}
		if room.Free >= need {
			return r.lay(room)
		}
		if os.Remove(r.ballast()) == nil {
			r.log.Warn("disk: gave up the ballast to be able to start")
			continue
		}
		if !told {
			told = true
			why := fmt.Sprintf("%s has %s left, starting needs %s", r.dir, disk.Size(room.Free), disk.Size(need))
			r.log.Error("disk: " + why + "; waiting for room")
			r.waits(why + "; make room on that file system: it starts by itself")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// waits says why no store is opened yet, "" that nothing keeps them.
func (r *Room) waits(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.later, r.short, r.since = why, why != "", time.Now()
}

// startsLater is why no store is opened yet, "" if nothing keeps them.
func (r *Room) startsLater() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.later
}

func (r *Room) lay(room disk.Room) error {
	if room.Free < r.limits.Soft+r.limits.Ballast {
		return nil
	}
	f, err := os.OpenFile(r.ballast(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("lay ballast: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(r.limits.Ballast))
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // a file system that can't reserve: the watermarks must do
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("lay ballast: %w", err)
	}
	return nil
}
