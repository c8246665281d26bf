package decide

import "testing"

// What is refused is no action: neither cooldown nor limit counts it, or whoever writes lines could switch a rule off.
func TestRefusedHoldsUpNothing(t *testing.T) {
	set := load(t, `
rules:
  - name: cooled
    from: {journal: {unit: x}}
    match: 'restart (?P<what>.*)'
    do: [{run: [/bin/echo, "{{what}}"]}]
    cooldown: 1h
    tests: [{lines: ["restart $(x)", "restart good", "restart more"], expect: {refused: 1, runs: 1, suppressed: 1}}]
  - name: limited
    from: {journal: {unit: x}}
    match: 'restart (?P<what>.*)'
    do: [{run: [/bin/echo, "{{what}}"]}]
    limit: {max: 1, within: 1h}
    tests: [{lines: ["restart $(x)", "restart ;", "restart good", "restart more"], expect: {refused: 2, runs: 1, suppressed: 1}}]
`)
	if n, failures := Test(set); n != 2 || len(failures) > 0 {
		t.Errorf("%d tests: %+v", n, failures)
	}
}
