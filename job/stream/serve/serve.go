// Package serve is the role of a stream that answers questions about its reports over HTTP: an engine.Job
// that listens, asks the database, and says what it knows.
//
// Its promise: an answer is what the database says, or it says that it is not. A database that is away,
// silent or refuses us is a 503 with the reason in words, since when, and the last answer to the same
// question with its age; never a "no data" that nobody has looked for, never a part of an answer that looks
// whole (a long one that can't go on is broken off, which every client notices). While the database's gate is
// closed nothing is asked but the gate's canary, once a second.
//
// Routes: / and /healthz, /avg, /extremes and /state_extremes as WeatherVane had them (weather.go),
// /api/v1/reports with the rows of any report (reports.go) and /api/v1/windows with what the ingester knows
// (windows.go). docs/stream-api.md shows them. Everything is a GET, nothing is changed by any.
//
// It keeps nothing: the last answers are in memory, bounded, and gone with the process.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/web"
	"holdfast/connector"
	"holdfast/job/stream/report"
	"holdfast/kernel/engine"
	"holdfast/kernel/gate"
	"holdfast/kernel/store"
)

// Config says what is served, and where.
type Config struct {
	// Listen is host:port; port 0 is any that is free. Other machines may reach it only with a Token.
	Listen string
	// Token must come with every request but those for /healthz; "" lets everybody on the machine ask.
	Token secret.Text
	// Tables are the database. The job closes it at the end of Run.
	Tables connector.Tables
	// Reports are the tables that can be asked for; by default those of WeatherVane.
	Reports report.List
	// Averages names the one of Reports behind /avg and /state_extremes, by default "weather_averages": its
	// means of one group. Extremes names the one behind /extremes, by default "zip_code_extremes": its members
	// of one group. Without such reports there are no such routes.
	Averages, Extremes string
	// Windows returns what the ingester knows of the windows that fit, as a value that is a list in JSON; nil if
	// no ingester runs in this process. Of its errors Invalid speaks of the question, and Transient of now.
	Windows func(ctx context.Context, q WindowQuery) (any, error)
	// Timeout is how long the database may take for an answer, or for the next part of a long one; default 5 s.
	Timeout time.Duration
	// AtOnce is how many questions are put to the database at once; default 64. A quarter of them may be for
	// reports, whose answers can take long.
	AtOnce int
	// Grace is how long answers under way may take when the job stops; default 10 s.
	Grace time.Duration
}

// WindowQuery says which windows are wanted. What is zero is no bound.
type WindowQuery struct {
	From, To time.Time // windows that have a moment between them; To itself is not within
	State    string    // as the ingester calls it
	Limit    int
}

// WithDefaults returns c with everything filled in that has a default.
func (c Config) WithDefaults() Config {
	if c.Reports == nil {
		c.Reports = report.Weather()
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.AtOnce == 0 {
		c.AtOnce = 64
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	return c
}

// check returns all faults of a configuration.
func (c Config) check() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if why := web.BadListen(c.Listen, c.Token != ""); why != "" {
		bad("listen: %s", why)
	}
	if c.Tables == nil {
		bad("a database is needed")
	}
	if c.Timeout < 0 || c.AtOnce < 0 || c.Grace < 0 {
		bad("timeout, questions at once and grace: want more than 0")
	}
	faults = append(faults, c.Reports.Validate()...)
	for i, r := range c.Reports {
		for _, name := range r.Tags() {
			if slices.Contains(reserved, name) {
				bad("reports[%d]: the column %q can't be asked for, because a parameter has that name", i, name)
			}
		}
	}
	return errors.Join(faults...)
}

// Job is the role at work.
type Job struct {
	env    engine.Env
	cfg    Config
	gate   *gate.Gate
	places places
	last   *recent
	routes map[string]route // those of WeatherVane
	probed string           // the table that the canary asks for
	// patience is how long a client may take for a request, and for each part of an answer.
	patience time.Duration

	// under is held for reading while a request is answered; over is set under it once none may begin.
	under sync.RWMutex
	over  bool
	// gaveUp is closed when the Grace of answers under way is over.
	gaveUp chan struct{}

	mu      sync.Mutex    // guards what is below
	addr    string        // where it listens, "" while it does not
	answers map[int]int64 // how many there were, by status
	broken  int64         // answers that were broken off
	bugTold time.Time     // when a panic was told last
}

var _ engine.Job = (*Job)(nil)

const (
	// idle is the pause between canaries while the gate is open, so that status tells the truth also where
	// nobody asks anything.
	idle = 5 * time.Second
	// retry is the pause while it is closed.
	retry    = time.Second
	patience = 30 * time.Second
)

// New builds the job. Nothing is listened to and nobody is asked before Run.
func New(_ context.Context, env engine.Env, cfg Config) (*Job, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.check(); err != nil {
		return nil, fault.New(fault.Permanent, "job %s: %w", env.Name, err)
	}
	j := &Job{env: env, cfg: cfg, places: newPlaces(cfg.AtOnce), last: newRecent(), patience: patience,
		answers: map[int]int64{}, gaveUp: make(chan struct{})}
	if err := j.weather(); err != nil {
		return nil, fault.New(fault.Permanent, "job %s: %w", env.Name, err)
	}
	j.gate = gate.New("database", gate.Options{Probe: j.probe, ProbeTimeout: cfg.Timeout, Every: idle,
		Closed: true, Fastest: retry, Slowest: retry, Jitter: -1, OnChange: j.env.History.Gate})
	return j, nil
}

// probe asks what most answers begin with. A question that is lost on the way would be waited for until its time
// is over, so another one is sent each second, and the first answer counts.
func (j *Job) probe(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error)
	next := time.NewTicker(retry)
	defer next.Stop()
	for {
		all.Go(func() {
			select {
			case answers <- j.askNewest(ctx):
			case <-ctx.Done():
			}
		})
		select {
		case err := <-answers:
			return err
		case <-next.C:
		case <-ctx.Done():
			return fault.New(fault.Transient, "%w within %v", errSilent, j.cfg.Timeout)
		}
	}
}

// askNewest is one canary. A panic in it is logged and counts as a failure: the job goes on, and answers that it can't.
func (j *Job) askNewest(ctx context.Context) error {
	err := fault.Catch(func() error {
		_, _, err := j.cfg.Tables.Newest(ctx, connector.TableQuery{Table: j.probed, Time: report.Time})
		return err
	})
	if bug, ok := errors.AsType[*fault.Panic](err); ok {
		j.env.Log.Error(fmt.Sprintf("probe the database: %v", bug), "stack", string(bug.Stack))
		return errors.New(bug.Error())
	}
	return err
}

// Run listens until ctx ends; what is being answered then gets the time of Grace.
func (j *Job) Run(ctx context.Context) error {
	defer j.close()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", j.cfg.Listen)
	if err != nil {
		return fault.WithHint(fault.New(fault.Transient, "listen on %s: %w", j.cfg.Listen, err),
			"see who has the port, or choose another one for listen")
	}
	j.at(ln.Addr().String())
	defer j.at("")
	gates, endGates := context.WithCancel(context.WithoutCancel(ctx)) // answers under way still ask
	g, ctx := engine.NewGroup(ctx)
	g.Go(func() error {
		if err := j.gate.Run(gates); !errors.Is(err, context.Canceled) || gates.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error {
		defer endGates()
		return j.listen(ctx, ln)
	})
	return g.Wait()
}

// listen answers until ctx ends, and returns when nothing of an answer is under way any more.
func (j *Job) listen(ctx context.Context, ln net.Listener) error {
	asked, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	srv := &http.Server{Handler: j.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return asked },
		ErrorLog: slog.NewLogLogger(j.env.Log.Handler(), slog.LevelWarn)}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }() // ends with Shutdown or Close
	var err error
	select {
	case err = <-ended:
		err = fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	drained, stop := context.WithTimeout(context.WithoutCancel(ctx), j.cfg.Grace)
	defer stop()
	defer context.AfterFunc(drained, func() { close(j.gaveUp) })()
	if srv.Shutdown(drained) != nil {
		giveUp()
		_ = srv.Close()
	}
	if err == nil {
		<-ended
	}
	// A handler may outlive its connection for a moment. None may ask a database that is closed.
	j.under.Lock()
	defer j.under.Unlock()
	j.over = true
	return err
}

func (j *Job) close() {
	if err := j.cfg.Tables.Close(); err != nil {
		j.env.Log.Warn(fmt.Sprintf("close the database: %v", err))
	}
}

func (j *Job) at(addr string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.addr = addr
}

// Addr is where the job listens, "" while it does not.
func (j *Job) Addr() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.addr
}

// Gates returns the health of the database.
func (j *Job) Gates() []gate.Status { return []gate.Status{j.gate.Status()} }

// OpenGate opens a gate on the word of a person.
func (j *Job) OpenGate(name string) error { return gate.Open(name, j.gate) }

// Notes returns where the job listens, and how many answers there were of each status.
func (j *Job) Notes() [][2]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out [][2]string
	if j.addr != "" {
		out = append(out, [2]string{"address", "http://" + j.addr + "/"})
	}
	var statuses []int
	for status := range j.answers {
		statuses = append(statuses, status)
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		out = append(out, [2]string{"answers with " + strconv.Itoa(status),
			strconv.FormatInt(j.answers[status], 10)})
	}
	if j.broken > 0 {
		out = append(out, [2]string{"answers broken off", strconv.FormatInt(j.broken, 10)})
	}
	return out
}

// Quotas: nothing is kept on the disk.
func (j *Job) Quotas() []engine.Quota { return nil }

// Tasks: there are none.
func (j *Job) Tasks(store.Reader) (engine.Tasks, error) { return engine.Tasks{}, nil }

// Promises: there is no sink.
func (j *Job) Promises() map[string]string { return nil }

// Command carries out what a person asked: try asks a database that is away now.
func (j *Job) Command(_ context.Context, name string, _ []string) (string, error) {
	if name == "try" {
		j.gate.Kick()
		return "", nil
	}
	return "", fault.New(fault.Invalid, "the API of a stream does not know the command %q", name)
}
