package site

import (
	"fmt"
	"strings"
	"time"
)

// slow are servers that take their time. Each has a host of its own.
func (n *Nasty) slow() {
	n.alone("/slow/first", "the first byte comes late, but in time", func(x *exchange) bool {
		return x.pause(HeaderTimeout/4) && x.page("<p>at last")
	})
	n.alone("/slow/never", "a request that is never answered", (*exchange).hold).noAnswer(-4)
	n.alone("/slow/head", "a head that stops in its midst", func(x *exchange) bool {
		return x.raw(textHead+"X-Never: ", 0) && x.hold()
	}).noAnswer(-4)
	n.alone("/slow/head-drip", "a head that comes byte by byte, ten a second, and never ends", func(x *exchange) bool {
		return x.drip(okHead+"X-Slow: "+strings.Repeat("x", 600), time.Second/10)
	}).noAnswer(-4)
	n.alone("/slow/drip", "a body of which a byte a second comes: cut when the time is up", func(x *exchange) bool {
		return x.raw(textHead+"Content-Length: 3600\r\n\r\n", 0) && x.drip(strings.Repeat("x", 120), time.Second)
	}).cut("time")
	n.alone("/slow/stall", "a body that stops in its midst: cut after a silence", func(x *exchange) bool {
		return x.raw(textHead+"Content-Length: 100\r\n\r\nhalf of it", 0) && x.hold()
	}).cut("time").pays("half of it")
	n.alone("/slow/no-close", "a body without a length, whose connection is not closed: cut after a silence",
		func(x *exchange) bool {
			return x.raw(textHead+"\r\nall of it", 0) && x.hold()
		}).cut("time", "").pays("all of it")
	n.alone("/slow/head-only", "the head alone, with the length of what would follow, as for HEAD: cut after a silence",
		func(x *exchange) bool { return x.raw(textHead+"Content-Length: 100\r\n\r\n", 0) && x.hold() }).cut("time").pays("")
	n.alone("/slow/chunk", "chunks that stop: cut after a silence", func(x *exchange) bool {
		return x.raw(textHead+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0) && x.hold()
	}).cut("time").pays("hello")
}

// drip sends a text byte by byte.
func (x *exchange) drip(text string, every time.Duration) bool {
	for i := range text {
		if !x.raw(text[i:i+1], 0) || !x.pause(every) {
			return false
		}
	}
	return false
}

// broken are connections that end too soon, and what is no HTTP.
func (n *Nasty) broken() {
	h := n.main
	n.on(h, "/broken/closed", "closed before a byte came", closes("", 0)).noAnswer(-3)
	n.on(h, "/broken/reset", "reset before a byte came", (*exchange).reset).noAnswer(-3)
	n.on(h, "/broken/head", "closed in the midst of the head", closes(okHead+"Content-Ty", 0)).noAnswer(-3)
	n.on(h, "/broken/status", "closed in the midst of the status line", closes("HTTP/1.1 20", 0)).noAnswer(-3)
	n.on(h, "/broken/ssh", "another protocol answers", closes("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", 0)).noAnswer(-3)
	n.on(h, "/broken/html", "a page without a head, as before HTTP/1.0", closes("<html><p>No head at all</html>\n", 0)).noAnswer(-3)
	n.on(h, "/broken/binary", "noise", closes(noise(n, 2000), 0)).noAnswer(-3)
	n.on(h, "/broken/no-status", "a status line without a status", closes("HTTP/1.1 OK\r\n\r\nbody", 0)).noAnswer(-3)
	body := n.on(h, "/broken/body", "reset in the midst of the body", func(x *exchange) bool {
		return x.raw(textHead+"Content-Length: 100\r\n\r\nhalf of it", 0) && x.pause(50*time.Millisecond) && x.reset()
	}).cut("disconnect")
	body.Most = 1 + Retries
	second := n.on(h, "/broken/once", "reset the first time, good the second: it is asked for again", func(x *exchange) bool {
		if x.turn == 1 {
			return x.reset()
		}
		return x.page("<p>good now")
	})
	second.Least, second.Most = 2, 1+Retries
}

// heads are heads that are strange, long, or endless.
func (n *Nasty) heads() {
	h := n.main
	large := n.on(h, "/head/5mb", "a head of 5 MB: refused, or cut; what matters is that memory does not grow with it",
		func(x *exchange) bool {
			return x.gone(okHead+"X-Large: "+strings.Repeat("x", 5<<20)+"\r\nContent-Length: 4\r\n\r\nbody", 200)
		})
	large.noAnswer(-3, 200).Archived = May
	many := n.on(h, "/head/many", "a head of 10,000 fields: it is taken, or refused",
		closes(okHead+fieldsOf(10_000)+"Content-Length: 4\r\n\r\nbody", 200))
	many.noAnswer(-3, 200).Archived = May
	some := "Content-Length: 4\r\n\r\nbody"
	n.on(h, "/head/hundred", "a head of 1,000 fields: 20 kB, which is no reason to refuse it", says(okHead+fieldsOf(1000)+some,
		200)).pays("body")
	n.alone("/head/endless", "a head without an end", func(x *exchange) bool {
		return x.endless(okHead, fieldsOf(1000))
	}).noAnswer(-3, -4)
	n.alone("/head/interim", "answers of 1xx without an end", func(x *exchange) bool {
		return x.endless("", strings.Repeat("HTTP/1.1 100 Continue\r\nX-On: and on\r\n\r\n", 100))
	}).noAnswer(-3, -4)
	n.on(h, "/head/early", "two answers of 1xx before the answer",
		says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </early.css>\r\n\r\n"+
			textHead+some, 200)).pays("body")
	for _, one := range [][2]string{
		{"lf", "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 4\n\nbody"},
		{"fold", okHead + "X-Folded: one\r\n two\r\n\tthree\r\n" + some},
		{"colon", okHead + "this line has no colon\r\n" + some},
		{"space", okHead + "Content-Type : text/plain\r\n" + some},
		{"bytes", okHead + "X-Bytes: \xff\xfe \xe4\r\n" + some},
		{"nul", okHead + "X-Nul: a\x00b\r\n" + some},
		{"empty", okHead + "Content-Type:\r\n: no name\r\n" + some},
		{"before", "\r\n" + okHead + some},
		{"reason", "HTTP/1.1 200\r\n" + some},
		{"words", "HTTP/1.1 200 " + strings.Repeat("Fine ", 400) + "\r\n" + some},
		{"version", "HTTP/1.2 200 OK\r\n" + some},
		{"types", okHead + "Content-Type: text/html\r\nContent-Type: image/png\r\n" + some},
	} {
		path, text := one[0], one[1]
		c := n.on(h, "/head/"+path, "a head as browsers put up with: "+path, closes(text, 200))
		c.Most, c.Truncated = 1+Retries, whole
		switch path {
		case "nul", "bytes", "types", "version":
			c.pays("body")
		}
	}
}

// fieldsOf are some fields of a head, of 20 bytes each.
func fieldsOf(count int) string {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, "X-Field-%06d: x\r\n", i)
	}
	return b.String()
}
