// Package logfile is the watcher of a log file: it tells each line once, over rotations and restarts.
//
//	from:
//	  file:
//	    path: /var/log/app/app.log
//
// The position holds device, inode and birth of the file, a fingerprint of its first bytes and of those before the next
// line, and the offset of that line; no line is told before its newline has come, or the file's life has ended. A file
// that was renamed is found again by its inode, one that was copied and truncated by its fingerprint, also packed by gzip;
// it is read to its end, then the next younger one. What stood behind the position and can't be read any more is an
// EventGap that says from where on; so is a file that was removed, if others may have been removed behind it, unread:
// where files are rotated, the oldest is removed first, so none is missing while an older one is there. (Lines that a
// program writes between the copying and the truncating are lost: nothing can be done about that way to rotate.)
//
// A line has the time that it begins with, within what is known for sure: it was written before its file was written to
// last, and what is read behind an end that was seen was written after that was seen, whatever it says. One that says
// nothing has the time of the line before if both were read at once, and else that at which its file was written to last.
//
// The kernel tells of changes (inotify). Every `look` the files are looked at all the same, because on a network file
// system inotify tells nothing. A file that is missing is waited for; one that may not be read is a fault.
package logfile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

// Config is a log file with its rotated ones, told line by line.
type Config struct {
	// Path of the file, absolute.
	Path string `yaml:"path"`
	// Rotated is a pattern, as path/filepath has them, of the names that rotation gives, in the same directory or another;
	// default the name with a dot or a hyphen and anything behind it.
	Rotated string `yaml:"rotated"`
	// Counts says which rotated files are older, where their names end with numbers that are no dates: "down" if higher
	// numbers are older (logrotate), "up" if lower ones are (log4j). Without it that is found out when a file is rotated;
	// before that, most files show it by when they were written to last and by the times of their first lines; if nothing
	// shows it, it is down.
	Counts string `yaml:"counts" jsonschema:"enum=down,enum=up"`
	// Zone is that of times in lines that name none, as "Europe/Berlin"; default that of this machine.
	Zone string `yaml:"zone"`
	// MaxLine is how many bytes are told of a line; default 65536.
	MaxLine int `yaml:"max_line"`
	// Join says which lines belong together.
	Join *lines.Config `yaml:"join"`
	// Settle is how long nothing must have come to a file that was renamed before the next one is begun: its writer may not
	// know of the rename yet. What comes later, within a minute, is told after lines of the next file; default 2s.
	Settle time.Duration `yaml:"settle"`
	// Look is how often the file is looked at although the kernel told nothing; default 10s.
	Look time.Duration `yaml:"look"`

	// Since is where it begins without a position: "now" (default), "boot", or a time (RFC 3339). Files that changed after
	// that are told from their beginning.
	Since string `yaml:"-"`
}

const maxLineLimit = 16 << 20

// Validate returns all faults at once, each beginning with the name of its key.
func (c Config) Validate() (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path || c.Path == "/" {
		bad("path: is %q, want the absolute path of a file", c.Path)
	}
	if _, err := filepath.Match(c.Rotated, ""); err != nil {
		bad("rotated: %q: %w", c.Rotated, err)
	}
	if c.MaxLine < 0 || c.MaxLine > maxLineLimit {
		bad("max_line: is %d, want 1 to %d", c.MaxLine, maxLineLimit)
	}
	if c.Join != nil {
		for _, err := range c.Join.Validate() {
			bad("join.%w", err)
		}
	}
	if counts := []string{"", "up", "down"}; !slices.Contains(counts, c.Counts) {
		bad("counts: is %q, want up or down", c.Counts)
	}
	if _, err := time.LoadLocation(c.Zone); err != nil {
		bad("zone: %q is no time zone, such as Europe/Berlin or UTC", c.Zone)
	}
	if c.Settle < 0 {
		bad("settle: is %v, want a time above 0", c.Settle)
	}
	if c.Look < 0 {
		bad("look: is %v, want a time above 0", c.Look)
	}
	if _, _, err := since(c.Since); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.MaxLine == 0 {
		c.MaxLine = lines.DefaultMax
	}
	if c.Settle == 0 {
		c.Settle = 2 * time.Second
	}
	if c.Look == 0 {
		c.Look = 10 * time.Second
	}
	return c
}

// files are those of the log.
func (c Config) files() rotation {
	counts := map[string]int{"up": 1, "down": -1}[c.Counts]
	return rotation{path: c.Path, pattern: c.Rotated, order: &order{counts: counts, fixed: counts != 0}}
}

// zone is that of times that name none.
func (c Config) zone() *time.Location {
	if z, err := time.LoadLocation(c.Zone); c.Zone != "" && err == nil {
		return z
	}
	return time.Local
}

// since says where to begin: now, or with the files that changed after a time.
func since(text string) (now bool, after time.Time, err error) {
	switch text {
	case "", "now":
		return true, time.Time{}, nil
	case "boot":
		after, err = booted()
		return false, after, err
	}
	after, err = time.Parse(time.RFC3339, text)
	if err != nil {
		return false, after, fmt.Errorf("since: is %q, want now, boot, or a time such as 2026-01-31T12:00:00Z", text)
	}
	return false, after, nil
}

// File is the watcher of one file.
type File struct{ cfg Config }

var _ connector.Watcher = (*File)(nil)

// New returns a watcher. It does not look at the file yet.
func New(c Config) (*File, error) {
	if f := c.Validate(); len(f) > 0 {
		return nil, fault.New(fault.Permanent, "watch a log file: %w", errors.Join(f...))
	}
	return &File{c.WithDefaults()}, nil
}

// Watch tells the lines behind a position, as connector.Watcher says.
func (f *File) Watch(ctx context.Context, after []byte, tell func(context.Context, connector.Seen) error) error {
	at, err := readPlace(after)
	if err != nil {
		return err
	}
	w := newFollower(f.cfg, at, tell)
	defer w.close()
	if err := w.run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}
