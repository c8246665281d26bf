package supervise

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app/desk"
	"holdfast/tests/testenv"
)

const serviceRules = `
rules:
  - name: storm
    from: {journal: {identifier: storm}, since: boot}
    match: fail
    do: [{run: [/bin/sh, -c, 'systemd-cat -t storm echo fail again; sleep 0.1']}]
  - name: leave
    from: {journal: {identifier: leave}, since: boot}
    match: now
    do: [{run: [/bin/sh, -c, 'env -i setsid /bin/sleep 1234 >/dev/null 2>&1 &']}]
  - name: hang
    from: {journal: {identifier: hang}, since: boot}
    match: now
    do: [{run: [/bin/sh, -c, 'env -i setsid /bin/sleep 5678 >/dev/null 2>&1 & sleep 5678'], timeout: 1h}]
`

// As a service of systemd: what its own actions write into the journal is known to be theirs, so that they go round no more than the
// loop guard lets them; and what they leave behind ends, whatever it does to its environment, at their end and when all is killed.
func TestService(t *testing.T) {
	s := testenv.Systemd(t, map[string]string{"box.service": "[Unit]\nDefaultDependencies=no\n[Service]\nDelegate=yes\n" +
		"ExecStart=/share/holdfast supervise --rules /share/rules.yaml --data-dir /share/data\n"})
	share := strings.TrimSuffix(s.Bus(), "/run/dbus/system_bus_socket")
	binary, err := os.ReadFile(testenv.PlainBinary(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"holdfast": binary, "rules.yaml": []byte(serviceRules)} {
		if err := os.WriteFile(filepath.Join(share, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	history := func(rule string) []desk.Action {
		var all struct {
			Actions []desk.Action `json:"actions"`
		}
		out, err := s.Try("/share/holdfast", "supervise", "history", "--data-dir", "/share/data", "--rule", rule, "--json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &all)
		}
		if err != nil {
			t.Logf("history: %v: %.300s", err, out)
		}
		return all.Actions
	}
	sleeps := func(n string) bool { // a zombie has no command line
		out, _ := s.Try("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
		return strings.Contains(out, "sleep "+n)
	}
	s.Run("systemctl", "start", "box.service")
	testenv.Until(t, soon, "it watches", func() bool {
		return strings.Contains(s.Run("journalctl", "-u", "box.service", "-o", "cat"), "supervises by")
	})
	s.Run("logger", "-t", "leave", "now")
	testenv.Until(t, soon, "it is done", func() bool { all := history("leave"); return len(all) == 1 && all[0].State == "done" })
	if left := history("leave")[0].Last.Left; left != 1 || sleeps("1234") {
		t.Errorf("it left %d processes behind, or one still runs: %v", left, sleeps("1234"))
	}
	s.Run("logger", "-t", "storm", "fail first")
	testenv.Until(t, soon, "the loop guard", func() bool {
		return strings.Contains(s.Run("journalctl", "-u", "box.service", "-o", "cat"), "the loop guard is reached")
	})
	all := history("storm")
	caused := 0
	for _, a := range all {
		if a.Call.Caused != "" {
			caused++
		}
	}
	// The first may be taken for its own too: logger has ended before journald looks at it, as the action had just then.
	if len(all) > 11 || caused != 10 {
		t.Errorf("it acted %d times, of which %d are known to be caused by itself; want 11 and 10", len(all), caused)
	}
	testenv.Until(t, soon, "it hangs", func() bool {
		s.Run("logger", "-t", "hang", "now") // until nothing of the storm is just over
		return sleeps("5678")
	})
	s.Run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "box.service")
	testenv.Until(t, soon, "nothing is left", func() bool { return !sleeps("5678") })
}
