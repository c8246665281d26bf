package warc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"holdfast/base/fault"
)

func TestSplitHTTP(t *testing.T) {
	for _, c := range []struct {
		name, in      string
		head          int64
		status        int
		media, body   string // the body is the payload
		chunked       bool
		fields, start string
	}{
		{name: "a page", in: page, head: 79, status: 200, media: "text/html", body: "<p>hello</p>", start: "HTTP/1.1 200 OK"},
		{name: "chunks", in: chunked, head: 72, status: 200, media: "text/html", body: "<p>hello</p>", chunked: true},
		{name: "a request", in: asked, head: int64(len(asked)), start: "GET / HTTP/1.1"},
		{name: "bare line ends", in: "HTTP/1.0 404\nA: 1\n\nx\n", head: 19, status: 404, body: "x\n"},
		{name: "no phrase", in: "HTTP/1.1 204\r\n\r\n", head: 16, status: 204},
		{name: "no status", in: "HTTP/1.1 ok fine\r\n\r\n", head: 20},
		{name: "a long status", in: "HTTP/1.1 2000 x\r\n\r\n", head: 19},
		{name: "cut in the head", in: "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2", head: 27, status: 200, fields: "1"},
		{name: "cut in the first line", in: "HTTP/1.1 200 O", head: 14, status: 200},
		{name: "folded", in: "HTTP/1.1 200 OK\r\nA: 1\r\n\t2\r\nno colon\r\n\r\n", head: 39, status: 200, fields: "1 2"},
		{name: "HTTP/2 written as text", in: "HTTP/2 200\r\n\r\nx", head: 14, status: 200, body: "x"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
			m, err := SplitHTTP(r)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			body, err := io.ReadAll(m.Payload())
			if err != nil || string(body) != c.body || m.Head != c.head || m.Status() != c.status || m.MediaType() != c.media ||
				m.Chunked() != c.chunked || c.fields != "" && m.Fields.Get("a") != c.fields || c.start != "" && m.Start != c.start {
				t.Errorf("%s: got %+v, status %d, type %q, body %q, %v", c.name, m, m.Status(), m.MediaType(), body, err)
			}
		}
	}
	for _, in := range []string{"", "<html>", "\x00\x01", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", MaxHeader)} {
		if _, err := SplitHTTP(strings.NewReader(in)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: got %v, want a refusal", in, err)
		}
	}
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nA"), iotest.ErrReader(broken))
	if _, err := SplitHTTP(in); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestChunks(t *testing.T) {
	for in, want := range map[string]string{
		"3\r\nabc\r\n0\r\n\r\n":                 "abc",
		"3\nabc\n0\n\n":                         "abc",
		"003 ; x=\"1\"\r\nabc\r\n0\r\nT: 1\r\n": "abc",
		"A\r\n0123456789\r\n2\r\nab\r\n0\r\n":   "0123456789ab",
		"0\r\n\r\nrest":                         "",
		"":                                      "",
		// What is cut off ends where it is cut.
		"3\r\nab":             "ab",
		"3\r\nabc":            "abc",
		"3\r\nabc\r\n":        "abc",
		"3\r\nabc\r\n5":       "abc",
		"3\r\nabc\r\n5\r\nde": "abcde",
		// What breaks the form ends where it breaks.
		"3\r\nabcd\r\n0\r\n":                    "abc",
		"3\r\nabcX2\r\nde\r\n0\r\n":             "abc",
		"3\r\nabc\r\nzz\r\nmore":                "abc",
		"3\r\nabc\r\nffffffffffffffff1\r\nmore": "abc",
		// What has no chunks is all there is.
		"<html>":                  "<html>",
		"\r\n":                    "\r\n",
		"ffffffffffffffff1\r\nab": "ffffffffffffffff1\r\nab",
		"3" + strings.Repeat(" ", messageBuffer) + "\r\nabc": "3" + strings.Repeat(" ", messageBuffer) + "\r\nabc",
	} {
		const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: foo, Chunked \r\n\r\n"
		for _, r := range []io.Reader{strings.NewReader(head + in), iotest.OneByteReader(strings.NewReader(head + in))} {
			m, err := SplitHTTP(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(m.Payload()); err != nil || string(got) != want {
				t.Errorf("%.40q: got %.40q and %v, want %.40q", in, got, err, want)
			}
		}
	}
	broken := errors.New("broken")
	const begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"
	m, err := SplitHTTP(io.MultiReader(strings.NewReader(begun), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(m.Payload()); string(got) != "ab" || !errors.Is(err, broken) {
		t.Errorf("got %q and %v, want the reader's error", got, err)
	}
}

// Whatever Go's server side writes in chunks, the payload is what Go's client side reads.
func TestChunksOfGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire, want bytes.Buffer
		wire.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		w := httputil.NewChunkedWriter(&wire)
		for _, part := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20000), 0, 5).Draw(t, "parts") {
			w.Write(part)
			want.Write(part)
		}
		w.Close()
		wire.WriteString("\r\n")
		m, err := SplitHTTP(bytes.NewReader(wire.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(m.Payload())
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got %d bytes and %v, want %d", len(got), err, want.Len())
		}
	})
}

// A response that Go's own client would take is split at the same place.
func TestSplitAsGo(t *testing.T) {
	for _, in := range []string{page, chunked} {
		m, err := SplitHTTP(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(m.Payload())
		peer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(in)), nil)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := io.ReadAll(peer.Body)
		peer.Body.Close()
		if !bytes.Equal(got, want) || m.Status() != peer.StatusCode {
			t.Errorf("got %q and %d, want %q and %d", got, m.Status(), want, peer.StatusCode)
		}
	}
}
