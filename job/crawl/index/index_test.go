package index

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/warc"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/outfile/outfiletest"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// rig is a crawl without a web: a store, an archive and its index.
type rig struct {
	*testing.T
	dir    string // of the WARC files
	crash  *storetest.CrashFS
	disk   outfiletest.Disk
	random *rand.Rand
	st     *store.Store
	a      *archive.Archive
	x      *Index
	pages  int
	shut   bool
	name   string // of a crawl that shares its directory; "" for one that does not
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
	if r.a, _, err = archive.Open(r.st, archive.Options{Dir: r.dir, Name: cmp.Or(r.name, "site"), WARC: warc.Options{Level: 1}}); err != nil {
		r.Fatal(err)
	}
	if r.x, err = Open(r.st, Options{Dir: r.dir, Name: r.name, Disk: &r.disk, Log: slog.New(slog.DiscardHandler)}); err != nil {
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

// glob are the files of the directory that match a pattern.
func (r *rig) glob(pattern string) []string {
	r.Helper()
	paths, err := filepath.Glob(filepath.Join(r.dir, pattern))
	if err != nil {
		r.Fatal(err)
	}
	return paths
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
	for _, name := range r.glob(pattern) {
		if info, err := os.Stat(name); err != nil || info.IsDir() || !strings.Contains(name, ".warc.gz") {
			continue
		}
		if err := os.Link(name, filepath.Join(dir, filepath.Base(name))); err != nil {
			r.Fatal(err)
		}
	}
	done, err := Rebuild(r.Context(), dir, nil)
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

// TestSameAsRebuilt: whatever a crawl does, and in which order, the index that is kept has the same bytes as the one that is made
// of the WARC files.
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
	for range fanout * fanout {
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
	if s, _ := r.x.state(t.Context()); len(s.runs) != 1 || s.runs[0].Level != 2 {
		t.Errorf("there are %+v, want a run of level 2", s.runs)
	}
	r.same()
}

// TestRun: what has ended is sorted, without anybody who asks for it.
func TestRun(t *testing.T) {
	r := newRig(t, 12)
	ctx, end := context.WithCancel(t.Context())
	ends := make(chan error, 1)
	go func() { ends <- r.x.Run(ctx) }()
	for n := range 3 {
		r.add(1)
		r.roll()
		testenv.Until(t, 10*time.Second, "sorted", func() bool {
			s, err := r.x.state(t.Context())
			return err == nil && len(s.waits) == 0 && len(s.runs) == n+1
		})
	}
	end()
	if err := <-ends; err != nil {
		t.Error(err)
	}
}

// TestWriteAgain: an index that has all is not written again; one that was changed, or does not, is.
func TestWriteAgain(t *testing.T) {
	r := newRig(t, 13)
	r.files(2, 2)
	r.add(1)
	r.commit()
	r.same()
	path := filepath.Join(r.dir, File)
	inode := func() uint64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	first := inode()
	r.again()
	if r.same(); inode() != first {
		t.Error("it was written again")
	}
	for _, change := range []func(){
		func() { r.add(1); r.commit() },
		func() { os.Remove(path) },
		func() { os.WriteFile(path, []byte("other"), 0o644) },
		func() { // as large as it was
			b, _ := os.ReadFile(path)
			copy(b, "other")
			os.WriteFile(path, b, 0o644)
		},
		func() { r.restore(r.crash) },
	} {
		held, err := os.Open(path) // so that its number is not given again
		if err != nil {
			t.Fatal(err)
		}
		was := inode()
		change()
		if r.same(); inode() == was {
			t.Error("it was not written again")
		}
		held.Close()
	}
}

// TestLinesThatWait: lines that nobody has sorted yet are in the index too.
func TestLinesThatWait(t *testing.T) {
	r := newRig(t, 15)
	r.files(2, 2)
	r.add(2)
	r.roll()
	r.add(2)
	r.commit()
	if _, err := r.x.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(r.dir, File))
	if want, _ := r.rebuilt("*"); err != nil || string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
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
