package extract

import "strings"

// form is how addresses stand in an attribute.
type form uint8

const (
	single form = iota
	srcset
	listed // by spaces or commas
)

// rule is what an attribute of an element means.
type rule struct {
	hop     Hop
	form    form
	context string
}

// table are the attributes with addresses, by element.
var table = func() map[string]map[string]rule {
	m := map[string]map[string]rule{}
	add := func(hop Hop, form form, places string) {
		for place := range strings.FieldsSeq(places) {
			element, attribute, _ := strings.Cut(place, "/@")
			if m[element] == nil {
				m[element] = map[string]rule{}
			}
			m[element][attribute] = rule{hop, form, place}
		}
	}
	add(Navigation, single, `a/@href area/@href a/@xlink:href button/@formaction input/@formaction frame/@longdesc
		img/@longdesc iframe/@longdesc blockquote/@cite q/@cite ins/@cite del/@cite`)
	add(Embed, single, `iframe/@src frame/@src embed/@src img/@src img/@lowsrc img/@dynsrc source/@src video/@src video/@poster
		audio/@src track/@src script/@src script/@href script/@xlink:href input/@src bgsound/@src html/@manifest
		image/@href image/@xlink:href image/@src use/@href use/@xlink:href feimage/@href feimage/@xlink:href object/@data
		object/@classid applet/@code portal/@src amp-img/@src model/@src`)
	add(Embed, srcset, `img/@srcset source/@srcset amp-img/@srcset link/@imagesrcset`)
	add(Embed, listed, `object/@archive applet/@archive`)
	for _, element := range []string{"body", "table", "thead", "tbody", "tfoot", "tr", "td", "th"} {
		add(Embed, single, element+"/@background")
	}
	return m
}()

// names are those of the elements and attributes that occur, so that no string is made for them.
var names = func() map[string]string {
	m := map[string]string{}
	for element, attributes := range table {
		m[element] = element
		for a := range attributes {
			m[a] = a
		}
	}
	for s := range strings.FieldsSeq(`html head body title meta base link style script noscript p div span ul ol li dl dt dd table
		tr td th tbody thead h1 h2 h3 h4 h5 h6 br hr em strong b i code pre form button select option label textarea nav header footer section
		article main aside picture svg g path figure figcaption class id name content rel type style width height alt title lang target
		value method http-equiv property itemprop sizes media charset summary border colspan rowspan align valign onclick url loc
		lastmod sitemap urlset sitemapindex item entry guid enclosure description`) {
		m[s] = s
	}
	return m
}()

// relHop is the hop of a link of these relations; skip means that it names no document.
func relHop(rel string) (hop Hop, skip bool) {
	hop = Navigation
	for r := range strings.FieldsSeq(strings.ToLower(rel)) {
		switch r {
		case "stylesheet", "icon", "shortcut", "preload", "modulepreload", "prefetch", "prerender", "manifest", "mask-icon",
			"apple-touch-icon", "apple-touch-icon-precomposed", "apple-touch-startup-image", "fluid-icon", "image_src", "enclosure":
			return Embed, false
		case "preconnect", "dns-prefetch", "pingback":
			skip = true
		}
	}
	return hop, skip
}

// metaHop is the hop of a meta element whose content is an address, by its name.
func metaHop(name string) (Hop, bool) {
	switch strings.ToLower(name) {
	case "og:image", "og:image:url", "og:image:secure_url", "og:video", "og:video:url", "og:video:secure_url", "og:audio",
		"og:audio:url", "og:audio:secure_url", "twitter:image", "twitter:image:src", "twitter:player:stream", "msapplication-tileimage",
		"msapplication-config",
		"msapplication-square70x70logo", "msapplication-square150x150logo", "msapplication-wide310x150logo",
		"msapplication-square310x310logo", "thumbnail", "thumbnailurl", "image", "contenturl":
		return Embed, true
	case "og:url", "twitter:url", "twitter:player", "url", "citation_pdf_url",
		"citation_fulltext_html_url", "citation_abstract_html_url":
		return Navigation, true
	}
	return 0, false
}
