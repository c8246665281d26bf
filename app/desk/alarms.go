package desk

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/app"
	"holdfast/base/disk"
	"holdfast/base/plural"
	"holdfast/base/visible"
	"holdfast/kernel/engine"
)

const (
	// leastSilence is no silence: a feed of one row a second may well rest for a minute.
	leastSilence = 10 * time.Minute
	// pulsesKnown is how often rows must have come before their usual interval is believed.
	pulsesKnown = 5
)

// alarms decide what people are told. What they remember is in a small file beside the jobs, written before
// anything is sent, so that a process that starts again and again does not tell the same again and again.
type alarms struct {
	rules app.Alerts
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
	// Closed are the times at which the gates closed that are told to be closed, by condition.
	Closed map[string]time.Time `json:"closed,omitempty"`
	Sums   *sums                `json:"sums,omitempty"` // of the last summary; nil before the first
}

// sums are the counters of a moment.
type sums struct {
	At   time.Time            `json:"at"` // for which it was due
	Jobs map[string]jobTotals `json:"jobs"`
}

// jobTotals are the counters of a job of which a summary tells.
type jobTotals struct {
	Taken int64            `json:"taken"` // rows or tasks
	Done  map[string]int64 `json:"done"`  // rows by sink
	Bytes map[string]int64 `json:"bytes,omitempty"`
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

func newAlarms(a app.Alerts) *alarms {
	return &alarms{rules: a.WithDefaults(), pulse: map[string]*pulse{}, book: alarmBook{
		Floods: map[string]*flood{}, Active: map[string]bool{}, Counts: map[string]int64{}, Closed: map[string]time.Time{}}}
}

func notifiedFile(dir string) string { return filepath.Join(dir, "NOTIFIED") }

// load reads what was told before. What can't be read is forgotten: then something may be told twice.
func (a *alarms) load(text []byte) {
	fresh := newAlarms(a.rules).book
	if json.Unmarshal(text, &fresh) == nil && fresh.Floods != nil && fresh.Active != nil && fresh.Counts != nil {
		if fresh.Closed == nil {
			fresh.Closed = map[string]time.Time{}
		}
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
	a.summary(now, g)
	a.release(now)
}

// summary tells once a day how things stand.
func (a *alarms) summary(now time.Time, g Gauges) {
	at, ok := a.rules.Due(now)
	was := a.book.Sums
	if !ok || was != nil && !at.After(was.At) {
		return
	}
	is := &sums{At: at, Jobs: map[string]jobTotals{}}
	lines := []string{"summary"}
	for _, s := range g.Jobs {
		if !s.Readable {
			lines = append(lines, fmt.Sprintf("job %s can't be read: %s", s.Name, visible.Line(s.Error)))
			if was != nil {
				is.Jobs[s.Name] = was.Jobs[s.Name]
			}
			continue
		}
		t := jobTotals{Taken: takenOf(s), Done: map[string]int64{}, Bytes: s.Bytes}
		for _, k := range s.Balance.Sinks {
			t.Done[k.Sink] = k.Delivered
		}
		is.Jobs[s.Name] = t
		if was != nil {
			lines = append(lines, summaryOf(s, was.Jobs[s.Name], t))
		}
	}
	if a.book.Sums = is; was == nil {
		return // nothing is known of the day before
	}
	lines[0] += fmt.Sprintf(" since %s", was.At.Format("2006-01-02 15:04"))
	a.out = append(a.out, strings.Join(lines, "\n"))
}

// summaryOf is what a job did since its counters were those.
func summaryOf(s engine.Status, was, is jobTotals) string {
	text := fmt.Sprintf("job %s (%s): %s came", s.Name, s.State, amount(is.Taken-was.Taken, s))
	for _, name := range slices.Sorted(maps.Keys(is.Done)) {
		text += fmt.Sprintf(", %s to %s", amount(is.Done[name]-was.Done[name], s), name)
	}
	for _, name := range slices.Sorted(maps.Keys(is.Bytes)) {
		text += fmt.Sprintf(", %s to %s", disk.Size(uint64(max(is.Bytes[name]-was.Bytes[name], 0))), name)
	}
	if n := s.Backlog.Rows; n > 0 {
		text += fmt.Sprintf("; %s wait, the first for %v", amount(n, s), time.Duration(s.Backlog.Seconds)*time.Second)
	}
	if n := deadOf(s); n > 0 {
		text += "; " + plural.Of(n, "dead letter")
	}
	for _, gate := range s.Gates {
		if !gate.Open {
			text += fmt.Sprintf("; %s is away", gate.Name)
		}
	}
	return text
}

// gates tells of a gate that is closed for long, and once it is open again for how long it was and what waits.
func (a *alarms) gates(now time.Time, s engine.Status) {
	for _, gate := range s.Gates {
		key := "gate/" + s.Name + "/" + gate.Name
		away := now.Sub(gate.Since).Round(time.Second)
		back := fmt.Sprintf("job %s: %s is back", s.Name, gate.Name)
		if since, ok := a.book.Closed[key]; ok {
			back += fmt.Sprintf(" after %v", gate.Since.Sub(since).Round(time.Second))
			if n := s.Backlog.Rows; n > 0 {
				back += fmt.Sprintf("; %s wait", amount(n, s))
			}
		}
		a.when(now, !gate.Open && (away >= a.rules.Gate || a.book.Active[key]), "gate",
			s.Name, gate.Name, fmt.Sprintf("job %s: %s is away for %v: %s", s.Name, gate.Name, away,
				visible.Line(gate.Cause)), back)
		if gate.Open {
			delete(a.book.Closed, key)
		} else if a.book.Active[key] {
			a.book.Closed[key] = gate.Since
		}
	}
}

// amount is a number of what the job works on.
func amount(n int64, s engine.Status) string {
	word := "row"
	if s.Kind == app.TransferKind {
		word = "file"
	}
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
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
	if s.Bytes != nil {
		lag := time.Duration(s.Backlog.Seconds * float64(time.Second)).Round(time.Second)
		a.when(now, lag > a.rules.Lag, "lag", s.Name, "", fmt.Sprintf("job %s: a %s has waited for %v; %s wait",
			s.Name, strings.TrimPrefix(amount(1, s), "1 "), lag, amount(s.Backlog.Rows, s)), "")
	}
	dead := deadOf(s)
	was, known := a.book.Counts["dead/"+s.Name]
	if a.book.Counts["dead/"+s.Name] = dead; known && dead > was {
		a.raise(now, "dead", s.Name, fmt.Sprintf("job %s: %d more dead letters; see `holdfast dead ls %s`", s.Name,
			dead-was, s.Name))
	}
	a.silence(now, s)
}

// deadOf is how many dead letters a job has, and ever had in front of its sinks.
func deadOf(s engine.Status) int64 {
	dead := s.Balance.Rejected
	for _, k := range s.Balance.Sinks {
		dead += k.Dead
	}
	for _, q := range s.Balance.Queues {
		dead += q.Dead
	}
	return dead
}

// takenOf is how much came in, ever: rows or tasks.
func takenOf(s engine.Status) int64 { return s.Balance.Accepted + s.Taken }

// silence learns how often rows come, and tells when none does for much longer. A job that does not run says
// nothing of its source.
func (a *alarms) silence(now time.Time, s engine.Status) {
	p := a.pulse[s.Name]
	if p == nil || s.State != engine.Running {
		a.pulse[s.Name] = &pulse{rows: takenOf(s), last: now}
		return
	}
	if taken := takenOf(s); taken != p.rows {
		gone := now.Sub(p.last)
		switch p.seen++; p.seen {
		case 1: // since when they had not come is not known
		case 2:
			p.usual = gone
		default:
			p.usual = (4*p.usual + gone) / 5
		}
		p.rows, p.last = taken, now
	}
	quiet := now.Sub(p.last)
	a.when(now, p.seen >= pulsesKnown && quiet > max(leastSilence, time.Duration(a.rules.Silence)*p.usual),
		"silence", s.Name, "", fmt.Sprintf("job %s: nothing new for %v, where something comes every %v", s.Name,
			quiet.Round(time.Second), p.usual.Round(time.Second)), fmt.Sprintf("job %s: something comes again", s.Name))
}
