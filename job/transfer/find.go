package transfer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"slices"
	"time"

	"holdfast/base/fits"
	"holdfast/kernel/queue"
	"holdfast/kernel/store"
)

// Seen is a file that was found.
type Seen struct {
	Identity
	By      string // what found it
	Live    bool   // it came while it was watched
	Overdue bool   // it does not change any more, and is not whole by its own word
}

// Finder finds the files of a directory. It gives each finished file at least once, with the identity that the file has then.
type Finder interface {
	// Run gives files until ctx ends or give fails.
	Run(ctx context.Context, give func(ctx context.Context, files []Seen) error) error
	// Scan gives the files that are there now, and ends.
	Scan(ctx context.Context, give func(ctx context.Context, files []Seen) error) error
	// Notes are lines for status.
	Notes() [][2]string
}

// Complete reports whether a FITS file has all that its headers ask for; any other file is complete.
func Complete(name string) (bool, error) {
	if !isFITS(name) {
		return true, nil
	}
	report, err := skim(name)
	return err == nil && report.Verdict != fits.Truncated, err
}

// skim looks at the headers of a file.
func skim(name string) (report fits.Report, err error) {
	in, err := os.Open(name)
	if err != nil {
		return report, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return report, err
	}
	return fits.Skim(in, info.Size())
}

// find takes in what is found.
func (j *Job) find(ctx context.Context) error {
	if !j.cfg.Once {
		return j.cfg.Find.Run(ctx, j.take)
	}
	err := j.cfg.Find.Scan(ctx, j.take)
	if err == nil {
		j.found.Store(true)
		j.look()
	}
	return err
}

// backfill looks through the source each time that a person asks for it.
func (j *Job) backfill(ctx context.Context) error {
	for {
		select {
		case <-j.again:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := j.cfg.Find.Scan(ctx, j.take); err != nil && ctx.Err() == nil {
			j.env.History.Warn("source.unread", "the source could not be looked through: %v", err)
		}
	}
}

// take makes tasks of the files that are new, in one commit. What the job itself put in the place of an original is none.
func (j *Job) take(ctx context.Context, files []Seen) error {
	return j.room.when(ctx, func() error { return j.takeNow(files) })
}

func (j *Job) takeNow(files []Seen) error {
	now := time.Now()
	j.origin.saw(files)
	return j.env.Store.Update(func(tx *store.Tx) error {
		var tasks []queue.Task
		twice := map[string]bool{}
		for _, s := range files {
			key := s.key()
			if twice[key] {
				continue
			}
			twice[key] = true
			if _, known, err := j.prepare.Find(tx, key); err != nil || known {
				if err == nil {
					err = j.isFoundAgain(tx, s.Identity)
				}
				if err != nil {
					return err
				}
				continue
			}
			if own, err := isOwn(tx, s.Identity); err != nil || own {
				if err != nil {
					return err
				}
				continue
			}
			id, err := nextID(tx)
			if err == nil {
				err = j.supersede(tx, s.Identity)
			}
			if err != nil {
				return err
			}
			f := &file{ID: id, Identity: s.Identity, Found: now, By: s.By, Live: s.Live, Overdue: s.Overdue,
				State: Preparing, Since: now}
			f.did(Found, "", 0, "by %s", s.By)
			if err := f.put(tx); err != nil {
				return err
			}
			tasks = append(tasks, queue.Task{Key: key, Lane: f.lane(), Payload: payload(id)})
		}
		_, err := j.prepare.PutAll(tx, tasks)
		return err
	})
}

// isFoundAgain looks at a file that is known, and stands there still. If it was brought and kept unpacked, and the job is to
// overwrite such files, its packed form is asked to take its place, once.
func (j *Job) isFoundAgain(tx *store.Tx, i Identity) error {
	if !j.overwrites(&file{Identity: i}) {
		return nil
	}
	f, err := latestOf(tx, i)
	if err != nil || f == nil || f.State != Done || f.Overwrite || f.Own != "" {
		return err
	}
	if _, err := j.after.Forget(tx, f.task().Key); err != nil {
		return err
	}
	if err := j.willOverwrite(tx, f); err != nil {
		return err
	}
	return f.put(tx)
}

// willOverwrite makes the task by which the packed form of a file that is somewhere already takes its place.
func (j *Job) willOverwrite(tx *store.Tx, f *file) error {
	f.Overwrite = true
	task := f.task()
	task.Due = time.Unix(0, f.Mtime).Add(j.cfg.Overwrite.Recency)
	_, err := j.after.Put(tx, task)
	return err
}

// latestOf returns the newest record of a file, nil if there is none.
func latestOf(r store.Reader, i Identity) (f *file, err error) {
	first := pathKey(string(i.Path), 0)
	entries, failed := r.Scan(first, first[:len(first)-8].End())
	var ids []uint64
	for k := range entries {
		ids = append(ids, binary.BigEndian.Uint64(k[len(k)-8:]))
	}
	if err := failed(); err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		if f, err = readFile(r, id); err != nil || f.Identity == i {
			return f, err
		}
	}
	return nil, nil
}

func (f *file) lane() int {
	if f.Live {
		return liveLane
	}
	return backfillLane
}

// isOwn reports whether a file is one that the job put there.
func isOwn(r store.Reader, i Identity) (bool, error) {
	b, ok, err := r.Get(ownKey(string(i.Path)))
	if err != nil || !ok {
		return false, err
	}
	var own Identity
	err = json.Unmarshal(b, &own)
	own.Device = i.Device // a start may give a disk another number: NFS, btrfs, LVM
	return own == i, err
}
