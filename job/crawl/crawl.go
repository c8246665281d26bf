// Package crawl archives web sites: the job crawl.
//
// A URL is taken from the frontier when its host may be asked, fetched, and read for links. What became of it is written
// down by one goroutine, for many URLs at once: the records go into a WARC file and the lines into the logs, both are
// synced, and one transaction says that the URLs are done, how far those files count, which links are new, and when each
// host may be asked again. So a crash loses what was in flight and nothing else, and that is fetched again: it stands in
// its queue still.
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
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Job is a crawl at work.
type Job struct {
	env      engine.Env
	cfg      Config
	sheets   atomic.Pointer[scope.Sheets[Settings]]
	control  atomic.Pointer[control]
	resting  bool // it does not run: errands are done at once, by the caller
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
	broken   chan struct{} // closed when visits are not written down any more
	errands  chan errand
	progress progress
	room     *engine.Room // of the archive's disk
	short    shortage     // of room for answers
	// unwritten is the size in bytes of the answers that wait to be written, or are being written.
	unwritten atomic.Int64
	guests    chan struct{} // holds one for each worker that waits for the host that a robots.txt leads to
	led       *led          // those that wait, and that did in vain
	ending    atomic.Bool   // a person has ended the crawl
	over      atomic.Bool   // nothing is left to fetch
	stopping  chan struct{} // closed when it is to end
	stopped   sync.Once
}

// New opens the files of the job, and brings them in step with the store.
func New(env engine.Env, cfg Config) (*Job, error) { return open(env, cfg, false) }

// open is New; with resting, it is for a crawl that is not to run.
func open(env engine.Env, cfg Config, resting bool) (_ *Job, err error) {
	j := &Job{env: env, cfg: cfg.WithDefaults(), rules: &ruleBook{st: env.Store, recent: map[string]rulesUntil{}}, jar: newJar(env.Store),
		visits: make(chan *visit, mostTogether), broken: make(chan struct{}), errands: make(chan errand), stopping: make(chan struct{}),
		guests: make(chan struct{}, max(cfg.WithDefaults().Workers/4, 1)), led: newLed(env.Store),
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
		left, err := j.frontier.OpenFlights(filepath.Join(env.Dir, FlightsFile), j.pauseOf)
		inFlight = max(inFlight, left)    // the store knows those of its last commit
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

// FlightsFile is a file beside the store that has the URLs in flight. Without the store it means nothing.
const FlightsFile = "IN-FLIGHT"

// pauseOf returns how long a host is left alone of which no more is known than that it was asked for a URL a moment ago.
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

// stop ends the run.
func (j *Job) stop() { j.stopped.Do(func() { close(j.stopping) }) }

// roomAt watches the disk of a directory, unless that is the disk of the data directory, which is watched already. The
// watermarks are the same for both, unless the disk is too small for them.
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

// item returns a URL as the frontier wants it.
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

// precedence puts the robots.txt of a host first, then seeds, then parts of pages, then everything else.
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

// work fetches one URL after the other. ctx ends the taking of URLs, and fetching ends the fetching of those that were taken.
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
