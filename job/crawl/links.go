package crawl

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"holdfast/base/fault"
	"holdfast/base/warc"
	"holdfast/base/weburl"
	"holdfast/job/crawl/extract"
	"holdfast/job/crawl/scope"
)

// badLink is a reference of a page that is no URL.
type badLink struct{ reference, why string }

// links finds the links of a document that are to be crawled. body is the content as it was transferred.
func (j *Job) links(v *visit, doc extract.Document, m *warc.Message, body io.Reader, set settings) (err error) {
	if doc.Body, err = decoded(m, body); err != nil {
		return err
	}
	if v.lease.Via != "" {
		doc.Via, _ = weburl.Parse(v.lease.Via)
	}
	doc.Sitemap = isSitemap(v.lease.Hops)
	seen, err := extract.Links(doc, extract.Options{
		MaxLinks: set.maxLinks, PDF: set.pdfLinks,
		Bad: func(reference, _ string, err error) {
			if len(v.bad) < mostBad {
				v.bad = append(v.bad, badLink{reference, err.Error()})
			}
		},
	}, func(l extract.Link) bool {
		if set.maxLinks == 0 { // none; to extract it says nothing
			return false
		}
		j.follow(v, scope.Candidate{URL: l.URL, Hops: v.lease.Hops + string(l.Hop), Via: doc.URL, Source: v.lease.Source})
		if set.metadata {
			v.outlink(l)
		}
		return true
	})
	v.charset = seen.Charset
	line := &v.captures[0].line
	if seen.Surplus > 0 {
		line.notes = append(line.notes, "linksOverLimit:"+strconv.Itoa(seen.Surplus))
	}
	if seen.Truncated {
		line.notes = append(line.notes, "linksCut")
	}
	return err
}

// isSitemap reports whether hops lead to what a robots.txt calls a sitemap, by redirects perhaps.
func isSitemap(hops string) bool {
	hops, named := strings.CutSuffix(strings.TrimRight(hops, string(extract.Redirect)), string(extract.Manifest))
	return named && strings.HasSuffix(strings.TrimRight(hops, string(extract.Redirect)), prerequisite)
}

// follow queues a URL that was found, if the scope wants it.
func (j *Job) follow(v *visit, c scope.Candidate) {
	if !j.seeds.scope.Load().Decide(c).Accept {
		return
	}
	v.links = append(v.links, j.item(c.URL, c.Hops, c.Via, c.Source))
}

// mostBad is how many references of a page are reported that are no URLs.
const mostBad = 100

// mostCodings is how many codings of a body are undone: each takes memory.
const mostCodings = 5

// decoded undoes the content codings of a body as browsers do: an unknown one, such as a charset, is ignored, and deflate may
// come without the header of zlib. If the body breaks off, reading up to there gives an error.
func decoded(m *warc.Message, body io.Reader) (io.Reader, error) {
	undone := 0
	codings := strings.Split(strings.Join(m.Fields.All("Content-Encoding"), ","), ",")
	for _, coding := range slices.Backward(codings) {
		undo := undoers[strings.ToLower(strings.TrimSpace(coding))]
		if undo == nil {
			continue
		}
		if undone++; undone > mostCodings {
			return nil, fault.New(fault.Invalid, "there are more than %d content codings", mostCodings)
		}
		b := bufio.NewReader(body)
		body = b
		if _, err := b.Peek(1); err == io.EOF { // nothing, in whatever coding
			continue
		}
		var err error
		if body, err = undo(b); err != nil {
			return nil, fmt.Errorf("undo content coding %s: %w", strings.TrimSpace(coding), err)
		}
	}
	return body, nil
}

// undoers are the codings that are undone, by name.
var undoers = map[string]func(*bufio.Reader) (io.Reader, error){
	"gzip":    gunzip,
	"x-gzip":  gunzip,
	"deflate": inflate,
	"br":      func(r *bufio.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
	"zstd": func(r *bufio.Reader) (io.Reader, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	},
}

// members reads the members of a gzip file (RFC 1952, 2.2) as one text. Bytes behind them that are no member are ignored.
type members struct {
	r *bufio.Reader
	z *gzip.Reader
}

// gunzip undoes gzip, if the content is that: servers also use the name for what they did not pack.
func gunzip(r *bufio.Reader) (io.Reader, error) {
	if !isGzip(r) {
		return r, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &members{r, z}, nil
}

func isGzip(r *bufio.Reader) bool {
	magic, _ := r.Peek(2)
	return string(magic) == "\x1f\x8b"
}

// Read reads on in the next member at the end of one.
func (m *members) Read(p []byte) (int, error) {
	for {
		n, err := m.z.Read(p)
		if n > 0 && err == io.EOF {
			err = nil // it comes again
		}
		if n > 0 || err != io.EOF || !isGzip(m.r) {
			return n, err
		}
		if err := m.z.Reset(m.r); err != nil {
			return 0, fmt.Errorf("the next member of gzip: %w", err)
		}
		m.z.Multistream(false)
	}
}

// inflate undoes deflate, which is zlib (RFC 9110, 8.4.1.2), and from some servers the raw stream within it.
func inflate(r *bufio.Reader) (io.Reader, error) {
	if head, _ := r.Peek(2); len(head) == 2 && head[0]&15 == 8 && binary.BigEndian.Uint16(head)%31 == 0 {
		return zlib.NewReader(r)
	}
	return flate.NewReader(r), nil
}
