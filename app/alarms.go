package app

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"holdfast/base/disk"
	"holdfast/base/visible"
	"holdfast/kernel/engine"
)

// Alerts says when people are told, and how often.
type Alerts struct {
	Gate    time.Duration `yaml:"gate"`    // a gate is closed for longer than this; default 10m
	Lag     time.Duration `yaml:"lag"`     // a row waits for a sink for longer than this; default 1h
	Silence int           `yaml:"silence"` // no row came for so many times the usual time; default 10
	Again   time.Duration `yaml:"again"`   // least time between two of one kind and job; default 1h
}

func (a Alerts) withDefaults() Alerts {
	a.Gate, a.Lag = orElse(a.Gate, 10*time.Minute), orElse(a.Lag, time.Hour)
	a.Silence, a.Again = orElse(a.Silence, 10), orElse(a.Again, time.Hour)
	return a
}

const (
	// leastSilence is no silence: a feed of one row a second may well rest for a minute.
	leastSilence = 10 * time.Minute
	// pulsesKnown is how often rows must have come before their usual interval is believed.
	pulsesKnown = 5
)

// alarms decide what people are told. What they remember is in a small file beside the jobs, written before
// anything is sent, so that a process that starts again and again does not tell the same again and again.
type alarms struct {
	rules Alerts
	book  alarmBook
	pulse map[string]*pulse // by job; learned anew by each process
	out   []string          // to be sent
}

// alarmBook is what alarms remember.
type alarmBook struct {
	Floods map[string]*flood `json:"floods"` // by kind and job
	Active map[string]bool   `json:"active"` // conditions that hold
	Counts map[string]int64  `json:"counts"` // counters as they were told
	Heard  string            `json:"heard"`  // Positions behind the events that were looked at
}

// flood holds back what comes too often.
type flood struct {
	Sent time.Time `json:"sent"`
	Held int       `json:"held"`
	Text string    `json:"text,omitempty"` // the last one that was held back
}

// pulse is the rhythm of a source.
type pulse struct {
	rows  int64
	last  time.Time
	usual time.Duration
	seen  int
}

func newAlarms(a Alerts) *alarms {
	return &alarms{rules: a.withDefaults(), pulse: map[string]*pulse{}, book: alarmBook{
		Floods: map[string]*flood{}, Active: map[string]bool{}, Counts: map[string]int64{}}}
}

func notifiedFile(dir string) string { return filepath.Join(dir, "NOTIFIED") }

// load reads what was told before. What can't be read is forgotten: then something may be told twice.
func (a *alarms) load(text []byte) {
	fresh := newAlarms(a.rules).book
	if json.Unmarshal(text, &fresh) == nil && fresh.Floods != nil && fresh.Active != nil && fresh.Counts != nil {
		a.book = fresh
	}
}

func (a *alarms) save(dir string) error {
	b, err := json.Marshal(a.book)
	if err != nil {
		return err
	}
	return disk.WriteFile(notifiedFile(dir), b, 0o600)
}

// raise tells something of a kind and a job ("" for all), or holds it back if the last is not long ago.
func (a *alarms) raise(now time.Time, kind, job, text string) {
	f := a.book.Floods[kind+"/"+job]
	if f == nil {
		f = &flood{}
		a.book.Floods[kind+"/"+job] = f
	}
	if now.Sub(f.Sent) < a.rules.Again {
		f.Held, f.Text = f.Held+1, text
		return
	}
	a.out = append(a.out, text+more(f.Held))
	*f = flood{Sent: now}
}

func more(held int) string {
	if held == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more of the kind were held back)", held)
}

// release tells the last of what was held back, once its time has come.
func (a *alarms) release(now time.Time) {
	for _, f := range a.book.Floods {
		if f.Held > 0 && now.Sub(f.Sent) >= a.rules.Again {
			a.out = append(a.out, f.Text+more(f.Held-1))
			*f = flood{Sent: now}
		}
	}
}

// when raises a condition once it begins to hold, and says so when it does no more, if over is not "".
func (a *alarms) when(now time.Time, holds bool, kind, job, what, text, over string) {
	key := kind + "/" + job + "/" + what
	switch {
	case holds && !a.book.Active[key]:
		a.book.Active[key] = true
		a.raise(now, kind, job, text)
	case !holds && a.book.Active[key]:
		delete(a.book.Active, key)
		if over != "" {
			a.raise(now, kind+" over", job, over)
		}
	}
}

// look decides about the state of a moment.
func (a *alarms) look(now time.Time, g Gauges, news []engine.Event) {
	a.when(now, g.Short && g.Disk.Free >= g.Marks.Hard, "disk", "", "soft", fmt.Sprintf(
		"the disk is short: %s left; sources that can wait are paused", disk.Size(g.Disk.Free)), "")
	a.when(now, g.Disk.Total > 0 && g.Disk.Free < g.Marks.Hard, "disk full", "", "hard", fmt.Sprintf(
		"the disk is full: %s left; nothing more is taken in", disk.Size(g.Disk.Free)),
		fmt.Sprintf("the disk has %s left again", disk.Size(g.Disk.Free)))
	for _, e := range news {
		if strings.HasPrefix(e.Kind, "damage.") {
			a.raise(now, "damage", e.Job, fmt.Sprintf("job %s: %s", e.Job, e.Text))
		}
	}
	for _, s := range g.Jobs {
		a.gates(now, s)
		a.quotas(now, s)
		if s.Readable {
			a.job(now, s)
		}
	}
	a.release(now)
}

func (a *alarms) gates(now time.Time, s engine.Status) {
	for _, gate := range s.Gates {
		away := now.Sub(gate.Since).Round(time.Second)
		a.when(now, !gate.Open && (away >= a.rules.Gate || a.book.Active["gate/"+s.Name+"/"+gate.Name]), "gate",
			s.Name, gate.Name, fmt.Sprintf("job %s: %s is away for %v: %s", s.Name, gate.Name, away,
				visible.Line(gate.Cause)), fmt.Sprintf("job %s: %s is back", s.Name, gate.Name))
	}
}

// quotas tells of what is above its marks, at each of them once.
func (a *alarms) quotas(now time.Time, s engine.Status) {
	for _, q := range s.Quotas {
		what := "the spool"
		if q.Sink != "" {
			what = "the backlog of sink " + q.Sink
		}
		text := fmt.Sprintf("job %s: %s has %s", s.Name, what, disk.Size(uint64(max(q.Used, 0))))
		a.when(now, q.Level != engine.Fine, "quota", s.Name, q.Sink, fmt.Sprintf("%s, above its soft mark of %s",
			text, disk.Size(uint64(q.Soft))), "")
		a.when(now, q.Level == engine.Hard, "quota full", s.Name, q.Sink, fmt.Sprintf(
			"%s, above its hard mark of %s: by its policy (%s) %s", text, disk.Size(uint64(q.Hard)), q.Policy,
			map[bool]string{true: "the oldest rows expire", false: "intake waits"}[q.Policy == "expire"]), text)
	}
}

func (a *alarms) job(now time.Time, s engine.Status) {
	for sink, seconds := range s.Lag {
		lag := time.Duration(seconds * float64(time.Second)).Round(time.Second)
		a.when(now, lag > a.rules.Lag, "lag", s.Name, sink, fmt.Sprintf(
			"job %s: rows have waited for sink %s for %v", s.Name, sink, lag), "")
	}
	dead := s.Balance.Rejected
	for _, k := range s.Balance.Sinks {
		dead += k.Dead
	}
	for _, q := range s.Balance.Queues {
		dead += q.Dead
	}
	was, known := a.book.Counts["dead/"+s.Name]
	if a.book.Counts["dead/"+s.Name] = dead; known && dead > was {
		a.raise(now, "dead", s.Name, fmt.Sprintf("job %s: %d more dead letters; see `holdfast dead ls %s`", s.Name,
			dead-was, s.Name))
	}
	a.silence(now, s)
}

// silence learns how often rows come, and tells when none does for much longer. A job that does not run says
// nothing of its source.
func (a *alarms) silence(now time.Time, s engine.Status) {
	p := a.pulse[s.Name]
	if p == nil || s.State != engine.Running {
		a.pulse[s.Name] = &pulse{rows: s.Balance.Accepted, last: now}
		return
	}
	if s.Balance.Accepted != p.rows {
		gone := now.Sub(p.last)
		switch p.seen++; p.seen {
		case 1: // since when they had not come is not known
		case 2:
			p.usual = gone
		default:
			p.usual = (4*p.usual + gone) / 5
		}
		p.rows, p.last = s.Balance.Accepted, now
	}
	quiet := now.Sub(p.last)
	a.when(now, p.seen >= pulsesKnown && quiet > max(leastSilence, time.Duration(a.rules.Silence)*p.usual),
		"silence", s.Name, "", fmt.Sprintf("job %s: no new row for %v, where one comes every %v", s.Name,
			quiet.Round(time.Second), p.usual.Round(time.Second)), fmt.Sprintf("job %s: rows come again", s.Name))
}
