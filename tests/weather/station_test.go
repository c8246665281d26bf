package weather

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/app/desk"
	"holdfast/face/api"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/tests/testenv"
)

// The roles of a station, in the order in which their work ends.
const (
	streamer  = "streamer"
	ingester  = "ingester"
	processor = "processor"
	server    = "api"
)

// secret is the password of both servers.
const secret = "geheim123"

// station is a data set, the servers, and the roles between them.
type station struct {
	t      *testing.T
	dir    string
	input  string // the data set
	redis  *testenv.RedisServer
	influx *testenv.InfluxServer
	roles  map[string]*role
	secret string // password of both servers
}

// role is one process of a station, and how it reaches the servers.
type role struct {
	s        *station
	name     string
	data     string   // its data directory
	args     []string // behind `holdfast weather NAME`
	binary   string
	broker   *relay // nil for a role that knows no broker
	database *relay // likewise
	api      string // host:port of the reports, of the role api
	p        *testenv.Process
	former   []string // what earlier processes of it wrote
}

// newStation makes a data set and starts the servers. Nothing of the product runs yet.
func newStation(t *testing.T, s shape) *station {
	t.Helper()
	st := bare(t)
	s.write(t, st.input)
	st.redis, st.influx = testenv.Redis(t), testenv.Influx(t, "")
	st.four("redis://", st.redis.Addr(), st.influx.Addr())
	return st
}

// bare is a station without servers, roles and data set.
func bare(t *testing.T) *station {
	t.Helper()
	st := &station{t: t, dir: t.TempDir(), roles: map[string]*role{}, secret: secret}
	st.input = st.path("day.csv")
	for _, d := range []string{"home", "tmp"} {
		if err := os.Mkdir(st.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(st.keep)
	return st
}

func (s *station) path(name string) string { return filepath.Join(s.dir, name) }

// four makes the roles, each with relays of its own in front of the servers.
func (s *station) four(scheme, broker, influx string) {
	s.t.Helper()
	for _, name := range []string{streamer, ingester, processor, server} {
		r := s.role(name)
		if name != server {
			r.broker = newRelay(s.t, testenv.Address(s.t), broker)
			r.args = append(r.args, "--once", "--broker", scheme+r.broker.addr)
		}
		if name != streamer {
			r.database = newRelay(s.t, testenv.Address(s.t), influx)
			r.args = append(r.args, "--database", "http://"+r.database.addr+"/"+database, "--database-user", "admin")
		}
	}
}

// role makes a role that has no servers yet.
func (s *station) role(name string) *role {
	s.t.Helper()
	r := &role{s: s, name: name, data: s.path("data-" + name), binary: testenv.Binary(s.t)}
	switch name {
	case streamer:
		r.args = []string{"--input", s.input}
	case server:
		r.api = testenv.Address(s.t)
		r.args = []string{"--api-listen", r.api, "--ingester-dir", s.path("data-" + ingester)}
	}
	s.roles[name] = r
	return r
}

// with adds flags to a role.
func (s *station) with(name string, flags ...string) {
	s.roles[name].args = append(s.roles[name].args, flags...)
}

func (s *station) env() []string {
	return []string{"HOME=" + s.path("home"), "TMPDIR=" + s.path("tmp"), "XDG_STATE_HOME=", "HOLDFAST_DATA_DIR=",
		"HOLDFAST_BROKER_PASSWORD=" + s.secret, "HOLDFAST_DATABASE_PASSWORD=" + s.secret, "NOTIFY_SOCKET=", "INVOCATION_ID=",
		"TZ=UTC", "GORACE=halt_on_error=1 " + os.Getenv("GORACE")}
}

// start starts all roles, the streamer when the others listen.
func (s *station) start() {
	s.t.Helper()
	for _, name := range []string{server, processor, ingester} {
		s.roles[name].start()
	}
	s.awaitListeners(2 + 3) // of processor and ingester
	s.roles[streamer].start()
}

func (r *role) start() {
	r.s.t.Helper()
	for _, way := range []*relay{r.broker, r.database} {
		if way != nil {
			way.through()
		}
	}
	r.again()
}

// again starts the process and leaves its relays as they are.
func (r *role) again() {
	r.s.t.Helper()
	if r.p != nil {
		r.former = append(r.former, r.p.Output())
	}
	r.p = testenv.Start(r.s.t, testenv.Command{Path: r.binary, Dir: r.s.dir, Env: r.s.env(),
		Args: append([]string{"weather", r.name, "--data-dir", r.data}, r.args...)})
}

// done waits until roles have ended by themselves, and well.
func (s *station) done(names ...string) {
	s.t.Helper()
	if len(names) == 0 {
		names = []string{streamer, ingester, processor}
	}
	for _, name := range names {
		if code := s.roles[name].p.Wait(s.t, soon); code != 0 {
			s.t.Errorf("the %s ended with %d, want 0:\n%s", name, code, s.roles[name].p.Output())
		}
	}
}

// end ends a role that has no end by itself.
func (r *role) end() {
	r.s.t.Helper()
	r.endsWith(0)
}

// interrupt ends a role that was to come to an end by itself, and has not.
func (r *role) interrupt() {
	r.s.t.Helper()
	r.endsWith(3)
}

func (r *role) endsWith(want int) {
	r.s.t.Helper()
	r.p.Term()
	if code := r.p.Wait(r.s.t, soon); code != want {
		r.s.t.Errorf("the %s ended with %d after SIGTERM, want %d:\n%s", r.name, code, want, r.p.Output())
	}
}

// ask puts a question to the running role; it fails while that does not answer.
func (r *role) ask(path string, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := api.Dial(r.data)
	if err != nil {
		return err
	}
	return c.Do(ctx, api.Request{Method: http.MethodGet, Path: path, Result: answer})
}

// status is what `holdfast status --json` says of the one job; ok is false while nobody answers.
func (r *role) status() (s engine.Status, ok bool) {
	var rep desk.Report
	if err := r.ask("/api/v1/jobs", &rep); err != nil || len(rep.Jobs) != 1 {
		return s, false
	}
	return rep.Jobs[0], true
}

// await waits until the running role is as done wants it.
func (r *role) await(what string, done func(engine.Status) bool) engine.Status {
	r.s.t.Helper()
	s, ok := r.awaitOrEnd(what, done)
	if !ok {
		r.s.t.Fatalf("the %s ended before %s:\n%s", r.name, what, r.p.Output())
	}
	return s
}

// awaitOrEnd is await that gives false if the role ended before.
func (r *role) awaitOrEnd(what string, done func(engine.Status) bool) (engine.Status, bool) {
	r.s.t.Helper()
	var last engine.Status
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		s, ok := r.status()
		if ok && done(s) {
			return s, true
		}
		if ok {
			last = s
		}
		if !r.p.Running() {
			return last, false
		}
		if time.Now().After(deadline) {
			b, _ := json.Marshal(last)
			r.s.t.Fatalf("%s: %s: not within %v; status: %s", r.name, what, soon, b)
		}
	}
}

// gateOf is a gate of a role.
func gateOf(s engine.Status, name string) gate.Status {
	i := slices.IndexFunc(s.Gates, func(g gate.Status) bool { return g.Name == name })
	if i < 0 {
		return gate.Status{}
	}
	return s.Gates[i]
}

// windows is what `holdfast windows --json` says of the ingester; none while it does not answer.
func (s *station) windows() []desk.Window {
	var out struct {
		Windows []desk.Window `json:"windows"`
	}
	if s.roles[ingester].ask("/api/v1/windows?limit=1000", &out) != nil {
		return nil
	}
	return out.Windows
}

// events is the history of a role.
func (r *role) events() (all []engine.Event) {
	r.s.t.Helper()
	for line := range strings.Lines(r.s.run("events", "--json", "-n", "10000", "--data-dir", r.data)) {
		var e engine.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.s.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// told reports whether an event of a kind is in the history of a role whose text has some words.
func (r *role) told(kind, words string) bool {
	r.s.t.Helper()
	return slices.ContainsFunc(r.events(), func(e engine.Event) bool {
		return e.Kind == kind && strings.Contains(e.Text, words)
	})
}

// answer is what a command said.
type answer struct {
	code     int
	out, err string
}

// command runs a command of holdfast to its end.
func (s *station) command(args ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Binary(s.t), args...)
	cmd.Env, cmd.Dir = append(os.Environ(), s.env()...), s.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		s.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return answer{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// run is command for one that must end with 0.
func (s *station) run(args ...string) string {
	s.t.Helper()
	a := s.command(args...)
	if a.code != 0 {
		s.t.Fatalf("holdfast %s ended with %d:\n%s%s", strings.Join(args, " "), a.code, a.out, a.err)
	}
	return a.out
}

// balanced fails the test unless the books of a role that has ended add up.
func (s *station) balanced(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if a := s.command("audit", "--data-dir", s.roles[name].data); a.code != 0 {
			s.t.Errorf("audit of the %s ended with %d:\n%s%s", name, a.code, a.out, a.err)
		}
	}
}

// expected is what must become of the data set.
func (s *station) expected() *expected {
	s.t.Helper()
	text, err := os.ReadFile(s.input)
	if err != nil {
		s.t.Fatal(err)
	}
	return expect(s.t, string(text))
}

// checkInflux compares the database with the data set, and the books with both.
func (s *station) checkInflux() {
	s.t.Helper()
	s.expected().check(s.t, influxTables(s.influx))
	s.balanced(streamer, ingester, processor)
}

// keep saves what the roles said if the test failed, where it stays.
func (s *station) keep() {
	if !s.t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "holdfast-weather-failed-")
	if err != nil {
		s.t.Logf("keep the logs: %v", err)
		return
	}
	for name, r := range s.roles {
		if r.p == nil {
			continue
		}
		said := strings.Join(append(r.former, r.p.Output()), "--- started again ---\n")
		err := os.WriteFile(filepath.Join(dir, name+".log"), []byte(said), 0o600)
		if err == nil {
			r.p.Kill()
			a := s.command("events", "--job", name, "--csv", "--data-dir", r.data)
			err = os.WriteFile(filepath.Join(dir, name+".csv"), []byte(a.out+a.err), 0o600)
		}
		if err != nil {
			s.t.Logf("keep what the %s said: %v", name, err)
		}
	}
	s.t.Logf("the logs and time lines of the roles are in %s", dir)
}

// get asks the API of the reports.
func (r *role) get(path string) (status int, header http.Header, body string) {
	r.s.t.Helper()
	client := http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + r.api + path)
	if err != nil {
		r.s.t.Fatalf("ask the API for %s: %v", path, err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		r.s.t.Fatalf("read the answer to %s: %v", path, err)
	}
	return res.StatusCode, res.Header, b.String()
}

// cpu is the time that a process has computed so far, of all of its threads.
func (r *role) cpu() time.Duration {
	r.s.t.Helper()
	var ts unix.Timespec
	const sched = 2 // the kernel's own count, in nanoseconds: that of /proc/PID/stat counts hundredths of a second
	if err := unix.ClockGettime(int32(^r.p.PID()<<3|sched), &ts); err != nil {
		r.s.t.Fatalf("read the time of the %s: %v", r.name, err)
	}
	return time.Duration(ts.Nano())
}

// line is a line of a role's status.
func line(s engine.Status, name string) string {
	for _, n := range s.Notes {
		if n[0] == name {
			return n[1]
		}
	}
	return ""
}

// number is the number in front of words of a line: 3 of "5 cut, 3 sent" for "sent".
func number(text, words string) (n int) {
	for part := range strings.SplitSeq(text, ", ") {
		if strings.HasSuffix(part, words) {
			_, _ = fmt.Sscan(part, &n)
		}
	}
	return n
}
