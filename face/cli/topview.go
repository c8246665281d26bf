package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/plural"
	"holdfast/base/visible"
	"holdfast/kernel/engine"
)

// Looks of a line; what stands there says the same without them.
const (
	plainLook  = ""
	goodLook   = "32"
	watchLook  = "33"
	badLook    = "1;31"
	headLook   = "2"
	chosenLook = "7"
)

// canvas collects lines that fit the terminal.
type canvas struct {
	width int
	lines []string
}

// add adds a line, cut to the width. Whatever came from outside is text there, never a command to the terminal.
func (c *canvas) add(looks, text string) {
	text = ansi.Truncate(visible.Line(text), c.width, "…")
	if looks != plainLook {
		text = "\x1b[" + looks + "m" + text + "\x1b[m"
	}
	c.lines = append(c.lines, text)
}

// wrap adds a text that may need several lines, each after indent.
func (c *canvas) wrap(looks, text, indent string) {
	for line := range strings.Lines(wrapTo(text, indent, c.width)) {
		c.add(looks, strings.TrimSuffix(line, "\n"))
	}
}

// View draws what was seen last.
func (t *top) View() tea.View {
	v := tea.NewView(strings.Join(t.draw(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "holdfast top"
	return v
}

// draw returns as many lines as the terminal has.
func (t *top) draw() []string {
	now := t.now()
	head, foot := &canvas{width: t.width}, &canvas{width: t.width}
	t.head(head, now)
	if t.opened {
		foot.add(headLook, "Esc: all jobs   up, down: scroll   Tab: next job   q: end")
	} else {
		foot.add(headLook, "up, down: choose   Enter: show the job   q: end")
	}
	room := max(0, t.height-len(head.lines)-len(foot.lines))
	body := &canvas{width: t.width}
	jobs := t.jobs()
	switch {
	case len(jobs) == 0:
		body.wrap(plainLook, "There is no job to show. `holdfast run -c FILE` starts those of a configuration, `holdfast demo` shows "+
			"all kinds of them at work; top goes on looking.", "")
	case t.opened:
		t.job(body, jobs[t.index(jobs)], now)
		body.add(plainLook, "")
		rest := room - len(body.lines)
		if rest < 2 { // they are below what the terminal shows
			rest = eventsBelow
		}
		t.last(body, rest, jobs[t.index(jobs)].Name)
		body.lines = t.scrolled(body.lines, room)
	default:
		chosen := t.table(body, jobs, now)
		if over := len(body.lines) - room; over > 0 { // the chosen job stays in sight
			from := min(over, max(0, chosen-room/2))
			body.lines = append(body.lines[:1:1], body.lines[1+from:]...)
		}
		body.add(plainLook, "")
		t.last(body, room-len(body.lines), "")
	}
	lines := body.lines[:min(room, len(body.lines))]
	for len(lines) < room {
		lines = append(lines, "")
	}
	all := append(append(head.lines, lines...), foot.lines...)
	return all[:min(len(all), t.height)] // of a tiny terminal the head stays
}

// eventsBelow is how many lines a job's last events have where they must be scrolled to.
const eventsBelow = 8

// scrolled is the part of a job's lines that the terminal has room for, with marks where there is more.
func (t *top) scrolled(lines []string, room int) []string {
	over := max(0, len(lines)-room)
	t.page, t.scroll = room, min(t.scroll, over)
	shown := slices.Clone(lines[t.scroll : t.scroll+min(room, len(lines))])
	mark := func(i int, arrow string, n int) {
		if n > 0 && room >= 3 {
			c := &canvas{width: t.width}
			c.add(headLook, fmt.Sprintf("%s %d more %s", arrow, n+1, plural.Noun(n+1, "line")))
			shown[i] = c.lines[0]
		}
	}
	mark(0, "↑", t.scroll)
	mark(len(shown)-1, "↓", over-t.scroll)
	return shown
}

// head says whether anything is lost, down or late, and how the process is.
func (t *top) head(c *canvas, now time.Time) {
	var v desk.Verdict
	for _, s := range t.seen {
		v = v.And(s.Verdict)
	}
	for _, s := range t.seen {
		switch {
		case s.err != nil && s.at.IsZero():
			c.add(badLook, fmt.Sprintf("%s: %v", s.place.Dir, s.err))
		case s.err != nil:
			c.add(badLook, fmt.Sprintf("%s: no answer for %s (%v); what is below is of then", s.place.Dir, span(now.Sub(s.at)), s.err))
		case s.at.IsZero():
			c.add(headLook, s.place.Dir+": asking")
		default:
			looks := headLook
			text := fmt.Sprintf("%s, up %s, %s of memory, %s free on the disk", s.place.Dir, span(now.Sub(s.Since)),
				disk.Size(s.Memory), disk.Size(s.Free))
			if s.Short {
				looks, text = badLook, text+": too little"
			}
			c.add(looks, text)
		}
	}
	looks := goodLook
	switch {
	case len(v.Lost)+len(v.Down) > 0:
		looks = badLook
	case len(v.Late)+len(v.Paused) > 0:
		looks = watchLook
	}
	if t.known() {
		c.add(looks, v.Loss+" "+v.Flow)
	}
	shown := 0
	for _, part := range []struct {
		looks string
		all   []desk.Finding
	}{{badLook, v.Lost}, {badLook, v.Down}, {watchLook, v.Late}, {watchLook, v.Attention}} {
		for _, f := range part.all {
			if shown++; shown <= max(2, t.height/4) {
				c.add(part.looks, "  ! "+f.String())
			}
		}
	}
	if more := shown - max(2, t.height/4); more > 0 {
		c.add(watchLook, fmt.Sprintf("  and %d more", more))
	}
	c.add(plainLook, "")
}

// known reports whether anybody has answered yet.
func (t *top) known() bool {
	for _, s := range t.seen {
		if !s.at.IsZero() {
			return true
		}
	}
	return false
}

// troubled reports whether a job failed, or can't reach what a gate of it stands for.
func troubled(j engine.Status) bool {
	for _, g := range j.Gates {
		if !g.Open {
			return true
		}
	}
	return j.Error != ""
}

// table lists the jobs, and returns the line of the chosen one.
func (t *top) table(c *canvas, jobs []engine.Status, now time.Time) (chosen int) {
	tab := newTable("~job", "kind", "state", ">in/s", ">out/s", ">waits", ">oldest")
	tab.fits = t.width
	for _, j := range jobs {
		in, out := "-", "-"
		if i, o, ok := t.meter.rates(j.Name); ok {
			in, out = rate(i), rate(o)
		}
		oldest := "-"
		if j.Backlog.Rows > 0 && !j.Backlog.Oldest.IsZero() {
			oldest = span(now.Sub(j.Backlog.Oldest))
		}
		state := string(j.State)
		if troubled(j) {
			state = "! " + state
		}
		tab.add(j.Name, j.Kind, state, in, out, count(j.Backlog.Rows), oldest)
	}
	var b bytes.Buffer
	tab.write(&b, "")
	at := t.index(jobs)
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		looks := plainLook
		switch {
		case i == 0:
			looks = headLook
		case i-1 == at:
			chosen, looks = len(c.lines), chosenLook
			line = pad(line, t.width)
		case troubled(jobs[i-1]):
			looks = badLook
		}
		c.add(looks, line)
	}
	return chosen
}

// job shows one job: what a person may have to look at, and where everything is that came in.
func (t *top) job(c *canvas, j engine.Status, now time.Time) {
	c.add(chosenLook, fmt.Sprintf("%s: %s, %s for %s", j.Name, j.Kind, j.State, span(now.Sub(j.Since))))
	for _, l := range jobLines(j, t.reportOf(j.Name), now) {
		looks := plainLook
		if strings.HasPrefix(l, "! ") {
			looks = badLook
		}
		c.wrap(looks, l, "  ")
	}
	c.add(plainLook, "")
	var b bytes.Buffer
	(&face{terminal: terminal{out: &b}}).showBooks(j.Balance)
	for line := range strings.Lines(b.String()) {
		c.add(plainLook, strings.TrimSuffix(line, "\n"))
	}
}

// reportOf is the report that tells of a job.
func (t *top) reportOf(job string) desk.Report {
	for _, s := range t.seen {
		for _, j := range s.Jobs {
			if j.Name == job {
				return s.Report
			}
		}
	}
	return desk.Report{}
}

// last shows what happened last, of one job or of all, in so many lines: the newest at the end.
func (t *top) last(c *canvas, room int, job string) {
	if room < 2 {
		return
	}
	c.add(headLook, "last events")
	var all []engine.Event
	for _, s := range t.seen {
		for _, e := range s.events {
			if job == "" || e.Job == job {
				all = append(all, e)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b engine.Event) int { return a.At.Compare(b.At) })
	for _, e := range all[max(0, len(all)-room+1):] {
		looks, mark := plainLook, " "
		if e.Warn {
			looks, mark = watchLook, "!"
		}
		c.add(looks, fmt.Sprintf("%s %s %s: %s", e.At.Local().Format("15:04:05"), mark, e.Job, e.Text))
	}
}
