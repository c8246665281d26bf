package crawl

import (
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
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

// links finds the links of a document, of which body is the content as it was transferred, that are to be crawled.
func (j *Job) links(v *visit, doc extract.Document, m *warc.Message, body io.Reader, set settings) (err error) {
	if doc.Body, err = decoded(m, body); err != nil {
		return err
	}
	if v.lease.Via != "" {
		doc.Via, _ = weburl.Parse(v.lease.Via)
	}
	links := 0
	seen, err := extract.Links(doc, extract.Options{
		PDF: set.pdfLinks,
		Bad: func(reference, _ string, err error) {
			if len(v.bad) < mostBad {
				v.bad = append(v.bad, badLink{reference, err.Error()})
			}
		},
	}, func(l extract.Link) bool {
		j.follow(v, scope.Candidate{URL: l.URL, Hops: v.lease.Hops + string(l.Hop), Via: doc.URL, Source: v.lease.Source})
		if set.metadata {
			v.outlink(l)
		}
		links++
		return links < set.maxLinks
	})
	v.charset = seen.Charset
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
