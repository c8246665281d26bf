package testenv

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const sshd = "/usr/sbin/sshd"

// SSHDOptions says what an sshd allows.
type SSHDOptions struct {
	// NoShell: SFTP and nothing else.
	NoShell bool
	// SFTP is its SFTP server and the arguments of that, "" for internal-sftp, which is in it.
	SFTP string
	// Config are further lines of its configuration.
	Config []string
}

// SSHServer is a running OpenSSH on loopback, with a host key and a user key of its own. The user that runs
// it is the only one who can log in.
type SSHServer struct {
	t       testing.TB
	command Command
	dir     string
	port    int
	user    string
	process *Process
}

// SSHD starts Debian's OpenSSH.
func SSHD(t testing.TB, o SSHDOptions) *SSHServer {
	t.Helper()
	if _, err := os.Stat(sshd); err != nil {
		Missing(t, "Debian's openssh-server", err)
	}
	s := &SSHServer{t: t, port: port(t), dir: t.TempDir()}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.user = me.Username
	s.keygen("user")
	public, err := os.ReadFile(s.Key() + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	s.write("authorized_keys", string(public))
	sftp := cmp.Or(o.SFTP, "internal-sftp")
	lines := []string{"Port " + strconv.Itoa(s.port), "ListenAddress 127.0.0.1", "HostKey " + s.path("host"), "PidFile none",
		"AuthorizedKeysFile " + s.path("authorized_keys"), "StrictModes no", "UsePAM no", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "Subsystem sftp " + sftp,
		"MaxStartups 100:30:200"}
	if o.NoShell {
		lines = append(lines, "ForceCommand "+sftp)
	}
	s.write("sshd_config", strings.Join(append(lines, o.Config...), "\n")+"\n")
	s.command = Command{Path: sshd, Args: []string{"-D", "-e", "-f", s.path("sshd_config")}}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where it wants to be locked in
			t.Fatal(err)
		}
	}
	s.NewHostKey()
	// Its sessions hold no file of the test, but a process that is left is one too many.
	t.Cleanup(s.Kill)
	return s
}

func (s *SSHServer) path(name string) string { return filepath.Join(s.dir, name) }

func (s *SSHServer) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *SSHServer) keygen(name string) {
	s.t.Helper()
	_ = os.Remove(s.path(name))
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", s.path(name)).CombinedOutput()
	if err != nil {
		s.t.Fatalf("make a key: %v: %s", err, out)
	}
}

// NewHostKey gives the server another host key, writes KnownHosts, and starts it (again).
func (s *SSHServer) NewHostKey() {
	s.t.Helper()
	s.keygen("host")
	s.write("known_hosts", s.KnownAs("127.0.0.1", s.port))
	s.Restart()
}

// KnownAs is the line of known_hosts under which a client finds the server behind host and port: a proxy's,
// say.
func (s *SSHServer) KnownAs(host string, port int) string {
	s.t.Helper()
	public, err := os.ReadFile(s.path("host.pub"))
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("[%s]:%d %s", host, port, public)
}

// Port is where it listens, at 127.0.0.1.
func (s *SSHServer) Port() int { return s.port }

// Addr is the server's host:port.
func (s *SSHServer) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// User is who can log in.
func (s *SSHServer) User() string { return s.user }

// Key is the file of the private key that may log in.
func (s *SSHServer) Key() string { return s.path("user") }

// KnownHosts is a file that has the server's host key.
func (s *SSHServer) KnownHosts() string { return s.path("known_hosts") }

// Output is what the server wrote since it was started last.
func (s *SSHServer) Output() string { return s.process.Output() }

// Restart starts the server, with the same keys on the same port; one that runs is killed first.
func (s *SSHServer) Restart() {
	s.t.Helper()
	s.Kill()
	s.process = Start(s.t, s.command)
	s.process.WaitFor(s.t, "Server listening", startWithin)
}

// Kill ends the server and all its sessions at once (kill -9).
func (s *SSHServer) Kill() {
	if s.process == nil || !s.process.Running() {
		return
	}
	s.process.Freeze() // it begins no session meanwhile
	s.KillSessions()   // first, since they hold its output open
	s.process.Kill()
}

// KillSessions ends all sessions at once, and the server goes on.
func (s *SSHServer) KillSessions() {
	for _, pid := range s.sessions() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Freeze stops the server and its sessions where they stand: the connections stay, and are silent.
func (s *SSHServer) Freeze() {
	s.process.Freeze()
	for _, pid := range s.sessions() {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
}

// Thaw lets a frozen server go on.
func (s *SSHServer) Thaw() {
	for _, pid := range s.sessions() {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	s.process.Thaw()
}

// sessions are the processes below the server's. Each session has a process group of its own, so they are
// found by their parents.
func (s *SSHServer) sessions() (found []int) {
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			parents[parent] = append(parents[parent], pid)
		}
	}
	left := []int{s.process.PID()}
	for len(left) > 0 {
		children := parents[left[0]]
		left = append(left[1:], children...)
		found = append(found, children...)
	}
	slices.Sort(found)
	return found
}
