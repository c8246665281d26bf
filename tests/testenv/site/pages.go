package site

import (
	"fmt"
	"strings"
)

// pages are documents that are not well formed, or not what they say.
func (n *Nasty) pages() {
	n.forms()
	n.places()
	n.types()
}

// leading is a document with a link to PATH+"-found"; LINK in the body stands for that.
func (n *Nasty) leading(path, why, fields, body string) (page, found *Case) {
	found = n.target(n.main, path+"-found", "a link in "+why)
	body = strings.ReplaceAll(body, "LINK", path+"-found")
	page = n.on(n.main, path, why, gives(200, fields, body)).pays(body).leads(found)
	return page, found
}

const isHTML = "Content-Type: text/html; charset=utf-8\r\n"

// forms are documents whose form is broken.
func (n *Nasty) forms() {
	const link = `<a href="LINK">x</a>`
	n.leading("/form/deep", "a page with 50,000 elements in each other", isHTML, strings.Repeat("<div>", 50_000)+link)
	n.leading("/form/attribute", "a page with an attribute of 1 MB", isHTML, `<p title="`+strings.Repeat("x", 1<<20)+`">`+link)
	n.leading("/form/attributes", "a page with an element of 10,000 attributes", isHTML, `<p`+strings.Repeat(" a", 10_000)+`>`+link)
	n.leading("/form/comment", "a page with a comment that does not end", isHTML, link+`<!-- <a href="/form/in-comment">`)
	n.leading("/form/quote", "a page with a quote that does not end", isHTML, link+`<a href="/form/in-quote>x</a><p>`)
	n.leading("/form/tags", "a page whose tags do not match", isHTML, `</p></html><table><b>`+strings.ReplaceAll(link, `"`,
		"")+`</i></table>`)
	n.leading("/form/case", "a page in capitals, with blanks", isHTML, "<A\n\tHREF \n=\n 'LINK' >x</a>")
	n.leading("/form/cut", "a page that ends in a tag", isHTML, link+`<a href="/form/in-tag`)
	n.leading("/form/line", "a page of 1 MB in one line", isHTML, strings.Repeat("x ", 1<<19)+link)
	n.leading("/form/null", "a page with a NUL in a tag", isHTML, "<a\x00 href=\"/form/x\">x</a>"+link)
	n.leading("/form/xml", "an XML document with entities that unfold to a gigabyte", "Content-Type: application/xhtml+xml\r\n",
		`<?xml version="1.0"?><!DOCTYPE html [<!ENTITY a "`+strings.Repeat("x", 1000)+`">`+entities()+`]>
<html xmlns="http://www.w3.org/1999/xhtml"><body><a href="LINK">x</a><p>&g;</p></body></html>`)
}

// entities are each ten of the one before.
func entities() string {
	var b strings.Builder
	for c := 'b'; c <= 'g'; c++ {
		fmt.Fprintf(&b, `<!ENTITY %c "%s">`, c, strings.Repeat(fmt.Sprintf("&%c;", c-1), 10))
	}
	return b.String()
}

// places are where links stand, besides in an anchor.
func (n *Nasty) places() {
	for _, p := range [][2]string{
		{"area", `<map><area href="LINK"></map>`}, {"link", `<link rel="stylesheet" href="LINK">`}, {"img", `<img src="LINK">`},
		{"srcset", `<img srcset="LINK 2x">`}, {"picture", `<picture><source srcset="data:,x 1x, LINK 2x"></picture>`},
		{"script", `<script src="LINK"></script>`}, {"frame", `<frameset><frame src="LINK"></frameset>`}, {"iframe",
			`<iframe src="LINK">`},
		{"object", `<object data="LINK">`}, {"embed", `<embed src="LINK">`}, {"video", `<video poster="LINK">`}, {"audio",
			`<audio src="LINK">`},
		{"track", `<video><track src="LINK"></video>`}, {"input", `<input type="image" src="LINK">`}, {"style",
			`<style>p { background: url(LINK) }</style>`},
		{"attribute", `<p style="background: url('LINK')">`}, {"import", `<style>@import 'LINK';</style>`},
		{"refresh", `<meta http-equiv="Refresh" content="5; URL='LINK'">`}, {"noscript", `<noscript><img src="LINK"></noscript>`},
		{"svg", `<svg><image xlink:href="LINK"/></svg>`}, {"base", `<base href="/elsewhere-it-is/"><a href="LINK">x</a>`},
		{"escape", `<style>p { background: url(/place/escap\65-found) }</style>`},
	} {
		n.leading("/place/"+p[0], "a page, in the place "+p[0], isHTML, p[1])
	}
	n.leading("/place/css", "a style sheet", "Content-Type: text/css\r\n",
		`/* url(/place/in-comment) */ p { background: url( "LINK" ) } q { x: url(/place/open`)
	n.leading("/place/link-field", "the field Link", isHTML+"Link: </place/link-field-found>; rel=\"stylesheet\"\r\n", "<p>LINK")
	n.leading("/place/refresh-field", "the field Refresh", isHTML+"Refresh: 5; url=/place/refresh-field-found\r\n", "<p>x")
	n.leading("/place/rss", "a feed", "Content-Type: application/rss+xml\r\n",
		`<?xml version="1.0"?><rss version="2.0"><channel><item><link>`+
			strings.TrimSuffix(n.main.URL, "/")+`LINK</link></item></channel></rss>`)
	n.leading("/place/sitemap", "a sitemap", "Content-Type: application/xml\r\n", `<?xml version="1.0"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>`+
		strings.TrimSuffix(n.main.URL, "/")+`LINK</loc></url></urlset>`)
	for _, p := range [][2]string{
		{"js", `<script>var at = "LINK.html";</script>`}, {"json", `<script type="application/json">{"at": "LINK"}</script>`},
		{"form", `<form action="LINK"><input name="q"></form>`}, {"srcdoc", `<iframe srcdoc="<a href='LINK'>x</a>">`},
		{"template", `<template><a href="LINK">x</a></template>`}, {"comment", `<!-- <a href="LINK">x</a> -->`},
		{"textarea", `<textarea><a href="LINK">x</a></textarea>`}, {"data", `<p data-src="LINK">`},
		{"nofollow", `<meta name="robots" content="nofollow"><a href="LINK">x</a>`}, {"onclick", `<p onclick="location='LINK'">`},
		{"base-script", `<base href="javascript:x"><a href="base-script-found">x</a>`},
	} {
		page, found := n.leading("/maybe/"+p[0], "a page, in a place that not all look at: "+p[0], isHTML, p[1])
		page.Leads = nil
		found.may()
	}
}

// types are documents that are not of the type that they say.
func (n *Nasty) types() {
	const body = `<!DOCTYPE html><a href="LINK">x</a>`
	for _, contentType := range []string{"application/xhtml+xml", `TEXT/HTML; CHARSET="utf-8"`, "text/html;;; charset",
		" text/html ;charset=utf-8"} {
		n.leading(fmt.Sprintf("/type/html-%d", len(n.cases)), "a page of the type "+contentType, "Content-Type: "+contentType+"\r\n",
			body)
	}
	for _, contentType := range []string{"", "text/plain", "image/png", "application/octet-stream", "text", "/", "nonsense",
		"text/html, text/plain",
		strings.Repeat("x", 5000)} {
		fields := "Content-Type: " + contentType + "\r\n"
		if contentType == "" {
			fields = ""
		}
		page, found := n.leading(fmt.Sprintf("/type/other-%d", len(n.cases)), "a page that is said to be "+brief(contentType), fields,
			body)
		page.Leads = nil
		found.may()
	}
	n.on(n.main, "/type/image", "an image that is said to be a page", gives(200, isHTML, "\x89PNG\r\n\x1a\n"+noise(n, 2000)))
	n.on(n.main, "/type/json", "broken JSON", gives(200, "Content-Type: application/json\r\n", strings.Repeat(`{"a":[`, 20_000)))
	n.on(n.main, "/type/script", "a script that is noise", gives(200, "Content-Type: text/javascript\r\n", `"/`+noiseText(n,
		5000)+`"'\`))
	n.on(n.main, "/type/pdf", "a PDF that is none", gives(200, "Content-Type: application/pdf\r\n", "%PDF-1.7\n"+noise(n, 2000)))
}
