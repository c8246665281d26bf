// Package crawl runs `holdfast crawl` as a whole, on sites that this machine serves.
package crawl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/face/api"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
	"holdfast/tests/testenv/site"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(testenv.ProcessLeaks(), testenv.ProxyLeaks()...)...)
}

// soon is how long anything may take here.
const soon = 2 * time.Minute

// job is the name of the crawl.
const job = "docs"

// rig is a crawl of some sites of documents.
type rig struct {
	t      testing.TB
	dir    string // of its data
	sites  []*site.Site
	args   []string // behind `holdfast crawl`
	binary string   // "" for that of the tests
	p      *testenv.Process
	said   []string // by former processes
}

// newRig is a crawl of PostgreSQL's documents and Debian's handbook, as fast as it can.
func newRig(t testing.TB) *rig {
	t.Helper()
	return rigOf(t, site.Postgres(t), site.Handbook(t))
}

// pairRig is one of two sites that a tenth of the time is enough for, where the tests need not be complete.
func pairRig(t testing.TB) *rig {
	t.Helper()
	if testenv.Torture() {
		return newRig(t)
	}
	return rigOf(t, filepath.Join(site.Handbook(t), "en-US"), filepath.Join(site.Handbook(t), "de-DE"))
}

// smallRig is one of the first of those two.
func smallRig(t testing.TB) *rig {
	t.Helper()
	if testenv.Torture() {
		return rigOf(t, site.Postgres(t))
	}
	return rigOf(t, filepath.Join(site.Handbook(t), "en-US"))
}

// rigOf is a crawl of some directories, each of them a site.
func rigOf(t testing.TB, dirs ...string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	for _, dir := range dirs {
		r.sites = append(r.sites, site.Docs(t, dir, site.Options{}))
	}
	r.args = []string{"--min-delay", "0s", "--delay-factor", "0", "--per-host", "4"}
	t.Cleanup(func() {
		if t.Failed() && r.p != nil {
			t.Logf("it said:\n%s", strings.Join(append(r.said, r.p.Output()), "--- started again ---\n"))
		}
	})
	return r
}

// plain has the crawl run by the binary as it is shipped: with the race detector it takes ten times as much of the processors, and
// other tests here have that.
func (r *rig) plain() *rig {
	r.t.Helper()
	r.binary = testenv.PlainBinary(r.t)
	return r
}

// slowly has the sites take so long for each answer.
func (r *rig) slowly(each time.Duration) {
	for _, s := range r.sites {
		s.Latency(each)
	}
}

// seeds are the front pages.
func (r *rig) seeds() (all []string) {
	for _, s := range r.sites {
		all = append(all, s.URL)
	}
	return all
}

func (r *rig) command(args ...string) testenv.Command {
	path := r.binary
	if path == "" {
		path = testenv.Binary(r.t)
	}
	return testenv.Command{Path: path, Args: append(args, "--data-dir", r.dir),
		Env: []string{"HOLDFAST_DATA_DIR=", "NOTIFY_SOCKET=", "INVOCATION_ID=", "TZ=UTC", "GORACE=halt_on_error=1 " + os.Getenv("GORACE")}}
}

// start starts the crawl, or lets it go on.
func (r *rig) start(more ...string) {
	r.t.Helper()
	if r.p != nil {
		r.said = append(r.said, r.p.Output())
	}
	args := append([]string{"crawl", "--job", job, "--contact", "test@example.org"}, r.args...)
	r.p = testenv.Start(r.t, r.command(append(append(args, more...), r.seeds()...)...))
}

// ends waits until the crawl ends by itself.
func (r *rig) ends() {
	r.t.Helper()
	if code := r.p.Wait(r.t, soon); code != 0 {
		r.t.Fatalf("it ended with %d:\n%s", code, r.p.Output())
	}
}

// run runs another command of Holdfast to its end, and returns what it said.
func (r *rig) run(want int, args ...string) string {
	r.t.Helper()
	p := testenv.Start(r.t, r.command(args...))
	if code := p.Wait(r.t, soon); code != want {
		r.t.Fatalf("%v ended with %d, want %d:\n%s", args, code, want, p.Output())
	}
	return p.Output()
}

// status is what the running Holdfast says of the crawl; ok is false while nobody answers.
func (r *rig) status() (s engine.Status, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := api.Dial(r.dir)
	if err != nil {
		return s, false
	}
	var rep desk.Report
	err = c.Do(ctx, api.Request{Method: http.MethodGet, Path: "/api/v1/jobs", Result: &rep})
	if err != nil || len(rep.Jobs) != 1 {
		return s, false
	}
	return rep.Jobs[0], true
}

// files are those of a directory below the data directory whose names match.
func (r *rig) files(pattern string) []string {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(r.dir, pattern))
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// archived is how often each URL is in the WARC files, read by another's reader. Every file has ended, every digest is right, and
// each revisit refers to a response that is there.
func (r *rig) archived() map[string]int {
	r.t.Helper()
	if open := r.files("warc/" + job + "/*.open"); len(open) > 0 {
		r.t.Errorf("still open: %v", open)
	}
	got, responses := map[string]int{}, map[string]bool{}
	var revisits []testenv.WARCRecord
	for _, rec := range testenv.Records(r.t, r.files("warc/"+job+"/*.warc.gz")...) {
		if wrong := rec.Wrong(); len(wrong) > 0 {
			r.t.Errorf("%s of %s: %v", rec.Type(), rec.URI(), wrong)
		}
		switch rec.Type() {
		case "response":
			responses[rec.URI()+" "+rec.Date()] = true
			got[rec.URI()]++
		case "revisit":
			revisits = append(revisits, rec)
			got[rec.URI()]++
		}
	}
	for _, rec := range revisits {
		if of := rec.Get("WARC-Refers-To-Target-URI") + " " + rec.Get("WARC-Refers-To-Date"); !responses[of] {
			r.t.Errorf("%s is a revisit of %s, which is not there", rec.URI(), of)
		}
	}
	return got
}

// logLine is the form of a line of crawl.log, as Heritrix writes it.
var logLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ([ -]*\d+) ( *(?:\d+|-)) (\S+) ([LEXRMP]+|-) (\S+) (\S+) #(\d{3,}) ` +
	`(?:\d{17}\+\d+|-) (?:sha1:[A-Z2-7]{32}|-) (\S+) (\S+)$`)

// logged is the status of each URL in all crawl.logs, which have it once.
func (r *rig) logged() map[string]int {
	r.t.Helper()
	got := map[string]int{}
	for _, name := range r.files("logs/" + job + "/crawl.log*") {
		text, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := logLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m == nil || len(m[1]) != 5 || len(m[2]) < 10 {
				r.t.Fatalf("%s: this is no line of crawl.log: %q", name, line)
			}
			if _, twice := got[m[3]]; twice {
				r.t.Errorf("crawl.log has %s twice", m[3])
			}
			if got[m[3]], err = strconv.Atoi(strings.TrimSpace(m[1])); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return got
}

// capture is a line of index.cdxj.
type capture struct {
	Time           string `json:"-"` // 20060102150405
	URL, Filename  string
	Offset, Length int64 `json:",string"`
}

// captures are the lines of index.cdxj, which are in order.
func (r *rig) captures() (all []capture) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "warc", job, "index.cdxj"))
	if err != nil {
		r.t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if line < last {
			r.t.Errorf("index.cdxj has %q behind %q", line, last)
		}
		last = line
		var c capture
		if _, err := fmt.Sscanf(line, "%s %14s", new(string), &c.Time); err != nil {
			r.t.Fatalf("this is no line of an index: %q", line)
		}
		if err := json.Unmarshal([]byte(line[strings.Index(line, "{"):]), &c); err != nil {
			r.t.Fatalf("this is no line of an index: %q: %v", line, err)
		}
		all = append(all, c)
	}
	return all
}

// indexed is how often each URL is in index.cdxj.
func (r *rig) indexed() map[string]int {
	r.t.Helper()
	got := map[string]int{}
	for _, c := range r.captures() {
		got[c.URL]++
	}
	return got
}

// counts are the counters of a crawl that has ended.
func (r *rig) counts() (c desk.CrawlCounts) {
	r.t.Helper()
	place, err := datadir.Places(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := desk.Open(place[0], nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer d.Close()
	if c, err = d.CrawlCounts(context.Background(), job); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// whole checks a crawl that has ended: all that there is was fetched, is archived and logged once, and counted.
func (r *rig) whole() {
	r.t.Helper()
	archived, logged := r.archived(), r.logged()
	asked := map[string]bool{}
	for _, s := range r.sites {
		lost := s.Reachable("/").Lost(asSet(archived))
		if len(lost) > 0 {
			r.t.Errorf("%d URLs of %s are in no WARC file: %v", len(lost), s.URL, lost[:min(5, len(lost))])
		}
		for url := range s.Counts() {
			asked[url] = true
		}
	}
	for url, n := range archived {
		if n != 1 {
			r.t.Errorf("%s is archived %d times", url, n)
		}
		if !asked[url] {
			r.t.Errorf("%s is archived, and was never asked for", url)
		}
		if logged[url] <= 0 {
			r.t.Errorf("%s is archived, and crawl.log has it with status %d", url, logged[url])
		}
	}
	if got := r.indexed(); !maps.Equal(got, archived) {
		r.t.Errorf("index.cdxj has %d URLs, the WARC files have %d", len(got), len(archived))
	}
	for url := range logged {
		if archived[url] == 0 {
			r.t.Errorf("%s is in crawl.log, and not archived", url)
		}
	}
	if c := r.counts(); c.Done != int64(len(logged)) || c.Known != c.Done || c.Failed+c.Left+c.Queued+c.Waiting != 0 {
		r.t.Errorf("%d URLs are logged, and the counters are %s", len(logged), jsonOf(c))
	}
}

func asSet(m map[string]int) map[string]bool {
	set := map[string]bool{}
	for k := range maps.Keys(m) {
		set[k] = true
	}
	return set
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(b)
}
