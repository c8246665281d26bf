package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"holdfast/base/record"
	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/redis"
	"holdfast/job/collect"
	"holdfast/job/stream/ingester"
	"holdfast/job/stream/streamer"
	"holdfast/job/stream/wire"
	"holdfast/kernel/engine"
	"holdfast/tests/testenv"
)

// A window of a repair has 88 batches as the original's, of 100 rows.
const (
	repairBatch   = 100
	repairBatches = 88
)

// network loses messages on the way to Redis, and calls strike in front of the batch of that number.
type network struct {
	strike func()
	at     int // 0 for never

	mu      sync.Mutex // guards the below
	rng     *rand.Rand
	share   float64 // of the messages, which is lost
	batches int     // that were to be sent
	first   time.Time
	struck  bool
	again   map[string]time.Time // when a role reached Redis for the first time after the strike
}

// route is the connection of a role through the network.
type route struct {
	connector.Broker
	net  *network
	role string
}

// Publish asks Redis also for a message that is lost, under a name that nobody hears: that the server is dead is no
// secret.
func (r route) Publish(ctx context.Context, m connector.Message) error {
	n := r.net
	n.mu.Lock()
	lost := n.rng.Float64() < n.share
	strike := false
	if m.Topic == weatherNames.Data() {
		if n.first.IsZero() {
			n.first = time.Now()
		}
		n.batches++
		strike = n.batches == n.at
	}
	n.mu.Unlock()
	if strike {
		n.strike()
	}
	if lost {
		m.Topic = "lost"
	}
	err := r.Broker.Publish(ctx, m)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.struck = n.struck || strike
	if err == nil && n.struck && n.again[r.role].IsZero() {
		n.again[r.role] = time.Now()
	}
	return err
}

// heal ends the losses.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.share = 0
}

// reached is when both roles had reached Redis again.
func (n *network) reached() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := n.again["streamer"]
	if other := n.again["ingester"]; other.After(at) {
		at = other
	}
	return at
}

func (n *network) begin() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.first
}

var weatherNames = wire.Names{Prefix: wire.DefaultPrefix}

// hourSource is a data set of one window.
type hourSource struct {
	schema record.Schema
	rows   arrow.RecordBatch
}

func (s hourSource) Traits() connector.SourceTraits { return connector.SourceTraits{Pausable: true} }
func (s hourSource) Schema() record.Schema          { return s.schema }
func (s hourSource) Start(uint64) []byte            { return []byte{0} }
func (s hourSource) Close() error                   { return nil }

func (s hourSource) Fetch(_ context.Context, r connector.Request) (connector.Page, error) {
	if r.Cursor[0] == 1 {
		return connector.Page{Cursor: r.Cursor, End: true}, nil
	}
	return connector.Page{Rows: s.rows, Cursor: []byte{1}, More: true}, nil
}

// repairing is a streamer and an ingester in this process, between the servers.
type repairing struct {
	t      *testing.T
	redis  *testenv.RedisServer
	influx *testenv.InfluxServer
	net    *network
	in     atomic.Pointer[ingester.Source]
}

func (r *repairing) broker(role string) (connector.Broker, error) {
	b, err := redis.OpenBroker(redis.BrokerConfig{URL: "redis://" + r.redis.Addr(),
		Password: secret.Text(serverPassword)})
	return route{b, r.net, role}, err
}

// closing is a job that closes its broker.
type closing struct {
	engine.Job
	broker connector.Broker
}

func (c closing) Run(ctx context.Context) error { return errors.Join(c.Job.Run(ctx), c.broker.Close()) }

// once a second, as app has it.
var onceASecond = collect.Retry{Initial: time.Second, Max: time.Second, Jitter: -1}

func (r *repairing) streamer(ctx context.Context, env engine.Env, rows []observation) (engine.Job, error) {
	table, err := weatherTable()
	if err != nil {
		return nil, err
	}
	b, err := weatherBatch(table.Schema(), rows)
	if err != nil {
		return nil, err
	}
	broker, err := r.broker("streamer")
	if err != nil {
		return nil, err
	}
	job, err := streamer.New(ctx, env, hourSource{table.Schema(), b}, streamer.Config{Names: weatherNames,
		Broker: broker, Group: "streamer", DataSet: "bench", Batch: repairBatch})
	return closing{job, broker}, err
}

func (r *repairing) ingester(ctx context.Context, env engine.Env) (engine.Job, error) {
	table, err := weatherTable()
	if err != nil {
		return nil, err
	}
	broker, err := r.broker("ingester")
	if err != nil {
		return nil, err
	}
	parse := func(ctx context.Context, payloads [][]byte) (p connector.Page, err error) {
		rows := table.Begin(ctx)
		for _, payload := range payloads {
			if err := rows.AddArray(payload); err != nil {
				return p, err
			}
		}
		p.Rejected = rows.Rejected
		p.Rows, err = rows.Batch()
		return p, err
	}
	src, err := ingester.New(ctx, env, ingester.Config{Names: weatherNames, Broker: broker, Name: "broker",
		Group: "ingester", Schema: table.Schema(), Parse: parse})
	if err != nil {
		return nil, err
	}
	sink, err := influxSink(r.influx, "weather")
	if err != nil {
		return nil, err
	}
	job, err := collect.New(ctx, env, src, []collect.Sink{{Name: "database", Sink: sink, Rows: influxRows,
		Every: 200 * time.Millisecond, Retry: onceASecond}}, collect.Config{Source: "broker", Again: onceASecond,
		Intake: collect.IntakeOptions{OnTake: src.OnTake}, OnSettle: src.OnSettle,
		OnStart:  func(_ context.Context, j *collect.Job) error { return j.Look(src.OnSettle) },
		NextPoll: func(last time.Time) time.Time { return last }})
	r.in.Store(src)
	return closing{job, broker}, err
}

// round sends one window from new stores and calls meanwhile once it is on the way. It returns when the first batch
// was sent and when the window was complete.
func (r *repairing) round(rows []observation, meanwhile func()) (begin, complete time.Time) {
	r.t.Helper()
	r.in.Store(nil)
	e, err := engine.New(engine.Options{Dir: r.t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Room: engine.RoomLimits{Soft: 1, Hard: 1, Ballast: 1}}, []engine.Spec{
		{Name: "ingester", Kind: "stream", New: r.ingester},
		{Name: "streamer", Kind: "stream", New: func(ctx context.Context, env engine.Env) (engine.Job, error) {
			return r.streamer(ctx, env, rows)
		}}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			r.t.Error(err)
		}
	}()
	testenv.Until(r.t, time.Minute, "the first batch", func() bool { return !r.net.begin().IsZero() })
	meanwhile()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if v, ok := r.window(); ok && v.State != ingester.Open {
			return r.net.begin(), time.Now()
		}
		if time.Now().After(deadline) {
			v, _ := r.window()
			r.t.Fatalf("the window is not complete: %+v", v)
		}
	}
}

// window is the one that there is, if the ingester knows it yet.
func (r *repairing) window() (v ingester.View, ok bool) {
	in := r.in.Load()
	if in == nil {
		return v, false
	}
	all, err := in.Windows(r.t.Context(), ingester.Query{})
	if err != nil || len(all) != 1 {
		return v, false
	}
	return all[0], true
}

// TestStreamRepair is the time from "Redis is back" to "the window is complete". Redis is killed in front of a batch
// in the middle of a window and is away for one to three seconds; of all messages of both roles 30 % are lost, until
// it is back or, in every other round, for ever, for which there is no goal: the repair then is lost too. Taken off is
// the transfer of what had not come by then, at the rate of the same window without an outage and without losses in
// the same round.
func TestStreamRepair(t *testing.T) {
	rounds := max(2, rows(t, 40*repairBatch*repairBatches)/(repairBatch*repairBatches))
	server, influx := testenv.Redis(t), testenv.Influx(t, "")
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 30))
	until, ever := new(repairs), new(repairs)
	for i := range rounds {
		r := &repairing{t: t, redis: server, influx: influx}
		if i%2 == 0 {
			until.add(r.outage(rng, i, false))
		} else {
			ever.add(r.outage(rng, i, true))
		}
	}
	until.log(t, "losses until Redis is back")
	ever.log(t, "losses for ever")
	for _, q := range []float64{0.5, 0.99} {
		if got := quantile(until.beyond, q); got > time.Second {
			t.Errorf("complete %v beyond the transfer, the quantile %v of %v, want under a second", got, q, until.beyond)
		}
	}
}

// repair is what one outage took.
type repair struct {
	whole, transfer, beyond time.Duration
	reached                 time.Duration // until both roles had reached Redis again
}

// outage measures one round.
func (r *repairing) outage(rng *rand.Rand, i int, ever bool) (got repair) {
	r.t.Helper()
	hour := observations(i, repairBatch*repairBatches)
	r.net = &network{rng: rng}
	begin, complete := r.round(hour, func() {})
	got.transfer = complete.Sub(begin)

	down := make(chan struct{})
	r.net = &network{rng: rng, share: 0.3, again: map[string]time.Time{},
		at: repairBatches/4 + rng.IntN(repairBatches/2), strike: func() {
			r.redis.Kill()
			close(down)
		}}
	var back time.Time
	missing := repairBatches
	_, complete = r.round(hour, func() {
		<-down
		time.Sleep(time.Second + rand.N(2*time.Second)) // the outage
		if v, ok := r.window(); ok {
			missing -= v.Rows / repairBatch
		}
		if !ever {
			r.net.heal()
		}
		r.redis.Restart()
		back = time.Now()
	})
	got.whole, got.reached = complete.Sub(back), r.net.reached().Sub(back)
	got.beyond = got.whole - got.transfer*time.Duration(missing)/repairBatches
	return got
}

// repairs are the times of several outages.
type repairs struct{ whole, transfer, beyond, reached []time.Duration }

func (a *repairs) add(r repair) {
	a.whole, a.transfer = append(a.whole, r.whole), append(a.transfer, r.transfer)
	a.beyond, a.reached = append(a.beyond, r.beyond), append(a.reached, r.reached)
}

func (a *repairs) log(t *testing.T, what string) {
	t.Helper()
	both := func(all []time.Duration) string {
		return fmt.Sprintf("%v (p99 %v)", quantile(all, 0.5).Round(time.Millisecond),
			quantile(all, 0.99).Round(time.Millisecond))
	}
	t.Logf("S2: %s, %d rounds: complete %s after Redis was back, %s beyond the transfer; both roles had reached it "+
		"again after %s; transfer of a whole window %s", what, len(a.whole), both(a.whole), both(a.beyond),
		both(a.reached), both(a.transfer))
}
