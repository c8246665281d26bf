package processor

import (
	"context"
	"time"

	"holdfast/job/stream/hear"
	"holdfast/job/stream/wire"
)

// Whatever we say of a place in the notices is durable: an ingester need not keep what is in front of it.

// mark takes the position of a cursor that is in the store.
func (s *Source) mark(at position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range at.Epochs {
		s.done[r.Epoch] = mark{next: r.Next}
	}
}

// reached notes the number from which an ingester is followed that is new, or can't give what came before any more.
func (s *Source) reached(l *log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.done[l.epoch]; m.flying == 0 && m.next < l.next {
		m.next = l.next
		s.done[l.epoch] = m
	}
}

// latest is the epoch of the ingester that was met last, "" for none.
func (s *Source) latest() string {
	if l := s.inbox.latest; l != nil {
		return l.epoch
	}
	return ""
}

// said returns when an ingester was last told where we are.
func (s *Source) said(epoch string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[epoch].told
}

// say tells an ingester where we are, upon which it sends what is behind that; "" asks all ingesters what they have.
func (s *Source) say(ctx context.Context, epoch string, now time.Time) error {
	s.mu.Lock()
	m, ok := s.done[epoch]
	if ok {
		m.told, m.says = now, m.says+1
		s.done[epoch] = m
	} else {
		epoch = ""
	}
	s.mu.Unlock()
	err := hear.Publish(ctx, s.cfg.Broker, wire.Follow{Epoch: epoch, Next: m.next}.Message(s.cfg.Names))
	if hear.Refused(err) {
		s.mute.Store(&err)
		s.wake()
		return err
	}
	if err == nil {
		s.mute.Store(nil)
	}
	return err
}

// committed says that the notices in front of a number are done with, durably. While more of them wait, the
// ingester is told now and then: it answers each time with all that is behind.
func (s *Source) committed(ctx context.Context, epoch string, next uint64, more bool) {
	now := time.Now()
	s.mu.Lock()
	m := s.done[epoch]
	m.next, m.says, m.flying = max(m.next, next), 0, m.flying-1
	s.done[epoch] = m
	s.mu.Unlock()
	if more && now.Sub(m.told) < tellBusy {
		return
	}
	_ = s.say(ctx, epoch, now) // if it is lost, remind does it again
}

// The pauses between two times that an ingester is told where we are.
const (
	tellBusy  = 500 * time.Millisecond // while notices wait here
	tellAgain = 250 * time.Millisecond // while none do; doubled each time
	tellIdle  = 10 * time.Second       // the most that it is doubled to
)

// remind tells an ingester that was just heard where we are, in case the last time was lost. It answers each time, so
// there are pauses.
func (s *Source) remind(ctx context.Context, l *log, now time.Time) error {
	if l.missing() || len(l.waiting) > 0 {
		return nil // it will be asked, or told when that is done
	}
	s.mu.Lock()
	m := s.done[l.epoch]
	s.mu.Unlock()
	pause := min(tellAgain<<min(m.says, 10), tellIdle)
	if l.done() && !l.heeded() {
		pause = tellAgain // it waits for that
	}
	if now.Sub(m.told) < pause {
		return nil
	}
	return s.say(ctx, l.epoch, now)
}
