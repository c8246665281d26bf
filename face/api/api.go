// Package api is the door through which people and programs reach the jobs of a data directory:
// HTTP with JSON, over a unix socket in the data directory (file permissions are the key) and, for
// `holdfast run` and `holdfast demo`, over TCP on loopback.
//
// What it answers is written down in openapi.json, which it serves too; docs/api.md tells the rest. At "/" it has the
// console (face/ui), which asks nobody else.
//
// An answer is one JSON document. Who accepts application/x-ndjson gets lines instead, each an
// object with one key: "progress" while long work is under way, "item" for each part of a stream,
// and at the end "result" or an error. Who accepts text/event-stream gets events as they come. An error is
// {"error", "hint", "kind"}, everywhere.
//
// Over TCP without a token only GET is answered: everybody on the machine can reach a TCP port. The
// same handler serves commands within their own process when no engine runs (Local), so that each
// command is written once.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/fault"
	"holdfast/base/secret"
	"holdfast/base/web"
	"holdfast/face/ui"
)

// Failure is an error on its way to another process.
type Failure struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Usage   bool   `json:"usage,omitempty"`
}

func failure(err error) *Failure {
	return &Failure{Message: secret.Mask(err.Error()), Hint: secret.Mask(fault.HintOf(err)), Kind: fault.KindOf(err).String(),
		Usage: app.IsUsage(err)}
}

// line is one line of an answer in lines.
type line struct {
	Progress *desk.Progress `json:"progress,omitempty"`
	Item     any            `json:"item,omitempty"`
	Result   any            `json:"result,omitempty"`
	*Failure
}

// lines is the media type of answers in lines.
const lines = "application/x-ndjson"

// call is one request on its way through the desk.
type call struct {
	*http.Request
	w     http.ResponseWriter
	lines bool
	begun bool
	told  bool // the work has answered by itself
	items []any
}

func (c *call) job() string { return c.PathValue("job") }

// FormValue is what the address says behind its question mark, and nothing else: a body is JSON, whatever type it is said to have
// (curl says form), and who looks for a form in it leaves nothing of the order.
func (c *call) FormValue(name string) string { return c.URL.Query().Get(name) }

func (c *call) number(name string, otherwise uint64) (uint64, error) {
	s := c.PathValue(name)
	if s == "" {
		s = c.FormValue(name)
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

// body reads the JSON that comes with a request; without any, v stays as it is. A key that is not known is refused: with a mistyped
// one the order would be about all.
func (c *call) body(v any) error {
	d := json.NewDecoder(c.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // it has come: what follows may take its time
	if err != nil && err != io.EOF {
		return fault.New(fault.Invalid, "read request: %w", err)
	}
	return nil
}

func (c *call) flag(name string) bool { return c.FormValue(name) == "true" }

// write sends one line.
func (c *call) write(l line) error {
	if !c.begun {
		c.begun = true
		c.w.Header().Set("Content-Type", lines)
	}
	c.patience()
	if err := json.NewEncoder(c.w).Encode(l); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

// patience is how long a client may take for the next part of an answer. One that does not read would
// hold a connection, and what the work has open, for ever.
func (c *call) patience() {
	// Within the same process there is no connection, and nothing to wait for.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(slowest))
}

// tell passes progress on, to who takes lines. Someone who has gone away is noticed by the context.
func (c *call) tell(p desk.Progress) {
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
	case c.told:
	case c.lines && err != nil:
		_ = c.write(line{Failure: failure(err)})
	case c.lines:
		_ = c.write(line{Result: v})
	case err != nil:
		c.patience()
		refuse(c.w, status(err), failure(err))
	default:
		c.patience()
		if v == nil {
			v = map[string]any{"items": append([]any{}, c.items...)}
		}
		c.w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(c.w).Encode(v)
	}
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, status int, f *Failure) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f)
}

func status(err error) int {
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		return http.StatusRequestEntityTooLarge
	}
	if app.IsUsage(err) {
		return http.StatusBadRequest
	}
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
	case fault.Throttled:
		return http.StatusTooManyRequests
	case fault.Credentials:
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// Handler answers requests about the desk's jobs.
func Handler(d *desk.Desk) http.Handler {
	mux := http.NewServeMux()
	for pattern, f := range routes(d) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c := &call{Request: r, w: w, lines: strings.Contains(r.Header.Get("Accept"), lines)}
			c.answer(f(r.Context(), c))
		})
	}
	return consoled(known(mux))
}

// consoled serves the console, and hands the rest on. The console goes to whoever asks, also where a token is needed: one who
// does not read it must not hold the connection.
func consoled(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ui.Owns(r.URL.Path) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowest))
		}
		if !asks(r) || !ui.Serve(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

// known answers what no route is for in the shape of every error.
func known(mux *http.ServeMux) http.Handler {
	return web.Routed(mux, func(w http.ResponseWriter, r *http.Request, status int) {
		f := &Failure{Message: "there is nothing at " + r.URL.Path, Kind: fault.NotFound.String(),
			Hint: "see " + openapiPath}
		if status == http.StatusMethodNotAllowed {
			f = &Failure{Message: r.URL.Path + " does not take " + r.Method, Kind: fault.Invalid.String(),
				Hint: "it takes " + w.Header().Get("Allow")}
		}
		refuse(w, status, f)
	})
}

// errGone says that the client has gone away.
var errGone = errors.New("the client has gone away")

type work = func(ctx context.Context, c *call) (any, error)
