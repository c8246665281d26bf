package site

import (
	"fmt"
	"strings"
)

// validated are pages that are asked for anew, by one who has them, with fields that say so.
func (n *Nasty) validated() {
	h := n.host()
	n.Again = append(n.Again, h.URL)
	// on has a page answered the first time, and what comes then left to again.
	on := func(path, why, fields string, again handler, status ...int) *Case {
		body := "<p>" + why + `<a href="` + path + `-found">x</a>`
		c := n.on(h, path, why, func(x *exchange) bool {
			if x.turn > 1 {
				return again(x)
			}
			return x.answer(200, isHTML+fields, body)
		})
		found := n.target(h, path+"-found", "a link in what has not changed: "+why)
		found.Again = []int{200}
		c.Again = status
		return c.leads(found).pays(body)
	}
	same := says("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", 304)
	// asked is same for who asks by a field, and an error for who does not.
	asked := func(field, value string) handler {
		return func(x *exchange) bool {
			if x.header.Get(field) == value {
				return same(x)
			}
			return x.answer(500, isHTML, "<p>You have it, and did not say so: "+field)
		}
	}
	const at = "Sun, 06 Nov 1994 08:49:37 GMT"
	on("/again/etag", "a page with an ETag", "ETag: \"1\"\r\n", asked("If-None-Match", `"1"`), 304)
	on("/again/weak", "a page with a weak ETag", "ETag: W/\"1\"\r\n", asked("If-None-Match", `W/"1"`), 304)
	on("/again/modified", "a page with Last-Modified", "Last-Modified: "+at+"\r\n", asked("If-Modified-Since", at), 304)
	on("/again/liar", "a page that has not changed for who asks anything", "ETag: 1\r\nLast-Modified: yesterday\r\n", same, 304)
	on("/again/long", "a 304 with a length, which is not that of a body that follows", "ETag: \"1\"\r\n",
		says("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", 304), 304)
	on("/again/body", "a 304 with a body all the same: it is no part of this answer, and of no other", "ETag: \"1\"\r\n",
		closes("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody", 304), 304)
	on("/again/changed", "a page that has changed", "ETag: \"1\"\r\n", func(x *exchange) bool {
		return x.answer(200, isHTML+"ETag: \"2\"\r\n", `<p>Anew <a href="/again/changed-found">x</a>`)
	}, 200)
	on("/again/bytes", "an ETag that can't be sent", "ETag: \"\x01\x7f\"\r\n", func(x *exchange) bool {
		return x.answer(200, isHTML, `<a href="/again/bytes-found">x</a>`)
	}, 200)
	on("/again/unasked", "a 304 that nobody asked for", "", func(x *exchange) bool {
		return x.answer(200, isHTML, `<a href="/again/unasked-found">x</a>`)
	}, 200)
}

// cookies are what servers want to be told again. What is expected holds for who keeps none, too.
func (n *Nasty) cookies() {
	h := n.host()
	var many strings.Builder
	for i := range 150 {
		fmt.Fprintf(&many, "Set-Cookie: many%d=%s; Path=/\r\n", i, strings.Repeat("x", 1000))
	}
	after := n.found(h, "/cookie/after", "what comes behind many cookies: not asked for with a head that no server takes",
		func(x *exchange) bool {
			if len(x.header.Get("Cookie")) > 17<<10 {
				return x.answer(431, isHTML, "<p>So many")
			}
			return x.page("<p>Few enough")
		})
	n.on(h, "/cookie/many", "150 cookies of a kilobyte", gives(200, isHTML+many.String(), `<a href="/cookie/after">x</a>`)).leads(after)
	n.on(h, "/cookie/odd", "cookies that are none", gives(200, isHTML+
		"Set-Cookie: \r\nSet-Cookie: =\r\nSet-Cookie: ;;;\r\nSet-Cookie: a=\x01b\r\nSet-Cookie: b=1; Domain=com; Max-Age=99999999999999999999\r\n"+
		"Set-Cookie: c=1; Expires=Someday, 99-Foo-0000\r\nSet-Cookie: "+strings.Repeat("d", 10_000)+"=1\r\nSet-Cookie: e=1; Path=\x7f\r\n", "<p>x"))
	stranger := n.host()
	n.on(stranger, "/cookie/of-others", "a page that no other host's cookie is sent to", func(x *exchange) bool {
		if x.header.Get("Cookie") != "" {
			return x.answer(500, isHTML, "<p>That is none of mine")
		}
		return x.page("<p>Thank you")
	})
}

// unwanted are bodies that a rule of scope rejects by their head: video/*. Who has no such rule takes what its limit lets through.
func (n *Nasty) unwanted() {
	head := func(path, why, fields string) {
		n.alone(path, why, func(x *exchange) bool {
			return x.endless("HTTP/1.1 200 OK\r\n"+fields+"\r\n", strings.Repeat("and so on and so forth", 1000))
		}).cut("unspecified", "length", "time", "disconnect")
	}
	head("/head/film", "a film of a terabyte", "Content-Type: video/mp4\r\nContent-Length: 1000000000000\r\n")
	head("/head/stream", "a film that never ends", "Content-Type: VIDEO/MP4; codecs=\"x\"\r\n")
}

// away is a host that shows its front page and is gone.
func (n *Nasty) away() {
	h := n.host()
	const pages = 40
	for i := range pages {
		n.on(h, fmt.Sprintf("/away/%d", i), "a page of a host that is gone", nil).never(-2)
	}
	front := h.front()
	h.at("/", func(x *exchange) bool {
		_ = h.listener.Close()
		return x.gone(fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", isHTML, len(front), front), 200)
	})
}
