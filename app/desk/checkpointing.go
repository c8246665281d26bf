package desk

import (
	"fmt"
	"slices"
	"time"

	"holdfast/app"
)

// Checkpointing is a checkpoint that is being made, until all its files have checksums.
type Checkpointing struct {
	Job       string    `json:"job"`
	Name      string    `json:"name"`
	Began     time.Time `json:"began"`
	ElapsedMS int64     `json:"elapsed_ms"`
}

// makes says which checkpoint the work makes.
func (w *Work) makes(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checkpoint, w.p.What = name, "making checkpoint "+name
}

// checkpointing are the checkpoints of jobs that are being made now.
func (d *Desk) checkpointing(jobs []string) (all []Checkpointing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.work {
		w.mu.Lock()
		if w.checkpoint != "" && slices.Contains(jobs, w.p.Job) {
			all = append(all, Checkpointing{w.p.Job, w.checkpoint, w.p.Began, time.Since(w.p.Began).Milliseconds()})
		}
		w.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Checkpointing) int { return a.Began.Compare(b.Began) })
	return all
}

// tellCheckpoints has a crawl say CHECKPOINTING, as Heritrix calls that state. Ours fetches meanwhile, so its other words stay.
func (r *Report) tellCheckpoints(all []Checkpointing) {
	r.Checkpoints = all
	for _, c := range all {
		for i := range r.Jobs {
			j := &r.Jobs[i]
			if j.Name != c.Job || j.Kind != app.CrawlKind {
				continue
			}
			j.Notes = slices.Clone(j.Notes)
			text := fmt.Sprintf("CHECKPOINTING %s for %v", c.Name, time.Duration(c.ElapsedMS)*time.Millisecond)
			if len(j.Notes) > 0 && j.Notes[0][0] == app.CrawlKind {
				j.Notes[0][1] = text + "; " + j.Notes[0][1]
			} else {
				j.Notes = slices.Insert(j.Notes, 0, [2]string{app.CrawlKind, text})
			}
		}
	}
}
