package frontier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/kernel/store"
)

// flights is a file with the URLs in flight, so that a start behind a crash knows which hosts were asked a moment ago. It is not synced:
// what a process has written stands there when it is killed, and when the machine was down no host was asked meanwhile. What is wrong
// in it costs a pause that was not needed, or the want of one.
type flights struct {
	f *os.File

	mu   sync.Mutex // guards what follows
	free []int      // slots
	n    int        // slots there are
}

// slotSize is how long a slot is: a URL and a zero byte. Of a longer one its front is there.
const slotSize = 512

// mostSlots is how many are read, of a file in which something else has written.
const mostSlots = 1 << 16

// fewSlots is for how many there is room from the beginning.
const fewSlots = 256

// OpenFlights has the URLs in flight be known to the next start, by a file. Hosts of those that the last one left behind are put off: wait
// says the queue of a URL, and for how long from now on. It returns how many URLs that were; behind a power cut the file may know of fewer.
// It comes before any Take; CloseFlights goes with it. What is no file is an
// Invalid: nothing is changed then, and the crawl may go on without it.
func (f *Frontier) OpenFlights(path string, wait func(url string) (queue string, d time.Duration, err error)) (left int, err error) {
	if is, err := os.Lstat(path); err == nil && !is.Mode().IsRegular() {
		return 0, fault.WithHint(fault.New(fault.Invalid, "%s is no file, but %s: the next start can't know which hosts were asked a moment "+
			"before a crash", path, is.Mode().Type()), "remove it while the crawl does not run")
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, fmt.Errorf("open the file of URLs in flight: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	b, err := io.ReadAll(io.LimitReader(file, mostSlots*slotSize))
	if err != nil {
		return 0, fmt.Errorf("read the file of URLs in flight: %w", err)
	}
	waits := map[string]time.Duration{}
	for ; len(b) >= slotSize; b = b[slotSize:] {
		url, _, _ := bytes.Cut(b[:slotSize], []byte{0})
		if len(url) == 0 {
			continue
		}
		queue, d, err := wait(string(url))
		if fault.Is(err, fault.Invalid) { // it is no URL: what a power cut made of it
			continue
		}
		if err != nil {
			return 0, err
		}
		left++
		waits[queue] = max(waits[queue], d)
	}
	if err := f.putOff(waits); err != nil {
		return 0, err
	}
	if err := file.Truncate(0); err != nil {
		return 0, err
	}
	if _, err := file.WriteAt(make([]byte, fewSlots*slotSize), 0); err != nil { // so that there is room for what follows
		return 0, fmt.Errorf("make room for the URLs in flight: %w", err)
	}
	f.flights = &flights{f: file}
	return left, nil
}

// CloseFlights closes the file.
func (f *Frontier) CloseFlights() error {
	if f.flights == nil {
		return nil
	}
	return f.flights.f.Close()
}

// putOff has hosts not be asked for some time. Those that are not known may have been asked as guests, or come to be known.
func (f *Frontier) putOff(waits map[string]time.Duration) error {
	if len(waits) == 0 {
		return nil
	}
	now := time.Now()
	guests := map[string]*guest{}
	err := f.st.Update(func(tx *store.Tx) error {
		b, err := f.Begin(tx)
		if err != nil {
			return err
		}
		for queue, d := range waits {
			id, known, err := hostID(tx, queue)
			if err != nil {
				return err
			}
			if !known {
				guests[queue] = &guest{due: f.later(now.Add(d))}
				continue
			}
			h, err := b.host(id)
			if err != nil {
				return err
			}
			h.due = max(h.due, f.later(now.Add(d)))
		}
		return b.Write()
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.Copy(f.guests, guests)
	return err
}

// reserve is a slot that no other lease has until end gives it back.
func (s *flights) reserve() (slot int) {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
		return slot
	}
	s.n++
	return s.n - 1
}

// begin notes a lease that was taken, in the slot that is reserved for it.
func (s *flights) begin(l *Lease) error {
	if s == nil {
		return nil
	}
	b := make([]byte, slotSize)
	copy(b[:slotSize-1], l.URL)
	if _, err := s.f.WriteAt(b, int64(l.slot)*slotSize); err != nil {
		return fmt.Errorf("note a URL in flight: %w", err)
	}
	return nil
}

// end notes that leases are over: when their hosts may be asked is durable, or they were not asked.
func (s *flights) end(all []*Lease) {
	if s == nil {
		return
	}
	for _, l := range all {
		_, _ = s.f.WriteAt([]byte{0}, int64(l.slot)*slotSize) // else its host waits at the next start
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range all {
		s.free = append(s.free, l.slot)
	}
}
