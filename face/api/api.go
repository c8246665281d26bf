// Package api is the door through which people and programs reach the jobs of a data directory:
// HTTP with JSON, over a unix socket in the data directory (file permissions are the key) and, for
// `holdfast run` and `holdfast demo`, over TCP on loopback.
//
//	GET  /api/v1/jobs                                    state of all jobs
//	GET  /api/v1/audit?job=&deep=true                    the books and their laws
//	GET  /api/v1/events?job=&max=&follow=true            what happened, oldest first
//	POST /api/v1/jobs/{job}/pause | resume | backfill
//	GET  /api/v1/jobs/{job}/spool  …/spool/stats  …/spool/rows?from=&to=
//	POST /api/v1/jobs/{job}/spool/verify | import | export
//	GET  /api/v1/jobs/{job}/dead  …/dead/{id}
//	POST /api/v1/jobs/{job}/dead/{id}/retry | discard
//	GET  /api/v1/checkpoints?job=
//	POST /api/v1/jobs/{job}/checkpoints                  create
//	POST /api/v1/jobs/{job}/checkpoints/import
//	POST /api/v1/jobs/{job}/checkpoints/{name}/verify | restore | export | remove
//
// An answer is one JSON document. Who accepts application/x-ndjson gets lines instead, each an
// object with one key: "progress" while long work is under way, "item" for each part of a stream,
// and at the end "result" or "error". An error is {"message", "hint", "kind"}.
//
// Over TCP without a token only GET is answered: everybody on the machine can reach a TCP port. The
// same handler serves commands within their own process when no engine runs (Local), so that each
// command is written once.
package api

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"holdfast/app"
	"holdfast/base/fault"
	"holdfast/base/secret"
)

// Failure is an error on its way to another process.
type Failure struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Usage   bool   `json:"usage,omitempty"`
}

func failure(err error) *Failure {
	return &Failure{Message: err.Error(), Hint: fault.HintOf(err), Kind: fault.KindOf(err).String(),
		Usage: app.IsUsage(err)}
}

// line is one line of an answer in lines.
type line struct {
	Progress *app.Progress `json:"progress,omitempty"`
	Item     any           `json:"item,omitempty"`
	Result   any           `json:"result,omitempty"`
	Error    *Failure      `json:"error,omitempty"`
}

// lines is the media type of answers in lines.
const lines = "application/x-ndjson"

// call is one request on its way through the desk.
type call struct {
	*http.Request
	w     http.ResponseWriter
	lines bool
	begun bool
	items []any
}

func (c *call) job() string { return c.PathValue("job") }

func (c *call) number(name string, otherwise uint64) (uint64, error) {
	s := c.FormValue(name)
	if s == "" {
		s = c.PathValue(name)
	}
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fault.New(fault.Invalid, "%s: want a number, got %q", name, s)
	}
	return n, nil
}

func (c *call) flag(name string) bool { return c.FormValue(name) == "true" }

// write sends one line.
func (c *call) write(l line) error {
	if !c.begun {
		c.begun = true
		c.w.Header().Set("Content-Type", lines)
	}
	if err := json.NewEncoder(c.w).Encode(l); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

// tell passes progress on, to who takes lines. Someone who has gone away is noticed by the context.
func (c *call) tell(p app.Progress) {
	if c.lines {
		_ = c.write(line{Progress: &p})
	}
}

// item sends one part of a stream.
func (c *call) item(v any) error {
	if !c.lines {
		c.items = append(c.items, v)
		return nil
	}
	return c.write(line{Item: v})
}

// answer sends what the work gave.
func (c *call) answer(v any, err error) {
	switch {
	case c.lines && err != nil:
		_ = c.write(line{Error: failure(err)})
	case c.lines:
		_ = c.write(line{Result: v})
	case err != nil:
		c.w.Header().Set("Content-Type", "application/json")
		c.w.WriteHeader(status(err))
		_ = json.NewEncoder(c.w).Encode(line{Error: failure(err)})
	default:
		if v == nil {
			v = map[string]any{"items": append([]any{}, c.items...)}
		}
		c.w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(c.w).Encode(v)
	}
}

func status(err error) int {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Conflict, fault.Busy:
		return http.StatusConflict
	case fault.Full:
		return http.StatusInsufficientStorage
	case fault.Transient:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Handler answers requests about the desk's jobs.
func Handler(d *app.Desk) http.Handler {
	mux := http.NewServeMux()
	for pattern, f := range routes(d) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c := &call{Request: r, w: w, lines: strings.Contains(r.Header.Get("Accept"), lines)}
			c.answer(f(r.Context(), c))
		})
	}
	return mux
}

// Open is Handler behind the checks of a door that others can reach: the token if there is one, GET
// alone if there is none, and no page of another site in the same browser.
func Open(h http.Handler, token secret.Text) http.Handler {
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(token.Reveal())) != 1:
			http.Error(w, "a token is needed: Authorization: Bearer TOKEN", http.StatusUnauthorized)
		case token == "" && !loopback(r.Host):
			http.Error(w, "this door answers to loopback names only", http.StatusForbidden)
		case token == "" && r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "without a token this door only answers questions; orders go through the "+
				"commands, or set a token", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
	return http.NewCrossOriginProtection().Handler(guarded)
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

// errGone says that the client has gone away.
var errGone = errors.New("the client has gone away")

type work = func(ctx context.Context, c *call) (any, error)
