package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
)

const (
	maxHeader = 64 << 10
	maxBody   = 1 << 20
	// slowest is how long a client may take to send a request's body, or to take one part of an answer.
	slowest = 30 * time.Second
)

// limited bounds what a request may hold and how long it may take to come.
func limited(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(slowest))
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h.ServeHTTP(w, r)
	})
}

// Keys are what a request may have to show.
type Keys struct {
	Token secret.Text // for everything; "" lets everybody ask, and nobody order
	Read  secret.Text // for questions alone; "" for none
}

// right is what a request may do.
type right int

const (
	nothing right = iota
	ask
	order
)

func (k Keys) right(r *http.Request) right {
	if k.Token == "" {
		return ask
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case ok && same(given, k.Token):
		return order
	case ok && k.Read != "" && same(given, k.Read):
		return ask
	}
	return nothing
}

// same compares without telling by its time how much of a guess is right, its length included.
func same(given string, token secret.Text) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Open is Handler behind the checks of a door that others can reach: the token if there is one, GET
// alone if there is none, and no page of another site in the same browser.
func Open(h http.Handler, keys Keys) http.Handler {
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks := r.Method == http.MethodGet || r.Method == http.MethodHead
		right := keys.right(r)
		switch {
		case r.URL.Path == healthPath: // whoever restarts us has no token
			h.ServeHTTP(w, r)
		case right == nothing && asks && r.URL.Path == readyPath:
			briefly(h, w, r)
		case right == nothing:
			w.Header().Set("WWW-Authenticate", "Bearer")
			deny(w, http.StatusUnauthorized, "a token is needed", "send Authorization: Bearer TOKEN")
		case keys.Token == "" && !loopback(r.Host):
			deny(w, http.StatusForbidden, "this door answers to loopback names only",
				"ask for 127.0.0.1 or localhost, or set a token")
		case asks && foreign(r):
			deny(w, http.StatusForbidden, "a page of another site may not ask", "open the address itself")
		case !asks && keys.Token == "":
			deny(w, http.StatusForbidden, "without a token this door only answers questions",
				"give orders with the commands, or set a token")
		case !asks && right < order:
			deny(w, http.StatusForbidden, "the read_token may only ask", "use the token")
		default:
			h.ServeHTTP(w, r)
		}
	})
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		deny(w, http.StatusForbidden, "a page of another site may not give orders", "")
	}))
	return cross.Handler(guarded)
}

// briefly answers with the status alone: which jobs there are is for who has a token.
func briefly(h http.Handler, w http.ResponseWriter, r *http.Request) {
	said := &silent{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(said, r)
	w.WriteHeader(said.status)
}

func deny(w http.ResponseWriter, status int, what, hint string) {
	refuse(w, status, &Failure{Message: what, Hint: hint, Kind: fault.Credentials.String()})
}

// foreign reports whether a page of another site asks, other than by a link to us. It could not read the
// answer, but it could take all places of those who follow the events.
func foreign(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// loopback reports whether the name that a client asked for is one of loopback: a foreign name that
// was made to resolve here is a browser's page reaching for what is not its own.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
