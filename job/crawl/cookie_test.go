package crawl

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/publicsuffix"

	"holdfast/base/weburl"
	"holdfast/job/crawl/scope"
	"holdfast/kernel/store"
	"holdfast/tests/testenv"
)

// TestCookiesAsOthers: what is sent is what the jar of net/http sends, whatever hosts of a site set.
func TestCookiesAsOthers(t *testing.T) {
	seed := testenv.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	for range 80 {
		st := openStore(t)
		ours := newJar(st)
		theirs, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
		if err != nil {
			t.Fatal(err)
		}
		site := pick("example.com", "example.co.uk", "192.0.2.1", "co.uk", "intranet", "user.github.io")
		address := func() string {
			host := pick("", "", "www.", "a.www.") + site
			if site == "192.0.2.1" {
				host = site
			}
			return pick("http", "https") + "://" + host + pick("/", "/a", "/a/", "/a/b", "/ab", "/a/b/c?q=1")
		}
		var done []string
		for range 20 {
			at := address()
			line := pick("n", "m", "o") + "=" + pick("1", "2", `"q u"`, "") + pick("", "", "; Path=/a", "; Path=/a/", "; path=b", "; Path=/") +
				pick("", "", "; Domain="+site, "; Domain=."+strings.ToUpper(site), "; Domain=www."+site, "; Domain=com", "; Domain=other.org") +
				pick("", "", "", "; Secure") + pick("", "", "", "; Max-Age=3600", "; Max-Age=0", "; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
				"; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "; Max-Age=x")
			done = append(done, at+": "+line)
			u, _ := url.Parse(at)
			h := http.Header{"Set-Cookie": {line}}
			theirs.SetCookies(u, (&http.Response{Header: h}).Cookies())
			ou, err := weburl.Parse(at)
			if err != nil {
				t.Fatal(err)
			}
			changed, err := ours.take(ou, h)
			if err != nil {
				t.Fatal(err)
			}
			if changed != "" && rng.IntN(2) == 0 {
				err := st.Update(func(tx *store.Tx) error { return ours.write(tx, changed) })
				if err != nil {
					t.Fatal(err)
				}
				ours.written(changed)
				if rng.IntN(2) == 0 && !unwritten(ours) {
					ours = newJar(st) // it ends, and begins again
				}
			}
		}
		for range 20 {
			at := address()
			u, _ := url.Parse(at)
			r := &http.Request{Header: http.Header{}}
			for _, c := range theirs.Cookies(u) {
				r.AddCookie(c)
			}
			ou, _ := weburl.Parse(at)
			got, err := ours.field(ou)
			if want := r.Header.Get("Cookie"); err != nil || got != want {
				t.Fatalf("to %s %q is sent, want %q: %v\n%s", at, got, want, err, strings.Join(done, "\n"))
			}
		}
	}
}

func unwritten(j *jar) bool {
	for _, k := range j.recent {
		if k.unwritten > 0 {
			return true
		}
	}
	return false
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// TestCookiesBounded: however many a site sets, and however many sites there are, there is an end to what is kept, sent
// and held.
func TestCookiesBounded(t *testing.T) {
	j := newJar(openStore(t))
	u, _ := weburl.Parse("http://example.com/")
	set := func(u weburl.URL, line string) {
		site, err := j.take(u, http.Header{"Set-Cookie": {line}})
		if err != nil {
			t.Fatal(err)
		}
		if site == "" {
			return
		}
		if err := j.st.Update(func(tx *store.Tx) error { return j.write(tx, site) }); err != nil {
			t.Fatal(err)
		}
		j.written(site)
	}
	for i := range 200 {
		set(u, fmt.Sprintf("c%d=%s", i, strings.Repeat("x", 10)))
	}
	field, _ := j.field(u)
	if n := strings.Count(field, "="); n != mostCookies || !strings.Contains(field, "c199=") || strings.Contains(field, "c149=") {
		t.Errorf("%d are sent: %s", n, field)
	}
	for i := range 10 {
		set(u, fmt.Sprintf("big%d=%s", i, strings.Repeat("x", 4000)))
	}
	if field, _ = j.field(u); len(field) > mostSiteBytes || !strings.Contains(field, "big9=") {
		t.Errorf("%d bytes are sent", len(field))
	}
	before := field
	set(u, "huge="+strings.Repeat("x", 5000))
	if field, _ = j.field(u); field != before {
		t.Error("a cookie of 5000 bytes was taken")
	}
	fresh, _ := weburl.Parse("http://fresh.com/") // what it set is not written down yet
	if _, err := j.take(fresh, http.Header{"Set-Cookie": {"a=1"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 1200 {
		u, _ := weburl.Parse(fmt.Sprintf("http://s%d.com/", i))
		h := http.Header{}
		for n := range 4 {
			h.Add("Set-Cookie", fmt.Sprintf("c%d=%s", n, strings.Repeat("x", 4000)))
		}
		site, err := j.take(u, h)
		if err != nil {
			t.Fatal(err)
		}
		j.written(site)
	}
	if field, _ := j.field(fresh); field != "a=1" {
		t.Errorf("what was not written down is %q", field)
	}
	if j.bytes > mostJar+mostSiteBytes+1000 {
		t.Errorf("%d bytes are held", j.bytes)
	}
	if field, err := j.field(u); err != nil || field != before {
		t.Errorf("what was let go is %.100q %v", field, err)
	}
}

// TestCookiesExpire: a cookie is sent as long as it is good.
func TestCookiesExpire(t *testing.T) {
	u, _ := weburl.Parse("http://example.com/")
	now := time.Now()
	c, gone, ok := cookieFrom("a=1; Max-Age=60", u, now)
	all := cookies{}.set(c, gone, now)
	if !ok || all.of(u, now.Add(59*time.Second)) != "a=1" || all.of(u, now.Add(61*time.Second)) != "" {
		t.Errorf("%+v", all)
	}
	c, gone, _ = cookieFrom("b=1", u, now)
	if all = all.set(c, gone, now.Add(time.Hour)); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

// walled is a site that shows its pages to those that have what its front page gives.
func walled(t *testing.T) (s *httptest.Server, refused func() int) {
	var mu sync.Mutex
	n := 0
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch c, err := r.Cookie("pass"); {
		case r.URL.Path == "/robots.txt":
			http.NotFound(w, r)
			return
		case r.URL.Path == "/":
			http.SetCookie(w, &http.Cookie{Name: "pass", Value: "yes"})
		case err != nil || c.Value != "yes":
			mu.Lock()
			n++
			mu.Unlock()
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<a href="/in/1">1</a> <a href="/in/2">2</a> <a href="/in/3">3</a>`, r.URL.Path)
	}))
	t.Cleanup(s.Close)
	return s, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// TestCookies: a crawl keeps cookies if it is told to, a sheet may say otherwise, and a crawl that goes on has those that
// it had.
func TestCookies(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name    string
		change  func(c *Config, url string)
		refused int
	}{
		{"off", func(*Config, string) {}, 3},
		{"on", func(c *Config, _ string) { c.Settings.Cookies = &yes }, 0},
		{"off by a sheet", func(c *Config, url string) {
			c.Settings.Cookies = &yes
			c.Sheets = []scope.Sheet[Settings]{{For: []string{url + "/in/"}, Set: Settings{Cookies: &no}}}
		}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, refused := walled(t)
			r := newRig(t, nil)
			r.site.Server, r.cfg.Seeds, r.cfg.Workers = s, []string{s.URL + "/"}, 1
			c.change(&r.cfg, s.URL)
			r.cfg.Budget.Crawl.URLs = 2 // rules and front page
			if err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if refused() != 0 {
				t.Fatal("more was asked for than the budget")
			}
			r.cfg.Budget.Crawl.URLs = 0
			if err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if refused() != c.refused {
				t.Errorf("%d pages were refused, want %d", refused(), c.refused)
			}
			if n := len(slices.Collect(keysOf(r.archived()))); n != 5 {
				t.Errorf("%d are archived", n)
			}
		})
	}
}

func keysOf(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestCookieWall: a page that leads to itself until a cookie comes back is asked for once more, if cookies are kept; one
// that always does so, and one that is not modified, are not.
func TestCookieWall(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		var mu sync.Mutex
		asked := map[string]int{}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked[r.URL.Path]++
			mu.Unlock()
			switch _, err := r.Cookie("seen"); {
			case r.URL.Path == "/robots.txt":
				http.NotFound(w, r)
			case r.URL.Path == "/same":
				http.SetCookie(w, &http.Cookie{Name: "same", Value: "1"})
				w.WriteHeader(http.StatusNotModified)
			case r.URL.Path == "/never" || err != nil:
				http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Path: r.URL.Path})
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
			default:
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, `<a href="/in">in</a><a href="/never">n</a><a href="/same">s</a>`)
			}
		}))
		defer s.Close()
		r := newRig(t, nil)
		r.site.Server, r.cfg.Seeds, r.cfg.Settings.Cookies = s, []string{s.URL + "/"}, &keeps
		if err := r.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"/robots.txt": 1, "/": 1}
		if keeps {
			want = map[string]int{"/robots.txt": 1, "/": 2, "/in": 1, "/never": 2, "/same": 1}
		}
		if !maps.Equal(asked, want) {
			t.Errorf("cookies %v: asked %v, want %v", keeps, asked, want)
		}
		if lines := r.lines("/"); len(lines) != 1 || strings.Contains(lines[0], " 200 ") != keeps {
			t.Errorf("cookies %v: crawl.log has %q", keeps, lines)
		}
	}
}

func FuzzCookie(f *testing.F) {
	for _, line := range []string{"a=1", `a="q u"; Path=/x; Domain=.example.com; Max-Age=9`, "=;;", "a=\x01", "b=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"} {
		f.Add(line, "http://www.example.com/x/y")
	}
	f.Fuzz(func(t *testing.T, line, url string) {
		u, err := weburl.Parse(url)
		if err != nil {
			return
		}
		now := time.Now()
		c, gone, ok := cookieFrom(line, u, now)
		if !ok {
			return
		}
		all := cookies{}.set(c, gone, now)
		if field := all.of(u, now); len(field) > 2*mostCookieBytes || strings.ContainsAny(field, "\r\n\x00") {
			t.Errorf("%q is sent", field)
		}
	})
}

// TestCookieValues: a value goes back as it came (RFC 6265, 5.2 and 5.4), whatever it is but what a field can't have.
func TestCookieValues(t *testing.T) {
	u, _ := weburl.Parse("http://example.com/")
	now := time.Now()
	for line, want := range map[string]string{
		`a="q"`:                             `a="q"`,
		`a="q u"; Path=/`:                   `a="q u"`,
		`a={"k":"v","n":1}; Path=/`:         `a={"k":"v","n":1}`,
		`a="half`:                           `a="half`,
		`a=b=c`:                             `a=b=c`,
		`a= b\c, d 	;Path=/`:                `a=b\c, d`,
		"a=caf\u00e9":                       "a=caf\u00e9",
		"a=caf\xe9":                         "a=caf\xe9",
		`a=""`:                              `a=""`,
		`a=`:                                `a=`,
		`user[name]=x`:                      `user[name]=x`,
		"a=1; Path=/; Max-Age=60; Other=\"": "a=1",
		"a=x\x01y":                          "",
		"a=x\x7fy":                          "",
		"a=x\r\ny":                          "",
		"a=x\ty":                            "a=x\ty",
		"a\x01=y":                           "",
		"=y":                                "",
		"y":                                 "",
		"":                                  "",
		"; Path=/":                          "",
		"a=" + strings.Repeat("x", 5000):    "",
	} {
		c, gone, ok := cookieFrom(line, u, now)
		got := ""
		if ok {
			got = cookies{}.set(c, gone, now).of(u, now)
		}
		if got != want {
			t.Errorf("%q: %q is sent, want %q", line, got, want)
		}
	}
	j := newJar(openStore(t)) // what is in the store comes back as it was
	const line = "a=\"caf\xe9 \u2028<\""
	site, err := j.take(u, http.Header{"Set-Cookie": {line}})
	if err == nil {
		err = j.st.Update(func(tx *store.Tx) error { return j.write(tx, site) })
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := newJar(j.st).field(u); err != nil || got != line {
		t.Errorf("behind a restart %q is sent: %v", got, err)
	}
}

// TestCookiesReadBeforeTheyWereDropped: what was read of a site from the store is not taken for its cookies if newer ones
// were set, written down and dropped from memory since.
func TestCookiesReadBeforeTheyWereDropped(t *testing.T) {
	j := newJar(openStore(t))
	u, _ := weburl.Parse("http://example.com/")
	old, err := j.read(u.Domain())
	if err != nil {
		t.Fatal(err)
	}
	clears := j.clears
	site, err := j.take(u, http.Header{"Set-Cookie": {"a=1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.st.Update(func(tx *store.Tx) error { return j.write(tx, site) }); err != nil {
		t.Fatal(err)
	}
	j.written(site)
	j.clear()
	if k := j.keep(site, old, clears); k != nil {
		t.Errorf("kept %+v", k)
	}
	if field, err := j.field(u); field != "a=1" || err != nil {
		t.Errorf("%q is sent, %v", field, err)
	}
}
