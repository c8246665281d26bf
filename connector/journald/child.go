package journald

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/process"
)

// child is a journalctl that runs. It dies with us.
type child struct {
	cmd   *exec.Cmd
	out   *os.File
	notes chan string // lines of its stderr; closed at its end
	ended chan struct{}
	err   error // how it ended; behind ended
	wait  sync.WaitGroup
}

const (
	pipeBytes = 1 << 20 // so that it can go on while a batch is told
	mostNotes = 20      // lines of stderr of one child
	noteBytes = 1 << 10
)

func start(command string, args ...string) (*child, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fault.New(fault.Transient, "run journalctl: %w", err)
	}
	defer in.Close()
	if conn, err := out.SyscallConn(); err == nil { // if it fails, a smaller pipe does too
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) })
	}
	c := &child{cmd: exec.Command(command, args...), out: out, notes: make(chan string, mostNotes+1), ended: make(chan struct{})}
	c.cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "SYSTEMD_COLORS=0"}
	c.cmd.Dir = "/"
	words, said, err := os.Pipe()
	if err != nil {
		out.Close()
		return nil, fault.New(fault.Transient, "run journalctl: %w", err)
	}
	defer said.Close()
	c.cmd.Stdout, c.cmd.Stderr = in, said
	ended, err := process.Start(c.cmd)
	if err != nil {
		out.Close()
		words.Close()
		return nil, refused(command, err)
	}
	c.wait.Go(func() {
		defer close(c.ended)
		defer close(c.notes)
		defer words.Close()
		c.listen(words)
		c.err = <-ended
	})
	return c, nil
}

func refused(command string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.WithHint(fault.New(fault.NotFound, "run %s: it is not there", command), "install systemd, or watch a log file instead")
	case errors.Is(err, os.ErrPermission):
		return fault.New(fault.Permanent, "run %s: %w", command, err)
	}
	return fault.New(fault.Transient, "run %s: %w", command, err)
}

// listen takes what the child writes to stderr until its end.
func (c *child) listen(stderr io.Reader) {
	in := bufio.NewReaderSize(stderr, noteBytes)
	for n := 0; ; {
		line, more, err := in.ReadLine()
		if err != nil {
			return
		}
		text := string(line)
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
		if n++; n > mostNotes || strings.TrimSpace(text) == "" {
			continue
		}
		c.notes <- "journalctl: " + text // it has room for all of them
	}
}

// kill ends the child and waits for it.
func (c *child) kill() {
	select {
	case <-c.ended:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.ended
	}
	c.wait.Wait()
	c.out.Close()
}

// turns returns how often the child has gone to sleep so far (a child that waits for entries does so after each wake-up),
// 0 if that is not known.
func (c *child) turns() uint64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	return n
}

// askWithin is how long a question to the journal may take.
const askWithin = 20 * time.Second

// ask reads at most n entries from a journalctl that does not follow. Its error has the words of journalctl.
func ask(ctx context.Context, c Config, n int, args ...string) (all []entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	args = append(append(c.journal(), "--output-fields=_BOOT_ID", fmt.Sprintf("--lines=%d", n)), args...)
	ch, err := start(c.Command, args...)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-ch.cmd.Process.Pid, syscall.SIGKILL) })
	defer ch.kill()
	defer stop()
	r := newReader(ch.out, 0)
	for len(all) < n {
		var e entry
		if err = r.next(&e); err != nil {
			break
		}
		all = append(all, e)
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = nil
	}
	<-ch.ended
	if ctx.Err() != nil {
		return nil, fault.New(fault.Transient, "ask the journal: journalctl did not answer within %v", askWithin)
	}
	words := ""
	for note := range ch.notes {
		words = note
	}
	if ch.err != nil {
		return nil, fault.New(fault.Transient, "ask the journal: %w: %s", ch.err, words)
	}
	return all, err
}
