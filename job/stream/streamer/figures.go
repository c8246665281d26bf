package streamer

import (
	"maps"
	"time"

	"holdfast/kernel/balance"
	"holdfast/kernel/engine"
)

// count counts something for people.
func (d *desk) count(name string, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[name] += n
}

// pending returns the bytes of the windows that are not where they belong, as far as anybody says.
func (d *desk) pending() int64 {
	if d.marks.Confirms {
		return d.waiting
	}
	return d.unsent
}

// figures are the desk's numbers at one moment.
type figures struct {
	marks           marks
	next            uint64
	newest          *window // that was cut; nil for none that is here
	kept            int
	bytes, inFlight int64
	sentRows        int64 // of windows that are here, sent, and not confirmed because nobody ever does
	pendingRows     int64 // of all others that are not confirmed
	pendingBytes    int64
	oldest          time.Time // since when the oldest of these may go out; zero for none that may
	building        int64     // rows of windows that are not closed
	over            bool
	counts          map[string]int64
}

func (d *desk) figures() figures {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := figures{marks: d.marks, next: d.next, newest: d.windows[d.next-1],
		kept: len(d.windows), bytes: d.bytes, inFlight: d.air.bytes, building: d.building,
		over: d.over, counts: maps.Clone(d.counts), pendingBytes: d.pending()}
	for n := max(d.marks.Confirmed+1, d.oldest); n < d.next; n++ {
		w := d.windows[n]
		switch {
		case w == nil:
		case n <= d.marks.Sent && !d.marks.Confirms:
			f.sentRows += int64(w.Rows)
		default:
			f.pendingRows += int64(w.Rows)
			if f.oldest.IsZero() && n <= d.released {
				f.oldest = w.free
			}
		}
	}
	return f
}

// delivered is how many rows are where they belong, as far as anybody says.
func (f figures) delivered() int64 { return f.marks.ConfirmedRows + f.marks.AssumedRows + f.sentRows }

// flow is where the rows are that were taken in.
func (f figures) flow() engine.SinkBooks {
	pending := f.pendingRows + f.building
	return engine.SinkBooks{Sink: theBroker, Oldest: f.oldest, Flow: balance.Flow{
		Accepted: f.delivered() + pending + f.marks.GivenUp, Delivered: f.delivered(), Pending: pending,
		Expired: f.marks.GivenUp, PendingBytes: f.pendingBytes}}
}
