package rule

import (
	"testing"
	"time"
)

// TestWords: a person who reads the table knows what the file says.
func TestWords(t *testing.T) {
	s := load(t, `
rules:
  - name: guessing
    from: {journal: {unit: ssh.service}}
    match: 'Failed password .* from (?P<client>\S+)'
    captures: {client: ip}
    key: [client]
    when: {count: 5, within: 10m}
    do: [{run: [/sbin/ban, "{{client}}"]}, {notify: ops}]
    cooldown: {for: 1h, trailing: true}
    limit: {max: 50, within: 1d, then: ops}
    stale_after: 90s
  - name: ibd
    from: {prometheus: {query: bitcoin_ibd}, every: 30s}
    state: {on: value == 1, off: value == 0, no_data: 2m}
    on_change: [{run: [/sbin/set, "{{state.on}}"]}]
  - name: late
    from: {journal: {unit: a.service}}
    match: begin
    when: {without: {match: done}, within: 1h30m}
    do: [{systemctl: restart, unit: a.service}]
    heal: {expect: up, within: 2m, else: [[{signal: KILL, unit: a.service}]], then: ops}
`)
	for name, want := range map[string]Words{
		"guessing": {`journal {unit: "ssh.service"} ~ 'Failed password .* from (?P<client>\S+)'`,
			"5 within 10m; for each client; cooldown 1h, made up for at its end; at most 50 within 1d, then ops is told; not older than 1m30s",
			"/sbin/ban {{client}}, then notify ops"},
		"ibd": {`prometheus {query: "bitcoin_ibd"} every 30s`, "changes between on (value == 1) and off (value == 0), no data after 2m",
			"on_change: /sbin/set {{state.on}}"},
		"late": {`journal {unit: "a.service"} ~ 'begin'`, "not followed within 1h30m by ~ 'done'",
			"systemctl restart a.service; else[0]: signal KILL a.service; heals if ~ 'up' is seen within 2m, else at the end ops is told"},
	} {
		if got := s.Rule(name).Words(); got != want {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, want)
		}
	}
}

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Minute: "1m", time.Hour: "1h", 48 * time.Hour: "2d", 90 * time.Minute: "1h30m",
		90 * time.Second: "1m30s", 10 * time.Second: "10s", time.Hour + time.Second: "1h0m1s"} {
		if got := length(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
