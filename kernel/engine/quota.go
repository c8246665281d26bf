package engine

import "sync"

// Level is how full something is that has a quota.
type Level string

// The levels: people are told from Soft on, and at Hard the quota's policy acts.
const (
	Fine Level = "fine"
	Soft Level = "soft"
	Hard Level = "hard"
)

// Levels are all levels.
var Levels = []Level{Fine, Soft, Hard}

// Marks are the watermarks of a quota in bytes; 0 is none.
type Marks struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// WithDefaults warns at three quarters of the hard mark where no soft one is given.
func (m Marks) WithDefaults() Marks {
	if m.Soft == 0 && m.Hard > 0 {
		m.Soft = m.Hard - m.Hard/4
	}
	return m
}

// Low is where what a mark began ends: an eighth below it, so that nothing flaps around it.
func Low(mark int64) int64 { return mark - mark/8 }

// Quota is what a job, or one of its sinks, may take of the disk, and what it takes.
type Quota struct {
	Sink   string `json:"sink,omitempty"` // "" for the job as a whole
	Used   int64  `json:"used"`
	Policy string `json:"policy"`
	Level  Level  `json:"level"`
	Marks
}

// Gauge holds a value against marks. It is safe for use by many.
type Gauge struct {
	mu sync.Mutex
	q  Quota
}

// NewGauge returns the gauge of a quota that nothing is taken of.
func NewGauge(q Quota) *Gauge {
	q.Marks, q.Level = q.WithDefaults(), Fine
	return &Gauge{q: q}
}

// At says how much is used now, and returns the level with that before it.
func (g *Gauge) At(used int64) (now, before Level) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before = g.q.Level
	above := func(mark int64, already bool) bool {
		return mark > 0 && (used > mark || already && used > Low(mark))
	}
	g.q.Used, g.q.Level = used, Fine
	switch {
	case above(g.q.Hard, before == Hard):
		g.q.Level = Hard
	case above(g.q.Soft, before != Fine):
		g.q.Level = Soft
	}
	return g.q.Level, before
}

// Quota returns how it stands.
func (g *Gauge) Quota() Quota {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.q
}
