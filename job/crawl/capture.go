package crawl

import (
	"bytes"
	"errors"
	"io"
	"time"

	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/connector"
	"holdfast/job/crawl/archive"
	"holdfast/job/crawl/frontier"
)

// capture is one question to a server and its answer, if there was one.
type capture struct {
	line    logLine
	is      frontier.Novelty
	records []*warc.Record
	packed  []archive.Packed    // those, or nil
	at      archive.Place       // of the first of them, when it is written
	x       *connector.Exchange // to be closed when the records are written; nil for none
}

// truncation are Heritrix's notes for what was cut.
var truncation = map[string]string{warc.TruncatedLength: "lenTrunc", warc.TruncatedTime: "timeTrunc",
	warc.TruncatedDisconnect: "disconnectTrunc"}

// read makes the records of an answer, and calls payload with what it holds. It returns nil if the answer is not HTTP, or the
// digests could not be taken.
func (c *capture) read(u weburl.URL, payload func(m *warc.Message, body io.Reader) error) (*warc.Message, error) {
	x := c.x
	block, digest := warc.NewHasher(false), warc.NewHasher(false)
	response := &warc.Record{Type: warc.Response, ID: warc.NewID(), Date: x.Begun, TargetURI: u.String(), IP: x.Remote.Addr(),
		Truncated: x.Truncated, Content: io.NewSectionReader(x.Received, 0, x.Received.Size()), Length: x.Received.Size()}
	request := &warc.Record{Type: warc.Request, ID: warc.NewID(), Date: x.Begun, TargetURI: u.String(), IP: x.Remote.Addr(),
		ConcurrentTo: []string{response.ID}, Content: bytes.NewReader(x.Sent), Length: int64(len(x.Sent))}
	c.records = []*warc.Record{response, request}
	c.line.begun, c.line.took, c.line.status, c.line.at = x.Begun, x.Took, x.Status, time.Now()
	switch {
	case x.Unwanted:
		c.line.notes = append(c.line.notes, "midFetchAbort")
	case x.Truncated != "":
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

// looked keeps a look-up in the name system as Heritrix does: the time and the records, as a capture of dns:HOST with status
// 1.
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
		size: int64(len(text)), url: r.TargetURI, hops: main.hops + prerequisite, via: main.url, mime: warc.DNS, worker: main.worker, begun: l.At,
		took: l.Took, digest: string(h.Digests().SHA1), source: main.source}})
}

// statusLookup is Heritrix's status of a look-up.
const statusLookup = 1

// counting is a reader that counts the bytes that went through it.
type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
