// Package series keeps how a job went, for a year: how much came and went, what waited and for how long, as points of
// a span of time each. Young times have points of a minute, older ones of a quarter of an hour, the oldest of four hours
// (tiers). A point has sums of what moved and the most of what waited, so that a short outage still shows in a coarse one.
//
// The points live in the store of their job, go into its checkpoints, and survive restarts. They are bounded by what they are
// kept in: each tier is a ring whose places are written over. What a crash loses is the last minute; nothing else depends
// on them, and a point that can't be read is a hole.
//
// Package engine records and reads them. Keys: Series tier(1) place(4); values: JSON, a Point.
package series

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"holdfast/kernel/store"
)

// tier is the points of one width.
type tier struct {
	step   int64 // seconds
	places int64
}

// tiers are all of them, the finest first: two days, a month, and a year and a month. Together they have
// 8,200 points a job, of about 150 bytes with one sink and 60 more for each further one.
var tiers = []tier{{60, 2 * 24 * 60}, {15 * 60, 31 * 24 * 4}, {4 * 3600, 396 * 6}}

// Every is the time between two writes: that of the finest points.
const Every = time.Minute

// maxDone bounds the points that wait to be written, should the store not take them.
const maxDone = 16

// Point is what happened in a span of time.
type Point struct {
	At      int64   `json:"at"`      // its beginning, in seconds since 1970
	Seconds float64 `json:"seconds"` // of it that somebody looked: a job that did not run has less than the span
	Read    int64   `json:"read"`    // items that came
	Lines   []Line  `json:"lines"`
}

// Line is one way out of a job: a sink, or a queue of tasks.
type Line struct {
	Name  string  `json:"name"`
	Done  int64   `json:"done"` // items that went
	Rows  int64   `json:"rows"` // the most that waited
	Bytes int64   `json:"bytes"`
	Lag   float64 `json:"lag"` // the longest that one had waited, in seconds
}

// add takes in what was seen in a part of the span.
func (p *Point) add(seen Point) {
	p.Seconds += seen.Seconds
	p.Read += seen.Read
	for _, l := range seen.Lines {
		i := slices.IndexFunc(p.Lines, func(k Line) bool { return k.Name == l.Name })
		if i < 0 {
			p.Lines = append(p.Lines, l)
			continue
		}
		k := &p.Lines[i]
		k.Done += l.Done
		k.Rows, k.Bytes, k.Lag = max(k.Rows, l.Rows), max(k.Bytes, l.Bytes), max(k.Lag, l.Lag)
	}
}

// Recorder makes points of what it is told. It is for one goroutine.
type Recorder struct {
	open []*Point // by tier: the point that is not over yet, nil for none
	done []placed // points that are over and not written yet
}

type placed struct {
	tier  int
	point Point
}

// Resume returns a recorder that goes on with the points of a store that are not over yet.
func Resume(r store.Reader, now time.Time) (*Recorder, error) {
	rec := &Recorder{open: make([]*Point, len(tiers))}
	for i, t := range tiers {
		v, ok, err := r.Get(key(i, t.begin(now.Unix())))
		if err != nil {
			return nil, fmt.Errorf("read series: %w", err)
		}
		if p, good := decode(v); ok && good && p.At == t.begin(now.Unix()) {
			rec.open[i] = &p
		}
	}
	return rec, nil
}

func (t tier) begin(at int64) int64 { return at - at%t.step }

func key(i int, at int64) store.Key {
	t := tiers[i]
	return store.Series.K().U8(uint8(i)).U32(uint32(at / t.step % t.places))
}

func decode(v []byte) (p Point, ok bool) { return p, json.Unmarshal(v, &p) == nil && p.At > 0 }

// Add records what was seen up to a moment.
func (r *Recorder) Add(now time.Time, seen Point) {
	for i, t := range tiers {
		begin := t.begin(now.Unix())
		if p := r.open[i]; p != nil && p.At != begin {
			r.done = append(r.done, placed{i, *p})
			r.open[i] = nil
		}
		if r.open[i] == nil {
			r.open[i] = &Point{At: begin, Lines: []Line{}}
		}
		r.open[i].add(seen)
	}
	if over := len(r.done) - maxDone; over > 0 {
		r.done = slices.Delete(r.done, 0, over)
	}
}

// Write puts the points into a transaction; the recorder goes on with those that are not over.
func (r *Recorder) Write(tx *store.Tx) error {
	all := slices.Clone(r.done)
	for i, p := range r.open {
		if p != nil {
			all = append(all, placed{i, *p})
		}
	}
	for _, p := range all {
		v, err := json.Marshal(p.point)
		if err != nil {
			return fmt.Errorf("write series: %w", err)
		}
		tx.Set(key(p.tier, p.point.At), v)
	}
	return nil
}

// Written forgets the points that are over, once Write is committed.
func (r *Recorder) Written() { r.done = r.done[:0] }

// Series are points in the order of their times.
type Series struct {
	Step   int64   `json:"step"` // seconds that a point spans
	Points []Point `json:"points"`
}

// Read returns the points between two times, of the finest tier that reaches back so far and has at most so many of them. Where
// even the coarsest has more, it is the newest.
func Read(r store.Reader, from, to, now time.Time, most int) (Series, error) {
	i := 0
	for ; i < len(tiers)-1; i++ {
		t := tiers[i]
		if now.Unix()-from.Unix() <= t.step*t.places && (to.Unix()-from.Unix())/t.step <= int64(most) {
			break
		}
	}
	out := Series{Step: tiers[i].step, Points: []Point{}}
	prefix := store.Series.K().U8(uint8(i))
	seq, fail := r.Scan(prefix, prefix.End())
	for _, v := range seq {
		p, ok := decode(v)
		if ok && p.At > from.Unix()-out.Step && p.At <= to.Unix() {
			out.Points = append(out.Points, p)
		}
	}
	if err := fail(); err != nil {
		return out, fmt.Errorf("read series: %w", err)
	}
	slices.SortFunc(out.Points, func(a, b Point) int { return int(a.At - b.At) })
	if over := len(out.Points) - most; over > 0 {
		out.Points = out.Points[over:]
	}
	return out, nil
}
