package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// Origin says where a restored store comes from. Its presence tells those who deliver that the
// world may have moved on since: what the store holds as undone may have been done.
type Origin struct {
	Name     string    `json:"name"` // the checkpoint's
	Created  time.Time `json:"created"`
	Commit   uint64    `json:"commit"`
	Lineage  string    `json:"lineage"` // of the store that the checkpoint was made of
	Restored time.Time `json:"restored"`
	Outside  []Outside `json:"outside,omitempty"`
}

var keyRestored = store.Meta.K().Str("restored")

// Restored returns where the store was restored from, and false for one that never was. A store
// that was restored more than once names the last time.
func Restored(r store.Reader) (Origin, bool, error) {
	v, ok, err := r.Get(keyRestored)
	if err != nil || !ok {
		return Origin{}, false, err
	}
	var o Origin
	if err := json.Unmarshal(v, &o); err != nil {
		return Origin{}, false, fault.New(fault.Corrupt, "read origin of restored store: %w", err)
	}
	return o, true, nil
}

// Restore makes a store of the checkpoint in the directory at path, in the directory into, which
// must not exist. The checkpoint is verified first and refused with a Corrupt fault if it is
// damaged. Tables are linked, or copied where the file system can't; all else is copied. The new
// store gets a new lineage and the mark that Restored reads. into appears when all is durable; a
// crash before leaves a directory .NAME.new beside it, which the next Restore removes.
func Restore(ctx context.Context, path, into string, w Work) (Origin, error) {
	o, err := restore(ctx, path, into, w)
	if err != nil {
		return Origin{}, told(fmt.Errorf("restore checkpoint %s into %s: %w", path, into, err))
	}
	return o, nil
}

func restore(ctx context.Context, path, into string, w Work) (Origin, error) {
	fs := w.fs()
	if _, err := fs.Stat(into); err == nil {
		return Origin{}, fault.New(fault.Conflict, "the directory is there already")
	} else if !notExist(err) {
		return Origin{}, err
	}
	r, err := Verify(ctx, path, w)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return Origin{}, err
	}
	parent := fs.PathDir(into)
	tmp := fs.PathJoin(parent, "."+fs.PathBase(into)+".new")
	if err := errors.Join(removeAll(fs, tmp), makeDir(fs, fs.PathJoin(tmp, dbName))); err != nil {
		return Origin{}, err
	}
	o, err := rebuild(ctx, r.Manifest, path, tmp, w)
	if err == nil {
		err = publish(fs, tmp, into)
	}
	if err != nil {
		return Origin{}, undo(fs, tmp, err)
	}
	return o, nil
}

// openRoom is the room that a store takes to open, beside what its logs hold: a new log is
// allocated in one piece.
const openRoom = 16 << 20

// rebuild makes the store in tmp.
func rebuild(ctx context.Context, m Manifest, path, tmp string, w Work) (Origin, error) {
	fs := w.fs()
	copied, err := place(ctx, m, path, tmp, fs)
	if err != nil {
		return Origin{}, err
	}
	// Opening it turns its logs into tables. Where there is no room Pebble would wait for it, for
	// ever.
	if err := roomFor(fs, tmp, copied+openRoom); err != nil {
		return Origin{}, err
	}
	sums := store.OpenTableSums(fs, tmp)
	for _, f := range m.Files {
		if f.table() && f.Sum != "" {
			sums.Put(fs, fs.PathJoin(tmp, f.Path), f.Sum)
		}
	}
	if err := sums.Save(); err != nil {
		return Origin{}, err
	}
	o := Origin{Name: m.Name, Created: m.Created, Commit: m.Commit, Lineage: m.Lineage,
		Outside: m.Outside, Restored: time.Now().UTC()}
	return o, mark(tmp, o, w)
}

// place links and copies the files of a checkpoint into tmp and syncs the copies and the entries. It
// returns the bytes that are copies.
func place(ctx context.Context, m Manifest, path, tmp string, fs store.FS) (copied int64, err error) {
	for _, f := range m.Files {
		from, to := fs.PathJoin(path, f.Path), fs.PathJoin(tmp, f.Path)
		// Pebble never writes into a table that is finished; logs and MANIFEST it may write into,
		// and a linked one would change the checkpoint.
		if f.table() && fs.Link(from, to) == nil {
			continue
		}
		if err := copyFile(ctx, fs, from, to, f); err != nil {
			return copied, err
		}
		copied += f.Size
	}
	return copied, errors.Join(syncDir(fs, fs.PathJoin(tmp, dbName)), syncDir(fs, tmp))
}

// mark opens the restored store for the first time, gives it its new lineage and says where it
// comes from. Both stand before the directory gets its name, so nobody ever opens one without.
func mark(dir string, o Origin, w Work) (err error) {
	v, err := json.Marshal(o)
	if err != nil {
		return err
	}
	opts := w.Store
	if opts.FS = w.FS; opts.FS == store.Disk {
		opts.FS = nil // the disk, with lock and format
	}
	// A store that can't be written ends the process; here nobody relies on it yet, and the error
	// that comes back is enough.
	opts.Survive, opts.Fatal = true, func(error) {}
	st, err := store.Open(dir, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if st.Durable() < o.Commit {
		return fault.New(fault.Corrupt, "the restored store ends at commit %d, want %d",
			st.Durable(), o.Commit)
	}
	if l := st.Lineage().String(); l != o.Lineage {
		return fault.New(fault.Corrupt, "the restored store is of lineage %s, want %s", l,
			o.Lineage)
	}
	if err := st.NewLineage(); err != nil {
		return err
	}
	return st.Update(func(tx *store.Tx) error {
		tx.Set(keyRestored, v)
		return nil
	})
}
