package crawl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
)

// visit is a URL that was asked for, and what came of it.
type visit struct {
	lease   *frontier.Lease
	outcome frontier.Outcome
	retry   time.Time // when it is tried again; zero: it is not
	records []*warc.Record
	links   []frontier.Item
	line    logLine
	bad     []badLink
	x       *connector.Exchange // to be closed when the records are written; nil for none
}

// badLink is a reference of a page that is no URL.
type badLink struct{ reference, why string }

// visit asks for a URL. It is nil if ctx ended.
func (j *Job) visit(ctx context.Context, l *frontier.Lease, worker int) *visit {
	v := &visit{lease: l, line: logLine{url: l.URL, hops: l.Hops, via: l.Via, source: l.Source, worker: worker, size: -1}}
	u, err := weburl.Parse(l.URL)
	if err != nil { // it was one when it was queued
		j.frontier.Release(l, time.Now())
		v.ends(connector.FetchIllegal, time.Now())
		return v
	}
	x, err := j.cfg.Fetch.Fetch(ctx, connector.FetchRequest{URL: l.URL, Header: refererOf(l)})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		j.failed(v, err)
		return v
	}
	due := time.Now().Add(j.cfg.Polite.after(x.Took))
	j.frontier.Release(l, due)
	v.x = x
	if err := j.read(v, u); err != nil {
		j.env.Log.Warn(fmt.Sprintf("%s could not be read for links: %v", l.URL, err))
		v.line.notes = append(v.line.notes, "err="+errorName(err))
	}
	v.outcome.Bytes = x.Received.Size()
	v.line.begun, v.line.took = x.Begun, x.Took
	if x.Truncated != "" {
		v.line.notes = append(v.line.notes, truncation[x.Truncated])
	}
	v.ends(x.Status, due)
	return v
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

// ends is what became of a URL for good.
func (v *visit) ends(status int, due time.Time) {
	v.outcome.Status, v.outcome.Due = status, due
	v.outcome.Failed = status < 0 || status >= 400
	v.line.status, v.line.at = status, time.Now()
}

// failed puts a URL off that got no answer, or gives it up.
func (j *Job) failed(v *visit, err error) {
	status, begun, took := connector.FetchRuntime, time.Now(), time.Duration(0)
	if e, ok := errors.AsType[*connector.FetchError](err); ok {
		status, begun, took = e.Status, e.Begun, e.Took
	}
	due := time.Now().Add(j.cfg.Polite.after(took))
	j.frontier.Release(v.lease, due)
	v.line.begun, v.line.took = begun, took
	v.line.notes = append(v.line.notes, "err="+errorName(err))
	v.ends(status, due)
	if tries(status) && v.lease.Attempts < j.cfg.Retries {
		v.retry = time.Now().Add(j.cfg.RetryAfter)
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

// read makes the records of an answer, and finds the links in it.
func (j *Job) read(v *visit, u weburl.URL) error {
	x := v.x
	answer := io.NewSectionReader(x.Received, 0, x.Received.Size())
	block, payload := warc.NewHasher(false), warc.NewHasher(false)
	response := &warc.Record{Type: warc.Response, ID: warc.NewID(), Date: x.Begun, TargetURI: u.String(), IP: x.Remote.Addr(),
		Truncated: x.Truncated, Content: answer, Length: x.Received.Size()}
	request := &warc.Record{Type: warc.Request, ID: warc.NewID(), Date: x.Begun, TargetURI: u.String(), IP: x.Remote.Addr(),
		ConcurrentTo: []string{response.ID}, Content: bytes.NewReader(x.Sent), Length: int64(len(x.Sent))}
	v.records = []*warc.Record{response, request}
	m, err := warc.SplitHTTP(io.TeeReader(io.NewSectionReader(x.Received, 0, x.Received.Size()), block))
	if err != nil { // no HTTP that one could read: kept as it came
		return err
	}
	v.outcome.Type, v.line.mime = m.MediaType(), m.MediaType()
	body := &counting{r: io.TeeReader(m.Payload(), payload)}
	linksErr := j.links(v, u, m, body)
	_, err = io.Copy(io.Discard, body) // the rest, for its digest
	if err == nil {
		_, err = io.Copy(io.Discard, m.Body()) // what stands behind the payload, for that of the block
	}
	if err != nil {
		return errors.Join(linksErr, err)
	}
	response.Block, response.Payload = block.Digests(), payload.Digests()
	v.line.size, v.line.digest = body.n, string(response.Payload.SHA1)
	return linksErr
}

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
func (j *Job) links(v *visit, u weburl.URL, m *warc.Message, body io.Reader) error {
	content, err := decoded(m, body)
	if err != nil {
		return err
	}
	via := weburl.URL{}
	if v.lease.Via != "" {
		via, _ = weburl.Parse(v.lease.Via)
	}
	_, err = extract.Links(extract.Document{URL: u, Via: via, Header: v.x.Header, Body: content}, extract.Options{
		Bad: func(reference, _ string, err error) {
			if len(v.bad) < mostBad {
				v.bad = append(v.bad, badLink{reference, err.Error()})
			}
		},
	}, func(l extract.Link) bool {
		hops := v.lease.Hops + string(l.Hop)
		if j.cfg.Accepts(Candidate{URL: l.URL, Hops: hops, Via: u}) {
			v.links = append(v.links, j.item(l.URL, hops, u, v.lease.Source))
		}
		return true
	})
	return err
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
