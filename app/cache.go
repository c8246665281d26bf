package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
				"data directory; files in it stay where they are", named, disk.Reason(err)))
		}
	}
	for _, tmp := range []string{"/tmp", os.TempDir()} {
		dir := filepath.Join(tmp, oldFallback)
		if disk.Ours(dir) == nil && dir != c.dirs[len(c.dirs)-1] {
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
		files, err := cachefile.In(dir)
		if err != nil || len(files) == 0 {
			continue
		}
		c.log.Info(fmt.Sprintf("Found %d cached spot files to replay in %s", len(files), dir))
		done, stay := 0, 0
		for _, file := range files {
			err := c.one(ctx, j, file, dir)
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

// ReadStayed returns the files that are still there.
func ReadStayed(dir string) []Stayed {
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
func (c caches) one(ctx context.Context, to Importer, file, dir string) error {
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
	t, before, err := ImportFile(ctx, to, file)
	if err != nil {
		return err
	}
	base := filepath.Base(file)
	if before {
		c.log.Info(fmt.Sprintf("Cache file %s was taken in before and is only to be deleted", base))
	} else {
		c.log.Info(fmt.Sprintf("Loaded %d spots from cache file %s (%d new, %d known, %d rejected)",
			t.Read, base, t.Accepted, t.Duplicate, t.Rejected))
	}
	// After a crash before this, or when it fails, the file is known at the next start.
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its spots are taken in, but it can't be deleted: %s", disk.Reason(err))
	}
	c.log.Info(fmt.Sprintf("Successfully replayed and deleted cache file %s", base))
	return nil
}

// Importer takes files in: a job at work, which also asks its sinks what they have, or an intake alone.
type Importer interface {
	Imported(ctx context.Context, f collect.File) (collect.Taken, bool, error)
	ImportFile(ctx context.Context, f collect.File, p connector.Page) (collect.Taken, error)
}

var (
	_ Importer = (*collect.Job)(nil)
	_ Importer = (*collect.Intake)(nil)
)

// ImportFile takes one cache file in, whole or not at all; before says that it was taken in already.
func ImportFile(ctx context.Context, to Importer, file string) (t collect.Taken, before bool,
	err error) {
	f, err := os.Open(file)
	if err != nil {
		return t, false, errors.New(disk.Reason(err))
	}
	defer f.Close()
	id, err := identify(f)
	if err != nil {
		return t, false, err
	}
	if t, before, err = to.Imported(ctx, id); err != nil || before {
		return t, before, err
	}
	res, err := cachefile.Read(f)
	if err != nil {
		return t, false, err
	}
	if res.Damaged != "" && len(res.Rejected) == 0 {
		res.Rejected = []connector.Reject{{Raw: []byte(id.Name),
			Reason: "the cache file was damaged: " + res.Damaged}}
	}
	t, err = to.ImportFile(ctx, id, connector.Page{Rows: res.Rows, Rejected: res.Rejected,
		Notes: res.Notes})
	return t, false, err
}

// identify reads a file through and leaves it at its beginning.
func identify(f *os.File) (id collect.File, err error) {
	id.Name = filepath.Base(f.Name())
	h := sha256.New()
	if id.Size, err = io.Copy(h, f); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return id, fmt.Errorf("read cache file: %s", disk.Reason(err))
	}
	h.Sum(id.Hash[:0])
	return id, nil
}
