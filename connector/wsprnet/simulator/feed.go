package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"holdfast/base/web"
)

// The feed's own paths.
const (
	SpotsPath = "/drupal/wsprnet/spots/json"
	LoginPath = "/drupal/rest/user/login"
)

const (
	cookieName    = "SESS5b1f1e0d"
	notAuthorized = "You are not authorized to access this page."
	chunk         = 128 << 10
)

func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+SpotsPath, s.feed(s.spots))
	mux.HandleFunc("POST "+LoginPath, s.feed(s.login))
	mux.HandleFunc("GET /{$}", s.statusPage)
	mux.HandleFunc("GET /status.json", s.statusJSON)
	// A page from elsewhere in the same browser must not press our buttons, by whatever name it reaches us.
	mux.Handle("POST /faults", web.Own(http.HandlerFunc(s.postFault)))
	return mux
}

// feed puts outages in front of a handler of the feed; the status page has none.
func (s *Simulator) feed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.served.requests.Add(1)
		s.served.last.Store(time.Now().UnixNano())
		f, _, changed := s.state()
		if f.RetryAfter > 0 {
			s.served.faults.Add(1)
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		if f.Outage != "" && f.Outage != "slow" {
			s.served.faults.Add(1)
			outage(w, r, f.Outage, changed)
			return
		}
		next(w, r)
	}
}

// outage is how a feed that is away answers.
func outage(w http.ResponseWriter, r *http.Request, kind string, changed <-chan struct{}) {
	switch kind {
	case "500":
		http.Error(w, "<html><body>Internal Server Error</body></html>", http.StatusInternalServerError)
	case "hang":
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		reset(w)
	case "garbage":
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.Repeat([]byte("\x00<!doctype {\xff]}\"nothing\\\n"), 40))
	default:
		reset(w)
	}
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // not a real connection: the answer is empty then
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// login gives a session for the right user name and password.
func (s *Simulator) login(w http.ResponseWriter, r *http.Request) {
	s.served.logins.Add(1)
	var in struct{ Name, Pass string }
	err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in)
	known := err == nil && in.Name == s.opts.Username && in.Pass == s.opts.Password
	if !known || s.Faults().Refuse {
		s.served.refused.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `["Wrong username or password."]`)
		return
	}
	s.mu.Lock()
	s.logins++
	id := fmt.Sprintf("%016x%08x", s.opts.Seed*0x9e3779b97f4a7c15+s.logins, time.Now().UnixNano())
	s.sessions[id] = time.Now().Add(s.opts.SessionLife)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"sessid": id, "session_name": cookieName,
		"token": id[:8], "user": map[string]string{"uid": "1", "name": in.Name}})
}

// authorized tells whether the request's session is valid.
func (s *Simulator) authorized(r *http.Request, f Faults) bool {
	if f.Forbidden {
		return false
	}
	if s.opts.Username == "" {
		return true
	}
	c, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.sessions[c.Value]
	if ok && time.Now().After(until) {
		delete(s.sessions, c.Value)
		ok = false
	}
	return ok
}

// pages are buffers that went out and can be written again.
var pages = sync.Pool{New: func() any { return new([]byte) }}

// spots serves one page.
func (s *Simulator) spots(w http.ResponseWriter, r *http.Request) {
	f, late, _ := s.state()
	w.Header().Set("Content-Type", "application/json")
	if !s.authorized(r, f) {
		s.served.refused.Add(1)
		if !f.AsText {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = fmt.Fprintf(w, "[%q]", notAuthorized)
		return
	}
	after, err := strconv.ParseUint(r.FormValue("spotnum_start"), 10, 64)
	if v := r.FormValue("spotnum_start"); err != nil && v != "" {
		http.Error(w, `["spotnum_start is not a number"]`, http.StatusBadRequest)
		return
	}
	s.served.lastAfter.Store(after)
	ids := s.page(after, r.FormValue("band"), f, late)
	if f.Reverse {
		slices.Reverse(ids)
	}
	buf := pages.Get().(*[]byte)
	defer pages.Put(buf)
	out := append((*buf)[:0], '[')
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = s.content.render(out, id)
	}
	out = append(out, ']')
	*buf = out
	s.served.pages.Add(1)
	s.served.spots.Add(int64(len(ids)))
	s.send(w, r, f, out)
}

// page lists the ids behind after that a page holds.
func (s *Simulator) page(after uint64, band string, f Faults, late time.Time) (ids []uint64) {
	now := time.Now()
	newest := s.clock.newest(now)
	ids = make([]uint64, 0, min(uint64(s.opts.PageLimit), newest-min(newest, after)+1))
	first := max(after+1, s.clock.oldest(now, s.opts.Keep))
	for id := first; id <= newest && len(ids) < s.opts.PageLimit; id++ {
		if !s.content.exists(id) || (f.Late || f.Holes) && s.hidden(id, now, f, late) {
			continue
		}
		if band != "" && band != "All" {
			if sp, ok := s.content.spot(id); ok && strconv.Itoa(int(sp.Band)) != band {
				continue
			}
		}
		ids = append(ids, id)
	}
	return ids
}

// hidden tells whether a switched fault keeps the id back.
func (s *Simulator) hidden(id uint64, now time.Time, f Faults, late time.Time) bool {
	h := (&world{seed: s.opts.Seed}).mix(id, forFault)
	if f.Holes && h%50 == 0 {
		return true
	}
	if !f.Late || h>>16%200 != 0 {
		return false
	}
	at := s.clock.at(id)
	if at.Before(late) {
		at = late
	}
	return now.Before(at.Add(s.opts.LateBy))
}

// send writes the page as the feed's state and the client's wishes have it.
func (s *Simulator) send(w http.ResponseWriter, r *http.Request, f Faults, page []byte) {
	broken := false
	if f.Truncate && len(page) > 2 {
		n := uint64(s.served.faults.Add(1))
		broken = n%2 == 0
		cut := (&world{seed: s.opts.Seed}).mix(n, forFault) % uint64(len(page)-1)
		page = page[:1+cut]
	}
	var out io.Writer = w
	flush := func() {}
	if s.opts.Gzip && r.Header.Get("Accept-Encoding") == "gzip" {
		w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		out, flush = z, func() { _ = z.Close() }
	}
	s.served.bytes.Add(int64(len(page)))
	piece, pause := chunk, time.Duration(0)
	if f.Outage == "slow" {
		s.served.faults.Add(1)
		piece, pause = 1<<10, time.Second
	}
	for len(page) > 0 {
		n := min(piece, len(page))
		if _, err := out.Write(page[:n]); err != nil {
			return
		}
		page = page[n:]
		if pause > 0 {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
	}
	flush()
	if broken {
		_ = http.NewResponseController(w).Flush()
		reset(w)
	}
}
