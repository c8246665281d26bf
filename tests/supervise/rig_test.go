// Package supervise runs `holdfast supervise` as a whole, on journals, files, a Prometheus and a systemd of its own.
package supervise

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/face/api"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProcessLeaks()...) }

// soon is how long anything may take here.
const soon = 2 * time.Minute

// box is a machine that is supervised.
type box struct {
	t    *testing.T
	dir  string // of all it has
	args []string
	env  []string
	p    *testenv.Process
	said []string // by former processes
}

// newBox is one with a rule file, in which BOX stands for its directory.
func newBox(t *testing.T, rules string) *box {
	t.Helper()
	b := &box{t: t, dir: t.TempDir()}
	b.rules(rules)
	t.Cleanup(func() {
		if t.Failed() && b.p != nil {
			t.Logf("it said:\n%s", strings.Join(append(b.said, b.p.Output()), "--- started again ---\n"))
		}
	})
	return b
}

func (b *box) file(name string) string { return filepath.Join(b.dir, name) }

func (b *box) rules(text string) {
	b.t.Helper()
	b.write("rules.yaml", os.O_TRUNC, strings.ReplaceAll(text, "BOX", b.dir))
}

// log adds lines to a file.
func (b *box) log(name string, lines ...string) {
	b.t.Helper()
	b.write(name, os.O_APPEND, strings.Join(lines, "\n")+"\n")
}

func (b *box) write(name string, how int, text string) {
	b.t.Helper()
	f, err := os.OpenFile(b.file(name), how|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// read is what stands in a file, "" if there is none.
func (b *box) read(name string) string {
	text, err := os.ReadFile(b.file(name))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return string(text)
}

// start runs the supervisor.
func (b *box) start() {
	b.t.Helper()
	if b.p != nil {
		b.said = append(b.said, b.p.Output())
	}
	b.p = testenv.Start(b.t, testenv.Command{Path: testenv.Binary(b.t),
		Args: append([]string{"supervise", "--rules", b.file("rules.yaml"), "--data-dir", b.file("data")}, b.args...),
		Env: append([]string{"HOLDFAST_DATA_DIR=", "NOTIFY_SOCKET=", "INVOCATION_ID=", "TZ=UTC",
			"GORACE=halt_on_error=1 " + os.Getenv("GORACE")}, b.env...)})
}

// up is start, and waits until it answers.
func (b *box) up() {
	b.t.Helper()
	b.start()
	b.answers()
}

// answers waits until the supervisor that was started answers.
func (b *box) answers() {
	b.t.Helper()
	b.until("it answers", func() bool { return b.ask("rules", &struct{}{}) == nil })
}

// kill ends it at once (kill -9).
func (b *box) kill() {
	b.p.Kill()
	<-b.p.Ended()
}

// end has it end as systemd does.
func (b *box) end() {
	b.t.Helper()
	b.p.Term()
	if code := b.p.Wait(b.t, soon); code != 0 {
		b.t.Errorf("it ended with %d", code)
	}
}

// ask puts a question to the supervisor.
func (b *box) ask(what string, to any) error {
	c, err := api.Dial(b.file("data"))
	if err != nil {
		return err
	}
	return c.Do(b.t.Context(), api.Request{Method: "GET", Path: "/api/v1/jobs/supervise/supervise/" + what, Result: to})
}

func (b *box) until(what string, done func() bool) {
	b.t.Helper()
	testenv.Until(b.t, soon, what, done)
}

// actions are all that are known, the newest first; nil while it does not answer.
func (b *box) actions(query ...string) (all []desk.Action) {
	q := url.Values{"max": {"1000"}}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	for {
		var page desk.Actions
		if b.ask("actions?"+q.Encode(), &page) != nil {
			return nil
		}
		all = append(all, page.Actions...)
		if page.Next.IsZero() {
			return all
		}
		q.Set("before", page.Next.Format(time.RFC3339Nano))
	}
}

// rule is what became of a rule.
func (b *box) rule(name string) app.RuleStatus {
	b.t.Helper()
	var all struct {
		Rules []app.RuleStatus `json:"rules"`
	}
	if err := b.ask("rules", &all); err != nil {
		b.t.Fatal(err)
	}
	for _, r := range all.Rules {
		if r.Name == name {
			return r
		}
	}
	b.t.Fatalf("there is no rule %s", name)
	return app.RuleStatus{}
}

// events are those of a kind.
func (b *box) events(kind string) (texts []string) {
	b.t.Helper()
	c, err := api.Dial(b.file("data"))
	if err != nil {
		b.t.Fatal(err)
	}
	item := func(b json.RawMessage) error {
		var e engine.Event
		err := json.Unmarshal(b, &e)
		if e.Kind == kind {
			texts = append(texts, e.Text)
		}
		return err
	}
	if err := c.Do(b.t.Context(), api.Request{Method: "GET", Path: "/api/v1/events?max=10000", Item: item}); err != nil {
		b.t.Fatal(err)
	}
	return texts
}

func (b *box) String() string {
	var all []string
	for _, a := range b.actions() {
		all = append(all, fmt.Sprintf("%d %s of %s: %s (%s)", a.Number, a.State, a.Call.Rule, a.Call.Words(), a.Note))
	}
	return strings.Join(all, "\n")
}
