package extract

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/transform"
)

// decode gives the text in UTF-8, by byte order mark, header, and declaration in the text, as browsers find it.
// A declaration that can't be true is not believed, and where there is none, the bytes stay as they are: then each
// reference is looked at by itself.
func (f *finder) decode(r io.Reader, preview []byte, contentType string) io.Reader {
	enc, name, certain := charset.DetermineEncoding(preview, contentType)
	if declared, ok := xmlEncoding(preview); ok && !certain {
		if e, n := charset.Lookup(declared); e != nil {
			enc, name = e, n
		}
	}
	mark := bytes.HasPrefix(preview, []byte("\xfe\xff")) || bytes.HasPrefix(preview, []byte("\xff\xfe"))
	guess := name == "windows-1252" && !certain && !bytes.Contains(bytes.ToLower(preview), []byte("charset")) &&
		!bytes.Contains(preview, []byte("encoding="))
	lie := name == "replacement" || strings.HasPrefix(name, "utf-16") && !mark && bytes.IndexByte(preview, 0) < 0
	switch {
	case name == "utf-8":
		f.sum.Charset = name
		return r
	case guess || lie || enc == nil:
		f.loose = true
		return r
	}
	f.sum.Charset = name
	if !strings.HasPrefix(name, "utf-16") { // whose queries are UTF-8 by the standard
		f.enc = enc
	}
	return transform.NewReader(r, enc.NewDecoder())
}

// xmlEncoding finds the encoding that an XML declaration names.
func xmlEncoding(preview []byte) (string, bool) {
	if !bytes.HasPrefix(preview, []byte("<?xml")) {
		return "", false
	}
	head, _, _ := bytes.Cut(preview, []byte("?>"))
	_, value, ok := bytes.Cut(head, []byte("encoding="))
	if !ok || len(value) < 2 || value[0] != '"' && value[0] != '\'' {
		return "", false
	}
	name, _, ok := bytes.Cut(value[1:], value[:1])
	return string(name), ok
}

// spell gives a reference the bytes that a browser would ask for: UTF-8, but in the query the document's charset.
func (f *finder) spell(ref string) string {
	if ascii(ref) {
		return ref
	}
	if f.loose && !utf8.ValidString(ref) {
		if s, err := charmap.Windows1252.NewDecoder().String(ref); err == nil {
			return s
		}
	}
	at := strings.IndexByte(ref, '?')
	if f.enc == nil || at < 0 {
		return ref
	}
	query, fragment, _ := strings.Cut(ref[at:], "#")
	coded, err := encoding.HTMLEscapeUnsupported(f.enc.NewEncoder()).String(query)
	if err != nil {
		return ref
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(ref)+3*len(coded))
	b = append(b, ref[:at]...)
	for i := range len(coded) {
		if c := coded[i]; c >= utf8.RuneSelf || c == '#' || c < 0x20 {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	if fragment != "" {
		b = append(append(b, '#'), fragment...)
	}
	return string(b)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
