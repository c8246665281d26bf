package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/job/crawl/archive"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// rig is a crawl without a web: a store, an archive and its index.
type rig struct {
	*testing.T
	dir    string // of the WARC files
	crash  *storetest.CrashFS
	before func(step, path string) error
	random *rand.Rand
	st     *store.Store
	a      *archive.Archive
	x      *Index
	pages  int
	shut   bool
}

func newRig(t *testing.T, seed uint64) *rig {
	r := &rig{T: t, dir: filepath.Join(t.TempDir(), "warc"), crash: storetest.NewCrashFS(), random: rand.New(rand.NewPCG(seed, 5))}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.Helper()
	r.shut = false
	var err error
	if r.st, err = store.Open("/store", storetest.Options(r.T, r.crash.FS())); err != nil {
		r.Fatal(err)
	}
	if r.a, _, err = archive.Open(r.st, archive.Options{Dir: r.dir, Name: "site", WARC: warc.Options{Level: 1}}); err != nil {
		r.Fatal(err)
	}
	if r.x, err = openWith(r.st, Options{Dir: r.dir, Log: slog.New(slog.DiscardHandler)}, r.before); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) close() {
	r.Helper()
	if r.shut {
		return
	}
	r.shut = true
	if err := errors.Join(r.a.Close(), r.x.Close(), r.st.Close()); err != nil {
		r.Error(err)
	}
}

// again is a start behind an end that was none.
func (r *rig) again() {
	r.Helper()
	r.close()
	r.open()
}

// restore goes back to a state of the store, as its checkpoint had it, in a new life.
func (r *rig) restore(to *storetest.CrashFS) {
	r.Helper()
	r.close()
	r.crash = to.After(100)
	var err error
	if r.st, err = store.Open("/store", storetest.Options(r.T, r.crash.FS())); err != nil {
		r.Fatal(err)
	}
	if err := errors.Join(r.st.NewLineage(), r.st.Close()); err != nil {
		r.Fatal(err)
	}
	r.open()
}

// capture is what a crawl writes of a page: an answer or a revisit, its question, and now and then a look-up.
func (r *rig) capture() []*warc.Record {
	r.pages++
	n := r.random.IntN(1000)
	url := fmt.Sprintf("https://www.Example%d.com/a b?q=é&n=%d", n%7, n)
	date := time.Date(2026, 1, 1, 0, 0, r.pages, 1000*n, time.UTC)
	block := fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: text/html; charset=x\r\n\r\n<p>%d", 200+n%3*100, n%20)
	answer := &warc.Record{Type: warc.Response, ID: warc.NewID(), Date: date, TargetURI: url}
	switch n % 5 {
	case 0:
		answer.Type, answer.Profile, answer.Payload.SHA1 = warc.Revisit, warc.IdenticalDigest, digestOf("<p>1")
		block = block[:strings.Index(block, "<p>")]
	case 1:
		block = "no HTTP at all"
	}
	answer.Content, answer.Length = strings.NewReader(block), int64(len(block))
	ask := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	all := []*warc.Record{answer, {Type: warc.Request, ID: warc.NewID(), Date: date, TargetURI: url, Content: strings.NewReader(ask),
		Length: int64(len(ask))}}
	if n%3 == 0 {
		text := "20260101000000\n"
		all = append(all, &warc.Record{Type: warc.Resource, ID: warc.NewID(), Date: date, TargetURI: "dns:www.example.com",
			ContentType: warc.DNS, Content: strings.NewReader(text), Length: int64(len(text))})
	}
	return all
}

func digestOf(text string) warc.Digest {
	h := warc.NewHasher(false)
	h.Write([]byte(text))
	return h.Digests().SHA1
}

// add archives some pages, without a commit.
func (r *rig) add(n int) {
	r.Helper()
	for range n {
		records := r.capture()
		places, err := r.a.Add(records...)
		if err == nil {
			err = r.x.Add(records, places)
		}
		if err != nil {
			r.Fatal(err)
		}
	}
}

func (r *rig) commit() {
	r.Helper()
	if err := errors.Join(r.a.Sync(), r.x.Sync()); err != nil {
		r.Fatal(err)
	}
	r.update()
}

func (r *rig) update() {
	r.Helper()
	err := r.st.Update(func(tx *store.Tx) error { return errors.Join(r.a.Commit(tx), r.x.Commit(tx)) })
	if err == nil {
		err = r.a.Committed()
	}
	if err != nil {
		r.Fatal(err)
	}
	r.x.Committed()
}

func (r *rig) roll() {
	r.Helper()
	if err := r.a.Roll(); err != nil {
		r.Fatal(err)
	}
	r.x.Roll()
	r.commit()
}

func (r *rig) tidy() {
	r.Helper()
	if err := r.x.tidy(r.Context(), true); err != nil {
		r.Fatal(err)
	}
}

// files makes so many WARC files of some pages each, tidied all.
func (r *rig) files(n, pages int) {
	r.Helper()
	for range n {
		r.add(pages)
		r.roll()
	}
	r.tidy()
}

// write writes index.cdxj.
func (r *rig) write() (string, Stats) {
	r.Helper()
	stats, err := r.x.Write(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, File))
	if err != nil {
		r.Fatal(err)
	}
	if int64(bytes.Count(b, []byte("\n"))) != stats.Captures || int64(len(b)) != stats.Bytes {
		r.Errorf("got %+v of %d bytes", stats, len(b))
	}
	return string(b), stats
}

// rebuilt is what Rebuild makes of the WARC files that match a pattern, in a directory of its own.
func (r *rig) rebuilt(pattern string) (string, Rebuilt) {
	r.Helper()
	dir := r.TempDir()
	names, err := filepath.Glob(filepath.Join(r.dir, pattern))
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.IsDir() || !strings.Contains(name, ".warc.gz") {
			continue
		}
		if err := os.Link(name, filepath.Join(dir, filepath.Base(name))); err != nil {
			r.Fatal(err)
		}
	}
	done, err := Rebuild(r.Context(), dir)
	if err != nil {
		r.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		r.Fatal(err)
	}
	return string(b), done
}

// same looks whether the index that is kept is the one that is made of the WARC files.
func (r *rig) same() string {
	r.Helper()
	got, stats := r.write()
	want, _ := r.rebuilt("*")
	if got != want || stats.Missing != 0 {
		r.Fatalf("%d are missing of the index, which is\n%.3000s\nwant\n%.3000s", stats.Missing, got, want)
	}
	return got
}

// TestSameAsRebuilt: whatever a crawl does, and in which order, the index that is kept has the same bytes as the one that is made of
// the WARC files.
func TestSameAsRebuilt(t *testing.T) {
	seed := testenv.Seed(t)
	for n := range testenv.Count(t, 60) {
		r := newRig(t, seed+uint64(n))
		for range 60 {
			switch r.random.IntN(8) {
			case 0:
				r.roll()
			case 1:
				r.tidy()
			case 2:
				r.again()
			case 3:
				r.add(2) // never committed
				if err := errors.Join(r.a.Sync(), r.x.Sync()); err != nil {
					t.Fatal(err)
				}
				r.again()
			case 4:
				if r.random.IntN(4) == 0 {
					r.same()
				}
			default:
				r.add(r.random.IntN(5))
				r.commit()
			}
		}
		if got := r.same(); strings.Count(got, "\n") < 20 {
			t.Errorf("an index of %d bytes proves nothing", len(got))
		}
	}
}

// TestRunsAreFew: runs are merged, so that there are few of them, and a line is copied seldom.
func TestRunsAreFew(t *testing.T) {
	r := newRig(t, 1)
	for range 3 * fanout * fanout {
		r.add(1)
		r.roll()
		r.tidy()
		s, err := r.x.state(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		levels := map[int]int{}
		for _, p := range s.runs {
			levels[p.Level]++
			if levels[p.Level] >= fanout || p.Level > 2 {
				t.Fatalf("there are %+v", s.runs)
			}
		}
	}
	if s, _ := r.x.state(t.Context()); len(s.runs) != 3 || s.runs[0].Level != 2 {
		t.Errorf("there are %+v, want 3 runs of level 2", s.runs)
	}
	r.same()
}

// TestBeside has Run and Write at work beside the crawl.
func TestBeside(t *testing.T) {
	r := newRig(t, 2)
	ctx, end := context.WithCancel(t.Context())
	ends := make(chan error, 2)
	go func() { ends <- r.x.Run(ctx) }()
	go func() {
		for ctx.Err() == nil {
			stats, err := r.x.Write(ctx)
			if ctx.Err() == nil && (err != nil || stats.Missing != 0) {
				ends <- fmt.Errorf("%d are missing: %w", stats.Missing, err)
				return
			}
		}
		ends <- nil
	}()
	for range 40 {
		r.add(3)
		r.commit()
		if r.random.IntN(2) == 0 {
			r.roll()
		}
	}
	end()
	for range 2 {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
	r.same()
}

// tree is what a directory holds, by name.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != "LOCK" {
			all[e.Name()] = string(b)
		}
	}
	return all
}

// TestRestored: a store that went back knows what counted then, wherever its lines went meanwhile, and touches no file of the time
// line that it left. It may go back again.
func TestRestored(t *testing.T) {
	r := newRig(t, 3)
	r.files(20, 2)
	r.add(3)
	r.commit()
	then, checkpoint := r.same(), r.crash.After(100)
	waits := r.crash
	r.add(2) // more of the file that was written to
	r.roll()
	r.files(fanout*fanout, 1) // all runs of then are gone
	r.add(1)
	r.commit()
	now := r.same()
	for range 2 {
		before := tree(t, filepath.Join(r.dir, below))
		r.restore(checkpoint)
		if got, stats := r.write(); got != then || stats.Missing != 0 {
			t.Fatalf("%d are missing; restored is\n%.3000s\nwant\n%.3000s", stats.Missing, got, then)
		}
		r.add(2)
		r.roll()
		r.tidy()
		r.again()
		after := tree(t, filepath.Join(r.dir, below))
		for name := range before {
			if before[name] != after[name] {
				t.Errorf("%s was changed", name)
			}
		}
		got, _ := r.write()
		if want, _ := r.rebuilt("*" + r.x.mark + "*"); got != text(append(slices.Collect(strings.Lines(then)), slices.Collect(strings.Lines(want))...)) {
			t.Errorf("behind it there is\n%.3000s", got)
		}
	}
	// The time line that was left is as it was.
	r.close()
	r.crash = waits
	r.open()
	if got, _ := r.write(); got != now {
		t.Error("the time line that was left lost something")
	}
	if all, done := r.rebuilt("*"); len(all) <= len(now) || len(done.Damaged) > 0 {
		t.Errorf("a rebuilt index has %d bytes and %v, one of a time line %d", len(all), done.Damaged, len(now))
	}
}

// TestElsewhere: a store that was restored beside other WARC files than its own says how many captures it can't tell of.
func TestElsewhere(t *testing.T) {
	r := newRig(t, 4)
	r.files(3, 2)
	want, _ := r.write()
	r.dir = filepath.Join(t.TempDir(), "other")
	r.restore(r.crash)
	if got, stats := r.write(); got != "" || stats.Missing != int64(strings.Count(want, "\n")) {
		t.Errorf("got %q and %+v", got, stats)
	}
	r.add(2)
	r.roll()
	got, _ := r.write()
	if want, _ := r.rebuilt("*"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestGone takes parts of the index away, or damages them: they are made again, of the WARC files.
func TestGone(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed":  os.Remove,
		"cut":      func(path string) error { return os.Truncate(path, 100) },
		"emptied":  func(path string) error { return os.Truncate(path, 0) },
		"a device": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, suffix := range []string{".run", ".lines"} {
				r := newRig(t, 5)
				r.files(10, 3)
				r.add(3)
				r.roll() // waits
				r.add(3)
				r.commit() // is written to
				want := r.same()
				r.close()
				paths, err := filepath.Glob(filepath.Join(r.dir, below, "*"+suffix))
				if err != nil || len(paths) == 0 {
					t.Fatal(paths, err)
				}
				for _, path := range paths {
					if err := harm(path); err != nil {
						t.Fatal(err)
					}
				}
				r.open()
				if got, stats := r.write(); got != want || stats.Missing != 0 {
					t.Fatalf("%s: %d are missing; there is\n%.2000s\nwant\n%.2000s", suffix, stats.Missing, got, want)
				}
				r.add(3) // more of the file whose lines were lost
				r.commit()
				r.again()
				r.add(1)
				r.roll()
				r.same()
				r.again()
				r.same()
			}
		})
	}
}

// TestSpoiled: a run whose bytes were changed is found out when it is merged, and made again, also if that is while it runs.
func TestSpoiled(t *testing.T) {
	for _, late := range []bool{false, true} {
		r := newRig(t, 6)
		r.files(fanout-1, 3)
		runs, err := filepath.Glob(filepath.Join(r.dir, below, "*.run"))
		if err != nil || len(runs) != fanout-1 {
			t.Fatal(runs, err)
		}
		for _, path := range runs[:2] {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copy(b[len(b)/2:], "\n!\n") // what is behind it is not in order
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if late {
			r.files(2, 1)
		}
		r.same()
		if late {
			r.again()
			r.same()
		}
	}
}

// TestMovedAway: WARC files that were moved away stay in the index, as long as nothing of it is lost; then it says how many lack.
func TestMovedAway(t *testing.T) {
	r := newRig(t, 7)
	r.files(5, 2)
	want := r.same()
	warcs, err := filepath.Glob(filepath.Join(r.dir, "*.warc.gz"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, path := range warcs[:2] {
		lines[path] = strings.Count(want, filepath.Base(path))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	r.again()
	if got, stats := r.write(); got != want || stats.Missing != 0 {
		t.Errorf("%d are missing", stats.Missing)
	}
	r.close()
	runs, err := filepath.Glob(filepath.Join(r.dir, below, "*.run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range runs {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	rest, _ := r.rebuilt("*")
	lack := 0
	for n := range maps.Values(lines) {
		lack += n
	}
	if got, stats := r.write(); got != rest || stats.Missing != int64(lack) || lack == 0 {
		t.Errorf("%d are missing, want %d", stats.Missing, lack)
	}
}

// TestFull has a disk be full at each step: the fault says so, and when there is room again all goes on.
func TestFull(t *testing.T) {
	steps := 0
	for full := 1; full == 1 || steps >= full-1; full++ {
		r := newRig(t, 8)
		steps = 0
		left := full
		r.x.dir.before = func(string, string) error {
			steps++
			if left--; left == 0 {
				return unix.ENOSPC
			}
			return nil
		}
		try := func(do func() error) {
			t.Helper()
			err := do()
			if err == nil {
				return
			}
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			if err := do(); err != nil {
				t.Fatalf("when there was room again: %v", err)
			}
		}
		for range fanout + 1 {
			r.add(2)
			if err := r.a.Sync(); err != nil {
				t.Fatal(err)
			}
			try(r.x.Sync)
			r.update()
			if err := r.a.Roll(); err != nil {
				t.Fatal(err)
			}
			r.x.Roll()
			try(r.x.Sync)
			r.update()
			try(func() error { return r.x.tidy(t.Context(), true) })
		}
		try(func() error { _, err := r.x.Write(t.Context()); return err })
		r.x.dir.before = nil
		r.same()
		full += steps / 20 // about twenty of them
	}
}

// TestBusy: nobody else has the directory of a crawl that runs.
func TestBusy(t *testing.T) {
	r := newRig(t, 9)
	if _, err := Rebuild(t.Context(), r.dir); !fault.Is(err, fault.Busy) || fault.HintOf(err) == "" {
		t.Errorf("Rebuild: got %v", err)
	}
	if _, err := Open(r.st, Options{Dir: r.dir}); !fault.Is(err, fault.Busy) {
		t.Errorf("Open: got %v", err)
	}
	r.add(1)
	r.commit()
	r.same()
}

// TestRebuildDamage: of a file that is damaged there is what stands before, and it is told where; the end of one that is written to
// is no damage.
func TestRebuildDamage(t *testing.T) {
	r := newRig(t, 10)
	r.files(2, 4)
	r.add(4)
	r.commit()
	warcs, err := filepath.Glob(filepath.Join(r.dir, "*.warc.gz*"))
	if err != nil || len(warcs) != 3 {
		t.Fatal(warcs, err)
	}
	want, _ := r.rebuilt("*")
	r.close()
	for i, path := range warcs[1:] {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-3+int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	done, err := Rebuild(t.Context(), r.dir)
	if err != nil || len(done.Damaged) != 1 || done.Damaged[0].File != warcs[1] || done.Files != 3 {
		t.Fatalf("got %+v and %v", done, err)
	}
	var damage *warc.Damage
	if !errors.As(done.Damaged[0].Err, &damage) || damage.Offset == 0 {
		t.Errorf("got %v", done.Damaged[0].Err)
	}
	got, err := os.ReadFile(filepath.Join(r.dir, File))
	if err != nil || int64(bytes.Count(got, []byte("\n"))) != done.Captures || len(got) == 0 || len(got) > len(want) {
		t.Errorf("got %d bytes, want fewer than %d: %v", len(got), len(want), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Rebuild(ended, filepath.Dir(warcs[0])); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
