package crawl

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/app/desk"
	"holdfast/face/api"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// order has the running Holdfast do something, and reports whether it did.
func (r *rig) order(path string, body, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	c, err := api.Dial(r.dir)
	if err != nil {
		return err
	}
	return c.Do(ctx, api.Request{Method: http.MethodPost, Path: "/api/v1/jobs/" + job + path, Body: body, Result: result})
}

// checkpoint makes one of the running crawl; name "" is one of the regular kind.
func (r *rig) checkpoint(name string) (c desk.Checkpoint, err error) {
	err = r.order("/checkpoints", map[string]string{"name": name}, &c)
	return c, err
}

// checkpoints are those that can be used, oldest first.
func (r *rig) checkpoints() (all []checkpoint.Checkpoint) {
	r.t.Helper()
	all, err := checkpoint.List(engine.JobDir(r.dir, job), checkpoint.Work{})
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(c checkpoint.Checkpoint) bool { return c.Err != nil })
}

// reference is what a crawl of the same sites archives that is never stopped.
func (r *rig) reference() map[string]int {
	r.t.Helper()
	never := &rig{t: r.t, dir: r.t.TempDir(), sites: r.sites, args: r.args, binary: r.binary}
	never.start()
	never.ends()
	never.whole()
	return never.archived()
}

// done is how many URLs the running crawl says that it has fetched.
func (r *rig) done() (n int) {
	s, ok := r.status()
	if !ok {
		return -1
	}
	for _, note := range s.Notes {
		if note[0] == "URLs" {
			_, _ = fmt.Sscanf(note[1], "%d known: %d", new(int), &n)
		}
	}
	return n
}

// reaches waits until so many URLs are fetched.
func (r *rig) reaches(n int) {
	r.t.Helper()
	testenv.Until(r.t, soon, fmt.Sprintf("%d URLs are done", n), func() bool {
		if !r.p.Running() {
			r.t.Fatalf("it has ended:\n%s", r.p.Output())
		}
		return r.done() >= n
	})
}

// sums are the digests of files and of those in directories, by path.
func sums(t testing.TB, roots ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, root := range roots {
		err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			all[path] = fmt.Sprintf("%x", sha256.Sum256(b))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// written are the digests of the WARC files and logs that there are.
func (r *rig) written() map[string]string {
	r.t.Helper()
	return sums(r.t, append(r.files("warc/"+job+"/*.warc.gz*"), r.files("logs/"+job+"/*.log*")...)...)
}

// untouched fails for files of a time line that was left which are not there any more as they were. A log may have another name.
func (r *rig) untouched(was map[string]string) {
	r.t.Helper()
	now := r.written()
	for path, sum := range was {
		if now[path] == sum {
			continue
		}
		if !strings.Contains(path, ".warc.gz") && (sum == sums(r.t, os.DevNull)[os.DevNull] || slices.ContainsFunc(
			slices.Collect(maps.Keys(now)), func(p string) bool { return strings.HasPrefix(p, path+".before-") && now[p] == sum })) {
			continue
		}
		r.t.Errorf("%s is of another time line, and was touched", path)
	}
}

// timeline checks a crawl that has ended, and went back to checkpoints before: index.cdxj has what its time line archived, which is
// want, each URL once; of files that were there before, it may be a part, from the beginning on.
func (r *rig) timeline(want map[string]int, before map[string]string) {
	r.t.Helper()
	known := map[string]map[int64]capture{} // by file and offset
	got := map[string]int{}
	for _, c := range r.captures() {
		path := filepath.Join(r.dir, "warc", job, c.Filename)
		if _, err := os.Stat(path); err != nil {
			path += ".open"
		}
		if known[path] == nil {
			known[path] = map[int64]capture{}
		}
		known[path][c.Offset] = c
		got[c.URL]++
	}
	if !maps.Equal(got, want) {
		r.t.Errorf("%s", differ(got, want))
	}
	for _, path := range r.files("warc/" + job + "/*.warc.gz*") {
		if _, old := before[path]; !old && known[path] == nil {
			r.t.Errorf("index.cdxj has nothing of %s", path)
		}
	}
	for path, captures := range known {
		_, old := before[path]
		r.prefix(path, captures, !old)
	}
	r.serials()
	r.lines(known)
	if c := r.counts(); c.Done != int64(len(want)) || c.Known != c.Done || c.Failed+c.Left+c.Queued+c.Waiting != 0 {
		r.t.Errorf("%d URLs are archived, and the counters are %s", len(want), jsonOf(c))
	}
}

// differ says in what two crawls differ.
func differ(got, want map[string]int) string {
	var lost, twice, more []string
	for url := range want {
		if got[url] == 0 {
			lost = append(lost, url)
		}
	}
	for url, n := range got {
		if n > 1 {
			twice = append(twice, url)
		}
		if want[url] == 0 {
			more = append(more, url)
		}
	}
	some := func(all []string) []string { return all[:min(5, len(all))] }
	return fmt.Sprintf("%d URLs are lost %v, %d are there more than once %v, %d should not be there %v", len(lost), some(lost),
		len(twice), some(twice), len(more), some(more))
}

// prefix checks that captures are the first ones of a WARC file, and all of it if that is asked for.
func (r *rig) prefix(path string, captures map[int64]capture, all bool) {
	r.t.Helper()
	read, end := path, int64(0)
	for _, c := range captures {
		end = max(end, c.Offset+c.Length)
	}
	if !all { // behind that may be anything: its crawl was killed
		b, err := os.ReadFile(path)
		if err != nil || int64(len(b)) < end {
			r.t.Fatalf("%s has %d bytes, and the index speaks of %d (%v)", path, len(b), end, err)
		}
		read = filepath.Join(r.t.TempDir(), "first.warc.gz")
		if err := os.WriteFile(read, b[:end], 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	n := 0
	for _, rec := range testenv.Records(r.t, read) {
		if rec.Type() != "response" && rec.Type() != "revisit" {
			continue
		}
		if c, ok := captures[rec.Offset]; !ok || c.URL != rec.URI() || len(rec.Wrong()) > 0 {
			r.t.Errorf("%s has %s at %d, and the index has %+v there: %v", path, rec.URI(), rec.Offset, c, rec.Wrong())
		}
		n++
	}
	if n != len(captures) {
		r.t.Errorf("%s has %d captures there, and the index %d", path, n, len(captures))
	}
}

// serials fails for a serial number that two files have.
func (r *rig) serials() {
	r.t.Helper()
	has := map[string]string{}
	for _, path := range r.files("warc/" + job + "/*.warc.gz*") {
		parts := strings.Split(filepath.Base(path), "-")
		serial := parts[len(parts)-2]
		if other, twice := has[serial]; twice {
			r.t.Errorf("%s and %s have the same serial number", other, path)
		}
		has[serial] = path
	}
}

// lines fails for captures that have no line in what there is of crawl.log.
func (r *rig) lines(known map[string]map[int64]capture) {
	r.t.Helper()
	has := map[string]bool{}
	for _, name := range r.files("logs/" + job + "/crawl.log*") {
		text, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := logLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m == nil {
				if strings.HasSuffix(line, "\n") {
					r.t.Errorf("%s: this is no line of crawl.log: %q", name, line)
				}
				continue // that of a crawl that was killed and never came back
			}
			if begun := strings.Fields(line)[8]; len(begun) > 14 {
				has[m[3]+" "+begun[:14]] = true
			}
		}
	}
	for _, captures := range known {
		for _, c := range captures {
			if !has[c.URL+" "+c.Time] {
				r.t.Errorf("%s of %s is archived, and not in crawl.log", c.URL, c.Time)
			}
		}
	}
}

// restored is a crawl that goes back to checkpoints.
type restored struct {
	*rig
	rnd  *rand.Rand
	left map[string]string // files of time lines that were left

	undecided bool              // whether it went back is not known yet
	was       map[string]string // files before that
	lineage   string            // before that
}

// life lets the crawl live for a while, has it make some checkpoints, and kills it: while it starts, while it makes one, or whenever
// that is. It reports whether the crawl has ended before.
func (r *restored) life(from ...string) (over bool) {
	r.t.Helper()
	r.starts(from...)
	if r.rnd.IntN(3) > 0 {
		for range r.rnd.IntN(3) {
			testenv.Until(r.t, soon, "a checkpoint", func() bool {
				_, err := r.checkpoint("")
				return err == nil || !r.p.Running()
			})
		}
	}
	making := make(chan struct{})
	go func() {
		defer close(making)
		if r.p.Running() {
			_, _ = r.checkpoint("") // it is killed in it, perhaps
		}
	}()
	select {
	case <-time.After(time.Duration(r.rnd.Float64() * r.rnd.Float64() * float64(time.Second))):
	case <-r.p.Ended():
		over = true
		r.ends() // well
	}
	r.p.Kill()
	<-making
	r.decide()
	return over
}

// starts starts it, and notes what there is if it goes back.
func (r *restored) starts(from ...string) {
	r.t.Helper()
	if len(from) > 0 {
		r.was, r.lineage, r.undecided = r.written(), r.lineageNow(), true
	}
	r.start(from...)
}

// decide finds out whether the crawl went back, and checks what it left. A restore that a kill interrupted is undone or finished by
// the next start.
func (r *restored) decide() {
	r.t.Helper()
	if _, err := os.Stat(filepath.Join(engine.JobDir(r.dir, job), ".restore")); r.undecided && err != nil {
		if r.lineageNow() != r.lineage {
			r.t.Logf("it went back, with %d checkpoints and %d files", len(r.checkpoints()), len(r.was))
			maps.Copy(r.left, r.was)
		}
		r.undecided = false
	}
	r.untouched(r.left)
}

// lineageNow is the life of the store, "" if there is none yet.
func (r *restored) lineageNow() string {
	r.t.Helper()
	dir := engine.JobDir(r.dir, job)
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	st, err := store.Open(dir, storetest.Options(r.t, nil))
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	return st.Lineage().String()
}

// from chooses a checkpoint, and how it is called.
func (r *restored) from() []string {
	all := r.checkpoints()
	if len(all) == 0 || r.undecided {
		return nil
	}
	c := all[r.rnd.IntN(len(all))]
	switch r.rnd.IntN(5) {
	case 0:
		return []string{"--from", "latest"}
	case 1:
		return []string{"--from", c.Path}
	case 2:
		return []string{"--from", r.copied(c.Path)}
	}
	return []string{"--from", c.Name}
}

// copied copies a checkpoint to another place, where nothing may change.
func (r *restored) copied(path string) string {
	r.t.Helper()
	to := filepath.Join(r.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		r.t.Fatal(err)
	}
	was := sums(r.t, to)
	r.t.Cleanup(func() {
		if now := sums(r.t, to); !maps.Equal(now, was) {
			r.t.Errorf("%s was written to", to)
		}
	})
	return to
}

// TestRestores kills crawls, makes checkpoints of them, and takes them back to any of those: what each has in the end is what one has
// that was never stopped, and what other time lines wrote is as it was.
func TestRestores(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 2))
	first := smallRig(t)
	want := first.reference()
	first.slowly(10 * time.Millisecond) // so that there is time for checkpoints
	for range testenv.Count(t, 10) {
		r := &restored{rig: &rig{t: t, dir: t.TempDir(), sites: first.sites, args: first.args}, rnd: rnd, left: map[string]string{}}
		for range 8 {
			var from []string
			if rnd.IntN(2) == 0 {
				from = r.from()
			}
			r.life(from...)
		}
		r.starts(r.from()...)
		r.ends()
		r.decide()
		if r.undecided {
			t.Error("a restore has no end")
		}
		r.timeline(want, r.left)
		if t.Failed() {
			t.Fatalf("it said:\n%s", strings.Join(append(r.said, r.p.Output()), "--- started again ---\n"))
		}
	}
}

// pause pauses the running crawl, and waits until it has.
func (r *rig) pause() {
	r.t.Helper()
	if err := r.order("/pause", nil, nil); err != nil {
		r.t.Fatal(err)
	}
	r.isPaused()
}

func (r *rig) isPaused() {
	r.t.Helper()
	testenv.Until(r.t, soon, "it is paused", func() bool {
		s, ok := r.status()
		return ok && s.State == engine.Paused
	})
}

// stop asks the crawl to end before it is over.
func (r *rig) stop() {
	r.t.Helper()
	r.p.Term()
	r.p.Wait(r.t, soon)
}

// TestPausedCheckpoint: a crawl that is paused, checkpointed, ended and taken back to that checkpoint is as it was. Another job begins
// from the same checkpoint, and changes nothing of the first.
func TestPausedCheckpoint(t *testing.T) {
	t.Parallel()
	r := smallRig(t).plain()
	want := r.reference()
	r.slowly(20 * time.Millisecond)
	r.start()
	r.reaches(100)
	r.pause()
	r.slowly(0)
	if _, err := r.checkpoint("here"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	was := r.counts()
	r.start("--from", "here", "--paused")
	r.isPaused()
	asked := r.asked()
	r.stop()
	if now := r.counts(); now != was {
		t.Errorf("the counters are %s, and were %s", jsonOf(now), jsonOf(was))
	}
	if now := r.asked(); now != asked {
		t.Errorf("%d requests were made while it was paused", now-asked)
	}
	r.another(want, was)
	before := r.written()
	r.start("--from", "here")
	r.ends()
	r.untouched(before)
	r.timeline(want, before)
}

// another has another job begin from the checkpoint here, which has all that was archived until then, and go on to the end.
func (r *rig) another(want map[string]int, at desk.CrawlCounts) {
	r.t.Helper()
	dirs := []string{filepath.Join(r.dir, "warc", job), filepath.Join(r.dir, "logs", job), checkpoint.Path(engine.JobDir(r.dir, job), "here")}
	before := sums(r.t, dirs...)
	here := r.archived()
	if int64(len(here)) != at.Done {
		r.t.Errorf("%d URLs were archived by then, and the counters are %s", len(here), jsonOf(at))
	}
	r.run(0, "crawl", "--job", "other", "--from", checkpoint.Path(engine.JobDir(r.dir, job), "here"))
	if now := sums(r.t, dirs...); !maps.Equal(now, before) {
		r.t.Error("another job changed files of the first")
	}
	for _, rec := range testenv.Records(r.t, r.files("warc/other/*.warc.gz")...) {
		if rec.Type() == "response" || rec.Type() == "revisit" {
			here[rec.URI()]++
		}
	}
	if !maps.Equal(here, want) {
		r.t.Error("with another job: " + differ(here, want))
	}
}

// TestDamagedCheckpoint: a checkpoint with a byte that is another is told, is not offered, and changes nothing when it is asked for.
func TestDamagedCheckpoint(t *testing.T) {
	t.Parallel()
	r := smallRig(t).plain()
	r.slowly(20 * time.Millisecond)
	r.start()
	r.reaches(50)
	whole, err := r.checkpoint("")
	if err != nil {
		t.Fatal(err)
	}
	r.reaches(150)
	bad, err := r.checkpoint("")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.slowly(0)
	r.damage(filepath.Join(engine.JobDir(r.dir, job), "checkpoints", bad.Name, "db"))
	if out := r.run(1, "checkpoint", "verify", bad.Name); !strings.Contains(out, "checksum") && !strings.Contains(out, "differ") {
		t.Errorf("verify says:\n%s", out)
	}
	if out := r.run(0, "checkpoint", "ls", job); !regexp.MustCompile(bad.Name+" .* invalid").MatchString(out) ||
		regexp.MustCompile(whole.Name+" .* invalid").MatchString(out) {
		t.Errorf("ls says, where one is damaged:\n%s", out)
	}
	was, files := r.counts(), r.written()
	r.start("--from", bad.Name)
	if code := r.p.Wait(t, soon); code != 1 || !strings.Contains(r.p.Output(), "damaged") {
		t.Errorf("a start from it ended with %d:\n%s", code, r.p.Output())
	}
	if now := r.counts(); now != was || !maps.Equal(files, r.written()) {
		t.Errorf("the counters are %s, and were %s", jsonOf(now), jsonOf(was))
	}
	r.start("--from", "latest")
	r.ends()
	if !strings.Contains(r.p.Output(), "as it was at checkpoint "+whole.Name) {
		t.Errorf("latest is not %s", whole.Name)
	}
	r.untouched(files)
}

// damage changes a byte in the middle of the largest file of a directory.
func (r *rig) damage(dir string) {
	r.t.Helper()
	largest, size := "", int64(0)
	for path := range sums(r.t, dir) {
		if info, err := os.Stat(path); err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
	}
	b, err := os.ReadFile(largest)
	if err != nil {
		r.t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Remove(largest); err != nil { // the store may have the same file
		r.t.Fatal(err)
	}
	if err := os.WriteFile(largest, b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// TestIntervals makes checkpoints by the clock while it crawls, ten of them, is killed, and goes on from the eighth.
func TestIntervals(t *testing.T) {
	t.Parallel()
	r := smallRig(t).plain()
	want := r.reference()
	r.slowly(100 * time.Millisecond)
	config := filepath.Join(t.TempDir(), "holdfast.yaml")
	text := fmt.Sprintf("data_dir: %s\ncheckpoints: {every: 200ms, keep: 50}\nlisten: none\njobs:\n  %s:\n    crawl:\n"+
		"      seeds: [%s]\n      contact: test@example.org\n      per_host: 4\n      settings: {min_delay: 0s, delay_factor: 0}\n", r.dir, job,
		strings.Join(r.seeds(), ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.p = testenv.Start(t, r.command("run", "-c", config))
	testenv.Until(t, soon, "ten checkpoints", func() bool { return !r.p.Running() || len(r.checkpoints()) >= 10 })
	r.p.Kill()
	all := r.checkpoints()
	if len(all) < 10 {
		t.Fatalf("%d checkpoints were made:\n%s", len(all), r.p.Output())
	}
	r.slowly(0)
	before := r.written()
	r.start("--from", all[7].Name)
	r.ends()
	r.untouched(before)
	r.timeline(want, before)
}
