package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Command says what to start.
type Command struct {
	Path string
	Args []string
	Env  []string // added to the test's own, as KEY=value
	Dir  string   // working directory; "" is the test's own
	// User, if not nil, is whom the command runs as; only root can ask for another.
	User *syscall.Credential
}

// Process is a running child process. It dies with the test, and with the test process. Its
// methods may be called from any goroutine; those that take a t only from the test's own.
type Process struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has been waited for; guards err
	err    error
	stdout output
	stderr output
	lines  output // whole lines of both, as they came
}

// Start starts a command. The test fails if that is impossible.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p, err := start(t, c)
	if err != nil {
		t.Fatalf("start %s: %v", c.Path, err)
	}
	return p
}

func start(t testing.TB, c Command) (*Process, error) {
	p := &Process{t: t, name: c.Path, ended: make(chan struct{})}
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout = &stream{all: &p.stdout, lines: &p.lines}
	cmd.Stderr = &stream{all: &p.stderr, lines: &p.lines}
	cmd.WaitDelay = 2 * time.Second // a grandchild may hold the pipes open
	// Its own group, so that a cleanup reaches its children too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL,
		Credential: c.User}
	p.cmd = cmd

	started := make(chan error, 1)
	go p.own(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	t.Cleanup(p.end)
	return p, nil
}

// own starts the command and waits for it on one locked thread: the kernel sends Pdeathsig when
// the thread that started the child ends, not the process, and Go ends idle threads as it likes.
func (p *Process) own(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	p.cmd.Stdout.(*stream).end()
	p.cmd.Stderr.(*stream).end()
	close(p.ended)
}

// end kills the process and whatever it started, and waits for it.
func (p *Process) end() {
	running := p.Running()
	// A group keeps its number while it has a member. So when the leader is gone and its number
	// names a process again, the group was empty and the number is a stranger's.
	if running || p.state() == 0 {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.ended
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process; one that has ended gets none.
func (p *Process) Signal(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = p.cmd.Process.Signal(s)
	}
}

// Kill ends the process at once (kill -9) and returns when it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Term asks the process to end; Wait tells when it has.
func (p *Process) Term() { p.Signal(syscall.SIGTERM) }

// Freeze stops the process where it stands (SIGSTOP): its connections stay open and silent. It
// returns when every thread has stopped.
func (p *Process) Freeze() {
	p.Signal(syscall.SIGSTOP)
	if !until(10*time.Second, func() bool { return p.state() == 'T' || p.state() == 0 }) {
		panic(fmt.Sprintf("freeze %s: state %c after 10 s", p.name, p.state()))
	}
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.Signal(syscall.SIGCONT) }

// state is the letter of /proc/PID/stat, or 0 when the process is gone.
func (p *Process) state() byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	i := strings.LastIndexByte(string(b), ')')
	if err != nil || i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}

// PeakMemory is the most resident memory, in bytes, that the process has had so far. It must run:
// what the kernel tells afterwards counts the test process too, from which it was forked.
func (p *Process) PeakMemory(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatalf("read memory of %s: %v", p.name, err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatalf("read memory of %s: it has ended", p.name)
	}
	return kib << 10
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Wait returns the exit code, -1 when a signal ended it, and fails the test (with the process's
// goroutines in its output, where it is a Go program) when it still runs after within.
func (p *Process) Wait(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
	}
	p.Signal(syscall.SIGQUIT)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		p.Kill()
	}
	t.Fatalf("%s still ran after %v%s", p.name, within, tail(p.Output()))
	return 0
}

// Output is the whole lines that the process has written so far to stdout and stderr, as they
// came; once it has ended, its last line is whole.
func (p *Process) Output() string { return p.lines.String() }

// Stdout is what the process has written so far to stdout.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the process has written so far to stderr.
func (p *Process) Stderr() string { return p.stderr.String() }

// WaitFor returns the first line of Output, from the start of the process on, that the regular
// expression matches. The test fails when none has come after within, or when the
// process has ended without one.
func (p *Process) WaitFor(t testing.TB, pattern string, within time.Duration) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(within)
	for {
		changed := p.lines.changed()
		running := p.Running() // asked before the output: what comes last is still seen
		if line, ok := p.lines.line(re); ok {
			return line
		}
		if !running {
			t.Fatalf("%s ended (%v) without a line %q%s", p.name, p.err, pattern, tail(p.Output()))
		}
		select {
		case <-changed:
		case <-p.ended:
		case <-deadline:
			t.Fatalf("%s wrote no line %q within %v%s", p.name, pattern, within, tail(p.Output()))
		}
	}
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex // guards all below
	b    []byte
	wake chan struct{} // closed at the next write; nil when nobody waits
}

func (o *output) write(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, b...)
	if o.wake != nil {
		close(o.wake)
		o.wake = nil
	}
}

func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wake == nil {
		o.wake = make(chan struct{})
	}
	return o.wake
}

func (o *output) line(re *regexp.Regexp) (string, bool) {
	for line := range strings.Lines(o.String()) {
		if whole, ok := strings.CutSuffix(line, "\n"); ok && re.MatchString(whole) {
			return whole, true
		}
	}
	return "", false
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b)
}

// stream takes one of a process's two streams. The two are read side by side, so only whole lines
// go where both meet.
type stream struct {
	all, lines *output
	begun      []byte // of a line that has no end yet
}

func (s *stream) Write(b []byte) (int, error) {
	s.all.write(b)
	s.begun = append(s.begun, b...)
	if end := bytes.LastIndexByte(s.begun, '\n'); end >= 0 {
		s.lines.write(s.begun[:end+1])
		s.begun = append([]byte(nil), s.begun[end+1:]...)
	}
	return len(b), nil
}

// end takes what is begun as a line.
func (s *stream) end() {
	if len(s.begun) > 0 {
		s.lines.write(append(s.begun, '\n'))
	}
}

// ProcessLeaks are the goroutines of servers that a test starts again.
func ProcessLeaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("holdfast/tests/testenv.(*Process).own"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
	}
}
