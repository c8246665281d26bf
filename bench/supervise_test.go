package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/app"
	"holdfast/connector"
	"holdfast/job/supervise/decide"
	"holdfast/job/supervise/match"
	"holdfast/tests/testenv"
)

// supervised runs the binary with a rule file until the test ends, and returns its process.
func supervised(t *testing.T, rules string) *os.Process {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := fmt.Sprintf("data_dir: %s/data\njobs:\n  watch:\n    supervise: {rules: %s}\n", dir, put("rules.yaml", rules))
	cmd := exec.Command(testenv.PlainBinary(t), "run", "-c", put("holdfast.yaml", config))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
		if b, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%.3000s", b)
		}
	})
	return cmd.Process
}

// told is what actions write: the time that stood in their line, each as soon as it runs.
type told struct {
	t    *testing.T
	fifo string
	in   *bufio.Scanner
}

func newTold(t *testing.T) *told {
	t.Helper()
	w := &told{t: t, fifo: filepath.Join(t.TempDir(), "fifo")}
	if err := syscall.Mkfifo(w.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(w.fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w.in = bufio.NewScanner(f)
	return w
}

// program is what an action runs: dash, and its echo.
func (w *told) program() string {
	path := filepath.Join(w.t.TempDir(), "act")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho \"$1\" >"+w.fifo+"\n"), 0o700); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// next is how long after its line the next action ran.
func (w *told) next() time.Duration {
	w.t.Helper()
	if !w.in.Scan() {
		w.t.Fatalf("no action: %v", w.in.Err())
	}
	now := time.Now()
	micro, err := strconv.ParseInt(strings.TrimSpace(w.in.Text()), 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return now.Sub(time.UnixMicro(micro))
}

const actions = 300

// report reports the median and the 99th percentile of some times.
func report(t *testing.T, what string, all []time.Duration) {
	slices.Sort(all)
	t.Logf("%s: median %v, p90 %v, p99 %v, longest %v (%d)", what, all[len(all)/2].Round(10*time.Microsecond),
		all[len(all)*9/10].Round(10*time.Microsecond), all[len(all)*99/100].Round(10*time.Microsecond), all[len(all)-1].Round(10*time.Microsecond), len(all))
}

// TestSuperviseLatency is how long it takes from a line in the journal of a real systemd, and in a file, until the program of the action
// runs, and has said so: durable decision, fork and the start of a shell included.
func TestSuperviseLatency(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		w, log := newTold(t), filepath.Join(t.TempDir(), "app.log")
		f, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		supervised(t, fmt.Sprintf("limit: {max: 100000, within: 1h}\nrules:\n  - {name: act, from: {file: {path: %s}}, match: 'tick (?P<at>[0-9]+)', "+
			"captures: {at: int}, do: {run: [%s, '{{at}}']}}\n", log, w.program()))
		time.Sleep(2 * time.Second)
		var all []time.Duration
		for range actions {
			if _, err := fmt.Fprintf(f, "tick %d\n", time.Now().UnixMicro()); err != nil {
				t.Fatal(err)
			}
			all = append(all, w.next())
			time.Sleep(20 * time.Millisecond)
		}
		report(t, "from a line in a file to its action", all)
	})
	t.Run("journal", func(t *testing.T) {
		w := newTold(t)
		s := testenv.Systemd(t, map[string]string{"tick.service": "[Service]\nExecStart=/bin/bash -c 'for ((i = 0; i < " + strconv.Itoa(actions) +
			"; i++)); do echo tick $${EPOCHREALTIME/./}; sleep 0.1; done'\n"})
		supervised(t, fmt.Sprintf("limit: {max: 100000, within: 1h}\nrules:\n  - {name: act, from: {journal: {unit: tick.service, directory: %s}}, "+
			"match: '^tick (?P<at>[0-9]+)$', captures: {at: int}, do: {run: [%s, '{{at}}']}}\n", s.Journal(), w.program()))
		time.Sleep(2 * time.Second)
		s.Run("systemctl", "start", "tick.service")
		var all []time.Duration
		for range actions {
			all = append(all, w.next())
		}
		report(t, "from a line in the journal to its action", all)
	})
}

// hundred are 100 patterns as rules for the real logs have them, and of how many of the lines one of them is in: some are about what
// often comes, or none is; most share their texts.
func hundred(often bool) []string {
	var all []string
	if often {
		all = []string{`Failed password for (invalid user )?([a-z]+) from ([0-9.]+) port ([0-9]+)`, `Invalid user ([^ ]+) from ([0-9.]+)`,
			`reverse mapping checking getaddrinfo for ([^ ]+) \[([0-9.]+)\] failed`, `Received disconnect from ([0-9.]+): 11: Bye Bye`,
			`Connection closed by ([0-9.]+) \[preauth\]`, `authentication failure; .* rhost=([^ ]+)`, `Out of Memory: Killed process ([0-9]+)`,
			`Did not receive identification string from ([0-9.]+)`, `ftpd\[[0-9]+\]: connection from ([0-9.]+)`,
			`session (opened|closed) for user (root|cyrus|news)`}
	}
	for i := len(all); i < 10; i++ {
		all = append(all, fmt.Sprintf(`(lightningd|electrs)\[[0-9]+\]: peer ([0-9a-f]+) of channel %d (failed|timed out)`, i))
	}
	for _, unit := range []string{"bitcoind", "lightningd", "electrs", "bbbmiddleware", "nginx", "redis", "postgres", "grafana", "prometheus"} {
		for _, cause := range []string{`%s.*connection refused`, `%s: segfault at`, `%s\[[0-9]+\]: (panic|fatal error): (.*)`, `%s.*no reply from daemon`,
			`%s.*Too many open files`, `%s.*disk (full|quota exceeded)`, `%s.service: Main process exited, code=(dumped|killed)`,
			`%s.service: Start request repeated too quickly`, `%s.*certificate (has expired|is not yet valid)`, `%s.*finished full compaction`} {
			all = append(all, fmt.Sprintf(cause, unit))
		}
	}
	return all
}

// realLogs are the real logs of the tests' data, so many times, in a file.
func realLogs(t *testing.T, times int) (path string, lines [][]byte) {
	t.Helper()
	var text []byte
	for _, name := range []string{"OpenSSH_2k.log", "Linux_2k.log"} {
		b, err := os.ReadFile("../../shared/data/logs/" + name)
		if err != nil {
			t.Fatalf("the logs that this measures with are not there: %v", err)
		}
		text = append(append(text, bytes.TrimSpace(bytes.ReplaceAll(b, []byte("\r"), nil))...), '\n')
	}
	text = bytes.Repeat(text, times)
	path = filepath.Join(t.TempDir(), "real.log")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
}

// used is the time of processors that this process, or those that it waited for, has used.
func used(t *testing.T, who int) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(who, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// rate is how many lines a second of a processor do takes. Of what it does not only for lines, such as its start, the difference between two files is
// free.
func rate(t *testing.T, who, times int, do func(path string, lines [][]byte)) float64 {
	t.Helper()
	var took [2]time.Duration
	var n [2]int
	for i := range took {
		path, lines := realLogs(t, times*(1+i))
		n[i] = len(lines)
		begun := used(t, who)
		do(path, lines)
		took[i] = used(t, who) - begun
	}
	return float64(n[1]-n[0]) / (took[1] - took[0]).Seconds()
}

// TestSuperviseLines is how many lines of real logs a second go through 100 rules on one core: matched, matched and decided (whole: as
// `supervise replay` does it, from the file on), by grep -E with all patterns joined, by fail2ban and by SEC. It counts the time of processors, by turns in one
// run.
func TestSuperviseLines(t *testing.T) {
	for name, program := range map[string]string{"fail2ban": "/usr/bin/fail2ban-regex", "sec": "/usr/bin/sec"} {
		if _, err := os.Stat(program); err != nil {
			t.Fatalf("the peer is not there (apt-get install %s): %v", name, err)
		}
	}
	for _, often := range []bool{false, true} {
		t.Run(map[bool]string{false: "few lines match", true: "most lines match"}[often], func(t *testing.T) {
			p := newPatterns(t, often)
			for _, c := range []struct {
				name  string
				who   int
				times int // of the logs
				do    func(string, [][]byte)
			}{
				{"match alone", unix.RUSAGE_SELF, 100, p.match},
				{"match and decide", unix.RUSAGE_SELF, 100, p.step},
				{"whole, from a file", unix.RUSAGE_SELF, 50, p.try},
				{"grep -E", unix.RUSAGE_CHILDREN, 20, p.grep},
				{"fail2ban", unix.RUSAGE_CHILDREN, 1, p.fail2ban},
				{"SEC", unix.RUSAGE_CHILDREN, 5, p.sec},
			} {
				t.Logf("%-20s %9.0f lines/s", c.name, rate(t, c.who, c.times, c.do))
			}
		})
	}
}

// patterns are 100 patterns in the form that each of those takes that are measured.
type patterns struct {
	t     *testing.T
	all   []string
	dir   string
	rules string
}

func newPatterns(t *testing.T, often bool) *patterns {
	p := &patterns{t: t, all: hundred(often), dir: t.TempDir()}
	var rules, filter, sec strings.Builder
	rules.WriteString("rules:\n")
	filter.WriteString("[Definition]\nfailregex = ")
	for i, re := range p.all {
		fmt.Fprintf(&rules, "  - {name: r%d, from: {file: {path: /var/log/app.log}}, match: '%s', when: {count: 5, within: 1m}, cooldown: 30s, do: {notify: ops}}\n", i, re)
		fmt.Fprintf(&filter, "  <F-ID>%s</F-ID>\n", strings.ReplaceAll(re, "%", "%%"))
		fmt.Fprintf(&sec, "type=SingleWithThreshold\ncontinue=TakeNext\nptype=RegExp\npattern=%s\ndesc=r%d\naction=none\nwindow=60\nthresh=5\n\n", re, i)
	}
	p.rules = p.put("rules.yaml", rules.String())
	p.put("filter.conf", filter.String())
	p.put("sec.conf", sec.String())
	return p
}

func (p *patterns) put(name, text string) string {
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *patterns) match(_ string, lines [][]byte) {
	var all []*regexp.Regexp
	for _, re := range p.all {
		all = append(all, regexp.MustCompile(re))
	}
	m := match.New(all).Matcher()
	for _, l := range lines {
		m.Line(l)
	}
}

func (p *patterns) step(_ string, lines [][]byte) {
	set, err := app.LoadRules(p.rules)
	if err != nil {
		p.t.Fatal(err)
	}
	m, now := decide.New(set), time.Now()
	e := connector.Event{Kind: connector.EventLine, ID: "x", Fields: map[string]string{}}
	for i, l := range lines {
		now = now.Add(time.Millisecond)
		e.Line, e.Time = l, now
		m.Step(set.Sources[0].ID, &e, now)
		if i%10_000 == 0 { // as one commit for some thousand lines
			for range m.Changes() {
			}
		}
	}
}

func (p *patterns) try(path string, _ [][]byte) {
	set, err := app.LoadRules(p.rules)
	if err == nil {
		_, err = app.Try(p.t.Context(), set, app.Past{File: path}, func(app.Would) error { return nil })
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// run runs a peer, of which an exit code may say that it found nothing.
func (p *patterns) run(name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != 1 {
		p.t.Fatalf("%s: %v: %.2000s", name, err, out)
	}
	return string(out)
}

func (p *patterns) grep(path string, _ [][]byte) {
	p.run("grep", "-E", "-c", strings.Join(p.all, "|"), path)
}

func (p *patterns) fail2ban(path string, _ [][]byte) {
	out := p.run("fail2ban-regex", "--print-no-missed", "--print-no-ignored", path, filepath.Join(p.dir, "filter.conf"))
	if !strings.Contains(out, "Lines: ") {
		p.t.Fatalf("fail2ban: %.2000s", out)
	}
}

func (p *patterns) sec(path string, _ [][]byte) {
	p.run("sec", "--conf="+filepath.Join(p.dir, "sec.conf"), "--input="+path, "--notail", "--fromstart", "--nokeepopen", "--log="+filepath.Join(p.dir, "sec.log"))
}

// idleFor is how long nothing happens while the cost of that is measured.
const idleFor = time.Minute

// TestSuperviseIdle is what 50 units of a real systemd, 50 queries to a real Prometheus, each asked every 10 s, and a journal cost while nothing
// happens.
func TestSuperviseIdle(t *testing.T) {
	const n = 50
	units, rules := map[string]string{}, strings.Builder{}
	rules.WriteString("rules:\n")
	for i := range n {
		units[fmt.Sprintf("u%d.service", i)] = "[Service]\nExecStart=/bin/sleep infinity\n"
	}
	s, server := testenv.Systemd(t, units), testenv.Prometheus(t)
	start := []string{"systemctl", "start"}
	for i := range n {
		start = append(start, fmt.Sprintf("u%d.service", i))
		fmt.Fprintf(&rules, "  - {name: unit%d, from: {unit: {unit: u%d.service, bus: %s}}, when: {state: [failed, inactive], for: 1m}, do: {set: a%d, value: down}}\n",
			i, i, s.Bus(), i)
		fmt.Fprintf(&rules, "  - {name: value%d, from: {prometheus: {url: %q, query: prometheus_build_info + %d}, every: 10s}, when: {above: 1000}, "+
			"do: {set: b%d, value: high}}\n", i, server.URL(), i, i)
	}
	fmt.Fprintf(&rules, "  - {name: journal, from: {journal: {directory: %s}}, match: never, do: {set: c, value: seen}}\n", s.Journal())
	s.Run(start...)
	p := supervised(t, rules.String())
	time.Sleep(20 * time.Second)
	begun, before := time.Now(), processTime(t, p.Pid)
	time.Sleep(idleFor)
	took := processTime(t, p.Pid) - before
	t.Logf("%d units, %d queries every 10 s and a journal: %.2f %% of a core, %s", n, n, 100*took.Seconds()/time.Since(begun).Seconds(), memoryOf(t, p.Pid))
}

// processTime is the time of processors that a process has used.
func processTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that ended
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

// memoryOf is what a process has in memory, and at most had.
func memoryOf(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "VmHWM:") || strings.HasPrefix(line, "RssAnon:") {
			all = append(all, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(all, ", ")
}
