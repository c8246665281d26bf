package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// BadListen says what is wrong with an address to listen on: its form, or that other machines can reach it
// and no token is asked for.
func BadListen(addr string, token bool) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "want host:port, got " + strconv.Quote(addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "want a port from 0 to 65535, got " + strconv.Quote(port)
	}
	if !Loopback(host) && !token {
		return strconv.Quote(addr) + " can be reached from other machines, so a token is needed"
	}
	return ""
}

// Loopback reports whether a host, with a port or without, is localhost or an address of loopback. Any other name that
// resolves to us may be that of a hostile page (DNS rebinding).
func Loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Foreign reports whether a page of another site asks, other than by a link to us. It could not read the answer, but its
// questions could keep others from getting one. Browsers that send no Sec-Fetch-Site are told by their Origin.
func Foreign(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && r.Header.Get("Sec-Fetch-Site") == "" {
		u, err := url.Parse(origin)
		return err != nil || u.Host != r.Host
	}
	return r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// Own serves a page to browsers and programs on this machine, by a loopback name. Pages of other sites get no answers and give no
// orders, whatever name they reach us by.
func Own(h http.Handler) http.Handler {
	ours := http.NewCrossOriginProtection().Handler(h) // a form of another site is a navigation, and no foreign question
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Foreign(r) || !Loopback(r.Host) {
			http.Error(w, "this page belongs to another site", http.StatusForbidden)
			return
		}
		ours.ServeHTTP(w, r)
	})
}

// Bears reports whether a request carries a token. It takes the same time however much of a guess is right, its length
// included. An empty token is never carried.
func Bears(r *http.Request, token string) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && ok && token != ""
}

// Limited bounds how many bytes the body of a request may have, and how long it may take to come.
func Limited(h http.Handler, bytes int64, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(within))
		}
		r.Body = http.MaxBytesReader(w, r.Body, bytes)
		h.ServeHTTP(w, r)
	})
}

// Routed hands to otherwise what mux has no route for, with the status that this is: 404, or 405 with the
// methods that there are in the header Allow.
func Routed(mux *http.ServeMux,
	otherwise func(w http.ResponseWriter, r *http.Request, status int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		headers := http.Header{}
		status := http.StatusNotFound // also where the mux would tidy up a path that leads nowhere
		if Status(h, headers, r) == http.StatusMethodNotAllowed {
			status = http.StatusMethodNotAllowed
			w.Header().Set("Allow", headers.Get("Allow"))
		}
		otherwise(w, r, status)
	})
}

// Status returns the status that a handler answers with. Its headers go into headers; the body is dropped.
func Status(h http.Handler, headers http.Header, r *http.Request) int {
	w := &silent{header: headers, status: http.StatusOK}
	h.ServeHTTP(w, r)
	return w.status
}

// silent takes status and headers of an answer that is not sent.
type silent struct {
	header http.Header
	status int
}

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) Write(b []byte) (int, error) { return len(b), nil }
func (s *silent) WriteHeader(status int)      { s.status = status }
