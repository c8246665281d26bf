package desk

import (
	"slices"
	"sync"
	"time"
)

// Progress is how far long work has come.
type Progress struct {
	Job   string        `json:"job"`
	What  string        `json:"what"`
	Done  int64         `json:"done"`
	Total int64         `json:"total"` // 0 while it is not known
	Left  time.Duration `json:"left"`  // 0 while it is not known
	Began time.Time     `json:"began"`
}

// Percent is how much is done, from 0 to 100.
func (p Progress) Percent() int {
	if p.Total <= 0 {
		return 0
	}
	return int(min(100, 100*float64(p.Done)/float64(p.Total)))
}

// Work is long work under way; it shows in status from 2 s on.
type Work struct {
	d          *Desk
	mu         sync.Mutex
	p          Progress
	checkpoint string // that is being made; "" for other work, and while it has no name
	tell       func(Progress)
	told       time.Time
}

// ShowAfter is how long work may take before people are shown how far it is.
const ShowAfter = 2 * time.Second

// begin registers long work; tell, if not nil, hears of its progress. The caller ends it.
func (d *Desk) begin(job, what string, tell func(Progress)) *Work {
	w := &Work{d: d, tell: tell, p: Progress{Job: job, What: what, Began: time.Now()}}
	d.mu.Lock()
	d.work[w] = struct{}{}
	d.mu.Unlock()
	return w
}

func (w *Work) end() {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	delete(w.d.work, w)
}

// at says how far the work is; it may be called as often as one likes.
func (w *Work) at(done, total int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.Done, w.p.Total = done, total
	if time.Since(w.told) < 200*time.Millisecond {
		return
	}
	w.told = time.Now()
	w.p.Left = 0
	if spent := time.Since(w.p.Began); done > 0 && total > done {
		w.p.Left = time.Duration(float64(spent) * float64(total-done) / float64(done)).Round(time.Second)
	}
	if w.tell != nil && time.Since(w.p.Began) >= ShowAfter {
		w.tell(w.p)
	}
}

func (d *Desk) underWay() (all []Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.work {
		w.mu.Lock()
		if time.Since(w.p.Began) >= ShowAfter {
			all = append(all, w.p)
		}
		w.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Progress) int { return a.Began.Compare(b.Began) })
	return all
}
