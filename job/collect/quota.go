package collect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast/base/disk"
	"holdfast/base/fault"
	"holdfast/base/plural"
	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Quota bounds what the blocks of the job take, those that are retained among them.
type Quota struct {
	engine.Marks
	Policy Policy // default Hold
}

// gauges are the quotas of the job: its own, nil if it has none, and those of its sinks.
type gauges struct {
	job   *engine.Gauge
	sinks map[*delivery]*engine.Gauge
}

func newGauges(c Config, sinks []*delivery) gauges {
	g := gauges{sinks: map[*delivery]*engine.Gauge{}}
	if c.Quota.Hard > 0 || c.Quota.Soft > 0 {
		g.job = engine.NewGauge(engine.Quota{Policy: string(c.Quota.Policy), Marks: c.Quota.Marks})
	}
	for _, d := range sinks {
		if d.Limit > 0 || d.Soft > 0 {
			g.sinks[d] = engine.NewGauge(engine.Quota{Sink: d.Name, Policy: string(d.Policy),
				Marks: engine.Marks{Soft: d.Soft, Hard: d.Limit}})
		}
	}
	return g
}

// Quotas returns what the job and its sinks may take, and take.
func (j *Job) Quotas() []engine.Quota {
	var out []engine.Quota
	if j.gauges.job != nil {
		out = append(out, j.gauges.job.Quota())
	}
	for _, d := range j.sinks {
		if g := j.gauges.sinks[d]; g != nil {
			out = append(out, g.Quota())
		}
	}
	return out
}

// read compares what is used with a quota, tells people when its level changes, and returns the level.
func (j *Job) read(g *engine.Gauge, used int64) engine.Level {
	now, before := g.At(used)
	if now == before {
		return now
	}
	q := g.Quota()
	what := "the spool"
	if q.Sink != "" {
		what = "the backlog of sink " + q.Sink
	}
	size := disk.Size(uint64(max(used, 0)))
	switch {
	case now == engine.Hard:
		does := "intake waits"
		if q.Policy == string(Expire) {
			does = "the oldest rows that wait expire"
		}
		j.env.History.Warn("quota.hard", "%s has %s, above its hard mark of %s: %s", what, size,
			disk.Size(uint64(q.Hard)), does)
	case now == engine.Soft && before == engine.Fine:
		j.env.History.Warn("quota.soft", "%s has %s, above its soft mark of %s", what, size,
			disk.Size(uint64(q.Soft)))
	case now == engine.Fine:
		j.env.History.Note("quota.fine", "%s has %s, below its marks", what, size)
	}
	return now
}

// spoolBytes is what the blocks of the job take.
func (j *Job) spoolBytes(ctx context.Context) (n int64, err error) {
	err = j.env.Store.View(ctx, func(r store.Reader) error {
		s, err := spool.ReadStats(r)
		n = int64(s.Bytes)
		return err
	})
	return n, err
}

// readQuotas looks at every quota, so that people are told also while nothing comes in.
func (j *Job) readQuotas(ctx context.Context) error {
	if j.gauges.job != nil {
		used, err := j.spoolBytes(ctx)
		if err != nil {
			return err
		}
		j.read(j.gauges.job, used)
	}
	for d, g := range j.gauges.sinks {
		flow, err := d.flow(ctx)
		if err != nil {
			return err
		}
		j.read(g, flow.PendingBytes)
	}
	return nil
}

// holdForQuotas makes room where a quota reached its hard mark, or waits until there is room.
func (j *Job) holdForQuotas(ctx context.Context) error {
	for _, d := range j.sinks {
		if g := j.gauges.sinks[d]; g != nil {
			if err := d.holdOrExpire(ctx, g); err != nil {
				return err
			}
		}
	}
	if j.gauges.job == nil {
		return nil
	}
	return j.holdForSpool(ctx)
}

// holdOrExpire acts on a backlog beyond its limit.
func (d *delivery) holdOrExpire(ctx context.Context, g *engine.Gauge) error {
	told := false
	for {
		flow, err := d.flow(ctx)
		if err != nil {
			return err
		}
		if d.j.read(g, flow.PendingBytes) != engine.Hard {
			return nil
		}
		if d.Policy == Expire {
			err := d.j.whenRoom(ctx, func() error {
				_, err := d.expire(flow.PendingBytes-engine.Low(d.Limit), "its backlog limit was reached")
				return err
			})
			if err != nil {
				return err
			}
			return d.j.readQuotas(ctx)
		}
		if !told {
			told = true
			d.j.env.History.Warn("backlog.full", "sink %s has %d bytes of backlog, its limit is %d: intake waits",
				d.Name, flow.PendingBytes, d.Limit)
		}
		if d.j.cfg.Once {
			return nil // sinks get nothing before the cycle's rows are in
		}
		if err := d.j.whileHeld(ctx, d.settled, time.Second); err != nil {
			return err
		}
	}
}

// holdForSpool acts on a spool beyond the job's quota: delivered blocks go first, however young; then, by the
// policy, intake waits for deliveries, or the oldest rows that wait expire for every sink that has not got
// them.
func (j *Job) holdForSpool(ctx context.Context) error {
	const look = 200 * time.Millisecond // what deliveries free has no event of the job's own
	low := engine.Low(j.cfg.Quota.Hard)
	for {
		used, err := j.spoolBytes(ctx)
		if err != nil || j.gauges.job.Quota().Hard == 0 || j.read(j.gauges.job, used) != engine.Hard {
			return err
		}
		freed, err := j.trimTo(low)
		if err != nil {
			return err
		}
		if freed {
			continue
		}
		if j.cfg.Quota.Policy == Expire {
			went, err := j.expireOldest(ctx, used-low)
			if err != nil {
				return err
			}
			if went {
				continue
			}
			return nil // what is left is on its way, or waits for a sink that is not configured
		}
		if j.cfg.Once {
			return nil // sinks get nothing before the cycle's rows are in
		}
		if err := j.whileHeld(ctx, nil, look); err != nil {
			return err
		}
	}
}

// trimTo removes delivered blocks until so many bytes are left: the oldest ones, also if they follow blocks that sinks still
// need.
func (j *Job) trimTo(bytes int64) (freed bool, err error) {
	bytes = max(bytes, 1)
	for {
		n, err := j.intake.sp.Trim(spool.Retain{Bytes: bytes}, time.Time{})
		if n == 0 && err == nil {
			n, err = j.intake.sp.Release(bytes)
		}
		if n == 0 || err != nil {
			if fault.Is(err, fault.Full) {
				err = nil
			}
			return freed, err
		}
		freed = true
	}
}

// expireOldest finds the oldest block that could be removed if some sinks gave it up, and gives up the oldest blocks of just
// those sinks. went says that some were removed.
func (j *Job) expireOldest(ctx context.Context, bytes int64) (went bool, err error) {
	var all, holding []*spool.Sink
	for _, d := range j.sinks {
		all = append(all, d.k)
	}
	err = j.env.Store.View(ctx, func(r store.Reader) (err error) {
		holding, err = spool.Holding(r, all)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("find what holds the oldest block: %w", err)
	}
	for _, d := range j.sinks {
		if !slices.Contains(holding, d.k) {
			continue
		}
		err := j.whenRoom(ctx, func() error {
			blocks, err := d.expire(bytes, "the job's quota was reached")
			went = went || blocks > 0
			return err
		})
		if err != nil {
			return went, err
		}
	}
	return went, nil
}

// expire gives up the oldest undelivered blocks of a sink, as counted gaps, and returns how many.
func (d *delivery) expire(bytes int64, why string) (blocks int, err error) {
	rows := int64(0)
	err = d.j.env.Store.Update(func(tx *store.Tx) error {
		heads, err := d.k.Expire(tx, bytes)
		if err != nil {
			return err
		}
		rows, blocks = 0, len(heads)
		// Blocks whose heads are lost come last, because by then it is counted what the others held.
		slices.SortStableFunc(heads, func(a, b spool.Head) int { return cmp.Compare(b.Rows, a.Rows) })
		for _, h := range heads {
			lost := spool.Lost{Rows: int64(h.Rows), Bytes: int64(h.Bytes), Heads: []spool.Head{h}}
			err := d.giveUp(tx, balance.Expired, &lost, why)
			if err != nil {
				return err
			}
			rows += lost.Rows
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if rows > 0 {
		d.j.env.History.Warn("backlog.expired", "sink %s: %s expired, %s", d.Name, plural.Of(rows, "row"), why)
	}
	return blocks, nil
}
