package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/job/crawl/frontier"
	"holdfast/kernel/checkpoint"
	"holdfast/kernel/store"
)

// A synthetic web: host h has URLs numbered from 0, as pages of a site are. A page leads to others of its host, now and then to
// another host.
const (
	linksOfPage    = 25
	pagesOfCommit  = 64
	frontierURLs   = "FRONTIER_URLS"  // how many URLs, default 200,000
	frontierChild  = "FRONTIER_CHILD" // a directory, in the process that is killed
	frontierHosts  = 50_000
	urlsOfHost     = 500
	doneShare      = 0.16 // 4 of 25 million
	urlsOfLoad     = 20_000
	checkpointsOf  = 10
	operations     = 20_000
	cacheOfEngine  = 32 << 20 // that all stores of a process share
	commitsOfLoad  = 40       // a second
	bytesOfPayload = 14_000
)

var words = strings.Fields(`about account air archive article bank base best blog board book business camp care case center city
	class club code college community company contact content country course data design download edition education energy event
	family film forum game garden group guide health history home house image index info island journal key land law letter library
	life list local magazine market media member mountain museum music nature network news office online open park people photo
	place plan player press product project public question radio report research review river road school science search season
	service shop sport station story street student study summer system team technology time travel tree university video village
	water week winter work world writer year`)

// site is a host of the synthetic web.
type site struct{ url, surt, queue, seed string }

func siteOf(h int) site {
	r := rand.New(rand.NewPCG(uint64(h), 7))
	name := words[r.IntN(len(words))] + words[r.IntN(len(words))] + strconv.Itoa(h)
	tld := []string{"com", "org", "net", "de", "co.uk", "fr"}[r.IntN(6)]
	labels := strings.Split("www."+name+"."+tld, ".")
	slices.Reverse(labels)
	queue := strings.Join(labels, ",") + ","
	s := site{url: "http://www." + name + "." + tld, surt: "http://(" + queue + ")", queue: queue}
	if h%3 != 0 {
		s.url, s.queue = "https"+s.url[4:], queue+"#443"
	}
	s.seed = s.url + "/"
	return s
}

// path is that of a number on a host: of an article, of a picture, or of a page that a query makes.
func pathOf(h, n int) string {
	r := rand.New(rand.NewPCG(uint64(h), uint64(n)|1<<40))
	w := func() string { return words[r.IntN(len(words))] }
	switch n % 5 {
	case 0:
		return fmt.Sprintf("/%s/%s-%s-%s.jpg", w(), w(), w(), strconv.Itoa(n))
	case 1:
		return fmt.Sprintf("/%s/index.php?id=%d&%s=%s", w(), n, w(), w())
	}
	return fmt.Sprintf("/%s/%04d/%02d/%s-%s-%s-%s-%d.html", w(), 2000+r.IntN(24), 1+r.IntN(12), w(), w(), w(), w(), n)
}

func itemOf(s *site, h, n int, via string) frontier.Item {
	p := pathOf(h, n)
	i := frontier.Item{URL: s.url + p, Key: s.surt + p, Queue: s.queue, Hops: "LLL", Via: via, Source: s.seed, Precedence: 3}
	if n%5 == 0 {
		i.Hops, i.Precedence = "LLE", 2
	}
	if s.url[4] == 's' {
		i.Key += "\x00s"
	}
	return i
}

// syntheticWeb is a frontier that is filled.
type syntheticWeb struct {
	testing.TB
	dir   string
	st    *store.Store
	f     *frontier.Frontier
	cache *store.Cache
	sites []site
	mu    sync.Mutex // guards the numbers
	next  []int      // of each host, the number of the next URL
	known int
	done  int
	rnd   *rand.Rand
}

func openWeb(t testing.TB, dir string, hosts int) *syntheticWeb {
	w := &syntheticWeb{TB: t, dir: dir, cache: store.NewCache(cacheOfEngine), rnd: rand.New(rand.NewPCG(1, 2)), next: make([]int, hosts)}
	for h := range hosts {
		w.sites = append(w.sites, siteOf(h))
	}
	slices.SortFunc(w.sites, func(a, b site) int { return strings.Compare(a.surt, b.surt) })
	w.open()
	return w
}

func (w *syntheticWeb) open() {
	var err error
	if w.st, err = store.Open(w.dir, store.Options{Cache: w.cache}); err == nil {
		w.f, err = frontier.Open(w.st, frontier.Options{})
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *syntheticWeb) close() {
	if err := w.st.Close(); err != nil {
		w.Fatal(err)
	}
	w.cache.Close()
}

// fresh are URLs of so many pages' links that nobody knows.
func (w *syntheticWeb) fresh(pages int) (items []frontier.Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range pages {
		items = append(items, w.links(w.rnd.IntN(len(w.sites)), 8)...)
	}
	return items
}

// links are URLs that nobody knows, of a page of a host: one of so many leads to another host; 0 is that none does.
func (w *syntheticWeb) links(h, others int) (items []frontier.Item) {
	via := w.sites[h].url + pathOf(h, w.rnd.IntN(w.next[h]+1))
	for range linksOfPage {
		to := h
		if others > 0 && w.rnd.IntN(others) == 0 {
			to = w.rnd.IntN(len(w.sites))
		}
		items = append(items, itemOf(&w.sites[to], to, w.next[to], via))
		w.next[to]++
	}
	w.known += len(items)
	return items
}

// seen are URLs that are known, of all that are.
func (w *syntheticWeb) seen(n int) (items []frontier.Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(items) < n {
		h := w.rnd.IntN(len(w.sites))
		if w.next[h] > 0 {
			items = append(items, itemOf(&w.sites[h], h, w.rnd.IntN(w.next[h]), w.sites[h].seed))
		}
	}
	return items
}

// commit is what a crawl does with what it fetched: URLs are done, the digests of what they gave are known, links are added.
func (w *syntheticWeb) commit(leases []*frontier.Lease, links []frontier.Item) (added int) {
	err := w.st.Update(func(tx *store.Tx) error {
		b, err := w.f.Begin(tx)
		if err != nil {
			return err
		}
		for _, l := range leases {
			if err := b.Done(l, frontier.Outcome{Status: 200, Type: "text/html", Bytes: bytesOfPayload, Due: time.Now()}); err != nil {
				return err
			}
			w.digest(tx, l)
		}
		if added, err = b.Add(links...); err != nil {
			return err
		}
		return b.Write()
	})
	if err != nil {
		w.Error(err)
	}
	return added
}

// digest has the payload of a URL known, as job/crawl does.
func (w *syntheticWeb) digest(tx *store.Tx, l *frontier.Lease) {
	const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var d [32]byte
	for i := range d {
		d[i] = base32[rand.IntN(32)]
	}
	v, _ := json.Marshal(map[string]any{"url": l.URL, "date": time.Now()})
	tx.Set(store.Key{byte(store.Job), 'D'}.Str("sha1:"+string(d[:])), v)
}

// take leases URLs, fewer than n if there are none left that may be asked.
func (w *syntheticWeb) take(ctx context.Context, n int) (all []*frontier.Lease) {
	for range n {
		l, err := w.f.Take(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.Error(err)
			}
			break
		}
		w.f.Release(l, time.Now())
		all = append(all, l)
	}
	return all
}

// fill adds URLs until so many are known, of which a share is done. It goes over all hosts in their order a few times, so that an
// hour's work of a store that is written to at random takes some minutes.
func (w *syntheticWeb) fill(urls int) {
	const passes = 4
	pages := (urls-w.known)/(passes*linksOfPage*len(w.sites)) + 1
	for h := 0; w.known < urls; {
		leases := w.take(w.Context(), max(0, int(doneShare*float64(w.known))-w.done))
		var links []frontier.Item
		for len(links) < 4*pagesOfCommit*linksOfPage && w.known < urls {
			for range pages {
				links = append(links, w.links(h, 0)...)
			}
			h = (h + 1) % len(w.sites)
		}
		w.done += len(leases)
		w.commit(leases, links)
	}
}

// rates are operations a second.
type rates struct{ unseen, seen, take, done float64 }

func (r rates) String() string {
	return fmt.Sprintf("add unseen %.0f, add seen %.0f, take %.0f, done %.0f a second", r.unseen, r.seen, r.take, r.done)
}

func (w *syntheticWeb) rates() (r rates) {
	per := func(n int, f func()) float64 {
		begin := time.Now()
		f()
		return float64(n) / time.Since(begin).Seconds()
	}
	const batch = pagesOfCommit * linksOfPage
	var unseen, seen [][]frontier.Item
	for range operations / batch {
		seen = append(seen, w.seen(batch))
	}
	for range operations / batch {
		unseen = append(unseen, w.fresh(pagesOfCommit))
	}
	n := batch * len(unseen)
	r.seen = per(n, func() {
		for _, items := range seen {
			if w.commit(nil, items) != 0 {
				w.Error("a URL that is known was added")
			}
		}
	})
	r.unseen = per(n, func() {
		for _, items := range unseen {
			if w.commit(nil, items) != batch {
				w.Error("a URL that is new was not added")
			}
		}
	})
	var take, done time.Duration
	for range operations / pagesOfCommit {
		begin := time.Now()
		leases := w.take(w.Context(), pagesOfCommit)
		taken := time.Now()
		w.commit(leases, nil)
		take, done = take+taken.Sub(begin), done+time.Since(taken)
	}
	r.take, r.done = operations/take.Seconds(), operations/done.Seconds()
	w.done += operations
	return r
}

// load adds and takes URLs at a rate, until ctx ends, and returns how long its commits took and when.
func (w *syntheticWeb) load(ctx context.Context, added *atomic.Int64, taken *atomic.Int64) (all []commitTime) {
	tick := time.NewTicker(time.Second / commitsOfLoad)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
		links := w.fresh(urlsOfLoad / commitsOfLoad / linksOfPage)
		leases := w.take(ctx, urlsOfLoad/commitsOfLoad)
		begin := time.Now()
		w.commit(leases, links)
		all = append(all, commitTime{begin, time.Now()})
		added.Add(int64(len(links)))
		taken.Add(int64(len(leases)))
	}
}

type commitTime struct{ begin, end time.Time }

// checkpoints makes some under the load, and reports.
func (w *syntheticWeb) checkpoints() {
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	var added, taken atomic.Int64
	var commits []commitTime
	var group sync.WaitGroup
	group.Go(func() { commits = w.load(ctx, &added, &taken) })
	begin := time.Now()
	var took []time.Duration
	var spans []commitTime
	for range checkpointsOf {
		time.Sleep(500 * time.Millisecond)
		at := time.Now()
		c, err := checkpoint.Create(ctx, w.st, checkpoint.Options{})
		if err != nil {
			w.Fatal(err)
		}
		spans = append(spans, commitTime{at, time.Now()})
		took = append(took, c.Took)
		if err := checkpoint.Seal(ctx, w.st, c.Name, checkpoint.Work{Rate: 64 << 20}); err != nil {
			w.Error(err)
		}
		if _, err := checkpoint.Retain(ctx, w.dir, checkpoint.Policy{Keep: 1}, checkpoint.Work{}); err != nil {
			w.Error(err)
		}
	}
	seconds := time.Since(begin).Seconds()
	stop()
	group.Wait()
	var during, beside time.Duration
	for _, c := range commits {
		if slices.ContainsFunc(spans, func(s commitTime) bool { return c.begin.Before(s.end) && c.end.After(s.begin) }) {
			during = max(during, c.end.Sub(c.begin))
		} else {
			beside = max(beside, c.end.Sub(c.begin))
		}
	}
	slices.Sort(took)
	w.Logf("checkpoints with %.0f URLs/s added and %.0f taken: median %v, longest %v; longest commit meanwhile %v, else %v",
		float64(added.Load())/seconds, float64(taken.Load())/seconds, round(took[len(took)/2]), round(took[len(took)-1]),
		round(during), round(beside))
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// size reports what the store takes on the disk, without checkpoints.
func (w *syntheticWeb) size() {
	var bytes int64
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d != nil && d.IsDir() && d.Name() == "checkpoints" {
			return fs.SkipDir
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	w.Logf("%d URLs, %d done: %d MB, %.1f bytes a URL; Go heap %d MB, resident %d MB", w.known, w.done, bytes>>20,
		float64(bytes)/float64(w.known), m.HeapInuse>>20, resident(w))
}

func resident(t testing.TB) int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte("VmRSS:"))
	kb, err := strconv.Atoi(strings.Fields(string(rest))[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}

// killed has another process work on the directory until it is killed, and measures how soon the first URL is taken then: with
// its files in memory, and with none of them there.
func (w *syntheticWeb) killed() {
	w.close()
	for _, cold := range []bool{false, true} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFrontierChild$")
		cmd.Env = append(os.Environ(), frontierChild+"="+w.dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			w.Fatal(err)
		}
		for line := make([]byte, 1); line[0] != '!'; { // it is at work
			if _, err := out.Read(line); err != nil {
				w.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if cold {
			forget(w, w.dir)
		}
		w.cache = store.NewCache(cacheOfEngine)
		begin := time.Now()
		w.open()
		opened := time.Since(begin)
		l, err := w.f.Take(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.Logf("behind kill -9, files in memory %v: store and frontier open after %v, first URL after %v", !cold, round(opened),
			round(time.Since(begin)))
		w.f.Return(l)
		if !cold {
			w.close()
		}
	}
}

// forget has the kernel let go of what it holds of the files in a directory.
func forget(t testing.TB, dir string) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFrontierChild is the process that is killed.
func TestFrontierChild(t *testing.T) {
	dir := os.Getenv(frontierChild)
	if dir == "" {
		return // it is not that
	}
	w := openWeb(t, dir, frontierHosts)
	for h := range w.next {
		w.next[h] = int(time.Now().Unix()) // none of the URLs that the other process knows
	}
	fmt.Print("!")
	var added, taken atomic.Int64
	w.load(t.Context(), &added, &taken)
}

// TestFrontierLarge is a frontier of FRONTIER_URLS: what it does a second, how long checkpoints take, how soon it is open again,
// and what it takes of disk and memory.
func TestFrontierLarge(t *testing.T) {
	urls := 200_000
	if n, err := strconv.Atoi(os.Getenv(frontierURLs)); err == nil {
		urls = n
	}
	w := openWeb(t, filepath.Join(t.TempDir(), "job"), min(frontierHosts, urls/urlsOfHost))
	for _, n := range []int{1_000_000, 5_000_000, 25_000_000} {
		if n = min(n, urls); n <= w.known {
			break
		}
		begin, before := time.Now(), w.known
		w.fill(n)
		t.Logf("filled with %.0f URLs/s", float64(w.known-before)/time.Since(begin).Seconds())
		w.size()
		t.Log(w.rates())
		w.checkpoints()
		w.killed()
	}
	w.close()
}
