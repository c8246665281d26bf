package crawl

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/http/httpguts"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/frontier"
	"holdfast/job/crawl/index"
)

// past is what a URL had last: a record of a WARC file, which stays open while the URL may still have that content. Why links
// are read from there: docs/decisions/0047.
type past struct {
	file           *os.File
	at             int64
	url, id        string // of the record; the URL that had this content first may be another one
	date           time.Time
	payload        warc.Digests
	head           warc.Fields // of the answer of the URL itself
	etag, modified string      // by which a server tells whether it is the same still; one of them may be ""
}

// pastOf returns the last capture of a URL; nil if there is none that a server could be asked about. In case of doubt the URL
// is simply fetched.
func (j *Job) pastOf(l *frontier.Lease, u weburl.URL, set settings) *past {
	if j.earlier == nil || !set.conditional || l.Attempts > 0 {
		return nil
	}
	p, err := j.findPast(u.String())
	if err != nil && !errors.Is(err, os.ErrNotExist) { // WARC files are taken elsewhere: that is no mistake
		j.env.Log.Warn(fmt.Sprintf("what %s was is not known: %v", u, err))
	}
	return p
}

// findPast is pastOf with its errors.
func (j *Job) findPast(url string) (*past, error) {
	k, ok, err := j.earlier.Last(url)
	if err != nil || !ok {
		return nil, err
	}
	if !k.Revisit {
		return openPast(k, nil)
	}
	of, head, ok, err := j.original(k)
	if err != nil || !ok {
		return nil, err
	}
	return openPast(of, head)
}

// original finds the record that a revisit refers to, which has the payload, and returns the head of the revisit: of the same
// content, another URL may have another ETag. ok is false if there is none.
func (j *Job) original(revisit index.Kept) (of index.Kept, head warc.Fields, ok bool, err error) {
	f, err := os.Open(revisit.Path)
	if err != nil {
		return of, nil, false, err
	}
	defer f.Close()
	e, m, err := readRecord(f, revisit.Offset, warc.Revisit, revisit.URL)
	if err != nil {
		return of, nil, false, err
	}
	date, err := warc.ParseDate(e.Fields.Get("WARC-Refers-To-Date"))
	if err != nil {
		return of, nil, false, nil // written by others, in their own way
	}
	payload, err := warc.ParseDigest(e.Fields.Get("WARC-Payload-Digest"))
	if err != nil {
		return of, nil, false, nil // likewise
	}
	of, ok, err = j.earlier.Original(e.Fields.Get("WARC-Refers-To-Target-URI"), date, payload)
	return of, m.Fields, ok, err
}

// openPast opens the record of a capture; head is that of the answer of the URL, nil if it is the record's own. It returns nil if
// a server could not tell whether the URL still has that content.
func openPast(k index.Kept, head warc.Fields) (p *past, err error) {
	p = &past{at: k.Offset, url: k.URL, head: head}
	if p.file, err = os.Open(k.Path); err != nil {
		return nil, err
	}
	e, m, err := p.read()
	if err != nil || m.Status() != http.StatusOK || e.Fields.Get("WARC-Truncated") != "" {
		return nil, errors.Join(err, p.close())
	}
	if p.head == nil {
		p.head = m.Fields
	}
	p.id = e.ID
	p.date, err = warc.ParseDate(e.Fields.Get("WARC-Date"))
	if err == nil {
		p.payload.SHA1, err = warc.ParseDigest(e.Fields.Get("WARC-Payload-Digest"))
	}
	p.etag, p.modified = sendable(p.head.Get("ETag")), sendable(p.head.Get("Last-Modified"))
	if err != nil || p.payload.SHA1.Algorithm() != "sha1" || p.etag == "" && p.modified == "" {
		return nil, p.close() // written by others, in their own way
	}
	return p, nil
}

// sendable returns the value of a field if it can be sent back, else "".
func sendable(value string) string {
	if !httpguts.ValidHeaderFieldValue(value) {
		return ""
	}
	return value
}

// read reads the record from its beginning.
func (p *past) read() (*warc.Entry, *warc.Message, error) {
	return readRecord(p.file, p.at, warc.Response, p.url)
}

// readRecord reads the record of a URL from its beginning; an error is Corrupt if it is not there.
func readRecord(f *os.File, at int64, kind warc.Type, url string) (*warc.Entry, *warc.Message, error) {
	const most = 1 << 62
	e, err := warc.NewReader(io.NewSectionReader(f, at, most-at), at).Next()
	if errors.Is(err, io.EOF) || err == nil && (e.Type != kind || e.TargetURI != url) {
		err = fault.New(fault.Corrupt, "it is not at %d of %s, where its index has it", at, f.Name())
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := warc.SplitHTTP(e)
	return e, m, err
}

// close lets go of the file.
func (p *past) close() error {
	if p == nil {
		return nil
	}
	return p.file.Close()
}

// asks adds the fields by which a server answers 304 if nothing has changed.
func (p *past) asks(h http.Header) {
	if p == nil {
		return
	}
	if p.etag != "" {
		h.Set("If-None-Match", p.etag)
	}
	if p.modified != "" {
		h.Set("If-Modified-Since", p.modified)
	}
}

// unmodified makes a revisit of an answer that says that nothing has changed (6.7.3). Its head is kept, which has ETag and
// Last-Modified, and where the payload is.
func (c *capture) unmodified(p *past) {
	r := c.records[0]
	r.Type, r.Profile, r.RefersTo, r.RefersToURI, r.RefersToDate = warc.Revisit, warc.NotModified, p.id, p.url, p.date
	r.Payload = p.payload
	c.line.digest = string(p.payload.SHA1)
	c.line.notes = append(c.line.notes, "warcRevisit:notModified")
	c.is = frontier.NotModified
}

// linksOf finds the links of what the URL had last, and still has.
func (j *Job) linksOf(v *visit, u weburl.URL, p *past, set settings) error {
	e, m, err := p.read()
	if err != nil {
		return err
	}
	header := http.Header{}
	for _, f := range p.head {
		header.Add(f.Name, f.Value)
	}
	if err := j.links(v, extract.Document{URL: u, Header: header}, m, m.Payload(), set); err != nil {
		return err
	}
	_, err = e.End() // the links are those of a record that is whole
	return err
}
