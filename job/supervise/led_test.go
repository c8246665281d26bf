package supervise

import (
	"fmt"
	"testing"

	"holdfast/kernel/store"
)

// The lines that a key waits with are forgotten with it: who makes up keys can't fill the disk with them.
func TestLinesOfForgottenKeys(t *testing.T) {
	r := newRig(t, `
rules:
  - name: r
    from: {tape: a}
    match: 'say (?P<what>[a-z0-9]+)'
    key: [what]
    when: {count: 2, within: 10h}
    do: [{notify: ops}]
`)
	r.tapes["a"].batch = 1000
	r.start()
	const n, most = 12_000, 10_000
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("say x%d", i)
	}
	r.tapes["a"].add(lines...)
	r.until("all are seen", func() bool { return r.rule("r").Matched == n })
	kept := 0
	err := r.st.Latest(func(rd store.Reader) error {
		entries, failed := rd.Scan(key('W'), key('W').End())
		for range entries {
			kept++
		}
		return failed()
	})
	if err != nil || kept != most {
		t.Errorf("lines of %d keys are kept, want %d; %v", kept, most, err)
	}
	if got := r.rule("r").Forgotten; got != n-most {
		t.Errorf("%d keys are forgotten, want %d", got, n-most)
	}
	if all := r.events("rule.full"); len(all) != 1 {
		t.Errorf("history has %q, want it once", all)
	}
	r.end()
}
