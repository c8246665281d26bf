package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// exposure is the most of systemd's 10 points of what a service may do that ours may have. That of rules that act is root, and
// has to run what its rules say: docs/security.md.
func exposure(unit string) float64 {
	if filepath.Base(unit) == "holdfast-supervise.service" {
		return 8.5
	}
	return 2
}

// The unit files are understood by systemd and keep the process in its place.
func TestUnitFiles(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	units, err := filepath.Glob("../packaging/*.service")
	if err != nil || len(units) < 2 {
		t.Fatalf("got %v, %v", units, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range units {
		b, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// verify wants the program to be there.
		text := strings.ReplaceAll(string(b), "/usr/bin/holdfast", self)
		at := filepath.Join(t.TempDir(), filepath.Base(unit))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", at).CombinedOutput()
		if err != nil || strings.Contains(string(out), filepath.Base(unit)) {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
		out, err = exec.Command(analyze, "security", "--offline=true", "--no-pager", at).CombinedOutput()
		level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
		if err != nil || level == nil {
			t.Logf("systemd-analyze security does not work here: %v", err)
			continue
		}
		if n, err := strconv.ParseFloat(string(level[1]), 64); err != nil || n > exposure(unit) {
			t.Errorf("%s: exposure %s, want at most %v", unit, level[1], exposure(unit))
		}
		for _, want := range []string{"Type=notify", "WatchdogSec=", "Restart=always", "StateDirectory="} {
			if !strings.Contains(text, "\n"+want) {
				t.Errorf("%s: %s is missing", unit, want)
			}
		}
	}
}
