package extract

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Kind is what a document is read as.
type Kind string

// The kinds. Binary is all that has no links that could be found.
const (
	Binary      Kind = "binary"
	HTML        Kind = "html"
	CSS         Kind = "css"
	Script      Kind = "script"
	JSON        Kind = "json"
	XML         Kind = "xml"
	Sitemap     Kind = "sitemap"
	TextSitemap Kind = "text sitemap"
	PDF         Kind = "pdf"
)

// byType are the kinds of media types.
var byType = map[string]Kind{
	"text/html": HTML, "application/xhtml+xml": HTML, "application/vnd.wap.xhtml+xml": HTML,
	"text/css":        CSS,
	"text/javascript": Script, "application/javascript": Script, "application/x-javascript": Script,
	"text/ecmascript": Script, "application/ecmascript": Script, "text/jscript": Script,
	"application/json": JSON, "text/json": JSON, "application/manifest+json": JSON,
	"application/pdf": PDF, "application/x-pdf": PDF,
	"text/xml": XML, "application/xml": XML, "image/svg+xml": XML, "application/rss+xml": XML, "application/atom+xml": XML,
}

// bySuffix are the kinds of names, where the type says nothing.
var bySuffix = map[string]Kind{
	".html": HTML, ".htm": HTML, ".xhtml": HTML, ".css": CSS, ".js": Script, ".mjs": Script, ".json": JSON,
	".xml": XML, ".rss": XML, ".atom": XML, ".svg": XML,
}

// kindOf decides by the declared type or, if there is none or it is plain text, by the content and the name.
func kindOf(doc Document, contentType string, preview []byte) Kind {
	media, _, _ := mime.ParseMediaType(contentType)
	if media == "" {
		media, _, _ = strings.Cut(strings.ToLower(contentType), ";")
		media = strings.TrimSpace(media)
	}
	kind, known := byType[media]
	switch {
	case known:
	case strings.HasSuffix(media, "+json"):
		kind = JSON
	case strings.HasSuffix(media, "+xml"):
		kind = XML
	case media == "" || media == "text/plain" || media == "application/octet-stream" || doc.Sitemap:
		kind = sniff(doc, preview)
	default:
		return Binary
	}
	if kind == XML || kind == HTML && doc.Sitemap {
		if isSitemap(preview) {
			return Sitemap
		}
		if bytes.Contains(bytes.ToLower(preview), []byte("<html")) {
			return HTML
		}
	}
	return kind
}

// sniff decides by the first bytes and the name.
func sniff(doc Document, preview []byte) Kind {
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(preview, []byte("\xef\xbb\xbf")), " \t\r\n"))
	switch {
	case bytes.HasPrefix(preview, []byte("%PDF-")):
		return PDF
	case bytes.HasPrefix(text, []byte("<?xml")) || isSitemap(text):
		return XML
	case bytes.HasPrefix(text, []byte("<!doctype html")) || bytes.HasPrefix(text, []byte("<html")):
		return HTML
	case doc.Sitemap:
		return TextSitemap
	}
	if kind, ok := bySuffix[strings.ToLower(path.Ext(doc.URL.Path()))]; ok && !bytes.Contains(preview, []byte{0}) {
		return kind
	}
	if doc.Header.Get("Content-Type") == "" && strings.HasPrefix(http.DetectContentType(text), "text/html") {
		return HTML // a page that begins with any of its tags: a server that names no type leaves it to browsers too
	}
	return Binary
}

// isSitemap reports whether a document begins as a sitemap or an index of them.
func isSitemap(preview []byte) bool {
	return bytes.Contains(preview, []byte("<urlset")) || bytes.Contains(preview, []byte("<sitemapindex"))
}

// packedText reports whether a gzip file may be a text: sitemaps are kept packed.
func packedText(doc Document) bool {
	return doc.Sitemap || strings.HasSuffix(strings.ToLower(doc.URL.Path()), ".xml.gz")
}

// previewSize is how much of a document decides what it is.
const previewSize = 1024

// peek reads the beginning of r, and gives a reader of the whole.
func peek(r io.Reader) (io.Reader, []byte, error) {
	preview := make([]byte, previewSize)
	n, err := io.ReadFull(r, preview)
	preview = preview[:n]
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return bytes.NewReader(preview), preview, nil
	case err != nil:
		return io.MultiReader(bytes.NewReader(preview), failing{err}), preview, nil
	}
	return io.MultiReader(bytes.NewReader(preview), r), preview, nil
}

// failing is the rest of a reader that failed.
type failing struct{ err error }

// Read fails.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// unpack undoes gzip. Damage ends the text where it is.
func (f *finder) unpack(r io.Reader) (io.Reader, []byte, error) {
	z, err := gzip.NewReader(r)
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return bytes.NewReader(nil), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return peek(&limitReader{r: z, left: f.opt.MaxBytes, truncated: &f.sum.Truncated})
}
