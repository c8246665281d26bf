package site

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ManyLinks is how many links the page of many has.
const ManyLinks = 100_000

// traps are pages that lead round and round, or on and on.
func (n *Nasty) traps() {
	n.loops()
	n.endless()
	n.many()
}

func (n *Nasty) loops() {
	h := n.main
	b := n.found(h, "/loop/b", "links back", func(x *exchange) bool { return x.page(`<a href="a">a</a>`) })
	n.on(h, "/loop/a", "two pages that link to each other and to themselves: each is asked for once", func(x *exchange) bool {
		return x.page(`<a href="b">b</a> <a href="a">a</a> <a href="a#1">a</a> <a href="">a</a>`)
	}).leads(b)
	n.on(h, "/loop/frame", "a page that is its own frame: it is asked for once", func(x *exchange) bool {
		return x.page(`<iframe src="frame"></iframe><iframe src="frame#again"></iframe>`)
	})
	css := n.found(h, "/loop/2.css", "imports back", gives(200, "Content-Type: text/css\r\n",
		`@import "1.css"; p { background: url(2.css) }`))
	n.on(h, "/loop/1.css", "style sheets that import each other", gives(200, "Content-Type: text/css\r\n",
		`@import "2.css";`)).leads(css)
	n.on(h, "/loop/refresh", "a page that refreshes itself for ever: it is asked for once", func(x *exchange) bool {
		return x.page(`<meta http-equiv="refresh" content="0; url=refresh">`)
	})
	n.on(h, "/loop/sitemap.xml", "a sitemap that is a list of itself", func(x *exchange) bool {
		return x.answer(200, "Content-Type: application/xml\r\n", `<?xml version="1.0"?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>`+
			h.URL+`loop/sitemap.xml</loc></sitemap></sitemapindex>`)
	})
}

// trap is a part without an end: all that begins with the path's directory is answered by handle.
func (n *Nasty) trap(path, why string, most int, handle handler) {
	dir := path[:strings.LastIndexByte(path, '/')+1]
	n.main.prefix(dir, handle)
	n.on(n.main, path, why, nil)
	n.Traps = append(n.Traps, Trap{Prefix: n.main.URL + dir[1:], Why: why, Most: most})
}

func (n *Nasty) endless() {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	n.trap("/calendar/2026-01-01", "a calendar without an end: the hops, or a budget, end it. Each hop comes to 3 days more",
		3*MaxHops+4,
		func(x *exchange) bool {
			at, err := time.Parse(time.DateOnly, strings.TrimPrefix(x.path, "/calendar/"))
			if err != nil {
				at = day
			}
			var b strings.Builder
			for _, months := range []int{1, 2, 3} {
				fmt.Fprintf(&b, `<a href="/calendar/%s">next</a> `, at.AddDate(0, months, 0).Format(time.DateOnly))
			}
			return x.page(b.String())
		})
	n.trap("/deep/", "a relative link on a page that any path leads to: ever longer paths, ended by hops or repeated segments",
		MaxHops+1, func(x *exchange) bool { return x.page(`<a href="a/">a</a>`) })
	n.trap("/pairs/", "likewise, with two segments in turn: a/b/a/b", MaxHops+1, func(x *exchange) bool {
		next := "a/"
		if strings.HasSuffix(x.path, "/a/") {
			next = "b/"
		}
		return x.page(`<a href="` + next + `">on</a>`)
	})
	n.trap("/session/page", "each answer has a session id of its own in its links, so that no URL comes twice: the hops end it",
		MaxHops+1, func(x *exchange) bool {
			id := n.main.turnOf("session")
			return x.page(fmt.Sprintf(`<a href="/session/page?PHPSESSID=%032x">again</a>`, id*7919))
		})
	n.trap("/count/", "a query that counts: the hops end it", MaxHops+1, func(x *exchange) bool {
		count, _ := strconv.Atoi(strings.TrimPrefix(x.query, "n="))
		return x.page(fmt.Sprintf(`<a href="/count/?n=%d">more</a>`, count+1))
	})
	n.trap("/shuffle/", "a query whose parts come in any order, and more and more often", MaxHops+1, func(x *exchange) bool {
		return x.page(fmt.Sprintf(`<a href="/shuffle/?%s&amp;a=1">more</a>`, strings.ReplaceAll(x.query, "&", "&amp;")))
	})
	n.trap("/chain/0", "redirects to ever new URLs: each is a hop, so the hops end it", MaxHops+1, func(x *exchange) bool {
		count, _ := strconv.Atoi(strings.TrimPrefix(x.path, "/chain/"))
		return x.answer(302, fmt.Sprintf("Location: /chain/%d\r\n", count+1), "")
	})
	last := n.cases[len(n.cases)-1]
	last.ends(302)
}

// many are pages with more links than anyone wants. What they link to, all but the first, robots.txt forbids.
func (n *Nasty) many() {
	h := n.host()
	h.at("/robots.txt", gives(200, "Content-Type: text/plain\r\n", "User-agent: *\nDisallow: /no/\n"))
	first := n.target(h, "/first", "the first link of a page with many")
	n.on(h, "/many", "a page with 100,000 links, each to another URL. All but the first are forbidden by robots.txt, or past the "+
		"limit of a page", func(x *exchange) bool { return x.page(`<a href="/first">first</a>` + manyLinks()) }).leads(first)
	n.Traps = append(n.Traps, Trap{Prefix: h.URL + "no/", Why: "robots.txt forbids it"})
	same := n.target(n.main, "/same", "a link that a page has 100,000 times")
	n.on(n.main, "/repeated", "a page with 100,000 links to one URL, by fragments: it is asked for once", func(x *exchange) bool {
		return x.page(strings.ReplaceAll(manyLinks(), "/no/", "same#"))
	}).leads(same)
}

// manyLinks are all but one of those of the page of many.
var manyLinks = sync.OnceValue(func() string {
	var b strings.Builder
	for i := range ManyLinks - 1 {
		fmt.Fprintf(&b, "<a href=/no/%d>\n", i)
	}
	return b.String()
})
