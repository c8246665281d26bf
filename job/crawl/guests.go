package crawl

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/kernel/store"
)

// longestGuest is how long a worker waits until it may ask another host to which a robots.txt redirects. It has to end,
// because the worker that has that host in flight may be waiting for this one.
const longestGuest = time.Minute

// stay ends the visit to another host to which a robots.txt redirects. took is how long the request took, x the answer, nil
// for none.
type stay func(took time.Duration, x *connector.Exchange)

// elsewhere waits until another host may be asked to which a robots.txt redirects. That host is treated as any other: one
// request at a time, with a pause in between. leave is to be called with the result. pause is the one of the host of v itself.
// Only some of the workers may wait like this; if they do already, an error says that it is to be tried later. An errLed says
// that it was tried often enough, or that the other host is away.
func (j *Job) elsewhere(ctx context.Context, v *visit, to weburl.URL, pause time.Duration) (leave stay, err error) {
	queue := to.QueueKey()
	if queue == v.lease.Queue {
		return func(time.Duration, *connector.Exchange) {}, connector.Sleep(ctx, pause)
	}
	if err := j.isThere(queue); err != nil {
		return nil, err
	}
	ends, err := j.frontier.TryGuest(queue, to.String())
	if err == nil && ends == nil {
		ends, err = j.waitAsGuest(ctx, v, to)
	}
	if err != nil {
		return nil, err
	}
	if err := j.isThere(queue); err != nil { // the worker that had the host before has found that out
		ends(time.Now())
		return nil, err
	}
	set := j.settingsFor(to)
	return func(took time.Duration, x *connector.Exchange) {
		pause := set.after(took)
		if x != nil {
			if wait, yes := refused(x, set); yes {
				pause = max(pause, wait)
			}
		}
		if r, ok, err := j.rulesFor(queue, set); err == nil && ok {
			pause = max(pause, min(r.Delay(), set.maxCrawl))
		}
		ends(time.Now().Add(pause))
	}, nil
}

// isThere returns an errLed if a host is left alone as a whole at the moment.
func (j *Job) isThere(queue string) error {
	o, err := j.outages.of(queue)
	if err == nil && o.sleeps() && time.Now().Before(o.until) {
		return fault.New(fault.Transient, "%w: it gives no answer, and is left alone for a while", errLed)
	}
	return err
}

// waitAsGuest waits for the host `to`; the host of v is asked for nothing else meanwhile.
func (j *Job) waitAsGuest(ctx context.Context, v *visit, to weburl.URL) (leave func(time.Time), err error) {
	from := v.lease.Queue
	select {
	case j.guests <- struct{}{}:
		defer func() { <-j.guests }()
	default:
		return nil, fault.New(fault.Transient, "many wait until they may ask for a robots.txt")
	}
	err = fault.New(fault.Transient, "it waits for this one")
	if j.led.begin(from, to.QueueKey()) {
		waiting, cancel := context.WithTimeout(ctx, j.led.longest)
		leave, err = j.frontier.Guest(waiting, to.QueueKey(), to.String())
		cancel()
		j.led.end(from)
	}
	if err == nil || ctx.Err() != nil {
		return leave, err
	}
	var failed error
	if v.led, failed = j.led.again(from); failed != nil {
		return nil, failed
	}
	if v.led >= mostLed {
		return nil, fault.New(fault.Transient, "%w, however often it was tried: %w", errLed, err)
	}
	return nil, err
}

// mostLed is how often in a row a host may wait in vain for the one to which its robots.txt redirects. After that, its rules
// count as not to be had for now.
const mostLed = 8

// mostLedHosts is how many such hosts are held in memory, at least.
const mostLedHosts = 5_000

var errLed = errors.New("that host could not be asked")

// led holds the hosts whose robots.txt redirects to a host that can't be asked just now. Hosts may redirect to each other, in
// a ring of any length; if each waited for the next, none would ever be free.
type led struct {
	longest time.Duration // that one waits at a time

	st    *store.Store
	mu    sync.Mutex        // guards what follows
	waits map[string]string // which one each waits for
	tries recent[int]       // how often in a row it was in vain
}

func newLed(st *store.Store) *led {
	return &led{longest: longestGuest, st: st, waits: map[string]string{}, tries: recent[int]{most: mostLedHosts}}
}

// begin notes that one host waits for another. It returns false, and the host must not wait, if the other one waits for it,
// directly or through others.
func (l *led) begin(from, to string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, ok := to, true; ok; at, ok = l.waits[at] {
		if at == from {
			return false
		}
	}
	l.waits[from] = to
	return true
}

func (l *led) end(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waits, from)
}

// again counts that a host waited in vain, and returns how often in a row that was.
func (l *led) again(from string) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.tries.get(from)
	if !ok {
		if err := l.st.Latest(func(r store.Reader) error { n, _, err = readLed(r, from); return err }); err != nil {
			return 0, err
		}
	}
	l.tries.put(from, n+1)
	return n + 1, nil
}

var ledPrefix = store.Key{byte(store.Job), 'G'}

// ledKey is the key of how often in a row (4) a host waited in vain.
func ledKey(queue string) store.Key { return store.Key{byte(store.Job), 'G'}.Str(queue) }

func readLed(r store.Reader, queue string) (n int, known bool, err error) {
	known, err = r.Look(ledKey(queue), func(v []byte) error {
		if len(v) != 4 {
			return fault.New(fault.Corrupt, "how often %s waited for another host is %x", queue, v)
		}
		n = int(binary.BigEndian.Uint32(v))
		return nil
	})
	return n, known, err
}

// put writes down how often the host of a visit waited in vain. Once its rules are known, or known not to be had, it counts as
// any other host again.
func (l *led) put(tx *store.Tx, v *visit) error {
	queue := v.lease.Queue
	if v.rules == nil {
		if v.led > 0 {
			tx.Set(ledKey(queue), binary.BigEndian.AppendUint32(nil, uint32(v.led)))
		}
		return nil
	}
	l.mu.Lock()
	l.tries.drop(queue)
	l.mu.Unlock()
	_, known, err := readLed(tx, queue)
	if known {
		tx.Delete(ledKey(queue))
	}
	return err
}

// jittered returns a time near d, so that hosts that wait for each other do not try again at the same moment.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d+1) }
