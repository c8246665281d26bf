package supervise

import (
	"os"
	"strings"
	"testing"

	"holdfast/tests/testenv"
)

const machine = `
rules:
  - name: cookie
    from: {journal: {directory: JOURNAL, unit: talks.service}}
    match: 'no reply from daemon'
    do: [{systemctl: restart, unit: steady.service, timeout: 20s}]
    cooldown: 1h
  - name: down
    from: {unit: crashes.service}
    when: {state: [failed]}
    do: [{systemctl: start, unit: crashes.service, timeout: 20s}, {run: [/bin/sh, -c, 'echo started >> BOX/down.out']}]
    limit: {max: 2, within: 1h}
  - name: hung
    from: {journal: {directory: JOURNAL, unit: hangs.service}}
    match: 'I hang'
    do: [{signal: KILL, unit: hangs.service}]
    heal: {expect: 'I hang', within: 1m}
  - name: refused
    from: {journal: {directory: JOURNAL, unit: talks.service}}
    match: 'no reply from daemon'
    do: [{systemctl: restart, unit: nosuch.service, timeout: 20s}]
`

// Units that talk, crash and hang are restarted over D-Bus, each once for what happened. What another unit says about one leads to
// nothing: who writes a line can't say that somebody else did.
func TestSystemd(t *testing.T) {
	const service = "[Unit]\nDefaultDependencies=no\n[Service]\n"
	s := testenv.Systemd(t, map[string]string{
		"steady.service":  service + "ExecStart=/bin/sleep 100000\n",
		"talks.service":   service + "Type=oneshot\nExecStart=/bin/echo WARN - reconnecting to bitcoind: no reply from daemon\n",
		"liar.service":    service + "Type=oneshot\nExecStart=/bin/echo talks.service: no reply from daemon\nSyslogIdentifier=talks.service\n",
		"crashes.service": service + "ExecStart=/bin/sleep 100000\n",
		"hangs.service": "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\n" +
			"Restart=always\nRestartSec=100ms\nExecStart=/bin/sh -c 'echo I hang; exec /bin/sleep 100000'\n",
	})
	b := newBox(t, strings.ReplaceAll(machine, "JOURNAL", s.Journal()))
	b.env = []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + s.Bus()}
	pid := func(unit string) string {
		return strings.TrimSpace(s.Run("systemctl", "show", "--property=MainPID", "--value", unit))
	}
	s.Run("systemctl", "start", "steady.service", "crashes.service")
	b.up()
	b.until("all is watched", func() bool { return b.rule("down").Became["unmet"] > 0 })
	first := pid("steady.service")
	s.Run("systemctl", "start", "liar.service")
	s.Run("logger", "-t", "talks.service", "no reply from daemon")
	s.Run("systemctl", "start", "talks.service")
	b.until("it is restarted", func() bool { p := pid("steady.service"); return p != first && p != "0" })
	second := pid("steady.service")
	s.Run("systemctl", "start", "talks.service")
	b.until("the second is suppressed", func() bool { return b.rule("cookie").Became["cooldown"] == 1 })
	if got := pid("steady.service"); got != second || b.rule("cookie").Matched != 2 {
		t.Errorf("it was restarted again, or what others say counts: %+v", b.rule("cookie"))
	}
	// A unit that crashes is started, so often as the rule may.
	for i := range 3 {
		old := pid("crashes.service")
		s.Run("systemctl", "kill", "-s", "KILL", "crashes.service")
		if i == 2 {
			b.until("the limit", func() bool { return b.rule("down").Became["limit"] == 1 })
			break
		}
		b.until("it is started", func() bool { p := pid("crashes.service"); return p != old && p != "0" })
	}
	b.until("it is noted", func() bool { return strings.Count(b.read("down.out"), "started") == 2 })
	// One that says that it hangs is killed, systemd starts it again, and that it says so again is caused by what we did: the loop is
	// bounded.
	s.Run("systemctl", "start", "hangs.service")
	b.until("the loop guard", func() bool { return b.rule("hung").Became["limit"] > 0 })
	if n := b.rule("hung").Became["acted"]; n != 10 { // the first, and of the ten that our own actions may lead to, one is that crashes.service failed again
		t.Errorf("acted %d times", n)
	}
	// What can't be done is said so, with the reason.
	b.until("it failed", func() bool { return len(b.actions("rule", "refused", "state", "failed")) == 2 })
	if why := b.actions("rule", "refused")[0].Note; !strings.Contains(why, "nosuch.service") {
		t.Errorf("it failed because: %s", why)
	}
	b.end()
	if _, err := os.Stat(os.TempDir()); err != nil {
		t.Error(err)
	}
}
