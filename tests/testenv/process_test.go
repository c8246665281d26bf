package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sh starts a shell script.
func sh(t testing.TB, script string) *Process {
	t.Helper()
	return Start(t, Command{Path: "/bin/sh", Args: []string{"-c", script}})
}

// refusal runs f with a t whose Fatalf ends f, and returns what it said.
func refusal(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	r := &refusing{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { f(r) })
	wg.Wait()
	return r.said
}

type refusing struct {
	testing.TB
	said string
}

func (r *refusing) Helper() {}

func (r *refusing) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *refusing) Skipf(format string, args ...any) { r.Fatalf("skip: "+format, args...) }

func TestProcessOutput(t *testing.T) {
	p := Start(t, Command{
		Path: "/bin/sh",
		Args: []string{"-c", `echo "$WORD in $(pwd)"; echo bad >&2; printf half; exit 7`},
		Env:  []string{"WORD=hello"},
		Dir:  "/",
	})
	if got := p.WaitFor(t, "^hello", time.Minute); got != "hello in /" {
		t.Errorf("line: got %q", got)
	}
	if got := p.Wait(t, time.Minute); got != 7 {
		t.Errorf("exit code: got %d, want 7", got)
	}
	if got, want := p.Stdout(), "hello in /\nhalf"; got != want {
		t.Errorf("stdout: got %q, want %q", got, want)
	}
	if got, want := p.Stderr(), "bad\n"; got != want {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
	if got := p.WaitFor(t, "half", time.Minute); got != "half" {
		t.Errorf("last line, which has no end: got %q", got)
	}
	said := refusal(t, func(t testing.TB) { p.WaitFor(t, "whole", time.Minute) })
	if !strings.Contains(said, "ended") || !strings.Contains(said, "exit status 7") {
		t.Errorf("wait for a line that never came: said %q", said)
	}
}

func TestProcessDeadlines(t *testing.T) {
	p := sh(t, "echo here; exec sleep 600")
	p.WaitFor(t, "here", time.Minute)
	said := refusal(t, func(t testing.TB) { p.WaitFor(t, "there", 20*time.Millisecond) })
	if !strings.Contains(said, `no line "there"`) || !strings.Contains(said, "here") {
		t.Errorf("wait for a line: said %q", said)
	}
	said = refusal(t, func(t testing.TB) { p.Wait(t, 20*time.Millisecond) })
	if !strings.Contains(said, "still ran") {
		t.Errorf("wait for the end: said %q", said)
	}
	if p.Running() {
		t.Error("still runs after a wait that failed")
	}
}

func TestProcessKillAndTerm(t *testing.T) {
	p := sh(t, "exec sleep 600")
	p.Kill()
	if code := p.Wait(t, time.Minute); code != -1 || p.Running() {
		t.Errorf("after kill: code %d, running %v", code, p.Running())
	}
	p.Kill() // one that has ended gets none

	p = sh(t, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done")
	p.WaitFor(t, "up", time.Minute)
	p.Term()
	if code := p.Wait(t, time.Minute); code != 3 || !strings.Contains(p.Stdout(), "bye") {
		t.Errorf("after term: code %d, stdout %q", code, p.Stdout())
	}
}

func TestProcessFreeze(t *testing.T) {
	p := sh(t, "while :; do echo tick; sleep 0.01; done")
	p.WaitFor(t, "tick", time.Minute)
	p.Freeze()
	before := len(p.Output())
	time.Sleep(200 * time.Millisecond)
	if after := len(p.Output()); after > before+len("tick\n") { // one may be in the pipe
		t.Errorf("a frozen process wrote %d bytes", after-before)
	}
	p.Thaw()
	Until(t, time.Minute, "output after thaw", func() bool { return len(p.Output()) > before+50 })
	p.Freeze()
	p.Kill() // a frozen one dies too
}

// A child must not die when the goroutine that started it takes its thread with it.
func TestProcessOutlivesThread(t *testing.T) {
	var children []*Process
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			p := sh(t, "exec sleep 600")
			mu.Lock()
			defer mu.Unlock()
			children = append(children, p)
		})
	}
	wg.Wait()
	time.Sleep(100 * time.Millisecond)
	for _, p := range children {
		if !p.Running() {
			t.Fatalf("pid %d died with the thread that asked for it", p.PID())
		}
	}
}

// What a child starts is gone after the test too, even when the child itself went before.
func TestProcessGroupEnds(t *testing.T) {
	var grandchild int
	t.Run("start", func(t *testing.T) {
		p := sh(t, "sleep 600 & echo $!")
		grandchild, _ = strconv.Atoi(p.WaitFor(t, `^\d+$`, time.Minute))
		p.Wait(t, time.Minute)
		if !alive(grandchild) {
			t.Fatal("the grandchild is gone too early")
		}
	})
	Until(t, 10*time.Second, "end of the grandchild", func() bool { return !alive(grandchild) })
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

const victimVariable = "HOLDFAST_TESTENV_VICTIM"

// TestVictim is what TestEndsWithTestProcess kills: a test process that has started one of each.
func TestVictim(t *testing.T) {
	if os.Getenv(victimVariable) == "" {
		return // on its own it has nothing to show
	}
	fmt.Printf("pid %d\n", sh(t, "exec sleep 600").PID())
	fmt.Printf("pid %d\n", ClickHouse(t).Process().PID())
	dir, err := processDir()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("path %s\n", filepath.Join(dir))
	if os.Getuid() == 0 {
		fmt.Printf("mount %s\n", SmallDisk(t, 1<<20))
	}
	fmt.Println("ready")
	time.Sleep(10 * time.Minute)
}

// Nothing is left when the test process is killed with SIGKILL.
func TestEndsWithTestProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := Start(t, Command{
		Path: self,
		Args: []string{"-test.run", "^TestVictim$", "-test.v"},
		Env:  []string{victimVariable + "=1", "TMPDIR=" + t.TempDir()},
	})
	victim.WaitFor(t, "^ready$", 2*time.Minute)
	victim.Kill()
	for line := range strings.Lines(victim.Stdout()) {
		kind, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "pid":
			pid, _ := strconv.Atoi(what)
			Until(t, 10*time.Second, line, func() bool { return !alive(pid) })
		case "path":
			Until(t, 10*time.Second, line, func() bool {
				_, err := os.Stat(what)
				return os.IsNotExist(err)
			})
		case "mount":
			Until(t, 10*time.Second, line, func() bool { return !mounted(t, what) })
		}
	}
}

func mounted(t testing.TB, dir string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), " "+dir+" ")
}

func TestSmallDisk(t *testing.T) {
	var dir string
	t.Run("fill", func(t *testing.T) {
		dir = SmallDisk(t, 1<<20)
		err := os.WriteFile(filepath.Join(dir, "half"), make([]byte, 512<<10), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		err = os.WriteFile(filepath.Join(dir, "too much"), make([]byte, 600<<10), 0o600)
		if err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
			t.Errorf("write past the size: got %v, want %v", err, syscall.ENOSPC)
		}
	})
	if dir != "" && mounted(t, dir) {
		t.Errorf("%s is still mounted", dir)
	}
}

func TestProcessPeakMemory(t *testing.T) {
	p := sh(t, "echo done; exec sleep 600")
	p.WaitFor(t, "done", time.Minute)
	if got := p.PeakMemory(t); got <= 0 || got > 10<<20 {
		t.Errorf("of sleep: got %d", got)
	}
	r := sh(t, `x=$(head -c 20000000 /dev/zero | tr '\0' x); echo done; sleep 600; echo $x`)
	r.WaitFor(t, "done", time.Minute)
	if got := r.PeakMemory(t); got < 20_000_000 {
		t.Errorf("of a shell with 20 MB in a variable: got %d", got)
	}
	r.Kill()
	if said := refusal(t, func(t testing.TB) { r.PeakMemory(t) }); said == "" {
		t.Error("of a process that has ended: got an answer")
	}
}

// What is built stays until the process ends, even when nobody refers to it.
func TestBuildsStay(t *testing.T) {
	dir, err := processDir()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
