package testenv

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

//go:embed systemd
var systemdFiles embed.FS

const systemd = "/lib/systemd/systemd"

// System is a systemd of its own, as PID 1 of namespaces of its own, with a journal and a bus. Of the host's files it sees /usr, and
// can write to none but those of its directory.
type System struct {
	t       testing.TB
	dir     string
	cgroup  string
	process *Process
}

// Systemd boots a systemd that has some units: their names, and what stands in their files. It needs root. That the host's
// temporary directory is as it was is checked at its end.
func Systemd(t testing.TB, units map[string]string) *System {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root, for a systemd in namespaces of its own", errors.New("not root"))
	}
	s := &System{t: t, dir: t.TempDir(), cgroup: fmt.Sprintf("%s/holdfast-%d-%d", cgroups(t), os.Getpid(), time.Now().UnixNano())}
	s.guard()
	s.unpack()
	for name, text := range units {
		s.Unit(name, text)
	}
	t.Cleanup(s.remove)
	s.process = Start(t, Command{Path: "/bin/bash", Args: []string{filepath.Join(s.dir, "systemd/start.sh"), s.dir, s.cgroup, systemd, "--system",
		"--unit=test.target", "--log-target=journal", "--show-status=no"}})
	Until(t, startWithin, "systemd is up"+tail(s.process.Output()), func() bool {
		out, err := s.Try("systemctl", "is-active", "test.target", "dbus.socket")
		return err == nil && out == "active\nactive\n"
	})
	return s
}

// cgroups is where the version 2 tree of control groups is mounted.
func cgroups(t testing.TB) string {
	for _, dir := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(dir + "/cgroup.procs"); err == nil {
			return dir
		}
	}
	Missing(t, "control groups version 2", errors.New("none are mounted"))
	return ""
}

// guard leaves a file in the host's temporary directory, and looks for it at the end: a systemd that is booted in the host's root
// removes all that is there.
func (s *System) guard() {
	f, err := os.CreateTemp("/tmp", "holdfast-guard-")
	if err != nil {
		s.t.Fatal(err)
	}
	f.Close()
	s.t.Cleanup(func() {
		if err := os.Remove(f.Name()); err != nil {
			s.t.Errorf("systemd has touched the host's temporary directory: %v", err)
		}
	})
}

func (s *System) unpack() {
	s.t.Helper()
	err := fs.WalkDir(systemdFiles, "systemd", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := systemdFiles.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(s.dir, name)
		if rest, ok := strings.CutPrefix(name, "systemd/units/"); ok {
			to = filepath.Join(s.dir, "units", rest)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o755)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"systemd-journald.service", "systemd-journald.socket"} {
		b, err := os.ReadFile("/lib/systemd/system/" + name)
		if err != nil {
			Missing(s.t, "systemd's journald", err)
		}
		s.Unit(name, string(b))
	}
}

// Unit writes the file of a unit. A systemd that runs is told by Run("systemctl", "daemon-reload").
func (s *System) Unit(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "units", name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// Bus is the path of the socket of its system bus.
func (s *System) Bus() string { return filepath.Join(s.dir, "run/dbus/system_bus_socket") }

// Journal is the directory of its journal.
func (s *System) Journal() string { return filepath.Join(s.dir, "run/log/journal") }

// Run runs a program beside it, and fails the test if that fails.
func (s *System) Run(args ...string) string {
	s.t.Helper()
	out, err := s.Try(args...)
	if err != nil {
		s.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// Try runs a program beside it, and returns what it prints.
func (s *System) Try(args ...string) (string, error) {
	init := s.init()
	if init == "" {
		return "", errors.New("systemd does not run")
	}
	out, err := exec.Command("nsenter", append([]string{"-t", init, "-m", "-p", "-u", "-i", "-C"}, args...)...).CombinedOutput()
	return string(out), err
}

// init is the number that its PID 1 has here.
func (s *System) init() string {
	pid := s.process.PID()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if comm, e := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/comm"); err != nil || e != nil || string(comm) != "systemd\n" {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Kill ends all of it at once.
func (s *System) Kill() { s.process.Kill() }

// remove removes its control groups, which the kernel empties behind the end of its PID 1.
func (s *System) remove() {
	if !until(startWithin, func() bool { return removeGroups(s.cgroup) }) {
		s.t.Errorf("its control groups stay: %s", s.cgroup)
	}
}

func removeGroups(dir string) bool {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(filepath.Join(dir, e.Name()))
		}
	}
	err = syscall.Rmdir(dir)
	return err == nil || errors.Is(err, syscall.ENOENT)
}
