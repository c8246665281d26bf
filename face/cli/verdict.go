package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/app"
	"holdfast/base/plural"
	"holdfast/kernel/engine"
)

// verdict answers of one look: is anything lost, down or late, and what waits for a person? The console asks the same
// (face/ui/src/verdict.ts).
type verdict struct{ lost, down, late, attention []finding }

// finding is one answer, with the jobs that it is about; none for a whole data directory.
type finding struct {
	jobs []string
	text string
}

// lateAfter is how long the oldest row may wait before anybody is told.
const lateAfter = time.Minute

// judge looks at the jobs of one data directory.
func judge(rep app.Report, now time.Time) (v verdict) {
	for _, j := range rep.Jobs {
		add := func(to *[]finding, format string, args ...any) {
			*to = append(*to, finding{[]string{j.Name}, fmt.Sprintf(format, args...)})
		}
		for _, b := range j.Balance.Broken {
			add(&v.lost, "the books do not balance: %s", b)
		}
		if n := j.Balance.GapSums.Lost; n > 0 {
			add(&v.lost, "%s %s lost to damage, a limit or overload", count(n), plural.Noun(n, "row"))
		}
		for _, s := range j.Balance.Sinks {
			if s.Expired > 0 {
				add(&v.lost, "%s %s expired before %s got them", count(s.Expired), plural.Noun(s.Expired, "row"), s.Sink)
			}
		}
		if j.Damage != nil {
			add(&v.lost, "damage was met: %s", j.Damage.Text)
		}
		switch {
		case j.State == engine.BackOff || j.State == engine.Salvaging || j.State == engine.Offline:
			add(&v.down, "%s for %s: %s", j.State, span(now.Sub(j.Since)), j.Error)
		case j.Error != "" && j.State == engine.Starting:
			add(&v.down, "does not start: %s", j.Error)
		}
		for _, g := range j.Gates {
			if !g.Open {
				add(&v.down, "%s is away for %s: %s", g.Name, span(now.Sub(g.Since)), g.Cause)
			}
		}
		if waits := time.Duration(j.Backlog.Seconds * float64(time.Second)); waits > lateAfter {
			add(&v.late, "%s wait, the oldest for %s", count(j.Backlog.Rows), span(waits))
		}
		if n := rep.Letters[j.Name]; n > 0 {
			add(&v.attention, "%s dead %s: see `holdfast dead ls %s`", count(n), plural.Noun(n, "letter"), j.Name)
		}
		if j.State == engine.Paused {
			add(&v.attention, "paused for %s", span(now.Sub(j.Since)))
		}
		for _, q := range j.Quotas {
			if q.Level != engine.Fine {
				add(&v.attention, "at the %s mark of its limit on the disk", q.Level)
			}
		}
	}
	for _, n := range rep.Notices {
		v.attention = append(v.attention, finding{text: n})
	}
	return v
}

// and joins the verdicts over several data directories. What is the same in several jobs is one finding: one broker that
// is away is one thing.
func (v verdict) and(o verdict) verdict {
	return verdict{together(v.lost, o.lost), together(v.down, o.down), together(v.late, o.late), together(v.attention, o.attention)}
}

func together(lists ...[]finding) (out []finding) {
	for _, f := range slices.Concat(lists...) {
		i := slices.IndexFunc(out, func(o finding) bool { return o.text == f.text })
		if i < 0 {
			out = append(out, f)
			continue
		}
		out[i].jobs = append(slices.Clip(out[i].jobs), f.jobs...)
	}
	return out
}

// words are the whole verdict in two sentences.
func (v verdict) words() (lost, rest string) {
	lost = "Nothing is lost."
	if len(v.lost) > 0 {
		lost = "Something is lost."
	}
	switch {
	case len(v.down) == 1:
		rest = "One thing is down."
	case len(v.down) > 0:
		rest = fmt.Sprintf("%d things are down.", len(v.down))
	case len(v.late) == 1:
		rest = "One job is late."
	case len(v.late) > 0:
		rest = fmt.Sprintf("%d jobs are late.", len(v.late))
	default:
		rest = "Everything flows."
	}
	return lost, rest
}

// String is one line.
func (f finding) String() string {
	if len(f.jobs) == 0 {
		return f.text
	}
	return strings.Join(f.jobs, ", ") + ": " + f.text
}
