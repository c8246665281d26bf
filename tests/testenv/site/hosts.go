package site

import (
	"fmt"
	"strings"
	"time"
)

// statusNoRules are what a URL may end with whose host's robots.txt can't be had: Heritrix's -61, or -9998 as RFC 9309 has it
// (all is forbidden then).
var statusNoRules = []int{-61, -9998}

// robots are hosts with a robots.txt of their own.
func (n *Nasty) robots() {
	// rules is a host whose robots.txt is answered so, with a page /yes/ that it allows, and a page /no/.
	rules := func(why string, forbidden bool, handle handler) *Host {
		h := n.host()
		h.at("/robots.txt", handle)
		page := func(x *exchange) bool { return x.page("<p>" + x.path) }
		n.on(h, "/yes/", why, page)
		if c := n.on(h, "/no/", why, page); forbidden {
			c.never(-9998)
		}
		n.cases = append(n.cases, &Case{URL: h.URL + "robots.txt", Why: why, Least: 1, Most: 7, Archived: May})
		return h
	}
	const no = "User-agent: *\nDisallow: /no/\n"
	text := func(body string) handler { return gives(200, "Content-Type: text/plain\r\n", body) }
	rules("robots.txt forbids a part", true, text(no))
	rules("robots.txt with CR alone, a byte order mark and blanks", true,
		text("\ufeffUSER-AGENT : *\r Disallow\t:\t/no/ # so there\r"))
	rules("robots.txt is not found: all is allowed", false, gives(404, "", "no"))
	rules("robots.txt is forbidden: all is allowed, as RFC 9309 has it", false, gives(403, "", "no"))
	rules("robots.txt is a page: it forbids nothing", false, func(x *exchange) bool { return x.page("<p>Welcome to our site") })
	rules("robots.txt is noise: it forbids nothing", false, text("\x00\xff\xfe"+strings.Repeat("\x01\x02", 500)))
	rules("robots.txt is packed", true, gives(200, "Content-Encoding: gzip\r\n", zipped(no)))
	rules("robots.txt of 5 MB, of which the begin counts", true, text(no+strings.Repeat("# and so on and so forth\n", 200_000)))
	behind := rules("robots.txt is behind two redirects", true, moved("/rules"))
	behind.at("/rules", moved("/rules/2"))
	behind.at("/rules/2", text(no))
	rules("robots.txt redirects to itself: it can't be had, and nothing is forbidden, as RFC 9309 has it", false,
		moved("/robots.txt"))
	n.changingRules()
	seeds, cases := len(n.Seeds), len(n.cases)
	rules("robots.txt says 503 once: it is asked for again before anything else is", true, func(x *exchange) bool {
		if x.turn == 1 {
			return x.answer(503, "Retry-After: 1\r\n", "later")
		}
		return text(no)(x)
	})
	n.noRules("robots.txt says 503 always: nothing is allowed", gives(503, "Retry-After: 1\r\n", "never"))
	n.noRules("robots.txt is never answered: nothing is allowed", (*exchange).hold)
	n.Waits, n.Seeds = n.Seeds[seeds:], n.Seeds[:seeds:seeds]
	for _, c := range n.cases[cases:] {
		n.WaitCases = append(n.WaitCases, *c)
	}
	n.cases = n.cases[:cases:cases]
}

// noRules is a host whose robots.txt can't be had.
func (n *Nasty) noRules(why string, handle handler) {
	h := n.host()
	h.at("/robots.txt", handle)
	front := n.cases[len(n.cases)-1]
	front.Why = why
	front.never(statusNoRules...)
	n.cases = append(n.cases, &Case{URL: h.URL + "robots.txt", Why: why, Least: 1, Most: 7, Archived: May})
}

// changingRules is a host whose robots.txt is another one each time. It is good for a day, so the first one counts.
func (n *Nasty) changingRules() {
	h := n.host()
	h.at("/robots.txt", func(x *exchange) bool {
		return x.answer(200, "Content-Type: text/plain\r\n", fmt.Sprintf("User-agent: *\nDisallow: /turn-%d/\n", x.turn))
	})
	const why = "robots.txt forbids another part each time: what it says is good for a day, so the first one counts"
	for i := range 4 {
		c := n.on(h, fmt.Sprintf("/turn-%d/", i), why, func(x *exchange) bool {
			return x.pause(20*time.Millisecond) && x.page("<p>allowed")
		})
		if i == 1 {
			c.never(-9998)
		}
	}
	n.cases = append(n.cases, &Case{URL: h.URL + "robots.txt", Why: why, Least: 1, Most: 1, Archived: May})
}

// never is what is expected of a URL that is not to be asked for.
func (c *Case) never(status ...int) {
	c.Status, c.Least, c.Most, c.Archived, c.Truncated = status, 0, 0, Never, nil
}
