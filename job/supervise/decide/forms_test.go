package decide

import "testing"

// Each form of a rule, as the tests of rule files have it.
func TestForms(t *testing.T) {
	for name, text := range map[string]string{
		"count within a window, for each key": `
rules:
  - name: ssh
    from: {file: /var/log/auth.log}
    match: 'Failed password for (?P<user>\w+) from (?P<client>\S+)'
    captures: {client: ip}
    key: [client]
    when: {count: 3, within: 60s}
    do: {run: [/usr/sbin/ban, "{{client}}"]}
    tests:
      - steps:
          - {line: Failed password for a from 10.0.0.1}
          - {line: Failed password for a from 10.0.0.2}
          - {after: 59s, line: Failed password for b from 10.0.0.1}
          - {line: Failed password for c from 10.0.0.1, expect: {runs: 1, actions: [/usr/sbin/ban 10.0.0.1]}}
          - {line: Failed password for c from 10.0.0.1, expect: {runs: 0, unmet: 1}}
        expect: {runs: 1, unmet: 4}
      - {name: the window has gone by, steps: [{line: Failed password for a from 10.0.0.1, age: 0s}, {after: 30s, line: Failed password for a from 10.0.0.1},
          {after: 30s, line: Failed password for a from 10.0.0.1}], expect: {runs: 0, unmet: 3}}
      - {name: old lines stand where they were written, steps: [{line: Failed password for a from 10.0.0.1, age: 3h},
          {line: Failed password for a from 10.0.0.1, age: 2h}, {line: Failed password for a from 10.0.0.1, age: 1h}], expect: {runs: 0}}
      - {name: no address, lines: [Failed password for a from $(reboot)], repeat: 3, expect: {runs: 0, refused: 1}}`,
		"one thing, then another": `
rules:
  - name: then
    from: {journal: {unit: a.service}}
    match: 'begin (?P<id>\d+)'
    key: [id]
    when: {then: {match: 'end (?P<id>\d+) (?P<how>\w+)'}, within: 10s}
    do: {notify: ops, text: "{{id}} {{how}}"}
    tests:
      - {steps: [{line: begin 1}, {after: 10s, line: end 1 well}], expect: {runs: 1, unmet: 1, actions: [notify ops 1 well]}}
      - {name: too late, steps: [{line: begin 1}, {after: 11s, line: end 1 well}], expect: {runs: 0}}
      - {name: another key, steps: [{line: begin 1}, {line: end 2 well}], expect: {runs: 0, matched: 1}}
      - {name: once, steps: [{line: begin 1}, {line: end 1 a}, {line: end 1 b}], expect: {runs: 1, matched: 2}}
      - {name: it was written before, steps: [{line: begin 1}, {line: end 1 a, age: 5s}], expect: {runs: 0, matched: 1}}
      - {name: the order matters, steps: [{line: end 1 a}, {line: begin 1}], expect: {runs: 0, matched: 1}}`,
		"one thing, and not another, of another source": `
rules:
  - name: without
    from: {journal: {unit: a.service}}
    match: 'stopping'
    when: {without: {from: {unit: a.service}, where: 'text == "active"'}, within: 30s}
    do: {systemctl: start, unit: a.service}
    tests:
      - {steps: [{line: stopping}, {after: 29s}, {after: 1s, expect: {runs: 1}}, {after: 1h}], expect: {runs: 1}}
      - {name: it follows, steps: [{line: stopping}, {after: 29s, of: without, value: active}, {after: 1h}], expect: {runs: 0}}
      - {name: something else follows, steps: [{line: stopping}, {after: 3s, of: without, value: failed}, {after: 1h}], expect: {runs: 1}}
      - {name: it follows too late, steps: [{line: stopping}, {after: 31s, of: without, value: active}], expect: {runs: 1}}
      - {name: many wait once, lines: [stopping, stopping], steps: [{after: 1h}], expect: {runs: 1, unmet: 2}}`,
		"above with hysteresis, for some time": `
rules:
  - name: hot
    from: {prometheus: {query: temp}}
    when: {above: 80, until: 70, for: 20s}
    do: {notify: ops, text: "{{value}} {{labels.core}}"}
    tests:
      - {labels: {core: "1"}, values: ["79", "81", "75", "71", "71"], expect: {runs: 1, actions: [notify ops 71 1]}}
      - {name: back in between, values: ["81", "70", "75", "81", "81"], expect: {runs: 0}}
      - {name: no data is no break, values: ["81", absent, unanswered, "81"], expect: {runs: 1}}
      - {name: restarts are none, values: ["81", restart, restart, "81"], expect: {runs: 1}}
      - {name: once until it is over, values: ["81", "81", "81", "90", "71", "70", "81", "81", "81"], expect: {runs: 2}}`,
		"below": `
rules:
  - {name: low, from: {prometheus: {query: disk}}, when: {below: 10, until: 20}, do: {notify: ops},
     tests: [{values: ["10", "9", "15", "9", "20", "9.5"], expect: {runs: 2, unmet: 4}}]}`,
		"a condition for some time": `
rules:
  - {name: cond, from: {prometheus: {query: q}}, with: {limit: {prometheus: {query: l}}}, where: value > limit, when: {for: 10s},
     do: {notify: ops}, tests: [
       {with: {limit: "5"}, values: ["6", "6", "6"], expect: {runs: 1}},
       {name: nothing to compare with, values: ["6", "6", "6"], expect: {runs: 0, unmet: 3}},
       {name: not for long enough, with: {limit: "5"}, values: ["6", "4", "6"], expect: {runs: 0}}]}`,
		"a change": `
rules:
  - {name: change, from: {prometheus: {query: q}}, when: {change: true}, do: {notify: ops, text: "{{value}}"},
     tests: [{values: ["1", "1", "2", absent, "2", restart, "1"], expect: {runs: 2, actions: [notify ops 2, notify ops 1]}}]}
  - {name: words, from: {unit: a.service}, when: {change: true, initial: true}, do: {notify: ops, text: "{{text}}"},
     tests: [{values: [active, failed, failed], expect: {runs: 2, actions: [notify ops active, notify ops failed]}}]}`,
		"no data": `
rules:
  - {name: quiet, from: {journal: {unit: a.service}}, match: beat, when: {no_data: 1m}, do: {notify: ops}, tests: [
      {name: never, steps: [{after: 59s}, {after: 1s}, {after: 5h}], expect: {runs: 1}},
      {lines: [beat], steps: [{after: 59s, line: beat}, {after: 59s, expect: {runs: 0}}, {after: 1s, expect: {runs: 1}}, {line: beat}, {after: 1m}],
       expect: {runs: 2}}]}
  - {name: gone, from: {prometheus: {query: q}}, when: {no_data: 1m}, do: {notify: ops, text: "{{key}}"}, tests: [
      {name: never, steps: [{after: 1h}], expect: {runs: 1}},
      {name: of one series, labels: {a: b}, values: ["1", "1"], steps: [{after: 1m, value: absent}, {after: 1h}], expect: {runs: 1, actions: [notify ops a=b]}}]}
  - {name: state, from: {prometheus: {query: q}}, state: {on: value == 1, off: value == 0, no_data: 15s}, on_change: {set: x, value: "{{state}}"},
     on_no_data: {notify: ops}, tests: [
      {values: ["1", absent, absent, absent, "1", "0"], expect: {runs: 2, actions: ["notify ops state: no data", set x off]}}]}`,
		"the cooldown makes up for what it suppressed": `
rules:
  - {name: trail, from: {journal: {unit: a.service}}, match: 'x(?P<n>\d)', cooldown: {for: 30s, trailing: true}, do: {notify: ops, text: "{{n}}"},
     tests: [{lines: [x1, x2, x3], steps: [{after: 29s, expect: {runs: 0}}, {after: 1s, expect: {runs: 1}}, {after: 10s, line: x4}, {after: 1h}],
       expect: {runs: 3, suppressed: 3, actions: [notify ops 1, notify ops 3, notify ops 4]}}]}`,
		"a limit": `
rules:
  - {name: limit, from: {journal: {unit: a.service}}, match: 'x(?P<n>\d)', key: [n], limit: {max: 2, within: 1h}, do: {notify: ops},
     tests: [{lines: [x1, x2, x3], steps: [{after: 59m, line: x1}, {after: 1m, line: x1}], expect: {runs: 3, suppressed: 2}}]}`,
		"old lines are counted": `
rules:
  - {name: stale, from: {journal: {unit: a.service}}, match: x, stale_after: 1m, do: {notify: ops},
     tests: [{steps: [{line: x, age: 61s}, {line: x, age: 60s}], expect: {runs: 1, suppressed: 1}}]}`,
		"shadow and off": `
rules:
  - {name: shadow, from: {journal: {unit: a.service}}, match: x, mode: shadow, cooldown: 1m, do: {notify: ops},
     tests: [{lines: [x, x], expect: {runs: 1, suppressed: 1}}]}
  - {name: off, from: {journal: {unit: a.service}}, match: x, mode: off, do: {notify: ops}, tests: [{lines: [x, x], expect: {runs: 0, matched: 2}}]}`,
		"healing": `
rules:
  - name: heal
    from: {journal: {unit: a.service}}
    match: lost
    do: {systemctl: reload, unit: a.service}
    heal: {expect: found, within: 1m, then: ops, else: [[{systemctl: restart, unit: a.service}], [{run: [/sbin/fix, "{{rule}}"]}]]}
    tests:
      - {steps: [{line: lost}, {after: 59s, line: found}, {after: 1h}], expect: {runs: 1, healed: true}}
      - {name: not by what was written before, steps: [{line: lost}, {line: found, age: 5s}, {after: 1h}], expect: {runs: 3, healed: false}}
      - {name: by the first rung, steps: [{line: lost}, {after: 61s, line: found}, {after: 1h}],
         expect: {runs: 2, healed: true, actions: [systemctl reload a.service, systemctl restart a.service]}}
      - {name: not at all, steps: [{line: lost}, {after: 1h}],
         expect: {runs: 3, healed: false, actions: [systemctl reload a.service, systemctl restart a.service, /sbin/fix heal]}}`,
		"values that rules set": `
rules:
  - {name: sets, from: {journal: {unit: a.service}}, match: 'level (?P<l>\w+)', do: {set: level, value: "{{l}}"}, tests: [{lines: [level 3], expect: {runs: 1}}]}
  - {name: asks, from: {journal: {unit: a.service}}, match: go, where: 'vars.level == "3"', do: {notify: ops, text: "{{vars.level}}"},
     tests: [{lines: [go, level 3, go], expect: {runs: 1, actions: [notify ops 3]}}]}`,
		"where over fields": `
rules:
  - {name: f, from: {journal: {}}, match: 'x(?P<n>\d+)', where: 'unit == "a.service" && int(n) > 3 && fields.PRIORITY == "3"', do: {notify: ops}, tests: [
      {fields: {_SYSTEMD_UNIT: a.service, PRIORITY: "3"}, lines: [x3, x4], expect: {runs: 1, matched: 1}},
      {fields: {UNIT: a.service, PRIORITY: "3"}, lines: [x4], expect: {runs: 0, matched: 0}}]}`,
	} {
		t.Run(name, func(t *testing.T) { try(t, text) })
	}
}
