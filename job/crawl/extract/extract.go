// Package extract finds the links of a fetched document: HTML, CSS, JavaScript, JSON, XML and feeds, sitemaps
// (also packed), and the headers of the answer.
//
// Links reads the document once, as a stream. What it holds is bounded whatever comes: the longest token, the
// longest address, and a hash of each link that it gave. Broken markup, lying charsets and bytes that are no
// text cost at most the links that they stand in. It runs no scripts: what looks like an address within one is
// a guess, and marked so. Of PDF the links of annotations are found, if that is asked for.
//
// Hops and contexts are those of Heritrix, so that its logs and scopes read alike.
//
// Called by the job crawl.
package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/zeebo/xxh3"
	"golang.org/x/text/encoding"

	"holdfast/base/weburl"
)

// Hop is how a document leads to another, in Heritrix's letters.
type Hop byte

// The hops that are found here. P, for what must be had first, robots.txt and DNS, is the frontier's.
const (
	Navigation  Hop = 'L' // a link that a person follows
	Embed       Hop = 'E' // a part of the page
	Speculative Hop = 'X' // something in a script or an attribute that looks like an address
	Redirect    Hop = 'R' // a Location or a refresh
	Manifest    Hop = 'M' // an entry of a sitemap
)

// The bounds of what is held of one document.
const (
	maxToken   = 2 << 20 // a tag or text of HTML, bytes; a longer one is taken in pieces
	maxAddress = 8 << 10 // an address as it is written
	maxNested  = 2       // documents in attributes of documents (srcdoc)
)

// Document is an answer to be read.
type Document struct {
	URL weburl.URL
	// Via is the page that asked for URL, if known: addresses in a script are relative to the page that runs it.
	Via weburl.URL
	// Header is the answer's; the links in it are given too, and its Content-Type counts. May be nil.
	Header http.Header
	// Sitemap says that the document is one, by robots.txt: a list of addresses in plain text is read as such.
	Sitemap bool
	// Body is the content, its Content-Encoding undone; nil if there is none.
	Body io.Reader
}

// Link is one link. Context is the element and attribute it stands in, a/@href, or a word of Heritrix's with an
// equals sign, =JS_MISC.
type Link struct {
	URL     weburl.URL
	Hop     Hop
	Context string
}

// DefaultLinks is how many links of a document are given where nothing else is wanted: as many as in Heritrix. Of a
// sitemap it is as many as its protocol allows.
const (
	DefaultLinks = 6000
	sitemapLinks = 50_000
)

// Options tune Links; the zero value is the default.
type Options struct {
	// MaxLinks is how many different links of a document are given; 0 for DefaultLinks. The others are counted.
	MaxLinks int
	// MaxBytes ends the reading of a document whose unpacked content is longer, 0 for 1 GiB.
	MaxBytes int64
	// PDF has the links of PDF files given.
	PDF bool
	// Bad, if not nil, is called for each reference, whole or shortened, that is no URL. Other schemes are none.
	Bad func(reference, context string, err error)
}

// Summary is what was seen of a document beside its links.
type Summary struct {
	Kind      Kind
	Charset   string // "" where none was declared, and none was needed
	Links     int    // given
	Surplus   int    // over MaxLinks; those that come twice there are counted twice
	Other     int    // of other schemes: mailto, javascript, data
	Bad       int    // references that are no URLs
	Truncated bool   // longer than MaxBytes
}

// errStop ends the reading when the caller has enough.
var errStop = errors.New("no more links wanted")

// Links gives each different link of doc to each, in the order in which they stand, until that returns false. The
// error is that of reading the body; what was found before it was given.
func Links(doc Document, opt Options, each func(Link) bool) (Summary, error) {
	if opt.MaxLinks <= 0 {
		opt.MaxLinks = DefaultLinks
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 1 << 30
	}
	f := &finder{opt: opt, each: each, base: doc.URL, seen: map[xxh3.Uint128]struct{}{}}
	err := f.headers(doc.Header)
	if err == nil && doc.Body != nil {
		err = f.body(doc)
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("read %s: %w", doc.URL, err)
	}
	return f.sum, err
}

// finder is one run of Links.
type finder struct {
	opt    Options
	each   func(Link) bool
	base   weburl.URL
	enc    encoding.Encoding // of the document, for what its queries are encoded in; nil is UTF-8
	loose  bool              // the charset is not known: bytes that are no UTF-8 are windows-1252
	nested int
	seen   map[xxh3.Uint128]struct{}
	sum    Summary
}

// link gives what ref refers to, if it was not given before. It fails with errStop alone.
func (f *finder) link(ref string, hop Hop, context string) error {
	return f.linkFrom(f.base, ref, hop, context)
}

func (f *finder) linkFrom(base weburl.URL, ref string, hop Hop, context string) error {
	ref = strings.Trim(ref, " \t\r\n\f")
	if ref == "" || ref[0] == '#' {
		return nil // the document itself
	}
	u, err := base.Resolve(f.spell(ref))
	switch {
	case errors.Is(err, weburl.ErrScheme):
		f.sum.Other++
		return f.javascript(ref)
	case err != nil:
		f.sum.Bad++
		if f.opt.Bad != nil && hop != Speculative {
			f.opt.Bad(ref[:min(len(ref), maxAddress)], context, err)
		}
		return nil
	}
	key := xxh3.HashString128(u.String())
	key.Lo += uint64(hop)
	if _, known := f.seen[key]; known {
		return nil
	}
	if len(f.seen) >= f.opt.MaxLinks {
		f.sum.Surplus++
		return nil
	}
	f.seen[key] = struct{}{}
	f.sum.Links++
	if !f.each(Link{URL: u, Hop: hop, Context: context}) {
		return errStop
	}
	return nil
}

// javascript looks into a javascript: address, whose script may name others.
func (f *finder) javascript(ref string) error {
	const scheme = "javascript:"
	if len(ref) > len(scheme) && strings.EqualFold(ref[:len(scheme)], scheme) {
		return f.script([]byte(ref[len(scheme):]), f.base)
	}
	return nil
}

// body reads the content by its kind.
func (f *finder) body(doc Document) error {
	limited := &limitReader{r: doc.Body, left: f.opt.MaxBytes, truncated: &f.sum.Truncated}
	r, preview, err := peek(limited)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(preview, []byte("\x1f\x8b")) && packedText(doc) {
		if r, preview, err = f.unpack(r); err != nil {
			return err
		}
	}
	contentType := doc.Header.Get("Content-Type")
	f.sum.Kind = kindOf(doc, contentType, preview)
	switch f.sum.Kind {
	case Binary:
		return nil
	case PDF:
		if f.opt.PDF {
			return f.pdf(r)
		}
		return nil
	}
	if f.opt.MaxLinks == DefaultLinks && (f.sum.Kind == Sitemap || f.sum.Kind == TextSitemap) {
		f.opt.MaxLinks = sitemapLinks
	}
	r = f.decode(r, preview, contentType)
	switch f.sum.Kind {
	case HTML:
		return f.html(r)
	case CSS:
		return f.stream(r, newCSS(f))
	case Script, JSON:
		base := doc.URL
		if f.sum.Kind == Script && !doc.Via.IsZero() {
			base = doc.Via
		}
		return f.stream(r, newScript(f, base, f.sum.Kind == JSON))
	case Sitemap, XML:
		return f.xml(r)
	case TextSitemap:
		return f.stream(r, &lines{f: f})
	}
	return nil
}

// scanner takes a text piece by piece.
type scanner interface {
	scan(piece []byte) error
	end() error
}

// stream feeds a scanner.
func (f *finder) stream(r io.Reader, s scanner) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if e := s.scan(buf[:n]); e != nil {
			return e
		}
		if err == io.EOF {
			return s.end()
		}
		if err != nil {
			return errors.Join(s.end(), err)
		}
	}
}

// limitReader ends after so many bytes, and says so.
type limitReader struct {
	r         io.Reader
	left      int64
	truncated *bool
}

// Read reads, and looks one byte beyond the limit.
func (l *limitReader) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		*l.truncated = true
		return n - 1, io.EOF
	}
	return n, err
}
