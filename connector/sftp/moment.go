package sftp

import (
	"sync/atomic"
	"time"
)

// moment is when something happened last, for many to set and to read. It goes by the monotonic clock: setting the clock of this
// machine neither breaks a connection nor hides that one is silent.
type moment struct {
	at atomic.Pointer[time.Time] // nil: it did not happen, or is over
}

func (m *moment) set() {
	now := time.Now()
	m.at.Store(&now)
}

// begin sets it unless it is set.
func (m *moment) begin() {
	if m.at.Load() == nil {
		now := time.Now()
		m.at.CompareAndSwap(nil, &now)
	}
}

func (m *moment) clear() { m.at.Store(nil) }

// age is how long ago it was, 0 if it is not set.
func (m *moment) age() time.Duration {
	if at := m.at.Load(); at != nil {
		return time.Since(*at)
	}
	return 0
}
