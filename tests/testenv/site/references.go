package site

import (
	"encoding/xml"
	"io"
	"regexp"
	"strings"

	"golang.org/x/net/html"
)

// baseMark stands before a reference that is a page's base: those behind it are relative to that.
const baseMark = "\x00base:"

// attributes are those that hold a reference, by element. "*" is any.
var attributes = map[string][]string{
	"a": {"href"}, "area": {"href"}, "link": {"href"}, "img": {"src"}, "script": {"src"}, "frame": {"src"},
	"iframe": {"src"}, "object": {"data"}, "embed": {"src"}, "source": {"src"}, "video": {"src", "poster"}, "audio": {"src"},
	"track": {"src"}, "input": {"src"}, "body": {"background"}, "table": {"background"}, "td": {"background"},
	// SVG within HTML
	"use": {"href"}, "image": {"href"},
}

// htmlReferences are those of an HTML page, as a browser without scripts finds them. A form is not a link: what it asks for is
// for a person to say.
func htmlReferences(r io.Reader) []string {
	var base, refs []string
	style := false
	for z := html.NewTokenizer(r); ; {
		switch z.Next() {
		case html.ErrorToken:
			return append(base, refs...)
		case html.TextToken:
			if style {
				refs = append(refs, cssReferences(string(z.Raw()))...)
			}
		case html.EndTagToken:
			style = false
		case html.StartTagToken, html.SelfClosingTagToken:
			e := elementOf(z)
			style = e.name == "style"
			if e.name == "noscript" {
				z.NextIsNotRawText()
			}
			if href, ok := e.values["href"]; e.name == "base" && ok && base == nil {
				base = []string{baseMark + href}
			}
			refs = append(refs, e.references()...)
		}
	}
}

// element is a tag with those of its attributes that may matter.
type element struct {
	name   string
	values map[string]string
}

// matter are the attributes that a reference may be in or depend on.
var matter = map[string]string{"href": "href", "xlink:href": "href", "src": "src", "data": "data", "poster": "poster",
	"background": "background",
	"srcset":     "srcset", "imagesrcset": "imagesrcset", "style": "style", "rel": "rel", "http-equiv": "http-equiv",
	"content": "content"}

func elementOf(z *html.Tokenizer) element {
	name, more := z.TagName()
	e := element{name: string(name)}
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		key2, ok := matter[string(key)]
		if _, is := e.values[key2]; !ok || is {
			continue
		}
		if e.values == nil {
			e.values = map[string]string{}
		}
		e.values[key2] = string(value)
	}
	return e
}

func (e element) references() (refs []string) {
	if len(e.values) == 0 || e.name == "link" && noDocument.MatchString(e.values["rel"]) {
		return nil
	}
	for _, name := range attributes[e.name] {
		if value, ok := e.values[name]; ok {
			refs = append(refs, value)
		}
	}
	for _, name := range []string{"srcset", "imagesrcset"} {
		refs = append(refs, candidates(e.values[name])...)
	}
	if style := e.values["style"]; strings.Contains(style, "(") {
		refs = append(refs, cssReferences(style)...)
	}
	if e.name == "meta" && strings.EqualFold(e.values["http-equiv"], "refresh") {
		if m := refresh.FindStringSubmatch(e.values["content"]); m != nil {
			refs = append(refs, m[1])
		}
	}
	return refs
}

// noDocument are relations of a link that names a server and no document.
var noDocument = regexp.MustCompile(`(?i)\b(preconnect|dns-prefetch|pingback)\b`)

var refresh = regexp.MustCompile(`(?i)^\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?["']?([^"']+)`)

// candidates are the URLs of a srcset: "a.png 1x, b.png 2x".
func candidates(srcset string) (refs []string) {
	for part := range strings.SplitSeq(srcset, ",") {
		if fields := strings.Fields(part); len(fields) > 0 {
			refs = append(refs, fields[0])
		}
	}
	return refs
}

var (
	cssComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	cssURL     = regexp.MustCompile(`(?i)url\(\s*(?:"([^"]*)"|'([^']*)'|([^"')\s]+))\s*\)`)
	cssImport  = regexp.MustCompile(`(?i)@import\s+(?:"([^"]*)"|'([^']*)')`)
)

// cssReferences are those of a style sheet.
func cssReferences(text string) (refs []string) {
	text = cssComment.ReplaceAllString(text, " ")
	for _, pattern := range []*regexp.Regexp{cssURL, cssImport} {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			if ref := strings.Join(m[1:], ""); ref != "" && !strings.HasPrefix(ref, "data:") {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

// xmlReferences are those of an SVG image. What is no XML has none behind the place where it ceases to be.
func xmlReferences(r io.Reader) (refs []string) {
	d := xml.NewDecoder(r)
	d.Strict = false
	inStyle := false
	for {
		token, err := d.Token()
		if err != nil {
			return refs
		}
		switch token := token.(type) {
		case xml.StartElement:
			inStyle = token.Name.Local == "style"
			for _, a := range token.Attr {
				switch a.Name.Local {
				case "href", "src":
					refs = append(refs, a.Value)
				case "style":
					refs = append(refs, cssReferences(a.Value)...)
				}
			}
		case xml.EndElement:
			inStyle = false
		case xml.CharData:
			if inStyle {
				refs = append(refs, cssReferences(string(token))...)
			}
		}
	}
}
