package site

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// charsets are pages in an encoding that is not what they say, or in none. Their links are found all the same.
func (n *Nasty) charsets() {
	h := n.main
	// page is one that leads to target, as a URL has it.
	page := func(name, why, contentType, body, target string) {
		c := n.target(h, target, "a link in "+why)
		n.on(h, "/text/"+name, why, gives(200, "Content-Type: "+contentType+"\r\n", body)).leads(c).pays(body)
	}
	link := func(to string) string { return `<p>text <a href="` + to + `">x</a>` }
	page("latin", "Latin-1 that says it is UTF-8", "text/html; charset=utf-8", "<p>\xe4\xff\xc0"+link("/text/to-latin"),
		"/text/to-latin")
	page("1252", "windows-1252: a path is encoded as UTF-8 whatever the page is", "text/html; charset=windows-1252",
		link("/text/to-\xe4"),
		"/text/to-%C3%A4")
	page("sjis", "Shift_JIS, whose second bytes look like a backslash", "text/html; charset=shift_jis", link("/text/to-\x83\x5c"),
		"/text/to-%E3%82%BD")
	page("bom", "UTF-8 with a byte order mark that says it is Latin-1: the mark wins", "text/html; charset=iso-8859-1",
		"\ufeff"+link("/text/to-\u00fc"), "/text/to-%C3%BC")
	page("16le", "UTF-16 with a byte order mark and no label", "text/html", "\xff\xfe"+wide16(link("/text/to-16le"),
		binary.LittleEndian),
		"/text/to-16le")
	page("16be", "UTF-16 with a label", "text/html; charset=utf-16be", wide16(link("/text/to-16be"), binary.BigEndian),
		"/text/to-16be")
	page("nonsense", "an encoding that no one knows", "text/html; charset=x-nonsense-9", link("/text/to-nonsense"),
		"/text/to-nonsense")
	page("utf7", "an encoding that browsers refuse", "text/html", `<meta charset="utf-7">`+link("/text/to-utf7"), "/text/to-utf7")
	page("meta", "a label in the page that its head contradicts: the head wins", "text/html; charset=utf-8",
		`<meta charset="shift_jis">`+link("/text/to-\u00f6"), "/text/to-%C3%B6")
	page("late", "a label behind 5,000 bytes", "text/html", "<!--"+strings.Repeat("x",
		5000)+`--><meta charset="utf-8">`+link("/text/to-late"),
		"/text/to-late")
	page("nul", "NUL bytes in the text", "text/html", "<p>\x00\x00\x00"+link("/text/to-nul")+"\x00", "/text/to-nul")
	page("invalid", "a link that is no UTF-8", "text/html; charset=utf-8", link("/text/to-invalid\xff"), "/text/to-invalid%EF%BF%BD")
}

func wide16(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// names are URLs that are strange. What stands on the page and what the server is asked for is the WHATWG's URL standard.
func (n *Nasty) names() {
	h := n.main
	host := hostOf(h)
	address, port, _ := strings.Cut(host, ":")
	long := "/names/" + strings.Repeat("long", 500)
	found := [][2]string{ // what stands there, and what is asked for
		{"a b", "/names/a%20b"}, {"\u00e4", "/names/%C3%A4"}, {"%zz", "/names/%zz"}, {"100%", "/names/100%"}, {"%E4", "/names/%E4"},
		{"a|b", "/names/a|b"}, {"[x]", "/names/[x]"}, {"<x>", "/names/%3Cx%3E"}, {"{x}`", "/names/%7Bx%7D%60"}, {"b\\c", "/names/b/c"},
		{" ta\tb\n ", "/names/tab"}, {"./dot/../dots", "/names/dots"}, {"%2e%2E/names/up", "/names/up"}, {"a//b", "/names/a//b"},
		{"a%2Fb", "/names/a%2Fb"}, {"?q=a b", "/names/?q=a%20b"}, {"?q=\u00e4", "/names/?q=%C3%A4"}, {"?q='", "/names/?q=%27"},
		{"?a=1&copy=2", "/names/?a=1&copy=2"}, {"?a?b", "/names/?a?b"},
		{";p=1", "/names/;p=1"}, {"semi;colon?x#y", "/names/semi;colon?x"},
		{"Upper", "/names/Upper"}, {"upper", "/names/upper"}, {"HTTP://" + host + "/names/scheme", "/names/scheme"},
		{"http:relative", "/names/relative"}, {"///" + host + "/names/three", "/names/three"},
		{"http:\\\\" + host + "\\names\\back", "/names/back"},
		{"http://" + address + ":000" + port + "/names/zeros", "/names/zeros"},
		{"http://" + address + ".:" + port + "/names/dot", "/names/dot"},
		{"//" + wide(address) + ":" + port + "/names/wide", "/names/wide"}, {"\x01\x1fbefore", "/names/before"},
		{"con\x01trol", "/names/con%01trol"},
		{"&#xD800;half", "/names/%EF%BF%BDhalf"}, {"&#x73;&#108;ash&sol;ed", "/names/slash/ed"},
		{"~tilde!$&'()*+,=:@", "/names/~tilde!$&'()*+,=:@"},
		{long, long},
	}
	var page strings.Builder
	var cases []*Case
	for _, f := range found {
		fmt.Fprintf(&page, "<a href=\"%s\">x</a>\n", strings.ReplaceAll(f[0], `"`, "&quot;"))
		cases = append(cases, n.target(h, f[1], fmt.Sprintf("a link written %s", brief(f[0]))))
	}
	user := n.target(h, "/names/user", "a link with a user's name and password: if it is asked for, they are not sent")
	user.may() // whether that is another URL, or out of scope, is a matter of taste
	fmt.Fprintf(&page, "<a href=\"http://user:pass@%s/names/user\">x</a>", host)
	for _, length := range []int{10_000, 200_000} {
		path := "/names/" + strings.Repeat("h", length)
		n.target(h, path, fmt.Sprintf("a link of %d bytes: Heritrix takes 2,083, browsers 2 MB", length)).may()
		fmt.Fprintf(&page, "<a href=\"%s\">x</a>\n", path)
	}
	for _, nowhere := range []string{"mailto:a@b", "tel:+1", "javascript:void(0)", "data:text/html,x",
		"ftp://" + address + "/x", "blob:x", "urn:x:y",
		"about:blank", "http://", "http://[", "http://[::1", "http://a b/", "http://" + address + ":99999/",
		"http://%zz/", "http://:80/",
		"//", "///", ":", "http:///", "http://" + address + ":0/"} {
		fmt.Fprintf(&page, "<a href=\"%s\">nowhere</a>\n", nowhere)
	}
	n.on(h, "/names/", "links that are written strangely, which browsers follow, and some to nowhere", func(x *exchange) bool {
		return x.page(page.String())
	}).leads(cases...)
}

// may is what is expected of what is for the crawler to decide.
func (c *Case) may() {
	c.Status, c.Least, c.Archived, c.Truncated = nil, 0, May, nil
}
