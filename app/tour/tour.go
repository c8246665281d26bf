// Package tour is what `holdfast demo` shows: all kinds of jobs at work on one machine (Open), what they work on - a simulated
// feed of spots (Feed), a camera (Camera), a web site (Site), a made-up day of weather - and outages that a person can switch
// on (Tour.Switch).
//
// The outages happen where real ones would: a connection is reset, a database is locked, a directory is away. The jobs are
// those of app and know nothing of them. It only makes a configuration, and fulfils app.Outages; the command demo calls it.
package tour

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"holdfast/app"
	"holdfast/app/datadir"
	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/connector"
)

// Tour is the plan of the tour with what a person can do in it: outages to switch on, each with what to look at. All of them
// are real for the jobs: nothing in these knows of it.
type Tour struct {
	Plan *app.Plan

	feed    *Feed
	trouble *Trouble
	site    *Site
	reports string // address
	dir     string // the data directory

	mu    sync.Mutex   // guards what is below
	crash func() error // ends this process as kill -9 does, and begins it anew; it returns only if it can't
	since map[string]time.Time
	locks []func() error // end the locks on databases
	full  bool           // the disk
}

// The switches, in the order in which they are shown.
const (
	feedAway     = "feed"
	databaseAway = "database"
	brokerAway   = "broker"
	brokerLossy  = "lossy"
	siteAway     = "site"
	archiveAway  = "archive"
	diskFull     = "disk"
	crash        = "crash"
)

var outages = []app.Outage{
	{Name: feedAway, Title: "The feed is gone", Jobs: []string{"spots"},
		Text: "Every connection to the feed of spots is reset.",
		Look: "The gate of the source closes when the feed is asked next, within ten seconds, with the cause in words; nothing " +
			"is lost. Switch it off: what came meanwhile is fetched, and no gap stays open."},
	{Name: databaseAway, Title: "The databases are locked", Jobs: []string{"spots", "weather-ingester", "weather-processor"},
		Text: "Another program holds the databases of spots and of the weather, and no row can be written.",
		Look: "Rows wait in the spool, and are counted: read = delivered + waiting. Behind the outage they are delivered within a second " +
			"or two, each once."},
	{Name: brokerAway, Title: "The broker is away", Jobs: []string{"weather-streamer", "weather-ingester", "weather-processor"},
		Text: "Streamer, ingester and processor of the weather hear nothing of each other.",
		Look: "Windows wait in the streamer. When the broker is back every window is completed, and its report computed."},
	{Name: brokerLossy, Title: "The broker loses a third", Jobs: []string{"weather-ingester"},
		Text: "Every third message vanishes, whatever it is.",
		Look: "Windows miss batches for a moment, by number; they are asked for again until each is whole."},
	{Name: siteAway, Title: "The remote host is away", Jobs: []string{"pages"},
		Text: "The web site resets every connection.",
		Look: "The crawl asks again later, and fails no URL for it. One that has fetched everything does not notice: begin a new one on " +
			"its page."},
	{Name: archiveAway, Title: "The archive is unmounted", Jobs: []string{"frames"},
		Text: "The directory that frames are brought to is not there.",
		Look: "Frames wait, and no attempt is spent. When it is back each comes once, verified, with every step of its way."},
	{Name: diskFull, Title: "The disk is full", Jobs: []string{"spots", "frames"},
		Text: "Holdfast is told that there is next to no room.",
		Look: "Sources that can wait are paused before anything can break; what is kept is still delivered. With room all goes on by itself."},
	{Name: crash, Title: "Holdfast crashes", Jobs: []string{}, Moment: true,
		Text: "The process ends as by kill -9, in the middle of whatever it does, and is started again.",
		Look: "This page says that it has lost the connection, and finds it again. Every job goes on where it was: the balance holds, and " +
			"nothing is delivered twice."},
}

var _ app.Outages = (*Tour)(nil)

// OnCrash says how this process crashes and is started again; until then it can't.
func (t *Tour) OnCrash(f func() error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.crash = f
}

// Switches are the outages as they are switched.
func (t *Tour) Switches() []app.Outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(outages)
	for i, s := range all {
		all[i].Since, all[i].On = t.since[s.Name], !t.since[s.Name].IsZero()
	}
	return all
}

// Switch begins an outage, or ends it.
func (t *Tour) Switch(ctx context.Context, name string, on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.ContainsFunc(outages, func(s app.Outage) bool { return s.Name == name }) {
		return fault.New(fault.NotFound, "the tour has no switch %.40q", name)
	}
	if on == !t.since[name].IsZero() {
		return nil
	}
	if err := t.turn(ctx, name, on); err != nil {
		return fmt.Errorf("switch %s: %w", name, err)
	}
	if delete(t.since, name); on && name != crash {
		t.since[name] = time.Now().UTC()
	}
	return nil
}

// turn does it; the caller holds mu.
func (t *Tour) turn(ctx context.Context, name string, on bool) error {
	switch name {
	case feedAway:
		return t.feed.sim.Switch("reset", on)
	case databaseAway:
		return t.lock(ctx, on)
	case brokerAway:
		t.trouble.set("away", on)
	case brokerLossy:
		t.trouble.set("lossy", on)
	case siteAway:
		t.site.setAway(on)
	case archiveAway:
		return t.unmount(on)
	case diskFull:
		t.full = on
	case crash:
		if t.crash == nil {
			return fault.New(fault.Conflict, "this process can't be started again")
		}
		f := t.crash
		time.AfterFunc(crashAfter, func() { _ = f() }) // the answer goes out before
	}
	return nil
}

// crashAfter is the time between an order to crash and the crash.
const crashAfter = 100 * time.Millisecond

// DiskIsFull is what the engine is told of its disk.
func (t *Tour) DiskIsFull() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.full
}

// Broker puts the switches of the broker before it.
func (t *Tour) Broker(b connector.Broker) connector.Broker { return troubled{b, t.trouble} }

// lock holds the databases as another program could, or lets them go.
func (t *Tour) lock(ctx context.Context, on bool) (err error) {
	if !on {
		return t.unlock()
	}
	for _, name := range []string{spotsDB, weatherDB} {
		end, err := lockDatabase(ctx, filepath.Join(t.dir, name))
		if err != nil {
			return errors.Join(err, t.unlock())
		}
		t.locks = append(t.locks, end)
	}
	return nil
}

func (t *Tour) unlock() (err error) {
	for _, end := range t.locks {
		err = errors.Join(err, end())
	}
	t.locks = nil
	return err
}

// lockDatabase begins a transaction that writes.
func lockDatabase(ctx context.Context, path string) (end func() error, err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=rw&_pragma=busy_timeout(3000)")
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "begin immediate")
	}
	if err != nil {
		return nil, errors.Join(fault.New(fault.Transient, "lock %s: %w", path, err), db.Close())
	}
	return func() error { return errors.Join(conn.Close(), db.Close()) }, nil // which rolls it back
}

// unmount takes the archive away, or brings it back.
func (t *Tour) unmount(on bool) error {
	here, away := filepath.Join(t.dir, archiveDir), filepath.Join(t.dir, archiveDir+awaySuffix)
	if on {
		return os.Rename(here, away)
	}
	return remount(here, away)
}

const awaySuffix = ".unmounted"

// remount brings back what was taken away, in this life or in one that a crash ended.
func remount(here, away string) error {
	err := os.Rename(away, here)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Close ends every outage.
func (t *Tour) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.unlock(), t.unmount(false))
}

// Dir is the data directory of a tour: the one that was named, else one of its own, which end removes. A tour that was killed
// left it there, and goes on in it.
func Dir(named string) (dir string, end func() error, err error) {
	if named != "" || os.Getenv(datadir.Variable) != "" {
		return named, func() error { return nil }, nil
	}
	dir = datadir.Tour()
	if err := disk.Private(dir); err != nil {
		return "", nil, fault.NewUsage("give the tour a directory with --data-dir", "make the directory of the tour: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
