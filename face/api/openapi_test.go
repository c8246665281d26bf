package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/app"
	"holdfast/app/desk"
	"holdfast/base/rowfile"
	"holdfast/connector/wsprnet/simulator"
)

// document is what the tests read of openapi.json.
type document struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	OperationID string
	Parameters  []struct{ Name, In string }
	Responses   map[string]struct {
		Content map[string]struct{ Schema schema }
	}
}

// schema is as much of a JSON schema as the document uses; read refuses the rest.
type schema map[string]any

func readDocument(t *testing.T) (d document) {
	t.Helper()
	if err := json.Unmarshal(openapi, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// understood are the words that fits knows, and those that say nothing of a value.
var understood = []string{"type", "properties", "required", "additionalProperties", "items", "$ref", "enum",
	"maxItems", "minItems", "format", "description", "contentEncoding"}

// fits says where a value does not fit a schema, "" if it does.
func (d document) fits(s schema, v any, at string) string {
	for word := range s {
		if !slices.Contains(understood, word) {
			return at + ": the test does not understand " + word
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		to, ok := d.Components.Schemas[name]
		if !ok {
			return at + ": there is no schema " + ref
		}
		return d.fits(to, v, at)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Sprintf("%s: %v is none of %v", at, v, enum)
	}
	switch v := v.(type) {
	case map[string]any:
		return d.fitsObject(s, v, at)
	case []any:
		items, _ := s["items"].(map[string]any)
		if s["type"] != "array" || items == nil {
			return at + ": a list was not expected"
		}
		for i, item := range v {
			if why := d.fits(items, item, fmt.Sprintf("%s[%d]", at, i)); why != "" {
				return why
			}
		}
		return ""
	case float64:
		if s["type"] == "number" || s["type"] == "integer" && v == float64(int64(v)) {
			return ""
		}
	case string:
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				return at + ": " + err.Error()
			}
		}
		if s["type"] == "string" {
			return ""
		}
	case bool:
		if s["type"] == "boolean" {
			return ""
		}
	}
	return fmt.Sprintf("%s: got %v (%T), want %v", at, v, v, s["type"])
}

func (d document) fitsObject(s schema, v map[string]any, at string) string {
	if s["type"] != "object" {
		return at + ": an object was not expected"
	}
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, key := range required {
		if _, ok := v[key.(string)]; !ok {
			return fmt.Sprintf("%s: %v is missing", at, key)
		}
	}
	for key, item := range v {
		of, ok := properties[key].(map[string]any)
		if !ok {
			switch more := s["additionalProperties"].(type) {
			case map[string]any:
				of = more
			case bool:
				return fmt.Sprintf("%s: %s is not described", at, key)
			default:
				continue
			}
		}
		if why := d.fits(of, item, at+"."+key); why != "" {
			return why
		}
	}
	return ""
}

// The test's own judge is judged: each of these would otherwise pass unseen.
func TestSchemasAreChecked(t *testing.T) {
	d := readDocument(t)
	said := schema{"$ref": "#/components/schemas/Said"}
	for text, good := range map[string]bool{`{"text": "x"}`: true, `{}`: false, `{"text": 1}`: false,
		`{"text": "x", "more": 1}`: false, `[]`: false, `null`: false} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if why := d.fits(said, v, "said"); (why == "") != good {
			t.Errorf("%s: got %q, want it to be good: %v", text, why, good)
		}
	}
}

func (d document) patterns() map[string]operation {
	out := map[string]operation{}
	for path, methods := range d.Paths {
		for method, o := range methods {
			out[strings.ToUpper(method)+" "+path] = o
		}
	}
	return out
}

// Every route is described, and every described route is served.
func TestEveryRouteIsDescribed(t *testing.T) {
	described := readDocument(t).patterns()
	served := routes(openDesk(t))
	for pattern := range served {
		if _, ok := described[pattern]; !ok {
			t.Errorf("%s is served and not in openapi.json", pattern)
		}
	}
	ids := map[string]string{}
	for pattern, o := range described {
		if _, ok := served[pattern]; !ok {
			t.Errorf("%s is in openapi.json and not served", pattern)
		}
		if other, twice := ids[o.OperationID]; twice || o.OperationID == "" {
			t.Errorf("%s and %s have the same operationId %q", pattern, other, o.OperationID)
		}
		ids[o.OperationID] = pattern
		for _, p := range o.Parameters {
			if in := strings.Contains(pattern, "{"+p.Name+"}"); in != (p.In == "path") {
				t.Errorf("%s: parameter %s is said to be in the %s", pattern, p.Name, p.In)
			}
		}
	}
}

// live is a running engine with one job, whose feed has rows, holes and garbage.
func live(t *testing.T) (*desk.Desk, *simulator.Simulator) {
	t.Helper()
	sim := simulator.New(simulator.Options{Seed: 1, Rate: -1, Backlog: 200, Keep: -1, Holes: 0.05, Garbage: 0.05})
	feed := httptest.NewServer(sim)
	t.Cleanup(feed.Close)
	text := fmt.Appendf(nil, "jobs: {spots: {collect: {source: {wsprnet: {url: %q, "+
		"every: 200ms, max_bytes_per_second: -1}}, sinks: {local: {sqlite: {path: spots.sqlite}, "+
		"batch: {every: 1ms}, limit: 1GiB}}}}}", feed.URL+simulator.SpotsPath)
	d := runConfig(t, text)
	await(t, "the rows", func() bool {
		rep, err := d.Status(t.Context(), "")
		return err == nil && rep.Jobs[0].Balance.Sinks != nil && rep.Jobs[0].Balance.Accepted > 100 &&
			rep.Jobs[0].Backlog.Rows == 0 && rep.Letters["spots"] > 2
	})
	return d, sim
}

// runConfig runs the engine of a configuration until the test ends.
func runConfig(t *testing.T, text []byte) *desk.Desk {
	t.Helper()
	return runConfigIn(t, t.TempDir(), text)
}

// planIn is the plan of a configuration in a data directory.
func planIn(t *testing.T, dir string, text []byte) *app.Plan {
	t.Helper()
	file := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := app.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan(dir, app.NoListen, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// runConfigIn is runConfig in a data directory.
func runConfigIn(t *testing.T, dir string, text []byte) *desk.Desk {
	t.Helper()
	return runPlan(t, planIn(t, dir, text))
}

// runPlan runs the engine of a plan until the test ends.
func runPlan(t *testing.T, p *app.Plan) *desk.Desk {
	t.Helper()
	d, start := begin(t, p)
	start()
	return d
}

// begin is runPlan whose engine begins with start.
func begin(t *testing.T, p *app.Plan) (d *desk.Desk, start func()) {
	t.Helper()
	eng, err := p.Engine(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return desk.New(p, eng), func() {
		ended := make(chan error, 1)
		ctx, stop := context.WithCancel(context.Background())
		go func() { ended <- eng.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// beside runs what goes on beside an engine until the test ends.
func beside(t *testing.T, all ...func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	for _, f := range all {
		g.Go(func() error { return f(ctx) })
	}
	t.Cleanup(func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// Every described route answers as its schema says, and so do errors.
func TestAnswersFitTheirSchemas(t *testing.T) {
	d, _ := live(t)
	doc, h := readDocument(t), Handler(d)
	letters, err := d.DeadLetters(t.Context(), "spots", 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	export := filepath.Join(t.TempDir(), "one.tar.zst")
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(cache, "spots_1.json"), []byte(`{"spots": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tried := fileAnswers(t, doc)
	maps.Copy(tried, crawlAnswers(t, doc))
	maps.Copy(tried, superviseAnswers(t, doc))
	maps.Copy(tried, tourAnswers(t, doc))
	for _, c := range []struct {
		pattern, path string
		body          any
		want          int
	}{
		{"GET /api/v1/jobs", "?job=spots", nil, 200},
		{"GET /api/v1/jobs", "?job=nosuch", nil, 404},
		{"GET /api/v1/jobs/{job}", "", nil, 200},
		{"GET /api/v1/overview", "", nil, 200},
		{"GET /api/v1/session", "", nil, 200},
		{"GET /api/v1/jobs/{job}/timeline", "", nil, 200},
		{"GET /api/v1/jobs/{job}/timeline", "?from=1&to=1", nil, 400},
		{"GET /api/v1/gates", "", nil, 200},
		{"GET /api/v1/balance", "", nil, 200},
		{"GET /api/v1/audit", "?deep=true", nil, 200},
		{"GET /api/v1/windows", "?limit=5", nil, 200},
		{"GET /api/v1/windows", "?state=half", nil, 400},
		{"GET /api/v1/windows", "?after=yesterday", nil, 400},
		{"GET /api/v1/series", "?since=1", nil, 200},
		{"GET /api/v1/series", "?since=yesterday", nil, 400},
		{"GET /api/v1/events", "?max=2", nil, 200},
		{"GET /api/v1/events", "?after=nonsense", nil, 400},
		{"GET /api/v1/jobs/{job}/gaps", "?all=true", nil, 200},
		{"GET /api/v1/jobs/{job}/gaps", "?all=true&max=1", nil, 200},
		{"GET /api/v1/jobs/{job}/gaps", "?after=nowhere", nil, 400},
		{"GET /api/v1/jobs/{job}/spool", "", nil, 200},
		{"GET /api/v1/jobs/{job}/spool", "?from=1h&sink=local", nil, 200},
		{"GET /api/v1/jobs/{job}/spool", "?from=yesterday", nil, 400},
		{"GET /api/v1/jobs/{job}/spool/stats", "", nil, 200},
		{"GET /api/v1/jobs/{job}/spool/stats", "?from=1990-01-01&to=2100-01-01", nil, 200},
		{"GET /api/v1/jobs/{job}/spool/stats", "?sink=nosuch&from=1h", nil, 404},
		{"GET /api/v1/jobs/{job}/spool/rows", "", nil, 200},
		{"GET /api/v1/jobs/{job}/spool/rows", "?format=jsonl&max=3", nil, 200},
		{"GET /api/v1/jobs/{job}/spool/rows", "?format=csv", nil, 200},
		{"GET /api/v1/jobs/{job}/spool/rows", "?format=parquet", nil, 200},
		{"GET /api/v1/jobs/{job}/spool/rows", "?format=xml", nil, 400},
		{"GET /api/v1/jobs/{job}/spool/rows", "?from=2026-01-02&to=2026-01-01", nil, 400},
		{"POST /api/v1/jobs/{job}/spool/verify", "", nil, 200},
		{"POST /api/v1/jobs/{job}/spool/import", "", Order{Dir: cache}, 200},
		{"POST /api/v1/jobs/{job}/spool/import", "", Order{Dir: "relative"}, 400},
		{"POST /api/v1/jobs/{job}/spool/export", "", Order{Dir: t.TempDir()}, 200},
		{"POST /api/v1/jobs/{job}/spool/replay", "", Order{Sink: "local"}, 200},
		{"POST /api/v1/jobs/{job}/spool/replay", "", Order{Sink: "nosuch"}, 404},
		{"GET /api/v1/jobs/{job}/dead", "", nil, 200},
		{"GET /api/v1/jobs/{job}/dead/{id}", fmt.Sprint(letters[0].ID), nil, 200},
		{"GET /api/v1/jobs/{job}/dead/{id}", "999999", nil, 404},
		{"POST /api/v1/jobs/{job}/dead/{id}/edit", fmt.Sprint(letters[0].ID), Order{}, 400},
		{"POST /api/v1/jobs/{job}/dead/{id}/edit", fmt.Sprint(letters[0].ID), Order{Edit: desk.Edit{
			Row: row(t, d, 6030000000)}}, 200},
		{"POST /api/v1/jobs/{job}/dead/{id}/edit", fmt.Sprint(letters[2].ID), Order{Edit: desk.Edit{
			Row: row(t, d, 0)}}, 409},
		{"POST /api/v1/jobs/{job}/dead/{id}/discard", fmt.Sprint(letters[2].ID), Order{}, 400},
		{"POST /api/v1/jobs/{job}/dead/{id}/discard", fmt.Sprint(letters[2].ID), Order{Reason: "seen"}, 200},
		{"POST /api/v1/jobs/{job}/dead/{id}/retry", fmt.Sprint(letters[1].ID), nil, 400},
		{"GET /api/v1/jobs/{job}/files", "", nil, 400}, // of a job that has none
		{"GET /api/v1/jobs/{job}/files/{id}", "1", nil, 400},
		{"POST /api/v1/jobs/{job}/checkpoints", "", Order{Name: "one"}, 200},
		{"POST /api/v1/jobs/{job}/checkpoints", "", Order{Name: "one"}, 409},
		{"GET /api/v1/checkpoints", "", nil, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/verify", "one", nil, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/export", "one", Order{File: export}, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/export", "one", Order{}, 400}, // to which file?
		{"POST /api/v1/jobs/{job}/backfill", "", nil, 200},
		{"POST /api/v1/jobs/{job}/acknowledge", "", nil, 409}, // it has lost nothing
		{"POST /api/v1/jobs/{job}/acknowledge", "", desk.Loss{Lost: 1}, 409},
		{"POST /api/v1/jobs/{job}/acknowledge", "", desk.Loss{Expired: map[string]int64{"elsewhere": 1}}, 200},
		{"POST /api/v1/jobs/{job}/pause", "", nil, 200},
		{"POST /api/v1/jobs/{job}/resume", "", nil, 200},
		{"POST /api/v1/reload", "", nil, 200},
		{"GET /api/v1/openapi.json", "", nil, 200},
		{"GET /metrics", "", nil, 200},
		{"GET /healthz", "", nil, 200},
		{"GET /readyz", "", nil, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/restore", "one", Order{Dir: filepath.Join(t.TempDir(), "other")}, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/restore", "one", Order{Dir: "relative"}, 400},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/restore", "one", nil, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/remove", "one", nil, 200},
		{"POST /api/v1/jobs/{job}/checkpoints/{name}/remove", "one", nil, 404},
		{"POST /api/v1/jobs/{job}/checkpoints/import", "", Order{File: export}, 200},
	} {
		method, path, _ := strings.Cut(c.pattern, " ")
		id, query, _ := strings.Cut(c.path, "?")
		path = strings.NewReplacer("{job}", "spots", "{id}", id, "{name}", id).Replace(path)
		w := request(t, h, method, path+"?"+query, c.body)
		if w.Code != c.want {
			t.Errorf("%s %s: got %d, want %d: %s", method, path, w.Code, c.want, w.Body)
			continue
		}
		tried[c.pattern] = tried[c.pattern] || c.want == 200
		if why := doc.answer(c.pattern, w); why != "" {
			t.Errorf("%s %s (%d): %s\n%.2000s", method, path, w.Code, why, w.Body)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(doc.patterns())) {
		// A retry of what can't be mended is refused; that one that can is taken, the tests of jobs show.
		if !tried[pattern] && !strings.HasSuffix(pattern, "/retry") {
			t.Errorf("%s was not tried", pattern)
		}
	}
}

// row is a row of the spool, under another id unless that is 0.
func row(t *testing.T, d *desk.Desk, id uint64) json.RawMessage {
	t.Helper()
	var text bytes.Buffer
	_, err := d.Cat(t.Context(), "spots", desk.Selection{}, rowfile.Options{Format: rowfile.JSONL}, 1, &text)
	if err != nil {
		t.Fatal(err)
	}
	if id == 0 {
		return text.Bytes()
	}
	values := map[string]any{}
	if err := json.Unmarshal(text.Bytes(), &values); err != nil {
		t.Fatal(err)
	}
	values["id"] = id
	b, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func request(t *testing.T, h http.Handler, method, target string, body any) *httptest.ResponseRecorder {
	t.Helper()
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = strings.NewReader(string(b))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, text))
	return w
}

// answer says how an answer differs from what is described for its status and type.
func (d document) answer(pattern string, w *httptest.ResponseRecorder) string {
	r, ok := d.patterns()[pattern].Responses[fmt.Sprint(w.Code)]
	if !ok {
		return "the status is not described"
	}
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	c, ok := r.Content[kind]
	if !ok {
		return "the type " + kind + " is not described"
	}
	if kind != "application/json" {
		return ""
	}
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		return err.Error()
	}
	return d.fits(c.Schema, v, "answer")
}

// What no route is for is told in the shape of every error.
func TestUnknownPathsAndMethods(t *testing.T) {
	h := Handler(openDesk(t))
	for target, want := range map[string]int{"GET /nowhere": 404, "DELETE /api/v1/jobs": 405} {
		method, path, _ := strings.Cut(target, " ")
		w := request(t, h, method, path, nil)
		var f Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code != want || f.Message == "" ||
			f.Kind == "" || f.Hint == "" {
			t.Errorf("%s: got %d %s, want %d and an error with a hint", target, w.Code, w.Body, want)
		}
	}
}
