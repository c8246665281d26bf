package web

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/connector"
)

// ends are what a server does behind its answer.
type end int

const (
	stays  end = iota // it waits for the next request
	closes            // it closes the connection
	resets            // it breaks it
	hangs             // it says nothing more, and takes no request
)

// How many answers begin.
const (
	fine     = "HTTP/1.1 200 OK\r\n"
	old      = "HTTP/1.0 200 OK\r\n"
	inChunks = fine + "Transfer-Encoding: chunked\r\n\r\n"
)

// nasty are answers, and what is to come of them. What is kept is the whole answer where kept is "".
var nasty = []struct {
	name      string
	answer    string
	end       end
	kept      string // of the answer
	interim   string
	truncated string
	status    int // 200 where it is 0; below 0 that of the error
	reused    bool
}{
	{name: "length", answer: okAnswer, reused: true},
	{name: "no body", answer: fine + "Content-Length: 0\r\n\r\n", reused: true},
	{name: "close said", answer: fine + "Content-Length: 2\r\nConnection: Close\r\n\r\nok"},
	{name: "until close", answer: fine + "\r\nall of it", end: closes},
	{name: "until close, nothing", answer: fine + "\r\n", end: closes},
	{name: "until close, hanging", answer: fine + "\r\nall of it", end: hangs, truncated: "time"},
	{name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reused: true},
	{name: "304 with a length", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", status: 304, reused: true},
	{name: "304 with a body", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody", status: 304,
		kept: "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n"},
	{name: "404", answer: "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", status: 404, reused: true},
	{name: "a status of three digits", answer: "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", status: 999, reused: true},
	{name: "no reason", answer: "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", reused: true},
	{name: "no reason but a space", answer: "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", reused: true},

	{name: "longer than said", answer: fine + "Content-Length: 2\r\n\r\nok, and more", kept: okAnswer},
	{name: "shorter than said", answer: fine + "Content-Length: 9\r\n\r\nok", end: closes, truncated: "disconnect"},
	{name: "shorter, hanging", answer: fine + "Content-Length: 9\r\n\r\nok", end: hangs, truncated: "time"},
	{name: "a length that is none", answer: fine + "Content-Length: -2\r\n\r\nok", end: closes},
	{name: "a length in words", answer: fine + "Content-Length: two\r\n\r\nok", end: closes},
	{name: "a length with a sign", answer: fine + "Content-Length: +2\r\n\r\nokay", end: closes},
	{name: "a length beyond all", answer: fine + "Content-Length: 99999999999999999999\r\n\r\nok", end: closes},
	{name: "two lengths", answer: fine + "Content-Length: 2\r\nContent-Length: 4\r\n\r\nokay", end: closes},
	{name: "twice the same", answer: fine + "Content-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok", reused: true},

	{name: "chunks", answer: inChunks + "2\r\nok\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", reused: true},
	{name: "chunks with zeros", answer: fine + "Transfer-Encoding: CHUNKED\r\n\r\n0002 \r\nok\r\n000\r\n\r\n", reused: true},
	{name: "chunks by LF", answer: "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n", reused: true},
	{name: "a trailer", answer: fine + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\nY: 2\r\n\r\n",
		reused: true},
	{name: "no end of the trailer", answer: inChunks + "2\r\nok\r\n0\r\n", end: closes},
	{name: "an endless trailer", answer: inChunks + "0\r\n" + strings.Repeat("X: y\r\n", 12000), end: closes,
		truncated: "unspecified"},
	{name: "chunks cut in data", answer: inChunks + "5\r\nok", end: closes, truncated: "disconnect"},
	{name: "chunks cut between", answer: inChunks + "2\r\nok\r\n", end: closes, truncated: "disconnect"},
	{name: "chunks cut in a size", answer: inChunks + "2\r\nok\r\n2", end: closes, truncated: "disconnect"},
	{name: "no chunk at all", answer: inChunks, end: closes, truncated: "disconnect"},
	{name: "broken chunks", answer: inChunks + "2\r\nok\r\nzz\r\nmore\r\n", end: closes, truncated: "unspecified"},
	{name: "broken chunks, hanging", answer: inChunks + "2\r\nokay\r\nmore\r\n", end: hangs,
		truncated: "unspecified"},
	{name: "a chunk beyond all", answer: inChunks + "2\r\nok\r\nfffffffffffffffff\r\nx", end: closes,
		truncated: "unspecified"},
	{name: "an endless size", answer: inChunks + "2\r\nok\r\n2;" + strings.Repeat("x", 9000), end: closes,
		truncated: "unspecified"},
	{name: "said to be chunked", answer: inChunks + "<html>\nno chunk</html>", end: closes},
	{name: "said to be chunked, one line", answer: inChunks + "<html>no chunk</html>", end: closes},
	{name: "chunks and a length", answer: fine + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{name: "a coding that is none", answer: fine + "Transfer-Encoding: chunked, rot13\r\n\r\nbx", end: closes},
	{name: "gzip in chunks", answer: fine + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n\x1f\x8b\r\n0\r\n\r\n", reused: true},
	{name: "gzip that lies", answer: fine + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno", reused: true},

	{name: "1.0", answer: old + "\r\nall", end: closes},
	{name: "1.0 with a length", answer: old + "Content-Length: 3\r\n\r\nall"},
	{name: "1.0 that stays", answer: old + "Connection: keep-alive\r\nContent-Length: 3\r\n\r\nall", reused: true},
	{name: "1.0 and chunks", answer: old + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
		end: closes},
	{name: "0.9", answer: "<html>from long ago</html>", end: closes, status: -3},
	{name: "another protocol", answer: "SSH-2.0-OpenSSH_9.2\r\n", end: hangs, status: -3},
	{name: "no status", answer: "HTTP/1.1 OK\r\n\r\n", status: -3},
	{name: "a short status", answer: "HTTP/1.1 20 OK\r\n\r\n", status: -3},
	{name: "nothing", end: closes, status: -3},
	{name: "nothing, hanging", end: hangs, status: -4},
	{name: "half a head", answer: fine + "Content-Le", end: closes, status: -3},
	{name: "half a head, hanging", answer: fine + "Content-Le", end: hangs, status: -4},
	{name: "a reset", end: resets, status: -3},

	{name: "LF alone", answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", reused: true},
	{name: "mixed line ends", answer: fine + "Content-Length: 2\n\r\nok", reused: true},
	{name: "strange lines", answer: fine + "no colon\r\n: no name\r\nContent-Length : 2\r\nX: \xff\x00\r\n\r\nok", reused: true},
	{name: "folded", answer: fine + "X: a\r\n  b\r\n\tc\r\nContent-Length:\r\n 2\r\n\r\nok", reused: true},
	{name: "line ends before", answer: "\r\n" + okAnswer, kept: okAnswer, interim: "\r\n", reused: true},
	{name: "100", answer: "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer, kept: okAnswer, interim: "HTTP/1.1 100 Continue\r\n\r\n",
		reused: true},
	{name: "103 twice", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 2) + okAnswer, kept: okAnswer,
		interim: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 2), reused: true},
	{name: "103 alone", answer: "HTTP/1.1 103 Early Hints\r\n\r\n", end: closes, status: -3},
	{name: "103 for ever", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxHead/28+1), status: -3},
	{name: "101", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", status: 101},
	{name: "a long head", answer: fine + "X: " + strings.Repeat("y", 200_000) + "\r\nContent-Length: 2\r\n\r\nok", reused: true},
	{name: "a head too long", answer: fine + "X: " + strings.Repeat("y", 300_000) + "\r\nContent-Length: 2\r\n\r\nok", status: -3},
	{name: "many fields", answer: fine + strings.Repeat("a:\r\n", 60_000) + "Content-Length: 2\r\n\r\nok", reused: true},
	{name: "many folds", answer: fine + "X: y\r\n" + strings.Repeat(" z\r\n", 60_000) + "Content-Length: 2\r\n\r\nok", reused: true},
}

// patience is short where a server is waited for in vain, and long where a busy machine is.
func patience(status int, truncated string) Config {
	cfg := Config{HTTP2: true}
	if status == connector.FetchTimeout {
		cfg.HeaderTimeout = 100 * time.Millisecond
	}
	if truncated != "" {
		cfg.Silence = 300 * time.Millisecond
	}
	return cfg
}

// TestNasty has each answer said at once and byte by byte, on a connection that is then asked once more.
func TestNasty(t *testing.T) {
	for _, n := range nasty {
		for _, slowly := range []bool{false, true} {
			if slowly && len(n.answer) > 10_000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/slowly=%t", n.name, slowly), func(t *testing.T) {
				t.Parallel()
				s := serve(t, func(p *peer) {
					first := p.request()
					if strings.HasPrefix(first, "GET /second ") {
						p.say(okAnswer)
						return
					}
					if slowly {
						p.dribble(n.answer)
					} else {
						p.say(n.answer)
					}
					switch n.end {
					case closes:
						return
					case resets:
						p.reset()
						return
					case hangs:
						p.hang()
						return
					}
					if p.request() != "" {
						p.say(okAnswer)
					}
				})
				f := fetcher(t, patience(n.status, n.truncated))
				if n.status < 0 {
					failing(t, f, page(s.url+"/first"), n.status)
					return
				}
				x := get(t, f, s.url+"/first")
				want := n.answer
				if n.kept != "" {
					want = n.kept
				}
				equal(t, "received", received(t, x), want)
				equal(t, "interim", string(x.Interim), n.interim)
				equal(t, "truncated", x.Truncated, n.truncated)
				status := n.status
				if status == 0 {
					status = 200
				}
				if x.Status != status {
					t.Errorf("status: got %d, want %d", x.Status, status)
				}
				equal(t, "the second", received(t, get(t, f, s.url+"/second")), okAnswer)
				if reused := s.conns.Load() == 1; reused != n.reused {
					t.Errorf("the connection was used again: got %t, want %t", reused, n.reused)
				}
			})
		}
	}
}

// TestBroken breaks connections, which tells what came before only sometimes when it is a real one.
func TestBroken(t *testing.T) {
	for _, text := range []string{fine + "\r\nsome of it", fine + "Content-Length: 9\r\n\r\nok", inChunks + "2\r\nok\r\n0\r\n"} {
		x, kept, left, err := readAll(&script{rest: []byte(text), piece: 7, end: syscall.ECONNRESET})
		if err != nil || left > 0 {
			t.Errorf("%d bytes are left, %v", left, err)
		}
		equal(t, "kept", string(kept), text)
		equal(t, "truncated", x.Truncated, "disconnect")
	}
}

func TestFields(t *testing.T) {
	h, err := parseHead(fine + "set-cookie: a\r\nSet-Cookie:b \r\n\tc\r\nX-Y:  z\r\nbroken\r\n folded into nothing\r\n" +
		"ETag: \"1\"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Set-Cookie": {"a", "b c"}, "X-Y": {"z"}, "Etag": {"\"1\""}}
	if fmt.Sprint(h.fields) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", h.fields, want)
	}
}

// TestWhatIsSent looks at the request that the server reads: it is the one that is told.
func TestWhatIsSent(t *testing.T) {
	got := make(chan string, 1)
	s := serve(t, func(p *peer) {
		got <- p.request()
		p.say(okAnswer)
	})
	f := fetcher(t, Config{Header: http.Header{"Accept-Language": {"en"}}})
	x, err := f.Fetch(t.Context(), connector.FetchRequest{URL: "http://user:secret@" + s.Addr().String() + "?q=%zz#part",
		Header: http.Header{"Referer": {"http://example.org/"}, "accept": {"text/plain"}, "Cookie": {"a=b"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	want := "GET /?q=%zz HTTP/1.1\r\nHost: " + s.Addr().String() + "\r\nUser-Agent: holdfast-test/1\r\n" +
		"From: archivist@example.org\r\nAccept-Encoding: gzip, br\r\nAccept-Language: en\r\n" +
		"Cookie: a=b\r\nReferer: http://example.org/\r\naccept: text/plain\r\n\r\n"
	equal(t, "the server got", <-got, want)
	equal(t, "sent", string(x.Sent), want)
	equal(t, "protocol", x.Protocol, "HTTP/1.1")
	equal(t, "remote", x.Remote.String(), s.Addr().String())
	if x.Looked != nil || x.Begun.IsZero() || x.Took <= 0 {
		t.Errorf("looked %v, begun %s, took %s", x.Looked, x.Begun, x.Took)
	}
}

func TestIllegal(t *testing.T) {
	f := fetcher(t, Config{})
	for _, url := range []string{"", "ftp://h/", "http:/h", "http://", "http:///x", "http://h h/", "http://h/ x",
		"http://h/\r\nX: y", "http://h/ü", "http://h:0/", "http://h:70000/", "http://h:x/", "http://1.2.3/", "http://0x7f.1/",
		"http://256.1.1.1/", "http://[::1/", "http://[fe80::1%25lo]/", "http://[1.2.3.4]/", "http://a..b/", "http://a_b$/",
		"http://" + strings.Repeat("a", 64) + ".org/", "http://" + strings.Repeat("a.", 130) + "org/"} {
		failing(t, f, page(url), connector.FetchIllegal)
	}
	for name, value := range map[string]string{"X": "a\r\nb", "X y": "z", "Content-Length": "5", "host": "x", "Connection": "close",
		"TE": "x"} {
		failing(t, f, connector.FetchRequest{URL: "http://127.0.0.1:1/", Header: http.Header{name: {value}}}, connector.FetchIllegal)
	}
}

// TestLong cuts an answer that has no end, which is in a file without a name by then.
func TestLong(t *testing.T) {
	block := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for _, head := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"} {
		s := serve(t, func(p *peer) {
			p.request()
			p.say(head)
			for {
				if _, err := p.Conn.Write(block); err != nil {
					return
				}
			}
		})
		f := fetcher(t, Config{MaxBytes: 3 << 20})
		x := get(t, f, s.url)
		equal(t, "truncated", x.Truncated, "length")
		want := (head + strings.Repeat(string(block), 48))[:3<<20]
		if got := received(t, x); got != want {
			t.Errorf("got %d bytes that are not the first %d", len(got), len(want))
		}
		noNames(t, f)
		x, err := f.Fetch(t.Context(), connector.FetchRequest{URL: s.url, MaxBytes: 10})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "ten bytes", received(t, x), head[:10])
		equal(t, "truncated", x.Truncated, "length")
		_ = x.Close()
	}
	const begun = fine + "Content-Length: 99\r\n\r\nok"
	hanging := serve(t, func(p *peer) {
		p.request()
		p.say(begun)
		p.hang()
	})
	x := get(t, fetcher(t, Config{MaxBytes: int64(len(begun)), Silence: time.Minute}), hanging.url)
	equal(t, "more to come than is taken", x.Truncated, "length")
	if x.Took > 30*time.Second {
		t.Errorf("waited %s for what is not taken", x.Took)
	}
	exact := fetcher(t, Config{MaxBytes: int64(len(okAnswer))})
	x = get(t, exact, answering(t, okAnswer).url)
	equal(t, "exactly as long as is taken", x.Truncated, "")
}
