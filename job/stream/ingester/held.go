package ingester

import "holdfast/connector"

// mostHeld is how many bytes of payloads wait for the manifest that knows them.
const mostHeld = 64 << 20

// held are batches that no window knows yet, the oldest first: their manifest may be behind them.
type held struct {
	byHash map[string][]connector.Heard
	order  []string // hashes, as they came; one that was taken is left in it
	bytes  int
}

func newHeld() held { return held{byHash: map[string][]connector.Heard{}} }

// put keeps a batch, and returns those that there is no room for any more.
func (h *held) put(hash string, m connector.Heard) (dropped []connector.Heard) {
	h.byHash[hash] = append(h.byHash[hash], m)
	h.order = append(h.order, hash)
	for h.bytes += len(m.Payload); h.bytes > mostHeld; {
		oldest := h.order[0]
		h.order = h.order[1:]
		dropped = append(dropped, h.take(oldest)...)
	}
	return dropped
}

// take returns the batches with a hash, which are held no longer.
func (h *held) take(hash string) []connector.Heard {
	all := h.byHash[hash]
	delete(h.byHash, hash)
	for _, m := range all {
		h.bytes -= len(m.Payload)
	}
	if h.bytes == 0 {
		h.order = nil
	}
	return all
}
