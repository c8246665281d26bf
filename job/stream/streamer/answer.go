package streamer

import (
	"slices"
	"time"

	"holdfast/job/stream/wire"
)

// mostGone is how many refusals wait to be sent. Who asked for more asks again.
const mostGone = 1000

func (d *desk) refuse(g wire.Gone) {
	if len(d.gone) < mostGone && !slices.Contains(d.gone, g) {
		d.gone = append(d.gone, g)
	}
}

// ask takes a question.
func (d *desk) ask(a wire.Ask) {
	switch {
	case a.Epoch != d.epoch && !d.former[a.Epoch]: // another streamer's
		d.counts["strange_epochs"]++
		return
	case a.Epoch != d.epoch || a.Number > 0 && a.Number < d.next && d.windows[a.Number] == nil:
		d.refuse(wire.Gone{Epoch: a.Epoch, Number: a.Number})
		return
	case a.Number == 0 || a.Number > d.released:
		d.counts["unknown_windows"]++
		return
	}
	w := d.windows[a.Number]
	l := d.load(w)
	l.manifest = true
	for _, i := range a.Batches {
		if i < 0 || i >= len(w.sizes) {
			d.counts["unknown_batches"]++
			continue
		}
		l.batches.add(i)
		d.air.landed(w.Number, i)
	}
}

// request takes a question of WeatherVane. It is about the newest window with that key.
func (d *desk) request(p wire.Place) {
	w := d.windows[d.newest[p.Window]]
	if w == nil {
		d.counts["unknown_windows"]++
		return
	}
	last := len(w.sizes) - 1
	switch {
	case p.Last:
		d.load(w).batches.add(last)
	case p.Batch > last:
		d.counts["unknown_batches"]++
		return
	case p.Batch == last:
		p.Batch = last
		d.load(w).number = true
	default:
		d.load(w).batches.add(p.Batch)
	}
	if p.Last {
		p.Batch = last
	}
	d.air.landed(w.Number, p.Batch)
}

// confirm takes what an ingester has. Nothing more is sent of a window of which it needs nothing.
func (d *desk) confirm(c wire.Confirm, now time.Time) {
	if c.Epoch != d.epoch {
		d.counts["strange_epochs"]++
		return
	}
	if c.UpTo >= d.next {
		d.counts["unknown_windows"]++
		return
	}
	d.marks.Confirms = true
	d.heeded = d.heeded || c.End && d.said && c.UpTo+1 == d.next
	for n := d.marks.Confirmed + 1; n <= c.UpTo; n++ {
		w := d.windows[n]
		if w != nil {
			d.marks.ConfirmedRows += int64(w.Rows)
			d.waiting -= w.weight()
			d.unload(n)
		}
		if w != nil && n > d.marks.Sent { // a crash took back that it was sent
			d.released = max(d.released, n)
			d.sentAll(w)
		}
		d.marks.Confirmed = n
	}
	have := 0
	if c.UpTo == d.marks.Confirmed {
		have = c.Batches
	}
	d.air.confirm(d.marks.Confirmed, have, d.sentOf(d.marks.Confirmed+1), now)
}

// sentOf is how many batches of a window went out at least once.
func (d *desk) sentOf(number uint64) int {
	switch w := d.windows[number]; {
	case w == nil:
		return 0
	case number <= d.marks.Sent:
		return len(w.sizes)
	case number == d.marks.Sent+1:
		return d.marks.Batches
	}
	return 0
}
