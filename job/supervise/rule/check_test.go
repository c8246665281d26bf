package rule

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	const fine = "rules:\n  - {name: a, why: x, from: {journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}, tests: [{lines: [lost], expect: {runs: 1}}]"
	for _, c := range []struct{ change, to, want string }{
		{"", "", ""},
		{"match: lost", "match: 'lost$.+'", "never: match matches no line: something follows its $"},
		{"match: lost", "match: 'lost(^a|b^)'", "never: match matches no line: something comes before its ^"},
		{"match: lost", `match: 'lost[^\x00-\x{10ffff}]'`, "never: match matches no line: it has a class of no characters"},
		{"match: lost", `match: 'lost($|a)?'`, ""},
		{"match: lost", `match: lost, where: 'vars.x == "1"'`, `never: vars.x == "1" asks for vars.x, which no rule sets`},
		{"match: lost", "match: lost, where: 'false'", "never: where is false of whatever is seen"},
		{"match: lost", "match: lost, where: '2 + 2 == 5'", "never: where is false of whatever is seen"},
		{"match: lost", "match: lost, where: '2 + 2 == 4'", ""},
		{"match: lost", "match: lost, when: {then: {match: 'a$b'}, within: 1m}", "never: when matches no line"},
		{"match: lost", "match: lost, heal: {expect: 'a$b', within: 1m}", "never: heal.expect matches no line"},
		{"match: lost", "match: lost, heal: {where: '1 > 2', expect: x, within: 1m}", "never: heal.where is false"},
		{"tests: [{lines: [lost], expect: {runs: 1}}]", "tests: [{lines: [lost]}]", "test: test 1 does not expect anything"},
		{"tests: [{lines: [lost], expect: {runs: 1}}]", "tests: [{expect: {runs: 1}}]", "test: test 1 sees nothing"},
		{"tests: [{lines: [lost], expect: {runs: 1}}]", "tests: [{values: [lost], expect: {runs: 1}}]", "test: test 1 has values, and journal tells lines"},
		{"tests: [{lines: [lost], expect: {runs: 1}}]", "tests: [{name: a, lines: [lost], expect: {}}, {name: a, lines: [lost], expect: {}}]",
			`test: two tests are called "a"`},
		{"{journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}",
			"{journal: {}}, match: lost, cooldown: 1m, do: {run: [/bin/x]}", "trust: do: /bin/x is run, and anybody may write"},
		{"{journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}",
			"{journal: {}}, match: lost, cooldown: 1m, heal: {expect: x, within: 1m, else: [{http: {url: 'http://x'}}]}, do: {notify: ops}",
			"trust: else[0]: a request is made"},
		{"{journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}, tests: [{lines: [lost]",
			"{unit: a.service}, when: {state: [faild, failed]}, cooldown: 1m, do: {notify: ops}, tests: [{values: [failed]", `never: unit is never "faild"`},
		{"match: lost", `match: '\d+'`, "slow: match has no text that must be there"},
		{"cooldown: 1m, ", "", "flood: there is neither cooldown nor limit"},
		{"why: x, ", "", "test: there is no why"},
		{", tests: [{lines: [lost], expect: {runs: 1}}]", "", "test: there are no tests"},
		{"{journal: {unit: a.service}}", "{journal: {}}", ""}, // nothing is done to a unit
		{"{journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}",
			"{journal: {}}, match: lost, cooldown: 1m, do: {systemctl: restart, unit: a.service}", "trust: do does something to a.service, and anybody"},
		{"{journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}",
			"{file: /var/log/x}, match: lost, cooldown: 1m, do: {signal: HUP, unit: a.service}", "trust: do does something to a.service, and anybody"},
		{"{journal: {unit: a.service}}, match: lost, cooldown: 1m, do: {notify: ops}",
			`{journal: {}}, match: lost, where: 'unit == "a.service"', cooldown: 1m, do: {systemctl: restart, unit: a.service}`, ""},
		{"match: lost, cooldown: 1m, do: {notify: ops}", `match: 'lost (?P<u>\S+)', cooldown: 1m, do: {systemctl: restart, unit: "{{u}}"}`,
			"trust: do: which unit is decided by the text"},
		{"match: lost, cooldown: 1m, do: {notify: ops}", `match: lost, cooldown: 1m, do: {systemctl: restart, unit: "{{_SYSTEMD_UNIT}}"}`, ""},
	} {
		text := strings.Replace(fine, c.change, c.to, 1) + "}"
		var got []string
		for _, f := range load(t, text).Check() {
			got = append(got, f.About+": "+f.Text)
			if place := strings.TrimPrefix(f.Where, "rules.yaml:2:"); f.Rule != "a" || place == f.Where {
				t.Errorf("%+v", f)
			}
		}
		if all := strings.Join(got, "; "); c.want == "" && all != "" || !strings.HasPrefix(all, c.want) || len(got) > 1 {
			t.Errorf("%s\n got %s\nwant %s", text, all, c.want)
		}
	}
}

// What is found has the place of the key that it is about.
func TestFindingsHaveTheirPlaces(t *testing.T) {
	set := load(t, `rules:
  - name: a
    why: x
    from: {journal: {}}
    match: 'lost$x'
    where: >-
      1 > 2
    do:
      - {run: [/bin/x]}
    tests:
      - {lines: [lost]}
  - {name: b, from: {unit: a.service}, when: {state: [faild]}, do: {notify: ops}}
`)
	var got []string
	for _, f := range set.Check() {
		got = append(got, strings.TrimPrefix(f.Where, "rules.yaml:")+" "+f.About)
	}
	want := "5:12 never; 6:12 never; 9:7 trust; 9:7 flood; 11:7 test; 12:46 never; 12:68 flood; 12:5 test; 12:5 test"
	if all := strings.Join(got, "; "); all != want {
		t.Errorf("\n got %s\nwant %s", all, want)
	}
}

func TestTheExampleHasNothingToFind(t *testing.T) {
	text, err := os.ReadFile("../../../examples/bitboxbase.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range load(t, string(text)).Check() {
		t.Errorf("%s: %s: %s", f.Where, f.About, f.Text)
	}
}

// What is said to match nothing matches nothing.
func FuzzImpossible(f *testing.F) {
	f.Add(`a$b`, "ab")
	f.Add(`(a|b^)c$|d`, "cd")
	f.Add(`a(^|$)*b`, "ab")
	f.Fuzz(func(t *testing.T, pattern, line string) {
		re, err := regexp.Compile(pattern)
		if err != nil || len(pattern) > 100 {
			return
		}
		if why := impossible(re); why != "" && re.MatchString(line) {
			t.Fatalf("%q matches %q, and was said not to: %s", pattern, line, why)
		}
	})
}
