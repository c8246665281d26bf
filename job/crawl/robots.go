package crawl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"holdfast/base/fault"
	"holdfast/base/robots"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/store"
)

// The statuses of Heritrix for a URL that is not fetched: the rules of its host forbid it, or can't be had.
const (
	statusForbidden = -9998
	statusNoRules   = -61
)

// rulesUntil are the rules of a host, and until when they hold before they are asked for again.
type rulesUntil struct {
	robots.Rules
	until time.Time
	tried int // how often in a row they were not to be had
}

// mostRules is how many bytes the rules take that are held in memory.
const mostRules = 16 << 20

// ruleBook has the rules of hosts, by the keys of their queues: in the store, and in memory those of the last ones.
type ruleBook struct {
	st       *store.Store
	frontier *frontier.Frontier // by whose clock they end

	mu     sync.Mutex // guards all below
	recent map[string]rulesUntil
	bytes  int // that they take
}

// rulesKey is the key of a host's rules: when they end in milliseconds (8), how often they were not to be had (4), and
// what they are.
func rulesKey(queue string) store.Key { return store.Key{byte(store.Job), 'R'}.Str(queue) }

var rulesPrefix = store.Key{byte(store.Job), 'R'}

// of returns the rules of a host; ok is false if they have to be asked for.
func (b *ruleBook) of(queue string, now time.Time) (r rulesUntil, ok bool, err error) {
	b.mu.Lock()
	r, ok = b.recent[queue]
	b.mu.Unlock()
	if !ok {
		err = b.st.Latest(func(rd store.Reader) error {
			r, ok, err = b.read(rd, queue)
			return err
		})
		if err != nil || !ok {
			return r, false, err
		}
		r = b.found(queue, r)
	}
	return r, now.Before(r.until), nil
}

// read reads the rules of a host from the store; ok is false if there were never any.
func (b *ruleBook) read(rd store.Reader, queue string) (r rulesUntil, ok bool, err error) {
	r, ok, err = readRules(rd, queue)
	r.until = b.frontier.Time(r.until.UnixMilli())
	return r, ok, err
}

// readRules is ruleBook.read without the clock of a rule book: the end of the rules is as the store has it.
func readRules(rd store.Reader, queue string) (r rulesUntil, ok bool, err error) {
	v, ok, err := rd.Get(rulesKey(queue))
	if err != nil || !ok {
		return r, false, err
	}
	if len(v) < 12 {
		return r, false, fault.New(fault.Corrupt, "the rules of %s are %x", queue, v)
	}
	r.until, r.tried = time.UnixMilli(int64(binary.BigEndian.Uint64(v))), int(binary.BigEndian.Uint32(v[8:]))
	if r.Rules, err = robots.Decode(v[12:]); err != nil {
		return r, false, fault.New(fault.Corrupt, "the rules of %s: %w", queue, err)
	}
	return r, true, nil
}

// found remembers the rules that the store had, unless newer ones were committed meanwhile; it returns those that count.
func (b *ruleBook) found(queue string, r rulesUntil) rulesUntil {
	b.mu.Lock()
	defer b.mu.Unlock()
	if newer, ok := b.recent[queue]; ok {
		return newer
	}
	b.put(queue, r)
	return r
}

// remember makes rules known that are committed.
func (b *ruleBook) remember(queue string, r rulesUntil) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(queue, r)
}

func (b *ruleBook) put(queue string, r rulesUntil) {
	const besides = 150 // of a map's entry
	if was, ok := b.recent[queue]; ok {
		b.bytes -= len(queue) + was.Size() + besides
	}
	if b.bytes > mostRules { // what is asked for again comes from the store
		clear(b.recent)
		b.bytes = 0
	}
	b.recent[queue] = r
	b.bytes += len(queue) + r.Size() + besides
}

func (b *ruleBook) write(tx *store.Tx, queue string, r *rulesUntil) {
	v := binary.BigEndian.AppendUint64(nil, uint64(b.frontier.Stamp(r.until)))
	tx.Set(rulesKey(queue), append(binary.BigEndian.AppendUint32(v, uint32(r.tried)), r.Encode()...))
}

// isRobots reports whether a URL is the robots.txt of a host. However it was found, it is fetched first and gives the
// rules. It must never be queued like a page, because then its rules would not be read.
func isRobots(u weburl.URL) bool { return u.Path() == robotsPath && u.Query() == "" }

const robotsPath = "/robots.txt"

// rulesFor returns the rules for a URL; ok is false if its host has to be asked for them.
func (j *Job) rulesFor(queue string, set settings) (r rulesUntil, ok bool, err error) {
	if r.Rules, ok = set.robots.Rules(j.cfg.Agent); ok {
		return r, true, nil
	}
	return j.rules.of(queue, time.Now())
}

// tellRules logs a line when the rules of a host can't be had, and when they can again.
func (j *Job) tellRules(queue string, was, is rulesUntil) {
	switch {
	case was.tried == 0 && is.tried > 0:
		j.env.Log.Warn(fmt.Sprintf("host %s is asked for nothing, as its robots.txt is not to be had; it is tried now and then", queue))
	case was.tried > 0 && is.tried == 0:
		j.env.Log.Info(fmt.Sprintf("host %s has its robots.txt again", queue))
	}
}

// sitemaps adds the sitemaps that the rules of a host name to the links.
func (j *Job) sitemaps(v *visit, u weburl.URL) {
	for _, text := range v.rules.Sitemaps() {
		s, err := u.Resolve(text)
		if err != nil {
			v.bad = append(v.bad, badLink{text, err.Error()})
			continue
		}
		j.follow(v, scope.Candidate{URL: s, Hops: v.lease.Hops + string(extract.Manifest), Via: u, Source: v.lease.Source})
	}
}

// prerequisite is the hop to what must be had before a host is asked, in Heritrix's letters.
const prerequisite = "P"

// askRobots queues the robots.txt of a host before everything else of that host, and gives back the URL that needs it.
func (j *Job) askRobots(v *visit, u weburl.URL) (*visit, error) {
	r, err := u.Resolve(robotsPath)
	if err != nil {
		j.frontier.Return(v.lease)
		return nil, err
	}
	i := j.item(r, v.lease.Hops+prerequisite, u, v.lease.Source)
	i.Again = true
	v.asks, v.captures, v.links = true, nil, []frontier.Item{i}
	return v, nil
}

// rulesFrom makes rules of the answer to a request for a robots.txt; status is 0 or less if there was none.
func (j *Job) rulesFrom(status int, header http.Header, m *warc.Message, truncated string, body ...io.Reader) *rulesUntil {
	a := robots.Answer{Status: status, Header: header, Broken: truncated != "" && truncated != warc.TruncatedLength}
	for _, body := range body {
		content, err := decoded(m, body)
		if err == nil {
			a.Body, err = io.ReadAll(io.LimitReader(content, robots.MaxBytes+1))
		}
		a.Broken = a.Broken || err != nil
	}
	r, valid := a.Rules(j.cfg.Agent, time.Now())
	return &rulesUntil{Rules: r, until: time.Now().Add(valid)}
}

// visitRobots asks a host for its rules, and follows redirects. The host is asked for nothing else before the rules are
// committed.
func (j *Job) visitRobots(ctx context.Context, v *visit, u weburl.URL, set settings) *visit {
	leave := stay(func(time.Duration, *connector.Exchange) {})
	for n := 0; ; n++ {
		var rules *rulesUntil // of this answer: until the last one is there, nothing is known
		c := v.captures[len(v.captures)-1]
		began := time.Now()
		x, err := j.fetch(ctx, u, nil, nil, set)
		its := err == nil || !noMatter(ctx, err) && !isHere(err) // a matter of the one who was asked
		if err != nil && its {
			j.failed(v, err, set)
		}
		if guest := u.QueueKey(); its && guest != v.lease.Queue {
			j.hearsOf(v, guest, began, err, j.settingsFor(u))
		}
		leave(time.Since(began), x) // after hearsOf, so that the next to ask that host knows
		if err != nil {
			if noMatter(ctx, err) {
				j.frontier.ReturnAsked(v.lease, time.Now().Add(set.after(time.Since(began))))
				_ = v.close()
				return nil
			}
			if j.cutOff(v, err, set) {
				return v
			}
			v.retry = time.Time{} // the host is asked again when its rules end
			status := 0
			if n == 0 && v.outcome.Status == connector.FetchForbidden { // by ourselves, as all of that host will be: there is no need to wait
				status = http.StatusNotFound
			}
			v.rules = j.rulesFrom(status, nil, nil, "")
			return v
		}
		v.looked(x.Looked)
		c.x = x
		_, err = c.read(u, func(m *warc.Message, body io.Reader) error {
			rules = j.rulesFrom(x.Status, x.Header, m, x.Truncated, body)
			return nil
		})
		if err != nil {
			rules = j.rulesFrom(0, nil, nil, "")
		}
		v.ends(x.Status, time.Now().Add(set.after(x.Took)))
		v.outcome.Type, v.outcome.Bytes = c.line.mime, x.Received.Size()
		next, err := u.Resolve(x.Header.Get("Location"))
		if x.Status < 300 || x.Status > 399 || err != nil || next == u || n == robots.MaxRedirects {
			v.rules = rules
			j.sitemaps(v, u)
			return v
		}
		leave, err = j.elsewhere(ctx, v, next, set.after(x.Took))
		if errors.Is(err, errLed) {
			j.env.Log.Warn(fmt.Sprintf("the robots.txt of host %s leads to %s: %v", v.lease.Queue, next, err))
			v.rules = j.rulesFrom(0, nil, nil, "")
			return v
		}
		if err != nil {
			_ = v.close()
			if ctx.Err() != nil {
				j.frontier.ReturnAsked(v.lease, v.outcome.Due)
				return nil
			}
			v.postpone, v.captures = time.Now().Add(jittered(min(lookAgain, set.retryAfter))), nil
			j.frontier.Release(v.lease, v.postpone)
			return v
		}
		v.captures = append(v.captures, &capture{line: logLine{url: next.String(), hops: c.line.hops + "R", via: u.String(),
			source: v.lease.Source, worker: c.line.worker, size: -1}})
		u = next
	}
}
