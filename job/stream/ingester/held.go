package ingester

import (
	"time"

	"holdfast/connector"
)

// How much may wait for the manifest that it belongs to. A durable broker gives no more than some thousand messages that are
// not acknowledged, and manifests are among them.
const (
	mostHeld      = 1_000
	mostHeldBytes = 32 << 20
)

// held holds batches that no known window has, the oldest first: their manifest may come after them.
type held struct {
	byHash map[string][]connector.Heard
	order  []waiting // as they came; one that was taken is left in it
	count  int
	bytes  int
}

type waiting struct {
	hash string
	at   time.Time
}

func newHeld() held { return held{byHash: map[string][]connector.Heard{}} }

// put holds a batch, and returns those for which there is no room any more.
func (h *held) put(hash string, m connector.Heard, now time.Time) (dropped []connector.Heard) {
	h.byHash[hash] = append(h.byHash[hash], m)
	h.order = append(h.order, waiting{hash, now})
	h.count, h.bytes = h.count+1, h.bytes+len(m.Payload)
	for h.count > mostHeld || h.bytes > mostHeldBytes {
		dropped = append(dropped, h.next())
	}
	return dropped
}

// take returns the batches with a hash, and holds them no longer.
func (h *held) take(hash string) []connector.Heard {
	all := h.byHash[hash]
	delete(h.byHash, hash)
	for _, m := range all {
		h.count, h.bytes = h.count-1, h.bytes-len(m.Payload)
	}
	return all
}

// since returns when the oldest held batch came; ok is false if there is none.
func (h *held) since() (at time.Time, ok bool) {
	for len(h.order) > 0 && len(h.byHash[h.order[0].hash]) == 0 {
		h.order = h.order[1:]
	}
	if len(h.order) == 0 {
		h.order = nil
		return time.Time{}, false
	}
	return h.order[0].at, true
}

// next returns the oldest batch, and holds it no longer. There has to be one.
func (h *held) next() connector.Heard {
	h.since() // passes over those that were taken
	hash := h.order[0].hash
	all := h.byHash[hash]
	h.order = h.order[1:]
	m := all[0]
	if len(all) == 1 {
		delete(h.byHash, hash)
	} else {
		h.byHash[hash] = all[1:]
	}
	h.count, h.bytes = h.count-1, h.bytes-len(m.Payload)
	return m
}
