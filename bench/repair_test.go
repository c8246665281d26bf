package bench

import (
	"context"
	"errors"
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

// network loses messages on the way to Redis, and calls strike instead of giving it the batch of that number.
type network struct {
	strike func()
	at     int // 0 for never

	mu      sync.Mutex // guards the below
	rng     *rand.Rand
	share   float64 // of the messages, which is lost
	batches int     // that were to be sent
	first   time.Time
}

// route is a connection of one role through the network.
type route struct {
	connector.Broker
	net *network
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
	return r.Broker.Publish(ctx, m)
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

func (r *repairing) broker() (connector.Broker, error) {
	b, err := redis.OpenBroker(redis.BrokerConfig{URL: "redis://" + r.redis.Addr(), Password: secret.Text(serverPassword)})
	return route{b, r.net}, err
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
	broker, err := r.broker()
	if err != nil {
		return nil, err
	}
	job, err := streamer.New(ctx, env, hourSource{table.Schema(), b}, streamer.Config{Names: weatherNames, Broker: broker,
		Group: "streamer", DataSet: "bench", Batch: repairBatch})
	return closing{job, broker}, err
}

func (r *repairing) ingester(ctx context.Context, env engine.Env) (engine.Job, error) {
	table, err := weatherTable()
	if err != nil {
		return nil, err
	}
	broker, err := r.broker()
	if err != nil {
		return nil, err
	}
	src, err := ingester.New(ctx, env, ingester.Config{Names: weatherNames, Broker: broker, Name: "broker", Group: "ingester",
		Schema: table.Schema(), Parse: func(ctx context.Context, payloads [][]byte) (p connector.Page, err error) {
			rows := table.Begin(ctx)
			for _, payload := range payloads {
				if err := rows.AddArray(payload); err != nil {
					return p, err
				}
			}
			p.Rejected = rows.Rejected
			p.Rows, err = rows.Batch()
			return p, err
		}})
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

// round sends one window from new stores and calls meanwhile once it is on the way. It returns when the first batch was
// sent and when the window was complete.
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
// in the middle of a window and is away for one to three seconds, and of all messages of both roles 30 % are lost,
// before the outage and behind it. The transfer that is taken off is that of the batches which had not come when
// Redis was back, at the rate of the same window without an outage and without losses, in the same round.
func TestStreamRepair(t *testing.T) {
	rounds := max(1, rows(t, 30*repairBatch*repairBatches)/(repairBatch*repairBatches))
	server, influx := testenv.Redis(t), testenv.Influx(t, "")
	rng := rand.New(rand.NewPCG(testenv.Seed(t), 30))
	var whole, beyond, transfers []time.Duration
	for i := range rounds {
		hour := observations(i, repairBatch*repairBatches)
		r := &repairing{t: t, redis: server, influx: influx, net: &network{rng: rng}}
		begin, complete := r.round(hour, func() {})
		transfer := complete.Sub(begin)

		down := make(chan struct{})
		r.net = &network{rng: rng, share: 0.3, at: repairBatches/4 + rng.IntN(repairBatches/2), strike: func() {
			server.Kill()
			close(down)
		}}
		var back time.Time
		missing := repairBatches
		_, complete = r.round(hour, func() {
			<-down
			time.Sleep(time.Second + time.Duration(rng.Int64N(int64(2*time.Second)))) // the outage
			if v, ok := r.window(); ok {
				missing -= v.Rows / repairBatch
			}
			server.Restart()
			back = time.Now()
		})
		took := complete.Sub(back)
		rest := transfer * time.Duration(missing) / repairBatches
		whole, beyond, transfers = append(whole, took), append(beyond, took-rest), append(transfers, transfer)
		t.Logf("round %d: killed at batch %d, %d batches missing, complete after %v, transfer of all %v", i+1, r.net.at, missing,
			took.Round(time.Millisecond), transfer.Round(time.Millisecond))
	}
	median, worst := quantile(beyond, 0.5), quantile(beyond, 0.99)
	t.Logf("S2: %d rounds: complete %v after Redis was back, p99 %v; beyond the transfer %v, p99 %v; transfer of a whole "+
		"window %v", rounds, quantile(whole, 0.5).Round(time.Millisecond), quantile(whole, 0.99).Round(time.Millisecond),
		median.Round(time.Millisecond), worst.Round(time.Millisecond), quantile(transfers, 0.5).Round(time.Millisecond))
	if median > time.Second {
		t.Errorf("complete %v beyond the transfer, the median of %v, want under a second", median, beyond)
	}
	if worst > time.Second {
		t.Errorf("complete %v beyond the transfer at p99 of %v, want under a second", worst, beyond)
	}
}
