package extract

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/base/weburl"
)

// raceEnabled is set where the race detector makes all of it slower.
var raceEnabled bool

const home = "http://h.example/dir/page.html"

// document is one as a server sends it.
func document(t testing.TB, contentType, body string) Document {
	t.Helper()
	u, err := weburl.Parse(home)
	if err != nil {
		t.Fatal(err)
	}
	d := Document{URL: u, Header: http.Header{}, Body: strings.NewReader(body)}
	if contentType != "" {
		d.Header.Set("Content-Type", contentType)
	}
	return d
}

// found are the links as one text: hop, URL below the host, context.
func found(t testing.TB, d Document, opt Options) (string, Summary) {
	t.Helper()
	var all []string
	sum, err := Links(d, opt, func(l Link) bool {
		s := fmt.Sprintf("%c %s %s", l.Hop, strings.TrimPrefix(l.URL.String(), "http://h.example"), l.Context)
		all = append(all, s)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n"), sum
}

// cases are one element each: what is read, and what must be found, a line a link.
var cases = []struct{ kind, body, want string }{
	{"text/html", `<a href="x.html#part">`, "L /dir/x.html a/@href"},
	{"text/html", `<A HREF='/x'><a href=/y>`, "L /x a/@href\nL /y a/@href"},
	{"text/html", `<a href="x?a=1&amp;b=2">`, "L /dir/x?a=1&b=2 a/@href"},
	{"text/html", `<a href="mailto:x@y"><a href="#top"><a href="">`, ""},
	{"text/html", `<a href="javascript:open('/pop.html')">`, "X /pop.html =JS_MISC"},
	{"text/html", `<map><area href=x>`, "L /dir/x area/@href"},
	{"text/html", `<form action=go><form action=post method=POST>`, "L /dir/go form/@action"},
	{"text/html", `<iframe src=f srcdoc="&lt;img src=in.png>">`, "E /dir/f iframe/@src\nE /dir/in.png img/@src"},
	{"text/html", `<frameset><frame src=f longdesc=d>`, "E /dir/f frame/@src\nL /dir/d frame/@longdesc"},
	{"text/html", `<embed src=m.swf>`, "E /dir/m.swf embed/@src"},
	{"text/html", `<object data=d codebase=/cb/ archive="a.jar b.jar" classid="clsid:x">`,
		"E /cb/d object/@data\nE /cb/a.jar object/@archive\nE /cb/b.jar object/@archive"},
	{"text/html", `<applet code=C.class codebase=/cb/ archive="a.jar, b.jar">`,
		"E /cb/C.class applet/@code\nE /cb/a.jar applet/@archive\nE /cb/b.jar applet/@archive"},
	{"text/html", `<img src=a.png srcset="b.png 1x, c,1.png 2x,d.png" longdesc=l>`,
		"E /dir/a.png img/@src\nE /dir/b.png img/@srcset\nE /dir/c,1.png img/@srcset\nE /dir/d.png img/@srcset\nL /dir/l img/@longdesc"},
	{"text/html", `<img data-src=a data-srcset="b 1x, c 2x" data-original=d data-lazy-src=e>`,
		"E /dir/a img/@data-src\nE /dir/b img/@data-srcset\nE /dir/c img/@data-srcset\nE /dir/d img/@data-original\nE /dir/e img/@data-lazy-src"},
	{"text/html", `<picture><source srcset="a.webp, b.webp 2x" src=c>`,
		"E /dir/a.webp source/@srcset\nE /dir/b.webp source/@srcset\nE /dir/c source/@src"},
	{"text/html", `<video src=v poster=p><track src=t></video><audio src=a>`,
		"E /dir/v video/@src\nE /dir/p video/@poster\nE /dir/t track/@src\nE /dir/a audio/@src"},
	{"text/html", `<style>@import "a.css"; b{background:url( 'c.png' )}</style><p style="background:url(d.png)">`,
		"E /dir/a.css =EMBED_MISC\nE /dir/c.png =EMBED_MISC\nE /dir/d.png =EMBED_MISC"},
	{"text/html", `<script src=s.js></script><script>f("/x/y.html"); "<img src=no.png>"</script>`,
		"E /dir/s.js script/@src\nX /x/y.html =JS_MISC"},
	{"text/html", `<script type="application/ld+json">{"@id":"http://h.example/id","/key":1}</script>`, "X /id =JS_MISC"},
	{"text/html", `<meta http-equiv=Refresh content="0; URL='next'">`, "R /dir/next meta/@content"},
	{"text/html", `<meta property="og:image" content="i.png"><meta name=robots content="noindex,nofollow">`, "E /dir/i.png meta/@content"},
	{"text/html", `<base href="/b/"><base href="/c/"><a href=x>`, "L /b/x a/@href"},
	{"text/html", `<link rel=stylesheet href=s><link rel="shortcut icon" href=i><link rel=canonical href=c><link rel=next href=n><link rel=preload href=p><link rel=dns-prefetch href=//d>`,
		"E /dir/s link/@href\nE /dir/i link/@href\nL /dir/c link/@href\nL /dir/n link/@href\nE /dir/p link/@href"},
	{"text/html", `<input type=image src=i><button formaction=b>`, "E /dir/i input/@src\nL /dir/b button/@formaction"},
	{"text/html", `<body background=a><table background=b><tr><td background=c>`,
		"E /dir/a body/@background\nE /dir/b table/@background\nE /dir/c td/@background"},
	{"text/html", `<div data-url="/d/e" data-n="5" data-conf='{"u":"/f/g.json"}' onclick="go('h.html')">`,
		"X /d/e div/@data-url\nX /f/g.json =JS_MISC\nX /dir/h.html =JS_MISC"},
	{"text/html", `<blockquote cite=a><q cite=b><ins cite=c><del cite=d>`,
		"L /dir/a blockquote/@cite\nL /dir/b q/@cite\nL /dir/c ins/@cite\nL /dir/d del/@cite"},
	{"text/html", `<svg><image href=a /><use xlink:href="b#i" /></svg>`, "E /dir/a image/@href\nE /dir/b use/@xlink:href"},
	{"text/html", `<noscript><img src=n></noscript><!-- <a href=no> --><textarea><a href=no></textarea>`, "E /dir/n img/@src"},
	{"text/html", `<a href=x><a href=x><img src=x>`, "L /dir/x a/@href\nE /dir/x img/@src"},
	{"text/html; charset=iso-8859-1", "<a href='\xe9?q=\xe9'>", "L /dir/%C3%A9?q=%E9 a/@href"},
	{"text/html", "<a href='\xe9'><a href='\xc3\xa8'>", "L /dir/%C3%A9 a/@href\nL /dir/%C3%A8 a/@href"},
	{"text/html", "<meta charset=shift_jis><a href='?q=\x83\x65'>", "L /dir/page.html?q=%83e a/@href"},
	{"text/html; charset=utf-16", "<a href=x>", "L /dir/x a/@href"},
	{"text/html; charset=iso-2022-kr", "<a href=x>", "L /dir/x a/@href"},
	{"text/html; charset=none", "\xff\xfe<\x00a\x00 \x00h\x00r\x00e\x00f\x00=\x00x\x00>\x00", "L /dir/x a/@href"},
	{"", "<!DOCTYPE HTML><a href=x>", "L /dir/x a/@href"},

	{"text/css", `/* url(no) */ a{b:url(a\29.png)} @import url("c.css") screen; @IMPORT 'd.css'; e{content:"url(no)"} f{g:url(data:x)}
		h{i:image-set("j.png" 1x)} k{l:url(m` + "\n)}", "E /dir/a).png =EMBED_MISC\nE /dir/c.css =EMBED_MISC\nE /dir/d.css =EMBED_MISC\n" +
		"E /dir/j.png =EMBED_MISC\nE /dir/m =EMBED_MISC"},
	{"text/css", `a{b:image-set( /**/"a.png" type("image/png") 1x, url(b.png) 2x,
		url( c.png ) 3x, url("d.png") 4x, "e.png" 5x) "no"} f{g:"no"}`,
		"E /dir/a.png =EMBED_MISC\nE /dir/b.png =EMBED_MISC\nE /dir/c.png =EMBED_MISC\n" +
			"E /dir/d.png =EMBED_MISC\nE /dir/e.png =EMBED_MISC"},
	{"text/css", `a{b:url("\66 oo\.png")} c{d:url('e` + "\n" + "')}\n f{g:url(h.png)}", "E /dir/foo.png =EMBED_MISC\nE /dir/h.png =EMBED_MISC"},

	{"text/javascript", `x="/a/b"; y='it\'s'; z="http:\/\/o.example\/p"; w="\u002fq\x2fr"; /["']/; v="img/s.png"; u="text/css"; t="1/2"`,
		"X /a/b =JS_MISC\nX http://o.example/p =JS_MISC\nX /q/r =JS_MISC\nX /dir/img/s.png =JS_MISC"},
	{"application/javascript", "f('www.o.example/x', \"//cdn.example/y\", `/t/u`, `/v/${w}`, \"\\\"/esc/aped\\\"\")",
		"X http://www.o.example/x =JS_MISC\nX http://cdn.example/y =JS_MISC\nX /t/u =JS_MISC\nX /esc/aped =JS_MISC"},
	{"application/json", `{"/key": "/val/ue", "a": ["b.html", "it's", "c d.html"], "e":"http://o.example/?f=1&g=2"}`,
		"X /val/ue =JS_MISC\nX /dir/b.html =JS_MISC\nX http://o.example/?f=1&g=2 =JS_MISC"},

	{"application/rss+xml", `<rss xmlns:a="http://no.example/"><channel><link>http://h.example/l</link><atom:link href="self" rel="self"/><item>
		<guid>http://h.example/g</guid><guid isPermaLink="false">http://h.example/no</guid><enclosure url="e.mp3" type="audio/mpeg"/>
		<description>&lt;img src="d.png"&gt;</description><content:encoded><![CDATA[<a href="c">]]></content:encoded></item>`,
		"L /l link\nL /dir/self atom:link/@href\nL /g guid\nE /dir/e.mp3 enclosure/@url\nE /dir/d.png img/@src\nL /dir/c a/@href"},
	{"application/atom+xml", `<?xml version="1.0"?><feed><link href="a"/><link rel="enclosure" href="b"/><content src="c"/><icon>i.png</icon><id>http://h.example/x</id></feed>`,
		"L /dir/a link/@href\nE /dir/b link/@href\nE /dir/c content/@src\nE /dir/i.png icon\nX /x =SPECULATIVE_MISC"},
	{"text/xml", `<?xml version="1.0"?><?xml-stylesheet href="s.xsl" type="text/xsl"?><a><b/><img src="i"/></a>`, "E /dir/s.xsl ?xml-stylesheet/@href\nE /dir/i img/@src"},
	{"image/svg+xml", `<svg><image xlink:href="a"/><a xlink:href="b"/><style>c{d:url(e)}</style></svg>`,
		"E /dir/a image/@xlink:href\nL /dir/b a/@xlink:href\nE /dir/e =EMBED_MISC"},
	{"application/xml", `<urlset><url><loc> http://h.example/a?b&amp;c </loc><lastmod>2020-01-02</lastmod><image:image><image:loc>i</image:loc></image:image></url><url><loc>/d</loc></url></urlset>`,
		"E /dir/i image:loc\nM /a?b&c loc\nM /d loc"},
	{"text/xml", `<sitemapindex><sitemap><loc>/s.xml.gz</loc><lastmod>2021</lastmod></sitemap><sitemap><loc>/t</loc>`, "M /s.xml.gz loc\nM /t loc"},
	{"image/png", `<a href=x>`, ""},
}

func TestElements(t *testing.T) {
	for _, c := range cases {
		for _, read := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			d := document(t, c.kind, c.body)
			d.Body = read(d.Body)
			if got, _ := found(t, d, Options{}); got != c.want {
				t.Errorf("%s\n%s\ngot:\n%s\nwant:\n%s", c.kind, c.body, got, c.want)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	d := document(t, "text/plain", "")
	d.Header.Set("Location", "/l")
	d.Header.Set("Content-Location", "c")
	d.Header.Set("Refresh", "3;url=r")
	d.Header.Add("Link", `<a,b>; rel="next"; title="x, <y>", <s.css>;rel=stylesheet, <//d>; rel=preconnect`)
	d.Header.Add("Link", `<z>`)
	got, _ := found(t, d, Options{})
	want := "R /l Location:\nR /dir/c Content-Location:\nR /dir/r Refresh:\nL /dir/a,b Link:\nE /dir/s.css Link:\nL /dir/z Link:"
	if got != want {
		t.Errorf("got:\n%s", got)
	}
}

// TestNoLinks: what is sent by POST is no link, nor is what is no URL or of another scheme; the last two are counted.
func TestNoLinks(t *testing.T) {
	text := `<a rel="nofollow x" href=a><form method=post action=b></form><a href="http://["><a href=mailto:e>`
	bad := 0
	got, sum := found(t, document(t, "text/html", text), Options{Bad: func(string, string, error) { bad++ }})
	if got != "L /dir/a a/@href" || bad != 1 || sum.Bad != 1 || sum.Other != 1 {
		t.Errorf("%s %+v", got, sum)
	}
}

func TestScriptIsRelativeToItsPage(t *testing.T) {
	d := document(t, "text/javascript", `"a.html"`)
	d.Via, _ = weburl.Parse("http://h.example/via/")
	if got, _ := found(t, d, Options{}); got != "X /via/a.html =JS_MISC" {
		t.Error(got)
	}
}

func TestSitemaps(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, "<urlset>")
	for i := range 60000 {
		fmt.Fprintf(z, "<url><loc>http://h.example/%d</loc><lastmod>2024-05-06</lastmod></url>", i)
	}
	z.Close()
	whole := packed.String()
	d := document(t, "application/gzip", whole)
	d.Sitemap = true
	_, sum := found(t, d, Options{})
	if sum.Links != 50000 || sum.Surplus != 10000 || sum.Kind != Sitemap {
		t.Errorf("%+v", sum)
	}
	d = document(t, "text/plain", "\xef\xbb\xbfhttp://h.example/a\r\n\nno\nhttp://h.example/b")
	d.Sitemap = true
	if got, _ := found(t, d, Options{}); got != "M /a loc\nM /b loc" {
		t.Error(got)
	}
	d = document(t, "application/gzip", whole[:len(whole)/2])
	d.Sitemap = true
	if _, sum = found(t, document(t, "text/xml", "<urlset>"+strings.Repeat("<url><loc>/x</loc></url>", 9)), Options{}); sum.Kind != Sitemap {
		t.Errorf("%+v", sum)
	}
	count := 0
	if _, err := Links(d, Options{}, func(Link) bool { count++; return true }); !errors.Is(err, io.ErrUnexpectedEOF) || count < 1000 {
		t.Errorf("a cut sitemap: %d links, %v", count, err)
	}
}

func TestLimits(t *testing.T) {
	page := strings.Repeat(" ", 100) + "<a href=a><a href=b><a href=c>"
	if got, sum := found(t, document(t, "text/html", page), Options{MaxLinks: 2}); sum.Links != 2 || sum.Surplus != 1 {
		t.Errorf("%s %+v", got, sum)
	}
	if got, sum := found(t, document(t, "text/html", page), Options{MaxBytes: 111}); got != "L /dir/a a/@href" || !sum.Truncated {
		t.Errorf("%s %+v", got, sum)
	}
	if _, sum := found(t, document(t, "text/html", page), Options{MaxBytes: int64(len(page))}); sum.Truncated || sum.Links != 3 {
		t.Errorf("%+v", sum)
	}
	count := 0
	if _, err := Links(document(t, "text/html", page), Options{}, func(Link) bool { count++; return false }); err != nil || count != 1 {
		t.Errorf("stopped after %d, %v", count, err)
	}
	broken := errors.New("broken")
	d := document(t, "text/html", "")
	d.Body = io.MultiReader(strings.NewReader(page), iotest.ErrReader(broken))
	count = 0
	if _, err := Links(d, Options{}, func(Link) bool { count++; return true }); !errors.Is(err, broken) || count != 3 {
		t.Errorf("%d links, %v", count, err)
	}
}

// TestLongTokens has tags, scripts and attributes longer than is held: what stands behind them is found.
func TestLongTokens(t *testing.T) {
	long := strings.Repeat("x", 2*maxToken+maxToken/2)
	for _, c := range []struct{ body, want string }{
		{`<img src="data:` + long + `"><a href=a>`, "L /dir/a a/@href"},
		{`<img alt=1 data-src=b src="data:` + long + `"><a href=a>`, "E /dir/b img/@data-src\nL /dir/a a/@href"},
		{`<script>"/b/c";` + long + `"</script><a href=no>";"/d/e"</script><a href=a>`, "X /b/c =JS_MISC\nL /dir/no a/@href\nL /dir/a a/@href"},
		{`<script>` + long + `;f("/d/e");g="<a href=no>"</script><a href=a>`, "X /d/e =JS_MISC\nL /dir/a a/@href"},
		{`<style>` + long + `{b:url(c)}</style><a href=a>`, "E /dir/c =EMBED_MISC\nL /dir/a a/@href"},
		{long + `<a href=a>`, "L /dir/a a/@href"},
		{`<!--` + long + `--><a href=a>`, "L /dir/a a/@href"},
		{`<a href="` + long[:maxAddress+1] + `"><a href=a>`, "L /dir/a a/@href"},
		{`<p style="a:url(` + long[:maxAddress+1] + `);b:url(c)">`, "E /dir/c =EMBED_MISC"},
	} {
		got, _ := found(t, document(t, "text/html", c.body), Options{})
		if got != c.want {
			t.Errorf("%.40s...\ngot:\n%s\nwant:\n%s", c.body, got, c.want)
		}
	}
}

// A page of no declared type and no telling name is a page if it begins as one, whatever its first tag is. One
// that is declared plain text is not.
func TestUndeclaredPage(t *testing.T) {
	for contentType, want := range map[string]string{"": "L /x a/@href", "text/plain": ""} {
		d := document(t, contentType, "\n<!-- ours --><head><title>t</title><a href=/x>")
		var err error
		if d.URL, err = weburl.Parse("http://h.example/"); err != nil {
			t.Fatal(err)
		}
		if got, _ := found(t, d, Options{}); got != want {
			t.Errorf("%q: got %q, want %q", contentType, got, want)
		}
	}
}
