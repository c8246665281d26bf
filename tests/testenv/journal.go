package testenv

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	journalRemote = "/lib/systemd/systemd-journal-remote"
	journalctl    = "/usr/bin/journalctl"
)

// Journal is a directory with journal files, which systemd's own program writes (systemd-journal-remote); journalctl reads them by
// --directory. There is one writer at a time.
type Journal struct {
	t       testing.TB
	dir     string
	files   int
	fifo    *os.File
	process *Process
	now     time.Time
}

// NewJournal begins a journal with an empty file.
func NewJournal(t testing.TB) *Journal {
	t.Helper()
	for _, program := range []string{journalRemote, journalctl} {
		if _, err := os.Stat(program); err != nil {
			Missing(t, "Debian's systemd-journal-remote", err)
		}
	}
	j := &Journal{t: t, dir: t.TempDir(), now: time.Now().Truncate(time.Millisecond)}
	j.Begin()
	t.Cleanup(func() { j.fifo.Close() })
	return j
}

// Dir is the directory.
func (j *Journal) Dir() string { return j.dir }

// Begin ends the file that is written and begins another, as rotation does, with entries of another boot.
func (j *Journal) Begin() {
	j.t.Helper()
	j.end()
	j.files++
	name := filepath.Join(j.t.TempDir(), "fifo")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		j.t.Fatal(err)
	}
	var err error
	if j.fifo, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		j.t.Fatal(err)
	}
	j.process = Start(j.t, Command{Path: journalRemote, Args: []string{"-o", j.File(j.files), name}})
}

// File is the path of the nth file, from 1 on.
func (j *Journal) File(n int) string { return filepath.Join(j.dir, fmt.Sprintf("%d.journal", n)) }

func (j *Journal) end() {
	if j.process != nil {
		j.Flush()
		j.process.Term()
		<-j.process.Ended()
		j.fifo.Close()
	}
}

// Write writes entries, each a millisecond later than the one before, and not before it is written: fields as NAME=value.
func (j *Journal) Write(entries ...[]string) {
	j.t.Helper()
	var b []byte
	for _, fields := range entries {
		if j.now = j.now.Add(time.Millisecond); j.now.Before(time.Now()) {
			j.now = time.Now().Truncate(time.Millisecond).Add(time.Millisecond)
		}
		b = fmt.Appendf(b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n", j.now.UnixMicro(), j.now.UnixMicro(), j.files)
		for _, f := range fields {
			name, value, _ := strings.Cut(f, "=")
			b = append(b, name...)
			b = append(b, '\n')
			b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
			b = append(b, value...)
			b = append(b, '\n')
		}
		b = append(b, '\n')
	}
	for part := range slices.Chunk(b, 32<<10) {
		if _, err := j.fifo.Write(part); err != nil {
			j.t.Fatal(err)
		}
	}
}

// Say writes messages of a unit.
func (j *Journal) Say(unit string, messages ...string) {
	j.t.Helper()
	for _, m := range messages {
		j.Write([]string{"_SYSTEMD_UNIT=" + unit, "_PID=42", "_UID=1000", "PRIORITY=6", "MESSAGE=" + m})
	}
}

// Flush returns when all that was written is in the file.
func (j *Journal) Flush() {
	j.t.Helper()
	mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
	j.Write([]string{"_SYSTEMD_UNIT=mark.service", "MARK=" + mark, "MESSAGE="})
	Until(j.t, startWithin, "journal has what was written", func() bool { return j.read("MARK="+mark) > 0 })
}

// read counts the entries that match.
func (j *Journal) read(match string) int {
	p, err := start(j.t, Command{Path: journalctl, Args: []string{"--directory=" + j.dir, "--quiet", "--no-pager", "-o", "cat",
		"--output-fields=MARK", match}})
	if err != nil {
		j.t.Fatal(err)
	}
	<-p.Ended()
	return strings.Count(p.Stdout(), "\n")
}
