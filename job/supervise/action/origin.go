package action

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/base/process"
)

// Origins knows which lines were written by programs of actions, and which by Holdfast itself: a rule that acts on such a
// line may cause the next one, for ever. It goes by what journald and the kernel say alone, which nobody who writes lines
// can forge.
type Origins struct {
	self self

	mu   sync.Mutex // guards what is below
	runs []*origin  // under way, or ended lately; the youngest last
}

// origin is a program of an action.
type origin struct {
	id, mark, group string
	pid             int
	begun, ended    time.Time // ended is zero while it runs
}

// self is what journald says of us.
type self struct{ pid, boot, invocation, unit string }

const (
	// Self is the origin of what Holdfast wrote itself.
	Self = "holdfast"
	// lately is how long behind its end a program's lines may come.
	lately = 10 * time.Second
	// around is how far journald's clock may be from when a program was begun.
	around = time.Second
	// mostOrigins is how many programs are known.
	mostOrigins = 256
)

// NewOrigins returns an Origins that knows of no program yet.
func NewOrigins() *Origins { return &Origins{self: whoWeAre()} }

// whoWeAre finds out whether systemd runs us as a service. Variables that a shell inherited from its own service do not count.
func whoWeAre() self {
	s := self{pid: strconv.Itoa(os.Getpid())}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	s.boot = strings.ReplaceAll(strings.TrimSpace(string(boot)), "-", "")
	pid, told := os.LookupEnv("SYSTEMD_EXEC_PID") // since systemd 248
	if told && pid != s.pid || !told && os.Getppid() != 1 {
		return s
	}
	if s.invocation = os.Getenv("INVOCATION_ID"); s.invocation == "" {
		return s
	}
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		at := strings.TrimSpace(line)
		if unit := path.Base(at); strings.HasSuffix(unit, ".service") && !strings.Contains(at, "/user@") {
			s.unit = unit
		}
	}
	return s
}

// begins notes that a program is to run, and returns what notes how it goes on.
func (o *Origins) begins(id, mark string) (started func(pid int), ended func()) {
	if o == nil {
		return nil, func() {}
	}
	x := &origin{id: id, mark: mark, group: process.GroupOf(mark), begun: time.Now()}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs = slices.DeleteFunc(o.runs, func(x *origin) bool { return !x.ended.IsZero() && time.Since(x.ended) > lately })
	if len(o.runs) >= mostOrigins {
		o.runs = o.runs[1:]
	}
	o.runs = append(o.runs, x)
	return func(pid int) {
			o.mu.Lock()
			defer o.mu.Unlock()
			x.pid = pid
		}, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			x.ended = time.Now()
		}
}

// Of returns the ID of the action whose program wrote a line with these fields at a time, Self for what we wrote, "" for all
// else.
func (o *Origins) Of(fields map[string]string, at time.Time) string {
	if fields["_PID"] == "" {
		return ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	ours := o.self.invocation != "" && fields["_SYSTEMD_INVOCATION_ID"] == o.self.invocation ||
		o.self.unit != "" && fields["_SYSTEMD_UNIT"] == o.self.unit
	if len(o.runs) == 0 && !ours && fields["_PID"] != o.self.pid {
		return ""
	}
	here := fields["_BOOT_ID"] == "" || fields["_BOOT_ID"] == o.self.boot
	// An older line may be of another process with our number.
	if here && fields["_PID"] == o.self.pid && time.Since(at) < time.Minute {
		return Self
	}
	group, pid := path.Base(fields["_SYSTEMD_CGROUP"]), 0
	if here {
		pid, _ = strconv.Atoi(fields["_PID"])
	}
	// Of a process that ended before journald looked, it knows the number alone. One above that of a program of ours may
	// have been started by it.
	nameless := pid != 0 && fields["_SYSTEMD_CGROUP"] == "" && fields["_SYSTEMD_UNIT"] == ""
	var last, likely *origin
	for _, x := range slices.Backward(o.runs) {
		if x.group == group || pid != 0 && x.wrote(at) && x.pid == pid {
			return x.id
		}
		if last == nil && x.wrote(at) {
			last = x
		}
		if likely == nil && nameless && x.wrote(at) && x.pid != 0 && pid > x.pid {
			likely = x
		}
	}
	switch {
	case ours && last != nil: // which one of several it was does not matter
		return last.id
	case ours:
		return Self
	case likely != nil:
		return likely.id
	case last != nil && pid != 0:
		return o.marked(pid)
	}
	return ""
}

// wrote reports whether it may have written something at a time.
func (x *origin) wrote(at time.Time) bool {
	return at.After(x.begun.Add(-around)) && (x.ended.IsZero() || at.Before(x.ended.Add(around)))
}

// marked returns the action that started a process which still runs, by its mark, "" for none.
func (o *Origins) marked(pid int) string {
	mark := process.MarkOf(pid)
	for _, x := range o.runs {
		if mark != "" && x.mark == mark {
			return x.id
		}
	}
	return ""
}

// Writes returns the action one of whose processes has a file open for writing now, "" if there is none. Files that were closed
// again are not found.
func (o *Origins) Writes(file string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, x := range slices.Backward(o.runs) {
		if !x.ended.IsZero() {
			continue
		}
		for _, pid := range process.Family(x.mark, x.pid) {
			if writes(pid, file) {
				return x.id
			}
		}
	}
	return ""
}

// writes reports whether a process has a file open to write to it.
func writes(pid int, file string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	all, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, e := range all {
		if target, err := os.Readlink(filepath.Join(dir, "fd", e.Name())); err != nil || target != file {
			continue
		}
		info, _ := os.ReadFile(filepath.Join(dir, "fdinfo", e.Name()))
		_, flags, _ := strings.Cut(string(info), "flags:")
		text, _, _ := strings.Cut(strings.TrimSpace(flags), "\n")
		if n, err := strconv.ParseUint(text, 8, 64); err == nil && n&0o3 != 0 { // O_WRONLY, O_RDWR
			return true
		}
	}
	return false
}
