// Package crawl archives web sites: the job crawl.
//
// A URL is taken from the frontier when its host may be asked, fetched, and read for links. What became of it is written down by
// one goroutine, for many URLs at once: the records go into a WARC file and the lines into the logs, both are synced, and one
// transaction says that the URLs are done, how far those files count, which links are new, and when each host may be asked again.
// So a crash loses what was in flight and nothing else, and that is fetched again: it stands in its queue still.
//
// Called by app.
package crawl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Config is what the job is to do.
type Config struct {
	// Seeds are where it begins. Those that are new are added to the ones that it had.
	Seeds []string
	Fetch connector.Fetcher
	// Rules say which URLs are one.
	Rules weburl.Rules
	// Scope says which URLs are crawled; empty for that of scope.Default.
	Scope scope.List
	// Settings, and what is other for some URLs.
	Settings Settings
	Sheets   []scope.Sheet[Settings]
	// MaxBytes is how much is read of an answer for which settings have no other limit; default 1 GiB.
	MaxBytes int64
	Archive  archive.Options
	// Logs is the directory of the logs.
	Logs string
	// Workers is how many URLs are fetched at once; default 50.
	Workers int
	// PerHost is how many of them may be of one host; default 1.
	PerHost int
	// Agent is the name that robots.txt knows the crawler by.
	Agent string
	// Journal: a recover journal is kept beside the logs.
	Journal bool
	// Earlier are CDXJ files of earlier crawls, or directories of them: what they have is not kept again.
	Earlier []string
	// Once has the job end when nothing is left to fetch; else it waits for seeds.
	Once bool
	// Budget is how much is fetched at most. A person may set another one, which stays until the configuration has a new one.
	Budget frontier.Budget
	// PerPattern is how many URLs of a host are queued that differ only in numbers, dates or ids; 0 is all of them.
	PerPattern uint64
	// Given are the keys of settings, and "limits" for the Budget, that stand above what a person ordered before.
	Given []string
	// Fixed: settings are not changed by order, because they stand in a file.
	Fixed bool
	// Beside lets a crawl whose store is empty begin where WARC files of its name are.
	Beside bool
	// Again has a crawl that is over begin anew: what it knows of URLs is forgotten, what it knows of payloads is not.
	Again bool
}

func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = 50
	}
	if c.PerHost == 0 {
		c.PerHost = 1
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if len(c.Scope) == 0 {
		c.Scope = scope.Default()
	}
	return c
}

// Job is a crawl at work.
type Job struct {
	env      engine.Env
	cfg      Config
	sheets   atomic.Pointer[scope.Sheets[Settings]]
	control  atomic.Pointer[control]
	resting  bool // it does not run: errands are done at once, by whoever has them
	frontier *frontier.Frontier
	files
	rules    *ruleBook
	jar      *jar
	outages  *outages
	seeds    *seeds
	clock    *clock
	disk     *gate.Gate // open while there is room for answers
	network  *gate.Gate // open while this end is not cut off
	visits   chan *visit
	broken   chan struct{} // closed when nobody writes visits down any more
	errands  chan errand
	progress progress
	room     *engine.Room // of the archive's disk
	short    shortage     // of room for answers
	// unwritten is how many bytes answers have that are to be written, or are just now.
	unwritten atomic.Int64
	guests    chan struct{} // holds one for each worker that waits for the host that a robots.txt leads to
	led       *led          // those that wait, and that did in vain
	ending    atomic.Bool   // a person has ended the crawl
	over      atomic.Bool   // nothing is left to fetch
	stopping  chan struct{} // closed when it is to end
	stopped   sync.Once
}

// New opens what the job has, and brings it to what the store says.
func New(env engine.Env, cfg Config) (*Job, error) { return open(env, cfg, false) }

// open is New, also for a crawl that is not to run.
func open(env engine.Env, cfg Config, resting bool) (_ *Job, err error) {
	j := &Job{env: env, cfg: cfg.withDefaults(), rules: &ruleBook{st: env.Store, recent: map[string]rulesUntil{}}, jar: newJar(env.Store),
		visits: make(chan *visit, mostTogether), broken: make(chan struct{}), errands: make(chan errand), stopping: make(chan struct{}),
		guests: make(chan struct{}, max(cfg.withDefaults().Workers/4, 1)), led: newLed(env.Store),
		disk:    gate.New("disk", gate.Options{OnChange: env.History.Gate}),
		network: gate.New("network", gate.Options{OnChange: env.History.Gate}), resting: resting}
	var inFlight int
	err = env.Store.Latest(func(r store.Reader) (err error) {
		inFlight, err = frontier.InFlight(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := j.alone(); err != nil {
		return nil, err
	}
	if err := j.again(); err != nil {
		return nil, err
	}
	var moved []string
	if j.files, moved, err = openFiles(env.Store, j.cfg, env.Log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.close())
		}
	}()
	if j.frontier, err = frontier.Open(env.Store, frontier.Options{PerHost: j.cfg.PerHost}); err != nil {
		return nil, err
	}
	j.rules.frontier = j.frontier
	j.outages = &outages{st: env.Store, frontier: j.frontier, recent: recent[outage]{most: mostOutages}}
	if j.clock, err = openClock(env.Store); err != nil {
		return nil, err
	}
	if err := j.openControl(); err != nil {
		return nil, err
	}
	if !resting {
		err := j.frontier.OpenFlights(filepath.Join(env.Dir, FlightsFile), j.pauseOf)
		if fault.Is(err, fault.Invalid) { // it costs a pause at most, and not the start
			env.Log.Warn(fmt.Sprintf("%v; %s", err, fault.HintOf(err)))
		} else if err != nil {
			return nil, err
		}
		if j.room, err = roomAt(env, j.cfg.Archive.Dir); err != nil {
			return nil, err
		}
	}
	if err := j.openSeeds(); err != nil {
		return nil, err
	}
	if err := j.noteStart(inFlight); err != nil {
		return nil, err
	}
	j.tellFound(moved)
	return j, nil
}

// close closes all that New opened.
func (j *Job) close() error {
	err := j.files.close()
	if j.frontier != nil {
		err = errors.Join(err, j.frontier.CloseFlights())
	}
	return err
}

// FlightsFile is a file beside the store with the URLs in flight. Without a store it means nothing.
const FlightsFile = "IN-FLIGHT"

// pauseOf is how long a host is left alone of which nothing is known but that it was asked for a URL a moment ago.
func (j *Job) pauseOf(url string) (queue string, pause time.Duration, err error) {
	u, err := weburl.Parse(url)
	if err != nil {
		return "", 0, fault.As(fault.Invalid, err)
	}
	set := j.settingsFor(u)
	r, ok, err := j.rulesFor(u.QueueKey(), set)
	if err == nil && ok {
		pause = min(r.Delay(), set.maxCrawl)
	}
	return u.QueueKey(), max(pause, set.min), err
}

// stop has the run end.
func (j *Job) stop() { j.stopped.Do(func() { close(j.stopping) }) }

// roomAt watches the disk of a directory; that of the data directory is watched already. Its marks are those of that one, unless it is
// too small for them.
func roomAt(env engine.Env, dir string) (*engine.Room, error) {
	var here, there unix.Stat_t
	if err := errors.Join(unix.Stat(env.Dir, &here), unix.Stat(dir, &there)); err != nil {
		return nil, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	if here.Dev == there.Dev {
		return env.Room, nil
	}
	room, err := disk.RoomAt(dir)
	if err != nil {
		return nil, err
	}
	limits := env.Room.Limits()
	if limits.Soft > room.Total/2 {
		limits = engine.RoomLimits{} // those for its size
	}
	return engine.NewRoom(dir, limits, env.Log)
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// alone refuses to begin where a crawl of that name has been whose store is gone.
func (j *Job) alone() error {
	began := false
	err := j.env.Store.Latest(func(r store.Reader) (err error) { began, err = archive.Began(r); return err })
	if err != nil || began || j.cfg.Beside {
		return err
	}
	return Alone(j.cfg.Archive, j.env.Dir)
}

// Alone is a Conflict if WARC files are there of a crawl whose store is empty: all would be fetched and kept once more.
func Alone(o archive.Options, store string) error {
	names, err := archive.Named(o.Dir, o.Name)
	if err != nil || len(names) == 0 {
		return err
	}
	return fault.WithHint(fault.New(fault.Conflict, "%s has WARC files of a crawl %s, such as %s, and what that knew is gone from %s: all "+
		"would be fetched again", o.Dir, o.Name, names[0], store),
		"put it back, or go back to a checkpoint (--from); --beside, or `warc: {beside: true}`, begins anew beside them")
}

// again forgets what was crawled, if that is asked for and nothing of it is left to do.
func (j *Job) again() error {
	if !j.cfg.Again {
		return nil
	}
	forgot := false
	err := j.env.Store.Update(func(tx *store.Tx) error {
		c, err := frontier.ReadCounts(tx)
		if err != nil || c.Known == 0 || c.Queued+c.Waiting > 0 {
			return err
		}
		forgot = true
		frontier.Forget(tx)
		tx.DeleteRange(rulesPrefix, rulesPrefix.End())
		tx.DeleteRange(seedsPrefix, seedsPrefix.End())
		tx.DeleteRange(jarPrefix, jarPrefix.End())
		tx.DeleteRange(outagesPrefix, outagesPrefix.End())
		tx.DeleteRange(ledPrefix, ledPrefix.End())
		tx.Set(againKey, nil)
		return nil
	})
	if forgot {
		j.env.History.Note("crawl.again", "the crawl was over, and begins again from its seeds")
	}
	return err
}

// againKey is the key of a crawl that did begin again.
var againKey = store.Key{byte(store.Job), 'B'}

// grace is how long fetches that are under way go on when the work is told to end.
const grace = 5 * time.Second

// Run crawls until the frontier is empty, or ctx ends.
func (j *Job) Run(ctx context.Context) error {
	outer := ctx
	g, ctx := engine.NewGroup(outer)
	work, end := context.WithCancel(ctx)
	defer end()
	fetching, drop := context.WithCancel(context.WithoutCancel(ctx))
	defer drop()
	defer context.AfterFunc(work, func() { time.AfterFunc(grace, drop) })()
	workers, workersCtx := engine.NewGroup(work)
	for n := range j.cfg.Workers {
		workers.Go(func() error { return j.work(workersCtx, fetching, n) })
	}
	g.Go(func() error {
		defer close(j.visits)
		return workers.Wait()
	})
	g.Go(j.write)
	g.Go(func() error { return j.index.Run(work) })
	g.Go(func() error { // a person ends it
		defer end()
		select {
		case <-j.stopping:
		case <-work.Done():
		}
		return nil
	})
	g.Go(func() error {
		defer end()
		err := j.finish(work)
		j.over.Store(err == nil && work.Err() == nil)
		return err
	})
	err := g.Wait()
	if err == nil && (j.over.Load() || j.ending.Load()) { // for a pause it could take too long
		_, err = j.index.Write(context.WithoutCancel(ctx))
	}
	err = errors.Join(err, j.close())
	j.holdIfFull(outer, err)
	return err
}

// item is a URL as the frontier has it.
func (j *Job) item(u weburl.URL, hops string, via weburl.URL, source string) frontier.Item {
	canonical := j.cfg.Rules.Canonical(u)
	k := canonical.Key()
	if isRobots(u) { // each host has its own, also one that is the same to an archive as another
		k = u.Key()
	}
	i := frontier.Item{URL: u.String(), Key: k, Queue: u.QueueKey(), Hops: hops, Via: via.String(), Source: source,
		Precedence: precedence(u, hops)}
	if hops != "" && j.cfg.PerPattern > 0 { // a person's seeds are no trap
		i.Pattern, i.PatternBudget = scope.PatternOf(u), j.cfg.PerPattern
	}
	return i
}

// precedence has the rules of a host come first, then seeds, then parts of pages, then the others.
func precedence(u weburl.URL, hops string) uint8 {
	switch {
	case isRobots(u):
		return 0
	case hops == "":
		return 1
	case hops[len(hops)-1] == byte(extract.Embed), hops[len(hops)-1] == byte(extract.Redirect):
		return 2
	}
	return 3
}

// work fetches one URL after the other. ctx is for taking them, fetching for those that were taken.
func (j *Job) work(ctx, fetching context.Context, worker int) error {
	for {
		l, tries, err := j.take(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		v, err := j.visit(fetching, l, worker)
		if tries {
			j.short.tried()
		}
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		for _, c := range v.all() {
			c.packed, _ = j.archive.Pack(c.records...) // what is wrong with them is found again when they are added
		}
		select { // what was fetched is written down, also when the work is told to end
		case j.visits <- v:
		case <-j.broken:
			return v.close()
		}
	}
}
