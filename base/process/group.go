package process

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"holdfast/base/fault"
)

// group is a control group of one run (cgroups(7), version 2): whatever the program starts is in it, wherever that goes, and
// whatever it does to its environment. It is below our own, so that systemd counts it as ours.
type group struct {
	dir string
	f   *os.File
}

// groupPrefix begins the names of such groups. Behind it is a hash of the run's mark.
const groupPrefix = "holdfast-run-"

// ungrouped is set once a program could be started only without a group: then none are made any more.
var ungrouped atomic.Bool

// ownGroup is the directory of the control group that we are in, "" if there is none of version 2.
var ownGroup = sync.OnceValue(func() string {
	all, err := os.ReadFile("/proc/self/cgroup")
	mounts, err2 := os.ReadFile("/proc/self/mountinfo")
	if errors.Join(err, err2) != nil {
		return ""
	}
	own := ""
	for line := range strings.Lines(string(all)) {
		if path, is := strings.CutPrefix(strings.TrimSpace(line), "0::"); is {
			own = path
		}
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		f := strings.Fields(before) // proc(5): id, parent, device, root, mount point
		if len(f) < 5 || own == "" || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if below, is := strings.CutPrefix(own, strings.TrimSuffix(f[3], "/")); is {
			return filepath.Join(f[4], below)
		}
	}
	return ""
})

// GroupOf is the name of the control group of a run with a mark, where one could be made: the last part of its path.
func GroupOf(mark string) string {
	sum := sha256.Sum256([]byte(mark))
	return groupPrefix + hex.EncodeToString(sum[:10])
}

// newGroup makes the control group of a run; nil where none can be made.
func newGroup(mark string) *group {
	own := ownGroup()
	if own == "" || ungrouped.Load() {
		return nil
	}
	g := &group{dir: filepath.Join(own, GroupOf(mark))}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil
	}
	var err error
	if g.f, err = os.Open(g.dir); err != nil {
		_ = os.Remove(g.dir)
		return nil
	}
	return g
}

// pids are the processes that are in it and live.
func (g *group) pids() (all []int, err error) {
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	for line := range bytes.Lines(b) {
		if pid, bad := strconv.Atoi(string(bytes.TrimSpace(line))); bad == nil {
			all = append(all, pid)
		}
	}
	return all, err
}

// kill kills all that is in it.
func (g *group) kill() {
	if os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) == nil { // since Linux 5.14
		return
	}
	all, _ := g.pids()
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// remove removes it when nothing is in it any more.
func (g *group) remove() {
	_ = g.f.Close()
	for range 100 { // what was killed just now is counted a little longer
		if err := os.Remove(g.dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// forgotten is how old an empty group must be to be removed: a program may be about to start in a younger one.
const forgotten = time.Minute

// sweepGroups removes the groups of runs whose owner was killed, once nobody is in them any more.
func sweepGroups() {
	own := ownGroup()
	if own == "" {
		return
	}
	all, _ := filepath.Glob(filepath.Join(own, groupPrefix+"*"))
	for _, dir := range all {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > forgotten {
			_ = os.Remove(dir) // the kernel refuses it while somebody is
		}
	}
}

// family finds what a run has started.
type family struct {
	group  *group // nil if there is none
	mark   string
	leader int
	begun  time.Time
}

// pids are the processes of the run that live.
func (f *family) pids() ([]int, error) {
	if f.group != nil {
		return f.group.pids()
	}
	return marked(f.since(), func(m string) bool { return m == f.mark })
}

// Family are the processes of a run with a mark that live. leader is the first of them, 0 if that is not known yet.
func Family(mark string, leader int) []int {
	f := family{mark: mark, leader: leader, begun: time.Now()}
	if own := ownGroup(); own != "" {
		g := &group{dir: filepath.Join(own, GroupOf(mark))}
		if all, err := g.pids(); err == nil {
			return all
		}
	}
	all, _ := f.pids()
	return all
}

// since returns whether a process may have been started after the leader of the run, by its number: the kernel gives numbers
// out in their order, and begins anew after the highest.
func (f *family) since() func(pid int) bool {
	b, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 5 || time.Since(f.begun) > time.Minute { // so long that it may have begun anew twice
		return func(int) bool { return true }
	}
	last, err := strconv.Atoi(fields[4])
	if err != nil {
		return func(int) bool { return true }
	}
	if last >= f.leader {
		return func(pid int) bool { return pid >= f.leader && pid <= last }
	}
	return func(pid int) bool { return pid >= f.leader || pid <= last }
}

// end waits until what a run has left behind has ended, and kills what has not after grace. left is how many were killed.
func (f *family) end(grace time.Duration) (left int, err error) {
	due := time.Now().Add(grace)
	for {
		pids, err := f.pids()
		if err != nil || len(pids) == 0 {
			return 0, err
		}
		if !time.Now().Before(due) {
			return len(pids), f.kill(pids)
		}
		time.Sleep(min(5*time.Millisecond, time.Until(due)))
	}
}

func (f *family) kill(pids []int) (err error) {
	for due := time.Now().Add(sweeping); err == nil && len(pids) > 0; pids, err = f.pids() {
		if time.Now().After(due) {
			return stubborn(pids)
		}
		if f.group != nil {
			f.group.kill()
		}
		for _, pid := range pids {
			if f.group == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

func stubborn(pids []int) error {
	return fault.New(fault.Transient, "processes %v don't end, though they were killed", pids)
}
