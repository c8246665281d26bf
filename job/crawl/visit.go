package crawl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/robots"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
)

// visit is what came of a URL.
type visit struct {
	lease    *frontier.Lease
	outcome  frontier.Outcome
	retry    time.Time         // when it is tried again; zero: it is not
	postpone time.Time         // until when it stays where it is; zero: it does not
	rules    *rulesUntil       // of its host, if that is what it was
	outages  map[string]outage // of hosts, by queue: those that have changed
	led      int               // how often in a row it waited in vain for the host to which it leads; 0 if it did not
	lookups  []*capture        // in the name system, that were made for it
	captures []*capture
	links    []frontier.Item
	bad      []badLink
	asks     bool       // it gave the URL back: links has what its host is to be asked for first
	leads    weburl.URL // where it leads, if that counts as a seed from now on
	to       weburl.URL // where it leads, if it is a seed
	outlinks []byte     // fields of its metadata
	charset  string     // its links were read in
	cookies  string     // the site whose cookies it has changed
}

// all returns the look-ups and the captures, in the order in which they are written down. A URL that is tried again has no
// captures yet.
func (v *visit) all() []*capture {
	if !v.retry.IsZero() {
		return v.lookups
	}
	return append(v.lookups[:len(v.lookups):len(v.lookups)], v.captures...)
}

func newVisit(l *frontier.Lease, worker int) *visit {
	return &visit{lease: l, captures: []*capture{{line: logLine{url: l.URL, hops: l.Hops, via: l.Via, source: l.Source, worker: worker,
		size: -1}}}}
}

// visit asks for a URL, if its host allows it. It returns nil if the URL was given back, because ctx ended or because the host
// has to be asked for its rules first.
func (j *Job) visit(ctx context.Context, l *frontier.Lease, worker int) (*visit, error) {
	v := newVisit(l, worker)
	u, err := weburl.Parse(l.URL)
	if err != nil { // it was one when it was queued
		j.frontier.Release(l, time.Now())
		v.ends(connector.FetchIllegal, time.Now())
		return v, nil
	}
	set := j.settingsFor(u)
	rules, ok, err := j.rulesFor(l.Queue, set)
	if err == nil && isRobots(u) {
		if v = j.visitRobots(ctx, v, u, set); v == nil || v.rules == nil {
			return v, nil
		}
		if v.rules.State() == robots.Unreachable {
			v.rules.tried = rules.tried + 1
			if v.outcome.Status < 0 { // no answer: the host is tried as often as for any of its URLs
				v.rules.until = time.Now().Add(set.pause(v.rules.tried))
			}
		}
		j.tellRules(l.Queue, rules, *v.rules)
		if set.metadata {
			v.describe()
		}
		return v, nil
	}
	if err != nil {
		j.frontier.Return(l)
		return nil, err
	}
	if !ok {
		return j.askRobots(v, u)
	}
	if rules.State() == robots.Unreachable && rules.tried > set.retries {
		j.frontier.Release(l, time.Now())
		v.ends(statusNoRules, time.Time{})
		return v, nil
	}
	if rules.State() == robots.Unreachable {
		v.postpone, v.captures = rules.until, nil
		j.frontier.Release(l, rules.until)
		return v, nil
	}
	if allowed, _ := rules.Allowed(pathOf(u)); !allowed {
		j.frontier.Release(l, time.Now())
		v.outcome.Left = true
		v.ends(statusForbidden, time.Time{})
		return v, nil
	}
	away, err := j.outages.of(l.Queue)
	if err != nil {
		j.frontier.Return(l)
		return nil, err
	}
	if away.lost(set) && time.Now().Before(away.until) {
		j.frontier.Release(l, time.Now())
		v.ends(away.status, time.Time{})
		return v, nil
	}
	return j.ask(ctx, v, u, set, rules.Delay())
}

// ask fetches a URL that may be asked for, and reads the answer.
func (j *Job) ask(ctx context.Context, v *visit, u weburl.URL, set settings, crawlDelay time.Duration) (_ *visit, err error) {
	l := v.lease
	was := j.pastOf(l, u, set)
	defer func() { err = errors.Join(err, was.close()) }()
	header, err := j.header(l, u, was, set)
	if err != nil {
		j.frontier.Return(l)
		return nil, err
	}
	began := time.Now()
	x, err := j.fetch(ctx, u, header, j.wants(l, u), set)
	if err != nil {
		if noMatter(ctx, err) {
			j.frontier.ReturnAsked(l, time.Now().Add(max(set.after(time.Since(began)), min(crawlDelay, set.maxCrawl))))
			return nil, nil
		}
		if j.putOff(v, err, set) || j.cutOff(v, err, set) {
			return v, nil
		}
		j.failed(v, err, set)
		err = j.away(v, err, set)
		j.frontier.Release(l, v.outcome.Due)
		return v, err
	}
	due := time.Now().Add(max(set.after(x.Took), min(crawlDelay, set.maxCrawl)))
	v.looked(x.Looked)
	due, err = j.answered(v, u, was, x, due, set)
	j.frontier.Release(l, due)
	return v, err
}

// answered reads an answer, and decides what becomes of its URL. due is when the host may be asked again, which the answer can
// put off.
func (j *Job) answered(v *visit, u weburl.URL, was *past, x *connector.Exchange, due time.Time, set settings) (time.Time, error) {
	l, c := v.lease, v.captures[0]
	c.x = x
	err := j.answers(v, l.Queue)
	if err == nil && set.cookies {
		v.cookies, err = j.jar.take(u, x.Header)
	}
	if err != nil {
		return due, errors.Join(err, v.close())
	}
	m, err := c.read(u, func(m *warc.Message, body io.Reader) error {
		return j.links(v, extract.Document{URL: u, Header: x.Header}, m, body, set)
	})
	if err != nil {
		j.unread(c, err)
	}
	switch {
	case m == nil:
	case x.Status == http.StatusNotModified && was != nil:
		if err := j.linksOf(v, u, was, set); err != nil { // it is asked for once more, as if nothing were known
			j.unread(c, err)
			v.again(due, due)
			return due, nil
		}
		c.unmodified(was)
	default:
		if err := j.revisits(c, m); err != nil {
			return due, errors.Join(err, v.close())
		}
	}
	if v.cookies != "" && l.Attempts == 0 && leadsTo(u, x) == u { // it wanted to see whether cookies are kept
		v.again(due, due)
		v.ends(x.Status, due)
		return due, nil
	}
	if wait, yes := refused(x, set); yes && l.Attempts < min(set.retries, mostRefused) {
		due = time.Now().Add(max(wait, time.Until(due)))
		v.again(time.Now().Add(wait), due)
		v.ends(x.Status, due)
		return due, nil
	}
	v.redirected(u, x)
	if to, yes := redirects(l, u, x); yes {
		v.leads = to
	}
	v.outcome.Type, v.outcome.Bytes, v.outcome.Is = c.line.mime, x.Received.Size(), c.is
	v.ends(x.Status, due)
	if set.metadata {
		v.describe()
	}
	return due, nil
}

// unread tells of an answer whose links could not all be read.
func (j *Job) unread(c *capture, err error) {
	j.env.Log.Warn(fmt.Sprintf("%s could not be read for links: %v", c.line.url, err))
	c.line.notes = append(c.line.notes, "err="+errorName(err))
}

// again puts a URL off to be tried again; the result of this time is not kept.
func (v *visit) again(at, due time.Time) {
	v.retry, v.outcome.Due = at, due
	v.links, v.bad, v.outlinks = nil, nil, nil
}

// redirected notes where a seed redirects to.
func (v *visit) redirected(u weburl.URL, x *connector.Exchange) {
	if v.lease.Hops == "" {
		v.to = leadsTo(u, x)
	}
}

// leadsTo returns where an answer redirects to; the zero value if it does not.
func leadsTo(u weburl.URL, x *connector.Exchange) (to weburl.URL) {
	if at := x.Header.Get("Location"); at != "" && x.Status >= 300 && x.Status <= 399 {
		to, _ = u.Resolve(at)
	}
	return to
}

// wants returns a function that asks the scope about the head of an answer; nil if no rule of it is about that. Only
// successful answers are judged so: a redirect or a refusal is archived as it is.
func (j *Job) wants(l *frontier.Lease, u weburl.URL) func(status int, h http.Header) bool {
	in := j.seeds.scope.Load()
	if !in.LooksAtHeads() {
		return nil
	}
	c := scope.Candidate{URL: u, Hops: l.Hops, Source: l.Source}
	if l.Via != "" {
		c.Via, _ = weburl.Parse(l.Via)
	}
	if !in.Decide(c).Accept { // that it is fetched all the same has another reason: a person's, or an earlier scope's
		return nil
	}
	return func(status int, h http.Header) bool {
		size, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
		if err != nil {
			size = -1
		}
		return status < 200 || status > 299 || in.AfterHead(c, scope.Head{Type: h.Get("Content-Type"), Size: size}).Accept
	}
}

// fetch fetches a URL; wants is as in connector.FetchRequest.
func (j *Job) fetch(ctx context.Context, u weburl.URL, header http.Header, wants func(int, http.Header) bool,
	set settings) (*connector.Exchange, error) {
	_, literal := j.seeds.hosts.Load(u.Host())
	request, tooLarge := j.fits(connector.FetchRequest{URL: u.String(), Header: header, Literal: literal, MaxBytes: set.maxBytes,
		Bandwidth: set.bandwidth, Wants: wants})
	x, err := j.cfg.Fetch.Fetch(ctx, request)
	if err == nil {
		if err = tooLarge(x); err != nil {
			return nil, errors.Join(err, x.Close())
		}
		err = j.takeIn(x)
	}
	switch {
	case fault.Is(err, fault.Full):
		err = j.noRoom(u, err)
	case err == nil:
		j.short.fits(j.disk)
		j.connected()
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// take waits until there is room, and for a URL whose host may be asked. tries is as in shortage.wait.
func (j *Job) take(ctx context.Context) (l *frontier.Lease, tries bool, err error) {
	for {
		if tries, err = j.short.wait(ctx, j.disk); err != nil {
			return nil, false, err
		}
		if err = j.room.Wait(ctx, j.env.History); err == nil {
			l, err = j.frontier.Take(ctx)
		}
		switch {
		case err != nil:
			if tries {
				j.short.tried()
			}
			return nil, false, err
		case tries || j.disk.Status().Open:
			return l, tries, nil
		}
		j.frontier.Return(l) // the disk was found full meanwhile
	}
}

// header are the fields of a request that are its own.
func (j *Job) header(l *frontier.Lease, u weburl.URL, was *past, set settings) (http.Header, error) {
	h := http.Header{}
	if l.Via != "" {
		h.Set("Referer", l.Via)
	}
	was.asks(h)
	if set.cookies {
		field, err := j.jar.field(u)
		if err != nil {
			return nil, err
		}
		if field != "" {
			h.Set("Cookie", field)
		}
	}
	return h, nil
}

// ends notes what became of a URL for good. The line of its last capture says so.
func (v *visit) ends(status int, due time.Time) {
	v.outcome.Status, v.outcome.Due = status, due
	v.outcome.Failed = !v.outcome.Left && status <= 0 // what a server answers is an answer, as Heritrix has it
	line := &v.captures[len(v.captures)-1].line
	line.status, line.at = status, time.Now()
}

// failed puts a URL off that got no answer, or gives it up.
func (j *Job) failed(v *visit, err error, set settings) {
	line := &v.captures[len(v.captures)-1].line
	status := connector.FetchRuntime
	line.begun = time.Now()
	if e, ok := errors.AsType[*connector.FetchError](err); ok {
		status, line.begun, line.took = e.Status, e.Begun, e.Took
		v.looked(e.Looked)
	}
	line.notes = append(line.notes, "err="+errorName(err))
	v.ends(status, time.Now().Add(set.after(line.took)))
	if tries(status) && v.lease.Attempts < set.retries {
		v.retry = time.Now().Add(set.retryAfter)
	}
}

// tries reports whether a URL that failed so is tried again.
func tries(status int) bool {
	switch status {
	case connector.FetchIllegal, connector.FetchForbidden:
		return false
	}
	return true
}

func errorName(err error) string {
	return strings.ReplaceAll(string(fault.KindOf(err).String()), " ", "-")
}
