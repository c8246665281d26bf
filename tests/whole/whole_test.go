// Package whole proves the promises of the whole product: the built binary, as a user starts it,
// between a feed and real ClickHouse and SQLite, while each of them is killed, stopped, frozen, cut
// off, filled up and lied to. Afterwards what the sinks hold is compared with what the feed had,
// row by row and column by column, and the books of `holdfast audit` with both.
//
// The feed is the simulator, in the test process. make test runs a seeded part of each campaign,
// make torture all of it.
package whole

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/app/desk"
	"holdfast/connector/wsprnet/simulator"
	"holdfast/connector/wsprnet/spot"
	"holdfast/face/api"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.ProxyLeaks()...) }

// soon bounds what takes moments on an idle machine. It is long because other tests run beside.
const soon = 2 * time.Minute

// rig is a feed, a data directory, and how holdfast is started between them.
type rig struct {
	t    *testing.T
	sim  *simulator.Simulator
	url  string // of the feed's spots
	dir  string // of everything
	data string // the data directory
	args []string
}

// trickle is a rate at which nothing comes by itself, not even the spots of a file: all but Backlog
// of them come by Publish.
const trickle = 1e-9

// newRig starts the feed. Its clock is an hour back: all its spots are old, so that one page is
// asked for right behind the other.
func newRig(t *testing.T, o simulator.Options) *rig {
	t.Helper()
	if o.Rate == 0 {
		o.Rate = -1
	}
	if o.Keep == 0 {
		o.Keep = -1
	}
	if o.Epoch.IsZero() {
		o.Epoch = time.Now().Add(-time.Hour)
	}
	sim := simulator.New(o)
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	for _, d := range []string{"home", "tmp", "cache"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &rig{t: t, sim: sim, url: srv.URL + simulator.SpotsPath, dir: dir,
		data: filepath.Join(dir, "data")}
}

// path is a name in the rig's directory.
func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) string {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return r.path(name)
}

// keys are keys of the old scraper's JSON file.
type keys map[string]any

// wsprnet makes the rig start `holdfast wsprnet` with a JSON file and further flags.
func (r *rig) wsprnet(k keys, flags ...string) {
	r.t.Helper()
	all := keys{"wsprnet_url": r.url, "max_bytes_per_second": -1, "batch_flush_seconds": 0.1,
		"request_timeout": 20}
	for name, v := range k {
		all[name] = v
	}
	b, err := json.Marshal(all)
	if err != nil {
		r.t.Fatal(err)
	}
	r.args = append([]string{"wsprnet", "--config", r.write("wsprnet.json", string(b)),
		"--cache-dir", r.path("cache")}, flags...)
}

// into are the keys of a ClickHouse behind host:port.
func into(addr string) keys {
	host, port, _ := strings.Cut(addr, ":")
	return keys{"clickhouse_host": host, "clickhouse_port": port, "clickhouse_database": "wsprnet",
		"clickhouse_table": "spots"}
}

// sinkText is a sink of a configuration file in its own words.
type sinkText string

// clickHouse is a ClickHouse sink named name. Its time-outs are short: what a test waits for is the
// time-out of a server that stands still.
func clickHouse(name, addr string, terms ...string) sinkText {
	return sinkText(fmt.Sprintf("%s: {clickhouse: {url: \"http://%s\", database: wsprnet, "+
		"table: spots, create: true, connect_timeout: 2s, timeout: 4s, grace: 200ms}, %s}", name, addr,
		batching(terms)))
}

// sqlite is an SQLite sink named name, in NAME.sqlite beside the data directory.
func (r *rig) sqlite(name string, terms ...string) sinkText {
	return sinkText(fmt.Sprintf("%s: {sqlite: {path: %s}, %s}", name, r.path(name+".sqlite"),
		batching(terms)))
}

func batching(terms []string) string {
	if len(terms) == 0 {
		return "batch: {every: 50ms}"
	}
	return strings.Join(terms, ", ")
}

// job is the name of the job of a configuration file; that of `holdfast wsprnet` is wsprnet.
const job = "spots"

// run makes the rig start `holdfast run` with these sinks.
func (r *rig) run(sinks ...sinkText) {
	r.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `
listen: none
checkpoints: {every: 0s}
jobs:
  %s:
    collect:
      source: {wsprnet: {url: "%s", every: 100ms, max_bytes_per_second: -1, request_timeout: 20s}}
      sinks:
`, job, r.url)
	for _, s := range sinks {
		fmt.Fprintf(&text, "        %s\n", s)
	}
	r.args = []string{"run", "-c", r.write("holdfast.yaml", text.String())}
}

func (r *rig) env() []string {
	return []string{"HOME=" + r.path("home"), "TMPDIR=" + r.path("tmp"), "XDG_STATE_HOME=",
		"HOLDFAST_DATA_DIR=" + r.data, "NOTIFY_SOCKET=", "INVOCATION_ID=", "TZ=UTC",
		"GORACE=halt_on_error=1 " + os.Getenv("GORACE")}
}

// start starts holdfast and returns at once.
func (r *rig) start(flags ...string) *testenv.Process {
	r.t.Helper()
	return testenv.Start(r.t, testenv.Command{Path: testenv.Binary(r.t),
		Args: append(append([]string{}, r.args...), flags...), Env: r.env(), Dir: r.dir})
}

// up starts holdfast and returns when it works.
func (r *rig) up(flags ...string) *testenv.Process {
	r.t.Helper()
	p := r.start(flags...)
	r.await(p, "it runs", func(s engine.Status) bool { return s.State == engine.Running })
	return p
}

// end ends holdfast in good order.
func (r *rig) end(p *testenv.Process) {
	r.t.Helper()
	p.Term()
	if code := p.Wait(r.t, soon); code != 0 {
		r.t.Fatalf("holdfast ended with %d after SIGTERM:\n%s", code, p.Output())
	}
}

// answer is what a command said.
type answer struct {
	code     int
	out, err string
}

// ask runs a command of holdfast to its end.
func (r *rig) ask(args ...string) answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Binary(r.t), args...)
	cmd.Env, cmd.Dir = append(os.Environ(), r.env()...), r.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		r.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return answer{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must is ask for a command that must end with 0.
func (r *rig) must(args ...string) string {
	r.t.Helper()
	a := r.ask(args...)
	if a.code != 0 {
		r.t.Fatalf("holdfast %s ended with %d:\n%s%s", strings.Join(args, " "), a.code, a.out, a.err)
	}
	return a.out
}

// status asks the running holdfast for its one job; ok is false while it does not answer.
func (r *rig) status() (s engine.Status, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := api.Dial(r.data)
	if err != nil {
		return s, false
	}
	var rep desk.Report
	err = c.Do(ctx, api.Request{Method: "GET", Path: "/api/v1/jobs", Result: &rep})
	if err != nil || len(rep.Jobs) != 1 {
		return s, false
	}
	return rep.Jobs[0], true
}

// await waits until the running job is as done wants it.
func (r *rig) await(p *testenv.Process, what string, done func(engine.Status) bool) engine.Status {
	r.t.Helper()
	var last engine.Status
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		s, ok := r.status()
		if ok && done(s) {
			return s
		}
		if ok {
			last = s
		}
		if !p.Running() {
			r.t.Fatalf("holdfast ended before %s:\n%s", what, p.Output())
		}
		if time.Now().After(deadline) {
			b, _ := json.Marshal(last)
			r.t.Fatalf("%s: not within %v; status: %s\n%s", what, soon, b, p.Output())
		}
	}
}

// sinkOf is a sink's part of the books.
func sinkOf(s engine.Status, name string) engine.SinkBooks {
	for _, k := range s.Balance.Sinks {
		if k.Sink == name {
			return k
		}
	}
	return engine.SinkBooks{}
}

// drained waits until all that the feed has is taken in, and delivered to every sink.
func (r *rig) drained(p *testenv.Process) engine.Status {
	r.t.Helper()
	good, bad := r.have()
	return r.await(p, fmt.Sprintf("%d spots and %d others were delivered", good, bad),
		func(s engine.Status) bool {
			if s.Balance.Accepted != good || s.Balance.Rejected != bad {
				return false
			}
			for _, k := range s.Balance.Sinks {
				if k.Pending > 0 {
					return false
				}
			}
			return true
		})
}

// have is how many spots the feed has, and how many that can't be rows.
func (r *rig) have() (good, bad int64) {
	newest := r.sim.Newest()
	for range r.sim.Expected(0, newest) {
		good++
	}
	for range r.sim.Faulty(0, newest) {
		bad++
	}
	return good, bad
}

// expected are the rows that every sink must hold, by id.
func (r *rig) expected() (all []spot.Spot) {
	for s := range r.sim.Expected(0, r.sim.Newest()) {
		all = append(all, s)
	}
	return all
}

// audit asks for the books, with deep for what the sinks hold; its exit code must fit its answer.
func (r *rig) audit(deep bool) (a desk.Audit) {
	r.t.Helper()
	args := []string{"audit", "--json"}
	if deep {
		args = append(args, "--deep")
	}
	if r.args[0] == "run" { // what is recorded of it holds no secrets
		args = append(args, r.args[1:]...)
	}
	got := r.ask(args...)
	if err := json.Unmarshal([]byte(got.out), &a); err != nil {
		r.t.Fatalf("holdfast audit ended with %d: %v\n%s%s", got.code, err, got.out, got.err)
	}
	if (got.code == 0) != a.Balanced {
		r.t.Errorf("holdfast audit ended with %d, and balanced is %v", got.code, a.Balanced)
	}
	return a
}

// balanced fails the test unless every law holds and every sink holds what it should, once.
func (r *rig) balanced() desk.Audit {
	r.t.Helper()
	a := r.audit(true)
	for _, c := range a.Deep {
		if c.Missing != 0 || c.Doubled != 0 || c.Foreign != 0 || c.Error != "" {
			r.t.Errorf("audit --deep: %+v", c)
		}
	}
	for _, j := range a.Jobs {
		if !j.Balanced() {
			r.t.Errorf("audit of %s: %v", j.Job, j.Broken)
		}
	}
	if !a.Balanced {
		r.t.Errorf("audit: it does not balance")
	}
	return a
}

// dice are the random choices of a campaign.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(testenv.Seed(t), 1))
}

// moment waits for a random time up to most: the moment of a kill is to be anywhere.
func moment(rnd *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(rnd.Int64N(int64(most))))
}
