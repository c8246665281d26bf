package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/base/plural"
	"holdfast/kernel/balance"
	"holdfast/kernel/queue"
	"holdfast/kernel/spool"
	"holdfast/kernel/store"
)

// Books are the balance of one job: what was read, and where every bit of it is.
type Books struct {
	Job string `json:"job"`
	balance.Intake
	Sinks   []SinkBooks       `json:"sinks"`
	Queues  []QueueBooks      `json:"queues,omitempty"`
	Gaps    []balance.Gap     `json:"gaps"` // the open ones, at most maxListedGaps
	GapSums balance.GapTotals `json:"gap_totals"`
	Broken  []string          `json:"broken,omitempty"` // the laws that do not hold, in words
}

// QueueBooks are the balance of one queue of tasks.
type QueueBooks struct {
	Queue string `json:"queue"`
	balance.Tasks
}

// SinkBooks are the balance of one sink.
type SinkBooks struct {
	Sink string `json:"sink"`
	balance.Flow
	Oldest time.Time `json:"oldest,omitzero"` // when its oldest undelivered block came in
}

const maxListedGaps = 1000

// ReadBooks reads the books of a job from its store and checks its laws: each counter against its
// terms, and the pending rows of each sink against the blocks that it is not done with. The work grows
// with these blocks.
func ReadBooks(r store.Reader, job string) (Books, error) { return readBooks(r, job, recounted) }

// addKept adds sinks that rows wait for outside of the spool, and holds their law.
func (b *Books) addKept(sinks []SinkBooks) {
	for _, k := range sinks {
		b.Sinks = append(b.Sinks, k)
		if why := k.Check(); why != "" {
			b.Broken = append(b.Broken, fmt.Sprintf("sink %s: %s", k.Sink, why))
		}
	}
}

// counters are the books without the list of gaps, with what a job at work keeps without a spool.
func (r *runner) counters(rd store.Reader) (b Books, t Tasks, err error) {
	if b, err = ReadCounters(rd, r.spec.Name); err != nil {
		return b, t, err
	}
	if job := r.working(); job != nil {
		t, err = job.Tasks(rd)
		b.addKept(t.Sinks)
	}
	return b, t, err
}

// depth says how far into a store the books are read.
type depth int

const (
	counted   depth = iota // the counters alone: the work is the same however much there is
	listed                 // and the open gaps one by one
	recounted              // and the blocks that sinks are not done with
)

// ReadCounters reads the books without the list of gaps, at a cost that does not grow with anything but the
// number of sinks.
func ReadCounters(r store.Reader, job string) (Books, error) { return readBooks(r, job, counted) }

// EmptyBooks are those of a job whose store is not open: nothing is known of it.
func EmptyBooks(job string) Books {
	return Books{Job: job, Sinks: []SinkBooks{}, Gaps: []balance.Gap{}}
}

func readBooks(r store.Reader, job string, to depth) (Books, error) {
	b := EmptyBooks(job)
	sources, err := store.NamesOf(r, store.SourceName)
	if err != nil {
		return b, err
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if err := b.addSource(r, name, sources[name], to); err != nil {
			return b, err
		}
	}
	sinks, err := store.NamesOf(r, store.SinkName)
	if err != nil {
		return b, err
	}
	for _, name := range slices.Sorted(maps.Keys(sinks)) {
		if err := b.addSink(r, name, sinks[name], to); err != nil {
			return b, err
		}
	}
	if err := b.addQueues(r); err != nil {
		return b, err
	}
	if to < recounted {
		return b, nil
	}
	return b, b.checkLetters(r, sinks)
}

// addQueues adds the queues, in the order in which they were made: that of the way of a task.
func (b *Books) addQueues(r store.Reader) error {
	queues, err := store.NamesOf(r, store.QueueName)
	if err != nil {
		return err
	}
	names := slices.SortedFunc(maps.Keys(queues), func(x, y string) int { return cmp.Compare(queues[x], queues[y]) })
	for _, name := range names {
		c, err := queue.ReadCounts(r, queues[name])
		if err != nil {
			return err
		}
		t := balance.Tasks{Put: int64(c.Put), Ready: int64(c.Ready), Leased: int64(c.Leased), Waiting: int64(c.Waiting),
			Done: int64(c.Done), Dead: int64(c.Dead), Dropped: int64(c.Dropped)}
		if why := t.Check(); why != "" {
			b.Broken = append(b.Broken, fmt.Sprintf("queue %s: %s", name, why))
		}
		b.Queues = append(b.Queues, QueueBooks{name, t})
	}
	return nil
}

// checkLetters holds what is counted of dead letters against the letters.
func (b *Books) checkLetters(r store.Reader, sinks map[string]uint32) error {
	kept, err := balance.Letters(r)
	if err != nil {
		return err
	}
	all, dead, err := balance.CountDead(r)
	if err != nil {
		return err
	}
	if kept != all {
		b.Broken = append(b.Broken, fmt.Sprintf("%s by the books, there are %d", plural.Of(kept, "dead letter"), all))
	}
	for _, k := range b.Sinks {
		if n := dead[sinks[k.Sink]]; n != k.Dead {
			b.Broken = append(b.Broken, fmt.Sprintf("sink %s: %s dead by the books, there are %d letters of it",
				k.Sink, plural.Of(k.Dead, "row"), n))
		}
	}
	return nil
}

func (b *Books) addSource(r store.Reader, name string, id uint32, to depth) error {
	in, err := balance.ReadIntake(r, id)
	if err != nil {
		return err
	}
	if why := in.Check(); why != "" {
		b.Broken = append(b.Broken, fmt.Sprintf("source %s: %s", name, why))
	}
	b.Read += in.Read
	b.Accepted += in.Accepted
	b.Duplicate += in.Duplicate
	b.Filtered += in.Filtered
	b.Rejected += in.Rejected
	if to >= listed {
		gaps, err := balance.ListGaps(r, id, true, maxListedGaps)
		if err != nil {
			return err
		}
		b.Gaps = append(b.Gaps, gaps...)
	}
	t, err := balance.ReadGapTotals(r, id)
	if err != nil {
		return err
	}
	b.GapSums = balance.GapTotals{Open: b.GapSums.Open + t.Open, Missing: b.GapSums.Missing + t.Missing,
		Filled: b.GapSums.Filled + t.Filled, Absent: b.GapSums.Absent + t.Absent,
		Lost: b.GapSums.Lost + t.Lost, Settled: b.GapSums.Settled + t.Settled}
	return nil
}

func (b *Books) addSink(r store.Reader, name string, id uint32, to depth) error {
	flow, err := balance.ReadFlow(r, id)
	if err != nil {
		return err
	}
	if why := flow.Check(); why != "" {
		b.Broken = append(b.Broken, fmt.Sprintf("sink %s: %s", name, why))
	}
	oldest, err := spool.Oldest(r, id)
	if err != nil {
		return err
	}
	b.Sinks = append(b.Sinks, SinkBooks{Sink: name, Flow: flow, Oldest: oldest})
	if to < recounted {
		return nil
	}
	pending, err := spool.Pending(r, id)
	if err != nil {
		return err
	}
	if pending.Rows != flow.Pending || pending.Bytes != flow.PendingBytes {
		b.Broken = append(b.Broken, fmt.Sprintf("sink %s: %s in %d bytes pending by the books, "+
			"%d in %d in the spool", name, plural.Of(flow.Pending, "row"), flow.PendingBytes, pending.Rows, pending.Bytes))
	}
	return nil
}

// Damage says, for each open gap that damage made, where it is and what may be lost.
func (b Books) Damage() (out []string) {
	for _, g := range b.Gaps {
		if g.Cause == balance.Damage && g.State.Open() {
			out = append(out, fmt.Sprintf("at id %d: %s", g.From, g.Note))
		}
	}
	return out
}

// Balanced reports whether every law holds.
func (b Books) Balanced() bool { return len(b.Broken) == 0 }
