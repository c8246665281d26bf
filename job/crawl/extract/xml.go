package extract

import (
	"bytes"
	"io"
	"strings"

	"golang.org/x/net/html"
)

// tree is the reading of one XML document. It is read as loosely as HTML: feeds are often not well formed.
type tree struct {
	*finder
	t    *tokens
	text []byte // of the element that is open
	// Of the element that is open: its name, and whether its text is an address for sure.
	open string
	guid bool // a guid that is no address
	// Of the entry of a sitemap that is open.
	loc string
}

// xml reads a feed, a sitemap, or anything else in XML.
func (f *finder) xml(r io.Reader) error {
	x := &tree{finder: f, t: newTokens(r, true)}
	for {
		kind, err := x.t.next()
		switch {
		case err == io.EOF:
			return x.entry()
		case err != nil:
			return err
		}
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			x.text, x.open = x.text[:0], x.t.name
			x.guid = x.open == "guid" && bytes.EqualFold(x.t.get("ispermalink"), []byte("false"))
			err = x.attributes()
		case html.TextToken:
			if piece := x.t.z.Text(); len(x.text)+len(piece) <= maxToken {
				x.text = append(x.text, piece...)
			}
		case html.EndTagToken:
			err = x.close()
			x.text, x.open = x.text[:0], ""
		case html.CommentToken:
			err = x.stylesheet(x.t.z.Text())
		}
		if err != nil {
			return err
		}
	}
}

// attributes gives what stands in a tag.
func (x *tree) attributes() error {
	name := local(x.open)
	for _, a := range x.t.attrs {
		if len(a.val) > maxAddress || strings.HasPrefix(a.key, "xmlns") || strings.HasSuffix(a.key, "schemalocation") {
			continue
		}
		var err error
		s := string(a.val)
		switch local(a.key) {
		case "href":
			hop := Navigation
			switch name {
			case "image", "use", "feimage", "script", "include", "import":
				hop = Embed
			case "link":
				var skip bool
				if hop, skip = relHop(string(x.t.get("rel"))); skip && hop == Navigation {
					continue
				}
			}
			err = x.link(s, hop, x.open+"/@"+a.key)
		case "src":
			err = x.link(s, Embed, x.open+"/@"+a.key)
		case "url":
			err = x.link(s, Embed, x.open+"/@"+a.key) // enclosure, media:content, media:thumbnail
		case "style":
			err = x.css(a.val)
		default:
			err = x.whole(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// close gives the text of the element that ends, if it had no others within it.
func (x *tree) close() error {
	name := local(x.t.name)
	if x.sum.Kind == Sitemap && (name == "url" || name == "sitemap") {
		return x.entry()
	}
	if x.open != x.t.name {
		return nil
	}
	text := strings.TrimSpace(string(x.text))
	if text == "" {
		return nil
	}
	if x.sum.Kind == Sitemap {
		return x.sitemap(name, text)
	}
	switch name {
	case "style":
		return x.css(x.text)
	case "script":
		return x.script(x.text, x.base)
	case "description", "encoded", "content", "summary":
		if strings.Contains(text, "<") {
			return x.fragment([]byte(text))
		}
	case "link", "comments", "docs", "guid", "uri", "url", "loc":
		if x.guid {
			return nil
		}
		if len(text) <= maxAddress && !hasSpace(text) && (name != "guid" && name != "uri" || strings.HasPrefix(text, "http")) {
			return x.link(text, Navigation, x.open)
		}
	case "icon", "logo":
		if len(text) <= maxAddress {
			return x.link(text, Embed, x.open)
		}
	}
	return x.whole(text)
}

// sitemap takes an element of an entry.
func (x *tree) sitemap(name, text string) error {
	if len(text) > maxAddress {
		return nil
	}
	switch {
	case x.open == "loc" || name == "loc" && !strings.HasPrefix(x.open, "image:"):
		err := x.entry() // one whose end is missing
		x.loc = text
		return err
	case name == "loc", name == "content_loc", name == "player_loc", name == "thumbnail_loc":
		return x.link(text, Embed, x.open)
	}
	return nil
}

// entry gives the entry of a sitemap that was read.
func (x *tree) entry() error {
	loc := x.loc
	x.loc = ""
	if loc == "" {
		return nil
	}
	return x.linkFrom(x.base, loc, Manifest, "loc")
}

// whole gives a text that is an address from its first letter to its last.
func (x *tree) whole(text string) error {
	if len(text) <= maxAddress && strings.HasPrefix(text, "http") && likely(text) {
		return x.link(text, Speculative, "=SPECULATIVE_MISC")
	}
	return nil
}

// stylesheet gives the address in <?xml-stylesheet href="..."?>.
func (x *tree) stylesheet(instruction []byte) error {
	rest, ok := bytes.CutPrefix(instruction, []byte("?xml-stylesheet"))
	if !ok {
		return nil
	}
	_, value, ok := bytes.Cut(rest, []byte("href="))
	if !ok || len(value) < 2 || len(value) > maxAddress || value[0] != '"' && value[0] != '\'' {
		return nil
	}
	href, _, _ := bytes.Cut(value[1:], value[:1])
	return x.link(html.UnescapeString(string(href)), Embed, "?xml-stylesheet/@href")
}

// local is a name without its prefix.
func local(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }

// lines reads a sitemap in plain text: an address a line.
type lines struct {
	f    *finder
	text []byte
	long bool
}

func (l *lines) scan(piece []byte) error {
	for _, b := range piece {
		switch {
		case b == '\n' || b == '\r':
			if err := l.end(); err != nil {
				return err
			}
		case l.long:
		case len(l.text) >= maxAddress:
			l.text, l.long = l.text[:0], true
		default:
			l.text = append(l.text, b)
		}
	}
	return nil
}

// end gives a line, if it is a whole address.
func (l *lines) end() error {
	line := strings.TrimSpace(strings.TrimPrefix(string(l.text), "\xef\xbb\xbf"))
	l.text, l.long = l.text[:0], false
	if len(line) < 7 || !strings.EqualFold(line[:4], "http") {
		return nil
	}
	return l.f.linkFrom(l.f.base, line, Manifest, "loc")
}
