// Package datadir keeps the rules of the data directory: where it is when nobody names one (Locate), which ones there are for a
// person who asks (Places), and what lies where in it:
//
//	LOCK         held by the one process that works in it
//	jobs/NAME    the store of a job and its files
//
// A default directory that can't be written is no reason not to start: then data goes to a fallback below the directory of
// temporary files, which does not survive a reboot, and a later start takes it over.
//
// app, its desk and the commands of the face call it.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/identifier"
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

// Variable is the environment variable that names the data directory.
const Variable = "HOLDFAST_DATA_DIR"

// Default is the data directory of who asks for none: /var/lib/holdfast for root, else
// holdfast below $XDG_STATE_HOME or ~/.local/state.
func Default() string { return defaultDir(os.Geteuid(), os.Getenv) }

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
		explicit = os.Getenv(Variable)
	}
	if explicit != "" {
		dir, err := filepath.Abs(explicit)
		if err == nil {
			err = disk.Writable(dir)
		}
		if err != nil {
			return Place{}, fault.NewUsage("give a directory that can be written with --data-dir",
				"data directory %s can't be written: %w", explicit, err)
		}
		return Place{Dir: dir, Explicit: true}, nil
	}
	return At(filepath.Join(Default(), command), command)
}

// At is Locate for a default directory.
func At(dir, command string) (Place, error) {
	p := Place{Dir: dir, Fallback: filepath.Join(fallbackDir(), command)}
	err := disk.Writable(p.Dir)
	if err == nil {
		return p, nil
	}
	p = Place{Dir: p.Fallback, Default: p.Dir, Why: disk.Reason(err)}
	if err := disk.Private(fallbackDir()); err != nil {
		return Place{}, fmt.Errorf("data directory %s can't be written (%s), nor can the fallback: %w",
			p.Default, p.Why, err)
	}
	if err := disk.Writable(p.Dir); err != nil {
		return Place{}, fmt.Errorf("data directory %s can't be written (%s), nor can the fallback: %w",
			p.Default, p.Why, err)
	}
	return p, nil
}

// commands are the commands that run one job alone, each in a directory of its own below the
// default one.
var commands = []string{"wsprnet", "weather", "weather-streamer", "weather-ingester", "weather-processor", "weather-api",
	"transfer", "supervise"}

// Places returns the data directories to look into for a person who named none (explicit "") or
// one: those that hold anything.
func Places(explicit string) ([]Place, error) {
	if explicit == "" {
		explicit = os.Getenv(Variable)
	}
	if explicit != "" {
		dir, err := filepath.Abs(explicit)
		if err != nil {
			return nil, fault.NewUsage("", "find data directory %s: %w", explicit, err)
		}
		if !holds(dir) {
			return nil, fault.WithHint(fmt.Errorf("there is no data of holdfast in %s", dir),
				"name with --data-dir the directory that holdfast works in: its log says it at the start")
		}
		return []Place{{Dir: dir, Explicit: true}}, nil
	}
	all := orTour(placesBelow(Default(), fallbackDir()))
	if len(all) == 0 {
		return nil, fault.WithHint(fmt.Errorf("there is no data of holdfast in %s", Default()),
			"start something first (`holdfast demo`, `holdfast run -c FILE`), or name a directory "+
				"with --data-dir")
	}
	return all, nil
}

// orTour returns the place of the tour where there is nothing else: then it is meant.
func orTour(all []Place) []Place {
	if dir := Tour(); len(all) == 0 && disk.Ours(dir) == nil && holds(dir) {
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
		if disk.Ours(fallback) == nil && holds(back) {
			all = append(all, Place{Dir: back, Default: dir,
				Why: "it could not be written when the job started"})
		}
	}
	return all
}

// crawlsDir has the places of crawls.
const crawlsDir = "crawl"

// crawlsBelow are the places of crawls, each of which has one of its own.
func crawlsBelow(roots ...string) (all []string) {
	for _, root := range roots {
		entries, _ := os.ReadDir(filepath.Join(root, crawlsDir)) // there may be none
		for _, e := range entries {
			all = append(all, filepath.Join(crawlsDir, e.Name()))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// LeftBehind reports whether an earlier start left data in the fallback, and it is ours.
func (p Place) LeftBehind() bool {
	return p.Fallback != "" && disk.Ours(fallbackDir()) == nil && holds(p.Fallback)
}

// holds reports whether a directory is a data directory that was used.
func holds(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "jobs"))
	return err == nil
}

// Jobs returns the names of the jobs that have a store in a data directory.
func Jobs(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "jobs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && identifier.Pattern.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// LockFile is the lock of a data directory: one process at a time.
func LockFile(dir string) string { return filepath.Join(dir, "LOCK") }

// Tour is where a tour lives whose data directory nobody named. It is removed when the tour ends well.
func Tour() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-tour-%d", os.Geteuid()))
}
