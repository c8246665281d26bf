// Package ui is the console: the pages that a browser shows at the address of the API. It keeps and serves their
// files, which `make` builds from TypeScript below src into page/built and which are embedded here. Where they were
// not built, for want of npm, it serves a page that says how to get them.
//
// The files hold nothing of the jobs and no secret, so they are served to whoever reaches the door, also without a
// token: what is to be seen with them comes from the API, which asks for it. They may run only their own script,
// and ask only the host that they came from (see policy).
//
// Only face/api calls it.
package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// page has the placeholder, and below built the console, if it was built.
//
//go:embed all:page
var page embed.FS

const (
	front       = "index.html"
	placeholder = "without-npm.html"
	assets      = "assets/"
)

// policy is the Content-Security-Policy of every page. Script, style and pictures are files of ours, nothing is inline,
// no other host is asked, no other site may frame us, and trusted types keep any text from becoming markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// file is a file as it goes out.
type file struct {
	kind   string // media type
	tag    string // of its content
	plain  []byte
	packed []byte // by gzip; nil where that gains nothing
}

// files are all that there are, by their path below "/"; the front page is "".
var files = sync.OnceValues(func() (map[string]file, error) { return read(page) })

// Built reports whether the console was built into this binary.
func Built() bool { return built(page) }

func built(in fs.FS) bool {
	_, err := fs.Stat(in, "page/built/"+front)
	return err == nil
}

func read(in fs.FS) (map[string]file, error) {
	out := map[string]file{}
	if !built(in) {
		f, err := readFile(in, "page/"+placeholder)
		out[""] = f
		return out, err
	}
	root, err := fs.Sub(in, "page/built")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := readFile(root, name)
		if name == front {
			name = ""
		}
		out[name] = f
		return err
	})
	return out, err
}

func readFile(in fs.FS, name string) (file, error) {
	plain, err := fs.ReadFile(in, name)
	if err != nil {
		return file{}, err
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".js" { // whatever this machine's table says
		kind = "text/javascript; charset=utf-8"
	}
	sum := sha256.Sum256(plain)
	f := file{kind: kind, plain: plain, tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return file{}, err
	}
	_, err = w.Write(plain)
	if err = errors.Join(err, w.Close()); err != nil {
		return file{}, fmt.Errorf("pack %s: %w", name, err)
	}
	if packed.Len() < len(plain) {
		f.packed = packed.Bytes()
	}
	return f, nil
}

// Owns reports whether a path is one of the console's: the front page, or what it is made of.
func Owns(path string) bool { return path == "/" || strings.HasPrefix(path, "/"+assets) }

// Serve answers with a file of the console, and says whether there is one at the path.
func Serve(w http.ResponseWriter, r *http.Request) bool {
	all, err := files()
	if err != nil { // the binary holds what it was built with: this can't be
		panic(err)
	}
	f, ok := all[strings.TrimPrefix(r.URL.Path, "/")]
	if ok {
		f.serve(w, r)
	}
	return ok
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Content-Type", f.kind)
	h.Set("Etag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache") // asked for again, and not sent again while it is the same
	if strings.HasPrefix(r.URL.Path, "/"+assets) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // its name holds the hash of its content
	}
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.plain
	if f.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.packed
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who has gone away needs none
	}
}
