package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/app/datadir"
	"holdfast/app/desk"
	"holdfast/base/disk"
	"holdfast/base/plural"
)

// pass is one pass of a transfer job: what is there, and no more.
type pass struct {
	f      *face
	job    string
	log    *slog.Logger
	bar    *bar // nil where there is no terminal
	began  time.Time
	before desk.Tally
	desk   chan *desk.Desk           // holds the one of the running process
	runs   atomic.Pointer[desk.Desk] // likewise; nil before it stands
	closed string                    // the gates that were closed when the time was over
}

// How often a pass says how far it is: on a terminal, and in the log.
const (
	drawEvery = 500 * time.Millisecond
	tellEvery = time.Minute
)

// begin notes what was done before.
func (p *pass) begin(ctx context.Context, place datadir.Place) {
	p.began, p.desk = time.Now(), make(chan *desk.Desk, 1)
	d, err := desk.Open(place, nil)
	if err != nil {
		return // there is nothing yet, or the process that begins says why it can't
	}
	defer d.Close()
	p.before, _ = d.Tally(ctx, p.job)
}

// follow says how far the pass is, until ctx ends.
func (p *pass) follow(ctx context.Context) error {
	var d *desk.Desk
	select {
	case d = <-p.desk:
	case <-ctx.Done():
		return nil
	}
	every := tellEvery
	if p.bar != nil {
		every = drawEvery
		defer p.bar.clear()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now, err := d.Tally(ctx, p.job)
		if err != nil {
			continue // told by those who work there
		}
		if text := p.progress(now); p.bar != nil {
			p.bar.draw(text)
		} else {
			p.log.Info(text)
		}
	}
}

// endAfter ends the pass after a time, and remembers which gates were closed then.
func (p *pass) endAfter(ctx context.Context, wait time.Duration, end func()) {
	over := time.NewTimer(wait)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
		return
	}
	if d := p.runs.Load(); d != nil {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		gates, _ := d.Gates(ctx, p.job) // without an answer, nothing is said of gates
		p.closed = closedText(gates, time.Now())
	}
	end()
}

// closedText says which gates are closed, since when and why.
func closedText(gates []desk.JobGate, now time.Time) string {
	var texts []string
	for _, g := range gates {
		if g.Open {
			continue
		}
		text := fmt.Sprintf("%s is away for %s", g.Name, span(now.Sub(g.Since)))
		if g.Cause != "" {
			text += " (" + g.Cause + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// progress is one line about a pass under way.
func (p *pass) progress(now desk.Tally) string {
	all := now.Taken - p.before.Taken + p.before.Open
	done := all - now.Open
	took := time.Since(p.began)
	text := fmt.Sprintf("%s of %s %s", count(done), count(all), plural.Noun(all, "file"))
	if all > 0 {
		text += fmt.Sprintf(", %d %%", 100*done/all)
	}
	if bytes := p.sent(now); bytes > 0 {
		text += fmt.Sprintf(", %s, %s/s", disk.Size(uint64(bytes)), disk.Size(uint64(float64(bytes)/took.Seconds())))
	}
	if done > 0 && now.Open > 0 {
		text += ", " + span(time.Duration(float64(took)*float64(now.Open)/float64(done))) + " left"
	}
	return text
}

// sent is what the pass brought to all destinations.
func (p *pass) sent(now desk.Tally) (bytes int64) {
	for name, s := range now.Sent {
		bytes += s.Bytes - p.before.Sent[name].Bytes
	}
	return bytes
}

// summary tells what the pass did, when it is over.
func (p *pass) summary(ctx context.Context, place datadir.Place) error {
	d, err := desk.Open(place, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	now, err := d.Tally(ctx, p.job)
	if err != nil {
		return err
	}
	took := time.Since(p.began)
	found := now.Taken - p.before.Taken
	fmt.Fprintf(p.f.out, "%s new %s found", count(found), plural.Noun(found, "file"))
	if n := p.before.Open; n > 0 {
		fmt.Fprintf(p.f.out, ", %s left from before", count(n))
	}
	fmt.Fprintf(p.f.out, "; in %s\n", span(took))
	for _, name := range slices.Sorted(maps.Keys(now.Sent)) {
		files, bytes := now.Sent[name].Files-p.before.Sent[name].Files, now.Sent[name].Bytes-p.before.Sent[name].Bytes
		fmt.Fprintf(p.f.out, "%s brought to %s: %s, %s/s\n", count(files), name, disk.Size(uint64(bytes)),
			disk.Size(uint64(float64(bytes)/took.Seconds())))
	}
	for _, x := range []struct {
		n    int64
		what string
	}{{now.Passed - p.before.Passed, "known to the ledger already, or gone before their turn"}, {now.Open, "still to do"},
		{now.Dead, "that can't go on: holdfast dead ls " + p.job}} {
		if x.n > 0 {
			fmt.Fprintf(p.f.out, "%s %s\n", count(x.n), x.what)
		}
	}
	return nil
}

// bar is a line on a terminal that is drawn over and over, below the log that is written through it.
type bar struct {
	mu   sync.Mutex
	to   io.Writer
	line string
}

// Write writes whole lines of the log above the bar.
func (b *bar) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
	n, err := b.to.Write(text)
	fmt.Fprint(b.to, b.line)
	return n, err
}

func (b *bar) draw(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
	b.line = cut(text, width-1)
	fmt.Fprint(b.to, b.line)
}

func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
	b.line = ""
}

// wipe takes the line away.
func (b *bar) wipe() {
	if b.line != "" {
		fmt.Fprintf(b.to, "\r%s\r", strings.Repeat(" ", len(b.line)))
	}
}
