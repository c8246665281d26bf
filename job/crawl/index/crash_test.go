package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/base/cdxj"
	"holdfast/job/crawl/outfile/outfiletest"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// machine is a disk with a store and an index on it, which ends at a step and may lose what was not synced.
type machine struct {
	*testing.T
	dir   string
	disk  outfiletest.Disk
	crash *storetest.CrashFS
	left  int                // steps until it ends; negative for never
	saved *storetest.CrashFS // the store's disk at that moment; nil while it goes on
	rand  *rand.Rand
	power bool
	steps int

	st        *store.Store
	x         *Index
	added     []string
	committed []string
	published map[string]bool // contents of index.cdxj
	written   int             // times it was
}

func newMachine(t *testing.T, left int, power bool) *machine {
	m := &machine{T: t, dir: t.TempDir(), crash: storetest.NewCrashFS(), left: left, power: power,
		rand: rand.New(rand.NewPCG(uint64(left), 7)), published: map[string]bool{}}
	m.disk.Before = func(outfiletest.Change) error { return m.step() }
	return m
}

// step is told of each step ahead of it.
func (m *machine) step() error {
	if m.saved != nil {
		return outfiletest.ErrCut
	}
	if m.steps++; m.steps != m.left {
		return nil
	}
	percent := 100
	if m.power {
		percent = 50
	}
	m.disk.Cut(func() { m.saved = m.crash.After(percent, m.rand.Uint64()) })
	return outfiletest.ErrCut
}

// open starts the process. It reports false if that ended in it.
func (m *machine) open() bool {
	m.Helper()
	var err error
	if m.st, err = store.Open("/store", storetest.Options(m.T, m.crash.FS())); err != nil {
		m.Fatal(err)
	}
	m.x, err = Open(m.st, Options{Dir: m.dir, Disk: &m.disk, Log: slog.New(slog.DiscardHandler)})
	return m.fine(err)
}

// fine reports whether there was no error, and fails for one that is not that of the end.
func (m *machine) fine(err error) bool {
	m.Helper()
	if err != nil && (m.saved == nil || !errors.Is(err, outfiletest.ErrCut)) {
		m.Fatal(err)
	}
	return err == nil
}

// revive starts the process again behind its end.
func (m *machine) revive() {
	m.Helper()
	if m.x != nil {
		m.x.Close()
	}
	m.st.Close()
	percent := 100
	if m.power {
		percent = outfiletest.Percent(m.rand)
	}
	if err := m.disk.Lose(m.rand, percent); err != nil {
		m.Fatal(err)
	}
	m.crash, m.saved, m.left = m.saved, nil, -1
	now, err := os.ReadFile(filepath.Join(m.dir, File))
	if !m.published[string(now)] && !(m.written == 0 && errors.Is(err, os.ErrNotExist)) {
		m.Errorf("%s is not one that was written: %.300q (%v)", File, now, err)
	}
	if !m.open() {
		m.Fatal("it can't be opened")
	}
	tidied(m, m.x)
}

// tidied looks for files that nobody speaks of, and whether something was lost.
func tidied(t testing.TB, x *Index) {
	t.Helper()
	s, err := x.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.mend {
		t.Error("a part of the index was lost")
	}
	want := []string{"LOCK"}
	if s.open.Serial != 0 {
		want = append(want, linesName(s.open.Serial, x.mark))
	}
	for _, p := range slices.Concat(s.waits, s.runs) {
		want = append(want, p.File)
	}
	var got []string
	all, err := os.ReadDir(x.dir.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if m := partName.FindStringSubmatch(e.Name()); m == nil || m[2] == x.mark {
			got = append(got, e.Name())
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

// write writes index.cdxj, and looks at it.
func (m *machine) write() bool {
	m.Helper()
	m.published[text(m.committed)] = true
	stats, err := m.x.Write(context.Background())
	if !m.fine(err) {
		return false
	}
	m.written++
	got, err := os.ReadFile(filepath.Join(m.dir, File))
	if err != nil {
		m.Fatal(err)
	}
	if string(got) != text(m.committed) || stats.Missing != 0 || stats.Captures != int64(len(m.committed)) {
		m.Fatalf("at step %d: %d captures are missing, the index is\n%swant\n%s", m.steps, stats.Missing, got, text(m.committed))
	}
	return true
}

// text is an index of lines.
func text(lines []string) string {
	lines = slices.Clone(lines)
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// captures adds captures of a WARC file.
func (m *machine) captures(warc string, from, n int) {
	m.Helper()
	for i := range n {
		l := cdxj.Line{Key: fmt.Sprintf("com,a)/%d", (from+i)*7919%1000), Time: "20260101000000", URL: "http://a.com/", Filename: warc,
			Offset: int64(from+i) * 10, Length: 10}
		if err := m.x.add(l); err != nil {
			m.Fatal(err)
		}
		b, err := l.Append(nil)
		if err != nil {
			m.Fatal(err)
		}
		m.added = append(m.added, string(b))
	}
}

// commit commits what was added.
func (m *machine) commit() bool {
	m.Helper()
	lines := m.added
	m.added = nil
	if !m.fine(m.x.Sync()) || !m.fine(m.step()) {
		return false
	}
	if err := m.st.Update(m.x.Commit); err != nil {
		m.Fatal(err)
	}
	m.committed = append(m.committed, lines...)
	if !m.fine(m.step()) {
		return false
	}
	m.x.Committed()
	return true
}

// crawl is what a machine does, a part at a time.
func (m *machine) crawl() (parts []func() bool) {
	const files = 18
	warc := func(n int) string { return fmt.Sprintf("w-%02d.warc.gz", n) }
	for n := range files {
		parts = append(parts, func() bool { m.captures(warc(n), 0, 2); return m.commit() })
		if n%3 != 0 {
			parts = append(parts, func() bool {
				m.captures(warc(n), 2, 1)
				m.captures(warc(n)+"-next", 0, 1)
				return m.commit()
			})
		}
		if n%4 == 0 {
			parts = append(parts, func() bool { m.x.Roll(); return m.commit() })
		}
		if n%2 == 0 {
			parts = append(parts, func() bool { return m.fine(m.x.tidy(context.Background(), true)) })
		}
		if n%6 == 5 {
			parts = append(parts, m.write)
		}
	}
	return append(parts, m.write)
}

// TestCrash ends the process at each step there is, or cuts the power: nothing that was committed is missing then, nothing is
// there twice, nothing is left behind, and the crawl goes on to the same end.
func TestCrash(t *testing.T) {
	whole := newMachine(t, -1, false)
	whole.open()
	for _, part := range whole.crawl() {
		part()
	}
	whole.x.Close()
	whole.st.Close()
	t.Logf("%d steps", whole.steps)
	for _, power := range []bool{false, true} {
		t.Run(fmt.Sprintf("power=%v", power), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(testenv.Seed(t), 3))
			for _, n := range random.Perm(whole.steps)[:testenv.Count(t, whole.steps)] {
				m := newMachine(t, n+1, power)
				m.run()
				if t.Failed() {
					t.Fatalf("ended at step %d", n+1)
				}
			}
		})
	}
}

// run crawls to the end, also behind its own.
func (m *machine) run() {
	m.Helper()
	if !m.open() {
		m.revive()
	}
	parts := m.crawl()
	for i := 0; i < len(parts); i++ {
		had := len(m.committed)
		if parts[i]() {
			continue
		}
		m.revive()
		if m.rand.IntN(2) == 0 && !m.write() {
			m.Fatal("it ended twice")
		}
		if len(m.committed) == had {
			i-- // what was not committed is done again
		}
	}
	tidied(m, m.x)
	m.x.Close()
	if err := m.st.Close(); err != nil {
		m.Error(err)
	}
}
