package httppoll

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/sourcetest"
)

// feed is a server of numbered items in numbered pages, every 97th of them bad, behind a login.
type feed struct {
	mu      sync.Mutex // guards all below
	ids     []uint64
	broken  map[sourcetest.Fault]bool
	session int
	valid   int // the session that is accepted
	done    chan struct{}
}

func (f *feed) has(x sourcetest.Fault) bool { return f.broken[x] }

func (f *feed) login(w http.ResponseWriter) {
	f.session++
	if f.has(sourcetest.Refuse) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	f.valid = f.session
	http.SetCookie(w, &http.Cookie{Name: "s", Value: strconv.Itoa(f.session)})
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.URL.Path == "/login" {
		f.login(w)
		return
	}
	if f.broken[sourcetest.Expire] {
		f.valid, f.broken[sourcetest.Expire] = -1, false
	}
	switch c, err := r.Cookie("s"); {
	case f.has(sourcetest.Reset):
		panic(http.ErrAbortHandler)
	case f.has(sourcetest.ServerError):
		w.WriteHeader(http.StatusBadGateway)
	case f.has(sourcetest.Garbage):
		_, _ = w.Write([]byte("<html>\x00 maintenance"))
	case f.has(sourcetest.Silence):
		f.mu.Unlock()
		select {
		case <-r.Context().Done():
		case <-f.done:
		}
		f.mu.Lock()
	case f.has(sourcetest.Throttle):
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	case err != nil, c.Value != strconv.Itoa(f.valid), f.has(sourcetest.Refuse):
		w.WriteHeader(http.StatusUnauthorized)
	default:
		f.items(w, r)
	}
}

// items answers a page.
func (f *feed) items(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseUint(r.FormValue("after"), 10, 64)
	page, _ := strconv.Atoi(r.FormValue("page"))
	ids := slices.Clone(f.ids)
	ids = slices.DeleteFunc(ids, func(id uint64) bool { return id <= after })
	if f.has(sourcetest.Reverse) || f.has(sourcetest.CutReverse) {
		slices.Reverse(ids)
	}
	const size = 200
	ids = ids[min(len(ids), (page-1)*size):]
	ids = ids[:min(len(ids), size)]
	out := []any{}
	for _, id := range ids {
		v := any(float64(id) / 2)
		if id%97 == 0 {
			v = "broken"
		}
		out = append(out, map[string]any{"id": id, "v": v})
	}
	b, _ := json.Marshal(out)
	if f.has(sourcetest.Cut) || f.has(sourcetest.CutReverse) {
		b = b[:len(b)/2]
	}
	_, _ = w.Write(b)
}

func (f *feed) some(bad bool) (ids []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.ids {
		if (id%97 == 0) == bad {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestContract(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Feed {
		f := &feed{broken: map[sourcetest.Fault]bool{}, done: make(chan struct{})}
		srv := httptest.NewServer(f)
		t.Cleanup(srv.Close)
		t.Cleanup(func() { close(f.done) })
		return sourcetest.Feed{
			Open: func(t *testing.T) connector.Source {
				c := idConfig(srv.URL)
				first := 1
				c.URL, c.Page = c.URL+"&page={{.Page}}", Paging{Number: &first, Size: 200}
				c.Auth.Login = &Login{URL: srv.URL + "/login", Body: `{"u":"p"}`}
				return open(t, c)
			},
			Publish: func(n int) {
				f.mu.Lock()
				defer f.mu.Unlock()
				for range n {
					f.ids = append(f.ids, uint64(len(f.ids)+1)*3)
				}
			},
			Keys: func() []uint64 { return f.some(false) },
			Bad:  func() []uint64 { return f.some(true) },
			Break: func(x sourcetest.Fault) bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.broken[x] = true
				return true
			},
			Mend: func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				clear(f.broken)
			},
			Logins: func() int {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.session
			},
		}
	})
}

// A slow server is not a silent one, and one that drips for ever ends.
func TestDripEnds(t *testing.T) {
	done := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				close(done)
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	c := idConfig(url)
	c.PageTimeout = 200 * time.Millisecond
	fails(t, open(t, c), nil, fault.Transient, "not finished within 200ms")
	<-done
}
