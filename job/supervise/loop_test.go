package supervise

import (
	"os"
	"strings"
	"testing"

	"holdfast/connector"
	"holdfast/connector/logfile"
	"holdfast/job/supervise/rule"
)

// A program that writes into the file that led to it leads to itself: what it writes while it has the file open is known to
// be ours, and bounded by the loop guard; what it has closed is bounded by the limit of all rules.
func TestLoop(t *testing.T) {
	for name, c := range map[string]struct {
		script      string
		least, most uint64 // how often it acts
	}{
		"open":   {"exec >>OUT; echo fail again; sleep 1", 11, 11},
		"closed": {"echo fail again >>OUT", 11, 20}, // some may have been read before it was closed
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, `
limit: {max: 20, within: 1h}
rules:
  - name: loop
    from: {tape: a}
    match: fail
    do: [{run: [/bin/sh, -c, '`+c.script+`']}]
`)
			r.cfg.Watcher = func(*rule.Source) (connector.Watcher, error) { return logfile.New(logfile.Config{Path: r.out}) }
			if err := os.WriteFile(r.out, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			r.start()
			r.until("it is watched", func() bool { return strings.Contains(r.at(), "=") })
			f, err := os.OpenFile(r.out, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("fail first\n")
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			r.until("an end", func() bool { return r.rule("loop").Became["limit"] > 0 })
			if got := r.rule("loop").Became["acted"]; got < c.least || got > c.most {
				t.Errorf("acted %d times, want %d to %d", got, c.least, c.most)
			}
			if all := r.records(); name == "open" && all[1].Call.Caused != all[0].Call.ID {
				t.Errorf("the second is said to be caused by %q", all[1].Call.Caused)
			}
			told := false
			for _, n := range r.job.Notes() {
				told = told || (n[0] == "loop guard" || name == "closed" && n[0] == "limit of all rules") && strings.HasPrefix(n[1], "reached by rule loop: ")
			}
			if !told {
				t.Errorf("its status does not say that a limit is reached: %q", r.job.Notes())
			}
			r.end()
		})
	}
}
