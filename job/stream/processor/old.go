package processor

import (
	"context"
	"strconv"
	"time"

	"holdfast/connector"
)

// untilOld is how long a notice of old waits: an ingester of ours sends both forms, and once it is heard the old one is dropped.
const untilOld = 2 * time.Second

// oldHours are the hours of which an ingester of old said that they are stored.
type oldHours map[int]*oldHour

// oldHour is one of them.
type oldHour struct {
	hour  int
	since time.Time
	heard []connector.Heard // every notice of it, to acknowledge
}

func (h *oldHour) ack(ctx context.Context) error {
	for _, m := range h.heard {
		if err := m.Ack(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeOld takes a notice of an ingester of old, whose key and payload are the hour.
func (s *Source) takeOld(ctx context.Context, m connector.Heard, now time.Time) error {
	hour, err := strconv.ParseUint(m.Key, 10, 8)
	same, err2 := strconv.ParseUint(string(m.Payload), 10, 8)
	if err != nil || err2 != nil || hour != same || hour > 23 {
		if !s.inbox.ours { // ours may use other window keys than hours
			s.notes["spoilt_messages"]++
		}
		return m.Ack(ctx)
	}
	s.old.add(&oldHour{int(hour), now, []connector.Heard{m}})
	return nil
}

// add adds an hour, or its notices to those that wait already.
func (o oldHours) add(h *oldHour) {
	if before := o[h.hour]; before != nil {
		before.heard = append(before.heard, h.heard...)
		return
	}
	o[h.hour] = h
}

// dueOld drops the notices of old that one of ours has sent, and returns when to look at the others again.
func (s *Source) dueOld(ctx context.Context, now time.Time) (next time.Time, err error) {
	next = now.Add(time.Minute)
	for hour, h := range s.old {
		if s.inbox.ours {
			delete(s.old, hour)
			if err := h.ack(ctx); err != nil {
				return next, err
			}
			continue
		}
		if due := h.since.Add(untilOld); due.After(now) {
			next = earlier(next, due)
		}
	}
	return next, nil
}

// take takes out the oldest hour that has waited long enough, nil if there is none.
func (o oldHours) take(now time.Time) (first *oldHour) {
	for _, h := range o {
		if now.Sub(h.since) >= untilOld && (first == nil || h.since.Before(first.since)) {
			first = h
		}
	}
	if first != nil {
		delete(o, first.hour)
	}
	return first
}
