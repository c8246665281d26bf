package clickhouse

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/tests/testenv"
)

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		status int
		header string // "Name: value"
		body   string
		kind   fault.Kind
		code   int
	}{
		{500, "", "Code: 241, e.displayText() = DB::Exception: Memory limit (for query) exceeded, e.what() = DB::Exception",
			fault.Transient, 241},
		{500, "X-ClickHouse-Exception-Code: 252", "Code: 252. DB::Exception: Too many parts (600). (TOO_MANY_PARTS)",
			fault.Transient, 252},
		{500, "X-ClickHouse-Exception-Code: 242", "Code: 242. DB::Exception: Table is in readonly mode.", fault.Transient, 242},
		{500, "", "Code: 164, e.displayText() = DB::Exception: Cannot insert into table in readonly mode", fault.Transient, 164},
		{500, "", "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)", fault.Transient, 243},
		{500, "", "Code: 75, e.displayText() = DB::ErrnoException: Cannot write to file /d/x.bin, errno: 28, strerror: No space left on device",
			fault.Transient, 75},
		{500, "", "Code: 1001, e.displayText() = std::exception, DB::Exception: filesystem error: No space left on device",
			fault.Transient, 1001},
		{503, "X-ClickHouse-Exception-Code: 202", "Code: 202. DB::Exception: Too many simultaneous queries.", fault.Transient, 202},
		{500, "X-ClickHouse-Exception-Code: 999", "Code: 999. Coordination::Exception: Connection loss. DB::Exception",
			fault.Transient, 999},
		{500, "", "Code: 209. DB::NetException: Timeout exceeded while reading from socket. (SOCKET_TIMEOUT)", fault.Transient, 209},
		{500, "", "Code: 33, e.displayText() = DB::Exception: Cannot read all data", fault.Transient, 33},
		{500, "", "Code: 201. DB::Exception: Quota has been exceeded.", fault.Throttled, 201},
		{500, "", "Code: 193, e.displayText() = DB::Exception: Wrong password for user x", fault.Credentials, 193},
		{500, "", "Code: 192, e.displayText() = DB::Exception: Unknown user x", fault.Credentials, 192},
		{403, "X-ClickHouse-Exception-Code: 516", "Code: 516. DB::Exception: x: Authentication failed", fault.Credentials, 516},
		{500, "", "Code: 497. DB::Exception: x: Not enough privileges.", fault.Credentials, 497},
		{404, "", "Code: 60, e.displayText() = DB::Exception: Table a.b doesn't exist.", fault.Permanent, 60},
		{404, "", "Code: 81, e.displayText() = DB::Exception: Database a doesn't exist", fault.Permanent, 81},
		{404, "", "Code: 16, e.displayText() = DB::Exception: No such column x in table t", fault.Permanent, 16},
		{400, "", "Code: 53, e.displayText() = DB::Exception: Type mismatch", fault.Invalid, 53},
		{400, "", "Code: 27, e.displayText() = DB::ParsingException: Cannot parse input", fault.Invalid, 27},
		{500, "", "Code: 469. DB::Exception: Constraint `c` for table t is violated at row 1.", fault.Invalid, 469},
		{500, "", "Code: 12345. DB::Exception: something new", fault.Unknown, 12345},
		// A 200 whose body is an exception, alone or behind an answer that had begun.
		{200, "", "Code: 241. DB::Exception: Memory limit exceeded", fault.Transient, 241},
		{200, "", "1\n2\nCode: 241, e.displayText() = DB::Exception: Memory limit exceeded", fault.Transient, 241},
		{200, "X-ClickHouse-Exception-Code: 394", "__exception__", fault.Transient, 394},
		// Others that stand between us and the server.
		{429, "Retry-After: 7", "slow down", fault.Throttled, 0},
		{503, "", "<html>busy</html>", fault.Throttled, 0},
		{502, "", "<html>bad gateway</html>", fault.Transient, 0},
		{500, "", "", fault.Transient, 0},
		{401, "", "who?", fault.Credentials, 0},
		{404, "", "<html>nginx</html>", fault.Permanent, 0},
		{400, "", "Port 9000 is for clickhouse-client program", fault.Permanent, 0},
		{302, "Location: /login", "", fault.Permanent, 0},
	} {
		h := http.Header{}
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			h.Set(name, value)
		}
		err := judge(&http.Response{StatusCode: c.status, Header: h}, c.body)
		if fault.KindOf(err) != c.kind || err == nil || code(err) != c.code {
			t.Errorf("%d %q: got %v (kind %v, code %d), want %v, code %d", c.status, c.body, err,
				fault.KindOf(err), code(err), c.kind, c.code)
		}
	}
	if err := judge(&http.Response{StatusCode: 200, Header: http.Header{}}, "1\t2\n"); err != nil {
		t.Errorf("a good answer: got %v", err)
	}
	err := judge(&http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"7"}}}, "")
	if fault.WaitOf(err) != 7*time.Second {
		t.Errorf("wait: got %v, want 7s", fault.WaitOf(err))
	}
}

// liar stands between the sink and a real server and answers for it, once.
type liar struct {
	url  string
	next atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
	only string // in the query of what it lies about
}

func newLiar(t *testing.T, target, only string) *liar {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{only: only}
	honest := httputil.NewSingleHostReverseProxy(u)
	honest.Transport = testenv.ReadFirst{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query().Get("query")
		if query == "" && r.Method == http.MethodPost {
			b, _ := io.ReadAll(r.Body)
			query = string(b)
			r.Body = io.NopCloser(strings.NewReader(query))
		}
		if f := l.next.Load(); f != nil && strings.Contains(query, l.only) &&
			l.next.CompareAndSwap(f, nil) {
			(*f)(w, r, honest)
			return
		}
		honest.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	l.url = front.URL
	return l
}

func (l *liar) lie(f func(w http.ResponseWriter, r *http.Request, honest http.Handler)) {
	l.next.Store(&f)
}

// lies are answers that something else gives in the place of ClickHouse.
var lies = map[string]func(w http.ResponseWriter, r *http.Request, honest http.Handler){
	"html": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "<html>Welcome to the hotel's network</html>")
	},
	"empty 200": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
	},
	"early 200": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("X-ClickHouse-Server-Display-Name", "liar")
	},
	"executed, then html": func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		honest.ServeHTTP(httptest.NewRecorder(), r)
		_, _ = io.WriteString(w, "<html>oops</html>")
	},
	"executed, then 500": func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		honest.ServeHTTP(httptest.NewRecorder(), r)
		http.Error(w, "oops", http.StatusInternalServerError)
	},
	"exception in a 200": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-ClickHouse-Server-Display-Name", "liar")
		_, _ = io.WriteString(w, "Code: 241. DB::Exception: Memory limit exceeded")
	},
	"cut": func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		rec := httptest.NewRecorder()
		honest.ServeHTTP(rec, r)
		w.Header().Set("X-ClickHouse-Server-Display-Name", "liar")
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	},
	"cut at a line, as if whole": func(w http.ResponseWriter, r *http.Request, honest http.Handler) {
		rec := httptest.NewRecorder()
		honest.ServeHTTP(rec, r)
		w.Header().Set("X-ClickHouse-Server-Display-Name", "liar")
		half := rec.Body.String()[:rec.Body.Len()/2]
		_, _ = io.WriteString(w, half[:strings.LastIndexByte(half, '\n')+1])
	},
	"429": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "slow down", http.StatusTooManyRequests)
	},
}

// Whatever answers for the server, to an insert or to a question about keys: no row is lost, and
// none is doubled.
func TestLies(t *testing.T) {
	engines(t, func(t *testing.T, ch *testenv.ClickHouseServer) {
		next := uint64(1)
		for _, about := range []string{"INSERT INTO", "WITH TOTALS", "SELECT count() FROM `wsprnet`",
			"system.processes"} {
			l := newLiar(t, ch.URL(), about)
			s := open(t, l.url)
			prepare(t, s)
			for _, name := range testenv.Some(t, 3, slices.Sorted(maps.Keys(lies))) {
				f := lies[name]
				rows := spotBatch(next, noon, 500)
				d := delivery(t, next, rows)
				next += 500
				if about != "INSERT INTO" {
					// Half of it is in the table: the lie is about the rest.
					half := d
					half.Token.Last++
					half.Rows = rows.NewSlice(0, 250)
					write(t, s, half)
					d.Unknown, d.ByKey = true, true
				}
				l.lie(f)
				_, err := s.Write(soon(t), d)
				if k := fault.KindOf(err); err != nil && k != fault.Transient && k != fault.Throttled {
					t.Errorf("%s about %s: got kind %v, want an outage: %v", name, about, k, err)
				}
				if err == nil && l.next.Load() == nil && !strings.HasPrefix(name, "cut") {
					t.Errorf("%s about %s: believed", name, about)
				}
				l.next.Store(nil)
				d.Unknown = true
				deliverThrough(t, s, d)
				onceEach(t, ch, int(next-1))
			}
		}
	})
}

func TestConnectionErrors(t *testing.T) {
	s := open(t, "http://127.0.0.1:1")
	wantFault(t, "refused", s.Prepare(soon(t), spots), fault.Transient, "127.0.0.1:1", "refused")
	if err := s.Prepare(soon(t), spots); strings.Contains(err.Error(), "query=") {
		t.Errorf("error shows the whole address: %v", err)
	}
	s = open(t, "http://no-such-host.invalid:8123")
	wantFault(t, "unknown host", s.Prepare(soon(t), spots), fault.Transient, "no-such-host")

	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	tls.Config.ErrorLog = nil
	s = open(t, tls.URL)
	wantFault(t, "unknown authority", s.Prepare(soon(t), spots), fault.Permanent, "certificate")

	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	s = open(t, web.URL)
	err := s.Prepare(soon(t), spots)
	wantFault(t, "another server", err, fault.Permanent, "404")
	if !strings.Contains(fault.HintOf(err), "8123") {
		t.Errorf("another server: hint %q does not name the port", fault.HintOf(err))
	}
	if _, ok := errors.AsType[*serverError](err); ok {
		t.Errorf("another server: taken for ClickHouse")
	}
}
