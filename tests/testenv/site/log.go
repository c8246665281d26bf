package site

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Request is one that a server got.
type Request struct {
	URL    string // scheme, address and port of the server, and what was asked for, as it came
	Header http.Header
	Begun  time.Time // when its head was read
	Ended  time.Time // just before the last byte of the answer was sent, or when that failed; zero while it goes on
	Status int       // of the answer; 0 if none was sent, or not all of it
}

// Log is what a server was asked. It is safe for use by many at once.
type Log struct {
	mu     sync.Mutex // guards what is below
	all    []Request
	counts map[string]int
	now    int
	most   int
}

// begin notes a request. What it returns notes its end, once, however often it is called.
func (l *Log) begin(url string, header http.Header) (over func(status int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[string]int{}
	}
	l.all = append(l.all, Request{URL: url, Header: header, Begun: time.Now()})
	l.counts[url]++
	l.now++
	l.most = max(l.most, l.now)
	index, ended := len(l.all)-1, false
	return func(status int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if ended {
			return
		}
		ended = true
		l.now--
		l.all[index].Ended, l.all[index].Status = time.Now(), status
	}
}

// Requests are all until now, in the order in which they came.
func (l *Log) Requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// Count is how often a URL was asked for.
func (l *Log) Count(url string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[url]
}

// Counts is how often each URL was asked for.
func (l *Log) Counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// AtOnce is how many requests were under way at once, at most.
func (l *Log) AtOnce() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most
}

// Pause is the shortest time between the end of a request and the beginning of the next; 0 if two were under way at once, or there
// are fewer than two.
func (l *Log) Pause() time.Duration {
	all := l.Requests()
	if len(all) < 2 {
		return 0
	}
	shortest := time.Duration(1<<63 - 1)
	for i, r := range all[1:] {
		if all[i].Ended.IsZero() {
			return 0
		}
		shortest = min(shortest, r.Begun.Sub(all[i].Ended))
	}
	return max(0, shortest)
}
