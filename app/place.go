package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"holdfast/base/disk"
)

// Place is a data directory and how it was found.
type Place struct {
	Dir      string `json:"dir"`
	Explicit bool   `json:"explicit"` // a person named it
	// Default is the directory that should have been used, if Dir is the fallback, and Why says
	// what is wrong with it. What the fallback holds does not survive a reboot.
	Default string `json:"default,omitempty"`
	Why     string `json:"why,omitempty"`
	// Fallback is where an earlier start may have had to go while Dir could not be written.
	Fallback string `json:"-"`
}

// Temporary reports whether the place is the fallback.
func (p Place) Temporary() bool { return p.Default != "" }

// DataDirVariable is the environment variable that names the data directory.
const DataDirVariable = "HOLDFAST_DATA_DIR"

// DefaultDir is the data directory of who asks for none: /var/lib/holdfast for root, else
// holdfast below $XDG_STATE_HOME or ~/.local/state.
func DefaultDir() string { return defaultDir(os.Geteuid(), os.Getenv) }

func defaultDir(uid int, env func(string) string) string {
	switch {
	case uid == 0:
	case filepath.IsAbs(env("XDG_STATE_HOME")):
		return filepath.Join(env("XDG_STATE_HOME"), "holdfast")
	case filepath.IsAbs(env("HOME")):
		return filepath.Join(env("HOME"), ".local", "state", "holdfast")
	}
	return "/var/lib/holdfast"
}

// fallbackDir is where data goes while the default directory can't be written.
func fallbackDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-%d", os.Geteuid()))
}

// Locate finds the data directory for the command (below the default directory; "" for the
// directory itself) and makes sure that it can be written. explicit is what a flag or a file says;
// else the environment is asked. Only an explicit directory that can't be written is an error.
func Locate(explicit, command string) (Place, error) {
	if explicit == "" {
		explicit = os.Getenv(DataDirVariable)
	}
	if explicit != "" {
		dir, err := filepath.Abs(explicit)
		if err == nil {
			err = disk.Writable(dir)
		}
		if err != nil {
			return Place{}, usage("give a directory that can be written with --data-dir",
				"data directory %s can't be written: %w", explicit, err)
		}
		return Place{Dir: dir, Explicit: true}, nil
	}
	return locate(filepath.Join(DefaultDir(), command), command)
}

func locate(dir, command string) (Place, error) {
	p := Place{Dir: dir, Fallback: filepath.Join(fallbackDir(), command)}
	err := disk.Writable(p.Dir)
	if err == nil {
		return p, nil
	}
	p = Place{Dir: p.Fallback, Default: p.Dir, Why: reason(err)}
	if err := private(fallbackDir()); err != nil {
		return Place{}, fmt.Errorf("data directory %s can't be written (%s), nor can the fallback: %w",
			p.Default, p.Why, err)
	}
	if err := disk.Writable(p.Dir); err != nil {
		return Place{}, fmt.Errorf("data directory %s can't be written (%s), nor can the fallback: %w",
			p.Default, p.Why, err)
	}
	return p, nil
}

// reason is an error of the file system without the path, which stands beside it.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// private makes a directory that only we can enter. In a directory that everybody may write to, one
// that is there already could have been laid out for us by somebody else.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return ours(dir)
}

// ours returns an error unless path is a directory of our own, that nobody else can write to.
func ours(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", path)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to somebody else", path)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others", path)
	}
	return nil
}

// commands are the commands that run one job alone, each in a directory of its own below the
// default one.
var commands = []string{"wsprnet", "weather", "weather-streamer", "weather-ingester", "weather-processor", "weather-api", transferKind, superviseKind}

// Places returns the data directories to look into for a person who named none (explicit "") or
// one: those that hold anything.
func Places(explicit string) ([]Place, error) {
	if explicit == "" {
		explicit = os.Getenv(DataDirVariable)
	}
	if explicit != "" {
		dir, err := filepath.Abs(explicit)
		if err != nil {
			return nil, usage("", "find data directory %s: %w", explicit, err)
		}
		if !holds(dir) {
			return nil, hint(fmt.Errorf("there is no data of holdfast in %s", dir),
				"name with --data-dir the directory that holdfast works in: its log says it at the start")
		}
		return []Place{{Dir: dir, Explicit: true}}, nil
	}
	all := orTour(placesBelow(DefaultDir(), fallbackDir()))
	if len(all) == 0 {
		return nil, hint(fmt.Errorf("there is no data of holdfast in %s", DefaultDir()),
			"start something first (`holdfast demo`, `holdfast run -c FILE`), or name a directory "+
				"with --data-dir")
	}
	return all, nil
}

// orTour returns the place of the tour where there is nothing else: then it is meant.
func orTour(all []Place) []Place {
	if dir := tourDir(); len(all) == 0 && ours(dir) == nil && holds(dir) {
		return []Place{{Dir: dir}}
	}
	return all
}

// placesBelow returns what holds anything below the default directory and the fallback.
func placesBelow(root, fallback string) (all []Place) {
	for _, command := range append([]string{""}, append(commands, crawlsBelow(root, fallback)...)...) {
		dir := filepath.Join(root, command)
		if holds(dir) {
			all = append(all, Place{Dir: dir})
		}
		back := filepath.Join(fallback, command)
		if ours(fallback) == nil && holds(back) {
			all = append(all, Place{Dir: back, Default: dir,
				Why: "it could not be written when the job started"})
		}
	}
	return all
}

// crawlsBelow are the places of crawls, each of which has one of its own.
func crawlsBelow(roots ...string) (all []string) {
	for _, root := range roots {
		entries, _ := os.ReadDir(filepath.Join(root, crawlKind)) // there may be none
		for _, e := range entries {
			all = append(all, filepath.Join(crawlKind, e.Name()))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// holds reports whether a directory is a data directory that was used.
func holds(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "jobs"))
	return err == nil
}

// JobsIn returns the names of the jobs that have a store in a data directory.
func JobsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "jobs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && jobName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// lockFile is the lock of a data directory: one process at a time.
func lockFile(dir string) string { return filepath.Join(dir, "LOCK") }

// overlap reports whether one directory is the other, or within it, by whatever name.
func overlap(a, b string) bool {
	return inDir(a, b) || inDir(b, a)
}

// inDir reports whether a path is a directory or below it, by whatever name, also if it is not there yet.
func inDir(dir, path string) bool {
	rel, err := filepath.Rel(realPath(dir), realPath(path))
	return err == nil && filepath.IsLocal(rel)
}

// realPath is a path without symbolic links, as far as it is there.
func realPath(path string) string {
	path = filepath.Clean(path)
	for at, rest := path, ""; ; {
		if r, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(r, rest)
		}
		up := filepath.Dir(at)
		if up == at {
			return path
		}
		at, rest = up, filepath.Join(filepath.Base(at), rest)
	}
}
