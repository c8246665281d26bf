package tree

import (
	"time"

	"golang.org/x/sys/unix"
)

// Identity is what makes a file this one: another at its path is another file.
type Identity struct {
	Path   string // below the root, with slashes; bytes as the file system has them
	Device uint64
	Inode  uint64
	Size   int64
	Mtime  int64 // nanoseconds since 1970
}

// ModTime is when the file was last written.
func (i Identity) ModTime() time.Time { return time.Unix(0, i.Mtime) }

// Found says what found a file.
type Found string

// The ways in which a file is found. The last two are no live files.
const (
	ByWatch  Found = "watch"    // an event, or the listing of a directory that is new
	ByPoll   Found = "poll"     // a poll, the first one excepted
	CatchUp  Found = "catch-up" // a scan after a queue ran over, or the root came back
	Check    Found = "check"    // a scan that makes sure of the watch
	Start    Found = "start"    // the scan at the start
	Backfill Found = "backfill" // a scan of a window
)

// Live reports whether a file came while it was watched.
func (f Found) Live() bool { return f != Start && f != Backfill }

// File is a file that was found.
type File struct {
	Identity
	Found Found
	// Incomplete: it does not change any more, and is not whole by what it says itself.
	Incomplete bool
}

// Window says which files a scan takes.
type Window struct {
	// From and To are the bounds of the time of a file; zero: no bound.
	From, To time.Time
	// Changed takes beside these the files that were changed, or moved, since.
	Changed time.Time
}

// Back returns the window of files that are at most within old, and at least recency; 0 is no bound.
func Back(now time.Time, within, recency time.Duration) Window {
	w := Window{To: now.Add(-recency)}
	if within > 0 {
		w.From = now.Add(-within)
	}
	if recency == 0 {
		w.To = time.Time{} // a clock that was set back makes files of the future
	}
	return w
}

func (w Window) contains(st *unix.Stat_t) bool {
	m := st.Mtim.Nano()
	if (w.From.IsZero() || m >= w.From.UnixNano()) && (w.To.IsZero() || m <= w.To.UnixNano()) {
		return true
	}
	return !w.Changed.IsZero() && changed(st) >= w.Changed.UnixNano()
}

// changed is when something last happened to a file: a rename changes the second, whatever the first.
func changed(st *unix.Stat_t) int64 { return max(st.Mtim.Nano(), st.Ctim.Nano()) }

// changedSince is the test of scans that need not look at what an earlier one saw.
func changedSince(at time.Time) func(*unix.Stat_t) bool {
	ns := at.UnixNano()
	return func(st *unix.Stat_t) bool { return changed(st) >= ns }
}

// earliest is the wall clock's reading at a moment of the past, by the clock as it was and as it is: a clock
// that was set back, or forward, hides nothing. slack is how far the clock of a file system may be behind.
func earliest(then, now time.Time, slack time.Duration) time.Time {
	was, is := then.Round(0), now.Round(0).Add(-now.Sub(then))
	if is.Before(was) {
		was = is
	}
	return was.Add(-slack)
}

func identify(path string, st *unix.Stat_t) Identity {
	return Identity{Path: path, Device: uint64(st.Dev), Inode: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}
}

func regular(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG }
