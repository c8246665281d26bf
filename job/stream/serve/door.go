package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/visible"
	"holdfast/base/web"
)

const (
	maxHeader = 64 << 10
	maxBody   = 64 << 10 // nobody has a reason to send one
	// tellBugs is the time between two events of panics: somebody may send the same request again and again.
	tellBugs = time.Minute

	healthPath = "/healthz"
	jsonType   = "application/json"
)

// handler is everything between a connection and a route.
func (j *Job) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("online"))
	})
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = w.Write([]byte(`{"alive":true}` + "\n"))
	})
	for path, route := range j.routes {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			p := readParams(r)
			if q, err := route(p); err != nil {
				refuse(w, err)
			} else {
				j.put(w, r, q)
			}
		})
	}
	mux.HandleFunc("GET /api/v1/reports", j.reports)
	mux.HandleFunc("GET /api/v1/windows", j.windows)
	paths := append(slices.Sorted(maps.Keys(j.routes)), "/api/v1/reports", "/api/v1/windows")
	routed := web.Routed(mux, func(w http.ResponseWriter, r *http.Request, status int) {
		if status == http.StatusMethodNotAllowed {
			tell(w, status, Failure{Message: r.URL.Path + " does not take " + r.Method, Kind: fault.Invalid.String(),
				Hint: "it takes " + w.Header().Get("Allow")})
			return
		}
		tell(w, status, Failure{Message: "there is nothing at " + r.URL.Path, Kind: fault.NotFound.String(),
			Hint: "there are " + strings.Join(paths, ", ")})
	})
	return web.Limited(j.counted(j.guarded(routed)), maxBody, j.patience)
}

// Failure is an answer that is an error.
type Failure struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Kind    string `json:"kind,omitempty"`
	// Since is from when on the database is away.
	Since time.Time `json:"since,omitzero"`
	// Last is the last answer to the same question, or nothing if it is too large to be kept, and Age how old it
	// is; nil if there was none. What is no JSON is a text.
	Age  *float64        `json:"age_seconds,omitempty"`
	Last json.RawMessage `json:"last_answer,omitempty"`
}

// tell answers with an error.
func tell(w http.ResponseWriter, status int, f Failure) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // a client that has gone away misses nothing
}

func failure(err error) Failure {
	return Failure{Message: visible.Line(secret.Mask(err.Error())), Hint: visible.Line(secret.Mask(fault.HintOf(err))),
		Kind: fault.KindOf(err).String()}
}

// refuse answers a request that has no answer, in words that speak of the request.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch fault.KindOf(err) {
	case fault.Invalid:
		status = http.StatusBadRequest
	case fault.NotFound:
		status = http.StatusNotFound
	}
	tell(w, status, failure(err))
}

// later says when it is worth to ask again.
func later(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
}

// guarded lets in who may ask: with the token if there is one, else by a loopback name; and no page of
// another site in the same browser.
func (j *Job) guarded(h http.Handler) http.Handler {
	token := j.cfg.Token.Reveal()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deny := func(status int, what, hint string) {
			tell(w, status, Failure{Message: what, Hint: hint, Kind: fault.Credentials.String()})
		}
		switch {
		case r.URL.Path == healthPath: // health checks have no token
			h.ServeHTTP(w, r)
		case token != "" && !web.Bears(r, token):
			w.Header().Set("WWW-Authenticate", "Bearer")
			deny(http.StatusUnauthorized, "a token is needed", "send Authorization: Bearer TOKEN")
		case token == "" && !web.Loopback(r.Host):
			deny(http.StatusForbidden, "this door answers to loopback names only",
				"ask for 127.0.0.1 or localhost, or set a token")
		case web.Foreign(r):
			deny(http.StatusForbidden, "a page of another site may not ask", "open the address itself")
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// counted answers a panic, counts answers by status, and gives each the headers that all have.
func (j *Job) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		j.under.RLock()
		defer j.under.RUnlock()
		if j.over { // our own clients are gone, but ServeReports is still called by the console
			later(w, retry)
			tell(w, http.StatusServiceUnavailable, Failure{Message: "the stream's API does not run", Kind: fault.Transient.String(),
				Hint: "resume its job, or see why it stopped: holdfast status " + j.env.Name})
			return
		}
		a := &answer{ResponseWriter: w, patience: j.patience}
		a.Header().Set("Cache-Control", "no-store")
		a.Header().Set("X-Content-Type-Options", "nosniff")
		err := fault.Catch(func() error {
			h.ServeHTTP(a, r)
			return nil
		})
		whole := err == nil || a.status == 0
		if bug, ok := errors.AsType[*fault.Panic](err); ok && bug.Value != http.ErrAbortHandler {
			j.tellBug(r, bug)
			if whole {
				tell(a, http.StatusInternalServerError, Failure{Message: "this is a bug of holdfast; its history has " +
					"the details", Kind: fault.Unknown.String()})
			}
		} else if ok {
			whole = false
		}
		j.count(a.status, whole)
		if !whole {
			panic(http.ErrAbortHandler) // no end of the answer: the client sees that it is not all
		}
	})
}

func (j *Job) count(status int, whole bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if whole {
		j.answers[status]++
	} else {
		j.broken++
	}
}

// tellBug tells of a panic, with the stack in the log.
func (j *Job) tellBug(r *http.Request, bug *fault.Panic) {
	j.env.Log.Error(fmt.Sprintf("answer %s: %v", visible.Line(r.URL.Path), bug), "stack", string(bug.Stack))
	j.mu.Lock()
	tell := time.Since(j.bugTold) > tellBugs
	if tell {
		j.bugTold = time.Now()
	}
	j.mu.Unlock()
	if tell {
		j.env.History.Warn("request.panicked", "a request for %s met a bug: %s", visible.Line(r.URL.Path),
			visible.Line(strings.ToValidUTF8(bug.Error(), "?")))
	}
}

// answer knows its status, and gives the client a time for each part.
type answer struct {
	http.ResponseWriter
	patience time.Duration
	status   int // 0 while nothing is said
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.wait()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.wait()
	return a.ResponseWriter.Write(b)
}

// wait gives the client its time anew: one that does not read would hold its place for ever.
func (a *answer) wait() {
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(a.patience))
}
