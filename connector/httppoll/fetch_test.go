package httppoll

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/base/download"
	"holdfast/base/fault"
	"holdfast/connector"
	"holdfast/connector/columns"
)

func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		code  int
		after string
		kind  fault.Kind
		wait  time.Duration
	}{
		{400, "", fault.Permanent, 0}, {404, "", fault.Permanent, 0}, {401, "", fault.Credentials, 0},
		{403, "", fault.Credentials, 0}, {408, "", fault.Transient, 0}, {500, "", fault.Transient, 0},
		{503, "", fault.Transient, 0}, {503, "9", fault.Throttled, 9 * time.Second},
		{429, "", fault.Throttled, restWait}, {429, "999999", fault.Throttled, download.LongestWait},
	} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.WriteHeader(c.code)
			_, _ = w.Write([]byte(" the reason "))
		})
		err := fails(t, open(t, idConfig(url)), nil, c.kind, `"the reason"`)
		if fault.WaitOf(err) != c.wait || fault.HintOf(err) == "" {
			t.Errorf("%d: got wait %v, hint %q; want %v", c.code, fault.WaitOf(err), fault.HintOf(err), c.wait)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for body, words := range map[string]string{
		``:                         "cut short",
		`[{"id":1},{"id":`:         "cut short",
		`[{"id":1}`:                "cut short",
		`{"data":[{"id":1}]`:       "cut short",
		`<html>`:                   "invalid character",
		`[{"id":1}] more`:          "invalid character",
		`[] []`:                    "something stands behind",
		`"x"`:                      "is text, want an array",
		`{"error":"x"}`:            "no array of rows",
		`{"a":[],"b":[]}`:          "several arrays",
		`{"a":{"b":[{"id":1}]}}`:   "no array of rows",
		`[{"id":1},{"id":01}]`:     "invalid character",
		`[{"id":1},nonsense,true]`: "invalid character",
	} {
		s := open(t, idConfig(serve(t, text(body))))
		fails(t, s, nil, fault.Transient, words)
	}
	c := idConfig(serve(t, text(`{"error":"later"}`)))
	for rows, words := range map[string]string{
		".data[]": "no array of rows", ".error[]": "does not lead to an array",
		".data | .[1:] | .[]": "take the rows out", `error("x")`: "take the rows out",
	} {
		c.Rows = rows
		fails(t, open(t, c), nil, fault.Transient, words)
	}
	c.MaxBytes = 5
	fails(t, open(t, c), nil, fault.Permanent, "max_bytes")
}

func TestWhereTheRowsAre(t *testing.T) {
	for _, c := range []struct{ rows, body string }{
		{"", `[{"id":7}]`}, {"", `{"n":1,"o":{"x":[1]},"list":[{"id":7}],"z":null}`},
		{".[]", `[{"id":7}]`}, {".a.b[]", `{"x":[1],"a":{"c":[],"b":[{"id":7}]}}`},
		{".a", `{"a":{"id":7}}`}, {".a | to_entries[] | {id: .value}", `{"a":{"x":7}}`},
	} {
		k := idConfig(serve(t, text(c.body)))
		k.Rows = c.rows
		same(t, c.rows, rows(t, fetch(t, open(t, k), nil)), `[{"id":7,"v":null}]`)
	}
	k := idConfig(serve(t, text(`{"a":{"b":null}}`)))
	k.Rows = ".a.b[]"
	same(t, "null is no rows", rows(t, fetch(t, open(t, k), nil)), "[]")
}

// A large whole number must not go through float64.
func TestLargeNumbersStayExact(t *testing.T) {
	url := serve(t, text(`[{"id":9007199254740993},{"id":9223372036854775807},{"id":3.0},{"id":1e3}]`))
	for _, from := range []string{"", ".id", ".id?", "[.id][0]"} {
		c := idConfig(url)
		c.Columns = []Column{{Name: "id", Type: columns.Int64, From: from}}
		p := fetch(t, open(t, c), nil)
		same(t, from, rows(t, p), `[{"id":9007199254740993} {"id":9223372036854775807} {"id":3} {"id":1000}]`)
		if pos, _ := readPosition(p.Cursor); pos.Cursor != "9223372036854775807" {
			t.Errorf("got the cursor %s", p.Cursor)
		}
	}
}

func TestCursorNeverGoesBack(t *testing.T) {
	var asked []string
	answers := []string{`[{"id":5},{"id":3}]`, `[]`, `[{"id":2}]`, `[{"id":10},{"id":9}]`}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.FormValue("after"))
		_, _ = w.Write([]byte(answers[len(asked)-1]))
	})
	s := open(t, idConfig(url))
	var cursor []byte
	for range answers {
		cursor = fetch(t, s, cursor).Cursor
	}
	same(t, "asked", asked, []string{"", "5", "5", "5"})
	same(t, "cursor", string(cursor), `{"v":1,"cursor":"10"}`)
}

func TestFullPageOutOfOrder(t *testing.T) {
	c := idConfig(serve(t, text(`[{"id":5},{"id":3}]`)))
	c.Page.Size = 2
	fails(t, open(t, c), nil, fault.Permanent, "not in ascending order")
	c.URL = serve(t, text(`[{"id":3},{"id":5}]`)) + "/?{{.Cursor}}"
	if p := fetch(t, open(t, c), nil); !p.More {
		t.Error("a full page is not followed at once")
	}
}

// Only the same question is asked with the answer's validators.
func TestUnchanged(t *testing.T) {
	var got []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("If-None-Match")+r.Header.Get("If-Modified-Since"))
		w.Header().Set("ETag", `"a"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(`[{"id":1}]`))
	})
	s := open(t, idConfig(url))
	cursor := fetch(t, s, nil).Cursor   // after="" -> 1
	cursor = fetch(t, s, cursor).Cursor // after=1: another question
	p := fetch(t, s, cursor)            // after=1 again
	same(t, "validators", got, []string{"", "", `"a"`})
	same(t, "cursor", string(p.Cursor), string(cursor))
}

func TestPagesByLink(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := r.FormValue("p")
		if n != "2" {
			w.Header().Set("Link", `</x?p=0>; rel="prev", </x?p=2>; foo="b"; rel="next last"`)
		}
		_, _ = fmt.Fprintf(w, `[{"id":1%s}]`, n)
	})
	c := idConfig(url)
	c.Page.Next = "link"
	got, end := drain(t, open(t, c), nil)
	same(t, "rows", got, `[{"id":1,"v":null} {"id":12,"v":null}]`)
	same(t, "cursor", string(end), `{"v":1,"cursor":"12"}`)
}

func TestNextLinkStaysAtHome(t *testing.T) {
	var header http.Header
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		_, _ = w.Write([]byte(`{"rows":[{"id":2}]}`))
	})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("redirect") != "" {
			http.Redirect(w, r, other, http.StatusFound)
			return
		}
		_, _ = fmt.Fprintf(w, `{"rows":[{"id":1}],"next":"%s/x"}`, other)
	})
	c := idConfig(url)
	c.Page.JQ = ".next"
	c.Auth.Bearer = "geheim"
	c.Headers = headers("X-Api-Key", "geheim")
	fails(t, open(t, c), nil, fault.Permanent, "another place")
	r := c
	r.URL += "&redirect=1"
	fails(t, open(t, r), nil, fault.Permanent, "another host")
	for _, k := range []Config{c, r} {
		k.AllowHosts = []string{strings.TrimPrefix(other, "http://")}
		k.Page = map[bool]Paging{true: {}, false: c.Page}[k.URL == r.URL]
		if _, _ = drain(t, open(t, k), nil); strings.Contains(fmt.Sprint(header), "geheim") {
			t.Errorf("another host is told our secrets: %v", header)
		}
	}
}

// A link of a former life that has run out leads back to the first page, not to a standstill.
func TestExpiredLink(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("old") != "" {
			w.WriteHeader(http.StatusGone)
			return
		}
		_, _ = w.Write([]byte(`[{"id":4}]`))
	})
	c := idConfig(url)
	c.Page.Next = "link"
	at := position{Version: 1, Cursor: "3", High: "9", Next: url + "/?old=1", Pages: 1}
	got, end := drain(t, open(t, c), at.bytes())
	same(t, "rows", got, `[{"id":4,"v":null}]`)
	same(t, "cursor", string(end), `{"v":1,"cursor":"4"}`)
}

func TestCursorOfTheAnswer(t *testing.T) {
	answers := map[string]string{"": `{"next":"a b&c","rows":[{"id":1}]}`,
		"a b&c": `{"rows":[{"id":2}],"next":17}`, "17": `{"rows":[],"next":null}`}
	var bodies []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(b))
		_, _ = w.Write([]byte(answers[r.FormValue("after")]))
	})
	c := idConfig(url)
	c.Cursor = Cursor{JQ: ".next"}
	c.Method, c.Body = "POST", `{"c":"{{.Cursor}}"}`
	got, end := drain(t, open(t, c), nil)
	same(t, "rows", got, `[{"id":1,"v":null} {"id":2,"v":null}]`)
	same(t, "cursor", string(end), `{"v":1,"cursor":"17"}`)
	same(t, "bodies", bodies, []string{`{"c":""}`, `{"c":"a b\u0026c"}`, `{"c":"17"}`})
}

func TestAuthAndHeaders(t *testing.T) {
	var got http.Header
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = w.Write([]byte("[]"))
	})
	c := idConfig(url)
	c.Headers = headers("X-Since", "{{.Since.Unix}}")
	c.Auth.Basic = &Basic{User: "u", Password: "p"}
	at := position{Version: 1, Since: 5e6}
	fetch(t, open(t, c), at.bytes())
	same(t, "headers", got.Get("Authorization")+got.Get("X-Since"), "Basic dTpw5")
}

func TestGzip(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write([]byte(`[` + strings.Repeat(" ", 100_000) + `]`))
		_ = z.Close()
	})
	c := idConfig(url)
	fetch(t, open(t, c), nil)
	c.MaxBytes = 50_000 // it is the unpacked bytes that need memory
	fails(t, open(t, c), nil, fault.Permanent, "max_bytes")
}

func TestSpeedLimit(t *testing.T) {
	c := idConfig(serve(t, text(`[`+strings.Repeat(" ", 3000)+`]`)))
	c.MaxBytesPerSecond = 10_000
	s := open(t, c)
	began := time.Now()
	for range 5 {
		fetch(t, s, nil)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("15 kB at 10 kB/s, 10 kB of them at once, took %v", took)
	}
}

func TestCursorsOfOthers(t *testing.T) {
	s := open(t, idConfig("http://127.0.0.1:1"))
	for _, cursor := range []string{"17", `{"v":2}`, "{"} {
		fails(t, s, []byte(cursor), fault.Corrupt, "read cursor")
	}
	_, err := s.Fetch(t.Context(), connector.Request{Fill: &connector.KeyRange{From: 1, To: 2}})
	if !fault.Is(err, fault.Permanent) {
		t.Errorf("fill: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.Fetch(ctx, connector.Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}
