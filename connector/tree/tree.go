// Package tree finds the files that appear below a directory: it watches the whole tree where the kernel
// tells of changes, looks again and again where it does not, and scans to be sure.
//
//	root: /data/goto/images
//	patterns: ["t?_r*_ut?.fits"]
//	patience: 2s
//	scan_every: 20m
//	within: 12h
//	recency: 10m
//
// The promise: a regular file whose name matches and that stands finished is given at least once, with the
// identity that it has then, however many come at once and however long the receiver takes. Events of inotify
// are hints; the truth is a scan. There is one at the start, after a queue ran over (the kernel's or our
// own), when the root comes back, every scan_every (a backfill, with its window), and every check_every, of
// what changed since the last one. What a scan alone found and the watch should have seen is counted, and the
// watch is made anew.
//
// A file is finished when its writer closed it or it was moved in; else when size and time stayed the same
// for patience. If there is a hook that knows complete files (a FITS file says in its header how long it is),
// a file that was not moved in is held until the hook agrees, or it was quiet for overdue: then it is given,
// marked incomplete, for the caller to judge.
//
// Network file systems tell nothing of what other hosts do: they are polled, as is everything if a limit of
// inotify is reached. A tree on such a file system in part is polled whole.
//
// Patterns without a slash are of the last name; those with one are of the whole path below the root, where *
// stays within a name and ** as a name stands for any number of directories. Files that match several are
// given once. Names that match ignore (see defaultIgnore) are passed over, directories with all that is in
// them. No symbolic link is followed, not even within the tree: what it leads to has a name there. The root
// itself may be one.
//
// It does not know what became of a file that it gave: a scan gives it again if it was long ago. Memory is
// bounded: it grows with directories, never with files; a pass streams, one directory after the other. What is
// written through a mapping into memory, or by another name of the file (a hard link), no event tells: a scan
// finds it. A file system that hangs (an NFS mount without its server) hangs a pass with it.
package tree

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/base/fault"
)

// Config is what a configuration file says of a tree.
type Config struct {
	// Root is the directory; an absolute path.
	Root string `yaml:"root"`
	// Patterns are those of the files wanted; none: all.
	Patterns []string `yaml:"patterns"`
	// Ignore are patterns of temporary names; nil: defaultIgnore. An empty list ignores nothing.
	Ignore []string `yaml:"ignore"`
	// Patience is how long a file that nobody closed must be unchanged; default 2s.
	Patience time.Duration `yaml:"patience"`
	// Overdue is how long a file may be unchanged and incomplete before it is given all the same; default 5m.
	Overdue time.Duration `yaml:"overdue"`
	// Poll forces polling.
	Poll bool `yaml:"poll"`
	// PollEvery is the time between two polls, stretched if one takes long; default 5s.
	PollEvery time.Duration `yaml:"poll_every"`
	// ScanEvery is the time between backfills; 0: none.
	ScanEvery time.Duration `yaml:"scan_every"`
	// Within is how old a file may be that a backfill, or the scan at the start, takes, by its time; 0: any age.
	Within time.Duration `yaml:"within"`
	// Recency is how old it must be for a backfill.
	Recency time.Duration `yaml:"recency"`
	// CheckEvery is the time after which a scan makes sure that the watch hears; default 1h.
	CheckEvery time.Duration `yaml:"check_every"`

	// Complete reports whether a file is whole, by what it says itself; nil: nothing is asked.
	Complete func(path string) (bool, error) `yaml:"-"`
	// Since is when the tree was last watched: what changed later is found at the start, whatever its age. Zero: not
	// known.
	Since time.Time `yaml:"-"`
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Ignore == nil {
		c.Ignore = defaultIgnore
	}
	for _, d := range []struct {
		at     *time.Duration
		normal time.Duration
	}{{&c.Patience, 2 * time.Second}, {&c.Overdue, 5 * time.Minute}, {&c.PollEvery, 5 * time.Second},
		{&c.CheckEvery, time.Hour}} {
		if *d.at == 0 {
			*d.at = d.normal
		}
	}
	return c
}

// Validate returns all faults at once, each beginning with the name of its key.
func (c Config) Validate() []error {
	c = c.WithDefaults()
	var f []error
	bad := func(key, format string, args ...any) {
		f = append(f, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.Root == "" {
		bad("root", "is missing")
	} else if !filepath.IsAbs(c.Root) {
		bad("root", "is %q, want an absolute path", c.Root)
	}
	for _, p := range c.Patterns {
		if err := checkPattern(p); err != nil {
			bad("patterns", "%q: %v", p, err)
		}
	}
	for _, p := range c.Ignore {
		if err := checkPattern(p); err != nil {
			bad("ignore", "%q: %v", p, err)
		}
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{{"patience", c.Patience}, {"overdue", c.Overdue}, {"poll_every", c.PollEvery}, {"scan_every", c.ScanEvery},
		{"within", c.Within}, {"recency", c.Recency}, {"check_every", c.CheckEvery}} {
		if d.d < 0 {
			bad(d.key, "is %v, want a time above 0", d.d)
		}
	}
	if c.Within > 0 && c.Recency >= c.Within {
		bad("recency", "is %v, want less than within, %v: no file is in the window", c.Recency, c.Within)
	}
	return f
}

// Tree finds files.
type Tree struct {
	cfg  Config
	pick picker
	own  own

	running sync.Mutex // held by Run
	seen    *recent    // what Run gave, over its lives
	since   time.Time  // what changed later belongs to us; only Run touches it
	mount   bool       // the root was a file system of its own; only Run touches it

	mu     sync.Mutex // guards what follows
	status Status
	files  *table // of the Run that goes on
}

// own is what tests set.
type own struct {
	limit, batch, remember int
	slack                  time.Duration // how far the clock of a file system may be behind
	margin                 time.Duration // how long an event may be on its way
	long                   time.Duration // after which a file need not be looked at twice
	pause                  time.Duration // between two looks at the root
	retry                  time.Duration // between two tries of directories that can't be read
	watch                  time.Duration // between two tries to watch what is polled because of a limit
	after                  time.Duration // between a pass and one that catches up
	// heard gets what was read from inotify before it is looked at: it may wait, and lose it.
	heard func([]byte) []byte
	// add is inotify_add_watch.
	add func(fd int, path string, mask uint32) (int, error)
	// refuse may keep a directory from being entered.
	refuse func(path string) error
	// silent says that a file system tells no events; nil: the table.
	silent func(kind int64) string
}

const (
	tableLimit  = 1 << 16 // files that wait at most; what comes above is found by a scan
	batchLimit  = 1000
	rememberMax = 1 << 20 // identities
	clockSlack  = time.Minute
	hearMargin  = 5 * time.Second
	longAge     = time.Hour
	rootEvery   = 2 * time.Second
	retryEvery  = time.Minute
	watchEvery  = 10 * time.Minute
	passPause   = time.Second
)

// New returns a tree. It does not look at the root: a root that is not there yet is an outage.
func New(c Config) (*Tree, error) {
	if f := c.Validate(); len(f) > 0 {
		return nil, fault.New(fault.Permanent, "watch a tree: %w", errors.Join(f...))
	}
	c = c.WithDefaults()
	c.Root = path.Clean(c.Root)
	t := &Tree{cfg: c, pick: newPicker(c.Patterns, c.Ignore), since: c.Since,
		seen: newRecent(rememberMax), own: own{limit: tableLimit, batch: batchLimit, remember: rememberMax,
			slack: clockSlack, margin: hearMargin, long: longAge, pause: rootEvery,
			after: passPause, retry: retryEvery,
			watch: watchEvery}}
	return t, nil
}

// Give takes files. They are the receiver's once it returned nil; any error ends the call that gives.
type Give = func(ctx context.Context, files []File) error

// Run gives files, many at a time, until ctx ends or give fails. While give takes its time, nothing is lost.
// A root that is not there is waited for; Status says so. Two at once are refused.
func (t *Tree) Run(ctx context.Context, give Give) error {
	if !t.running.TryLock() {
		return fault.New(fault.Busy, "watch %s: it is watched already", t.cfg.Root)
	}
	defer t.running.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	files := newTable(t.own.limit, t.cfg.Patience)
	t.mu.Lock()
	t.files = files
	t.mu.Unlock()
	defer t.update(func(s *Status) {
		s.Mode, s.Since, s.Cause, s.Directories, s.Scanning = "", time.Time{}, nil, 0, ""
	})
	g.Go(func() error { return t.observe(ctx, files) })
	g.Go(func() error { return (&giver{t: t, files: files, seen: t.seen, give: give}).run(ctx) })
	return g.Wait()
}

// Scan makes one pass and gives the files within the window, whatever Run gave before. Files that are being
// written are waited for, at most until they are overdue. It may be called beside Run.
func (t *Tree) Scan(ctx context.Context, w Window, give Give) (Pass, error) {
	g, ctx := errgroup.WithContext(ctx)
	files := newTable(t.own.limit, t.cfg.Patience)
	gv := &giver{t: t, files: files, seen: newRecent(t.own.remember), give: give, ends: true}
	pass := Pass{Kind: Backfill, Began: time.Now()}
	g.Go(func() error {
		defer files.finish()
		r, err := lookRoot(t.cfg.Root)
		if err != nil {
			return err
		}
		files.stand(r)
		s := &session{t: t, root: r, files: files, seen: gv.seen, alone: true}
		last, err := s.once(ctx, &walk{kind: Backfill, in: w.contains})
		pass.Seen, pass.Unreadable = last.Seen, last.Unreadable
		return err
	})
	g.Go(func() error { return gv.run(ctx) })
	err := g.Wait()
	pass.Took, pass.Given, pass.Left = time.Since(pass.Began), gv.given, gv.left
	return pass, err
}

// Mode is how a tree is told of changes.
type Mode string

// The modes. Before and after Run it is empty.
const (
	Watching Mode = "watch"
	Polling  Mode = "poll"
	Down     Mode = "down" // the root is not there
)

// Pass is one scan of the tree.
type Pass struct {
	Kind       Found
	Began      time.Time
	Took       time.Duration
	Seen       int64 // files whose name matches
	Unreadable int64 // directories
	Given      int64 // of Scan: files
	Left       int64 // of Scan: files that were still being written at its end, and were not given
}

// Status is what a tree does, and how well.
type Status struct {
	Mode  Mode
	Since time.Time // of the mode
	// Cause is why it is down, or polled although it need not be: a fault, with a hint.
	Cause error

	Directories int   // watched
	Waiting     int   // files that are not known to be finished, or were not taken yet
	ByWatch     int64 // files given that the watch told of, or a poll
	ByScan      int64 // files given that scans alone found
	Missed      int64 // files given that scans alone found, and the watch should have told of
	Incomplete  int64 // files given though they were not complete
	Remade      int64 // watches made anew because one missed something
	Overflows   int64 // queues that ran over
	// Overflow is the last one, with a hint.
	Overflow error
	// Unreadable is the last directory that could not be read, nil if all could; they are tried again.
	Unreadable error
	Scanning   Found // the pass that goes on, "" for none
	Last       Pass  // the last that came to its end
}

// Status returns what the tree does now.
func (t *Tree) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	if t.files != nil {
		s.Waiting = t.files.size()
	}
	return s
}

// Held is a file that stands there and is not given, for it is not whole by what it says itself.
type Held struct {
	Path  string
	Since time.Time // when it was found
}

// Held returns some of the files that Run holds, those that it has held for longest first, and how many there are.
func (t *Tree) Held(most int) (some []Held, n int) {
	t.mu.Lock()
	files := t.files
	t.mu.Unlock()
	if files == nil {
		return nil, 0
	}
	return files.held(most)
}

func (t *Tree) update(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

// turn tells a change of mode.
func (t *Tree) turn(m Mode, cause error) {
	t.update(func(s *Status) {
		if s.Mode != m {
			s.Mode, s.Since = m, time.Now()
		}
		s.Cause = cause
	})
}
