package extract

import (
	"bytes"
	"io"
	"strings"

	"golang.org/x/net/html"

	"holdfast/base/weburl"
)

// page is the reading of one HTML document.
type page struct {
	*finder
	t     *tokens
	based bool // a base element was read: the first one counts
	// scripts is a scanner of the script that is being read, if it is one.
	script scanner
}

// html reads a page.
func (f *finder) html(r io.Reader) error {
	p := &page{finder: f, t: newTokens(r, false)}
	for {
		kind, err := p.t.next()
		switch {
		case err == io.EOF:
			return p.endScript()
		case err != nil:
			return err
		}
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			err = p.tag()
		case html.EndTagToken:
			err = p.endScript()
		case html.TextToken:
			err = p.text()
		}
		if err != nil {
			return err
		}
	}
}

// text is the inside of scripts and styles; other text has no links.
func (p *page) text() error {
	if p.script == nil {
		return nil
	}
	return p.script.scan(p.t.z.Text())
}

// endScript ends a script or style.
func (p *page) endScript() error {
	s := p.script
	p.script = nil
	if s == nil {
		return nil
	}
	return s.end()
}

// tag gives the links of a start tag.
func (p *page) tag() error {
	if err := p.endScript(); err != nil {
		return err
	}
	base := p.base
	switch p.t.name {
	case "base":
		return p.setBase()
	case "link":
		return p.linkTag()
	case "meta":
		return p.meta()
	case "form":
		if !bytes.EqualFold(bytes.TrimSpace(p.t.get("method")), []byte("post")) {
			if err := p.link(string(p.t.get("action")), Navigation, "form/@action"); err != nil {
				return err
			}
		}
	case "object", "applet":
		if u, err := base.Resolve(string(p.t.get("codebase"))); err == nil && p.t.get("codebase") != nil {
			base = u
		}
	case "script":
		p.script = p.scriptScanner()
	case "style":
		p.script = newCSS(p.finder)
	}
	return p.attributes(base)
}

// scriptScanner is for the text of a script element, by its type.
func (p *page) scriptScanner() scanner {
	kind := strings.ToLower(string(p.t.get("type")))
	return newScript(p.finder, p.base, strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "map"))
}

// attributes gives what stands in the attributes of a tag.
func (p *page) attributes(base weburl.URL) error {
	rules := table[p.t.name]
	for _, a := range p.t.attrs {
		var err error
		r, known := rules[a.key]
		switch {
		case known && r.form == single:
			err = p.address(base, a.val, r)
		case known && r.form == srcset:
			err = p.srcset(a.val, r.context)
		case known:
			for s := range strings.FieldsFuncSeq(string(a.val), func(r rune) bool { return r == ',' || r <= ' ' }) {
				if err = p.linkFrom(base, s, r.hop, r.context); err != nil {
					return err
				}
			}
		case a.key == "style":
			err = p.css(a.val)
		case a.key == "srcdoc":
			err = p.fragment(a.val)
		case strings.HasPrefix(a.key, "on"):
			if bytes.ContainsAny(a.val, `"'`) {
				err = p.finder.script(a.val, p.base)
			}
		case strings.HasPrefix(a.key, "data-"):
			err = p.data(a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// address gives the address in a value, if it is not longer than any may be.
func (p *page) address(base weburl.URL, val []byte, r rule) error {
	if len(val) > maxAddress {
		val = val[:maxAddress] // a data: address keeps its scheme, others are too long in any case
	}
	return p.linkFrom(base, string(val), r.hop, r.context)
}

// data looks at an attribute of a page's own, where scripts find the addresses of images that are loaded late.
func (p *page) data(a attr) error {
	context := p.t.name + "/@" + a.key
	picture := p.t.name == "img" || p.t.name == "source" || p.t.name == "iframe" || p.t.name == "video" || p.t.name == "audio"
	switch {
	case strings.HasSuffix(a.key, "srcset"):
		return p.srcset(a.val, context)
	case len(a.val) > maxAddress:
		return nil
	case picture && (strings.Contains(a.key, "src") || a.key == "data-original" || a.key == "data-poster"):
		if s := string(a.val); !strings.ContainsAny(s, "{} ") {
			return p.link(s, Embed, context)
		}
		return nil
	}
	if bytes.ContainsAny(a.val, `"`) { // settings in JSON
		return p.finder.script(a.val, p.base)
	}
	if s := strings.TrimSpace(string(a.val)); likely(s) {
		return p.link(s, Speculative, context)
	}
	return nil
}

// setBase takes the first base that is one.
func (p *page) setBase() error {
	href := p.t.get("href")
	if p.based || href == nil || len(href) > maxAddress {
		return nil
	}
	if u, err := p.base.Resolve(p.spell(string(href))); err == nil {
		p.base, p.based = u, true
	}
	return nil
}

// linkTag gives a link element by its relation.
func (p *page) linkTag() error {
	rel := string(p.t.get("rel"))
	hop, skip := relHop(rel)
	if skip && hop == Navigation {
		return nil
	}
	if err := p.address(p.base, p.t.get("href"), rule{hop, single, "link/@href"}); err != nil {
		return err
	}
	return p.attributes(p.base)
}

// meta gives a refresh and the pictures that a page is shown with elsewhere.
func (p *page) meta() error {
	content := string(p.t.get("content"))
	if len(content) > maxAddress {
		return nil
	}
	if bytes.EqualFold(p.t.get("http-equiv"), []byte("refresh")) {
		return p.link(refreshTarget(content), Redirect, "meta/@content")
	}
	for _, key := range [...]string{"name", "property", "itemprop"} {
		name := string(p.t.get(key))
		if hop, ok := metaHop(name); ok {
			return p.link(content, hop, "meta/@content")
		}
	}
	if s := strings.TrimSpace(content); strings.HasPrefix(s, "http") && likely(s) {
		return p.link(s, Speculative, "meta/@content")
	}
	return nil
}

// fragment reads a document that stands in another. The outer one's base stays.
func (f *finder) fragment(text []byte) error {
	if f.nested >= maxNested || bytes.IndexByte(text, '<') < 0 {
		return nil
	}
	base := f.base
	f.nested++
	err := f.html(bytes.NewReader(bytes.Clone(text)))
	f.nested--
	f.base = base
	return err
}

// srcset gives the candidates of a srcset: addresses, each with a descriptor behind a space, and commas between
// them. An address may have commas itself, but not at its ends (HTML 4.8.4.2.1).
func (f *finder) srcset(val []byte, context string) error {
	s := string(val)
	for {
		s = strings.TrimLeft(s, " \t\r\n\f,")
		if s == "" {
			return nil
		}
		end := strings.IndexAny(s, " \t\r\n\f")
		if end < 0 {
			end = len(s)
		}
		ref := s[:end]
		s = s[end:]
		if bare := strings.TrimRight(ref, ","); bare != ref {
			ref = bare
		} else if comma := strings.IndexByte(s, ','); comma >= 0 {
			s = s[comma:]
		} else {
			s = ""
		}
		if len(ref) > maxAddress {
			continue
		}
		if err := f.link(ref, Embed, context); err != nil {
			return err
		}
	}
}

// refreshTarget is the address in a refresh: "5; url='next.html'".
func refreshTarget(s string) string {
	s = strings.TrimLeft(s, " \t\r\n\f0123456789.")
	s = strings.TrimLeft(s, " \t\r\n\f;,")
	if len(s) > 3 && strings.EqualFold(s[:3], "url") {
		if rest, ok := strings.CutPrefix(strings.TrimLeft(s[3:], " \t\r\n\f"), "="); ok {
			s = strings.TrimLeft(rest, " \t\r\n\f")
		}
	}
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		s, _, _ = strings.Cut(s[1:], s[:1])
	}
	return s
}
