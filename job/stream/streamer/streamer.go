// Package streamer is the role of a stream that cuts a data set into windows and batches, sends them over a
// broker that may lose them, and sends again what is asked for.
//
// The way of a row: it is written as JSON into the pile of its window's time; every cfg.Batch of them are a
// batch, packed as it will be sent. When a row of a later window comes, or the data set ends, the pile
// becomes a window: it gets the next number of the epoch and a manifest, which never change. All of that is
// one commit with the source's cursor. The window goes out once its time has come: the manifest, then the
// batches, the last one under LAST. It stays for resending until it is confirmed and so many others behind
// it, or until there is no room.
//
// A row of a window that is closed already is not lost: such rows are collected until the open window closes,
// and are then a further window of their time, with a number of its own. What can't be sent at all is a dead
// letter.
//
// What is sent and confirmed is kept lazily: after a crash the last half second of it may be done again,
// which whoever hears the stream is used to. Everything else is durable before the outside can see a trace of
// it.
//
// Keys, in the Job space (all values begin with a version byte, 1; those of batch and tail are a zstd frame,
// all others JSON):
//
//	streamer/epoch              the numbering, and the store's lineage that it is of
//	streamer/state              cursor, laps, the next numbers, the piles: changes with every page
//	streamer/marks              what is sent and confirmed
//	streamer/pace               when a window was last let go
//	streamer/window/ number(8)  a window: its time, and rows, hash and size of each batch
//	streamer/pile/ pile(8)      a window that is not closed, likewise
//	streamer/tail/ pile(8)      its rows that are in no batch yet
//	streamer/batch/ pile(8) index(4)  the payload of a batch
//
// None of them is a fact: a store that was restored or salvaged begins a new epoch with what it has.
//
// The books have what was read. What of it is where it belongs stands in the notes: a flow's pending rows
// would have to be blocks of a spool, which a streamer does not have.
package streamer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/stream/hear"
	"holdfast/job/stream/wire"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/identity"
	"holdfast/kernel/store"
)

// DefaultTimeLayout is how WeatherVane's payloads write times.
const DefaultTimeLayout = "2006-01-02 15:04"

// Config tunes a streamer.
type Config struct {
	Names  wire.Names
	Broker connector.Broker // its owner closes it
	// Group is the name under which a durable broker keeps what the streamer has not heard.
	Group string
	// Source is the name of the source in the books; default "source".
	Source string
	// DataSet names the data set for people. One with another name is read from its beginning.
	DataSet string
	// Reopen opens the source once more, for the next lap; needed if Loop is set.
	Reopen func() (connector.Source, error)
	// Changed says of each file that was read up to a cursor that it is another one now; nil if nobody can tell.
	Changed func(cursor []byte) map[string]string
	// Empty are the files that are passed over because they are empty; nil if nobody can tell.
	Empty func(cursor []byte) []string

	// Window is the time of a window; they are aligned to it, in UTC. Default 1h.
	Window time.Duration
	// Key makes a window's key of its beginning; default the hour without padding.
	Key func(from time.Time) string
	// Batch is the most rows of a batch; default 500. There are fewer where these would be too large for the
	// broker.
	Batch int
	// TimeLayout is how payloads write times, as package time has it; default DefaultTimeLayout. The times of a row for
	// which it is too coarse are written as RFC 3339 has them.
	TimeLayout string

	// Interval is the wall time of a window, from its first batch to that of the next; Speedup divides event
	// time. At most one of them is set; with none windows go out as fast as they are taken.
	Interval time.Duration
	Speedup  float64
	// InFlight is how many bytes may be sent and not confirmed while confirmations come; default 8 MiB.
	InFlight int64

	// RetainWindows is how many confirmed windows stay for resending; default 48, below 0 none.
	RetainWindows int
	// RetainBytes is the most that all windows take; default 2 GiB. The oldest go: confirmed ones, and sent ones
	// if nobody ever confirms. Half of it is for those that are not sent: reading waits for room.
	RetainBytes int64
	// Expire lets sent windows go unconfirmed when all take RetainBytes, though somebody confirms, as counted
	// gaps. Without it reading waits until they are confirmed.
	Expire bool

	// Loop begins the data set again at its end, later by the days that it spans.
	Loop bool
	// Once ends the job when everything is sent and confirmed, and an ingester has heard that there is nothing more or has
	// ended.
	Once bool
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Source == "" {
		c.Source = "source"
	}
	if c.Window == 0 {
		c.Window = time.Hour
	}
	if c.Key == nil {
		c.Key = hourKey
	}
	if c.Batch == 0 {
		c.Batch = 500
	}
	if c.TimeLayout == "" {
		c.TimeLayout = DefaultTimeLayout
	}
	if c.InFlight == 0 {
		c.InFlight = 8 << 20
	}
	if c.RetainWindows == 0 {
		c.RetainWindows = 48
	}
	c.RetainWindows = max(c.RetainWindows, 0)
	if c.RetainBytes == 0 {
		c.RetainBytes = 2 << 30
	}
	return c
}

// check returns all that is wrong.
func (c Config) check(src connector.Source) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := c.Names.Check(); err != nil {
		bad("channels: %w", err)
	}
	if c.Window < 0 || c.Batch < 0 || c.InFlight < 0 || c.RetainBytes < 0 || c.Interval < 0 {
		bad("a window, batch, interval or limit is below 0")
	}
	if c.Speedup < 0 || math.IsNaN(c.Speedup) || math.IsInf(c.Speedup, 0) {
		bad("speedup is %v, want a number above 0, or 0 for as fast as can be", c.Speedup)
	}
	if c.Interval > 0 && c.Speedup > 0 {
		bad("interval and speedup both say when a window goes out: want one of them")
	}
	if c.Loop && c.Reopen == nil {
		bad("the data set can't be begun again: nothing says how it is opened")
	}
	if c.Loop && c.Once {
		bad("once and loop: a loop has no end")
	}
	for hour := range 24 {
		key := c.Key(time.Date(2000, 1, 1, hour, 0, 0, 0, time.UTC))
		p, err := wire.ParsePlace("0:" + key)
		if err != nil || (connector.Message{Topic: "x", Key: p.Key()}).Check() != nil {
			bad("want one word for a window's key, got %.100q", key)
			break
		}
	}
	s := src.Schema()
	if s.Time < 0 {
		bad("the data set has no column of event times")
	}
	if len(s.FieldIndices(hourColumn)) > 0 {
		bad("a column is named %s, as is what the payloads have behind the columns: give it another name",
			hourColumn)
	}
	return errors.Join(errs...)
}

// Job is a streamer at work.
type Job struct {
	env    engine.Env
	cfg    Config
	from   string // who we are, for people
	source uint32 // its id in the books
	known  *identity.Hashed

	src   connector.Source // nil while it is to be opened again; of runIntake
	cut   *cutter          // of runIntake
	feed  *gate.Gate       // of the source; it has no canary, the next page is one
	desk  *desk
	pacer *pacer
	quota *engine.Gauge

	gate  *gate.Gate     // of the broker
	ears  chan *hear.Ear // a new hearing; holds one
	hears atomic.Bool    // there is a hearing
	// refused is what a broker had no room for; nil if it took everything.
	refused atomic.Pointer[item]
	mended  chan struct{}                     // a person did something about the source; holds one
	changed atomic.Pointer[map[string]string] // what was told of files that are others now; of runIntake
	empty   []string                          // files that were told to be empty; of runIntake
}

var _ engine.Job = (*Job)(nil)

// New builds the job: it loads what the store holds, and begins an epoch if the store has none yet or was
// restored. The source is the job's from then on.
func New(ctx context.Context, env engine.Env, src connector.Source, cfg Config) (*Job, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.check(src); err != nil {
		return nil, fault.New(fault.Permanent, "streamer: %w", err)
	}
	s, lost, err := openBook(ctx, env.Store)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	j := &Job{env: env, cfg: cfg, src: src,
		from: fmt.Sprintf("%s, process %d: %s", host, os.Getpid(), cfg.DataSet),
		desk: newDesk(s, cfg.InFlight), pacer: newPacer(cfg, s.pace, time.Now()), ears: make(chan *hear.Ear, 1),
		mended: make(chan struct{}, 1),
		quota: engine.NewGauge(engine.Quota{Policy: policy(cfg.Expire),
			Marks: engine.Marks{Hard: cfg.RetainBytes}})}
	j.cut = &cutter{span: cfg.Window, batch: cfg.Batch, most: mostBytes(cfg), layout: cfg.TimeLayout,
		name: cfg.Key, schema: src.Schema(), state: s.state}
	j.cut.resume(s.piles)
	j.desk.building, j.desk.keeps = j.cut.rows(), cfg.Broker.Traits().Durable
	if err := j.register(lost); err != nil {
		return nil, err
	}
	j.beginDataSet()
	j.feed = gate.New(cfg.Source, gate.Options{OnChange: j.gateChanged})
	j.gate = gate.New(theBroker, gate.Options{Probe: j.probe, Closed: true, Fastest: time.Second,
		Slowest: time.Second, Jitter: -1, OnChange: j.gateChanged})
	return j, nil
}

// policy is what a quota calls it.
func policy(expire bool) string {
	if expire {
		return "expire"
	}
	return "hold"
}

// What a message may hold where the broker does not say it, and what is left for its own words.
const (
	likelyPayload = 1 << 20
	largest       = 8 << 20
	forWords      = 4 << 10
)

// mostBytes is the most bytes of a batch's payload.
func mostBytes(cfg Config) int {
	most := cfg.Broker.Traits().MaxPayload
	if most == 0 {
		most = likelyPayload
	}
	return min(most, largest) - forWords
}

// register finds the source's place in the books, and puts into them what a salvage did not find.
func (j *Job) register(missing []loss) (err error) {
	if j.known, err = identity.OpenHashed(j.env.Store, j.cfg.Source+"/rejects", knownFor); err != nil {
		return err
	}
	err = j.env.Store.Update(func(tx *store.Tx) error {
		if j.source, _, err = tx.ID(store.SourceName, j.cfg.Source); err != nil {
			return err
		}
		for _, l := range missing {
			if err := lose(tx, j.source, balance.Damage, l.rows, l.what); err != nil {
				return err
			}
		}
		return balance.KeepLetters(tx)
	})
	if err != nil {
		return fmt.Errorf("register source %s: %w", j.cfg.Source, err)
	}
	for _, l := range missing {
		j.env.History.Warn("damage.lost", "%s", l.what)
	}
	return nil
}

// beginDataSet begins another data set than the one before at its beginning. It is durable with its first
// page.
func (j *Job) beginDataSet() {
	st := &j.cut.state
	j.desk.change(func() { j.desk.over = false }) // until it was looked at: there may be more of it than there was
	if st.DataSet == j.cfg.DataSet {
		return
	}
	if st.Cursor != nil || st.Over {
		j.env.History.Note("stream.dataset", "%s is read from its beginning; it was %s before", j.cfg.DataSet,
			st.DataSet)
	}
	*st = state{DataSet: j.cfg.DataSet, Next: st.Next, NextPile: st.NextPile, Piles: st.Piles}
}

// Run works until ctx ends, or until everything is sent and confirmed if the job is to end then.
func (j *Job) Run(ctx context.Context) error {
	defer j.close()
	g, ctx := engine.NewGroup(ctx)
	g.Go(func() error { return j.gate.Run(ctx) })
	for _, work := range []func(context.Context) error{j.runIntake, j.runPace, j.runSend, j.runListen,
		j.runKeep} {
		g.Go(func() error { return work(ctx) })
	}
	err := g.Wait()
	if errors.Is(err, errOver) {
		j.lookBack() // windows may have waited for long since their file was read
		return nil
	}
	return err
}

// close ends what the job has opened. The broker is its owner's.
func (j *Job) close() {
	select {
	case ear := <-j.ears: // of a canary that nobody listened to any more
		ear.Close()
	default:
	}
	j.closeSource()
}

func (j *Job) closeSource() {
	if j.src == nil {
		return
	}
	if err := j.src.Close(); err != nil {
		j.env.Log.Warn(fmt.Sprintf("close source: %v", err))
	}
	j.src = nil
}

// gateChanged tells the history that a dependency went away or came back.
func (j *Job) gateChanged(s gate.Status) {
	if !s.Open {
		j.desk.change(func() { j.desk.told = time.Time{} }) // nobody hears it, and silence says nothing
	}
	j.env.History.Gate(s)
}
