package engine

import (
	"context"
	"time"

	"holdfast/kernel/store"
)

// The samples of the last day are in memory alone, and begin anew with the process: package series keeps what is drawn.
const (
	// SampleEvery is the time between two samples.
	SampleEvery = 10 * time.Second
	// seriesSpan is how far back a series goes. A job with one sink then takes 0.7 MB, and 0.35 MB more for
	// each further sink.
	seriesSpan = 24 * time.Hour
	maxSamples = int(seriesSpan / SampleEvery)
)

// Sample is the state of a job at a moment. Rates are over the time since the sample before it, whose
// counters may have been those of a store that went back: then they are 0.
type Sample struct {
	At   int64   `json:"at"`   // seconds since 1970
	Read float32 `json:"read"` // items a second
	// Sinks are in the order of their names.
	Sinks []SinkSample `json:"sinks"`
}

// SinkSample is the state of one sink, or queue of tasks, at a moment.
type SinkSample struct {
	Sink      string  `json:"sink"`
	Delivered float32 `json:"delivered"` // rows a second
	Lag       float32 `json:"lag"`       // seconds that the oldest row has waited
	Rows      int64   `json:"rows"`      // backlog
	Bytes     int64   `json:"bytes"`     // of the backlog
}

// recent is the last samples of one job; the engine's mu guards it.
type recent struct {
	ring  []Sample
	next  int // where the next one goes, once the ring is full
	last  reading
	began bool
}

func (s *recent) add(b Books, now time.Time) {
	was := s.last
	s.last = readingOf(b, now)
	if !s.began {
		s.began = true
		return
	}
	seconds := now.Sub(was.at).Seconds()
	rate := func(from, to int64) float32 { return float32(float64(max(0, to-from)) / seconds) }
	p := Sample{At: now.Unix(), Read: rate(was.read, b.Read), Sinks: make([]SinkSample, len(b.Sinks), len(b.Sinks)+len(b.Queues))}
	for i, k := range b.Sinks {
		p.Sinks[i] = SinkSample{Sink: k.Sink, Rows: k.Pending, Bytes: k.PendingBytes,
			Lag: float32(lag(k.Oldest, now))}
		if from, ok := was.delivered[k.Sink]; ok {
			p.Sinks[i].Delivered = rate(from, k.Delivered)
		}
	}
	for _, q := range b.Queues {
		k := SinkSample{Sink: q.Queue, Rows: q.Open()}
		if from, ok := was.delivered[q.Queue]; ok {
			k.Delivered = rate(from, q.Done)
		}
		p.Sinks = append(p.Sinks, k)
	}
	if len(s.ring) < maxSamples {
		s.ring = append(s.ring, p)
		return
	}
	s.ring[s.next] = p
	s.next = (s.next + 1) % maxSamples
}

// since returns the samples that are younger than a time, oldest first.
func (s *recent) since(t time.Time) []Sample {
	out := []Sample{}
	for i := range s.ring {
		if p := s.ring[(s.next+i)%len(s.ring)]; p.At > t.Unix() {
			out = append(out, p)
		}
	}
	return out
}

// Series returns the samples of a job that are younger than a time, oldest first: at most a day of them. A
// time at which the store of the job was closed has none.
func (e *Engine) Series(job string, since time.Time) []Sample {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.series[job]; s != nil {
		return s.since(since)
	}
	return []Sample{}
}

// sample reads the counters of every job until ctx ends. A store that can't be read is told by those who work
// in it.
func (e *Engine) sample(ctx context.Context) {
	tick := time.NewTicker(SampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, r := range e.all() {
			r.mu.Lock()
			env := r.env
			r.mu.Unlock()
			if env == nil {
				continue
			}
			_ = env.Store.Latest(func(rd store.Reader) error {
				b, err := ReadCounters(rd, r.spec.Name)
				if err == nil {
					e.keep(b, time.Now())
				}
				return err
			})
		}
		e.forgetSeries()
	}
}

func (e *Engine) keep(b Books, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.series == nil {
		e.series = map[string]*recent{}
	}
	if e.series[b.Job] == nil {
		e.series[b.Job] = &recent{}
	}
	e.series[b.Job].add(b, now)
}

// forgetSeries lets the series of jobs go that are not there any more.
func (e *Engine) forgetSeries() {
	e.mu.Lock()
	defer e.mu.Unlock()
	kept := map[string]*recent{}
	for _, r := range e.runners {
		if s := e.series[r.spec.Name]; s != nil {
			kept[r.spec.Name] = s
		}
	}
	e.series = kept
}
