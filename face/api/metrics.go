package api

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/kernel/engine"
)

// scrapeFor is how long the stores may take to give their counters.
const scrapeFor = 10 * time.Second

// metrics are the counters of all jobs as Prometheus reads them, beside those of Go and of the process. They
// are read at each scrape from counters that the stores keep, so that they are right after a restart too, and
// cost the same whatever the backlog.
type metrics struct {
	d       *desk.Desk
	process *prometheus.Registry
}

func newMetrics(d *desk.Desk) *metrics {
	m := &metrics{d, prometheus.NewRegistry()}
	m.process.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) serve(ctx context.Context, c *call) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeFor)
	defer cancel()
	c.told = true
	c.patience()
	promhttp.HandlerFor(m.gatherer(ctx), promhttp.HandlerOpts{}).ServeHTTP(c.w, c.Request)
	return nil, nil
}

// gatherer reads everything, once.
func (m *metrics) gatherer(ctx context.Context) prometheus.Gatherer {
	jobs := prometheus.NewRegistry()
	jobs.MustRegister(scrape{m.d, ctx})
	return prometheus.Gatherers{m.process, jobs}
}

// scrape reads the counters of the jobs for one request, which it lives as long as.
type scrape struct {
	d   *desk.Desk
	ctx context.Context
}

func describes(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("holdfast_"+name, help, labels, nil)
}

var (
	buildInfo = describes("build_info", "The program that runs; always 1.", "version", "go_version")
	diskFree  = describes("disk_free_bytes", "Room on the file system that holds the data.")
	diskSize  = describes("disk_size_bytes", "Size of the file system that holds the data.")
	diskSoft  = describes("disk_soft_mark_bytes", "With less room than this, sources that can wait are paused.")
	diskHard  = describes("disk_hard_mark_bytes", "With less room than this, nothing is taken in.")
	diskShort = describes("disk_short", "1 while sources are paused for want of room.")

	jobState    = describes("job_state", "1 for the state that the job is in.", "job", "kind", "state")
	jobRestarts = describes("job_restarts_total", "Failures of the job since the process began.", "job")
	jobReadable = describes("job_readable", "0 while the counters of the job can't be read.", "job")
	jobBalanced = describes("job_balanced", "1 while everything that the job read is accounted for.", "job")

	intakeRead = describes("intake_read_items_total", "Items that the source gave.", "job")
	intakeRows = describes("intake_items_total", "Items that the source gave, by what became of them.", "job",
		"outcome")
	gapsOpen = describes("gaps_open", "Gaps that are still asked for.", "job")
	gapsMiss = describes("gaps_missing_rows", "Rows that are missing in open gaps.", "job")
	gapRows  = describes("gap_rows_total", "Rows that were missing, by what became of them.", "job", "outcome")

	quotaUsed = describes("quota_used_bytes", "What is taken of a quota; sink is empty for that of the job.", "job",
		"sink")
	quotaMark = describes("quota_mark_bytes", "The watermarks of a quota.", "job", "sink", "mark")
	quotaIs   = describes("quota_level", "1 for the level that a quota is at: fine, soft or hard.", "job", "sink",
		"level")

	spoolRows  = describes("spool_rows", "Rows in the spool, delivered ones that are retained included.", "job")
	spoolBytes = describes("spool_bytes", "Bytes of the blocks in the spool.", "job")

	gateOpen  = describes("gate_open", "1 while the dependency works, 0 while work waits for it.", "job", "gate")
	gateSince = describes("gate_changed_timestamp_seconds", "When the gate opened or closed last.", "job", "gate")

	sinkAccepted  = describes("sink_accepted_rows_total", "Rows that came in since the sink was added.", "job", "sink")
	sinkDelivered = describes("sink_delivered_rows_total", "Rows that the sink has.", "job", "sink")
	sinkDiscarded = describes("sink_discarded_rows_total", "Dead letters that a person let go.", "job", "sink")
	sinkExpired   = describes("sink_expired_rows_total", "Rows given up because of the sink's limit, or lost.",
		"job", "sink")
	sinkDead = describes("sink_dead_rows", "Rows that the sink can't hold and that wait for a person.",
		"job", "sink")
	sinkRows = describes("sink_backlog_rows", "Rows that the sink has not got yet.",
		"job", "sink")
	sinkBytes = describes("sink_backlog_bytes", "Bytes of the blocks with rows that the sink has not got yet.",
		"job", "sink")
	queueTasks = describes("queue_tasks", "Tasks of a queue that wait, are worked on, or are dead.", "job", "queue", "state")
	queuePut   = describes("queue_put_tasks_total", "Tasks that came into a queue.", "job", "queue")
	queueEnded = describes("queue_ended_tasks_total", "Tasks of a queue by how they ended.", "job", "queue", "outcome")
	tasksTaken = describes("tasks_total", "Tasks that came in.", "job")
	tasksOpen  = describes("tasks_open", "Tasks that are on their way.", "job")
	tasksLag   = describes("tasks_lag_seconds", "How long the task has been on its way that has been so for longest.", "job")
	sentBytes  = describes("delivered_bytes_total", "Bytes of the files that a destination got.", "job", "destination")

	ruleMatched = describes("rule_matches_total", "What a rule was about: lines, values.", "job", "rule")
	ruleBecame  = describes("rule_decisions_total", "Decisions of a rule, by what came of them: acted, unmet, or what suppressed it.",
		"job", "rule", "outcome")
	ruleFailed = describes("rule_failed_actions_total", "Actions of a rule that failed.", "job", "rule")
	ruleForgot = describes("rule_forgotten_keys_total", "Keys of a rule of which something still mattered when they had to make room for others.",
		"job", "rule")
	ruleSeen  = describes("rule_last_match_timestamp_seconds", "When something matched last; without it, nothing ever did.", "job", "rule")
	actionsIn = describes("actions", "Actions that are known of, by their state.", "job", "state")

	sinkLag = describes("sink_lag_seconds", "How long the oldest row that the sink has not got has waited.",
		"job", "sink")
)

// Describe says nothing: what there is depends on the jobs.
func (s scrape) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters. A job that can't be read has only its state, and holdfast_job_readable says so.
func (s scrape) Collect(out chan<- prometheus.Metric) {
	o := outlet(out)
	o.gauge(buildInfo, 1, app.Version, runtime.Version())
	g, err := s.d.Gauges(s.ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		return
	}
	o.gauge(diskFree, float64(g.Disk.Free))
	o.gauge(diskSize, float64(g.Disk.Total))
	o.gauge(diskSoft, float64(g.Marks.Soft))
	o.gauge(diskHard, float64(g.Marks.Hard))
	o.gauge(diskShort, number(g.Short))
	for _, j := range g.Jobs {
		o.job(j)
		o.rules(j.Name, g.Rules[j.Name])
		for state, n := range g.Actions[j.Name] {
			o.gauge(actionsIn, float64(n), j.Name, string(state))
		}
	}
}

// rules are those of a supervise job.
func (o outlet) rules(job string, rules []app.RuleStatus) {
	for _, r := range rules {
		o.counter(ruleMatched, int64(r.Matched), job, r.Name)
		for outcome, n := range r.Became {
			o.counter(ruleBecame, int64(n), job, r.Name, outcome)
		}
		o.counter(ruleFailed, int64(r.Failed), job, r.Name)
		o.counter(ruleForgot, int64(r.Forgotten), job, r.Name)
		if !r.Seen.IsZero() {
			o.gauge(ruleSeen, float64(r.Seen.UnixMilli())/1000, job, r.Name)
		}
	}
}

// outlet takes the metrics of a scrape.
type outlet chan<- prometheus.Metric

func (o outlet) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (o outlet) counter(d *prometheus.Desc, v int64, labels ...string) {
	o <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (o outlet) job(s engine.Status) {
	for _, state := range engine.States {
		o.gauge(jobState, number(s.State == state), s.Name, s.Kind, string(state))
	}
	o.counter(jobRestarts, s.Restarts, s.Name)
	o.gauge(jobReadable, number(s.Readable), s.Name)
	for _, g := range s.Gates {
		o.gauge(gateOpen, number(g.Open), s.Name, g.Name)
		o.gauge(gateSince, float64(g.Since.UnixMilli())/1000, s.Name, g.Name)
	}
	for _, q := range s.Quotas {
		o.gauge(quotaUsed, float64(q.Used), s.Name, q.Sink)
		o.gauge(quotaMark, float64(q.Soft), s.Name, q.Sink, "soft")
		if q.Hard > 0 {
			o.gauge(quotaMark, float64(q.Hard), s.Name, q.Sink, "hard")
		}
		for _, level := range engine.Levels {
			o.gauge(quotaIs, number(q.Level == level), s.Name, q.Sink, string(level))
		}
	}
	if !s.Readable {
		return // zeros would look like counters that began anew
	}
	b := s.Balance
	o.gauge(jobBalanced, number(b.Balanced()), s.Name)
	o.counter(intakeRead, b.Read, s.Name)
	for outcome, n := range map[string]int64{"accepted": b.Accepted, "duplicate": b.Duplicate,
		"filtered": b.Filtered, "rejected": b.Rejected} {
		o.counter(intakeRows, n, s.Name, outcome)
	}
	o.gauge(gapsOpen, float64(b.GapSums.Open), s.Name)
	o.gauge(gapsMiss, float64(b.GapSums.Missing), s.Name)
	for outcome, n := range map[string]int64{"filled": b.GapSums.Filled, "absent": b.GapSums.Absent,
		"lost": b.GapSums.Lost} {
		o.counter(gapRows, n, s.Name, outcome)
	}
	o.gauge(spoolRows, float64(s.Spool.Rows), s.Name)
	o.gauge(spoolBytes, float64(s.Spool.Bytes), s.Name)
	o.tasks(s)
	for _, k := range b.Sinks {
		o.sink(s.Name, k, s.Lag[k.Sink])
	}
}

// tasks are those of a job that has some.
func (o outlet) tasks(s engine.Status) {
	for _, q := range s.Balance.Queues {
		o.counter(queuePut, q.Put, s.Name, q.Queue)
		for state, n := range map[string]int64{"ready": q.Ready, "leased": q.Leased, "waiting": q.Waiting, "dead": q.Dead} {
			o.gauge(queueTasks, float64(n), s.Name, q.Queue, state)
		}
		for outcome, n := range map[string]int64{"done": q.Done, "dropped": q.Dropped} {
			o.counter(queueEnded, n, s.Name, q.Queue, outcome)
		}
	}
	if s.Bytes == nil {
		return // it does not run, or has no tasks
	}
	o.counter(tasksTaken, s.Taken, s.Name)
	o.gauge(tasksOpen, float64(s.Backlog.Rows), s.Name)
	o.gauge(tasksLag, s.Backlog.Seconds, s.Name)
	for name, n := range s.Bytes {
		o.counter(sentBytes, n, s.Name, name)
	}
}

func (o outlet) sink(job string, k engine.SinkBooks, lag float64) {
	o.counter(sinkAccepted, k.Accepted, job, k.Sink)
	o.counter(sinkDelivered, k.Delivered, job, k.Sink)
	o.counter(sinkDiscarded, k.Discarded, job, k.Sink)
	o.counter(sinkExpired, k.Expired, job, k.Sink)
	o.gauge(sinkDead, float64(k.Dead), job, k.Sink)
	o.gauge(sinkRows, float64(k.Pending), job, k.Sink)
	o.gauge(sinkBytes, float64(k.PendingBytes), job, k.Sink)
	o.gauge(sinkLag, lag, job, k.Sink)
}
