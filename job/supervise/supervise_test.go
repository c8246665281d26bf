package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/connector"
	"holdfast/job/supervise/rule"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tape is a watcher whose lines are in memory: the position is how many were told.
type tape struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
	batch int       // most lines at once
	at    time.Time // when the lines were written, zero for now
}

func newTape() *tape { return &tape{more: make(chan struct{}), batch: 10} }

func (t *tape) add(lines ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, lines...)
	close(t.more)
	t.more = make(chan struct{})
}

func (t *tape) after(at int) (lines []string, more chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines = t.lines[at:]
	return lines[:min(len(lines), t.batch)], t.more
}

func (t *tape) Watch(ctx context.Context, after []byte, tell func(context.Context, connector.Seen) error) error {
	at := 0
	if after != nil {
		var err error
		if at, err = strconv.Atoi(string(after)); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		lines, more := t.after(at)
		if len(lines) == 0 {
			select {
			case <-more:
			case <-ctx.Done():
			}
			continue
		}
		var s connector.Seen
		for _, line := range lines {
			at++
			when := t.at
			if when.IsZero() {
				when = time.Now()
			}
			e := connector.Event{Kind: connector.EventLine, Time: when, ID: strconv.Itoa(at), Line: []byte(line)}
			s.Events = append(s.Events, e)
		}
		s.Position = []byte(strconv.Itoa(at))
		if err := tell(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

type tapeConfig struct {
	Name string `yaml:"name"`
	Note string `yaml:"note"` // means nothing
}

var kinds = rule.Kinds{"tape": {Config: &tapeConfig{}, Word: "name", Past: true,
	Place: func(c any) string { return c.(*tapeConfig).Name }}}

// rig is a job with its store, and what its rules write to.
type rig struct {
	testing.TB
	dir   string
	out   string // a file to which actions append
	tapes map[string]*tape
	rules string
	told  []string // by notify
	cfg   Config
	job   *Job
	st    *store.Store
	ended chan error
	stop  context.CancelFunc
	log   *slog.Logger
	begun func() // called between New and Run
}

func newRig(t testing.TB, rules string) *rig {
	dir := t.TempDir()
	r := &rig{TB: t, dir: dir, out: filepath.Join(dir, "out"), tapes: map[string]*tape{"a": newTape()}, rules: rules,
		log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	var mu sync.Mutex
	r.cfg = Config{
		Rules: func() (*rule.Set, error) {
			return rule.Load("rules.yaml", []byte(strings.ReplaceAll(r.rules, "OUT", r.out)), kinds, os.LookupEnv)
		},
		Watcher: func(s *rule.Source) (connector.Watcher, error) {
			name := s.Config.(*tapeConfig).Name
			if r.tapes[name] == nil {
				return nil, fmt.Errorf("there is no tape %q", name)
			}
			return r.tapes[name], nil
		},
	}
	r.cfg.Tools.Notify = func(_ context.Context, target, text string) error {
		mu.Lock()
		defer mu.Unlock()
		r.told = append(r.told, target+": "+text)
		return nil
	}
	return r
}

// start runs the job in the store of the rig.
func (r *rig) start() {
	r.Helper()
	var err error
	if r.st, err = store.Open(filepath.Join(r.dir, "store"), store.Options{}); err != nil {
		r.Fatal(err)
	}
	r.job, err = New(engine.Env{Name: "box", Dir: r.dir, Store: r.st, Log: r.log, History: engine.HistoryOf(r.st, "box", r.log)}, r.cfg)
	if err != nil {
		r.Fatal(err)
	}
	if r.begun != nil {
		r.begun()
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.job.Run(ctx) }()
}

// end ends the job as SIGTERM does.
func (r *rig) end() {
	r.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		r.Error(err)
	}
	if err := r.st.Close(); err != nil {
		r.Error(err)
	}
}

// records are all actions, the oldest first.
func (r *rig) records() (all []Record) {
	r.Helper()
	for q := (Query{Max: 1000}); ; {
		err := r.st.Latest(func(rd store.Reader) error {
			page, next, err := Actions(rd, q)
			all, q.Before = append(all, page...), next
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		if q.Before.IsZero() {
			break
		}
	}
	slices.Reverse(all)
	return all
}

// until waits for what must come.
func (r *rig) until(what string, f func() bool) {
	r.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b, _ := json.MarshalIndent(r.records(), "", " ")
			r.Fatalf("not within 30 s: %s\n%s", what, b)
		}
	}
}

// states are those of all actions, in their order.
func (r *rig) states() string {
	var all []string
	for _, rec := range r.records() {
		all = append(all, string(rec.State))
	}
	return strings.Join(all, " ")
}

func (r *rig) written() string {
	b, _ := os.ReadFile(r.out)
	return string(b)
}

const echo = `
rules:
  - name: echo
    from: {tape: a}
    match: 'say (?P<what>[a-z0-9]+)'
    do: [{run: [/bin/sh, -c, 'echo $0 >> OUT', "{{what}}"]}]
`

// A line leads to a program's start, once, also if the job ends between them and begins again.
func TestLine(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	r.tapes["a"].add("nothing", "say hello", "say $(reboot)", "say world")
	r.until("all done", func() bool { return r.states() == "done done" })
	r.end()
	r.tapes["a"].add("say again")
	r.start()
	r.until("all done", func() bool { return r.states() == "done done done" })
	rec := r.records()[1]
	if rec.Seen != "say world" || !strings.HasSuffix(rec.Call.Event, ":4") || rec.Tries != 1 || rec.Last.Failed != "" {
		t.Errorf("got %+v", rec)
	}
	r.end()
	words := strings.Fields(r.written())
	slices.Sort(words)
	if got := strings.Join(words, " "); got != "again hello world" {
		t.Errorf("written: %s", got)
	}
}

// Actions of a decision come after each other, or beside each other; one that fails is tried again, and those after it are
// not done if it never succeeds.
func TestOrder(t *testing.T) {
	r := newRig(t, `
rules:
  - name: chain
    from: {tape: a}
    match: 'go'
    do:
      - {name: first, run: [/bin/sh, -c, 'echo first >> OUT; test $(grep -c first OUT) -ge 3'], retries: 2, retry_after: 10ms}
      - {name: second, run: [/bin/sh, -c, 'echo second >> OUT']}
      - {name: beside, run: [/bin/sh, -c, 'exit 1'], after: []}
      - {name: never, run: [/bin/sh, -c, 'echo never >> OUT'], after: [second, beside]}
`)
	r.start()
	r.tapes["a"].add("go")
	r.until("all over", func() bool { return r.states() == "done done failed skipped" })
	if got := r.written(); got != "first\nfirst\nfirst\nsecond\n" {
		t.Errorf("written: %q", got)
	}
	if all := r.records(); all[0].Tries != 3 || !strings.Contains(all[3].Note, "exit 1") {
		t.Errorf("got %+v", all)
	}
	r.end()
}

// An action that hangs holds up nobody but those who need what it has.
func TestHung(t *testing.T) {
	r := newRig(t, `
rules:
  - name: hangs
    from: {tape: a}
    match: 'hang'
    do: [{run: [/bin/sleep, '600'], timeout: 600s, lock: [disk]}]
  - name: waits
    from: {tape: a}
    match: 'wait'
    do: [{run: [/bin/sh, -c, 'echo waited >> OUT'], lock: [disk]}]
  - name: works
    from: {tape: a}
    match: 'work'
    do: [{run: [/bin/sh, -c, 'echo worked >> OUT']}]
`)
	r.start()
	r.tapes["a"].add("hang")
	r.until("it hangs", func() bool { return r.states() == "running" })
	r.tapes["a"].add("wait", "work")
	r.until("the others go on", func() bool { return r.states() == "running queued done" })
	begun := time.Now()
	r.end()
	if took := time.Since(begun); took < drainFor || took > 3*drainFor {
		t.Errorf("ended after %v", took)
	}
	// What was broken off is unknown, and asked for; what waited is done.
	r.start()
	r.until("known", func() bool { return r.states() == "unknown done done" })
	if got := r.written(); got != "worked\nwaited\n" {
		t.Errorf("written: %q", got)
	}
	if _, err := r.job.Command(t.Context(), "abandon", []string{r.records()[0].Call.ID}); err != nil {
		t.Error(err)
	}
	r.until("given up", func() bool { return r.states() == "abandoned done done" })
	r.end()
}

// A reload changes the rules while they stand where they stood; one with mistakes changes nothing, and says what is wrong.
func TestReload(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	r.tapes["a"].add("say one")
	r.until("done", func() bool { return r.states() == "done" })
	good := r.rules
	r.rules = "rules: [{name: x}]"
	if _, err := r.job.Command(t.Context(), "reload", nil); err == nil || !strings.Contains(err.Error(), "rules.yaml:1") {
		t.Errorf("got %v", err)
	}
	r.tapes["a"].add("say two")
	r.until("done", func() bool { return r.states() == "done done" })
	r.tapes["b"] = newTape()
	r.tapes["b"].add("other")
	r.rules = good + `
  - name: other
    from: {tape: b}
    match: other
    do: [{notify: ops}]
`
	text, err := r.job.Command(t.Context(), "reload", nil)
	if err != nil || !strings.Contains(text, "new: other") {
		t.Errorf("got %q, %v", text, err)
	}
	r.until("told", func() bool { return r.states() == "done done done" })
	r.rules = good
	if text, err = r.job.Command(t.Context(), "reload", nil); err != nil || !strings.Contains(text, "gone: other") {
		t.Errorf("got %q, %v", text, err)
	}
	r.tapes["b"].add("other")
	r.tapes["a"].add("say three")
	r.until("done", func() bool { return r.states() == "done done done done" })
	if got := len(r.job.Gates()); got != 1 {
		t.Errorf("%d sources are watched", got)
	}
	r.end()
}

// A silence holds across a restart, and what began under it is told when it ends.
func TestSilence(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	number, err := r.job.Command(t.Context(), "silence", []string{"echo", "", time.Now().Add(time.Hour).Format(time.RFC3339), "moving house"})
	if err != nil {
		t.Fatal(err)
	}
	r.end()
	r.start()
	r.tapes["a"].add("say nothing")
	r.until("seen", func() bool { return r.rule("echo").Became["silence"] == 1 })
	if _, err := r.job.Command(t.Context(), "unsilence", []string{number}); err != nil {
		t.Error(err)
	}
	if _, err := r.job.Command(t.Context(), "unsilence", []string{number}); err == nil {
		t.Error("it ended twice")
	}
	r.tapes["a"].add("say something")
	r.until("done", func() bool { return r.states() == "done" })
	r.end()
}

// A watcher that can't be opened is tried again, and holds up no other; its gate says why.
func TestWatcherThatCantBeOpened(t *testing.T) {
	r := newRig(t, echo+`
  - name: other
    from: {tape: b}
    match: other
    do: [{notify: ops}]
`)
	r.start()
	r.tapes["a"].add("say one")
	r.until("the other's action", func() bool { return r.states() == "done" })
	r.until("the gate says so", func() bool {
		for _, g := range r.job.Gates() {
			if g.Name == "tape b" && !g.Open {
				return strings.Contains(g.Cause, "there is no tape")
			}
		}
		return false
	})
	r.end()
}

// A source whose configuration is another goes on where it was, and calls its events by other names, though its watcher may
// call them as before.
func TestSourceOfAnotherConfiguration(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	r.tapes["a"].add("say one")
	r.until("done", func() bool { return r.states() == "done" })
	r.rules = strings.Replace(echo, "from: {tape: a}", "from: {tape: a, since: 2026-01-01T00:00:00Z}", 1)
	if _, err := r.job.Command(t.Context(), "reload", nil); err != nil {
		t.Fatal(err)
	}
	r.tapes["a"].add("say two")
	r.until("what came since is done", func() bool { return r.states() == "done done" })
	all := r.records()
	before, _, _ := strings.Cut(all[0].Call.Event, ":")
	after, _, _ := strings.Cut(all[1].Call.Event, ":")
	if before == after || r.written() != "one\ntwo\n" {
		t.Errorf("events %s and %s; written %q", all[0].Call.Event, all[1].Call.Event, r.written())
	}
	r.end()
}

func (r *rig) rule(name string) (s RuleStatus) {
	r.Helper()
	text, err := r.job.Command(r.Context(), "rules", nil)
	var all []RuleStatus
	if err == nil {
		err = json.Unmarshal([]byte(text), &all)
	}
	if err != nil {
		r.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	r.Fatalf("there is no rule %s", name)
	return s
}

// Behind a restore what happened before it is not done again: the other life of the store may have done it. A person is
// asked, but for rules that say otherwise; what happens from then on is done.
func TestRestored(t *testing.T) {
	r := newRig(t, echo+`
  - name: again
    from: {tape: a}
    match: 'twice'
    unknown: repeat
    do: [{run: [/bin/sh, -c, 'echo twice >> OUT']}]
`)
	r.start()
	r.tapes["a"].add("say one")
	r.until("done", func() bool { return r.states() == "done" })
	r.tapes["a"].at = time.Now()
	if err := r.st.NewLineage(); err != nil { // as a restore does
		t.Fatal(err)
	}
	r.end()
	r.tapes["a"].add("say two", "twice")
	r.start()
	r.until("asked for", func() bool { return r.states() == "done unknown done" })
	r.tapes["a"].at = time.Time{}
	r.tapes["a"].add("say three")
	r.until("done", func() bool { return r.states() == "done unknown done done" })
	if got := r.written(); got != "one\ntwice\nthree\n" {
		t.Errorf("written: %q", got)
	}
	if _, err := r.job.Command(t.Context(), "repeat", []string{r.records()[1].Call.ID}); err != nil {
		t.Error(err)
	}
	r.until("done", func() bool { return r.states() == "done done done done" })
	r.end()
}

// A reload between New and Run is one of the rules that Run watches for.
func TestReloadBeforeRun(t *testing.T) {
	r := newRig(t, echo)
	r.begun = func() {
		r.tapes["b"] = newTape()
		r.rules += `
  - name: other
    from: {tape: b}
    match: other
    do: [{notify: ops}]
`
		if _, err := r.job.Command(t.Context(), "reload", nil); err != nil {
			t.Error(err)
		}
	}
	r.start()
	r.tapes["b"].add("other")
	r.until("told", func() bool { return r.states() == "done" })
	r.end()
}
