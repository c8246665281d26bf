package supervise

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast/tests/testenv"
)

const wary = `
limit: {max: 100000, within: 1m}
rules:
  - name: file
    from: {file: {path: BOX/app.log}}
    match: 'user (?P<who>.*) failed'
    do: [{run: [/usr/bin/env, -u, HOME, /bin/sh, -c, 'echo "file:$0" >> BOX/ran', "{{who}}"]}]
  - name: journal
    from: {journal: {directory: JOURNAL, unit: app.service}}
    match: 'user (?P<who>.*) failed'
    do: [{run: [/bin/sh, -c, 'echo "journal:$0" >> BOX/ran', "{{who}}"]}]
  - name: long
    from: {file: {path: BOX/app.log}}
    match: '^x{100}'
    do: [{run: [/bin/sh, -c, 'echo long >> BOX/ran']}]
`

// Whatever a line says, no process starts but those that are declared, with what is safe as one argument; and lines beside it count.
func TestHostile(t *testing.T) {
	j := testenv.NewJournal(t)
	b := newBox(t, strings.ReplaceAll(wary, "JOURNAL", j.Dir()))
	b.write("app.log", os.O_APPEND, "")
	b.up()
	b.until("both are watched", func() bool {
		j.Say("app.service", "user ready failed")
		b.log("app.log", "user ready failed")
		return strings.Contains(b.read("ran"), "file:ready") && strings.Contains(b.read("ran"), "journal:ready")
	})
	pwned := b.file("pwned")
	evil := []string{"$(touch " + pwned + ")", "`touch " + pwned + "`", "x; touch " + pwned, "-rf", "--help", "x\x00y", "\x1b[2Jx", "\xff\xfe",
		"x | touch " + pwned, "x\ttouch", "x\u202etxt", "..", "x/../../etc/passwd", "&& reboot", "'", `"`, strings.Repeat("y", 65), ""}
	for i, who := range evil {
		text := "user " + who + " failed"
		b.log("app.log", text)
		j.Say("app.service", text)
		b.log("app.log", fmt.Sprintf("user good%d failed", i))
		j.Say("app.service", fmt.Sprintf("user good%d failed", i))
	}
	j.Say("app.service", "user new\nline failed")
	j.Write([]string{"_SYSTEMD_UNIT=evil.service", "UNIT=app.service", "OBJECT_SYSTEMD_UNIT=app.service", "_PID=4711", "_UID=1000",
		"MESSAGE=user forged failed"})
	b.log("app.log", strings.Repeat("x", 1<<20), "user last failed")
	j.Say("app.service", strings.Repeat("x", 1<<20), "user last failed")
	due := []string{"file:last", "journal:last", "long"} // they end in any order
	for i := range evil {
		due = append(due, fmt.Sprintf("file:good%d", i), fmt.Sprintf("journal:good%d", i))
	}
	b.until("what is beside it", func() bool {
		ran := strings.Split(b.read("ran"), "\n")
		return !slices.ContainsFunc(due, func(word string) bool { return !slices.Contains(ran, word) })
	})
	allowed := map[string]int{"file:ready": 1000, "journal:ready": 1000, "file:last": 1, "journal:last": 1, "long": 1, "file:..": 1, "journal:..": 1}
	for i := range evil {
		allowed[fmt.Sprintf("file:good%d", i)], allowed[fmt.Sprintf("journal:good%d", i)] = 1, 1
	}
	ran := map[string]int{}
	for _, word := range strings.Split(strings.TrimSpace(b.read("ran")), "\n") {
		ran[word]++
	}
	for word, n := range ran {
		if n > allowed[word] {
			t.Errorf("%q ran %d times", word, n)
		}
	}
	if _, err := os.Stat(pwned); err == nil {
		t.Error("a line was run")
	}
	if n := b.rule("file").Became["refused"]; n < uint64(len(evil)-4) {
		t.Errorf("%d refused", n)
	}
	b.end()
}

const busy = `
limit: {max: 100000, within: 1m}
rules:
  - name: hangs
    from: {file: {path: BOX/app.log}}
    match: '^hang'
    do: [{run: [/bin/sleep, "100000"], timeout: 2s}]
  - name: fails
    from: {file: {path: BOX/app.log}}
    match: '^fail'
    do: [{run: [/bin/false], retries: 2, retry_after: 100ms}]
  - name: first
    from: {file: {path: BOX/app.log}}
    match: '^lock'
    do: [{run: [/bin/sh, -c, 'mkdir BOX/held || echo both >> BOX/both; sleep 0.3; rmdir BOX/held'], lock: [tool]}]
  - name: second
    from: {file: {path: BOX/app.log}}
    match: '^lock'
    do: [{run: [/bin/sh, -c, 'mkdir BOX/held || echo both >> BOX/both; sleep 0.3; rmdir BOX/held'], lock: [tool]}]
  - name: floods
    from: {file: {path: BOX/app.log}}
    match: '^flood'
    do: [{run: [/bin/sh, -c, 'for i in 1 2 3; do echo flood >> BOX/app.log; done']}]
    limit: {max: 20, within: 1h}
  - name: works
    from: {file: {path: BOX/app.log}}
    match: '^work (?P<n>[0-9]+)'
    captures: {n: int}
    do: [{run: [/bin/sh, -c, 'echo "$0" >> BOX/worked', "{{n}}"]}]
`

// Actions that hang, fail, wait for a lock, or flood the log that they are led to by hold up none of the others.
func TestOthersGoOn(t *testing.T) {
	b := newBox(t, busy)
	b.write("app.log", os.O_APPEND, "")
	b.args = []string{"--since", "2020-01-01T00:00:00Z"}
	b.up()
	for i := range 50 {
		b.log("app.log", "hang", "fail", "lock", "flood", fmt.Sprintf("work %d", i))
	}
	b.until("the work", func() bool { return len(strings.Fields(b.read("worked"))) == 50 })
	for _, a := range b.actions("rule", "hangs") {
		if a.State == "done" {
			t.Errorf("action %d that hangs is done", a.Number)
		}
	}
	if n := b.rule("floods").Became["acted"]; n != 20 {
		t.Errorf("the flood was acted upon %d times", n)
	}
	b.until("one that hangs is ended", func() bool { return len(b.actions("rule", "hangs", "state", "failed")) > 0 })
	b.until("what fails waits, and is not given up", func() bool {
		waiting := 0
		for _, a := range b.actions("rule", "fails", "state", "queued") {
			if strings.Contains(a.Note, "it waits") {
				waiting++
			}
		}
		return waiting+len(b.actions("rule", "fails", "state", "failed")) == 50
	})
	b.until("locks", func() bool {
		return len(b.actions("rule", "first", "state", "done"))+len(b.actions("rule", "second", "state", "done")) >= 4
	})
	if b.read("both") != "" {
		t.Error("two had the lock at once")
	}
	b.kill()
}
