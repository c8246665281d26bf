package desk

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/base/lapse"
	"holdfast/base/plural"
	"holdfast/kernel/engine"
)

// Verdict says whether anything is lost, down or late, and what waits for a person.
type Verdict struct {
	// Loss and Flow are the whole of it in two sentences.
	Loss      string    `json:"loss"`
	Flow      string    `json:"flow"`
	Lost      []Finding `json:"lost"`
	Down      []Finding `json:"down"`
	Late      []Finding `json:"late"`
	Attention []Finding `json:"attention"` // what waits for a person
	Paused    []string  `json:"paused"`    // jobs: they are among what waits for a person, and nothing flows in them
}

// Finding is one answer, with the jobs that it is about; none for a whole data directory.
type Finding struct {
	Jobs  []string `json:"jobs"`
	Text  string   `json:"text"`
	Cause string   `json:"cause,omitempty"` // as who was asked told it
	// Command shows more of it in a terminal.
	Command string `json:"command,omitempty"`
}

// String is one line.
func (f Finding) String() string {
	text := f.Text
	if f.Cause != "" {
		text += ": " + f.Cause
	}
	if f.Command != "" {
		text += ": see `" + f.Command + "`"
	}
	if len(f.Jobs) == 0 {
		return text
	}
	return strings.Join(f.Jobs, ", ") + ": " + text
}

// lateAfter is how long the oldest row may wait before anybody is told.
const lateAfter = time.Minute

// Judge looks at what a data directory reports.
func Judge(rep Report, now time.Time) Verdict {
	var v Verdict
	for _, j := range rep.Jobs {
		add := func(to *[]Finding, f Finding) {
			f.Jobs = []string{j.Name}
			*to = append(*to, f)
		}
		for _, text := range lostOf(j) {
			add(&v.Lost, Finding{Text: text})
		}
		for _, f := range downOf(j, now) {
			add(&v.Down, f)
		}
		if waits := time.Duration(j.Backlog.Seconds * float64(time.Second)); waits > lateAfter {
			add(&v.Late, Finding{Text: fmt.Sprintf("%s wait, the oldest for %s", plural.Number(j.Backlog.Rows), lapse.Words(waits))})
		}
		if n := rep.Letters[j.Name]; n > 0 {
			add(&v.Attention, Finding{Text: fmt.Sprintf("%s dead %s", plural.Number(n), plural.Noun(n, "letter")), Command: "holdfast dead ls " + j.Name})
		}
		if j.State == engine.Paused {
			add(&v.Attention, Finding{Text: "paused for " + lapse.Words(now.Sub(j.Since))})
			v.Paused = append(v.Paused, j.Name)
		}
		for _, q := range j.Quotas {
			if q.Level != engine.Fine {
				add(&v.Attention, Finding{Text: fmt.Sprintf("at the %s mark of its limit on the disk", q.Level)})
			}
		}
	}
	if text := rep.ShortText(now); text != "" {
		v.Down = append(v.Down, Finding{Jobs: []string{}, Text: text})
	}
	for _, n := range rep.Notices {
		v.Attention = append(v.Attention, Finding{Jobs: []string{}, Text: n})
	}
	return v.And(Verdict{})
}

// ShortText says for how long the disk has been short, and what follows; "" while there is room.
func (r Report) ShortText(now time.Time) string {
	if r.ShortSince.IsZero() {
		return ""
	}
	return "the disk is short for " + lapse.Words(now.Sub(r.ShortSince)) + ": sources that can wait are paused until there is " +
		"room again"
}

func lostOf(j engine.Status) (all []string) {
	for _, b := range j.Balance.Broken {
		all = append(all, "the books do not balance: "+b)
	}
	var known engine.Acknowledged
	if j.Acknowledged != nil {
		known = *j.Acknowledged
	}
	if n := j.Balance.GapSums.Lost - known.Lost; n > 0 {
		all = append(all, fmt.Sprintf("%s lost to damage, a limit or overload", plural.Of(n, "row")))
	}
	if loss := engine.LossOf(j.Balance); loss.Rows() > loss.Lost { // else they are told above
		for _, sink := range slices.Sorted(maps.Keys(loss.Expired)) {
			if n := loss.Expired[sink] - known.Expired[sink]; n > 0 {
				all = append(all, fmt.Sprintf("%s expired before %s got them", plural.Of(n, "row"), sink))
			}
		}
	}
	if j.Damage != nil {
		all = append(all, "damage was met: "+j.Damage.Text)
	}
	return all
}

func downOf(j engine.Status, now time.Time) (all []Finding) {
	switch {
	case j.State == engine.BackOff || j.State == engine.Salvaging || j.State == engine.Offline:
		all = append(all, Finding{Text: fmt.Sprintf("%s for %s", j.State, lapse.Words(now.Sub(j.Since))), Cause: j.Error})
	case j.Error != "" && j.State == engine.Starting:
		all = append(all, Finding{Text: "does not start", Cause: j.Error})
	}
	for _, g := range j.Gates {
		if !g.Open {
			all = append(all, Finding{Text: fmt.Sprintf("%s is away for %s", g.Name, lapse.Words(now.Sub(g.Since))), Cause: g.Cause})
		}
	}
	return all
}

// And joins the verdicts over several data directories. What is the same in several jobs is one finding: one broker that is
// away is one thing.
func (v Verdict) And(o Verdict) Verdict {
	out := Verdict{Lost: together(asTold, v.Lost, o.Lost), Down: together(thing, v.Down, o.Down), Late: together(asTold, v.Late, o.Late),
		Attention: together(asTold, v.Attention, o.Attention), Paused: append(append([]string{}, v.Paused...), o.Paused...)}
	out.Loss, out.Flow = "Nothing is lost.", "Everything flows."
	if len(out.Lost) > 0 {
		out.Loss = "Something is lost."
	}
	switch down, late, paused := len(out.Down), jobsOf(out.Late), len(out.Paused); {
	case down == 1:
		out.Flow = "One thing is down."
	case down > 0:
		out.Flow = fmt.Sprintf("%d things are down.", down)
	case late == 1:
		out.Flow = "One job is late."
	case late > 0:
		out.Flow = fmt.Sprintf("%d jobs are late.", late)
	case paused == 1:
		out.Flow = "One job is paused."
	case paused > 0:
		out.Flow = fmt.Sprintf("%d jobs are paused.", paused)
	}
	return out
}

// jobsOf is how many jobs findings are about.
func jobsOf(all []Finding) int {
	names := map[string]bool{}
	for _, f := range all {
		for _, name := range f.Jobs {
			names[name] = true
		}
	}
	return len(names)
}

// asTold and thing are what findings have in common that are one: all that is told, or without for how long it has been so, for
// two jobs do not find out in the same moment.
func asTold(f Finding) string { return f.Text + "\x00" + f.Cause + "\x00" + f.Command }

func thing(f Finding) string {
	what, _, _ := strings.Cut(f.Text, " for ")
	return what + "\x00" + f.Cause
}

func together(is func(Finding) string, lists ...[]Finding) []Finding {
	out := []Finding{}
	for _, f := range slices.Concat(lists...) {
		i := slices.IndexFunc(out, func(o Finding) bool { return is(o) == is(f) })
		if i < 0 {
			out = append(out, f)
			continue
		}
		out[i].Jobs = append(slices.Clip(out[i].Jobs), f.Jobs...)
	}
	return out
}
