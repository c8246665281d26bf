package extract

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/net/html"
)

// attr is an attribute; its value is gone with the next token.
type attr struct {
	key string
	val []byte
}

// tokens reads markup. A token that is too long to hold is given in pieces: of a tag the attributes up to there,
// of a script one text after the other.
type tokens struct {
	z     *html.Tokenizer
	r     io.Reader
	xml   bool
	raw   string // the element whose text is taken as it is: script, style
	name  string
	attrs []attr
	cut   []byte // a tag that was cut off, with an end of ours
}

func newTokens(r io.Reader, xml bool) *tokens {
	t := &tokens{r: full{r}, xml: xml}
	t.start(t.r)
	return t
}

func (t *tokens) start(r io.Reader) {
	t.z = html.NewTokenizer(r)
	t.z.SetMaxBuf(maxToken)
	t.z.AllowCDATA(t.xml)
}

// next returns the type of the next token, whose name and attributes are in t if it is a tag. It fails with io.EOF
// at the end.
func (t *tokens) next() (html.TokenType, error) {
	for {
		kind := t.z.Next()
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			t.tag(t.z)
			t.setRaw()
		case html.EndTagToken:
			if t.xml { // the names of end tags are needed in XML only
				name, _ := t.z.TagName()
				t.name = intern(name)
			}
			t.raw = ""
		case html.ErrorToken:
			if !errors.Is(t.z.Err(), html.ErrBufferExceeded) {
				return kind, t.z.Err()
			}
			if t.goOn() {
				return html.StartTagToken, nil
			}
			continue
		}
		return kind, nil
	}
}

// goOn begins anew behind a token that was too long, within the same element. It reports whether the token was
// a tag, whose attributes are in t now.
func (t *tokens) goOn() bool {
	partial := t.z.Raw()
	isTag := len(partial) > 1 && partial[0] == '<' && partial[1]|0x20 >= 'a' && partial[1]|0x20 <= 'z'
	rest := bytes.Clone(t.z.Buffered())
	if isTag {
		t.cut = append(append(t.cut[:0], partial...), `'">`...)
	}
	open := ""
	if t.raw != "" {
		open = "<" + t.raw + ">"
	}
	// Readers would pile up if each began with the rest of the last: the piece is read before.
	t.r = &prefixed{head: append([]byte(open), rest...), tail: tailOf(t.r)}
	t.start(t.r)
	if open != "" {
		t.z.Next()
	}
	if !isTag {
		return false
	}
	one := html.NewTokenizer(bytes.NewReader(t.cut))
	if kind := one.Next(); kind != html.StartTagToken && kind != html.SelfClosingTagToken {
		return false
	}
	t.tag(one)
	return true
}

// tag takes name and attributes of a start tag.
func (t *tokens) tag(z *html.Tokenizer) {
	name, more := z.TagName()
	t.name = intern(name)
	t.attrs = t.attrs[:0]
	for more && len(t.attrs) < 256 {
		var key, val []byte
		key, val, more = z.TagAttr()
		if len(key) > 0 {
			t.attrs = append(t.attrs, attr{intern(key), val})
		}
	}
}

// setRaw has the tokenizer read as markup what browsers with scripts would not: noscript, the inside of frames.
func (t *tokens) setRaw() {
	t.raw = ""
	switch t.name {
	case "script", "style", "textarea", "title":
		if !t.xml {
			t.raw = t.name
			return
		}
	}
	t.z.NextIsNotRawText()
}

// get returns an attribute of the tag, nil if it has none of that name.
func (t *tokens) get(key string) []byte {
	for _, a := range t.attrs {
		if a.key == key {
			return a.val
		}
	}
	return nil
}

// full reads as much as there is room for. With each read the tokenizer moves all of a token that it has: with a
// sender of single bytes that would be the square of it.
type full struct{ r io.Reader }

// Read fills p, except before the end or an error.
func (f full) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = f.r.Read(p[n:])
		n += more
	}
	return n, err
}

// prefixed is a reader with something before it.
type prefixed struct {
	head []byte
	tail io.Reader
}

// tailOf is the reader behind a prefix, which has been read.
func tailOf(r io.Reader) io.Reader {
	if p, ok := r.(*prefixed); ok && len(p.head) == 0 {
		return p.tail
	}
	return r
}

// Read reads the head first.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) == 0 {
		return p.tail.Read(b)
	}
	n := copy(b, p.head)
	p.head = p.head[n:]
	return n, nil
}

// intern returns a name as a string, without a new one for those that are known.
func intern(name []byte) string {
	if s, ok := names[string(name)]; ok {
		return s
	}
	return string(name)
}
