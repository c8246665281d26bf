package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"holdfast/base/disk"
	"holdfast/connector"
	"holdfast/connector/wsprnet/cachefile"
	"holdfast/job/collect"
	"holdfast/kernel/engine"
)

// The directories of the old scraper: where it kept spots while its database was away.
const (
	oldCacheDir = "/var/lib/wsprnet/cache"
	oldFallback = "wsprnet-cache" // in the temporary directory
)

// caches are directories with cache files of the old scraper, to be taken in at start.
type caches struct {
	dirs []string
	log  *slog.Logger
}

// cacheDirs returns the directories to look into: the one that was named, else the old default; and
// the old fallback, if it is ours.
func cacheDirs(named string, log *slog.Logger) caches {
	if abs, err := filepath.Abs(named); err == nil && named != "" {
		named = abs
	}
	c := caches{dirs: []string{orElse(named, oldCacheDir)}, log: log}
	if named != "" {
		if err := disk.Writable(named); err != nil {
			log.Warn(fmt.Sprintf("cache directory %s can't be written (%s): what is kept is kept in the "+
				"data directory; files in it stay where they are", named, reason(err)))
		}
	}
	for _, tmp := range []string{"/tmp", os.TempDir()} {
		dir := filepath.Join(tmp, oldFallback)
		if ours(dir) == nil && dir != c.dirs[len(c.dirs)-1] {
			c.dirs = append(c.dirs, dir)
		}
	}
	return c
}

// take takes every file in; it is the OnStart of a job, so it runs before the start cursor is
// chosen.
func (c caches) take(ctx context.Context, j *collect.Job, env engine.Env) error {
	var stayed []Stayed
	for _, dir := range c.dirs {
		files, err := filepath.Glob(filepath.Join(dir, cachefile.Pattern))
		if err != nil || len(files) == 0 {
			continue
		}
		c.log.Info(fmt.Sprintf("Found %d cached spot files to replay in %s", len(files), dir))
		done, stay := 0, 0
		for _, file := range files {
			err := c.one(ctx, j.Import, file, dir)
			switch {
			case err == nil:
				done++
			case ctx.Err() != nil:
				return ctx.Err()
			default:
				stay++
				stayed = append(stayed, Stayed{file, err.Error()})
				env.History.Warn("import.failed", "cache file %s stays where it is: %v", file, err)
			}
		}
		c.log.Info(fmt.Sprintf("Cache replay: %d succeeded, %d still pending", done, stay))
	}
	return writeStayed(env.Dir, stayed)
}

// Stayed is a cache file that could not be taken in at the last start, and why.
type Stayed struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// stayedFile keeps the list for status, in the directory of the job. It holds nothing that the next
// start does not find out again.
const stayedFile = "stayed.json"

func writeStayed(dir string, stayed []Stayed) error {
	path := filepath.Join(dir, stayedFile)
	if len(stayed) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(stayed)
	if err != nil {
		return err
	}
	if err := disk.WriteFile(path, b, 0o644); err != nil && !disk.NoRoom(err) {
		return err
	}
	return nil
}

// readStayed returns the files that are still there.
func readStayed(dir string) []Stayed {
	b, err := os.ReadFile(filepath.Join(dir, stayedFile))
	if err != nil {
		return nil
	}
	var all []Stayed
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(s Stayed) bool {
		_, err := os.Lstat(s.File)
		return err != nil
	})
}

// one takes one file in and deletes it once its rows are committed.
func (c caches) one(ctx context.Context, take taker, file, dir string) error {
	// In a directory that others may write to, only what is ours is believed.
	if filepath.Base(dir) == oldFallback {
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok &&
			int(st.Uid) != os.Geteuid() {
			return errors.New("it belongs to somebody else")
		}
	}
	t, err := importFile(ctx, take, file)
	if err != nil {
		return err
	}
	c.log.Info(fmt.Sprintf("Loaded %d spots from cache file %s (%d new, %d known, %d rejected)",
		t.Read, filepath.Base(file), t.Accepted, t.Duplicate, t.Rejected))
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its spots are taken in, but it can't be deleted: %s", reason(err))
	}
	// Deleted or not after a crash: its spots are known by their ids, so a second import adds nothing.
	c.log.Info(fmt.Sprintf("Successfully replayed and deleted cache file %s", filepath.Base(file)))
	return nil
}

// taker takes what a file holds in.
type taker func(ctx context.Context, p connector.Page) (collect.Taken, error)

// importFile takes one cache file in, whole or not at all.
func importFile(ctx context.Context, take taker, file string) (collect.Taken, error) {
	f, err := os.Open(file)
	if err != nil {
		return collect.Taken{}, errors.New(reason(err))
	}
	defer f.Close()
	res, err := cachefile.Read(f)
	if err != nil {
		return collect.Taken{}, err
	}
	if res.Damaged != "" && len(res.Rejected) == 0 {
		res.Rejected = []connector.Reject{{Raw: []byte(filepath.Base(file)),
			Reason: "the cache file was damaged: " + res.Damaged}}
	}
	return take(ctx, connector.Page{Rows: res.Rows, Rejected: res.Rejected, Notes: res.Notes})
}
