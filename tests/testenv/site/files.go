package site

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/tests/testenv"
)

// Postgres is the directory of PostgreSQL's manual, as HTML, from Debian's postgresql-doc.
func Postgres(t testing.TB) string {
	t.Helper()
	return newest(t, "postgresql-doc", "/usr/share/doc/postgresql-doc-[0-9]*/html/index.html")
}

// Handbook is the directory of the Debian Administrator's Handbook, from Debian's debian-handbook: each language below it is a
// book. The root has no page: a list of the languages is served there.
func Handbook(t testing.TB) string {
	t.Helper()
	return filepath.Dir(newest(t, "debian-handbook", "/usr/share/doc/debian-handbook/html/en-US/index.html"))
}

// newest is the directory of the last file that fits a pattern.
func newest(t testing.TB, name, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if len(found) == 0 {
		testenv.Missing(t, "Debian's "+name, errors.Join(fmt.Errorf("no %s", pattern), err))
	}
	return filepath.Dir(found[len(found)-1])
}

// files is what a site consists of. The server and Reachable see it alike.
type files struct {
	dir        string
	validators bool

	mu  sync.Mutex // guards put pages
	own map[string]page
}

// page is what a path is answered with.
type page struct {
	status int
	fields map[string]string
	file   string // whose bytes are the body, or
	body   []byte
}

func newFiles(dir string, validators bool) *files {
	return &files{dir: dir, validators: validators, own: map[string]page{}}
}

func (f *files) put(path, contentType string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.own[path] = page{status: http.StatusOK, fields: map[string]string{"Content-Type": contentType}, body: bytes.Clone(body)}
}

// open is the body and its size.
func (p page) open() (io.ReadCloser, int64, error) {
	if p.file == "" {
		return io.NopCloser(bytes.NewReader(p.body)), int64(len(p.body)), nil
	}
	file, err := os.Open(p.file)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// answer is what a path is answered with, given what the client knows already.
func (f *files) answer(name string, header http.Header) page {
	p := f.find(name)
	tag, date := p.fields["Etag"], p.fields["Last-Modified"]
	switch known := header.Get("If-None-Match"); {
	case tag == "":
		return p
	case known != "":
		if known != tag {
			return p
		}
	default:
		since, err := http.ParseTime(header.Get("If-Modified-Since"))
		if at, _ := http.ParseTime(date); err != nil || at.After(since) {
			return p
		}
	}
	return page{status: http.StatusNotModified, fields: map[string]string{"Etag": tag, "Last-Modified": date}}
}

// find is what a path, without its escapes, is answered with. As with common servers "//" is as good as "/", a directory without
// its slash is moved to the one with it, and has an index.html or a list of what is in it.
func (f *files) find(name string) page {
	f.mu.Lock()
	own, ok := f.own[name]
	f.mu.Unlock()
	if ok {
		return own
	}
	file := filepath.Join(f.dir, filepath.FromSlash(path.Clean("/"+name)))
	info, err := os.Stat(file)
	slash := strings.HasSuffix(name, "/")
	switch {
	case err != nil, slash && !info.IsDir():
		return plain(http.StatusNotFound, "text/html", "<!DOCTYPE html><title>Not Found</title><p>There is nothing here.\n")
	case info.IsDir() && !slash:
		p := plain(http.StatusMovedPermanently, "text/html", "<!DOCTYPE html><title>Moved</title>\n")
		p.fields["Location"] = (&url.URL{Path: name + "/"}).EscapedPath()
		return p
	case info.IsDir():
		index := filepath.Join(file, "index.html")
		if info, err = os.Stat(index); err != nil {
			return list(file)
		}
		file = index
	}
	p := page{status: http.StatusOK, file: file, fields: map[string]string{"Content-Type": contentType(file)}}
	if f.validators {
		p.fields["Etag"] = fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano())
		p.fields["Last-Modified"] = info.ModTime().UTC().Truncate(time.Second).Format(http.TimeFormat)
	}
	return p
}

func plain(status int, contentType, body string) page {
	return page{status: status, fields: map[string]string{"Content-Type": contentType}, body: []byte(body)}
}

// list is a page of the names in a directory.
func list(dir string) page {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html><title>Index</title><ul>\n")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return plain(http.StatusInternalServerError, "text/plain", err.Error())
	}
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeDir != 0 {
			name += "/"
		}
		fmt.Fprintf(&b, "<li><a href=%q>%s</a>\n", "./"+(&url.URL{Path: name}).EscapedPath(), html.EscapeString(name))
	}
	b.WriteString("</ul>\n")
	return plain(http.StatusOK, "text/html; charset=utf-8", b.String())
}

// contentType goes by the name alone, so that it is the same on every machine.
func contentType(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".html", ".htm":
		return "text/html"
	case ".css":
		return "text/css"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".gif":
		return "image/gif"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".js":
		return "text/javascript"
	case ".xpm":
		return "image/x-xpixmap"
	case ".gz":
		return "application/gzip"
	}
	return "text/plain"
}
