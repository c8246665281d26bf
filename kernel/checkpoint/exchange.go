package checkpoint

import (
	"errors"
	"fmt"
	"time"

	"holdfast/kernel/store"
)

// Stage is where a store is made that is to take the place of the one in dir: see Exchange.
func Stage(dir string) string { return store.Disk.PathJoin(dir, stageName) }

// Exchange puts the store in Stage(dir), which must be closed and whole, in the place of the one in
// dir, as Replace does with a restored one: in one step of the file system, finished by Recover after
// a crash. The old store is kept in the directory that is returned, whose name ends in why.
func Exchange(dir, why string) (quarantine string, err error) {
	fs := store.Disk
	lock, err := acquire(fs, fs.PathJoin(dir, lockName))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	i, err := prepare(fs, dir, Origin{Name: why, Restored: time.Now()})
	if err == nil {
		err = i.exchange(fs, dir)
	}
	if err != nil {
		_, again := recoverReplace(fs, dir)
		return "", fmt.Errorf("exchange store %s: %w", dir, errors.Join(err, again))
	}
	return fs.PathJoin(dir, i.Quarantine), i.finish(fs, dir)
}
