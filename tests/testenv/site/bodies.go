package site

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"sync"
)

// most is where what has no end ends all the same, for a crawler that has no limit: in bytes.
const most = 64 << 20

const (
	okHead   = "HTTP/1.1 200 OK\r\n"
	textHead = okHead + "Content-Type: text/plain\r\n"
	htmlHead = okHead + "Content-Type: text/html\r\n"
)

// bodies are lengths that are wrong, or none.
func (n *Nasty) bodies() {
	h := n.main
	n.alone("/endless", "a body without an end: cut at the limit", func(x *exchange) bool {
		return x.endless(textHead+"\r\n", strings.Repeat("and on it goes ", 1000))
	}).cut("length", "time")
	n.alone("/endless-chunks", "chunks without an end: cut at the limit", func(x *exchange) bool {
		return x.endless(textHead+"Transfer-Encoding: chunked\r\n\r\n", "1000\r\n"+strings.Repeat("x", 4096)+"\r\n")
	}).cut("length", "time")
	n.on(h, "/length/huge", "a Content-Length of 9 EB, and ten bytes: cut by the end of the connection",
		closes(textHead+"Content-Length: 9223372036854775807\r\n\r\n0123456789", 200)).cut("disconnect").pays("0123456789")
	n.on(h, "/length/long", "a Content-Length that is more than comes: cut by the end of the connection",
		closes(textHead+"Content-Length: 100\r\n\r\nonly this", 200)).cut("disconnect").pays("only this")
	n.on(h, "/length/short", "more comes than Content-Length says: the rest is no part of the answer, and of no other",
		closes(textHead+"Content-Length: 4\r\n\r\nfourand what is behind it", 200)).pays("four")
	n.on(h, "/length/garbage", "what stands behind the body looks like an answer: it is not the next one's",
		says(textHead+"Content-Length: 4\r\n\r\nfour"+textHead+"Content-Length: 8\r\n\r\npoisoned", 200)).pays("four")
	n.on(h, "/length/negative", "a Content-Length of -1 says nothing: the end of the connection ends the body",
		closes(textHead+"Content-Length: -1\r\n\r\nuntil the end", 200)).cut("", "disconnect")
	n.on(h, "/length/words", "a Content-Length that is no number says nothing",
		closes(textHead+"Content-Length: plenty\r\n\r\nuntil the end", 200)).cut("", "disconnect")
	differ := n.on(h, "/length/two", "two Content-Lengths that differ: no answer is to be believed, or it ends with the connection",
		closes(textHead+"Content-Length: 3\r\nContent-Length: 5\r\n\r\nseven b", 200)).cut("", "disconnect").ends(200, -3)
	differ.Archived, differ.Most = May, 1+Retries
	n.on(h, "/length/twice", "the same Content-Length twice is as good as once",
		says(textHead+"Content-Length: 5\r\nContent-Length: 5\r\n\r\ntwice", 200)).pays("twice")
	n.on(h, "/length/none", "no length: the end of the connection is that of the body",
		closes(textHead+"\r\nuntil the connection ends", 200)).pays("until the connection ends")
	n.on(h, "/length/old", "HTTP/1.0 without a length",
		closes("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold and good", 200)).pays("old and good")
	n.on(h, "/length/old-chunks", "HTTP/1.0 knows no chunks: what looks like them is the body",
		closes("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", 200))
	n.on(h, "/length/empty", "an empty body", gives(200, "Content-Type: text/html\r\n", "")).pays("")
	n.on(h, "/length/nothing", "an empty body, by the end of the connection", closes(htmlHead+"\r\n", 200)).pays("")
	n.on(h, "/length/one", "a body of one byte", gives(200, "Content-Type: text/plain\r\n", "x")).pays("x")
	n.on(h, "/length/large", "a body as large as one may be, nearly", gives(200, "Content-Type: application/octet-stream\r\n",
		noise(n, MaxBytes-4096)))
	dup := "<!DOCTYPE html><title>The same</title>\n" + noiseText(n, 5000)
	for i := range 3 {
		n.on(h, fmt.Sprintf("/same/%d", i), "three pages with one payload: all but the first may be revisits",
			gives(200, "Content-Type: text/html\r\n", dup)).pays(dup)
	}
}

// endless sends a part again and again, until the client has had enough.
func (x *exchange) endless(head, part string) bool {
	if !x.raw(head, 0) {
		return false
	}
	for sent := 0; sent < most; sent += len(part) {
		if !x.raw(part, 0) {
			return false
		}
	}
	return false
}

// noise are bytes that nothing packs.
func noise(n *Nasty, size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(n.rand.Uint32())
	}
	return string(b)
}

// noiseText are letters.
func noiseText(n *Nasty, size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(n.rand.IntN(26))
	}
	return string(b)
}

// chunks are bodies in chunks, good and bad.
func (n *Nasty) chunks() {
	h := n.main
	const head = textHead + "Transfer-Encoding: chunked\r\n\r\n"
	n.on(h, "/chunks/good", "chunks with extensions, upper-case sizes, leading zeros and a trailer: all good",
		says(head+"5;name=\"value\"\r\nhello\r\n000A\r\n, crawlers\r\n0\r\nX-Trailer: 1\r\n\r\n", 200)).pays("hello, crawlers")
	n.on(h, "/chunks/broken", "chunks that break their form: where the answer ends is not known",
		closes(head+"5\r\nhello\r\nzz\r\nbroken", 200)).cut("unspecified", "disconnect").pays("hello")
	n.on(h, "/chunks/cut", "a chunk that is cut by the end of the connection",
		closes(head+"5\r\nhello\r\nff\r\nonly this", 200)).cut("disconnect").pays("helloonly this")
	n.on(h, "/chunks/no-end", "no last chunk: cut by the end of the connection",
		closes(head+"5\r\nhello\r\n", 200)).cut("disconnect").pays("hello")
	n.on(h, "/chunks/no-trailer", "no empty line behind the last chunk: so common that it is whole",
		closes(head+"5\r\nhello\r\n0\r\n", 200)).cut("", "disconnect").pays("hello")
	n.on(h, "/chunks/none", "said to be chunked, and is not: a proxy took the chunks and left the field",
		closes(head+"plainly no chunks", 200)).cut("", "disconnect", "unspecified")
	huge := n.on(h, "/chunks/huge", "a chunk of 2^64-1 bytes", closes(head+"ffffffffffffffff\r\nshort", 200))
	huge.Truncated = nil
	huge.ends(200, -3)
	n.on(h, "/chunks/long-line", "the line of a chunk is 100 kB long: the form is broken",
		closes(head+"5\r\nhello\r\n5;"+strings.Repeat("x", 100_000)+"\r\nhello\r\n0\r\n\r\n", 200)).cut("", "unspecified", "disconnect")
	n.on(h, "/chunks/both", "chunks and a Content-Length: chunks win, and the connection is not used again",
		closes(textHead+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200)).pays("hello")
}

// codings are bodies that are packed, or say so.
func (n *Nasty) codings() {
	h := n.main
	zip := func(path, why, body string) *Case {
		return n.on(h, path, why, gives(200, "Content-Type: text/html\r\nContent-Encoding: gzip\r\n", body)).pays(body)
	}
	packed := zipped(`<a href="/gzip/found">found</a>`)
	found := n.target(h, "/gzip/found", "a link in a page that is packed")
	zip("/gzip/good", "good gzip: archived as it came, and its links are found", packed).leads(found)
	zip("/gzip/no", "no gzip at all: archived as it came", "<p>Not packed at all")
	zip("/gzip/cut", "gzip that breaks off: archived as it came", packed[:len(packed)/2])
	zip("/gzip/sum", "gzip with a wrong check sum", packed[:len(packed)-8]+"\x00\x00\x00\x00"+packed[len(packed)-4:])
	zip("/gzip/tail", "garbage behind gzip", packed+"garbage")
	zip("/gzip/noise", "the head of gzip, and noise", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"+noise(n, 3000))
	zip("/gzip/empty", "packed nothing, not even gzip's head", "")
	zip("/gzip/bomb", "what unpacks to 256 MiB of spaces: archived as it came, read as far as is sensible", bomb())
	twice := zipped(packed)
	n.on(h, "/gzip/twice", "packed twice", gives(200, "Content-Type: text/html\r\nContent-Encoding: gzip, gzip\r\n",
		twice)).pays(twice)
	n.on(h, "/gzip/type", "a page of the type gzip", gives(200, "Content-Type: application/gzip\r\n", packed)).pays(packed)
	n.on(h, "/gzip/unknown", "a coding that no one knows", gives(200, "Content-Encoding: rot13\r\n", "uryyb")).pays("uryyb")
	for _, name := range []string{"br", "zstd", "deflate", "compress", "identity"} {
		n.on(h, "/gzip/"+name, "said to be "+name+", and is noise", gives(200,
			"Content-Type: text/html\r\nContent-Encoding: "+name+"\r\n",
			noise(n, 500)))
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text) // a buffer takes all
	_ = w.Close()
	return b.String()
}

// bomb is gzip of 256 MiB of spaces. A megabyte of them is packed behind another, and repeated: what it refers to is spaces
// always.
var bomb = sync.OnceValue(func() string {
	const piece, pieces = 1 << 20, 1 << 8
	spaces := bytes.Repeat([]byte(" "), piece)
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9) // the level is good, and a buffer takes all
	pack := func() []byte {
		b.Reset()
		_, _ = w.Write(spaces)
		_ = w.Flush()
		return bytes.Clone(b.Bytes())
	}
	out := bytes.NewBuffer([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"))
	sum := crc32.NewIEEE()
	out.Write(pack())
	next := pack()
	for i := range pieces {
		_, _ = sum.Write(spaces)
		if i > 0 {
			out.Write(next)
		}
	}
	b.Reset()
	_ = w.Close()
	out.Write(b.Bytes())
	for _, v := range []uint32{sum.Sum32(), piece * pieces} {
		out.Write([]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
	}
	return out.String()
})
