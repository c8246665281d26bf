package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// The unit works under a systemd, in the sandbox that it asks for: it is ready when its jobs are, reads its configuration anew, refuses
// one with a mistake and says so, is started again when it was killed, and ends in order.
func TestUnitUnderSystemd(t *testing.T) {
	unit := text(t, "../../packaging/holdfast.service")
	unit = strings.ReplaceAll(unit, "/usr/bin/holdfast", "/share/holdfast")
	unit = strings.Replace(unit, "[Unit]\n", "[Unit]\nDefaultDependencies=no\n", 1)
	s := testenv.Systemd(t, map[string]string{"holdfast.service": unit})
	share := strings.TrimSuffix(s.Bus(), "/run/dbus/system_bus_socket")
	config := strings.Replace(text(t, "../../packaging/holdfast.yaml"), "listen: 127.0.0.1:8420", "listen: none", 1)
	for name, text := range map[string]string{"holdfast": text(t, testenv.PlainBinary(t)), "good.yaml": config, "bad.yaml": config + "bad: 1\n",
		"holdfast.conf": text(t, "../../packaging/holdfast.sysusers")} {
		if err := os.WriteFile(filepath.Join(share, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.Run("systemd-sysusers", "/share/holdfast.conf")
	s.Run("mkdir", "-p", "/etc/holdfast")
	s.Run("cp", "/share/good.yaml", "/etc/holdfast/holdfast.yaml")
	show := func(what string) string {
		return strings.TrimSpace(s.Run("systemctl", "show", "--property="+what, "--value", "holdfast"))
	}
	if out, err := s.Try("systemctl", "start", "holdfast"); err != nil {
		t.Fatalf("start: %v %s\n%s", err, out, s.Run("journalctl", "-n", "50", "-o", "cat"))
	}
	first := show("MainPID")
	status := s.Run("cat", "/proc/"+first+"/status")
	for _, want := range []string{"NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(status, want) {
			t.Errorf("%s is not so: %s", want, status)
		}
	}
	if got := strings.TrimSpace(s.Run("stat", "-c", "%a %U:%G", "/var/lib/holdfast")); got != "750 holdfast:holdfast" {
		t.Errorf("/var/lib/holdfast is %s", got)
	}
	s.Run("systemctl", "reload", "holdfast")
	s.Run("cp", "/share/bad.yaml", "/etc/holdfast/holdfast.yaml")
	if out, err := s.Try("systemctl", "reload", "holdfast"); err == nil {
		t.Errorf("a configuration with a mistake is taken: %s", out)
	}
	testenv.Until(t, time.Minute, "the journal has the mistake", func() bool {
		return strings.Contains(s.Run("journalctl", "-o", "cat", "-u", "holdfast"), "bad")
	})
	if show("MainPID") != first {
		t.Error("a configuration with a mistake ended it")
	}
	s.Run("cp", "/share/good.yaml", "/etc/holdfast/holdfast.yaml")
	s.Run("kill", "-9", first)
	testenv.Until(t, time.Minute, "it is started again", func() bool {
		return show("MainPID") != first && show("ActiveState") == "active"
	})
	s.Run("systemctl", "stop", "holdfast")
	if got := show("Result"); got != "success" {
		t.Errorf("its end is %s", got)
	}
}
