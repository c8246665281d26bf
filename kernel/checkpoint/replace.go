package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

const (
	stageName      = ".restore"
	intentName     = "INTENT"
	quarantineName = "quarantine"
)

// besides are the files of a store that belong to one life of its database and move with it. The
// high-water mark must: beside another database it would tell of a rollback.
var besides = []string{"HIGHWATER", "tables.sum"}

// aside goes into quarantine with the old database: what belongs to its life, and what was kept of
// it when it was opened.
var aside = append([]string{"archive"}, besides...)

// intent says what a Replace is about to do. It stands in the stage from before the first step
// until after the last.
type intent struct {
	Quarantine string `json:"quarantine"` // where the old store goes, below the store's directory
	// Inode is that of the new database's directory, 0 where the file system has none: it tells
	// after a crash which of two directories has which name.
	Inode uint64 `json:"inode"`
	// Moved is set once the old database is in quarantine, or if there was none: whatever database
	// is there from then on is the new one.
	Moved bool `json:"moved"`
}

// Replace restores the checkpoint with the name in place of the store in dir, which must be closed.
// The old store is kept in the directory that is returned, below DIR/quarantine.
//
// The new store is made whole and opened once in DIR/.restore; then the two database directories
// change names in one step of the file system. A crash before it leaves the old store, one behind
// it the new one, and Recover removes or finishes the rest. A file system that can't exchange names
// needs two renames; between them DIR has no database, and Recover is needed before the next Open.
func Replace(ctx context.Context, dir, name string, w Work) (o Origin, quarantine string,
	err error) {
	if err := CheckName(name); err != nil {
		return Origin{}, "", err
	}
	return ReplaceFrom(ctx, dir, Path(dir, name), w)
}

// ReplaceFrom is Replace by the checkpoint in the directory at path, which may be another store's or a copy. Nothing is
// written there.
func ReplaceFrom(ctx context.Context, dir, path string, w Work) (o Origin, quarantine string, err error) {
	o, quarantine, err = replace(ctx, dir, path, w)
	if err != nil {
		return Origin{}, "", told(fmt.Errorf("replace store %s: %w", dir, err))
	}
	return o, quarantine, nil
}

func replace(ctx context.Context, dir, path string, w Work) (o Origin, quarantine string,
	err error) {
	fs := w.fs()
	lock, err := acquire(fs, fs.PathJoin(dir, lockName))
	if err != nil {
		return Origin{}, "", err
	}
	defer lock.Close()
	if _, err := recoverReplace(fs, dir); err != nil {
		return Origin{}, "", err
	}
	stage := fs.PathJoin(dir, stageName)
	if o, err = restore(ctx, path, stage, w); err != nil {
		return Origin{}, "", err
	}
	i, err := prepare(fs, dir, o)
	if err == nil {
		err = i.exchange(fs, dir)
	}
	if err != nil {
		_, again := recoverReplace(fs, dir)
		return Origin{}, "", errors.Join(err, again)
	}
	return o, fs.PathJoin(dir, i.Quarantine), i.finish(fs, dir)
}

// Outcome is what Recover found.
type Outcome string

// The outcomes of Recover.
const (
	Nothing  Outcome = "nothing to recover"
	Undone   Outcome = "a restore that had not come to its end was undone"
	Finished Outcome = "a restore that a crash had interrupted was finished"
)

// Recover brings a store directory that a crash caught in a Replace back to one state: the old
// store or the new one. The store must be closed. It is cheap when there is nothing to do.
func Recover(dir string, w Work) (Outcome, error) {
	fs := w.fs()
	pending := false
	for _, name := range []string{stageName, "." + stageName + ".new"} {
		_, err := fs.Stat(fs.PathJoin(dir, name))
		pending = pending || err == nil
	}
	if !pending {
		return Nothing, nil
	}
	lock, err := acquire(fs, fs.PathJoin(dir, lockName))
	if err != nil {
		return Nothing, fmt.Errorf("recover store %s: %w", dir, err)
	}
	defer lock.Close()
	out, err := recoverReplace(fs, dir)
	if err != nil {
		return out, fmt.Errorf("recover store %s: %w", dir, err)
	}
	return out, nil
}

// Sweep removes what a restore or a salvage left in the store directory that has no intent: it was
// never near the store, and may be as large. Recover does so as well, but only when the store's turn to
// be opened comes, and no store is opened while the disk is full. What has an intent is left to
// Recover, a store that is in use to its owner.
func Sweep(dir string) error {
	fs := store.Disk
	names, err := fs.List(dir)
	if err != nil && !notExist(err) {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, stageName) && !strings.HasPrefix(name, "."+stageName)
	})
	if len(names) == 0 {
		return nil
	}
	lock, err := acquire(fs, fs.PathJoin(dir, lockName))
	if fault.Is(err, fault.Busy) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	defer lock.Close()
	var errs []error
	for _, name := range names {
		if name == stageName {
			if _, found, err := readIntent(fs, fs.PathJoin(dir, name)); found || err != nil {
				continue // also an unreadable one: Recover says what is to be done
			}
		}
		errs = append(errs, removeAll(fs, fs.PathJoin(dir, name)))
	}
	return errors.Join(errs...)
}

func recoverReplace(fs store.FS, dir string) (Outcome, error) {
	stage := fs.PathJoin(dir, stageName)
	// A stage that has not got its name yet holds nothing that is not in the checkpoint.
	if err := removeAll(fs, fs.PathJoin(dir, "."+stageName+".new")); err != nil {
		return Nothing, err
	}
	if _, err := fs.Stat(stage); notExist(err) {
		return Nothing, nil
	}
	i, found, err := readIntent(fs, stage)
	if err != nil {
		return Nothing, err
	}
	if !found {
		return Undone, removeAll(fs, stage)
	}
	staged, live := fs.PathJoin(stage, dbName), fs.PathJoin(dir, dbName)
	_, stagedErr := fs.Stat(staged)
	_, liveErr := fs.Stat(live)
	switch {
	case notExist(liveErr) && stagedErr == nil:
		// Between the two renames, or there was no old database. The new one is whole.
		i.Moved = true
		if err := i.write(fs, stage); err != nil {
			return Nothing, err
		}
		if err := moveDir(fs, staged, live); err != nil {
			return Nothing, err
		}
	case liveErr != nil:
		return Nothing, liveErr
	case stagedErr == nil && !i.Moved && (i.Inode == 0 || i.Inode != inode(fs, live)):
		return Undone, i.undo(fs, dir)
	}
	return Finished, i.finish(fs, dir)
}

// readIntent reads the stage's intent. A stage without one was never near the live store.
func readIntent(fs store.FS, stage string) (i intent, found bool, err error) {
	data, err := readFile(fs, fs.PathJoin(stage, intentName))
	if notExist(err) {
		return i, false, nil
	}
	if err != nil {
		return i, false, err
	}
	if err := json.Unmarshal(data, &i); err != nil || i.Quarantine == "" {
		err := fault.New(fault.Corrupt, "read intent of a restore: %v", err)
		return i, false, fault.WithHint(err,
			"%s holds the one of two stores, %s the other; nothing was removed", stage,
			fs.PathDir(stage))
	}
	return i, true, nil
}

// prepare makes the place for the old store and writes the intent. Both are durable before anything
// of the live store moves; files of its database's life go ahead of it, because without them either
// database opens.
func prepare(fs store.FS, dir string, o Origin) (intent, error) {
	stage := fs.PathJoin(dir, stageName)
	base := fs.PathJoin(quarantineName, o.Restored.UTC().Format(timeName)+"-before-"+o.Name)
	i := intent{Quarantine: base, Inode: inode(fs, fs.PathJoin(stage, dbName))}
	for n := 2; ; n++ {
		if _, err := fs.Stat(fs.PathJoin(dir, i.Quarantine)); notExist(err) {
			break
		} else if err != nil {
			return i, err
		}
		i.Quarantine = fmt.Sprintf("%s-%d", base, n)
	}
	if err := makeDir(fs, fs.PathJoin(dir, i.Quarantine)); err != nil {
		return i, err
	}
	if _, err := fs.Stat(fs.PathJoin(dir, dbName)); notExist(err) {
		i.Moved = true
	}
	if err := i.write(fs, stage); err != nil {
		return i, err
	}
	for _, name := range aside {
		if err := moveFile(fs, dir, fs.PathJoin(dir, i.Quarantine), name); err != nil {
			return i, err
		}
	}
	return i, nil
}

func (i intent) write(fs store.FS, stage string) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return replaceFile(fs, fs.PathJoin(stage, intentName), data)
}

// exchange is the step: before it the old store has the name, after it the new one.
func (i *intent) exchange(fs store.FS, dir string) error {
	stage := fs.PathJoin(dir, stageName)
	live, staged := fs.PathJoin(dir, dbName), fs.PathJoin(stage, dbName)
	if i.Moved {
		return moveDir(fs, staged, live)
	}
	err := swapNames(fs, live, staged)
	if err == nil {
		return errors.Join(syncDir(fs, dir), syncDir(fs, stage))
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("exchange databases: %w", err)
	}
	if err := moveDir(fs, live, fs.PathJoin(dir, i.Quarantine, dbName)); err != nil {
		return err
	}
	i.Moved = true
	if err := i.write(fs, stage); err != nil {
		return err
	}
	return moveDir(fs, staged, live)
}

// swapNames exchanges the names of two directories in one step, where the file system can.
func swapNames(fs store.FS, a, b string) error {
	if fs != store.Disk {
		return errors.ErrUnsupported
	}
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

// finish puts everything into its place behind the step. Each part may have been done before.
func (i intent) finish(fs store.FS, dir string) error {
	stage, quarantine := fs.PathJoin(dir, stageName), fs.PathJoin(dir, i.Quarantine)
	old := fs.PathJoin(stage, dbName)
	if _, err := fs.Stat(old); err == nil && !i.Moved {
		if err := moveDir(fs, old, fs.PathJoin(quarantine, dbName)); err != nil {
			return err
		}
	}
	for _, name := range append([]string{formatName}, besides...) {
		if err := moveFile(fs, stage, dir, name); err != nil {
			return err
		}
	}
	return i.clear(fs, dir)
}

// undo gives the old store back what went ahead of it, unless it was opened since and has it anew.
func (i intent) undo(fs store.FS, dir string) error {
	quarantine := fs.PathJoin(dir, i.Quarantine)
	for _, name := range aside {
		if _, err := fs.Stat(fs.PathJoin(dir, name)); notExist(err) {
			if err := moveFile(fs, quarantine, dir, name); err != nil {
				return err
			}
		}
	}
	if names, err := fs.List(quarantine); err == nil && len(names) == 0 {
		if err := removeAll(fs, quarantine); err != nil {
			return err
		}
	}
	return i.clear(fs, dir)
}

// clear removes the stage, its intent last: a crash within finds the same state again.
func (i intent) clear(fs store.FS, dir string) error {
	stage := fs.PathJoin(dir, stageName)
	names, err := fs.List(stage)
	if err != nil {
		return fmt.Errorf("list stage: %w", err)
	}
	for _, name := range names {
		if name == intentName {
			continue
		}
		if err := removeAll(fs, fs.PathJoin(stage, name)); err != nil {
			return err
		}
	}
	if err := syncDir(fs, stage); err != nil {
		return err
	}
	if err := removeAll(fs, stage); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// moveDir renames a directory and makes it durable: first where it appears, so that a power cut may
// show it twice but never not at all.
func moveDir(fs store.FS, from, to string) error {
	if err := fs.Rename(from, to); err != nil {
		return fmt.Errorf("move %s to %s: %w", from, to, err)
	}
	return errors.Join(syncDir(fs, fs.PathDir(to)), syncDir(fs, fs.PathDir(from)))
}

// moveFile moves the file with the name from one directory to another, if it is there.
func moveFile(fs store.FS, from, to, name string) error {
	if _, err := fs.Stat(fs.PathJoin(from, name)); notExist(err) {
		return nil
	}
	return moveDir(fs, fs.PathJoin(from, name), fs.PathJoin(to, name))
}

func inode(fs store.FS, path string) uint64 {
	info, err := fs.Stat(path)
	if err != nil {
		return 0
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
