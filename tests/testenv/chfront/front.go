package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// front is the HTTP door of an engine.
type front struct {
	engine         *engine
	user, password string // asked for when user is not empty

	// turn holds one token: whoever takes it may use the engine. A channel, because it hands over
	// in the order of asking.
	turn chan struct{}

	mu      sync.Mutex      // guards running
	running map[string]bool // query ids that were taken and are not answered
}

func newFront(e *engine, user, password string) *front {
	f := &front{
		engine:   e,
		user:     user,
		password: password,
		turn:     make(chan struct{}, 1),
		running:  map[string]bool{},
	}
	f.turn <- struct{}{}
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	params := r.URL.Query()
	asked := r.Method != http.MethodGet || params.Has("query")
	switch {
	case r.URL.Path == "/ping", r.URL.Path == "/" && !asked:
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case r.URL.Path != "/":
		http.Error(w, "There is no handle "+r.URL.Path, http.StatusNotFound)
		return
	}
	id := params.Get("query_id")
	if id == "" {
		id = uuid.NewString()
	}
	w.Header().Set("X-ClickHouse-Query-Id", id)
	if err := f.answer(w, r, params, id); err != nil {
		refuse(w, err)
	}
}

// answer runs the request's query. An error has left the response untouched.
func (f *front) answer(w http.ResponseWriter, r *http.Request, p url.Values, id string) error {
	if err := f.login(r, p); err != nil {
		return err
	}
	body, err := readBody(r, p)
	if err != nil {
		return failure(codeCannotReadAllData, "Cannot read all data: %v", err)
	}
	s := parseStatement(p.Get("query"), body)
	if r.Method == http.MethodGet && s.writes {
		return failure(codeReadonly, "Cannot execute query in readonly mode. For queries over HTTP, "+
			"method GET implies readonly. You should use method POST for modifying queries")
	}
	format := cmp.Or(p.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated")
	if p.Has("client_protocol_version") && strings.Contains(format+s.sql, "Native") {
		return failure(codeNotImplemented, "client_protocol_version with Native is not supported here")
	}
	if !f.begin(id) {
		return failure(codeSameQueryID, "Query with id = %s is already running", id)
	}
	defer f.end(id)
	out, written, err := f.run(s, settings(r, p), format)
	if err != nil {
		return err
	}
	w.Header().Set("X-ClickHouse-Server-Display-Name", "chfront")
	w.Header().Set("X-ClickHouse-Format", format)
	w.Header().Set("X-ClickHouse-Summary", fmt.Sprintf(`{"written_rows":"%d"}`, written))
	return reply(w, r, p, out)
}

func (f *front) begin(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[id] {
		return false
	}
	f.running[id] = true
	return true
}

func (f *front) end(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, id)
}

// login checks user and password, from the URL, the headers or basic authentication.
func (f *front) login(r *http.Request, p url.Values) error {
	user, password, _ := r.BasicAuth()
	user = cmp.Or(p.Get("user"), r.Header.Get("X-ClickHouse-User"), user, "default")
	password = cmp.Or(p.Get("password"), r.Header.Get("X-ClickHouse-Key"), password)
	if f.user != "" && (user != f.user || password != f.password) {
		return failure(codeAuthenticationFailed, "%s: Authentication failed: password is incorrect, "+
			"or there is no user with such name", user)
	}
	return nil
}

// readBody undoes the HTTP encoding first and ClickHouse's own blocks second.
func readBody(r *http.Request, p url.Values) ([]byte, error) {
	var in io.Reader = r.Body
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = z
	case "zstd":
		z, err := zstd.NewReader(in)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		in = z
	default:
		return nil, fmt.Errorf("unknown Content-Encoding %q", encoding)
	}
	if p.Get("decompress") != "1" {
		return io.ReadAll(in)
	}
	body, err := io.ReadAll(compress.NewReader(in))
	if errors.Is(err, io.EOF) { // the reader's word for an end between two blocks
		err = nil
	}
	return body, err
}

// notSettings are the URL parameters that the door itself understands.
var notSettings = []string{
	"query", "default_format", "compress", "decompress", "client_protocol_version", "database",
	"query_id", "user", "password", "wait_end_of_query", "enable_http_compression",
	"send_progress_in_http_headers", "buffer_size", "quota_key",
}

// setup is what stands around one query: statements before it, and statements that undo them.
type setup struct{ before, after []string }

func settings(r *http.Request, p url.Values) setup {
	var s setup
	if db := cmp.Or(p.Get("database"), r.Header.Get("X-ClickHouse-Database")); db != "" {
		s.before = append(s.before, "USE `"+strings.ReplaceAll(db, "`", "``")+"`")
		s.after = append(s.after, "USE default")
	}
	for name := range p {
		if slices.Contains(notSettings, name) {
			continue
		}
		s.before = append(s.before, "SET "+name+" = "+quote(p.Get(name)))
		if !strings.HasPrefix(name, "param_") { // a parameter stays until it is set again
			s.after = append(s.after, "SET "+name+" = DEFAULT")
		}
	}
	return s
}

func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// run waits for the engine and runs one statement between its setup.
func (f *front) run(s statement, around setup, format string) ([]byte, uint64, error) {
	if s.hasData {
		name, err := spill(s.data)
		if err != nil {
			return nil, 0, err
		}
		defer func() { _ = os.Remove(name) }()
		s.sql = s.fromFile(name)
	}
	<-f.turn
	defer func() { f.turn <- struct{}{} }()
	defer func() {
		for _, sql := range around.after {
			_, _, _ = f.engine.run(sql, "Null") // one that was never set is at its default
		}
	}()
	for _, sql := range around.before {
		if _, _, err := f.engine.run(sql, "Null"); err != nil {
			return nil, 0, err
		}
	}
	return f.engine.run(s.sql, format)
}

// spill writes an insert's data to a file: the engine cuts data within a statement at the first
// line end.
func spill(data []byte) (string, error) {
	file, err := os.CreateTemp("", "chfront-insert-")
	if err != nil {
		return "", fmt.Errorf("make insert file: %w", err)
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(file.Name())
		return "", fmt.Errorf("write insert file: %w", err)
	}
	return file.Name(), nil
}

// reply sends the answer, in ClickHouse's blocks when compress=1, else in the HTTP encoding that
// the client takes.
func reply(w http.ResponseWriter, r *http.Request, p url.Values, out []byte) error {
	switch {
	case p.Get("compress") == "1":
		method := compress.LZ4
		if strings.EqualFold(p.Get("network_compression_method"), "zstd") {
			method = compress.ZSTD
		}
		var packed bytes.Buffer
		block := compress.NewWriter(compress.LevelZero, method)
		for part := range slices.Chunk(out, 1<<20) {
			if err := block.Compress(part); err != nil {
				return fmt.Errorf("compress answer: %w", err)
			}
			packed.Write(block.Data)
		}
		out = packed.Bytes()
	case p.Get("enable_http_compression") == "1" &&
		strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"):
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write(out)
		if err = errors.Join(err, z.Close()); err != nil {
			return fmt.Errorf("compress answer: %w", err)
		}
		w.Header().Set("Content-Encoding", "gzip")
		out = packed.Bytes()
	}
	_, _ = w.Write(out) // a client that has gone needs no answer
	return nil
}
