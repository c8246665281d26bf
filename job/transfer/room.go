package transfer

import (
	"context"
	"sync"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
)

// room looks after the space that the job itself needs: on the disk of the data directory for packed forms and commits, on the
// disk of an original for what takes its place. Whatever finds no space waits without spending an attempt, and closes a gate,
// so that people are told.
type room struct {
	disk *engine.Room
	gate *gate.Gate // open while nobody waits

	mu      sync.Mutex // guards what is below
	taken   int64      // bytes that are kept for what is being made
	waiting int
	freed   chan struct{} // closed when bytes were given back
}

// lookForRoom is how often it is looked whether somebody else made room.
const lookForRoom = time.Second

func newRoom(env engine.Env) *room {
	return &room{disk: env.Room, freed: make(chan struct{}), gate: gate.New(diskGate, gate.Options{OnChange: env.History.Gate})}
}

// take reserves bytes on the disk of the data directory for a file that is to be made there, until giveBack is called. It is a
// Full fault if not as many as besides would be left then.
func (r *room) take(bytes, besides int64) (giveBack func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.disk.Intake(int(r.taken + bytes + besides)); err != nil {
		return nil, err
	}
	r.taken += bytes
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.taken -= bytes
		close(r.freed)
		r.freed = make(chan struct{})
	}, nil
}

// when repeats f as long as it finds no room.
func (r *room) when(ctx context.Context, f func() error) error {
	freed := r.nextFreed()
	err := f()
	if !noRoom(err) {
		return err
	}
	r.waits()
	defer r.goesOn()
	for noRoom(err) {
		r.gate.Report(fault.As(fault.Full, err))
		look := time.NewTimer(lookForRoom)
		select {
		case <-look.C:
		case <-freed:
			look.Stop()
		case <-ctx.Done():
			look.Stop()
			return ctx.Err()
		}
		freed = r.nextFreed()
		err = f()
	}
	return err
}

// makes runs f, which writes so many bytes into the job's directory, once there is room for them and for more besides.
func (r *room) makes(ctx context.Context, bytes, besides int64, f func() error) error {
	return r.when(ctx, func() error {
		giveBack, err := r.take(bytes, besides)
		if err != nil {
			return err
		}
		defer giveBack()
		return f()
	})
}

func noRoom(err error) bool { return fault.Is(err, fault.Full) || disk.NoRoom(err) }

func (r *room) nextFreed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freed
}

func (r *room) waits() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting++
}

func (r *room) goesOn() {
	r.mu.Lock()
	r.waiting--
	last := r.waiting == 0
	r.mu.Unlock()
	if last {
		r.gate.OpenByHand()
	}
}

// at returns a Full fault if the disk of a directory does not have as many bytes left.
func (r *room) at(dir string, bytes int64) error {
	is, err := disk.RoomAt(dir)
	if err != nil || is.Free >= uint64(bytes) {
		return nil // one that does not answer says so at the write
	}
	return fault.WithHint(fault.New(fault.Full, "%s has %s left, and %s are to be written", dir, disk.Size(is.Free),
		disk.Size(bytes)), "make room on that file system; work goes on by itself")
}
