package api

import (
	"context"
	"net/http"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/web"
	"holdfast/face/ui"
)

const (
	maxHeader = 64 << 10
	maxBody   = 1 << 20
	// slowest is how long a client may take to send a request's body, or to take one part of an answer.
	slowest = 30 * time.Second
)

// Keys are what a request may have to show.
type Keys struct {
	Token secret.Text // for everything; "" lets everybody ask, and nobody order
	Read  secret.Text // for questions alone; "" for none
	// Public lets everybody ask though there is a token.
	Public bool
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
	switch {
	case web.Bears(r, k.Token.Reveal()):
		return order
	case web.Bears(r, k.Read.Reveal()), k.Public:
		return ask
	}
	return nothing
}

// open reports whether whoever asks has shown nothing.
func (k Keys) open(r *http.Request) bool {
	return k.Token == "" || k.Public && !web.Bears(r, k.Token.Reveal()) && !web.Bears(r, k.Read.Reveal())
}

// Open is Handler behind the checks of a door that others can reach: the token if there is one, GET
// alone if there is none, and no page of another site in the same browser.
func Open(h http.Handler, keys Keys) http.Handler {
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks := asks(r)
		right := keys.right(r)
		switch {
		case r.URL.Path == healthPath: // whoever restarts us has no token
			h.ServeHTTP(w, r)
		case right == nothing && asks && r.URL.Path == readyPath:
			briefly(h, w, r)
		case right == nothing && asks && ui.Owns(r.URL.Path): // there a person gives the token
			h.ServeHTTP(w, r)
		case right == nothing:
			w.Header().Set("WWW-Authenticate", "Bearer")
			deny(w, http.StatusUnauthorized, "a token is needed", "send Authorization: Bearer TOKEN")
		case keys.open(r) && !web.Loopback(r.Host):
			deny(w, http.StatusForbidden, "this door answers to loopback names only",
				"ask for 127.0.0.1 or localhost, or set a token")
		case asks && web.Foreign(r):
			deny(w, http.StatusForbidden, "a page of another site may not ask", "open the address itself")
		case !asks && keys.Token == "":
			deny(w, http.StatusForbidden, "without a token this door only answers questions",
				"give orders with the commands, or set a token")
		case !asks && right < order:
			deny(w, http.StatusForbidden, "whoever has not the token may only ask", "use the token")
		default:
			may := Session{Token: keys.Token != "", Orders: right == order}
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, may)))
		}
	})
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		deny(w, http.StatusForbidden, "a page of another site may not give orders", "")
	}))
	return cross.Handler(guarded)
}

// asks reports whether a request asks, and orders nothing.
func asks(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// Session is what a request may do.
type Session struct {
	Token  bool `json:"token"`  // this door asks for one
	Orders bool `json:"orders"` // it may also give orders
}

// sessionKey is under which a door that is open to others keeps the Session of a request.
type sessionKey struct{}

// session answers with what the request may do. Behind the socket stands the owner, who may do everything.
func session(ctx context.Context, _ *call) (any, error) {
	if s, ok := ctx.Value(sessionKey{}).(Session); ok {
		return s, nil
	}
	return Session{Orders: true}, nil
}

// briefly answers with the status alone: which jobs there are is for who has a token.
func briefly(h http.Handler, w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(web.Status(h, http.Header{}, r))
}

func deny(w http.ResponseWriter, status int, what, hint string) {
	refuse(w, status, &Failure{Message: what, Hint: hint, Kind: fault.Credentials.String()})
}
