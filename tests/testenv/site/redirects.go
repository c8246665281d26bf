package site

import (
	"fmt"
	"net/netip"
	"strings"
)

func moved(location string) handler {
	return gives(302, "Location: "+location+"\r\nContent-Type: text/html\r\n", "<p>Moved")
}

// redirects lead round, or on, within the host.
func (n *Nasty) redirects() {
	h := n.main
	move := func(path, why, location string) *Case { return n.on(h, path, why, moved(location)).ends(302) }
	self := move("/move/self", "a redirect to itself: seen, and not asked for again", "/move/self")
	self.Most = 1
	pair := n.found(h, "/move/pair-2", "leads back", moved("/move/pair-1")).ends(302)
	move("/move/pair-1", "two redirects that lead to each other: each is asked for once", "/move/pair-2").leads(pair)
	const length = 25
	for i := range length {
		path, next := fmt.Sprintf("/move/chain/%d", i), fmt.Sprintf("/move/chain/%d", i+1)
		c := n.found(h, path, "a chain of 25 redirects: ten are followed by anyone, the hops may end it then", moved(next)).ends(302)
		if i == 0 {
			h.link(path)
		}
		if i > 10 {
			c.Least, c.Archived, c.Status = 0, May, nil
		}
	}
	end := n.target(h, fmt.Sprintf("/move/chain/%d", length), "the end of a chain of 25 redirects")
	end.Least, end.Archived, end.Status = 0, May, nil
	to := func(path, why, location, target string) {
		c := n.target(h, target, "where a redirect leads: "+why)
		move(path, why, location).leads(c)
	}
	to("/move/relative", "a relative Location", "to-relative", "/move/to-relative")
	to("/move/dots", "a Location with dots", "../x/./../move/to-dots", "/move/to-dots")
	to("/move/fragment", "a Location with a fragment", "/move/to-fragment#there", "/move/to-fragment")
	to("/move/spaces", "a Location with spaces around and in it", "  /move/to spaces  ", "/move/to%20spaces")
	to("/move/bytes", "a Location in UTF-8", "/move/to-\u00e4", "/move/to-%C3%A4")
	to("/move/scheme", "a Location that takes over the scheme", "//"+hostOf(h)+"/move/to-scheme", "/move/to-scheme")
	to("/move/user", "a Location with a user's name: it is not sent, or part of another URL", "/move/to-user", "/move/to-user")
	empty := move("/move/empty", "an empty Location", "")
	empty.Most = 2
	n.on(h, "/move/none", "a redirect without a Location", gives(301, "", "<p>Moved, and not said where")).ends(301)
	move("/move/long", "a Location of 100 kB: archived; where it leads is asked for by who likes to", "/"+strings.Repeat("x",
		100_000))
	for _, location := range []string{"file:///etc/passwd", "javascript:alert(1)", "data:text/html,<p>x", "ftp://127.0.0.1/x",
		"http://", "http:///",
		"http://[::1", "http://a b/", "http://127.0.0.1:99999/", "about:blank", ":", "\x01"} {
		move(fmt.Sprintf("/move/nowhere-%d", len(n.cases)), "a redirect to where no crawler goes: "+location, location)
	}
	cookie := n.on(h, "/move/cookie", "a redirect to itself until a cookie is sent: who keeps none leaves it at that",
		func(x *exchange) bool {
			if strings.Contains(x.header.Get("Cookie"), "seen=yes") {
				return x.page("<p>You have a cookie")
			}
			return x.answer(302, "Location: /move/cookie\r\nSet-Cookie: seen=yes; Path=/\r\n", "")
		}).ends(302, 200)
	cookie.Most = 2
}

func hostOf(h *Host) string { return strings.TrimSuffix(strings.TrimPrefix(h.URL, "http://"), "/") }

// elsewhere leads to hosts that are in no crawl's scope, at loopback addresses that nobody named. All addresses of this kind
// would do; these are the ones where it can be seen.
func (n *Nasty) elsewhere() {
	h, other := n.main, n.Forbidden[0]
	at := netip.MustParseAddrPort(hostOf(other))
	four := at.Addr().As4()
	number := uint32(four[0])<<24 | uint32(four[1])<<16 | uint32(four[2])<<8 | uint32(four[3])
	forms := [][2]string{
		{"plain", other.URL},
		{"decimal", fmt.Sprintf("http://%d:%d/", number, at.Port())},
		{"hex", fmt.Sprintf("http://0x%x:%d/", number, at.Port())},
		{"octal", fmt.Sprintf("http://0%o.%d.%d.%d:%d/", four[0], four[1], four[2], four[3], at.Port())},
		{"short", fmt.Sprintf("http://%d.%d:%d/", four[0], number&0xffffff, at.Port())},
		{"mapped", fmt.Sprintf("http://[::ffff:%s]:%d/", at.Addr(), at.Port())},
		{"user", fmt.Sprintf("http://%s@%s/", hostOf(h), at)},
		{"dot", fmt.Sprintf("http://%s.:%d/", at.Addr(), at.Port())},
		{"wide", fmt.Sprintf("http://%s:%d/", wide(at.Addr().String()), at.Port())},
		{"slashes", fmt.Sprintf("http:\\\\%s\\", at)},
	}
	for _, form := range forms {
		n.on(h, "/elsewhere/"+form[0], "a redirect out of scope, to an address that nobody named, written so: "+form[1],
			moved(form[1])).ends(302)
	}
	var page strings.Builder
	for _, form := range forms {
		url := form[1]
		fmt.Fprintf(&page, `<a href="%sby-link">x</a><img src="%sby-image"><iframe src="%sby-frame"></iframe>`, url, url, url)
	}
	n.on(h, "/elsewhere/links", "links out of scope: none is asked for", func(x *exchange) bool { return x.page(page.String()) })
	n.on(h, "/elsewhere/base", "a base out of scope, for all links of a page", func(x *exchange) bool {
		return x.page(`<base href="` + other.URL + `"><a href="relative">x</a><a href="/absolute">x</a>`)
	})
}

// wide writes digits as full-width ones, which browsers take for the same.
func wide(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r - '0' + '\uff10'
		}
		return r
	}, s)
}
