package crawl

import (
	"fmt"
	"runtime/metrics"
	"time"

	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// progressEvery is the time between two lines of progress-statistics.log, as in Heritrix.
const progressEvery = 20 * time.Second

// progress writes progress-statistics.log.
type progress struct {
	at    time.Time // of the last line
	done  uint64    // documents and bytes then
	bytes uint64
}

// legend are the columns, as Heritrix has them.
// https://heritrix.readthedocs.io/en/latest/operating.html#progress-statistics-log
const legend = "           timestamp  discovered      queued   downloaded       doc/s(avg)  KB/s(avg)   dl-failures" +
	"   busy-thread   mem-use-KB  heap-size-KB   congestion   max-depth   avg-depth\n"

// note writes a line that says what the crawl does from now on.
func (p *progress) note(l *logs, what string) {
	l.write(progressLog, func(b []byte) []byte {
		if l.files[progressLog].Size() == 0 && len(b) == 0 {
			b = append(b, legend...)
		}
		return fmt.Appendf(b, "%s CRAWL %s\n", time.Now().UTC().Format(logTime), what)
	})
}

// line writes how far the crawl has come. The column congestion is a -, because to know how many hosts are due all of them
// would have to be looked at.
func (j *Job) line() error {
	now, p := time.Now(), &j.progress
	var c frontier.Counts
	var deepest uint64
	err := j.env.Store.Latest(func(r store.Reader) (err error) {
		if c, err = frontier.ReadCounts(r); err == nil {
			deepest, err = frontier.Deepest(r)
		}
		return err
	})
	if err != nil {
		return err
	}
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(heap)
	passed, all := max(now.Sub(p.at).Seconds(), 1e-3), max(j.clock.elapsed().Seconds(), 1e-3)
	hosts := max(c.Hosts, 1)
	j.logs.write(progressLog, func(b []byte) []byte {
		return fmt.Appendf(b, "%s %10d %11d %12d %16s %10s %13d %13d %12d %13d %12s %11d %11d\n", now.UTC().Format("2006-01-02T15:04:05Z"),
			c.Known, c.Queued+c.Waiting, c.Done,
			fmt.Sprintf("%.2f(%.2f)", float64(c.Done-p.done)/passed, float64(c.Done)/all),
			fmt.Sprintf("%.0f(%.0f)", float64(c.Bytes-p.bytes)/1024/passed, float64(c.Bytes)/1024/all),
			c.Failed, j.frontier.Flying(), heap[0].Value.Uint64()/1024, heap[1].Value.Uint64()/1024, "-", deepest, (c.Queued+c.Waiting)/hosts)
	})
	p.at, p.done, p.bytes = now, c.Done, c.Bytes
	return nil
}
