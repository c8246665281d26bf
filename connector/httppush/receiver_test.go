package httppush

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	_ "modernc.org/sqlite"

	"holdfast/base/secret"
	"holdfast/connector"
	"holdfast/connector/sinktest"
	"holdfast/tests/testenv"
)

// TestMain lets the test binary be a child: the receiver, or a process that writes to one.
func TestMain(m *testing.M) {
	if at := os.Getenv("HOLDFAST_RECEIVER"); at != "" {
		fmt.Println("error", receive(at, os.Args[1]))
		os.Exit(1)
	}
	sinktest.Main(m, func(args []string) (connector.Sink, error) {
		return New(configFor("http://"+args[0], args[1], args[2]))
	})
}

func configFor(base, format, compression string) Config {
	return Config{URL: base + "/rows", Format: format, Compression: compression, Idempotent: true,
		Auth:     Auth{Basic: &Basic{"writer", secret.Text("geheim123")}},
		Keys:     base + "/keys?from={{.From}}&to={{.To}}&order={{.Order}}&limit={{.Limit}}",
		Rejected: ".rejected", Timeout: 2 * time.Second}
}

// receiver is a small service that takes batches: rows and idempotency keys are one transaction of SQLite.
type receiver struct {
	mu       sync.Mutex // one request at a time does something
	db       *sql.DB
	pressure atomic.Int64 // status to answer with, 0 for none
	ignores  atomic.Bool  // idempotency keys
	conflict atomic.Int64 // status for a key that it has; 0 gives the first answer again
}

// receive serves for ever.
func receive(addr, path string) error {
	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS rows (id INTEGER, text BLOB);
		CREATE TABLE IF NOT EXISTS taken (key TEXT PRIMARY KEY, hash TEXT, answer TEXT);
		CREATE INDEX IF NOT EXISTS by_id ON rows (id)`)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	r := &receiver{db: db}
	mux := http.NewServeMux()
	mux.HandleFunc("/control", r.control)
	mux.Handle("POST /rows", r.known(r.take))
	mux.Handle("GET /keys", r.known(r.keys))
	mux.Handle("GET /taken", r.known(r.lookup))
	fmt.Println("listening")
	return http.Serve(l, mux)
}

func (r *receiver) control(_ http.ResponseWriter, req *http.Request) {
	n, _ := strconv.ParseInt(req.FormValue("pressure"), 10, 64)
	r.pressure.Store(n)
	n, _ = strconv.ParseInt(req.FormValue("conflict"), 10, 64)
	r.conflict.Store(n)
	r.ignores.Store(req.FormValue("ignores") != "")
}

// known lets only the right user in, and asks for time under pressure.
func (r *receiver) known(f func(w http.ResponseWriter, req *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		switch {
		case user != "writer" || password != "geheim123":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case r.pressure.Load() != 0:
			// Its clock is five hours off.
			its := time.Now().Add(5 * time.Hour).UTC()
			w.Header().Set("Date", its.Format(http.TimeFormat))
			w.Header().Set("Retry-After", its.Add(7*time.Second).Format(http.TimeFormat))
			w.WriteHeader(int(r.pressure.Load()))
		default:
			if err := f(w, req); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	})
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) error {
	text, err := unpacked(req)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	key, hash := req.Header.Get("Idempotency-Key"), hex.EncodeToString(sum[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	var had, answer string
	err = r.db.QueryRow("SELECT hash, answer FROM taken WHERE key = ?", key).Scan(&had, &answer)
	switch {
	case errors.Is(err, sql.ErrNoRows) || r.ignores.Load():
	case err != nil:
		return err
	case had != hash:
		http.Error(w, "the key was used for something else", http.StatusUnprocessableEntity)
		return nil
	case r.conflict.Load() != 0:
		w.WriteHeader(int(r.conflict.Load()))
		return nil
	default:
		w.Header().Set("Idempotent-Replayed", "true")
		_, err := io.WriteString(w, answer)
		return err
	}
	if answer, err = r.store(req.Header.Get("Content-Type"), text, key, hash); errors.Is(err, errPoison) {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return nil
	}
	if err != nil {
		return err
	}
	w.Header().Set("Receipt", "taken")
	_, err = io.WriteString(w, answer)
	return err
}

// unpacked reads a body. All of it comes first: what a packer takes for the end may be where it was cut off.
func unpacked(req *http.Request) ([]byte, error) {
	packed, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var in io.Reader = bytes.NewReader(packed)
	switch req.Header.Get("Content-Encoding") {
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
	}
	return io.ReadAll(in)
}

var errPoison = errors.New("a call sign is POISON")

// store puts rows and key into the database at once. Rows with the call sign ODD are refused alone, one
// with POISON refuses all.
func (r *receiver) store(contentType string, text []byte, key, hash string) (answer string, err error) {
	objects, err := objectsOf(contentType, text)
	if err != nil {
		return "", err
	}
	tx, err := r.db.Begin()
	if err != nil {
		return "", err
	}
	defer tx.Rollback()
	insert, err := tx.Prepare("INSERT INTO rows VALUES (?, ?)")
	if err != nil {
		return "", err
	}
	rejected := []map[string]any{}
	for i, o := range objects {
		s, err := sinktest.ReadObject(o)
		switch {
		case err != nil:
			return "", err
		case s.RxSign == "POISON":
			return "", errPoison
		case s.RxSign == "ODD":
			rejected = append(rejected, map[string]any{"row": i, "reason": "an odd call sign"})
			continue
		}
		if _, err := insert.Exec(int64(s.ID), []byte(o)); err != nil {
			return "", err
		}
	}
	b, _ := json.Marshal(map[string]any{"rejected": rejected})
	if _, err := tx.Exec("INSERT OR REPLACE INTO taken VALUES (?, ?, ?)", key, hash, string(b)); err != nil {
		return "", err
	}
	return string(b), tx.Commit()
}

// objectsOf reads a body as its content type says.
func objectsOf(contentType string, text []byte) (out []json.RawMessage, err error) {
	switch kind, _, _ := strings.Cut(contentType, ";"); kind {
	case "application/json":
		return out, json.Unmarshal(text, &out)
	case "application/x-ndjson":
		for line := range bytes.Lines(text) {
			if bytes.HasSuffix(line, []byte("\n")) && len(line) > 1 {
				out = append(out, json.RawMessage(line))
			}
		}
		return out, nil
	}
	records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(records) == 0 {
		return nil, err
	}
	for _, record := range records[1:] {
		o := map[string]any{}
		for i, name := range records[0] {
			o[name] = json.Number(record[i])
			switch name {
			case "time", "rx_sign", "rx_loc", "tx_sign", "tx_loc", "version", "remark":
				o[name] = record[i]
			}
		}
		b, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (r *receiver) keys(w http.ResponseWriter, req *http.Request) error {
	from, _ := strconv.ParseUint(req.FormValue("from"), 10, 64)
	to, _ := strconv.ParseUint(req.FormValue("to"), 10, 64)
	const highest = 1<<63 - 1
	out := []int64{}
	if from <= highest {
		rows, err := r.db.Query("SELECT id FROM rows WHERE id BETWEEN ? AND ? ORDER BY id "+
			map[string]string{"desc": "DESC"}[req.FormValue("order")]+" LIMIT ?", int64(from),
			int64(min(to, highest)), req.FormValue("limit"))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			out = append(out, id)
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func (r *receiver) lookup(w http.ResponseWriter, req *http.Request) error {
	var answer string
	err := r.db.QueryRow("SELECT answer FROM taken WHERE key = ?", strconv.Quote(req.FormValue("key"))).Scan(&answer)
	if errors.Is(err, sql.ErrNoRows) {
		http.NotFound(w, req)
		return nil
	}
	if err == nil {
		_, err = io.WriteString(w, answer)
	}
	return err
}

// service is a receiver in a process of its own, behind proxies that break connections and lose answers.
type service struct {
	t       testing.TB
	addr    string
	path    string
	process *testenv.Process
	proxy   *testenv.FaultyProxy
	lossy   *testenv.Lossy
	db      *sql.DB // beside the receiver
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{t: t, addr: testenv.Address(t), path: t.TempDir() + "/rows.sqlite"}
	s.start()
	s.proxy = testenv.Proxy(t, s.addr)
	s.lossy = testenv.NewLossy(t, s.proxy.Addr(), func(answer []byte) bool {
		return bytes.Contains(answer, []byte("Receipt: taken"))
	})
	s.ask()
	var err error
	if s.db, err = sql.Open("sqlite", s.path+"?_pragma=busy_timeout(5000)"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

// kill, freeze and thaw are of the receiver as it runs now: the first one is gone after a restart.
func (s *service) kill()   { s.process.Kill() }
func (s *service) freeze() { s.process.Freeze() }
func (s *service) thaw()   { s.process.Thaw() }

func (s *service) start() {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = testenv.Start(s.t, testenv.Command{Path: self, Args: []string{s.path},
		Env: []string{"HOLDFAST_RECEIVER=" + s.addr}})
	s.process.WaitFor(s.t, "listening", 10*time.Second)
}

// ask waits for an answer through the proxies: all that they start has begun then.
func (s *service) ask() {
	s.t.Helper()
	c, err := net.Dial("tcp", s.lossy.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_, err = io.WriteString(c, "GET /control HTTP/1.0\r\n\r\n")
	if err == nil {
		_, err = io.ReadAll(c)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) control(query string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.addr + "/control?" + query)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = res.Body.Close()
}

// rows reads the receiver's rows without it.
func (s *service) rows() (out []sinktest.Spot, err error) {
	rows, err := s.db.Query("SELECT text FROM rows")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		spot, err := sinktest.ReadObject(text)
		if err != nil {
			return nil, err
		}
		out = append(out, spot)
	}
	return out, rows.Err()
}

// each runs a statement for every id.
func (s *service) each(statement string) func(ids []uint64) error {
	return func(ids []uint64) error {
		for _, id := range ids {
			if _, err := s.db.Exec(statement, int64(id)); err != nil {
				return err
			}
		}
		return nil
	}
}
