package extract

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zlib"
)

// objectStream is one, packed.
func objectStream(objects string) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = io.WriteString(z, objects)
	_ = z.Close()
	return fmt.Sprintf("7 0 obj\n<</Type/ObjStm/N 1/First 4/Filter/FlateDecode/Length %d>>\nstream\r\n%s\nendstream\nendobj\n", b.Len(), &b)
}

const annotation = "<</Type/Annot/Subtype/Link/A<</S/URI/URI(http://h.example/%s)>>>>"

var pdfCases = []struct{ name, body, want string }{
	{"plain", "%PDF-1.4\n%\xe2\xe3(\n1 0 obj\n" + fmt.Sprintf(annotation, "a") + "\nendobj", "/a"},
	{"apart", "1 0 obj << /S /URI /URI\n (http://h.example/a) >> endobj", "/a"},
	{"hexadecimal", "<</S/URI/URI<687474703A2F2F68 2e6578616d706c652f4>>>", "/@"},
	{"escapes", `<</URI(http://h.example/\(a\)\
b\134c\0611(d))>>`, "/(a)b/c11(d)"},
	{"in an object stream", objectStream("1 0 " + fmt.Sprintf(annotation, "packed")), "/packed"},
	{"in one that is not packed", "1 0 obj<</Type/ObjStm>>stream\n1 0 <</URI(http://h.example/a)>>\nendstream", "/a"},
	{"behind a stream", "1 0 obj<</Length 9>>stream\n(((<< /URI(http://h.example/no)\nendstream endobj 2 0 obj<</URI(http://h.example/a)>>", "/a"},
	{"one of two object streams is damaged", strings.Replace(objectStream(fmt.Sprintf(annotation, "lost")), "\x9c", "\x9d", 1) +
		objectStream(fmt.Sprintf(annotation, "a")), "/a"},
	{"its end is missing", func() string {
		s := objectStream(fmt.Sprintf(annotation, "a") + strings.Repeat(" and so on, %PDF, 1 2 3", 50))
		return s[:strings.Index(s, "\nendstream")-4] + "\nendstream\n" + fmt.Sprintf(annotation, "a")
	}(), "/a"},
	{"a stream without an end", fmt.Sprintf(annotation, "a") + " 1 0 obj<<>>stream\n" + fmt.Sprintf(annotation, "b"), "/a"},
	{"in a filter that is not read", strings.Replace(objectStream(fmt.Sprintf(annotation, "a")), "/FlateDecode", "/LZWDecode", 1), ""},
	{"another name", "<</URIs(http://h.example/a)/Title(http://h.example/b)/S/URI>>(http://h.example/c)", ""},
	{"relative, or encrypted", "<</URI(a.html)>> <</URI(\x81\x92\x10)>> <</URI(mailto:a@b)>>", ""},
	{"too long", "<</URI(http://h.example/" + strings.Repeat("\\061", 9000) + ")>> " + fmt.Sprintf(annotation, "a"), "/a"},
	{"a string that does not end", "(" + strings.Repeat("x", maxStringPDF) + fmt.Sprintf(annotation, "a"), "/a"},
	{"a comment", "% <</URI(http://h.example/no)>>\r" + fmt.Sprintf(annotation, "a"), "/a"},
	{"twice", fmt.Sprintf(annotation+annotation, "a", "a"), "/a"},
}

func TestPDF(t *testing.T) {
	for _, c := range pdfCases {
		want := c.want
		if want != "" {
			want = "L " + want + " =NAVLINK_MISC"
		}
		got, sum := found(t, document(t, "application/pdf", c.body), Options{PDF: true})
		if got != want || sum.Kind != PDF {
			t.Errorf("%s: got %q, want %q (%s)", c.name, got, want, sum.Kind)
		}
		d := document(t, "application/pdf", "")
		d.Body = iotest.OneByteReader(strings.NewReader(c.body))
		if slow, _ := found(t, d, Options{PDF: true}); slow != got {
			t.Errorf("%s: byte by byte it is %q, and %q at once", c.name, slow, got)
		}
		if off, _ := found(t, document(t, "application/pdf", c.body), Options{}); off != "" {
			t.Errorf("%s: it was not asked for, and is %q", c.name, off)
		}
	}
	if got, sum := found(t, document(t, "", pdfCases[0].body), Options{PDF: true}); got == "" {
		t.Errorf("without a type it is %s", sum.Kind)
	}
}

// TestPDFOfOthers: the files that lie here have the links that another program counted in them.
func TestPDFOfOthers(t *testing.T) {
	for name, want := range map[string]int{"/usr/share/doc/libtasn1-doc/libtasn1.pdf": 2} {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			t.Logf("%s is not here", name)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, sum := found(t, document(t, "application/pdf", string(b)), Options{PDF: true}); sum.Links != want {
			t.Errorf("%s: got %d links, want %d:\n%s", name, sum.Links, want, got)
		}
	}
}

// TestPDFBounded: what unpacks to a gigabyte is read for its first megabytes, in little memory; and what can't be read is told.
func TestPDFBounded(t *testing.T) {
	const most = 1 << 20
	bomb := objectStream(strings.Repeat("<</URI(x)>>", 1<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f := &finder{}
	p := &pdf{f: f, left: most}
	err := p.scan(bufio.NewReader(strings.NewReader(bomb+bomb)), false)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 20<<20 || !f.sum.Truncated || p.left != 0 || err != nil {
		t.Errorf("it took %d bytes, truncated: %v, %d are left, %v", used, f.sum.Truncated, p.left, err)
	}
	bad := errors.New("the disk is gone")
	for _, text := range []string{"<</URI(", "1 0 obj<</Type/ObjStm>>stream\n", objectStream("x")[:80]} {
		d := document(t, "application/pdf", "")
		d.Body = io.MultiReader(strings.NewReader("%PDF-1.4\n"+strings.Repeat(" ", 2000)+text), iotest.ErrReader(bad))
		if _, err := Links(d, Options{PDF: true}, func(Link) bool { return true }); !errors.Is(err, bad) {
			t.Errorf("behind %q: %v", text, err)
		}
	}
}

func FuzzPDF(f *testing.F) {
	for _, c := range pdfCases {
		if len(c.body) < 10_000 {
			f.Add(c.body)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, sum := found(t, document(t, "application/pdf", s), Options{PDF: true, MaxLinks: 100})
		if sum.Links > 100 {
			t.Errorf("%d links", sum.Links)
		}
	})
}
