package crawl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/base/cdxj"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/index"
	"holdfast/job/crawl/journal"
	"holdfast/job/crawl/outfile/outfiletest"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/engine"
	"holdfast/kernel/store"
	"holdfast/kernel/store/storetest"
	"holdfast/tests/testenv"
)

// powered is a crawl whose power can be cut: what was not synced of its store and of its files may be gone then.
type powered struct {
	*rig
	rnd   *rand.Rand
	disk  outfiletest.Disk
	crash *storetest.CrashFS // of the store and its checkpoints
	fs    *storetest.FaultFS // likewise, while it lives
	want  map[string]int     // the pages
	saved *storetest.CrashFS // what is left of it
	cut   chan struct{}      // closed when the power is cut

	mu     sync.Mutex // guards what follows
	left   int        // steps until the power is cut; 0 for never
	during bool       // they count while a checkpoint is made
	making bool
	taken  int // steps until now

	other map[string]sum // files of time lines that were left
}

// newPowered makes a crawl of pages of some size.
func newPowered(t *testing.T, rnd *rand.Rand, pages int) *powered {
	all := tree(pages)
	for path, text := range all {
		b := make([]byte, rnd.IntN(1500))
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz    "[rnd.IntN(30)]
		}
		all[path] = text + string(b)
	}
	p := &powered{rig: newRig(t, all), rnd: rnd, crash: storetest.NewCrashFS(), want: map[string]int{"/robots.txt": 1, "/gone": 1}}
	for path := range all {
		p.want[path] = 1
	}
	p.cfg.PerHost, p.cfg.Journal, p.cfg.Archive.MaxSize, p.cfg.Archive.Disk = 4, true, 20_000, &p.disk
	p.disk.Before = func(outfiletest.Change) error { p.step(); return nil }
	return p
}

// arm has the power be cut at one of the next steps, or, if during, of those in which a checkpoint is made.
func (p *powered) arm(steps int, during bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.during, p.making, p.taken, p.saved, p.cut = steps, during, false, 0, nil, make(chan struct{})
}

// step is called ahead of each change on either disk.
func (p *powered) step() {
	p.mu.Lock()
	p.taken++
	now := false
	if p.left > 0 && (!p.during || p.making) {
		p.left--
		now = p.left == 0
	}
	percent, seed := 0, uint64(0)
	if now {
		percent, seed = outfiletest.Percent(p.rnd), p.rnd.Uint64()
	}
	p.mu.Unlock()
	if now {
		p.disk.Cut(func() { p.saved = p.fs.After(percent, seed) })
		close(p.cut)
	}
}

func (p *powered) makes(now bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making = now
}

// isCut reports whether the power is.
func (p *powered) isCut() bool {
	select {
	case <-p.cut:
		return true
	default:
		return false
	}
}

// job opens the crawl on what is left of the disks.
func (p *powered) job() (*Job, *store.Store, error) {
	p.Helper()
	p.fs = p.crash.Faulty(func(storetest.Change) error { p.step(); return nil })
	st, err := store.Open("/job", storetest.Options(p, p.fs))
	if err != nil {
		p.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	room, err := engine.NewRoom(p.dir, engine.RoomLimits{Soft: 1, Hard: 1}, log)
	if err != nil {
		p.Fatal(err)
	}
	j, err := New(engine.Env{Name: "site", Dir: p.dir, Store: st, Log: log, Room: room, History: engine.HistoryOf(st, "site", log)}, p.cfg)
	return j, st, err
}

// life has the crawl go on until its end, or until the power is cut. Meanwhile checkpoints are made.
func (p *powered) life(checkpoints int) (over bool) {
	p.Helper()
	j, st, err := p.job()
	if err == nil {
		ctx, stop := context.WithCancel(p.Context())
		var g sync.WaitGroup
		g.Go(func() {
			select {
			case <-p.cut:
				stop()
			case <-ctx.Done():
			}
		})
		g.Go(func() {
			for range checkpoints {
				if !p.checkpoint(ctx, j, st) {
					return
				}
			}
		})
		err = j.Run(ctx)
		stop()
		g.Wait()
	}
	if err != nil && !(p.isCut() && (errors.Is(err, outfiletest.ErrCut) || errors.Is(err, context.Canceled))) {
		p.Fatal(err)
	}
	if err := st.Close(); err != nil {
		p.Error(err)
	}
	if !p.isCut() {
		p.crash = p.crash.After(100)
		return true
	}
	p.crash = p.saved
	if err := p.disk.Lose(p.rnd, outfiletest.Percent(p.rnd)); err != nil {
		p.Fatal(err)
	}
	return false
}

// checkpoint makes a checkpoint. It reports false if the crawl has ended.
func (p *powered) checkpoint(ctx context.Context, j *Job, st *store.Store) bool {
	var open []string
	_, err := checkpoint.Create(ctx, st, checkpoint.Options{Numbered: CheckpointName, Before: func(name string) error {
		p.makes(true)
		open, _ = filepath.Glob(filepath.Join(p.cfg.Archive.Dir, "*"+p.lineage(st)+"*.open"))
		err := j.Prepare(ctx, name)
		if err == nil && name[len(name)-1]%2 == 0 {
			p.goesOn(ctx, j, st)
		}
		return err
	}})
	p.makes(false)
	if err == nil {
		for _, path := range open {
			if _, err := os.Stat(path); err == nil {
				p.Errorf("%s has not ended with a checkpoint", path)
			}
		}
	}
	if err != nil && ctx.Err() == nil && !p.isCut() {
		select {
		case <-j.broken:
		default:
			p.Error(err)
		}
	}
	return err == nil
}

// goesOn waits until the crawl has written more down: what a checkpoint has is not the end of a file then.
func (p *powered) goesOn(ctx context.Context, j *Job, st *store.Store) {
	done := func() (n uint64) {
		_ = st.Latest(func(r store.Reader) error { // a store that can't be read says so elsewhere
			c, err := frontier.ReadCounts(r)
			n = c.Done
			return err
		})
		return n
	}
	for was := done(); done() == was; {
		select {
		case <-ctx.Done():
			return
		case <-j.broken:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// lineage is what the names of files have of the store's.
func (p *powered) lineage(st *store.Store) string { return st.Lineage().String()[:8] }

// lines are those of a log, in all its files.
func (p *powered) lines(name string) (all []string) {
	p.Helper()
	files, err := filepath.Glob(filepath.Join(p.cfg.Logs, name+"*"))
	if err != nil {
		p.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			p.Fatal(err)
		}
		for text := range strings.Lines(string(b)) {
			if (!strings.HasSuffix(text, "\n") || strings.Contains(text, "\x00")) && p.other == nil {
				p.Errorf("%s has a line that is not whole: %q", name, text)
			}
			all = append(all, strings.TrimSuffix(text, "\n"))
		}
	}
	return all
}

// whole checks a crawl that has ended: each page is archived, in the index, in crawl.log and in the recover journal, once,
// and the counters are what a recount of those gives.
func (p *powered) whole() {
	p.Helper()
	logged, statuses := map[string]int{}, map[int]uint64{}
	for _, text := range p.lines(crawlLog) {
		m := line.FindStringSubmatch(text)
		if m == nil {
			p.Errorf("crawl.log has line %q", text)
			continue
		}
		logged[strings.TrimPrefix(m[2], p.site.URL)]++
		status := 0
		_, _ = fmt.Sscan(strings.Fields(text)[1], &status)
		statuses[status]++
	}
	for what, got := range map[string]map[string]int{"archived": p.archived(), "logged": logged, "indexed": p.indexed()} {
		p.same(what, got)
	}
	p.lines(progressLog)
	p.lines(errorsLog)
	p.journaled()
	st, err := store.Open("/job", storetest.Options(p, p.crash.FS()))
	if err != nil {
		p.Fatal(err)
	}
	defer st.Close()
	err = st.Latest(func(r store.Reader) error {
		c, err := frontier.ReadCounts(r)
		want := frontier.Counts{Known: uint64(len(p.want)), Done: uint64(len(p.want)), Hosts: 1, Bytes: c.Bytes,
			Novelties: c.Novelties}
		if n := c.Novelties; c != want || n.Novel+n.ByHash+n.NotModified != c.Done {
			p.Errorf("the counters are %+v, want %+v, and each answer is of one kind", c, want)
		}
		all, bad := frontier.Statuses(r)
		if !maps.Equal(all, statuses) {
			p.Errorf("the counters have statuses %v, and crawl.log %v", all, statuses)
		}
		return errors.Join(err, bad)
	})
	if err != nil {
		p.Error(err)
	}
}

// same compares with the pages that there are.
func (p *powered) same(what string, got map[string]int) {
	p.Helper()
	wrong := 0
	for path := range p.want {
		if got[path] != 1 {
			wrong++
			p.Errorf("%s is %s %d times", path, what, got[path])
		}
	}
	if len(got) != len(p.want) && wrong == 0 {
		p.Errorf("%d pages are %s, want %d", len(got), what, len(p.want))
	}
}

// indexed is how often each page is in index.cdxj.
func (p *powered) indexed() map[string]int {
	p.Helper()
	b, err := os.ReadFile(filepath.Join(p.cfg.Archive.Dir, index.File))
	if err != nil {
		p.Fatal(err)
	}
	got := map[string]int{}
	for text := range strings.Lines(string(b)) {
		l, err := cdxj.Parse([]byte(strings.TrimSuffix(text, "\n")))
		if err != nil {
			p.Errorf("index.cdxj has line %q: %v", text, err)
		}
		got[strings.TrimPrefix(l.URL, p.site.URL)]++
	}
	return got
}

// journaled checks the recover journal: each page was queued once and fetched once.
func (p *powered) journaled() {
	p.Helper()
	got := map[byte]map[string]int{'+': {}, 's': {}}
	files, err := filepath.Glob(filepath.Join(p.cfg.Logs, journal.Name+"*"))
	if err != nil {
		p.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			p.Fatal(err)
		}
		if info, err := f.Stat(); err != nil || info.Size() == 0 {
			continue
		}
		in, err := journal.NewReader(f, name)
		for err == nil {
			var text []byte
			if text, err = in.Next(); err == nil && text[0] == 'F' {
				got[text[1]][strings.TrimPrefix(strings.Fields(string(text))[1], p.site.URL)]++
			}
		}
		if err != io.EOF || in.Cut() != nil {
			p.Errorf("%s: %v, cut: %v", name, err, in.Cut())
		}
		f.Close()
	}
	p.same("queued in the recover journal", got['+'])
	p.same("fetched in the recover journal", got['s'])
}

// TestPowerCuts cuts the power of crawls, also while they make a checkpoint, again and again: what each has in the end is
// what one has that was never stopped.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 5))
	const pages = 120
	never := newPowered(t, rnd, pages)
	never.arm(0, false)
	never.life(3)
	never.whole()
	t.Logf("%d steps", never.taken)
	during, cuts := 0, testenv.Count(t, 100)
	if testenv.Torture() { // some of the steps at which one matters are few
		cuts *= 5
	}
	for cuts > 0 && !t.Failed() {
		p := newPowered(t, rnd, pages)
		for over := false; !over && !t.Failed(); {
			steps, inCheckpoint := 0, rnd.IntN(3) == 0
			if inCheckpoint {
				steps = 1 + rnd.IntN(60)
			} else if cuts > 0 {
				steps = 1 + rnd.IntN(never.taken/2)
			}
			if cuts <= 0 {
				steps = 0
			}
			p.arm(steps, inCheckpoint)
			if over = p.life(3); !over {
				cuts--
				if inCheckpoint {
					during++
				}
			}
		}
		p.whole()
	}
	t.Logf("%d of the cuts came while a checkpoint was made", during)
}
