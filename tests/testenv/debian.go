package testenv

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// DebianRoot is a copy of a clean Debian, with systemd and nothing else, that a test may do with as it likes. No systemd runs
// in it.
type DebianRoot struct{ Dir string }

// Debian copies the Debian that scripts/deps.sh has laid out. It needs root.
func Debian(t testing.TB) DebianRoot {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root, for a Debian in a directory", errors.New("not root"))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	laid := filepath.Join(cache, "holdfast-test", "debian-bookworm")
	if _, err := os.Stat(laid); err != nil {
		Missing(t, "a clean Debian", err)
	}
	d := DebianRoot{filepath.Join(t.TempDir(), "root")}
	if out, err := exec.Command("cp", "-a", laid, d.Dir).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v %s", laid, err, out)
	}
	return d
}

// Command is a program of it that its user holdfast, or "" for root, runs.
func (d DebianRoot) Command(user string, args ...string) Command {
	chroot := []string{"HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
		"chroot"}
	if user != "" {
		chroot = append(chroot, "--userspec="+user+":"+user)
	}
	return Command{Path: "/usr/bin/env", Args: append(append(append([]string{"-i"}, chroot...), d.Dir), args...)}
}

// Run runs a program as root and returns what it prints, and whether it ended well.
func (d DebianRoot) Run(args ...string) (string, error) {
	c := d.Command("", args...)
	out, err := exec.Command(c.Path, c.Args...).CombinedOutput()
	return string(out), err
}
