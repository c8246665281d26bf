// Package process runs a program to its end, and leaves nothing of it behind: no shell, an environment that is made and not
// inherited, a limit of time that ends whatever the program started, and as much of its output as there is room for.
//
// What a program has started is found in a control group of its own, where one may be made below ours (as root, or with
// Delegate= of systemd), and else by a mark in its environment, which a program can clear: that, and what root lets become
// another user, is not found then. When the program has ended, well or not, the rest has Grace to end too, and is killed.
//
// A program dies with the process that runs it, also when that is killed (PR_SET_PDEATHSIG, prctl(2)). Not so what the program
// has started itself: under systemd the unit's control group ends it, else Sweep does at the next start.
package process

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"holdfast/base/fault"
)

// Command is a program to run.
type Command struct {
	// Args are the path of the program, absolute, and its arguments, as the program gets them.
	Args []string
	// Env is added to the environment, which has PATH, LANG, HOME, and of another user USER and LOGNAME, and nothing of
	// ours; of two of a name the one here counts.
	Env []string
	// Dir is where it runs, "/" if empty.
	Dir string
	// User that it runs as, nil for ours.
	User *User
	// Mark tells this run from all others, also behind a restart of ours. What the program starts inherits it, so that it is
	// found wherever it went. Without one, Run makes a random one.
	Mark string
	// Within is how long it may run, 0 for ever. Then it is asked to end, and killed Grace later. When it ends by itself,
	// what it has started has Grace to end too, before that is killed.
	Within, Grace time.Duration
	// Started, if it is not nil, is called with the number of the program's process when it runs.
	Started func(pid int)
	// Keep is how many bytes of the output are kept, half of them from its beginning and half from its end.
	Keep int
}

// markName is the variable that holds a Mark.
const markName = "HOLDFAST_RUN"

// path is what programs are looked for in by a program.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Result is how a program ended.
type Result struct {
	PID   int
	Begun time.Time
	Took  time.Duration
	// Code is what it ended with, -1 if Signal ended it.
	Code   int
	Signal syscall.Signal
	// Left is how many processes it left behind that had to be killed.
	Left int
	// Late: it was ended because it took longer than it may.
	Late bool
	// Output is what it wrote to stdout and stderr, in the order of writing. Of Dropped bytes, which lie at Cut, nothing is kept.
	Output  []byte
	Cut     int
	Dropped int64
}

// OK is whether it ended well and in time.
func (r Result) OK() bool { return r.Code == 0 && !r.Late }

// String says how it ended: "exit status 7", "signal: killed", either "because it took too long".
func (r Result) String() string {
	s := fmt.Sprintf("exit status %d", r.Code)
	if r.Signal != 0 {
		s = "signal: " + r.Signal.String()
	}
	if r.Late {
		s += " because it took too long"
	}
	return s
}

// Run runs a program until it ends by itself, or Within or ctx is over, either of which ends it. An error means that it was not
// started, that ctx ended, or that a process of it can't be killed; how it ended is in the Result.
func (c Command) Run(ctx context.Context) (Result, error) {
	c.Mark = cmp.Or(c.Mark, rand.Text())
	out := &output{room: c.Keep}
	r := Result{Begun: time.Now()}
	f := &family{group: newGroup(c.Mark), mark: c.Mark, begun: r.Begun}
	if f.group != nil {
		defer f.group.remove()
	}
	cmd, ended, err := c.start(out, f.group)
	if err != nil && f.group != nil {
		// The group may be the reason: if it is the program, it is refused again.
		if cmd, ended, err = c.start(out, nil); err == nil {
			ungrouped.Store(true)
			f.group.remove()
			f.group = nil
		}
	}
	if err != nil {
		return Result{}, refused(c.Args[0], err)
	}
	r.PID = cmd.Process.Pid
	f.leader = r.PID
	if c.Started != nil {
		c.Started(r.PID)
	}
	err = c.wait(ctx, r.PID, ended, &r)
	grace := c.Grace
	if r.Late || err != nil { // wait gave it to the program already
		grace = 0
	}
	left, bad := f.end(grace)
	r.Left, err = left, errors.Join(err, bad)
	r.Took = time.Since(r.Begun)
	r.Output, r.Cut, r.Dropped = out.kept()
	r.Code = cmd.ProcessState.ExitCode()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		r.Signal = s.Signal()
	}
	return r, err
}

// start starts the program, in a group if there is one.
func (c Command) start(out *output, g *group) (*exec.Cmd, <-chan error, error) {
	cmd := exec.Command(c.Args[0])
	cmd.Args = c.Args
	cmd.Dir = cmp.Or(c.Dir, "/")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	env := []string{"PATH=" + path, "LANG=C.UTF-8"}
	if c.User != nil {
		env = append(env, "HOME="+c.User.home, "USER="+c.User.name, "LOGNAME="+c.User.name)
		cmd.SysProcAttr.Credential = c.User.credential()
	} else if home, err := os.UserHomeDir(); err == nil {
		env = append(env, "HOME="+home)
	} else {
		env = append(env, "HOME=/")
	}
	cmd.Env = append(append(env, c.Env...), markName+"="+c.Mark)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // what it left behind may hold the pipe
	if g != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(g.f.Fd())
	}
	ended, err := Start(cmd)
	return cmd, ended, err
}

// Start starts a program that dies with us, in a process group of its own. What it returns says once how the program ended,
// as Wait does; whoever starts it waits for that. Nobody but Run ends what it leaves behind.
func Start(cmd *exec.Cmd) (ended <-chan error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started, end := make(chan error, 1), make(chan error, 1)
	go own(cmd, started, end)
	return end, <-started
}

// own starts a program and waits for it on one thread: the kernel kills a child when the thread ends that started it, and Go ends
// threads as it likes.
func own(cmd *exec.Cmd, started, ended chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		ended <- cmd.Wait()
	}
}

// wait waits for the end of a program, or brings it about.
func (c Command) wait(ctx context.Context, pid int, ended <-chan error, r *Result) error {
	var late <-chan time.Time
	if c.Within > 0 {
		t := time.NewTimer(c.Within)
		defer t.Stop()
		late = t.C
	}
	var err error
	select {
	case <-ended:
		return nil
	case <-late:
		r.Late = true
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	// The program has not been waited for, so its number is still its own and its group's.
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	grace := time.NewTimer(c.Grace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-ended
	}
	return err
}

// refused is why a program was not started.
func refused(name string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.New(fault.NotFound, "%s can't be run: there is no such program, or not what its first line names", name)
	case errors.Is(err, os.ErrPermission):
		return fault.New(fault.Credentials, "%s can't be run: %w", name, err)
	case errors.Is(err, syscall.E2BIG):
		return fault.New(fault.Invalid, "%s can't be run: its arguments are too long", name)
	case errors.Is(err, syscall.ENOEXEC):
		return fault.New(fault.Permanent, "%s can't be run: it is no program, and has no #! line", name)
	case errors.Is(err, syscall.EINVAL): // a zero byte in an argument
		return fault.New(fault.Invalid, "%s can't be run: %w", name, err)
	}
	return fault.New(fault.Transient, "%s can't be run now: %w", name, err)
}
