package ingester

import (
	"time"

	"holdfast/connector"
	"holdfast/job/stream/wire"
)

// ask is what a streamer is asked to send of a window.
type ask struct {
	wire.Ask
	key string // of the window, for a streamer of old
	of  int    // how many batches it has, as far as is known
}

// How much is asked for at once. The rest is asked for when that has come, or was not answered.
const (
	mostAsked   = 16
	mostBatches = 1_000
)

// asks returns the windows that are to be asked for now, oldest first, and when to look again. here says that the streamer was
// heard just now: then a question that has no answer was lost, or its answer was.
func (b *book) asks(now time.Time, here bool) (asks []ask, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.idle) {
		return nil, b.idle
	}
	next = now.Add(longest)
	var latest time.Time // of those of old; looked for once there is an open one
	var due []*window
	missing := map[*window][]int{}
	for _, w := range b.open {
		list, at := b.missing(w), w.next
		if w.Epoch == oldEpoch {
			if latest.IsZero() {
				latest = b.latestOld()
			}
			list, at = w.dueOld(list, latest, now)
		}
		switch {
		case len(list) == 0 && !w.Unmade:
		case at.After(now):
			next = earlier(next, at)
		default:
			due = append(due, w)
			missing[w] = list[:min(len(list), mostBatches)]
		}
	}
	for i, w := range oldestFirst(due) {
		if i == mostAsked {
			next = now
			break
		}
		asks = append(asks, ask{wire.Ask{Epoch: w.Epoch, Number: w.Number, Batches: missing[w]}, w.Key, len(w.Parts)})
		if n := len(missing[w]); w.Epoch == oldEpoch && n > 0 && missing[w][n-1] == len(w.Parts)-1 {
			w.askedLast = true
		}
		w.asked(now, here)
		next = earlier(next, w.next)
	}
	b.idle = next
	return asks, next
}

// messages returns a question as a streamer of ours, or of old, understands it.
func (a ask) messages(n wire.Names) (out []connector.Message) {
	if a.Epoch != oldEpoch {
		return []connector.Message{a.Message(n)}
	}
	for _, i := range a.Batches {
		p := wire.Place{Batch: i, Last: i == a.of-1, Window: a.key}
		out = append(out, connector.Message{Topic: n.Request(), Key: p.Key(), Payload: []byte(a.key)})
	}
	return out
}
