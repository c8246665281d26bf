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

// flights is a file with the URLs in flight, so that a start after a crash knows which hosts were asked a moment ago. It is
// not synced: when a process is killed, what it has written is there; and while a machine was down no host was asked. An error
// in it costs an unneeded pause, or omits one.
type flights struct {
	f *os.File

	mu   sync.Mutex // guards what follows
	free []int      // slots
	n    int        // slots there are
}

// slotSize is the size of a slot: a URL and a zero byte. Of a longer URL only the beginning is there.
const slotSize = 512

// mostSlots is how many slots are read at most, because something else may have written to the file.
const mostSlots = 1 << 16

// fewSlots is how many slots the file has from the beginning.
const fewSlots = 256

// OpenFlights opens the file by which the next start will know the URLs in flight, and puts off the hosts of the URLs that the
// last run left in it: wait returns the queue of a URL, and how long to put it off from now on. It returns how many URLs those
// were; after a power cut the file may have lost some. It has to be called before any Take, and ends with CloseFlights. If
// path is no file, the error is Invalid and nothing is changed; the crawl may go on without it.
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

// putOff makes hosts wait for some time. Hosts that are not known are put off too: they may have been asked as guests, or may
// become known.
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

// reserve returns a slot that no other lease has, until end gives it back.
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

// begin writes a lease that was taken into the slot that is reserved for it.
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

// end clears the slots of leases that are over: either it is durable when their hosts may be asked again, or they were not
// asked.
func (s *flights) end(all []*Lease) {
	if s == nil {
		return
	}
	for _, l := range all {
		_, _ = s.f.WriteAt([]byte{0}, int64(l.slot)*slotSize) // if this fails, its host waits at the next start
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range all {
		s.free = append(s.free, l.slot)
	}
}
