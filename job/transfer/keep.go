package transfer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/kernel/store"
)

const (
	// letGoEvery is the time between two looks for records that are too old.
	letGoEvery = time.Hour
	// letGoAtOnce is how many records one commit removes.
	letGoAtOnce = 200
	// defaultKeepRecords is how long records stay.
	defaultKeepRecords = 90 * 24 * time.Hour
)

// runLetGo removes records that are too old, again and again.
func (j *Job) runLetGo(ctx context.Context) error {
	every := time.NewTicker(letGoEvery)
	defer every.Stop()
	for {
		if err := j.letGo(ctx, time.Now()); err != nil && !noRoom(err) {
			return err
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// letGo removes the records of files that ended longer ago than records are kept. As long as a file stands in the source
// directory, its record is what keeps it from being taken in again: such a record stays, and is looked at again after a
// quarter of that time.
func (j *Job) letGo(ctx context.Context, now time.Time) error {
	before := now.Add(-j.cfg.KeepRecords)
	for from := endsKey(0); ; {
		ids, last, err := j.tooOld(ctx, from, before)
		from = append(last, 0) // a scan from there does not walk over what was deleted
		if err != nil || len(ids) == 0 {
			return err
		}
		standing := map[uint64]bool{}
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			if standing[id], err = j.stillNeeded(id); err != nil {
				return err
			}
		}
		err = j.env.Store.Update(func(tx *store.Tx) error {
			for _, id := range ids {
				if err := j.letGoOf(tx, id, before, standing[id]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// tooOld are some of the files whose records are too old, the oldest first, and the key of the last of them.
func (j *Job) tooOld(ctx context.Context, from store.Key, before time.Time) (ids []uint64, last store.Key, err error) {
	err = j.env.Store.View(ctx, func(r store.Reader) error {
		entries, failed := r.Scan(from, endsKey(before.UnixMilli()))
		for k := range entries {
			last = append(last[:0], k...)
			if ids = append(ids, binary.BigEndian.Uint64(k[len(k)-8:])); len(ids) == letGoAtOnce {
				break
			}
		}
		return failed()
	})
	return ids, last, err
}

// letGoOf removes a record, or puts it off if it is needed.
func (j *Job) letGoOf(tx *store.Tx, id uint64, before time.Time, needed bool) error {
	f, err := readFile(tx, id)
	if err != nil || f.Look == 0 || f.Look >= before.UnixMilli() { // a person has revived it meanwhile
		return err
	}
	busy, err := j.hasTask(tx, f)
	if err != nil {
		return err
	}
	if needed || busy {
		f.Look = before.UnixMilli() + max((j.cfg.KeepRecords/4).Milliseconds(), 1)
		return f.put(tx)
	}
	for _, q := range j.queues() {
		if _, err := q.Forget(tx, f.keyIn(q.Name())); err != nil {
			return err
		}
	}
	f.forget(tx)
	return nil
}

// keyIn is the key of the file's task in a queue.
func (f *file) keyIn(queue string) string {
	if queue == prepareName {
		return f.key()
	}
	return f.task().Key
}

// hasTask reports whether a queue has something to do for a file, or a dead task of it.
func (j *Job) hasTask(tx *store.Tx, f *file) (bool, error) {
	for _, q := range j.queues() {
		if fate, _, err := q.Find(tx, f.keyIn(q.Name())); err != nil || fate.ID != 0 {
			return true, err
		}
	}
	return false, nil
}

// stillNeeded reports whether a file, or what took its place, stands where it stood, or may do so again because its disk may
// only be unmounted. If the ledger knows that it was transferred, it is not needed.
func (j *Job) stillNeeded(id uint64) (bool, error) {
	var f *file
	var own *Identity
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		if f, err = readFile(r, id); err != nil || f.Own == "" {
			return err
		}
		b, ok, err := r.Get(ownKey(string(f.Own)))
		if err != nil || !ok {
			return err
		}
		own = new(Identity)
		return json.Unmarshal(b, own)
	})
	if err != nil {
		return false, err
	}
	known := j.ledger != nil && (f.State == Done || f.State == Known)
	all := []Identity{f.Identity}
	if own != nil {
		all = append(all, *own)
		known = false // the ledger knows the original, and not what took its place
	}
	for _, i := range all {
		if stands, sure := j.stands(i); stands || !sure && !known {
			return true, nil
		}
	}
	return false, nil
}

// stands reports whether a file is there. That it is not there is sure only if what is left of the directories of its path is
// on the device that the file was on.
func (j *Job) stands(i Identity) (stands, sure bool) {
	var st unix.Stat_t
	err := unix.Lstat(j.here(string(i.Path)), &st)
	if err == nil && isFile(&st) && identityFrom(i.Path, &st) == i {
		return true, true
	}
	if err != nil && !isGone(err) {
		return false, false
	}
	device, ok := j.deviceAbove(i)
	return false, ok && device == i.Device
}

// deviceAbove returns the device of the nearest directory of a path that exists; ok is false if that can't be told.
func (j *Job) deviceAbove(i Identity) (device uint64, ok bool) {
	for below := path.Dir(string(i.Path)); ; below = path.Dir(below) {
		var st unix.Stat_t
		err := unix.Lstat(j.here(below), &st)
		switch {
		case err == nil:
			return st.Dev, true
		case !isGone(err) || below == ".":
			return 0, false
		}
	}
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }
