package crawl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/base/robots"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/scope"
)

// visit is what came of a URL.
type visit struct {
	lease    *frontier.Lease
	outcome  frontier.Outcome
	retry    time.Time   // when it is tried again; zero: it is not
	postpone time.Time   // until when it stays where it is; zero: it does not
	rules    *rulesUntil // of its host, if that is what it was
	lookups  []*capture  // in the name system, that were made for it
	captures []*capture
	links    []frontier.Item
	bad      []badLink
	asks     bool       // it gave the URL back: links has what its host is to be asked for first
	leads    weburl.URL // where it leads, if that counts as a seed from now on
	to       weburl.URL // where it leads, if it is a seed
}

// capture is one question to a server and its answer, if there was one.
type capture struct {
	line    logLine
	records []*warc.Record
	packed  []archive.Packed    // those, or nil
	x       *connector.Exchange // to be closed when the records are written; nil for none
}

// all are the look-ups and the captures, in the order in which they are written down. What is tried again has no captures yet.
func (v *visit) all() []*capture {
	if !v.retry.IsZero() {
		return v.lookups
	}
	return append(v.lookups[:len(v.lookups):len(v.lookups)], v.captures...)
}

// badLink is a reference of a page that is no URL.
type badLink struct{ reference, why string }

func newVisit(l *frontier.Lease, worker int) *visit {
	return &visit{lease: l, captures: []*capture{{line: logLine{url: l.URL, hops: l.Hops, via: l.Via, source: l.Source, worker: worker,
		size: -1}}}}
}

// visit asks for a URL, if its host allows it. What it returns is nil if the URL was given back: because ctx ended, or because the host is to be
// asked for its rules first.
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
		if v = j.visitRobots(ctx, v, u, set); v != nil && v.rules.State() == robots.Unreachable {
			v.rules.tried = rules.tried + 1
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
	x, err := j.fetch(ctx, u, refererOf(l), set)
	if err != nil {
		if unasked(ctx, err) {
			j.frontier.Return(l)
			return nil, nil
		}
		j.failed(v, err, set)
		j.frontier.Release(l, v.outcome.Due)
		return v, nil
	}
	due := time.Now().Add(max(set.after(x.Took), min(rules.Delay(), set.maxCrawl)))
	v.looked(x.Looked)
	c := v.captures[0]
	c.x = x
	m, err := c.read(u, func(m *warc.Message, body io.Reader) error { return j.links(v, u, m, body, set.maxLinks) })
	if m != nil {
		if err := j.revisits(c, m); err != nil {
			j.frontier.Release(l, due)
			return v, errors.Join(err, v.close())
		}
	}
	if err != nil {
		j.env.Log.Warn(fmt.Sprintf("%s could not be read for links: %v", l.URL, err))
		c.line.notes = append(c.line.notes, "err="+errorName(err))
	}
	if wait, yes := refused(x, set); yes && l.Attempts < min(set.retries, mostRefused) {
		v.retry, due = time.Now().Add(wait), time.Now().Add(max(wait, time.Until(due)))
		v.links, v.bad = nil, nil
		j.frontier.Release(l, due)
		v.ends(x.Status, due)
		return v, nil
	}
	j.frontier.Release(l, due)
	if to, yes := redirects(l, u, x); yes {
		v.leads = to
	}
	if to, err := u.Resolve(x.Header.Get("Location")); err == nil && l.Hops == "" && x.Status >= 300 && x.Status <= 399 {
		v.to = to
	}
	v.outcome.Type, v.outcome.Bytes = c.line.mime, x.Received.Size()
	v.ends(x.Status, due)
	return v, nil
}

// fetch asks for a URL.
func (j *Job) fetch(ctx context.Context, u weburl.URL, header http.Header, set settings) (*connector.Exchange, error) {
	_, literal := j.seeds.hosts.Load(u.Host())
	x, err := j.cfg.Fetch.Fetch(ctx, connector.FetchRequest{URL: u.String(), Header: header, Literal: literal, MaxBytes: set.maxBytes})
	switch {
	case fault.Is(err, fault.Full):
		j.short.full(j.disk, err)
	case err == nil:
		j.short.fits(j.disk)
	}
	return x, err
}

// take waits until there is room, and for a URL whose host may be asked. tries is as in shortage.wait.
func (j *Job) take(ctx context.Context) (l *frontier.Lease, tries bool, err error) {
	for {
		if tries, err = j.short.wait(ctx, j.disk); err != nil {
			return nil, false, err
		}
		if err = j.room.Wait(ctx); err == nil {
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

// mostRefused is how often a URL is tried again that a server does not want to answer now. The last answer counts.
const mostRefused = 5

// refused reports whether a server says that it does not want to answer now, and how long it is to be left alone then: as long as
// it says, else as long as for a failure.
func refused(x *connector.Exchange, set settings) (wait time.Duration, yes bool) {
	if x.Status != http.StatusTooManyRequests && x.Status != http.StatusServiceUnavailable {
		return 0, false
	}
	wait = set.retryAfter
	text := x.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), frontier.Longest), true
}

// unasked reports whether a fetch failed for what is no matter of the URL: it is as if it had not been asked for.
func unasked(ctx context.Context, err error) bool {
	return ctx.Err() != nil || fault.Is(err, fault.Full)
}

// visitRobots asks a host for its rules, behind redirects too. The host is not asked for anything else before they are committed.
func (j *Job) visitRobots(ctx context.Context, v *visit, u weburl.URL, set settings) *visit {
	for n := 0; ; n++ {
		c := v.captures[len(v.captures)-1]
		x, err := j.fetch(ctx, u, nil, set)
		if err != nil {
			if unasked(ctx, err) {
				j.frontier.Return(v.lease)
				_ = v.close()
				return nil
			}
			j.failed(v, err, set)
			v.retry = time.Time{} // the host is asked again when its rules end
			status := 0
			if v.outcome.Status == connector.FetchForbidden { // by ourselves, as all of that host will be: there is no need to wait
				status = http.StatusNotFound
			}
			v.rules = j.rulesFrom(status, nil, nil, "")
			return v
		}
		v.looked(x.Looked)
		c.x = x
		_, err = c.read(u, func(m *warc.Message, body io.Reader) error {
			v.rules = j.rulesFrom(x.Status, x.Header, m, x.Truncated, body)
			return nil
		})
		if err != nil {
			v.rules = j.rulesFrom(0, nil, nil, "")
		}
		v.ends(x.Status, time.Now().Add(set.after(x.Took)))
		v.outcome.Type, v.outcome.Bytes = c.line.mime, x.Received.Size()
		next, err := u.Resolve(x.Header.Get("Location"))
		if x.Status < 300 || x.Status > 399 || err != nil || next == u || n == robots.MaxRedirects {
			j.sitemaps(v, u)
			return v
		}
		v.captures = append(v.captures, &capture{line: logLine{url: next.String(), hops: c.line.hops + "R", via: u.String(),
			source: v.lease.Source, worker: c.line.worker, size: -1}})
		u = next
	}
}

// truncation are Heritrix's notes for what was cut.
var truncation = map[string]string{warc.TruncatedLength: "lenTrunc", warc.TruncatedTime: "timeTrunc",
	warc.TruncatedDisconnect: "disconnectTrunc"}

func refererOf(l *frontier.Lease) http.Header {
	if l.Via == "" {
		return nil
	}
	return http.Header{"Referer": {l.Via}}
}

// ends is what became of a URL for good. The line of its last capture says so.
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

// read makes the records of an answer, and has its payload read. What it returns is nil if the answer is not HTTP, or the digests
// could not be taken.
func (c *capture) read(u weburl.URL, payload func(m *warc.Message, body io.Reader) error) (*warc.Message, error) {
	x := c.x
	block, digest := warc.NewHasher(false), warc.NewHasher(false)
	response := &warc.Record{Type: warc.Response, ID: warc.NewID(), Date: x.Begun, TargetURI: u.String(), IP: x.Remote.Addr(),
		Truncated: x.Truncated, Content: io.NewSectionReader(x.Received, 0, x.Received.Size()), Length: x.Received.Size()}
	request := &warc.Record{Type: warc.Request, ID: warc.NewID(), Date: x.Begun, TargetURI: u.String(), IP: x.Remote.Addr(),
		ConcurrentTo: []string{response.ID}, Content: bytes.NewReader(x.Sent), Length: int64(len(x.Sent))}
	c.records = []*warc.Record{response, request}
	c.line.begun, c.line.took, c.line.status, c.line.at = x.Begun, x.Took, x.Status, time.Now()
	if x.Truncated != "" {
		c.line.notes = append(c.line.notes, truncation[x.Truncated])
	}
	m, err := warc.SplitHTTP(io.TeeReader(io.NewSectionReader(x.Received, 0, x.Received.Size()), block))
	if err != nil { // no HTTP that one could read: kept as it came
		return nil, err
	}
	c.line.mime = m.MediaType()
	body := &counting{r: io.TeeReader(m.Payload(), digest)}
	unread := payload(m, body)
	_, err = io.Copy(io.Discard, body) // the rest, for its digest
	if err == nil {
		_, err = io.Copy(io.Discard, m.Body()) // what stands behind the payload, for that of the block
	}
	if err != nil {
		return nil, errors.Join(unread, err)
	}
	response.Block, response.Payload = block.Digests(), digest.Digests()
	c.line.size, c.line.digest = body.n, string(response.Payload.SHA1)
	return m, unread
}

// looked keeps a look-up in the name system as Heritrix does: the time and the records, as the capture of dns:HOST with status 1.
func (v *visit) looked(l *connector.Lookup) {
	if l == nil {
		return
	}
	text := append([]byte(l.At.UTC().Format("20060102150405")+"\n"), l.Answer...)
	r := &warc.Record{Type: warc.Resource, ID: warc.NewID(), Date: l.At, TargetURI: "dns:" + l.Host, ContentType: warc.DNS,
		Content: bytes.NewReader(text), Length: int64(len(text))}
	h := warc.NewHasher(false)
	_, _ = h.Write(text) // never fails
	main := v.captures[len(v.captures)-1].line
	v.lookups = append(v.lookups, &capture{records: []*warc.Record{r}, line: logLine{at: time.Now(), status: statusLookup,
		size: int64(len(text)), url: r.TargetURI, hops: main.hops + "P", via: main.url, mime: warc.DNS, worker: main.worker, begun: l.At,
		took: l.Took, digest: string(h.Digests().SHA1), source: main.source}})
}

// statusLookup is Heritrix's status of a look-up.
const statusLookup = 1

// counting is a reader that knows how much went through it.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// links finds the links of an answer that are to be crawled.
func (j *Job) links(v *visit, u weburl.URL, m *warc.Message, body io.Reader, most int) error {
	content, err := decoded(m, body)
	if err != nil {
		return err
	}
	via := weburl.URL{}
	if v.lease.Via != "" {
		via, _ = weburl.Parse(v.lease.Via)
	}
	links := 0
	_, err = extract.Links(extract.Document{URL: u, Via: via, Header: v.captures[0].x.Header, Body: content}, extract.Options{
		Bad: func(reference, _ string, err error) {
			if len(v.bad) < mostBad {
				v.bad = append(v.bad, badLink{reference, err.Error()})
			}
		},
	}, func(l extract.Link) bool {
		j.follow(v, scope.Candidate{URL: l.URL, Hops: v.lease.Hops + string(l.Hop), Via: u, Source: v.lease.Source})
		links++
		return links < most
	})
	return err
}

// follow has a URL queued that was found, if the scope wants it.
func (j *Job) follow(v *visit, c scope.Candidate) {
	if !j.seeds.scope.Load().Decide(c).Accept {
		return
	}
	v.links = append(v.links, j.item(c.URL, c.Hops, c.Via, c.Source))
}

// mostBad is how many references of a page are told that are no URLs.
const mostBad = 100

// decoded undoes the content codings of a body.
func decoded(m *warc.Message, body io.Reader) (io.Reader, error) {
	codings := strings.Split(strings.Join(m.Fields.All("Content-Encoding"), ","), ",")
	for i := len(codings) - 1; i >= 0; i-- {
		var err error
		switch strings.ToLower(strings.TrimSpace(codings[i])) {
		case "", "identity":
		case "gzip", "x-gzip":
			body, err = gzip.NewReader(body)
		case "deflate":
			body, err = zlib.NewReader(body)
		case "br":
			body = brotli.NewReader(body)
		case "zstd":
			var z *zstd.Decoder
			if z, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
				body = z.IOReadCloser()
			}
		default:
			return nil, fault.New(fault.Invalid, "content coding %q is not known", codings[i])
		}
		if err != nil {
			return nil, fmt.Errorf("undo content coding %s: %w", codings[i], err)
		}
	}
	return body, nil
}
