// Package logfile is the watcher of a log file: it tells each line once, over rotations and restarts.
//
//	from:
//	  file:
//	    path: /var/log/app/app.log
//
// The position holds device, inode and birth of the file, a fingerprint of its first bytes and of those before the next line, and
// the offset of that line; no line is told before its newline has come, or the file's life has ended. A file that was renamed is
// found again by its inode, one that was copied and truncated by its fingerprint, also packed by gzip; it is read to its end, then
// the next younger one. What stood behind the position and can't be read any more is an EventGap that says from where on; so is a
// file that was removed, if others may have been removed behind it, unread: where files are rotated, the oldest goes first, so
// none is missing while one that is older is there. (Between the copying and the truncating a writer's lines go nowhere: that way
// to rotate has no cure for it.)
//
// The kernel tells of changes (inotify); every `look` it is looked all the same, for a network file system tells nothing. A file
// that is missing will come; one that may not be read is a fault.
package logfile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"holdfast/base/fault"
	"holdfast/base/lines"
	"holdfast/connector"
)

// Config is what a rule file says under `file:`.
type Config struct {
	// Path of the file, absolute.
	Path string `yaml:"path"`
	// Rotated is a pattern, as path/filepath has them, of the names that rotation gives, in the same directory or another;
	// default the name with a dot or a hyphen and anything behind it. Of two that end with numbers below 10000 the higher is the
	// older; other numbers are dates and times, and the lower is the older. Where names don't say it, the one that was written to
	// longer ago is.
	Rotated string `yaml:"rotated"`
	// MaxLine is how many bytes are told of a line, default 65536.
	MaxLine int `yaml:"max_line"`
	// Join says which lines belong together.
	Join *lines.Config `yaml:"join"`
	// Settle is how long nothing has to come to a file that was renamed until the next is begun: its writer may not know of it
	// yet. What comes still later, within a minute, is told behind lines of the next. Default 2s.
	Settle time.Duration `yaml:"settle"`
	// Look is how often it is looked though the kernel told nothing, default 10s.
	Look time.Duration `yaml:"look"`

	// Since is where it begins without a position: "now" (default), "boot", or a time (RFC 3339): files that changed behind it
	// are told from their begin.
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

func (c Config) withDefaults() Config {
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

// since is where to begin: now, or with the files that changed behind a time.
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
	return &File{c.withDefaults()}, nil
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
