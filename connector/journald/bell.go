package journald

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"holdfast/base/fault"
)

// bell is a directory that a journalctl reads in place of the journal's own directories, to which it holds links. A
// journalctl that follows sleeps until inotify reports a change in a directory it reads. But journald writes by mmap,
// which inotify does not report, and triggers an event itself only a quarter of a second later. So we trigger one here, in
// a directory of which no other reader is woken.
type bell struct {
	dir  string
	post *post
	// stale is closed when the journal has other directories than the links.
	stale chan struct{}
}

const (
	bellPrefix = "holdfast-journal-"
	// tick is how often it is checked whether something was written, quiet how often if nothing was for a while: each check
	// wakes this process. rest is how long, for each bell, no check follows a ring: whoever is woken does some work.
	tick     = 10 * time.Millisecond
	quiet    = 40 * time.Millisecond
	awhile   = 5 * time.Second
	restOne  = 10 * time.Millisecond
	restMost = 250 * time.Millisecond // when journald itself would have woken them
)

// Bells wake the watchers of journals. One goroutine checks a journal for all its watchers: a hundred checks a second cost
// little, but would not if each of fifty watchers made them. The zero value has no bells yet.
type Bells struct {
	mu    sync.Mutex // guards posts, and the bells of each; no other lock is taken while it is held
	posts map[string]*post
}

// post checks the files of one journal, and rings its bells when something was written. It ends when its last bell is removed.
type post struct {
	of    *Bells
	key   string
	roots []string
	bells []*bell
	stop  chan struct{}
	ended chan struct{}
}

var machineDir = regexp.MustCompile(`^[0-9a-f]{32}(\.|$)`)

// dirsOf returns the directories that hold files of a journal, and when each changed.
func dirsOf(roots []string) map[string]time.Time {
	all := map[string]time.Time{}
	began := time.Now()
	for _, root := range roots {
		all[root] = modified(root)
		for _, e := range list(root) {
			if machineDir.MatchString(e.Name()) && e.IsDir() {
				all[filepath.Join(root, e.Name())] = modified(filepath.Join(root, e.Name()))
			}
		}
	}
	distrustRecent(all, began)
	return all
}

// hang makes a bell.
func (x *Bells) hang(roots []string) (*bell, error) {
	b, dirs, err := newBell(roots)
	if err != nil {
		return nil, err
	}
	x.add(b, roots, dirs)
	return b, nil
}

// newBell makes the directory of a bell, and returns the directories that it links to.
func newBell(roots []string) (b *bell, dirs map[string]time.Time, err error) {
	prefix := bellPrefix + space() + "-"
	sweepBells(prefix)
	dir, err := os.MkdirTemp("", prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, nil, fault.New(fault.Transient, "make a directory of links to the journal: %w", err)
	}
	dirs = dirsOf(roots)
	n := 0
	for path, mod := range dirs {
		if mod.IsZero() {
			continue
		}
		n++
		if err := os.Symlink(path, filepath.Join(dir, fmt.Sprintf("%032x", n))); err != nil {
			_ = os.RemoveAll(dir)
			return nil, nil, fault.New(fault.Transient, "make a link to the journal: %w", err)
		}
	}
	if n == 0 {
		_ = os.RemoveAll(dir)
		return nil, nil, fault.New(fault.NotFound, "make links to the journal: it has no directory")
	}
	return &bell{dir: dir, stale: make(chan struct{})}, dirs, nil
}

// add has a bell that links to these directories rung when something is written there.
func (x *Bells) add(b *bell, roots []string, dirs map[string]time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := strings.Join(roots, "\x00")
	p := x.posts[key]
	if p == nil {
		p = &post{of: x, key: key, roots: roots, stop: make(chan struct{}), ended: make(chan struct{})}
		if x.posts == nil {
			x.posts = map[string]*post{}
		}
		x.posts[key] = p
		go p.look(dirs)
	}
	b.post = p
	p.bells = append(p.bells, b)
	if !sameDirs(dirs, dirsOf(roots)) { // the post may have noticed that before it had this bell
		close(b.stale)
	}
}

// space identifies our PID namespace: processes of another one may share the temporary directory, where our PIDs are not
// theirs.
func space() string {
	link, _ := os.Readlink("/proc/self/ns/pid") // pid:[4026531836]
	return strings.Trim(link, "pid:[]")
}

// sweepBells removes the bells of processes that were killed.
func sweepBells(prefix string) {
	for _, e := range list(os.TempDir()) {
		rest, is := strings.CutPrefix(e.Name(), prefix)
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); is && err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			_ = os.RemoveAll(filepath.Join(os.TempDir(), e.Name()))
		}
	}
}

// remove takes a bell down. Its journalctl has ended.
func (b *bell) remove() {
	p := b.post
	p.of.mu.Lock()
	p.bells = slices.DeleteFunc(p.bells, func(x *bell) bool { return x == b })
	last := len(p.bells) == 0
	if last {
		delete(p.of.posts, p.key)
	}
	p.of.mu.Unlock()
	if last {
		close(p.stop)
		<-p.ended
	}
	_ = os.RemoveAll(b.dir)
}

// linking is longer than journald takes from counting an entry to making it findable (it raises n_entries before it links
// the entry to its fields). A reader that looks in between does not see the entry, and does not look again until the next
// one comes.
const linking = 2 * time.Millisecond

// look checks the files again and again, until the last bell is gone.
func (p *post) look(linked map[string]time.Time) {
	defer close(p.ended)
	t, last := time.NewTimer(tick), time.Now()
	defer t.Stop()
	w := &written{}
	defer w.close()
	w.open(linked)
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
		}
		next := tick
		if time.Since(last) > awhile {
			next = quiet
		}
		if w.moved() {
			now := dirsOf(p.roots)
			w.open(now)
			p.ring(!sameDirs(linked, now))
			linked = now
		} else if !w.grown() {
			t.Reset(next)
			continue
		}
		last = time.Now()
		time.Sleep(linking)
		t.Reset(p.ring(false))
	}
}

func sameDirs(a, b map[string]time.Time) bool {
	for dir := range b {
		if a[dir].IsZero() != b[dir].IsZero() {
			return false
		}
	}
	return true
}

// ring wakes all who read the journal, and returns how long to rest.
func (p *post) ring(stale bool) time.Duration {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	for _, b := range p.bells {
		if stale {
			select {
			case <-b.stale:
			default:
				close(b.stale)
			}
		}
		_ = os.Chmod(b.dir, 0o700) // it has that mode already: inotify reports the call
	}
	return min(restMost, restOne*time.Duration(len(p.bells)))
}

// written holds the files that are being written to in the directories of a journal.
type written struct {
	dirs   map[string]time.Time
	files  []*os.File
	counts []uint64
}

func (w *written) close() {
	for _, f := range w.files {
		f.Close()
	}
}

// open opens the files that are being written to.
func (w *written) open(dirs map[string]time.Time) {
	w.close()
	w.dirs, w.files, w.counts = dirs, nil, nil
	for dir := range dirs {
		for _, e := range list(dir) {
			if !strings.HasSuffix(e.Name(), ".journal") || strings.Contains(e.Name(), "@") {
				continue
			}
			if f, err := os.Open(filepath.Join(dir, e.Name())); err == nil {
				w.files, w.counts = append(w.files, f), append(w.counts, 0)
			}
		}
	}
	w.grown()
}

func (w *written) moved() bool {
	for dir, mod := range w.dirs {
		if !modified(dir).Equal(mod) {
			return true
		}
	}
	return false
}

// grown reports whether a file has an entry that it did not have before.
func (w *written) grown() (is bool) {
	var b [8]byte
	for i, f := range w.files {
		// The number of entries, of the header.
		if _, err := f.ReadAt(b[:], 152); err != nil {
			continue
		}
		if n := binary.LittleEndian.Uint64(b[:]); n != w.counts[i] {
			w.counts[i], is = n, true
		}
	}
	return is
}
