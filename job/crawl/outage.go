package crawl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/job/crawl/frontier"
	"holdfast/kernel/store"
)

// outage is what is known of a host that did not answer when it was asked last.
type outage struct {
	tries  int       // that failed in a row; 0: it answers
	status int       // of the last one
	until  time.Time // so long it is left alone
	noted  time.Time // when the last one was counted; not in the store
}

// mostUnsure is how many URLs of a host in a row may end without an answer before that is taken for a fault of the host: a
// host that accepts connections may have a page that never comes.
const mostUnsure = 2

// sure reports whether the host as a whole is away, and not only one page of it.
func (o outage) sure() bool {
	return o.status == connector.FetchNoName || o.status == connector.FetchNoConnect
}

// sleeps reports whether the host is left alone as a whole.
func (o outage) sleeps() bool { return o.tries > mostUnsure || o.tries > 0 && o.sure() }

// lost reports whether the host was tried as often as a URL is: from then on its URLs fail without being asked for, until the
// host is tried again.
func (o outage) lost(set settings) bool { return o.sure() && o.tries > set.retries }

// next returns the outage after a further try has failed that began at since. The time to the next try doubles, from a
// sixteenth of retry_after to all of it. A try that was already under way when the last failure was counted does not count.
func (o outage) next(status int, since, now time.Time, set settings) outage {
	if since.Before(o.noted) && now.Before(o.until) {
		return o
	}
	o.tries++
	o.status, o.noted = status, now
	o.until = now.Add(set.pause(o.tries))
	return o
}

// pause returns how long a host is left alone after so many tries in a row without an answer.
func (set settings) pause(tries int) time.Duration {
	return min(set.retryAfter, set.retryAfter/16<<min(tries-1, 16))
}

// outages holds the outages of hosts, by the keys of their queues: all in the store, and those of the last hosts in memory.
type outages struct {
	st       *store.Store
	frontier *frontier.Frontier // by whose clock they end

	mu     sync.Mutex     // guards recent
	recent recent[outage] // those that answer too
}

// mostOutages is how many hosts are held in memory at least, and twice as many at most.
const mostOutages = 25_000

// outageKey is the key of a host's outage: until when it is left alone in milliseconds (8), how often it was tried (4), the
// status (4).
func outageKey(queue string) store.Key { return store.Key{byte(store.Job), 'H'}.Str(queue) }

var outagesPrefix = store.Key{byte(store.Job), 'H'}

// of returns what is known of a host.
func (s *outages) of(queue string) (o outage, err error) {
	s.mu.Lock()
	o, ok := s.recent.get(queue)
	s.mu.Unlock()
	if ok {
		return o, nil
	}
	err = s.st.Latest(func(r store.Reader) error {
		_, err := r.Look(outageKey(queue), func(v []byte) error {
			if len(v) != 16 {
				return fault.New(fault.Corrupt, "the outage of %s is %x", queue, v)
			}
			o.until = s.frontier.Time(int64(binary.BigEndian.Uint64(v)))
			o.tries, o.status = int(binary.BigEndian.Uint32(v[8:])), int(int32(binary.BigEndian.Uint32(v[12:])))
			return nil
		})
		return err
	})
	if err != nil {
		return o, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if newer, ok := s.recent.get(queue); ok { // found out while the store was asked, and not yet written down
		return newer, nil
	}
	s.recent.put(queue, o)
	return o, nil
}

// change puts what next makes of it in the place of what is known of a host, and returns both. It is in the store once the
// visit is that found it out.
func (s *outages) change(queue string, next func(outage) outage) (was, now outage, err error) {
	was, err = s.of(queue)
	if err != nil {
		return was, was, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if newer, ok := s.recent.get(queue); ok {
		was = newer
	}
	now = next(was)
	s.recent.put(queue, now)
	return was, now, nil
}

// put writes down what is known of a host: o, or what another worker has found out since, whose visit is written down before
// or after this one.
func (s *outages) put(tx *store.Tx, queue string, o outage) {
	s.mu.Lock()
	if newer, ok := s.recent.get(queue); ok {
		o = newer
	}
	s.mu.Unlock()
	if o.tries == 0 {
		tx.Delete(outageKey(queue))
		return
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(s.frontier.Stamp(o.until)))
	b = binary.BigEndian.AppendUint32(b, uint32(o.tries))
	tx.Set(outageKey(queue), binary.BigEndian.AppendUint32(b, uint32(int32(o.status))))
}

// away leaves a host alone that gave no answer, but cause. The log has one line when that begins, and one when it ends.
func (j *Job) away(v *visit, cause error, set settings) error {
	if !tries(v.outcome.Status) {
		return nil
	}
	o, err := j.silent(v, v.lease.Queue, v.lease.Since, cause, set)
	switch {
	case err != nil:
		return err
	case o.lost(set): // so are the others of its queue, at once
		v.retry, v.outcome.Due = time.Time{}, time.Now()
	case o.sleeps():
		v.outcome.Due = o.until
		if !v.retry.IsZero() {
			v.retry = o.until
		}
	}
	return nil
}

// silent counts that a host did not answer a request that began at since, and failed with cause.
func (j *Job) silent(v *visit, queue string, since time.Time, cause error, set settings) (o outage, err error) {
	was, o, err := j.outages.change(queue, func(o outage) outage { return o.next(v.outcome.Status, since, time.Now(), set) })
	if err != nil {
		return o, err
	}
	v.hears(queue, o)
	if o.sleeps() && !was.sleeps() {
		j.env.Log.Warn(fmt.Sprintf("host %s is left alone as a whole, but for a try now and then: %v", queue, cause))
	}
	return o, nil
}

// hearsOf notes whether a host answered that was asked at began because the robots.txt of another one redirects to it; err is
// nil, or what was wrong.
func (j *Job) hearsOf(v *visit, guest string, began time.Time, err error, set settings) {
	var failed error
	switch {
	case err == nil:
		failed = j.answers(v, guest)
	case tries(v.outcome.Status):
		_, failed = j.silent(v, guest, began, err, set)
	}
	if failed != nil {
		j.env.Log.Warn(fmt.Sprintf("what is known of host %s can't be read: %v", guest, failed))
	}
}

// hears notes an outage that is to be written down with the visit.
func (v *visit) hears(queue string, o outage) {
	if v.outages == nil {
		v.outages = map[string]outage{}
	}
	v.outages[queue] = o
}

// lookAgain is how long a URL waits that could not be asked for because this end is cut off.
const lookAgain = 30 * time.Second

// cutOff leaves a URL in its queue if this machine is cut off, and not the host away. That costs no try, however long it
// lasts.
func (j *Job) cutOff(v *visit, err error, set settings) bool {
	if !isHere(err) {
		return false
	}
	j.network.Report(fault.New(fault.Transient, "nothing can be asked for from here: %w", err))
	_ = v.close() // the answer is a redirect to where no host can be asked
	v.postpone, v.captures = time.Now().Add(min(lookAgain, set.retryAfter)), nil
	j.frontier.Release(v.lease, v.postpone)
	return true
}

// isHere reports whether an error says that this machine is cut off.
func isHere(err error) bool {
	e, ok := errors.AsType[*connector.FetchError](err)
	return ok && e.Here
}

// connected notes that this end is not cut off.
func (j *Job) connected() {
	if !j.network.Status().Open {
		j.network.OpenByHand()
	}
}

// answers notes that a host that was away answers again.
func (j *Job) answers(v *visit, queue string) error {
	was, _, err := j.outages.change(queue, func(outage) outage { return outage{} })
	if err != nil || was.tries == 0 {
		return err
	}
	v.hears(queue, outage{})
	if was.sleeps() {
		j.env.Log.Info(fmt.Sprintf("host %s answers again", queue))
	}
	return nil
}
