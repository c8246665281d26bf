package frontier

import (
	"encoding/binary"
	"time"
)

// Done writes down what became of a URL.
func (b *Batch) Done(l *Lease, o Outcome) error {
	h, err := b.host(l.host)
	if err != nil {
		return err
	}
	b.drop(h, l)
	state := Done
	switch {
	case o.Left:
		state = Left
	case o.Failed:
		state = Failed
	}
	bytes := uint64(max(o.Bytes, 0))
	if err := b.end(h, l.Key, l.source, state, o.Status, bytes); err != nil {
		return err
	}
	h.due = max(h.due, b.f.later(o.Due))
	if state == Done {
		b.counts.Novelties.add(o.Is, bytes)
		h.novel.add(o.Is, bytes)
	}
	if o.Type != "" {
		err = b.countType(o.Type, bytes)
	}
	return err
}

// end notes what became of a URL that is in no queue any more.
func (b *Batch) end(h *change, k string, from uint32, state State, status int, bytes uint64) error {
	b.tx.Set(knownKey(k), binary.AppendVarint([]byte{byte(state)}, int64(status)))
	*b.counts.of(state)++
	*h.of(state)++
	b.counts.Bytes += bytes
	h.bytes += bytes
	source, err := b.sources.get(from)
	if err != nil {
		return err
	}
	source.Open--
	*source.of(state)++
	source.Bytes += bytes
	return b.tally(statusKey(status), 1)
}

// Retry puts off a URL that failed until at, and its host until due.
func (b *Batch) Retry(l *Lease, at, due time.Time) error {
	h, err := b.host(l.host)
	if err != nil {
		return err
	}
	b.drop(h, l)
	e := entry{item: l.Item, source: l.source, attempts: l.Attempts + 1}
	k := waitKey(b.f.later(at)).U64(b.numbers.seq)
	b.numbers.seq++
	b.tx.Set(k, append(binary.BigEndian.AppendUint32([]byte{l.Precedence}, l.host), e.encode()...))
	b.tx.Set(knownKey(l.Key), []byte{byte(Waiting)})
	b.counts.Waiting++
	h.waiting++
	h.due = max(h.due, b.f.later(due))
	if b.waiting == 0 || b.f.later(at) < b.waiting {
		b.waiting = b.f.later(at)
	}
	return nil
}

// Postpone leaves a URL in its queue, and its host alone until due, because something that the URL needs first can't be had
// yet.
func (b *Batch) Postpone(l *Lease, due time.Time) error {
	h, err := b.host(l.host)
	if err != nil {
		return err
	}
	h.due = max(h.due, b.f.later(due))
	b.landed = append(b.landed, l)
	b.stays = append(b.stays, l.host)
	return nil
}

// drop removes a leased URL from the queue of its host.
func (b *Batch) drop(h *change, l *Lease) {
	b.remove(h, l.host, l.at)
	b.landed = append(b.landed, l)
}

// remove removes a URL from a queue.
func (b *Batch) remove(h *change, id uint32, at place) {
	b.tx.Delete(at.in(id))
	if at == h.head {
		h.head.seq++
	}
	h.stale++
	h.queued--
	b.counts.Queued--
}
