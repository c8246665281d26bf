package processor

import (
	"errors"
	"time"
)

// A broker whose memory is full takes nothing from us, and we are among those who make room: the notices that it keeps
// for us are done with whether it can be told or not. Meanwhile one thing a second is said, by which the gate finds out
// that there is room.

// refusal is what a broker says that has no room for a message.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func isRefusal(err error) bool {
	_, ok := errors.AsType[refusal](err)
	return ok
}

// between is how long a broker that keeps notices for us needs to give the next ones.
const between = 100 * time.Millisecond

// latest is the epoch of the ingester that was met last, "" for none.
func (s *Source) latest() string {
	if l := s.inbox.latest; l != nil {
		return l.epoch
	}
	return ""
}

// deaf reports whether the hearing has ended, and all that it heard is taken.
func (s *Source) deaf() bool {
	select {
	case <-s.ear.Ended():
		return len(s.ear.Came()) == 0
	default:
		return false
	}
}
